//! Which node a command speaks to, and how it prints what that says: the same for every command.

use clap::Args;

use super::Place;
use crate::config::defaults;

/// Arguments of every command that asks a running node.
#[derive(Clone, Debug, Default, Args)]
pub struct AdminArgs {
    /// The node's admin socket, or an address [default: $XDG_RUNTIME_DIR/mainstay/admin.sock, /run/... for root, else /tmp/...]
    #[arg(long, visible_alias = "admin-socket", value_name = "SOCKET_OR_ADDR", global = true)]
    pub admin: Option<String>,
    /// Another node of the cluster, which the one at --admin asks over its own connection
    #[arg(id = "asked_node", long = "node", value_name = "NAME", global = true)]
    pub node: Option<String>,
    /// Print the result as JSON
    #[arg(long, global = true)]
    pub json: bool,
}

impl AdminArgs {
    /// Where a question is asked: anybody on the machine may ask over TCP, too.
    pub fn places(&self) -> Vec<Place> {
        let places = self.admin.as_deref().map_or_else(Place::defaults, |place| vec![Place::parse(place)]);
        places.into_iter().map(|place| self.through(place)).collect()
    }

    /// Where a change is asked for.
    pub fn place_for_changes(&self) -> Place {
        let named = self.admin.as_deref().map(Place::parse);
        self.through(named.unwrap_or_else(|| Place::Socket(defaults::admin_socket())))
    }

    fn through(&self, place: Place) -> Place {
        match &self.node {
            Some(node) => Place::Through { place: Box::new(place), node: node.clone() },
            None => place,
        }
    }
}
