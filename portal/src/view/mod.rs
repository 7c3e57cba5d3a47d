//! What pages are made of: blocks, and the pure shaping of rows into them. Nothing here asks anybody anything.

pub mod blocks;
pub mod chart;
pub mod collections;
pub mod text;
pub mod words;

pub use blocks::{
    Badge, Block, Card, Cell, Empty, Facts, Field, Filter, Form, Input, Pager, Step, Table, Tone, note,
    numbers, words as column,
};
