//! The families about groups of database servers. Labels are names from the configuration: at most 16 groups of 9 members.

use std::fmt;

use prometheus_client::registry::Unit;

use super::{Families, Pair};
use crate::admin::databases::document::{DatabaseStatus, GroupMember, LossStatus};

impl Families<'_, '_> {
    pub(super) fn databases(&mut self, databases: &[DatabaseStatus]) -> fmt::Result {
        if databases.is_empty() {
            return Ok(());
        }
        let flag = |is: bool| f64::from(u8::from(is));
        let name = ("mainstay_database_has_primary", "1 while some member takes writes, as far as this node knows.");
        self.each(name, databases, |it| Some(flag(primary(it).is_some())))?;
        let name = ("mainstay_database_primary", "1 while this node's server takes writes.");
        self.each(name, databases, |it| Some(flag(primary(it).is_some_and(|primary| primary.here))))?;
        let name = ("mainstay_database_following", "Replicas that stream from the primary.");
        self.each(name, databases, |it| Some(following(it).count() as f64))?;
        let name = ("mainstay_database_acks", "How many replicas have to have a write before it is acknowledged.");
        self.each(name, databases, |it| Some(it.acks as f64))?;
        let name = ("mainstay_database_in_step", "Replicas that stream and count for that.");
        self.each(name, databases, |it| Some(following(it).filter(|member| member.acknowledges).count() as f64))?;
        let name = ("mainstay_database_term", "Goes up with each change of the primary.");
        self.each(name, databases, |it| Some(it.term as f64))?;
        let name = ("mainstay_database_timeline", "The timeline of this node's server.");
        self.each(name, databases, |it| own(it)?.timeline.map(f64::from))?;
        let name = ("mainstay_database_paused", "1 while an operator has paused the group.");
        self.each(name, databases, |it| Some(flag(it.paused)))?;
        let name = ("mainstay_database_current", "1 while this node knows how the group stands now.");
        self.each(name, databases, |it| Some(flag(it.is_current)))?;
        let name = ("mainstay_database_failing", "1 while something fails again and again at this node's server.");
        self.each(name, databases, |it| own(it).map(|own| flag(own.error.is_some())))?;
        self.members(databases)
    }

    fn members(&mut self, databases: &[DatabaseStatus]) -> fmt::Result {
        let lags = databases.iter().flat_map(|it| {
            it.members.iter().filter_map(|member| {
                Some(([("database", it.name.as_str()), ("node", member.node.as_str())], member.lag_bytes? as f64))
            })
        });
        let name = ("mainstay_database_lag", "How much a replica lacks of what the primary was seen at.");
        self.gauge(name, Some(&Unit::Bytes), lags)?;
        let rungs = databases.iter().flat_map(|it| {
            let rungs = own(it).map(|own| own.rungs.as_slice()).unwrap_or_default();
            rungs.iter().map(|rung| {
                let labels: [Pair<'_>; 2] = [("database", it.name.as_str()), ("rung", rung.name.as_str())];
                (labels, f64::from(u8::from(rung.missing.is_none())))
            })
        });
        let name = (
            "mainstay_database_rung",
            "1 for each way by which this node keeps an old primary from writes, 0 if it is missing.",
        );
        self.gauge(name, None, rungs)?;
        let name = ("mainstay_database_last_failover", "How long the last failover left the group without a primary.");
        let took = databases.iter().filter_map(|it| {
            let last = it.failovers.iter().find(|failover| !failover.planned)?;
            Some(([("database", it.name.as_str())], last.rto_ms? as f64 / 1000.0))
        });
        self.gauge(name, Some(&Unit::Seconds), took)?;
        self.last_failover(databases)
    }

    /// Of what is not known there is no row.
    fn last_failover(&mut self, databases: &[DatabaseStatus]) -> fmt::Result {
        let last = || databases.iter().filter_map(|it| Some((it, it.failovers.iter().find(|it| !it.planned)?)));
        let phases = last().flat_map(|(it, failover)| {
            failover.parts.iter().filter_map(move |part| {
                let labels: [Pair<'_>; 2] = [("database", it.name.as_str()), ("phase", part.name.as_str())];
                Some((labels, part.ms? as f64 / 1000.0))
            })
        });
        let name = ("mainstay_database_last_failover_phase", "How long each phase of the last failover took.");
        self.gauge(name, Some(&Unit::Seconds), phases)?;
        let lost = |read: fn(&LossStatus) -> Option<u64>| {
            last().filter_map(move |(it, failover)| {
                Some(([("database", it.name.as_str())], read(&failover.loss)? as f64))
            })
        };
        let help = "What was thrown away of the old primary's log after the last failover, once it has come back.";
        let name = ("mainstay_database_last_failover_discarded", help);
        self.gauge(name, Some(&Unit::Bytes), lost(|loss| loss.bytes))?;
        let help = "The most that the last failover can have lost, as long as the old primary has not come back.";
        let name = ("mainstay_database_last_failover_at_most", help);
        self.gauge(name, Some(&Unit::Bytes), lost(|loss| loss.at_most_bytes))
    }

    fn each(
        &mut self,
        name: (&str, &str),
        databases: &[DatabaseStatus],
        read: impl Fn(&DatabaseStatus) -> Option<f64>,
    ) -> fmt::Result {
        let rows = databases.iter().filter_map(|it| Some(([("database", it.name.as_str())], read(it)?)));
        self.gauge(name, None, rows)
    }
}

fn own(database: &DatabaseStatus) -> Option<&GroupMember> {
    database.members.iter().find(|member| member.here)
}

fn primary(database: &DatabaseStatus) -> Option<&GroupMember> {
    let name = database.primary.as_ref().filter(|_| database.phase == "serving")?;
    database.members.iter().find(|member| member.node == *name && member.state == "running")
}

fn following(database: &DatabaseStatus) -> impl Iterator<Item = &GroupMember> {
    database.members.iter().filter(|member| member.state == "streaming")
}
