//! A request that changes something must come from a page of ours: it carries a token that a foreign page cannot know.
//!
//! The token is derived from the session's own, which only its cookie holds, so that nothing more is kept; it tells nothing about it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// The header by which scripts send it.
pub const HEADER: &str = "x-csrf-token";

/// The token that belongs to a session's (or a login form's) secret word.
#[must_use]
pub fn token(secret: &str) -> String {
    // A key of any length is a key.
    match Hmac::<Sha256>::new_from_slice(secret.as_bytes()) {
        Ok(mut mac) => {
            mac.update(b"csrf");
            hex::encode(mac.finalize().into_bytes())
        }
        Err(_) => String::new(),
    }
}

/// Whether what was sent is it. Nothing is equal to an empty token.
#[must_use]
pub fn is_right(wanted: &str, sent: &str) -> bool {
    !wanted.is_empty() && bool::from(wanted.as_bytes().ct_eq(sent.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r212_a_token_belongs_to_one_session_and_does_not_show_it() {
        let of_a = token("a");
        assert_eq!(of_a.len(), 64);
        assert!(is_right(&of_a, &token("a")));
        assert!(!is_right(&of_a, &token("b")));
        assert!(!is_right("", ""));
    }
}
