//! Replication slots: a primary keeps what its replicas have not had yet, within `max_slot_wal_keep_size`.
//!
//! PostgreSQL 15 does not replicate slots, so that each primary makes its own, and a replica removes those from when it was
//! primary: what they keep would never be let go.

use mainstay_core::random::hash;

use crate::Peer;

/// Ours begin with this; all others are left alone.
const PREFIX: &str = "mainstay_";
/// Letters of the node's name, at most; PostgreSQL's names have 63.
const NAME_MAX: usize = 40;

/// The slot of a node: lower-case letters, digits and underlines.
pub(super) fn name(node: &str) -> String {
    let plain: String = node.chars().take(NAME_MAX).filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit()).collect();
    if plain == node {
        format!("{PREFIX}{node}")
    } else {
        format!("{PREFIX}{plain}_{:08x}", hash(node.as_bytes()) as u32)
    }
}

/// What makes the slots those that there should be: one for each other member on a primary, none on a replica. One that fell
/// behind what is kept is made anew; its replica has to be copied.
pub(super) fn tend(peers: &[Peer], is_primary: bool) -> String {
    let wanted: Vec<String> =
        peers.iter().filter(|_| is_primary).map(|peer| format!("'{}'", name(&peer.node))).collect();
    let wanted = format!("ARRAY[{}]::name[]", wanted.join(","));
    format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_type = 'physical' \
         AND left(slot_name, {}) = '{PREFIX}' AND NOT active \
         AND (slot_name <> ALL ({wanted}) OR wal_status = 'lost'); \
         SELECT pg_create_physical_replication_slot(wanted, true) FROM unnest({wanted}) AS wanted \
         WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = wanted)",
        PREFIX.len(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_postgres_takes_and_differ() {
        assert_eq!(name("db1"), "mainstay_db1");
        let names =
            [name("db-1"), name("db_1"), name("DB1"), name("db1"), name(&"x".repeat(80)), name(&"x".repeat(81))];
        for (index, name) in names.iter().enumerate() {
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            assert!(name.len() <= 63 && name.bytes().all(is_plain), "{name}");
            assert!(!names[index + 1..].contains(name), "{name}");
        }
    }
}
