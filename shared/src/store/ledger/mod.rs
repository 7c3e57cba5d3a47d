//! The ledger, read only: triggers post it (migration 0011). What a check compares is in `check`, what people look at in
//! `show`.
mod check;
mod show;

pub use check::{Checked, check};
pub use show::{Filter, JournalRow, PostingRow, balances, journals};
