//! A group under faults, with a client at each server that writes all the time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mainstay_e2e::eventually;
use mainstay_e2e::lab::databases::Databases;
use mainstay_e2e::lab::writer::{Writer, prepare, rows};

pub const SOON: Duration = Duration::from_secs(240);
/// The default of `cooldown`.
pub const COOLDOWN: Duration = Duration::from_secs(30);

/// The group with its clients.
pub struct Trial {
    // They end before the machines do.
    probes: Vec<Writer>,
    pub databases: Databases,
    /// When no failover is kept waiting for the last one.
    pub calm_at: Instant,
}

impl Trial {
    /// A group that loses nothing. `server` is further lines of the servers' tables.
    pub fn start(server: &str) -> Self {
        let databases = Databases::with_servers("", "durability = \"sync-strict\"", server);
        eventually("a table", SOON, || {
            let primary = databases.primary().and_then(|primary| databases.superuser(primary).ok());
            primary.is_some_and(|mut client| {
                prepare(&mut client).is_ok() && client.batch_execute("GRANT ALL ON rows TO app").is_ok()
            })
        });
        let (client, login) = (databases.lab().client(), Databases::login());
        let probe = |node: usize| {
            let first = i64::try_from(node).expect("three");
            Writer::stepping(&client, &[databases.server(node)], &login, first, 3)
        };
        let probes = (0..3).map(probe).collect();
        let trial = Self { probes, databases, calm_at: Instant::now() };
        trial.goes_on("the first writes");
        trial
    }

    /// Waits until somebody acknowledges writes.
    pub fn goes_on(&self, what: &str) {
        let since = Instant::now();
        eventually(what, SOON, || self.probes.iter().any(|probe| probe.goes_on(since)));
    }

    /// Whether anybody acknowledged a write after that moment.
    pub fn went_on(&self, since: Instant) -> bool {
        self.probes.iter().any(|probe| probe.goes_on(since))
    }

    /// The primary of a group that is whole.
    pub fn settled(&self) -> usize {
        self.databases.settle()
    }

    /// The primary's term.
    pub fn term(&self) -> u64 {
        let mut term = None;
        eventually("a term", SOON, || {
            term = self.databases.group()["term"].as_u64();
            term.is_some()
        });
        term.expect("just read")
    }

    /// The longest time without an acknowledgement from anybody since then.
    pub fn gap(&self, since: Instant) -> Duration {
        let mut times: Vec<Instant> = self.acknowledgements(since).into_iter().map(|(at, _)| at).collect();
        times.insert(0, since);
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Who acknowledged, and when, in order.
    fn acknowledgements(&self, since: Instant) -> Vec<(Instant, usize)> {
        let of = |(node, probe): (usize, &Writer)| probe.times().into_iter().map(move |at| (at, node));
        let mut all: Vec<(Instant, usize)> =
            self.probes.iter().enumerate().flat_map(of).filter(|(at, _)| *at >= since).collect();
        all.sort();
        all
    }

    /// Whoever began to acknowledge did so once and for all: two that take turns would change more often than terms do.
    pub fn took_turns(&self, what: &str, since: Instant, terms: u64) {
        let all = self.acknowledgements(since);
        let changes = all.windows(2).filter(|pair| pair[0].1 != pair[1].1).count() as u64;
        assert!(changes <= terms, "{what}: acknowledged by one and another {changes} times within {terms} terms");
    }

    /// Every acknowledged row is there.
    pub fn has_everything(&self, what: &str) {
        let acknowledged: BTreeSet<i64> = self.probes.iter().flat_map(Writer::acknowledged).collect();
        let mut found = None;
        eventually("the rows", SOON, || {
            let primary = self.databases.primary().and_then(|primary| self.databases.superuser(primary).ok());
            found = primary.and_then(|mut client| rows(&mut client).ok());
            found.is_some()
        });
        let found = found.expect("just read");
        let lost: Vec<&i64> = acknowledged.difference(&found).collect();
        let (count, of) = (lost.len(), acknowledged.len());
        assert!(lost.is_empty(), "{what}: {count} of {of} acknowledged rows are lost: {lost:?}");
    }
}
