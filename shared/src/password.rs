//! Passwords and other secrets of people: how a password is hashed and checked, and how random words come about.
//!
//! argon2id with 19 MiB, two passes and one lane, which is what OWASP recommends; a hash names its own parameters, so that they can be
//! raised later.

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::phc::PasswordHash,
};
use sha2::{Digest as _, Sha256};

/// Shortest password that is taken.
pub const MIN_LENGTH: usize = 12;
/// Longest: hashing more would be work for nothing.
pub const MAX_LENGTH: usize = 256;

/// KiB of memory.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over it.
const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;

/// Why a password cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too short or too long.
    #[error("a password has {MIN_LENGTH} to {MAX_LENGTH} characters, and this one has {0}")]
    Length(usize),
    /// A bug of ours, or a broken hash.
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
}

fn hasher() -> Result<Argon2<'static>, Error> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|fault| Error::Hash(fault.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// The hash of a password that somebody has chosen, with a salt of its own.
///
/// # Errors
/// When it is too short or too long.
pub fn hash(password: &str) -> Result<String, Error> {
    let length = password.chars().count();
    if !(MIN_LENGTH..=MAX_LENGTH).contains(&length) {
        return Err(Error::Length(length));
    }
    let hash = hasher()?
        .hash_password(password.as_bytes())
        .map_err(|fault| Error::Hash(fault.to_string()))?;
    Ok(hash.to_string())
}

/// Whether a password is the one of this hash. Takes tens of milliseconds, by intention.
#[must_use]
pub fn is_right(password: &str, hash: &str) -> bool {
    if password.chars().count() > MAX_LENGTH {
        return false;
    }
    match (PasswordHash::new(hash), hasher()) {
        (Ok(parsed), Ok(hasher)) => hasher.verify_password(password.as_bytes(), &parsed).is_ok(),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// A random word of 256 bits, in hexadecimal: a token, or a password for a machine.
#[must_use]
pub fn random_word() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// Random bytes for a second factor: 160 bits, as RFC 4226 recommends.
#[must_use]
pub fn random_secret() -> [u8; 20] {
    rand::random()
}

/// What is kept of a random word. A plain hash will do: nobody guesses 256 bits.
#[must_use]
pub fn fingerprint(word: &str) -> [u8; 32] {
    Sha256::digest(word.as_bytes()).into()
}

/// Secret bytes as people type them into an authenticator (RFC 4648, without padding).
#[must_use]
pub fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::new();
    for chunk in bytes.chunks(5) {
        let mut bits = [0_u8; 8];
        bits[3..3 + chunk.len()].copy_from_slice(chunk);
        let word = u64::from_be_bytes(bits);
        let letters = (chunk.len() * 8).div_ceil(5);
        for nth in 0..letters {
            let index = (word >> (35 - 5 * nth)) & 31;
            text.push(char::from(ALPHABET[usize::try_from(index).unwrap_or_default()]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r212_a_password_is_kept_as_argon2id_and_found_right_or_wrong() {
        let kept = hash("correct horse battery").unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert_ne!(kept, hash("correct horse battery").unwrap(), "each has its salt");
        assert!(is_right("correct horse battery", &kept));
        assert!(!is_right("correct horse batterz", &kept));
        assert!(!is_right("correct horse battery", "no hash"));
        assert!(matches!(hash("short"), Err(Error::Length(5))));
    }

    #[test]
    fn base32_as_in_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
    }
}
