//! The second factor of operators: six digits that change every half minute (RFC 6238, SHA-1, as authenticators expect).

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

/// Seconds for which a code is shown.
const STEP_SECS: i64 = 30;
/// Clocks differ: the code before and the one after are taken too.
const TOLERANCE: i64 = 1;

/// The step whose code this is, if it is one of now and later than the last that was used.
#[must_use]
pub fn step_of(code: &str, secret: &[u8], unix_secs: i64, last_used: i64) -> Option<i64> {
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let now = unix_secs.div_euclid(STEP_SECS);
    (now - TOLERANCE..=now + TOLERANCE)
        .filter(|step| *step > last_used)
        .find(|step| bool::from(code_at(secret, *step).as_bytes().ct_eq(code.as_bytes())))
}

/// The code of a step.
fn code_at(secret: &[u8], step: i64) -> String {
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret) else {
        return String::new();
    };
    mac.update(&step.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let at = usize::from(digest[digest.len() - 1] & 15);
    let number = u32::from_be_bytes([digest[at] & 0x7f, digest[at + 1], digest[at + 2], digest[at + 3]]);
    format!("{:06}", number % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"12345678901234567890";

    #[test]
    fn r212_codes_as_in_rfc_6238() {
        for (secs, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code_at(SECRET, secs / STEP_SECS), code);
            assert_eq!(step_of(code, SECRET, secs, 0), Some(secs / STEP_SECS));
        }
    }

    #[test]
    fn r212_a_code_is_used_once_and_only_around_its_time() {
        assert_eq!(step_of("287 082", SECRET, 59, 0), Some(1), "blanks do not matter");
        assert_eq!(step_of("287082", SECRET, 59, 1), None, "it was used");
        assert_eq!(step_of("287082", SECRET, 59 + 30, 0), Some(1), "a slow clock");
        assert_eq!(step_of("287082", SECRET, 59 + 60, 0), None);
        assert_eq!(step_of("", SECRET, 59, 0), None);
    }
}
