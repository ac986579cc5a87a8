//! What has to hold between groups of database servers and everything else.

use std::net::SocketAddr;

use super::super::cluster::Cluster;
use super::super::listener;
use super::super::node::Settings;
use super::super::problem::{Fault, listed, near};
use super::super::reader::Reader;
use super::{DATABASES_MAX, Read, door};

/// Says what does not fit together.
pub(in crate::config) fn relate(
    reader: &Reader<'_>,
    databases: &[Read],
    settings: &Settings,
    listeners: &[listener::Read],
    cluster: Option<&Cluster>,
) {
    let Some(first) = databases.first() else { return };
    if cluster.is_none() {
        let fault = Fault::new("without [cluster] no node knows who is primary");
        reader.error(&first.place, fault.hint("write [cluster] with `peers` below it, see docs/cluster.md"));
    }
    if databases.len() > DATABASES_MAX {
        reader.error(&first.place, Fault::new(format!("there are more than {DATABASES_MAX} groups")));
    }
    for (index, read) in databases.iter().enumerate() {
        let (before, name) = (&databases[..index], &read.database.name);
        if !name.is_empty() && before.iter().any(|other| other.database.name == *name) {
            let fault = Fault::new(format!("there is another [[database]] `{name}`"));
            reader.error(&read.name.place, fault.hint("give each its own name"));
        }
        check_names(reader, read, listeners);
        check_members(reader, read, cluster);
        check_folders(reader, read, before);
    }
    let of_listeners = listeners.iter().filter(|read| read.bind.is_given && read.bind.is_good);
    let of_listeners = of_listeners.map(|read| (format!("listener `{}`", read.listener.name), read.bind.value));
    let admin = settings.admin.value.filter(|_address| settings.admin.is_good);
    let admin = admin.map(|address| ("the admin interface".to_owned(), address));
    let peers = cluster.map(|cluster| ("[cluster]".to_owned(), cluster.listen));
    let known = of_listeners.chain(admin).chain(peers).collect();
    check_addresses(reader, databases, &settings.node.name, known);
}

/// Its doors are listeners, too, and go by names that others must not have.
fn check_names(reader: &Reader<'_>, read: &Read, listeners: &[listener::Read]) {
    for door in door::listeners(&read.database) {
        if let Some(other) = listeners.iter().find(|other| other.listener.name == door.name) {
            let fault = Fault::new(format!("`{}` is how a listener of a [[database]] is called", door.name));
            reader.error(&other.name, fault.hint("give one of them another name"));
        }
    }
}

/// `peers` need not name everybody, but who is missing there is probably misspelt here.
fn check_members(reader: &Reader<'_>, read: &Read, cluster: Option<&Cluster>) {
    let peers = cluster.map(|cluster| cluster.peers.as_slice()).unwrap_or_default();
    if peers.is_empty() {
        return;
    }
    for member in read.members.iter().filter(|member| member.is_good) {
        let node = member.member.node.as_str();
        if peers.iter().any(|peer| peer.name == node) {
            continue;
        }
        let names = || peers.iter().map(|peer| peer.name.as_str());
        let fault = Fault::new(format!("`peers` under [cluster] names no node `{node}`"));
        let hint = match near(node, names()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("these are there: {}", listed(names())),
        };
        reader.warn(&member.place, fault.hint(hint));
    }
}

/// Two servers in one folder would each take the other's data for its own.
fn check_folders(reader: &Reader<'_>, read: &Read, before: &[Read]) {
    let Some(server) = &read.database.server else { return };
    for other in before {
        let Some(theirs) = &other.database.server else { continue };
        let folders = [&server.data_dir, &server.state_dir];
        let shared = folders.into_iter().find(|folder| [&theirs.data_dir, &theirs.state_dir].contains(folder));
        if let Some(folder) = shared.filter(|_| read.database.name != other.database.name) {
            let fault = Fault::new(format!("{} is a folder of `{}`", folder.display(), other.database.name));
            reader.error(&read.place, fault.hint("give each server folders of its own"));
        }
    }
}

/// What this machine listens on, each once.
fn check_addresses(reader: &Reader<'_>, databases: &[Read], node: &str, mut known: Vec<(String, SocketAddr)>) {
    for read in databases {
        let name = &read.database.name;
        let own = read.members.iter().find(|member| member.is_good && member.member.node == node);
        let server = own.map(|member| (format!("the server of `{name}`"), member.member.address, &member.place));
        let doors = read.doors.iter().map(|door| (format!("`{}` of `{name}`", door.key), door.bind, &door.place));
        for (what, bind, place) in server.into_iter().chain(doors) {
            if let Some((other, address)) = known.iter().find(|(_, address)| collide(*address, bind)) {
                let fault = Fault::new(format!("{other} listens on {address} already"));
                reader.error(place, fault.hint("choose another port"));
            } else {
                known.push((what, bind));
            }
        }
    }
}

/// Whether the kernel would refuse to listen on both.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let covers =
        |wide: SocketAddr, narrow: SocketAddr| wide.ip().is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4());
    one.port() == other.port() && one.port() > 0 && (one.ip() == other.ip() || covers(one, other) || covers(other, one))
}
