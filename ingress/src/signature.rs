//! Stripe's signature scheme, checked over the exact bytes that arrived.
//!
//! Our own few lines instead of an SDK's: several secrets (rotation, two endpoints) against several `v1` values,
//! without an early exit, and a tolerance in both directions. Tried against vectors that Python's `hmac` made.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// Bytes of an HMAC-SHA256.
const DIGEST_BYTES: usize = 32;

/// Why a delivery is not genuine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Malformed header, or no `v1` of it was made with one of our secrets over these bytes.
    #[error("no signature in the Stripe-Signature header matches this body")]
    Invalid,
    /// Genuine, and signed too long ago or too far ahead: it may be a replay.
    #[error("the signature's timestamp is outside the tolerance")]
    Stale,
}

/// A secret that HMAC cannot take as a key. It takes any length, so this is never seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a webhook secret is unusable as a key")]
pub struct UnusableSecret;

/// The secrets, ready to use. Has no `Debug`: it holds key material.
pub struct Verifier {
    keys: Vec<Hmac<Sha256>>,
    tolerance: Duration,
}

impl Verifier {
    /// Keys HMAC with each whole secret, `whsec_` included, once for all deliveries.
    pub fn try_new(secrets: &[SecretString], tolerance: Duration) -> Result<Self, UnusableSecret> {
        let keys = secrets
            .iter()
            .map(|secret| Hmac::new_from_slice(secret.expose_secret().as_bytes()).map_err(|_| UnusableSecret))
            .collect::<Result<_, _>>()?;
        Ok(Self { keys, tolerance })
    }

    /// Genuine means: some `v1` is the HMAC of `{t}.{body}` under some secret, and `t` is close to the real clock.
    ///
    /// Every secret is tried against every `v1`, so that the time taken tells nothing about which one matched.
    /// Staleness is judged last: only somebody who knows a secret learns of it.
    pub fn verify(&self, header: &str, body: &[u8], now: DateTime<Utc>) -> Result<(), Fault> {
        let signed = Header::parse(header).ok_or(Fault::Invalid)?;
        let mut genuine = Choice::from(0);
        for key in &self.keys {
            let mut mac = key.clone();
            mac.update(signed.timestamp.as_bytes());
            mac.update(b".");
            mac.update(body);
            let digest = mac.finalize().into_bytes();
            for candidate in &signed.v1 {
                genuine |= digest.as_slice().ct_eq(candidate);
            }
        }
        if !bool::from(genuine) {
            return Err(Fault::Invalid);
        }
        if now.timestamp().abs_diff(signed.seconds) > self.tolerance.as_secs() {
            return Err(Fault::Stale);
        }
        Ok(())
    }
}

/// `t=1700000000,v1=<hex>[,v1=<hex>][,v0=…]`. Spaces after commas, empty items and other schemes are ignored.
struct Header<'a> {
    /// As it was written: these characters were signed.
    timestamp: &'a str,
    seconds: i64,
    v1: Vec<[u8; DIGEST_BYTES]>,
}

