//! Address ranges: `addr` or `addr/prefix` (configuration section 1). Host bits are masked off; an IPv4 range also
//! matches the IPv4-mapped IPv6 form of its addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// Why a text is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCidr {
    /// Before the slash stands no IP address.
    #[error("is not an IP address")]
    Address,
    /// Behind the slash stands no number.
    #[error("has a prefix that is not a number")]
    Prefix,
    /// More bits than the address has.
    #[error("has a prefix above {0}")]
    TooLong(u8),
}

impl Cidr {
    /// True when the address lies in the range, also in its IPv4-mapped form.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => mask_v4(address, self.prefix) == network,
            (IpAddr::V6(network), IpAddr::V6(_)) => {
                let IpAddr::V6(address) = address else {
                    return false;
                };
                mask_v6(address, self.prefix) == network
            }
            // `::ffff:0:0/96` and wider ranges take in the mapped addresses.
            (IpAddr::V6(network), IpAddr::V4(address)) => {
                mask_v6(address.to_ipv6_mapped(), self.prefix) == network
            }
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidCidr::Address)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(digits) if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err(InvalidCidr::Prefix);
            }
            Some(digits) => digits
                .parse::<u8>()
                .ok()
                .filter(|prefix| *prefix <= most)
                .ok_or(InvalidCidr::TooLong(most))?,
        };
        let network = match address {
            IpAddr::V4(address) => IpAddr::V4(mask_v4(address, prefix)),
            IpAddr::V6(address) => IpAddr::V6(mask_v6(address, prefix)),
        };
        Ok(Self { network, prefix })
    }
}

impl TryFrom<String> for Cidr {
    type Error = InvalidCidr;

    fn try_from(text: String) -> Result<Self, InvalidCidr> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(range: Cidr) -> Self {
        range.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

fn mask_v4(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

fn mask_v6(address: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn host_bits_are_masked_off_and_no_prefix_is_one_host() {
        assert_eq!(range("10.1.2.3/8"), range("10.0.0.0/8"));
        assert_eq!(range("192.0.2.7").to_string(), "192.0.2.7/32");
        assert_eq!(range("2001:db8::1").to_string(), "2001:db8::1/128");
        assert!(range("0.0.0.0/0").contains(address("203.0.113.9")));
    }

    #[test]
    fn an_ipv4_range_matches_the_mapped_form_of_its_addresses() {
        assert!(range("10.0.0.0/8").contains(address("::ffff:10.9.9.9")));
        assert!(!range("10.0.0.0/8").contains(address("::ffff:11.0.0.1")));
        assert!(range("::ffff:0:0/96").contains(address("192.0.2.1")));
        assert!(!range("2001:db8::/32").contains(address("192.0.2.1")));
    }

    #[test]
    fn a_prefix_above_the_length_of_the_address_is_refused() {
        assert_eq!("10.0.0.0/33".parse::<Cidr>(), Err(InvalidCidr::TooLong(32)));
        assert_eq!("::/129".parse::<Cidr>(), Err(InvalidCidr::TooLong(128)));
        assert_eq!("10.0.0.0/+8".parse::<Cidr>(), Err(InvalidCidr::Prefix));
        assert_eq!("10.0.0/8".parse::<Cidr>(), Err(InvalidCidr::Address));
    }
}
