//! What commits of a group wait for, and whether its primary goes on without the store.

use mainstay_core::database::{Durability, Engine};

use super::super::cluster::{Cluster, Engine as Agreement};
use super::super::problem::Fault;
use super::super::reader::Section;
use super::MEMBERS_MAX;

/// `engine`: `None` if it could not be read.
pub(super) fn read(
    section: &Section<'_>,
    engine: Option<Engine>,
    (members, eligible): (usize, usize),
) -> (Durability, usize) {
    let words = [
        ("async", Durability::Async),
        ("sync-preferred", Durability::SyncPreferred),
        ("sync-strict", Durability::SyncStrict),
    ];
    let durability = section.field("durability", Durability::Async, |item| item.one_of(&words));
    let acks = section.integer("acks", 1, 1..=MEMBERS_MAX as u64 - 1);
    if engine == Some(Engine::Redis) && durability.value != Durability::Async {
        let fault = Fault::new("Redis acknowledges a write before any replica has it, and cannot be made to wait");
        let hint = "leave `durability` out; `extra` under [database.server] may set min-replicas-to-write, which \
            bounds what is lost";
        section.reader.error(&durability.place, fault.hint(hint));
    }
    if acks.is_given && durability.is_good && durability.value == Durability::Async {
        let fault = Fault::new("with durability = \"async\" no replica has to have a write before it is acknowledged");
        let hint = "leave `acks` out, or write durability = \"sync-preferred\" or \"sync-strict\"";
        section.reader.error(&acks.place, fault.hint(hint));
    }
    let needed = usize::try_from(acks.value).unwrap_or(1);
    if acks.is_given && acks.is_good && members > 1 && needed >= members {
        let fault = Fault::new(format!("{members} members have {} replicas: no more can have a write", members - 1));
        section.reader.error(&acks.place, fault);
    }
    if durability.value != Durability::Async && eligible < members && needed >= eligible {
        let fault = Fault::new(format!(
            "with `no_sync` {} replicas can be waited for, and {needed} are to be",
            eligible.saturating_sub(1)
        ));
        section.reader.error(&durability.place, fault.hint("take `no_sync` from a member, or lower `acks`"));
    }
    (durability.value, if durability.value == Durability::Async { 0 } else { needed })
}

/// Whether a primary goes on without the store as long as every member confirms it.
pub(super) fn read_failsafe(section: &Section<'_>, cluster: Option<&Cluster>) -> bool {
    let failsafe = section.flag("failsafe", false);
    if failsafe.value && cluster.is_some_and(|cluster| !matches!(cluster.engine, Agreement::Embedded)) {
        let fault = Fault::new(
            "members cannot ask each other: only nodes that keep the agreement themselves speak to each other",
        );
        section
            .reader
            .error(&failsafe.place, fault.hint("leave `failsafe` out, or write engine = \"embedded\" under [cluster]"));
    }
    failsafe.value
}

/// Whether a row is written each second through the primary.
pub(super) fn read_probe_rows(section: &Section<'_>, engine: Engine) -> bool {
    let probe_rows = section.flag("probe_rows", false);
    if probe_rows.value && engine == Engine::Redis {
        let fault = Fault::new("rows are written to PostgreSQL only: Redis tells the keys that were lost");
        section.reader.error(&probe_rows.place, fault.hint("leave `probe_rows` out"));
    }
    probe_rows.value
}
