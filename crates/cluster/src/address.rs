//! Floating addresses: what one node holds at a time, and how the kernel, the neighbours and the clients are told.
//!
//! An address is only ever put on an interface with a lifetime that ends before the lease does ([`kernel`]), so that a node
//! which is frozen, or whose process is gone, loses it without anybody's help. Neighbours are told where it is by
//! [`announce`], and [`sessions`] ends the connections that it leaves behind. The [`crate::guard`] is a process of its own that
//! does sooner what the kernel would do later. Where an address belongs, the plan of
//! [`crate::assignment`] says; the [`driver`] carries it out.

pub mod announce;
mod board;
pub mod driver;
mod holding;
pub mod kernel;
mod link_layer;
mod netlink;
pub mod sessions;
mod slot;
pub mod view;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address with the length of its network's prefix, as in `10.0.1.100/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Prefixed {
    /// The address.
    pub ip: IpAddr,
    /// Bits of the prefix: up to 32 for IPv4, up to 128 for IPv6.
    pub bits: u8,
}

impl Prefixed {
    /// The address as the only one of its network.
    pub fn alone(ip: IpAddr) -> Self {
        Self { ip, bits: bits_max(ip) }
    }
}

impl fmt::Display for Prefixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

impl FromStr for Prefixed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let ip: IpAddr = ip.parse().map_err(|_| "not an IP address")?;
        if ip.is_unspecified() || ip.is_multicast() {
            return Err("not the address of one machine");
        }
        let Some(bits) = bits else { return Ok(Self::alone(ip)) };
        let bits: u8 = bits.parse().map_err(|_| "the prefix is not a number")?;
        if bits == 0 || bits > bits_max(ip) {
            return Err("the prefix is not between 1 and 32 bits (IPv4) or 128 bits (IPv6)");
        }
        Ok(Self { ip, bits })
    }
}

fn bits_max(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_prefix() {
        for (text, expected) in [
            ("10.0.1.100/24", Ok("10.0.1.100/24")),
            ("10.0.1.100", Ok("10.0.1.100/32")),
            ("2001:db8::1/64", Ok("2001:db8::1/64")),
            ("2001:db8::1", Ok("2001:db8::1/128")),
            ("10.0.1.100/33", Err("prefix")),
            ("10.0.1.100/0", Err("prefix")),
            ("10.0.1.100/x", Err("number")),
            ("ten/8", Err("IP address")),
            ("0.0.0.0/8", Err("one machine")),
            ("224.0.0.1/32", Err("one machine")),
        ] {
            match (text.parse::<Prefixed>(), expected) {
                (Ok(read), Ok(expected)) => assert_eq!(read.to_string(), expected),
                (Err(error), Err(word)) => assert!(error.contains(word), "{text}: {error}"),
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
    }
}
