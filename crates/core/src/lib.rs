//! Every decision that Mainstay takes, as pure code: no I/O, no clock, no runtime, no global randomness.
//!
//! Time arrives as a [`time::Moment`], randomness as a [`random::Rng`]. The crates above perform what is decided here, so
//! that each decision can be tested with virtual time and replayed from a seed.

pub mod adaptive;
pub mod alert;
pub mod allotment;
pub mod assign;
pub mod backoff;
pub mod balance;
pub mod breaker;
pub mod budget;
pub mod bulkhead;
pub mod cache;
pub mod calendar;
pub mod candidacy;
pub mod cell;
pub mod coalesce;
pub mod criticality;
pub mod database;
pub mod eligibility;
pub mod fallback;
pub mod grpc;
pub mod guard;
pub mod health;
pub mod hedge;
pub mod http_date;
pub mod incident;
pub mod lease;
pub mod ledger;
pub mod limiter;
pub mod load_report;
pub mod opinion;
pub mod outlier;
pub mod quantile;
pub mod quarantine;
pub mod ramp;
pub mod random;
pub mod release;
pub mod renewal;
pub mod resolve;
pub mod restart;
pub mod retry;
pub mod roles;
pub mod round_trip;
pub mod route;
pub mod sampling;
pub mod session;
pub mod shard;
pub mod slo;
pub mod takeover;
pub mod time;
pub mod timestamp;
pub mod trace_context;
pub mod transition;
pub mod vantage;
pub mod zone;
