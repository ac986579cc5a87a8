//! `[[address]]` and `node.spare`: addresses that one node of the cluster holds at a time.

use std::time::Duration;

use mainstay_cluster::address::Prefixed;
use mainstay_cluster::guard::ADDRESSES_MAX;
use mainstay_gateway::spec::Listener;

use super::problem::Fault;
use super::reader::{Item, Place, Reader, Section};
use super::{keys, words};

/// The longest name of an interface that Linux takes.
const INTERFACE_BYTES_MAX: usize = 15;
const PREFER_MAX: usize = 64;
const DAY: Duration = Duration::from_secs(86_400);
/// A node that leaves has ten seconds to hand over.
const DRAIN_MAX: Duration = Duration::from_secs(8);

/// An address that moves between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: Prefixed,
    /// What holding it means.
    pub mode: Mode,
    /// Nodes that it goes to before others, the first one first.
    pub prefer: Vec<String>,
    /// How long a preferred node has to be well before it takes the address back; `None`: it stays where it is.
    pub preempt: Option<Duration>,
    /// How long connections are given to end before the node leaves or the address is moved.
    pub drain: Duration,
}

/// What holding an address means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is on this interface.
    Interface(String),
    /// The listeners on it are open. Every node has it already, or is told by other means where it leads.
    Bind,
}

/// An address, and where it stands.
pub(super) struct Read {
    pub(super) address: Address,
    pub(super) place: Place,
}

pub(super) fn read(section: &Section<'_>) -> Read {
    let loopback = Prefixed { ip: std::net::Ipv4Addr::LOCALHOST.into(), bits: 32 };
    section.required("ip", "write ip = \"10.0.1.100/32\"");
    let address = section.field("ip", loopback, |item| item.parsed(parse_ip)).value;
    let binds = section.field("mode", false, |item| item.one_of(&[("address", false), ("bind", true)]));
    let mode = if binds.value {
        if let Some(item) = section.item("interface") {
            item.error(Fault::new("`interface` has no meaning with mode = \"bind\": no interface is changed"));
        }
        Mode::Bind
    } else {
        if binds.is_good {
            section.required("interface", "name the network interface that it is put on, such as \"eth0\"");
        }
        Mode::Interface(section.field("interface", String::new(), |item| item.parsed(parse_interface)).value)
    };
    let prefer = section.item("prefer").map(|item| read_prefer(&item)).unwrap_or_default();
    let preempt = section.field("preempt", None, |item| read_preempt(item)).value;
    if let (Some(item), true) = (section.item("preempt"), prefer.is_empty() && preempt.is_some()) {
        item.error(Fault::new("without `prefer` there is no node to take the address back"));
    }
    let drain = section.duration("drain", Duration::from_secs(1), Duration::ZERO..=DRAIN_MAX).value;
    Read { address: Address { address, mode, prefer, preempt, drain }, place: section.place.clone() }
}

fn parse_ip(text: &str) -> Result<Prefixed, Fault> {
    let address: Prefixed = text.parse().map_err(|problem: &str| {
        Fault::new(problem).hint("write an address with its prefix, such as \"10.0.1.100/32\" or \"2001:db8::100/128\"")
    })?;
    Ok(address)
}

fn parse_interface(text: &str) -> Result<String, Fault> {
    let is_good = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    if text.is_empty() || text.len() > INTERFACE_BYTES_MAX || !text.bytes().all(is_good) || text == "." || text == ".."
    {
        let fault = Fault::new("this cannot be the name of a network interface");
        return Err(fault.hint("`ip link` lists those that are there; a name has at most 15 letters"));
    }
    Ok(text.to_owned())
}

fn read_prefer(list: &Item<'_>) -> Vec<String> {
    let items = list.list();
    if items.len() > PREFER_MAX {
        list.error(Fault::new(format!("at most {PREFER_MAX} nodes can be named here")));
    }
    let mut names: Vec<String> = Vec::new();
    for item in items {
        if let Some(name) = item.parsed(words::name) {
            if names.contains(&name) {
                item.error(Fault::new(format!("`{name}` stands here twice")));
            }
            names.push(name);
        }
    }
    names
}

/// A duration, or `off`.
fn read_preempt(item: &Item<'_>) -> Option<Option<Duration>> {
    if item.word() == Some("off") {
        return Some(None);
    }
    item.duration(&(Duration::ZERO..=DAY)).map(Some)
}

/// Marks listeners that stand on a floating address, and says what does not fit together.
pub(super) fn relate(reader: &Reader<'_>, has_cluster: bool, addresses: &[Read], listeners: &mut [&mut Listener]) {
    let Some(first) = addresses.first() else { return };
    if !has_cluster {
        let fault = Fault::new("without [cluster] no node knows who holds an address");
        reader.error(&first.place, fault.hint("write [cluster] with `peers` below it, see docs/cluster.md"));
    }
    if addresses.len() > ADDRESSES_MAX {
        reader.error(&first.place, Fault::new(format!("at most {ADDRESSES_MAX} addresses can be held")));
    }
    for (index, read) in addresses.iter().enumerate() {
        let ip = read.address.address.ip;
        if addresses[..index].iter().any(|other| other.address.address.ip == ip) {
            reader.error(&read.place, Fault::new(format!("there is another [[address]] {ip}")));
        }
        let mut is_used = false;
        for listener in listeners.iter_mut().filter(|listener| listener.bind.ip() == ip) {
            is_used = true;
            listener.floating = true;
        }
        if read.address.mode == Mode::Bind && !is_used {
            let fault = Fault::new(format!("no [[listener]] is bound to {ip}, so that holding it would mean nothing"));
            reader.error(&read.place, fault.hint("with mode = \"bind\" the listeners on the address open and close"));
        }
    }
}

/// The keys of one address.
pub(super) const KEYS: &keys::Keys = &keys::ADDRESS;
