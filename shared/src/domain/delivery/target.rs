//! Where a destination is: as somebody names it, before anything is sent there.

use std::net::IpAddr;

use super::{Channel, address::Reach};

/// Longest address that is kept.
const MOST_CHARS: usize = 500;

/// A place that can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// How.
    pub channel: Channel,
    /// The URL or the address of a mailbox.
    pub text: String,
}

/// Why something is no destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// No URL of a host.
    #[error("give the whole URL of a receiver, such as https://hooks.example.com/quittance")]
    NoUrl,
    /// Anybody on the way could read it.
    #[error("give an https:// URL: http:// goes to this machine only, in test mode")]
    WithoutTls,
    /// It would stand in lists and logs.
    #[error("leave user and password out of the URL: what is sent carries a signature")]
    Credentials,
    /// An address inside.
    #[error(
        "this address is private: a webhook goes to the internet, or to a network that ALERT_PRIVATE_NETWORKS allows"
    )]
    Private,
    /// No address of a mailbox.
    #[error("give the address of one mailbox, such as billing@example.com")]
    NoMailbox,
}

impl Target {
    /// A receiver of webhooks. What its name leads to is found out, and judged again, whenever something is sent.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn webhook(url: &str, reach: &Reach) -> Result<Self, BadTarget> {
        let url = url.trim();
        let (scheme, rest) = url.split_once("://").ok_or(BadTarget::NoUrl)?;
        let plain = match scheme.to_ascii_lowercase().as_str() {
            "https" => false,
            "http" => true,
            _ => return Err(BadTarget::WithoutTls),
        };
        let is_text = url.chars().all(|c| c.is_ascii_graphic()) && !url.contains(['\\', '"', '<', '>']);
        if !is_text || url.len() > MOST_CHARS {
            return Err(BadTarget::NoUrl);
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(BadTarget::Credentials);
        }
        let host = match authority.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        if host.is_empty() {
            return Err(BadTarget::NoUrl);
        }
        let address = match host.parse::<IpAddr>() {
            Ok(address) => Some(address),
            // This machine by its other name.
            Err(_) if host.eq_ignore_ascii_case("localhost") => {
                Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
            }
            Err(_) => None,
        };
        match address {
            Some(address) if !reach.may(address) => Err(BadTarget::Private),
            Some(address) if plain && !reach.may_without_tls(address) => Err(BadTarget::WithoutTls),
            None if plain => Err(BadTarget::WithoutTls),
            _ => Ok(Self {
                channel: Channel::Webhook,
                text: url.to_owned(),
            }),
        }
    }

    /// A mailbox.
    ///
    /// # Errors
    /// When it is none.
    pub fn email(address: &str) -> Result<Self, BadTarget> {
        let address = address.trim();
        let is_word = |c: char| c.is_ascii_graphic() && !"()<>[]:;,\\\"".contains(c);
        match address.split_once('@') {
            Some((local, domain))
                if !local.is_empty()
                    && domain.contains('.')
                    && !domain.starts_with(['.', '-'])
                    && !domain.ends_with(['.', '-'])
                    && !domain.contains('@')
                    && address.chars().all(is_word)
                    && address.len() <= MOST_CHARS =>
            {
                Ok(Self {
                    channel: Channel::Email,
                    text: address.to_owned(),
                })
            }
            _ => Err(BadTarget::NoMailbox),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;

    #[test]
    fn a_webhook_is_https_or_this_machine_in_test_mode() {
        let judge = |mode, url: &str| {
            let reach = Reach {
                mode,
                allowed: Vec::new(),
            };
            Target::webhook(url, &reach).err()
        };
        for url in [
            "https://hooks.example.com/quittance",
            "HTTPS://hooks.example.com:8443/?a=b",
            "https://8.8.8.8/",
            "https://[2606:4700::1111]/x",
        ] {
            assert_eq!(judge(Mode::Live, url), None, "{url}");
        }
        for (url, fault) in [
            ("hooks.example.com", BadTarget::NoUrl),
            ("https://", BadTarget::NoUrl),
            ("https:///x", BadTarget::NoUrl),
            ("https://a b/", BadTarget::NoUrl),
            ("https://a.example\\@10.0.0.1/", BadTarget::NoUrl),
            ("ftp://hooks.example.com/", BadTarget::WithoutTls),
            ("http://hooks.example.com/", BadTarget::WithoutTls),
            ("https://me:secret@hooks.example.com/", BadTarget::Credentials),
            ("https://127.0.0.1/", BadTarget::Private),
            ("https://localhost:9000/", BadTarget::Private),
            ("https://[::1]/", BadTarget::Private),
            ("https://169.254.169.254/latest/meta-data", BadTarget::Private),
        ] {
            assert_eq!(judge(Mode::Live, url), Some(fault), "{url}");
        }
        assert_eq!(judge(Mode::Test, "http://127.0.0.1:9000/hook"), None);
        assert_eq!(judge(Mode::Test, "http://localhost:9000/hook"), None);
        assert_eq!(
            judge(Mode::Test, "http://hooks.example.com/"),
            Some(BadTarget::WithoutTls)
        );
        assert_eq!(judge(Mode::Test, "https://10.0.0.1/"), Some(BadTarget::Private));
    }

    #[test]
    fn a_mailbox_is_one_address() {
        for address in ["billing@example.com", " a.b+c@mail.example.org "] {
            assert!(Target::email(address).is_ok(), "{address}");
        }
        for address in [
            "",
            "billing",
            "@example.com",
            "a@b",
            "a@b@example.com",
            "a@.com",
            "a@example.com, b@example.com",
            "A <a@example.com>",
            "a@example.com\r\nBcc: b@example.com",
        ] {
            assert_eq!(Target::email(address), Err(BadTarget::NoMailbox), "{address}");
        }
    }
}
