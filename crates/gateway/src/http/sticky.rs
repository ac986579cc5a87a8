//! Sessions that stay with their endpoint: which one the cookie of a request names, and the cookie of its answer.

pub(crate) mod table;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mainstay_core::health;

use super::exchange::{Exchange, Run};
use super::identity;
use crate::http1::field::Name;
use crate::http1::write::decimal;
use crate::sessions::{Bound, SessionId};
use crate::spec::{SameSite, Sticky};
use crate::state::IsolationCounters;
use crate::sticky::Said;
use crate::worker::table::Service;

/// What became of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Session {
    /// The service has no sessions.
    #[default]
    Off,
    /// The request brought no cookie.
    New,
    /// It goes where its cookie says.
    Kept,
    /// Its endpoint is lost, so that it gets another.
    Moved,
    /// Its cookie was forged or too old, and did not count.
    Ignored,
    /// The table that would say where it goes cannot be asked: it goes wherever there is room, and stays what it was.
    Away,
}

impl Session {
    /// As it stands in logs and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::New => "new",
            Self::Kept => "kept",
            Self::Moved => "moved",
            Self::Ignored => "ignored",
            Self::Away => "away",
        }
    }
}

/// A session as its request brought it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pin {
    pub(crate) session: Session,
    /// The endpoint that the cookie names, if it counts.
    bound: Option<usize>,
    renew: bool,
    /// The session's id in a table, if it has one that counts.
    id: Option<SessionId>,
    /// The id is new, so that the client has to be told.
    is_drawn: bool,
    /// How the table was told of it, if it was.
    pub(crate) written: Option<Written>,
}

/// What it took to tell a table of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// Since the request began.
    pub(crate) start: Duration,
    pub(crate) duration: Duration,
    pub(crate) bound: Bound,
}

/// Reads the cookie of the request, if its service has sessions.
pub(crate) fn enter(run: &Run<'_>, exchange: &mut Exchange) {
    let service = &run.route.service;
    let Some((marks, spec)) = service.marks.as_ref().zip(service.state.spec.sticky.as_ref()) else { return };
    let cookie = identity::cookie(&exchange.head, exchange.head_bytes(), &spec.cookie);
    let (session, bound, renew) = match cookie.map(|cookie| marks.read(cookie, now())) {
        None => (Session::New, None, false),
        Some(Said::Forged | Said::Stale) => (Session::Ignored, None, false),
        Some(Said::Gone) => (Session::Moved, None, false),
        Some(Said::Bound { endpoint, renew }) if serves(service, endpoint) => (Session::Kept, Some(endpoint), renew),
        Some(Said::Bound { .. }) => (Session::Moved, None, false),
    };
    exchange.isolation.pin = Pin { session, bound, renew, ..Pin::default() };
}

/// Whether the endpoint still serves sessions that it has. One that is draining does.
fn serves(service: &Service, index: usize) -> bool {
    service.state.endpoints.get(index).is_some_and(|endpoint| {
        let is_lost = endpoint.ejected.load(std::sync::atomic::Ordering::Acquire)
            || endpoint.standing() == health::State::Down
            || (endpoint.located().is_none() && !matches!(endpoint.address, crate::spec::Address::Unix(_)));
        !is_lost
    })
}

/// The endpoint of the session, if it may be asked.
pub(crate) fn endpoint(exchange: &Exchange, tried: &[usize]) -> Option<usize> {
    exchange.isolation.pin.bound.filter(|index| !tried.contains(index) && exchange.isolation.reaches(*index))
}

/// The endpoint at `index` has answered: has the table know of it, if sessions are kept in one.
pub(crate) async fn bind(run: &Run<'_>, index: usize, exchange: &mut Exchange) {
    let pin = &exchange.isolation.pin;
    if let Some(desk) = run.route.service.desk.as_ref().filter(|_desk| pin.bound != Some(index)) {
        // Few answers bind a session: their future is not part of everybody's.
        Box::pin(table::bind(run, desk, index, exchange)).await;
    }
}