impl<'a> Header<'a> {
    fn parse(header: &'a str) -> Option<Self> {
        let mut timestamp = None;
        let mut v1 = Vec::with_capacity(1);
        for (scheme, value) in header.split(',').filter_map(|item| item.trim().split_once('=')) {
            match scheme {
                "t" => timestamp = Some(value),
                "v1" => {
                    let mut digest = [0; DIGEST_BYTES];
                    if hex::decode_to_slice(value, &mut digest).is_ok() {
                        v1.push(digest);
                    }
                }
                _ => {}
            }
        }
        let timestamp = timestamp.filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
        let Ok(seconds) = timestamp.parse() else {
            return None;
        };
        Some(Self {
            timestamp,
            seconds,
            v1,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Made by Python: hmac.new(secret.encode(), f"{t}.".encode() + body, hashlib.sha256).hexdigest()
    const BODY: &[u8] = b"{\"id\": \"evt_1\", \"type\": \"charge.refunded\", \"note\": \"caf\xc3\xa9\"}\n";
    const T: i64 = 1_795_000_000;
    const BY_A: &str = "0187286bee79abc1af23d8ed7d3a29077cce97979213fc55548addedb93d2c63";
    const BY_B: &str = "68ac674a7a43cdb02f0e17e9cdb5fc90edcd47deb4a6166c1f479beeab5c1785";
    const EMPTY_BODY_BY_A: &str = "dd83bcd9a0a970f04856aea3da7ef6beb458d80dff505d1d96f716ec6abc3c89";

    fn verifier(secrets: &[&str]) -> Verifier {
        let secrets: Vec<_> = secrets.iter().map(|s| SecretString::from(*s)).collect();
        Verifier::try_new(&secrets, Duration::from_secs(300)).unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn check(header: &str) -> Result<(), Fault> {
        verifier(&["whsec_a"]).verify(header, BODY, at(T))
    }

    #[test]
    fn independent_vectors_are_genuine() {
        assert_eq!(check(&format!("t={T},v1={BY_A}")), Ok(()));
        let empty = verifier(&["whsec_a"]).verify(&format!("t={T},v1={EMPTY_BODY_BY_A}"), b"", at(T));
        assert_eq!(empty, Ok(()));
    }

    #[test]
    fn any_secret_and_any_v1_will_do_in_any_order() {
        let both = verifier(&["whsec_a", "whsec_b"]);
        for header in [
            format!("t={T},v1={BY_A}"),
            format!("t={T},v1={BY_B}"),
            format!("t={T},v1={BY_B},v1={BY_A}"),
            format!("v1={BY_A},v1={BY_B},t={T}"),
            format!("t={T},v1={},v1={BY_B}", "0".repeat(64)),
            format!("t={T},v1=nothex,v1={BY_A}"),
        ] {
            assert_eq!(both.verify(&header, BODY, at(T)), Ok(()), "{header}");
        }
        let only_b = verifier(&["whsec_b"]);
        assert_eq!(
            only_b.verify(&format!("t={T},v1={BY_A}"), BODY, at(T)),
            Err(Fault::Invalid)
        );
        assert_eq!(
            only_b.verify(&format!("t={T},v1={BY_A},v1={BY_B}"), BODY, at(T)),
            Ok(())
        );
    }

    #[test]
    fn spaces_stray_commas_and_case_do_not_matter() {
        for header in [
            format!("t={T}, v1={BY_A}"),
            format!(" t={T} ,v1={BY_A} "),
            format!("t={T},v1={BY_A},"),
            format!(",t={T},,v1={BY_A}"),
            format!("t={T},v1={}", BY_A.to_uppercase()),
            format!("t={T},v0={BY_B},v1={BY_A},v2=x"),
        ] {
            assert_eq!(check(&header), Ok(()), "{header}");
        }
    }

    #[test]
    fn malformed_headers_are_invalid() {
        for header in [
            String::new(),
            "t".into(),
            format!("v1={BY_A}"),
            format!("t={T}"),
            format!("t=,v1={BY_A}"),
            format!("t=-{T},v1={BY_A}"),
            format!("t=+{T},v1={BY_A}"),
            format!("t={T}.0,v1={BY_A}"),
            format!("t=99999999999999999999,v1={BY_A}"),
            format!("t={T},v0={BY_A}"),
            format!("t={T},v1={}", &BY_A[..62]),
            format!("t={T},v1={BY_A}00"),
            format!("t={T};v1={BY_A}"),
        ] {
            assert_eq!(check(&header), Err(Fault::Invalid), "{header}");
        }
    }

    #[test]
    fn the_whole_secret_is_the_key() {
        let stripped = verifier(&["a"]);
        assert_eq!(
            stripped.verify(&format!("t={T},v1={BY_A}"), BODY, at(T)),
            Err(Fault::Invalid)
        );
    }

    #[test]
    fn tolerance_holds_in_both_directions() {
        let header = format!("t={T},v1={BY_A}");
        let verifier = verifier(&["whsec_a"]);
        for (offset, expected) in [
            (-301, Err(Fault::Stale)),
            (-300, Ok(())),
            (299, Ok(())),
            (300, Ok(())),
            (301, Err(Fault::Stale)),
        ] {
            assert_eq!(
                verifier.verify(&header, BODY, at(T + offset)),
                expected,
                "{offset} s"
            );
        }
    }

    #[test]
    fn a_stale_timestamp_is_told_only_to_who_knows_the_secret() {
        let forged = format!("t={},v1={BY_A}", T - 1000);
        assert_eq!(check(&forged), Err(Fault::Invalid));
    }

    #[test]
    fn a_body_serialised_again_is_not_the_signed_bytes() {
        let again = serde_json::to_vec(&serde_json::from_slice::<serde_json::Value>(BODY).unwrap()).unwrap();
        let result = verifier(&["whsec_a"]).verify(&format!("t={T},v1={BY_A}"), &again, at(T));
        assert_eq!(result, Err(Fault::Invalid));
    }

    fn sign(secret: &str, seconds: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{seconds}.").as_bytes());
        mac.update(body);
        hex::encode(mac.finalize().into_bytes())
    }

    proptest! {
        #[test]
        fn what_was_signed_is_genuine(body: Vec<u8>, secret in "whsec_[A-Za-z0-9]{1,200}", age in -300_i64..=300) {
            let header = format!("t={T},v1={}", sign(&secret, T, &body));
            prop_assert_eq!(verifier(&["whsec_other", &secret]).verify(&header, &body, at(T + age)), Ok(()));
        }

        #[test]
        fn any_flipped_bit_is_noticed(mut body in prop::collection::vec(any::<u8>(), 1..400), place: prop::sample::Index, bit in 0..8) {
            let header = format!("t={T},v1={}", sign("whsec_a", T, &body));
            let at_byte = place.index(body.len());
            body[at_byte] ^= 1_u8 << bit;
            prop_assert_eq!(verifier(&["whsec_a"]).verify(&header, &body, at(T)), Err(Fault::Invalid));
        }

        #[test]
        fn no_header_makes_it_panic_or_pass(header in "\\PC{0,300}") {
            prop_assert_eq!(check(&header), Err(Fault::Invalid));
        }
    }
}
