//! Who asks, and what they may: sessions of people, tokens of other systems, roles, and what keeps guessers out.
pub mod caller;
pub mod csrf;
pub mod guard;
pub mod login;
pub mod totp;

pub use caller::{Caller, Role};
