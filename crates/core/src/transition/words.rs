use std::fmt;

use serde::{Deserialize, Serialize};

/// An enum of words that are written the same way in JSON, in labels and for people.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The one with this word.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.as_str() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What about a subject changes. The comments name the words that it takes.
    Aspect {
        /// An endpoint's active checks: unknown, up, down.
        Health = "health",
        /// Whether an endpoint says of itself that it is degraded: well, degraded.
        Condition = "condition",
        /// Passive ejection: serving, ejected.
        Ejection = "ejection",
        /// The share of its weight after a comparison with its siblings: full, eased.
        Weight = "weight",
        /// Slow start of an endpoint that came back: ramping, full.
        SlowStart = "slow_start",
        /// A circuit breaker, of an endpoint or of a route: closed, open, half_open, ramping.
        Breaker = "breaker",
        /// Drain: serving, draining.
        Drain = "drain",
        /// Whether users of a service are served: unknown, up, degraded (not by all endpoints), down (by none), absent; whether a
        /// group of databases takes writes: unknown, up, down.
        Standing = "standing",
        /// A service's cascade guard: off, on.
        Guard = "guard",
        /// Requests of a route that are held because they reset endpoints: off, on.
        Quarantine = "quarantine",
        /// A configuration: unknown, applied, refused; of a cluster's version its stage.
        Configuration = "configuration",
        /// A node's life: starting, serving, leaving, handed_over, stopped.
        Life = "life",
        /// A role or an address, as far as this node is concerned: absent, held; of an address seen from outside: moved.
        Holder = "holder",
        /// Whether the cluster can decide: unknown, present, lost.
        Quorum = "quorum",
        /// A node's session with its cluster: absent, held, lost.
        Session = "session",
        /// A member of the cluster: unknown, present, away, removed.
        Membership = "membership",
        /// An alert: inactive, pending, firing, resolved.
        Alert = "alert",
        /// A synthetic probe: unknown, up, degraded, down.
        Probe = "probe",
        /// A certificate: valid, expiring, expired, renewed.
        Certificate = "certificate",
        /// An objective: met, burning, exhausted.
        Objective = "objective",
    }
}

words! {
    /// A state that something is in.
    Word {
        /// Nothing is known yet.
        Unknown = "unknown",
        /// It works.
        Up = "up",
        /// It works in part.
        Degraded = "degraded",
        /// It does not work.
        Down = "down",
        /// Nothing is amiss.
        Well = "well",
        /// It gets requests, or answers them.
        Serving = "serving",
        /// It was taken out for failing requests.
        Ejected = "ejected",
        /// It gets all of its weight.
        Full = "full",
        /// It gets a part of its weight.
        Eased = "eased",
        /// It gets more and more.
        Ramping = "ramping",
        /// Calls are made.
        Closed = "closed",
        /// No call is made.
        Open = "open",
        /// A few calls are made to see how they fare.
        HalfOpen = "half_open",
        /// It gets no new requests because somebody wants it so.
        Draining = "draining",
        /// Not in force.
        Off = "off",
        /// In force.
        On = "on",
        /// It was taken over.
        Applied = "applied",
        /// It was not taken over.
        Refused = "refused",
        /// It begins.
        Starting = "starting",
        /// It ends on purpose.
        Leaving = "leaving",
        /// Another process goes on in its place.
        HandedOver = "handed_over",
        /// It has ended.
        Stopped = "stopped",
        /// Not there, or not had.
        Absent = "absent",
        /// Had by this node.
        Held = "held",
        /// With another node than before.
        Moved = "moved",
        /// There.
        Present = "present",
        /// Not heard of.
        Away = "away",
        /// It was there, and nobody wanted its end.
        Lost = "lost",
        /// Taken out for good.
        Removed = "removed",
        /// Nodes are asked whether they could serve it.
        Validating = "validating",
        /// One node serves it.
        Canary = "canary",
        /// One node serves it and is watched.
        Baking = "baking",
        /// All nodes are told to serve it.
        Spreading = "spreading",
        /// All are told to go back.
        RollingBack = "rolling_back",
        /// All have gone back.
        RolledBack = "rolled_back",
        /// All serve it.
        Done = "done",
        /// A node could not have served it.
        Vetoed = "vetoed",
        /// Nothing to tell of.
        Inactive = "inactive",
        /// It may be told of soon.
        Pending = "pending",
        /// It is told of.
        Firing = "firing",
        /// It is over.
        Resolved = "resolved",
        /// Good for long enough.
        Valid = "valid",
        /// Good, but not for long.
        Expiring = "expiring",
        /// Good no longer.
        Expired = "expired",
        /// Replaced by one that is good for longer.
        Renewed = "renewed",
        /// The objective is kept.
        Met = "met",
        /// The budget is spent too fast.
        Burning = "burning",
        /// The budget is spent.
        Exhausted = "exhausted",
    }
}
