//! Addresses on interfaces, by rtnetlink (`man 7 rtnetlink`). Each is put there with a lifetime, which the kernel ends by
//! itself: that is what holds when the process that should remove the address cannot.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use rtnetlink::packet_core::{Emitable, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use thiserror::Error;

use super::Prefixed;
use super::netlink::{Netlink, attributes, word};

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const LINK_HARDWARE: u16 = 1;
const ADDRESS_FAR: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ADDRESS_LIFETIME: u16 = 6;
const FLAG_UP: u32 = 0x01;
const FLAG_RUNNING: u32 = 0x40;

/// What the kernel did not do.
#[derive(Debug, Error)]
pub enum Error {
    /// No netlink socket.
    #[error("the kernel's network tables cannot be reached over netlink")]
    Netlink(#[source] io::Error),
    /// There is no such interface in this network namespace.
    #[error("there is no interface `{0}` here; `ip link` lists those that are")]
    NoInterface(String),
    /// The process may not change addresses.
    #[error("changing addresses needs the capability CAP_NET_ADMIN: run as root, or grant it to the service")]
    NotPermitted,
    /// The lifetime rounds down to nothing.
    #[error("less than a second is left of the lease of {0}")]
    TooLate(Prefixed),
    /// Another reason.
    #[error("the kernel refuses to {what} {address} on `{interface}`")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The address.
        address: Prefixed,
        /// The interface.
        interface: String,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

/// An interface, as it was when it was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number, which changes when it is made anew.
    pub index: u32,
    /// Its hardware address: six bytes for Ethernet, none for links without one.
    pub hardware: Vec<u8>,
    /// Whether it is up and has a carrier.
    pub running: bool,
}

/// An address that is on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The address.
    pub address: Prefixed,
    /// What is left of its lifetime, in whole seconds; `None`: it stays.
    pub lifetime: Option<Duration>,
}

/// The kernel's tables of one network namespace.
#[derive(Debug)]
pub struct Kernel {
    netlink: Netlink,
}

impl Kernel {
    /// Opens the tables of the network namespace that the calling thread is in.
    ///
    /// # Errors
    /// If the system has no such socket for the process.
    pub fn open() -> Result<Self, Error> {
        Netlink::open(NETLINK_ROUTE).map(|netlink| Self { netlink }).map_err(Error::Netlink)
    }

    /// Looks an interface up by name.
    ///
    /// # Errors
    /// If there is none, or the kernel cannot be asked.
    pub fn interface(&mut self, name: &str) -> Result<Interface, Error> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let replies = self.netlink.ask(GET_LINK, 0, &emit(&message)).map_err(|error| match error.raw_os_error() {
            // ENODEV, and EINVAL or ERANGE for what cannot be a name.
            Some(19 | 22 | 34) => Error::NoInterface(name.to_owned()),
            _ => Error::Netlink(error),
        })?;
        let link = replies.iter().find(|reply| reply.kind == NEW_LINK);
        // A link message begins with its family and kind (four bytes), its index, its flags and which of them change.
        let body = link.map(|reply| &reply.body[..]).ok_or_else(|| Error::NoInterface(name.to_owned()))?;
        let hardware = attributes(body.get(16..).unwrap_or_default()).find(|(kind, _)| *kind == LINK_HARDWARE);
        Ok(Interface {
            index: word(body, 4),
            hardware: hardware.map(|(_, bytes)| bytes.to_vec()).unwrap_or_default(),
            running: word(body, 8) & (FLAG_UP | FLAG_RUNNING) == FLAG_UP | FLAG_RUNNING,
        })
    }

    /// Puts an address on an interface for `lifetime`, or gives it this lifetime from now if it is there. Lifetimes are
    /// whole seconds in the kernel: the fraction is dropped, so that the address never outlives what it was given.
    ///
    /// Nothing is waited for: IPv6's duplicate address detection is left out, because the node that held the address may
    /// still answer for it when this one already holds the lease.
    ///
    /// # Errors
    /// [`Error::TooLate`] for less than a second; what the kernel says.
    pub fn put(&mut self, address: Prefixed, interface: &str, lifetime: Duration) -> Result<Interface, Error> {
        let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX - 1);
        if seconds == 0 {
            return Err(Error::TooLate(address));
        }
        let link = self.interface(interface)?;
        let mut info = CacheInfo::default();
        info.ifa_valid = seconds;
        // A deprecated address is answered on, but connections that the node opens itself do not come from it: they would
        // die when it moves. For IPv4 the first address of the network has that part already.
        info.ifa_preferred = if address.ip.is_ipv4() { seconds } else { 0 };
        let mut message = about(address, link.index);
        message.attributes.push(AddressAttribute::CacheInfo(info));
        self.netlink
            .ask(NEW_ADDRESS, NLM_F_CREATE | NLM_F_REPLACE, &emit(&message))
            .map_err(|error| refused("put", address, interface, error))?;
        Ok(link)
    }

    /// Takes an address off an interface; whether it was there. An interface that is gone had none.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&mut self, address: Prefixed, interface: &str) -> Result<bool, Error> {
        let link = match self.interface(interface) {
            Err(Error::NoInterface(_)) => return Ok(false),
            link => link?,
        };
        match self.netlink.ask(DELETE_ADDRESS, 0, &emit(&about(address, link.index))) {
            Ok(_) => Ok(true),
            // EADDRNOTAVAIL, and ENODEV if the interface went away just now.
            Err(error) if matches!(error.raw_os_error(), Some(99 | 19)) => Ok(false),
            Err(error) => Err(refused("remove", address, interface, error)),
        }
    }

    /// The addresses on an interface, of both families.
    ///
    /// # Errors
    /// If there is no such interface, or the kernel cannot be asked.
    pub fn held(&mut self, interface: &str) -> Result<Vec<Held>, Error> {
        let link = self.interface(interface)?;
        let replies =
            self.netlink.ask(GET_ADDRESS, NLM_F_DUMP, &emit(&AddressMessage::default())).map_err(Error::Netlink)?;
        let addresses = replies.iter().filter(|reply| reply.kind == NEW_ADDRESS && word(&reply.body, 4) == link.index);
        Ok(addresses.filter_map(|reply| held(&reply.body)).collect())
    }
}

fn about(address: Prefixed, index: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = if address.ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.prefix_len = address.bits;
    message.header.index = index;
    message.header.scope = AddressScope::Universe;
    if address.ip.is_ipv6() {
        message.header.flags = AddressHeaderFlags::Nodad;
    }
    message.attributes = vec![AddressAttribute::Local(address.ip), AddressAttribute::Address(address.ip)];
    message
}

/// What an address message tells: family, prefix, flags and scope in a byte each, the interface's index, then attributes.
fn held(body: &[u8]) -> Option<Held> {
    let bits = *body.get(1)?;
    let (mut local, mut far, mut lifetime) = (None, None, None);
    for (kind, value) in attributes(body.get(8..)?) {
        match kind {
            ADDRESS_FAR => far = ip(value),
            // On a link between two points, the other attribute is the other end's.
            ADDRESS_LOCAL => local = ip(value),
            ADDRESS_LIFETIME if word(value, 4) != u32::MAX => {
                lifetime = Some(Duration::from_secs(word(value, 4).into()));
            }
            _ => {}
        }
    }
    Some(Held { address: Prefixed { ip: local.or(far)?, bits }, lifetime })
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).into());
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).into())).ok()
}

fn refused(what: &'static str, address: Prefixed, interface: &str, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::PermissionDenied => Error::NotPermitted,
        _ => Error::Refused { what, address, interface: interface.to_owned(), source },
    }
}

fn emit(message: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}
