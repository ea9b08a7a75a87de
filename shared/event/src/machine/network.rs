//! IPv4 networks in the usual notation (`64.235.144.0/20`).
//!
//! Only what rules need. Addresses are text from others: whatever is no IPv4 address is in no network.

use std::net::Ipv4Addr;

/// A network: the bits that its addresses share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    base: u32,
    mask: u32,
}

impl Network {
    /// Reads `base/length`; the base must have no bits behind the length.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (base, length) = text.split_once('/')?;
        let base = base.parse::<Ipv4Addr>().ok()?.to_bits();
        let length = length.parse::<u32>().ok().filter(|length| (1..=32).contains(length))?;
        let mask = u32::MAX << (32 - length);
        (base & !mask == 0).then_some(Self { base, mask })
    }

    pub(super) fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask == self.base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_its_first_and_last_address_and_no_other() {
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
    fn what_is_no_network_is_refused() {
        for text in ["", "1.2.3.4", "1.2.3.4/24", "1.2.3.0/0", "1.2.3.0/33", "1.2.3/24", "::/20"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
