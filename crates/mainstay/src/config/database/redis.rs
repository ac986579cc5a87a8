//! What only a group of Redis servers has.

use std::time::Duration;

use mainstay_core::database::Engine;

use super::super::problem::Fault;
use super::super::reader::Section;

/// A replica that has said nothing for so long does not follow, unless the configuration says otherwise.
const LAG: Duration = Duration::from_secs(10);
const LAG_LONGEST: Duration = Duration::from_secs(3600);
/// More replicas than a group can have need not be asked for.
const REPLICAS_MAX: u64 = 16;

/// When a primary refuses writes, and a replica reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redis {
    /// The primary refuses writes while fewer replicas than this follow it; 0: never.
    pub min_replicas: u32,
    /// A replica that has said nothing for so long does not follow.
    pub min_replicas_lag: Duration,
    /// Whether a replica that has lost its primary goes on answering reads.
    pub stale_reads: bool,
}

impl Default for Redis {
    fn default() -> Self {
        Self { min_replicas: 0, min_replicas_lag: LAG, stale_reads: true }
    }
}

/// Reads `[database.server]`. `members` are those of the group.
pub(super) fn read(section: &Section<'_>, engine: Engine, members: usize) -> Redis {
    let min_replicas = section.integer("min_replicas", 0, 0..=REPLICAS_MAX);
    let lag = section.duration("min_replicas_lag", LAG, Duration::from_secs(1)..=LAG_LONGEST);
    let stale_reads = section.flag("stale_reads", true);
    if engine != Engine::Redis {
        for place in ["min_replicas", "min_replicas_lag", "stale_reads"].iter().filter_map(|key| section.item(key)) {
            place.error(Fault::new("only Redis has this").hint("leave it out, or write engine = \"redis\""));
        }
        return Redis::default();
    }
    let replicas = members.saturating_sub(1);
    if members > 0 && min_replicas.value > replicas as u64 {
        let fault = Fault::new(format!("{members} members have {replicas} replicas: no write would ever be taken"));
        section.reader.error(&min_replicas.place, fault.hint("ask for fewer, or add members"));
    }
    let min_replicas = u32::try_from(min_replicas.value).unwrap_or(0);
    Redis { min_replicas, min_replicas_lag: lag.value, stale_reads: stale_reads.value }
}
