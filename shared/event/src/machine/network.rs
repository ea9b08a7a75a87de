//! IP networks in CIDR notation (`64.235.144.0/20`, `2001:db8::/32`).

use std::net::{IpAddr, Ipv6Addr};

/// An address as the bits that networks compare. An IPv4 address has those of its IPv4-mapped IPv6 address, so it is the same in
/// either spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AddressBits(u128);

impl AddressBits {
    /// `None` if the text is not exactly one address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(Self::of(text.parse().ok()?))
    }

    fn of(address: IpAddr) -> Self {
        Self(
            match address {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => address,
            }
            .to_bits(),
        )
    }
}

/// A network, as the bits that all of its addresses share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    base: u128,
    mask: u128,
}

impl Network {
    /// Parses `base/length`. `None` if it is malformed, if the base has bits beyond the length, or if the length is 0: a network
    /// of all addresses in a rule can only be a mistake.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (base, length) = text.split_once('/')?;
        let base = base.parse::<IpAddr>().ok()?;
        let bits = if base.is_ipv4() { 32 } else { Ipv6Addr::BITS };
        let length = length.parse::<u32>().ok().filter(|length| (1..=bits).contains(length))?;
        let mask = u128::MAX << (bits - length);
        let AddressBits(base) = AddressBits::of(base);
        // Bits beyond the length contradict it: one of the two is a mistake.
        (base & !mask == 0).then_some(Self { base, mask })
    }

    /// The lowest of its addresses.
    pub(crate) const fn first(self) -> AddressBits {
        AddressBits(self.base)
    }

    pub(crate) const fn contains(self, address: AddressBits) -> bool {
        address.0 & self.mask == self.base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(address: &str) -> AddressBits {
        AddressBits::parse(address).unwrap()
    }

    #[test]
    fn network_contains_exactly_the_addresses_from_its_first_to_its_last() {
        let network = Network::parse("64.235.144.0/20").unwrap();
        for (address, expected) in [
            ("64.235.143.255", false),
            ("64.235.144.0", true),
            ("64.235.159.255", true),
            ("64.235.160.0", false),
        ] {
            assert_eq!(network.contains(bits(address)), expected, "{address}");
        }
    }

    #[test]
    fn network_may_be_a_single_address_or_half_of_all() {
        let single = Network::parse("192.0.2.1/32").unwrap();
        assert!(single.contains(bits("192.0.2.1")) && !single.contains(bits("192.0.2.2")));
        let half = Network::parse("128.0.0.0/1").unwrap();
        assert!(half.contains(bits("255.255.255.255")) && !half.contains(bits("127.255.255.255")));
    }

    #[test]
    fn networks_may_be_of_either_kind_of_address() {
        let network = Network::parse("2001:db8:7::/48").unwrap();
        for (address, expected) in [
            ("2001:db8:7::1", true),
            ("2001:db8:7:ffff:ffff:ffff:ffff:ffff", true),
            ("2001:db8:8::", false),
            ("192.0.2.1", false),
        ] {
            assert_eq!(network.contains(bits(address)), expected, "{address}");
        }
        let network = Network::parse("192.0.2.0/24").unwrap();
        assert!(network.contains(bits("::ffff:192.0.2.77")) && !network.contains(bits("::192.0.2.77")));
    }

    #[test]
    fn text_that_is_not_a_network_is_refused() {
        for text in [
            "",
            "1.2.3.4",
            "1.2.3.4/24",
            "1.2.3.0/0",
            "1.2.3.0/33",
            "1.2.3/24",
            "::/0",
            "2001:db8::1/32",
            "::/129",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
