//! `Stripe-Signature`: nobody gets past without the secret, and whoever has it is let in whatever else the header holds.
#![no_main]

use std::time::Duration;

use chrono::{DateTime, Utc};
use fuzz::signature::{Fault, Verifier};
use hmac::{Hmac, KeyInit, Mac};
use libfuzzer_sys::fuzz_target;
use secrecy::SecretString;
use sha2::Sha256;

const SECRET: &str = "whsec_fuzz";
const BODY: &[u8] = br#"{"id":"evt_1","type":"charge.updated"}"#;
const SIGNED_AT: i64 = 1_700_000_000;

fuzz_target!(|data: &[u8]| {
    let Ok(junk) = std::str::from_utf8(data) else {
        return;
    };
    let verifier = Verifier::try_new(&[SecretString::from(SECRET)], Duration::from_secs(300))
        .expect("any length is a key");
    let now = DateTime::<Utc>::from_timestamp(SIGNED_AT, 0).expect("in range");

    // Whatever is let in, or called stale, holds the MAC over its own timestamp.
    let last_timestamp = junk
        .split(',')
        .filter_map(|item| item.trim().strip_prefix("t="))
        .next_back();
    let genuine = last_timestamp.is_some_and(|t| junk.to_lowercase().contains(&mac(t)));
    match verifier.verify(junk, BODY, now) {
        Ok(()) | Err(Fault::Stale) => assert!(genuine, "let in without a signature: {junk:?}"),
        Err(Fault::Invalid) => {}
    }

    // The true items, with junk before them and after: let in, unless the junk names a time of its own.
    let another_time = junk.split(',').any(|item| item.trim().starts_with("t="));
    if !another_time {
        let t = SIGNED_AT.to_string();
        let header = format!("{junk},t={t},v1={},{junk}", mac(&t));
        assert_eq!(
            verifier.verify(&header, BODY, now),
            Ok(()),
            "kept out: {header:?}"
        );
        assert_eq!(
            verifier.verify(&header, b"another body", now),
            Err(Fault::Invalid)
        );
    }
});

fn mac(timestamp: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length is a key");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(BODY);
    hex::encode(mac.finalize().into_bytes())
}
