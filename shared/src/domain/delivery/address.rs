//! Which addresses a webhook may lead to. Whoever names a destination makes this installation send a request there, from inside of
//! its network: to a neighbour, or to the cloud's own metadata, if it were let.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::config::Mode;

/// A range of addresses: `10.20.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

/// Text that is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network: give an address and its bits, such as 10.20.0.0/16")]
pub struct NoNetwork(String);

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let parse = || {
            let (base, bits) = text.trim().split_once('/')?;
            let (base, bits) = (base.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?);
            (bits <= width(base)).then_some(Self { base, bits })
        };
        parse().ok_or_else(|| NoNetwork(text.trim().to_owned()))
    }
}

impl Network {
    const fn v4(a: u8, b: u8, c: u8, bits: u8) -> Self {
        Self {
            base: IpAddr::V4(Ipv4Addr::new(a, b, c, 0)),
            bits,
        }
    }

    const fn v6(first: u16, second: u16, bits: u8) -> Self {
        Self {
            base: IpAddr::V6(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0)),
            bits,
        }
    }

    /// Whether an address is in it. One of the other family is not.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        let spare = u32::from(width(address).saturating_sub(self.bits));
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                (base.to_bits() ^ address.to_bits())
                    .checked_shr(spare)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                (base.to_bits() ^ address.to_bits())
                    .checked_shr(spare)
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// What is not the internet (IANA's special-purpose registries).
const NOT_PUBLIC: [Network; 27] = [
    Network::v4(0, 0, 0, 8),        // this network
    Network::v4(10, 0, 0, 8),       // private
    Network::v4(100, 64, 0, 10),    // shared by carriers; some clouds' metadata
    Network::v4(127, 0, 0, 8),      // loopback
    Network::v4(169, 254, 0, 16),   // link-local; most clouds' metadata
    Network::v4(172, 16, 0, 12),    // private
    Network::v4(192, 0, 0, 24),     // protocol assignments
    Network::v4(192, 0, 2, 24),     // documentation
    Network::v4(192, 31, 196, 24),  // AS112
    Network::v4(192, 52, 193, 24),  // AMT
    Network::v4(192, 88, 99, 24),   // 6to4 relays
    Network::v4(192, 168, 0, 16),   // private
    Network::v4(192, 175, 48, 24),  // AS112
    Network::v4(198, 18, 0, 15),    // benchmarks
    Network::v4(198, 51, 100, 24),  // documentation
    Network::v4(203, 0, 113, 24),   // documentation
    Network::v4(224, 0, 0, 4),      // multicast
    Network::v4(240, 0, 0, 4),      // reserved, broadcast
    Network::v6(0, 0, 8),           // unspecified, loopback, IPv4 in it
    Network::v6(0x64, 0xff9b, 32),  // translated to IPv4
    Network::v6(0x100, 0, 32),      // discard, dummy
    Network::v6(0x2001, 0, 23),     // protocol assignments, Teredo
    Network::v6(0x2001, 0xdb8, 32), // documentation
    Network::v6(0x2002, 0, 16),     // 6to4
    Network::v6(0xfc00, 0, 7),      // unique local
    Network::v6(0xfe80, 0, 9),      // link-local, site-local
    Network::v6(0xff00, 0, 8),      // multicast
];

/// Where webhooks may go from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// In test mode this machine too, also without TLS.
    pub mode: Mode,
    /// Private networks that whoever runs this installation has allowed.
    pub allowed: Vec<Network>,
}

impl Reach {
    /// May a webhook lead to this address?
    #[must_use]
    pub fn may(&self, address: IpAddr) -> bool {
        // An IPv4 address in IPv6's clothes is the IPv4 address.
        let address = address.to_canonical();
        self.may_without_tls(address)
            || self.allowed.iter().any(|network| network.holds(address))
            || !NOT_PUBLIC.iter().any(|network| network.holds(address))
    }

    /// Also when everybody on the way could read it?
    #[must_use]
    pub fn may_without_tls(&self, address: IpAddr) -> bool {
        self.mode == Mode::Test && address.to_canonical().is_loopback()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reach(mode: Mode, allowed: &[&str]) -> Reach {
        Reach {
            mode,
            allowed: allowed.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn only_the_internet_is_within_reach() {
        let live = reach(Mode::Live, &[]);
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.19.0.1",
            "::1",
            "::",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "2002:a00:1::1",
            "2001::1",
            "2001:db8::1",
        ] {
            assert!(!live.may(address.parse().unwrap()), "{address}");
        }
        for address in [
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(live.may(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn this_machine_is_within_reach_in_test_mode_and_a_network_that_was_allowed_in_any() {
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(reach(Mode::Test, &[]).may(loopback));
        assert!(reach(Mode::Test, &[]).may_without_tls("::1".parse().unwrap()));
        assert!(!reach(Mode::Live, &[]).may_without_tls(loopback));
        assert!(!reach(Mode::Test, &[]).may_without_tls("8.8.8.8".parse().unwrap()));
        let inside = reach(Mode::Live, &["10.20.0.0/16", "fd12::/16"]);
        for (address, may) in [
            ("10.20.255.1", true),
            ("::ffff:10.20.0.1", true),
            ("10.21.0.1", false),
            ("fd12:3::1", true),
            ("fd13::1", false),
        ] {
            assert_eq!(inside.may(address.parse().unwrap()), may, "{address}");
        }
    }

    #[test]
    fn text_that_is_no_network_is_refused() {
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0/8",
            "fd00::/129",
            "10.0.0.0/-1",
            "x/8",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        assert!(
            "0.0.0.0/0"
                .parse::<Network>()
                .unwrap()
                .holds("8.8.8.8".parse().unwrap())
        );
    }

    proptest! {
        /// The standard library's own idea of what is private, and the disguises of IPv4 in IPv6, are never reached.
        #[test]
        fn nothing_private_is_reached_in_any_disguise(bits: u32) {
            let live = reach(Mode::Live, &[]);
            let address = Ipv4Addr::from_bits(bits);
            let mapped = IpAddr::V6(address.to_ipv6_mapped());
            prop_assert_eq!(live.may(IpAddr::V4(address)), live.may(mapped));
            if address.is_private() || address.is_loopback() || address.is_link_local() || address.is_multicast()
                || address.is_broadcast() || address.is_unspecified() || address.is_documentation() {
                prop_assert!(!live.may(mapped));
            }
            let [a, b, c, d] = address.octets();
            let translated = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            prop_assert!(!live.may(IpAddr::V6(translated)));
        }
    }
}
