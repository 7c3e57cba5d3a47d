//! Who gets into the portal: logins, their sessions, tokens of other systems, and how often somebody may guess.
//!
//! Rows of a firm are seen by a transaction of that firm, those of the platform's own people by one that has no firm set. What
//! must be looked up before that is known goes through functions of the schema that need what only its owner holds.
pub mod logins;
pub mod sessions;
pub mod throttle;
pub mod tokens;
