//! `[[database.member]]`: who belongs to a group.

use std::net::SocketAddr;

use super::super::problem::Fault;
use super::super::reader::{Place, Section};
use super::super::{keys, words};
use super::{MEMBERS_MAX, Member, PRIORITY, PRIORITY_MAX};

/// A member, and where it stands.
pub(super) struct Read {
    pub(super) member: Member,
    pub(super) place: Place,
    /// Whether it can be compared with others.
    pub(super) is_good: bool,
}

pub(super) fn read_all(database: &Section<'_>) -> Vec<Read> {
    let sections = database.sections("member", &keys::DATABASE_MEMBER);
    let is_written = database.item("member").is_some_and(|item| item.is_list());
    if sections.len() > MEMBERS_MAX {
        database.reader.error(&database.place, Fault::new(format!("a group has at most {MEMBERS_MAX} members")));
    } else if sections.len() < 2 && (is_written || !database.has("member")) {
        let fault = Fault::new("a group needs at least two members: one alone could not be replaced");
        let hint = "write [[database.member]] with `node` and `address` below it, once for each server";
        database.reader.error_if_whole(&database.place, fault.hint(hint));
    }
    let members: Vec<Read> = sections.iter().map(read).collect();
    for (index, read) in members.iter().enumerate().filter(|(_, read)| read.is_good) {
        let others = members[..index].iter().filter(|other| other.is_good);
        for other in others {
            if other.member.node == read.member.node {
                let fault = Fault::new(format!("node `{}` is a member already", read.member.node));
                database.reader.error(&read.place, fault.hint("a node runs one server of a group"));
            } else if other.member.address == read.member.address {
                let fault = Fault::new(format!("{} is the server of `{}`", read.member.address, other.member.node));
                database.reader.error(&read.place, fault.hint("each member's server has an address of its own"));
            }
        }
    }
    if !members.is_empty() && members.iter().all(|read| read.member.priority == 0) {
        let fault = Fault::new("no member may become primary: each has the priority 0");
        database.reader.error(&database.place, fault.hint("give the members that may a priority of 1 or more"));
    }
    members
}

fn read(section: &Section<'_>) -> Read {
    section.required("node", "name the node that runs the server, as its `name` under [node] has it");
    section.required("address", "say where its server listens, such as \"10.0.1.1:5432\"");
    let node = section.field("node", String::new(), |item| item.parsed(words::name));
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let address = section.field("address", nowhere, |item| item.parsed(parse_address));
    let priority = section.integer("priority", PRIORITY, 0..=PRIORITY_MAX).value;
    let (no_reads, no_sync) = (section.flag("no_reads", false).value, section.flag("no_sync", false).value);
    let zone = section.field("zone", None, |item| item.parsed(words::name).map(Some)).value;
    Read {
        is_good: node.is_given && node.is_good && address.is_given && address.is_good,
        member: Member {
            node: node.value,
            address: address.value,
            priority: u32::try_from(priority).unwrap_or(0),
            zone,
            no_reads,
            no_sync,
        },
        place: section.place.clone(),
    }
}

/// Where the other members and the gateways reach a server.
fn parse_address(text: &str) -> Result<SocketAddr, Fault> {
    let address = words::bind(text).map_err(|fault| fault.or_hint("write \"10.0.1.1:5432\""))?;
    if address.ip().is_unspecified() || address.port() == 0 {
        let fault = Fault::new("the other nodes cannot reach this address");
        return Err(fault.hint("write the address and the port that they reach it at, such as \"10.0.1.1:5432\""));
    }
    Ok(address)
}
