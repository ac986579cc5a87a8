//! What a member says of its server.

use serde::{Deserialize, Serialize};

use super::{Before, Branch, Lsn};

/// What a local server does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Server {
    /// It has no data.
    Empty,
    /// It does not run.
    Stopped {
        /// Where its last record begins, if it was primary and stopped in order: whoever has more than this has everything.
        /// PostgreSQL's is the shutdown checkpoint, Redis' is its last byte.
        clean: Option<Lsn>,
    },
    /// It runs and does not answer yet.
    Starting,
    /// It replays what another one wrote.
    Replica {
        /// The member that it is told to stream from; `None`: from nobody.
        upstream: Option<String>,
    },
    /// It takes writes.
    Primary,
    /// It runs, and it cannot be found out what it does.
    Unknown,
}

/// What a member says of itself, on its node's lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Report {
    /// The term that its server conforms to: it neither acts as an older primary nor streams from one.
    pub term: u64,
    /// What the server does.
    pub server: Server,
    /// Which database it has.
    pub system: Option<u64>,
    /// The timeline of its last record.
    pub timeline: u32,
    /// The end of what it has: written as primary, received as replica.
    pub position: Lsn,
    /// The term that it was last primary in, unless its data was made anew from another one's since.
    pub led: Option<u64>,
    /// Where its timelines began, the present one last.
    pub branches: Vec<Branch>,
    /// Which database it was before, and up to where, if a promotion made it another one.
    #[serde(default)]
    pub before: Option<Before>,
    /// As primary: its control file tells the present timeline, which whoever rewinds to it relies on. Nobody rewinds to a
    /// Redis, which is always ready.
    pub checkpointed: bool,
    /// As primary: [`super::Plan::sync_since`] of what is in force, once everything acknowledged before is on enough of its names.
    pub sync: Option<u64>,
    /// As replica: it is told to stream from somebody, and has received nothing for a while. While it starts: nor has it come any
    /// further by itself.
    #[serde(default)]
    pub stalled: bool,
    /// As primary: where the log begins that it still has. Whoever lacks something from before that has to be copied anew; `None`:
    /// not known, or replicas see to it themselves.
    #[serde(default)]
    pub kept_from: Option<Lsn>,
    /// [`super::Licence::since`] of what it goes by, once nothing that an earlier one allowed can go on.
    #[serde(default)]
    pub licence: u64,
}

impl Report {
    /// A server that does this and of which nothing else is known.
    pub const fn new(server: Server) -> Self {
        Self {
            term: 0,
            server,
            system: None,
            timeline: 0,
            position: 0,
            led: None,
            branches: Vec::new(),
            before: None,
            checkpointed: false,
            sync: None,
            stalled: false,
            kept_from: None,
            licence: 0,
        }
    }
}
