//! A webhook: one POST with a signature that Stripe's own libraries can verify.
//!
//! Whoever names a destination has us send a request from inside of our network, so where its name leads is looked up here, each time,
//! judged, and connected to as it was judged: no second look-up in between, no redirect, no proxy. What a receiver answers beside its
//! status is not read.

use std::{
    error::Error as _,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hmac::{Hmac, KeyInit, Mac};
use reqwest::{StatusCode, Url, header::CONTENT_TYPE};
use sha2::Sha256;
use shared::{
    clock::real_now,
    domain::delivery::{Notice, Reach},
    failpoint::{self, Effect},
};
use tokio::net::lookup_host;

use super::{NotTold, Told};

/// The longest that one POST may take, from connecting to the answer's head.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Of which for the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// `t=…,v1=…` over `t.body`, as Stripe signs.
const SIGNATURE: &str = "quittance-signature";
/// The delivery's id: a receiver that has seen it has had the message.
const DELIVERY: &str = "quittance-delivery";

/// Sends it, once.
pub(super) async fn post(
    reach: &Reach,
    target: &str,
    secret: &str,
    notice: &Notice,
) -> Result<Told, NotTold> {
    let url: Url = target.parse().map_err(|_| {
        NotTold::Never("its address is no URL: remove the destination and add it again".into())
    })?;
    let addresses = addresses(reach, &url).await?;
    let client = client(reach, &url, &addresses)?;
    let body = serde_json::to_string(notice)
        .map_err(|fault| NotTold::Never(format!("it cannot be written as JSON: {fault}")))?;
    let request = client
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .header(DELIVERY, notice.delivery.to_string())
        .header(SIGNATURE, signature(secret, real_now().timestamp(), &body)?)
        .body(body);
    let answer = failpoint::around(Effect::Tell, request.send())
        .await
        .map_err(|error| {
            NotTold::Later(match error.is_timeout() {
                true => format!("no answer within {} s", TIMEOUT.as_secs()),
                false => causes(error),
            })
        })?;
    judge(answer.status())
}

fn judge(status: StatusCode) -> Result<Told, NotTold> {
    let said = format!("the receiver answers {}", status.as_u16());
    match status.as_u16() {
        200..=299 => Ok(Told::Taken),
        410 => Ok(Told::Gone),
        408 | 425 | 429 | 500..=599 => Err(NotTold::Later(said)),
        300..=399 => Err(NotTold::Never(format!(
            "{said}: redirects are not followed; name the address that it leads to"
        ))),
        401 | 403 => Err(NotTold::Never(format!(
            "{said}: it must let in who signs with the destination's secret"
        ))),
        _ => Err(NotTold::Never(format!(
            "{said}: it does not take what is sent there"
        ))),
    }
}

/// Where the URL leads, as far as it may.
async fn addresses(reach: &Reach, url: &Url) -> Result<Vec<SocketAddr>, NotTold> {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(NotTold::Never("its URL names no host".into()));
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found: Vec<SocketAddr> = match bare.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => lookup_host((bare, port))
            .await
            .map_err(|fault| NotTold::Later(format!("its host is not found: {fault}")))?
            .collect(),
    };
    let plain = url.scheme() != "https";
    let may = |address: &SocketAddr| match plain {
        true => reach.may_without_tls(address.ip()),
        false => reach.may(address.ip()),
    };
    let allowed: Vec<SocketAddr> = found.iter().copied().filter(may).collect();
    match (found.is_empty(), allowed.is_empty()) {
        (true, _) => Err(NotTold::Later("its host has no address".into())),
        (false, true) if plain => Err(NotTold::Never(
            "http:// goes to this machine only, in test mode".into(),
        )),
        (false, true) => Err(NotTold::Never(
            "its host leads to a private address, which ALERT_PRIVATE_NETWORKS does not allow".into(),
        )),
        (false, false) => Ok(allowed),
    }
}

/// One for this POST: it knows no other way to the host than these addresses.
fn client(reach: &Reach, url: &Url, addresses: &[SocketAddr]) -> Result<reqwest::Client, NotTold> {
    let http = reqwest::Client::builder()
        .user_agent(concat!("quittance/", env!("CARGO_PKG_VERSION")))
        .timeout(TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .resolve_to_addrs(url.host_str().unwrap_or_default(), addresses);
    // Plain HTTP needs no trust in anyone, so it needs no CA certificates on the machine either.
    let plain = url.scheme() != "https"
        && addresses
            .iter()
            .all(|address| reach.may_without_tls(address.ip()));
    let http = if plain {
        http.tls_certs_only([])
    } else {
        http.https_only(true)
    };
    http.build().map_err(|fault| {
        NotTold::Later(format!(
            "HTTPS cannot be set up (are the system's CA certificates installed?): {}",
            causes(fault)
        ))
    })
}

fn signature(secret: &str, at: i64, body: &str) -> Result<String, NotTold> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map_err(|fault| NotTold::Never(format!("its secret is of no use: {fault}")))?;
    mac.update(format!("{at}.{body}").as_bytes());
    Ok(format!("t={at},v1={}", hex::encode(mac.finalize().into_bytes())))
}

/// The chain of causes in one line, without the URL, which may have a secret of the receiver's in it.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use shared::config::Mode;

    use super::*;

    /// R206: what each answer deserves.
    #[test]
    fn a_receiver_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
        let judged = |status: u16| match judge(StatusCode::from_u16(status).unwrap()) {
            Ok(Told::Taken) => "taken",
            Ok(Told::Gone) => "gone",
            Err(NotTold::Later(_)) => "later",
            Err(NotTold::Never(_)) => "never",
        };
        for (status, wanted) in [
            (200, "taken"),
            (204, "taken"),
            (301, "never"),
            (308, "never"),
            (400, "never"),
            (401, "never"),
            (404, "never"),
            (408, "later"),
            (410, "gone"),
            (422, "never"),
            (429, "later"),
            (500, "later"),
            (503, "later"),
        ] {
            assert_eq!(judged(status), wanted, "{status}");
        }
    }

    #[test]
    fn a_signature_is_stripes() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac whsec_x
        let signed = signature("whsec_x", 1_700_000_000, "{}").unwrap();
        let (head, v1) = signed.split_once(",v1=").unwrap();
        assert_eq!((head, v1.len()), ("t=1700000000", 64));
        assert_ne!(signed, signature("whsec_y", 1_700_000_000, "{}").unwrap());
    }

    /// R206: a name that leads inside is found out when it is looked up, however it is written.
    #[tokio::test]
    async fn a_private_address_is_refused_by_whatever_name() {
        let live = Reach {
            mode: Mode::Live,
            allowed: Vec::new(),
        };
        for url in [
            "https://127.0.0.1/",
            "https://localhost/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/latest",
            "http://localhost/",
        ] {
            let refused = addresses(&live, &url.parse().unwrap()).await;
            assert!(matches!(refused, Err(NotTold::Never(_))), "{url}: {refused:?}");
        }
        let test = Reach {
            mode: Mode::Test,
            ..live
        };
        let found = addresses(&test, &"http://localhost:9000/".parse().unwrap())
            .await
            .unwrap();
        assert!(
            found
                .iter()
                .all(|address| address.ip().is_loopback() && address.port() == 9000)
        );
    }
}