/// The endpoint at `index` has answered: writes the cookie that binds the session to it, unless the client has it, behind the
/// fields in `out`.
pub(crate) fn write(run: &Run<'_>, exchange: &mut Exchange, index: usize) {
    let service = &run.route.service;
    let Some(spec) = service.state.spec.sticky.as_ref() else { return };
    if service.desk.is_some() {
        let pin = exchange.isolation.pin;
        if let Some(id) = pin.id.filter(|_id| pin.is_drawn) {
            put(run, exchange, spec, &id.text());
        }
        return;
    }
    let Some(marks) = service.marks.as_ref().filter(|_marks| binds(exchange)) else { return };
    let pin = &mut exchange.isolation.pin;
    if pin.bound == Some(index) && !pin.renew {
        return;
    }
    if pin.bound.is_some_and(|bound| bound != index) {
        pin.session = Session::Moved;
    }
    if let Some(text) = marks.write(index, now()) {
        put(run, exchange, spec, &text);
    }
}

/// Whether the answer is a reason to stay with its endpoint.
fn binds(exchange: &Exchange) -> bool {
    let is_elsewhere = exchange.attempts.last().is_some_and(|attempt| attempt.elsewhere);
    // A failure is no reason to stay.
    exchange.isolation.pin.session != Session::Off && !is_elsewhere && exchange.response.status < 500
}

/// Adds the cookie to the head in `out`.
fn put(run: &Run<'_>, exchange: &mut Exchange, spec: &Sticky, text: &[u8]) {
    let head = exchange.input.all().get(..exchange.head.length).unwrap_or_default();
    let told = exchange.head.find(Name::ForwardedProto).filter(|_field| run.is_trusted);
    let is_secure =
        run.listener.tls.is_some() || told.is_some_and(|field| field.value.get(head).eq_ignore_ascii_case(b"https"));
    let out = &mut exchange.down.pending;
    // The empty line that ends the head comes after it.
    out.truncate(out.len().saturating_sub(2));
    set_cookie(out, spec, text, spec.secure.unwrap_or(is_secure));
    out.extend_from_slice(b"\r\n");
}

fn set_cookie(out: &mut Vec<u8>, spec: &Sticky, text: &[u8], is_secure: bool) {
    out.extend_from_slice(b"set-cookie: ");
    out.extend_from_slice(spec.cookie.as_bytes());
    out.push(b'=');
    out.extend_from_slice(text.split(|byte| *byte == b'=').next().unwrap_or_default());
    out.extend_from_slice(b"; Path=");
    out.extend_from_slice(spec.path.as_bytes());
    if let Some(max_age) = spec.max_age {
        out.extend_from_slice(b"; Max-Age=");
        decimal(out, max_age.as_secs());
    }
    out.extend_from_slice(match spec.same_site {
        SameSite::Strict => b"; SameSite=Strict",
        SameSite::Lax => b"; SameSite=Lax",
        SameSite::None => b"; SameSite=None",
    });
    if is_secure {
        out.extend_from_slice(b"; Secure");
    }
    if spec.http_only {
        out.extend_from_slice(b"; HttpOnly");
    }
    out.extend_from_slice(b"\r\n");
}

/// Counts what became of the session of a request that was answered.
pub(crate) fn count(counters: &IsolationCounters, exchange: &Exchange) {
    match exchange.isolation.pin.session {
        Session::Off => {}
        Session::New => counters.sessions_new.add(1),
        Session::Kept => counters.sessions_kept.add(1),
        Session::Moved => counters.sessions_moved.add(1),
        Session::Ignored => counters.sessions_ignored.add(1),
        Session::Away => counters.sessions_away.add(1),
    }
}

/// Seconds since 1970, as long as they fit (until 2106).
fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}
