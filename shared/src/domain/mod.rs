//! Pure decisions: no IO, no clock, no `await`.
pub mod generate;
pub mod period;
pub mod predicate;
pub mod words;
