//! Networks of addresses: the proxies that a listener trusts.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address, or all addresses with the same beginning: `192.0.2.7`, `10.0.0.0/8`, `2001:db8::/32`.
///
/// ```
/// let network: wisp_broker::Network = "10.0.0.0/8".parse()?;
/// assert!(network.contains([10, 1, 2, 3].into()) && !network.contains([11, 0, 0, 1].into()));
/// # Ok::<(), wisp_broker::InvalidNetwork>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its first address.
    address: IpAddr,
    /// How many bits all its addresses have in common.
    prefix: u32,
}

/// A text that is no network. `Display` is one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidNetwork {
    /// It is no address, or no number of bits follows the slash.
    Syntax,
    /// Bits behind the common ones are set: the network is probably another one than was meant.
    HostBits,
}

impl Network {
    /// Whether the network has this address. An address of IPv4 within IPv6 counts as one of IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (address, own) = (address.to_canonical(), self.address);
        address.is_ipv4() == own.is_ipv4() && masked(address, self.prefix) == masked(own, self.prefix)
    }
}

/// The address with all bits 0 behind the first ones.
fn masked(address: IpAddr, prefix: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork::Syntax)?;
        if address.to_canonical() != address {
            // An address of IPv4 within IPv6: it is looked for without that.
            return Err(InvalidNetwork::Syntax);
        }
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(bits), |digits| {
            // `parse` also takes a sign.
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|prefix| is_number && *prefix <= bits).ok_or(InvalidNetwork::Syntax)
        })?;
        if masked(address, prefix) == address { Ok(Self { address, prefix }) } else { Err(InvalidNetwork::HostBits) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_one = self.prefix == if self.address.is_ipv4() { 32 } else { 128 };
        if is_one { self.address.fmt(f) } else { write!(f, "{}/{}", self.address, self.prefix) }
    }
}

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str("not an address or a network, like 192.0.2.7 or 10.0.0.0/8"),
            Self::HostBits => f.write_str("bits behind the length are set: write the first address of the network"),
        }
    }
}

impl std::error::Error for InvalidNetwork {}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_network_has_the_addresses_with_its_beginning() {
        for (text, inside, outside) in [
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.128/25", "192.0.2.255", "192.0.2.127"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("::1", "::1", "::2"),
            ("127.0.0.0/8", "::ffff:127.0.0.1", "::1"),
        ] {
            let network = network(text);
            assert_eq!(network.to_string(), text);
            assert!(network.contains(inside.parse().unwrap()), "{text}: {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{text}: {outside}");
        }
        assert_eq!(network("192.0.2.7/32").to_string(), "192.0.2.7");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "here",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::ffff:10.0.0.1",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "::/129",
            "10.0.0/8",
            "/8",
        ] {
            assert_eq!(text.parse::<Network>(), Err(InvalidNetwork::Syntax), "{text}");
        }
        for text in ["10.0.0.1/8", "2001:db8::1/32", "192.0.2.1/0"] {
            assert_eq!(text.parse::<Network>(), Err(InvalidNetwork::HostBits), "{text}");
        }
    }
}
