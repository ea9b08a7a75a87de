//! IPv4 networks in CIDR notation (`64.235.144.0/20`).
//!
//! Rules name no IPv6 networks so far; an IPv6 address is in none.

use std::net::Ipv4Addr;

/// A network, as the bits that all of its addresses share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    base: u32,
    mask: u32,
}

impl Network {
    /// Parses `base/length`. `None` if it is malformed, if the base has bits beyond the length, or if the length is 0: a network
    /// of all addresses in a rule can only be a mistake.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (base, length) = text.split_once('/')?;
        let base = base.parse::<Ipv4Addr>().ok()?.to_bits();
        let length = length.parse::<u32>().ok().filter(|length| (1..=32).contains(length))?;
        let mask = u32::MAX << (32 - length);
        // Bits beyond the length contradict it: one of the two is a mistake.
        (base & !mask == 0).then_some(Self { base, mask })
    }

    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask == self.base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_contains_exactly_the_addresses_from_its_first_to_its_last() {
        let network = Network::parse("64.235.144.0/20").unwrap();
        for (address, expected) in [
            ("64.235.143.255", false),
            ("64.235.144.0", true),
            ("64.235.159.255", true),
            ("64.235.160.0", false),
        ] {
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn network_may_be_a_single_address_or_half_of_all() {
        let single = Network::parse("192.0.2.1/32").unwrap();
        assert!(
            single.contains(Ipv4Addr::new(192, 0, 2, 1)) && !single.contains(Ipv4Addr::new(192, 0, 2, 2))
        );
        let half = Network::parse("128.0.0.0/1").unwrap();
        assert!(half.contains(Ipv4Addr::BROADCAST) && !half.contains(Ipv4Addr::new(127, 255, 255, 255)));
    }

    #[test]
    fn text_that_is_not_a_network_is_refused() {
        for text in ["", "1.2.3.4", "1.2.3.4/24", "1.2.3.0/0", "1.2.3.0/33", "1.2.3/24", "::/20"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
