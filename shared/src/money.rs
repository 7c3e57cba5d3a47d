//! `Money`: integer minor units of one currency.
