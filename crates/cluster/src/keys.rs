//! Where what is in the coordinator's store. Keys are words of a user's: names of nodes and roles, addresses.

/// Registrations of nodes: leased, by name.
pub const NODES: &str = "nodes/";
/// Holders of roles, by role.
pub const ROLES: &str = "roles/";
/// Everything about floating addresses begins so.
pub const ADDRESSES: &str = "addresses/";
/// What nodes say that they can hold: leased, by name.
pub const CANDIDATES: &str = "addresses/candidate/";
/// Holders of floating addresses, by address.
pub const HOLDERS: &str = "addresses/holder/";
/// The plan that says which node shall hold which address.
pub const ADDRESS_PLAN: &str = "addresses/plan";
/// What operators ask of the planner, by address.
pub const MOVES: &str = "addresses/move/";
/// How long connections are waited for at the last move that asked for a time of its own, by address.
pub const MOVE_DRAINS: &str = "addresses/drain/";

/// The registration of a node.
pub fn node(name: &str) -> String {
    format!("{NODES}{name}")
}

/// The holder of a role.
pub fn role(name: &str) -> String {
    format!("{ROLES}{name}")
}

/// What a node says that it can hold.
pub fn candidate(node: &str) -> String {
    format!("{CANDIDATES}{node}")
}

/// The holder of a floating address.
pub fn holder(ip: &std::net::IpAddr) -> String {
    format!("{HOLDERS}{ip}")
}

/// What is asked of the planner about a floating address.
pub fn requested_move(ip: &std::net::IpAddr) -> String {
    format!("{MOVES}{ip}")
}

/// How long a holder waits for connections at one move.
pub fn move_drain(ip: &std::net::IpAddr) -> String {
    format!("{MOVE_DRAINS}{ip}")
}

/// What the cluster keeps of join tokens.
pub const JOIN_TOKENS: &str = "membership/token/";

/// What the cluster keeps of a join token.
pub fn join_token(id: &str) -> String {
    format!("{JOIN_TOKENS}{id}")
}

/// The node whose place a new node takes.
pub fn replaced_by(node: crate::peer::NodeId) -> String {
    format!("{REPLACED}{node}")
}

/// That a node was removed. Kept for ever, as its certificate is valid for a while.
pub fn removed(node: crate::peer::NodeId) -> String {
    format!("{REMOVED}{node}")
}

/// Nodes whose places new nodes take, by the new node's number.
const REPLACED: &str = "membership/replaces/";
/// Nodes that were removed, by number.
pub const REMOVED: &str = "membership/removed/";
