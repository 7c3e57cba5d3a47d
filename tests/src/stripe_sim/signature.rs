//! `Stripe-Signature`: a time, and per secret the HMAC-SHA256 of `"{time}.{body}"`.
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What the signature of a delivery is like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signature {
    /// As it should be.
    #[default]
    Good,
    /// Made with a secret that nobody has.
    Bad,
    /// Good, but an hour old.
    Stale,
    /// Good, but an hour ahead.
    Future,
    /// No header at all.
    Missing,
}

const AN_HOUR_SECS: i64 = 3600;

impl Signature {
    /// The header's value for a body sent at this time.
    pub fn header(self, secrets: &[String], body: &str, now: i64) -> Option<String> {
        match self {
            Self::Good => Some(header(secrets, body, now)),
            Self::Bad => Some(header(&["whsec_nobody_has_this".to_owned()], body, now)),
            Self::Stale => Some(header(secrets, body, now - AN_HOUR_SECS)),
            Self::Future => Some(header(secrets, body, now + AN_HOUR_SECS)),
            Self::Missing => None,
        }
    }
}

fn header(secrets: &[String], body: &str, time: i64) -> String {
    let mut header = format!("t={time}");
    for secret in secrets {
        if let Some(signature) = sign(secret, body, time) {
            header.push_str(",v1=");
            header.push_str(&signature);
        }
    }
    header
}

/// HMAC takes keys of any length, so there is always a signature.
fn sign(secret: &str, body: &str, time: i64) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(format!("{time}.").as_bytes());
    mac.update(body.as_bytes());
    Some(hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with `printf '%s' '1700000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_test`.
    const BY_OPENSSL: &str = "c89214b5b5da833daed6f0b8c5bb6bd58cea9022bd80ccc78230f3942d632925";

    #[test]
    fn a_signature_is_the_one_that_openssl_computes() {
        assert_eq!(
            sign("whsec_test", r#"{"id":"evt_1"}"#, 1_700_000_000).unwrap(),
            BY_OPENSSL
        );
    }

    #[test]
    fn every_secret_signs() {
        let secrets = ["whsec_other".to_owned(), "whsec_test".to_owned()];
        let header = Signature::Good
            .header(&secrets, r#"{"id":"evt_1"}"#, 1_700_000_000)
            .unwrap();
        assert!(header.starts_with("t=1700000000,v1="));
        assert!(header.ends_with(&format!(",v1={BY_OPENSSL}")));
    }
}
