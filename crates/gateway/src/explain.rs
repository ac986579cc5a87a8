//! What is remembered of recent requests, so that each can be explained afterwards: which routes and endpoints were
//! considered, what was skipped and why, and every attempt.
//!
//! While a request runs, [`trace::Trace`] notes its choices; when it ends, the worker copies them into its [`ring::Ring`],
//! over the oldest record. Neither allocates. Names and sentences are only made when somebody asks ([`tell`]).

pub(crate) mod ring;
mod search;
mod tell;
pub(crate) mod trace;
pub(crate) mod view;

use std::time::{Duration, SystemTime};

use mainstay_core::balance::{self, Share};
use mainstay_core::criticality::Criticality;
use mainstay_core::route::Miss;
use mainstay_core::time::Moment;

use crate::admission::Reason;
pub use crate::http::sticky::Session;
pub use crate::mirror::Copied;
pub use search::Search;
pub use trace::Next;
pub use view::Standing;

/// Everything that is remembered of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Its id, as in `x-request-id`.
    pub id: String,
    /// The id of the trace that it carried, in hexadecimal.
    pub trace_id: Option<String>,
    /// The worker that served it.
    pub worker: usize,
    /// The configuration by which it was served.
    pub generation: u64,
    /// When it began.
    pub started_at: SystemTime,
    /// The same by the gateway's clock.
    pub began: Moment,
    /// From its first byte to its end.
    pub duration: Duration,
    /// The client's address.
    pub client: String,
    /// The listener's name.
    pub listener: String,
    /// What was asked; absent if the head was refused.
    pub asked: Option<Asked>,
    /// The routes that were looked at, most specific first, up to the one that took the request.
    pub routes: Vec<RouteLooked>,
    /// How the route's limits took it.
    pub admitted: Admitted,
    /// Where the request went, if a route took it.
    pub target: Option<Target>,
    /// The choices of an endpoint, one after another.
    pub choices: Vec<Choice>,
    /// The status that the client got; 0 if none.
    pub status: u16,
    /// Why the gateway answered itself, or why the response broke off.
    pub error: Option<&'static str>,
    /// The client left before the end.
    pub client_gone: bool,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
}

/// How a route's limits took a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// Its class, if the route tells classes apart.
    pub class: Option<Criticality>,
    /// How long it waited for a place.
    pub waited: Duration,
    /// Which limit refused it, and after how many seconds it was told to come again (0: it was not).
    pub refused: Option<(Reason, u32)>,
}

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The host, without port.
    pub host: String,
    /// The path, without query.
    pub path: String,
    /// Whether one of them was too long to be remembered whole.
    pub is_cut: bool,
}

/// A route that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteLooked {
    /// Its name.
    pub name: String,
    /// What came of it.
    pub verdict: RouteVerdict,
}

/// Whether a route took a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteVerdict {
    /// It did.
    Taken,
    /// It did not, for this reason.
    Missed(Miss),
    /// Everything but the headers that it asks for was there.
    MissedHeaders,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The route's name.
    pub route: String,
    /// The service's name.
    pub service: String,
    /// How it spreads requests.
    pub balance: balance::Policy,
    /// Attempts that the route allows.
    pub attempts_max: u32,
    /// The service that gets copies.
    pub mirror: Option<String>,
    /// What became of the copy.
    pub copied: Copied,
    /// What the client got in place of an error: `stale`, `service`, `static` or `empty`.
    pub fallback: Option<&'static str>,
    /// What the response cache had: `hit`, `stale`, `validated`, `miss`, `coalesced` or `bypass`.
    pub cache: Option<&'static str>,
    /// Whom the request belonged to, if the route asks for tenants.
    pub tenant: Option<Tenant>,
    /// What became of the session.
    pub session: Session,
    /// The cell of the account.
    pub cell: Option<String>,
}

/// Whom a request belonged to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// The hash of its name.
    pub hash: u64,
    /// Its partition, counted from 1, and how many there are.
    pub partition: Option<(usize, usize)>,
    /// The endpoints that it may use, if not all; up to 256 of them.
    pub shard: Option<Vec<String>>,
}

/// One choice of an endpoint, and the attempt that followed.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Every endpoint of the service, up to 256 of them.
    pub endpoints: Vec<Considered>,
    /// Endpoints beyond them.
    pub left_out: usize,
    /// What followed; absent if no endpoint could be chosen.
    pub attempt: Option<Attempt>,
    /// What was decided after it.
    pub next: Next,
}

/// An endpoint at a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// Its name.
    pub name: String,
    /// What was known of it.
    pub standing: Standing,
    /// Why it was not well; empty if it was.
    pub reason: String,
    /// Whether it was chosen.
    pub verdict: Verdict,
    /// How much of its weight it got.
    pub share: Share,
}

/// Whether an endpoint was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was; with its requests in flight, if the balancer compared them.
    Chosen(Option<u32>),
    /// Its standing excluded it, or others stood better.
    NotEligible,
    /// An attempt at it had failed before.
    AlreadyTried,
    /// Its circuit breaker let nothing through.
    BreakerOpen,
    /// It was compared with the chosen one, and had so many requests in flight.
    MoreLoaded(u32),
    /// The balancer's rule named another.
    NotDrawn,
    /// It is not among the endpoints that the tenant may use.
    OutsideShard,
}

/// An attempt at an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The endpoint's name.
    pub endpoint: String,
    /// When it began, after the begin of the request.
    pub start: Duration,
    /// Until the head of the response, or the failure.
    pub duration: Duration,
    /// What came of it, as in the access log.
    pub outcome: &'static str,
    /// The status of the endpoint's answer.
    pub status: Option<u16>,
    /// On a connection that had carried a request before.
    pub reused: bool,
}

/// Why a request cannot be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// Nothing is remembered.
    #[error("records of requests are turned off")]
    Off,
    /// No record has this id.
    #[error("no record of this request: the node keeps those of the last {0} that ended")]
    Unknown(usize),
    /// A worker did not answer.
    #[error("a worker did not answer in time")]
    Silent,
}

/// Requests of one id that are told of; a client may send the same id for ever.
const SAME_ID_MAX: usize = 16;

/// What `ring` holds about the requests with this id.
pub(crate) fn tell(ring: &ring::Ring, id: &str, worker: usize, now: Moment) -> Vec<Explanation> {
    let records = ring.find(id.as_bytes()).take(SAME_ID_MAX);
    records.filter_map(|record| tell::tell(record, worker, present(now))).collect()
}

/// The requests in `ring` that are wanted.
pub(crate) fn search(ring: &ring::Ring, wanted: &Search, worker: usize, now: Moment) -> Vec<Explanation> {
    search::search(ring, wanted, worker, present(now))
}

fn present(moment: Moment) -> tell::Present {
    tell::Present { moment, time: SystemTime::now() }
}
