//! Which responses are stored, for whom and for how long (RFC 9111, sections 3 and 4.2).

use std::time::Duration;

use super::control::{self, RequestControl, ResponseControl};
use super::freshness::Freshness;
use super::vary::Vary;
use crate::http_date;
use crate::random::Rng;
use crate::time::Moment;

/// What a route's cache does where the origin leaves it the choice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// How long a response is fresh that does not say so itself; zero for not at all.
    pub default_ttl: Duration,
    /// No response is fresh for longer.
    pub max_ttl: Duration,
    /// Lifetimes are shortened by a random part of this share, 0 to 1, so that what was stored together does not expire
    /// together.
    pub jitter: f64,
    /// For how long a stale response may be served while it is validated, unless the origin says something about it.
    pub while_revalidate: Duration,
    /// For how long a stale response may be served in place of an error, likewise.
    pub if_error: Duration,
    /// For how long a stale response is kept as the last good copy for a fallback.
    pub keep: Duration,
}

/// How a request says who sends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Not at all.
    #[default]
    None,
    /// By a cookie, which may be about anything.
    Cookie,
    /// By `Authorization`.
    Authorization,
}

/// What a request whose response may be stored has said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// Its directives.
    pub control: RequestControl,
    /// Its credentials.
    pub credentials: Credentials,
}

/// To whom a stored response may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Requests without credentials: its origin has not said that caches may have it.
    Anonymous,
    /// Requests without `Authorization`.
    Unauthorized,
    /// Every request, as its origin says.
    Everybody,
}

impl Sharing {
    /// Whether a request with these credentials may have it.
    pub const fn serves(self, credentials: Credentials) -> bool {
        match credentials {
            Credentials::None => true,
            Credentials::Cookie => matches!(self, Self::Unauthorized | Self::Everybody),
            Credentials::Authorization => matches!(self, Self::Everybody),
        }
    }
}

/// When a response was asked for and when it came, on the monotonic clock, and what the wall clock showed then.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The request went out.
    pub asked: Moment,
    /// The head of the response was there.
    pub arrived: Moment,
    /// The same moment in seconds since 1970.
    pub wall: u64,
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request or the response says so.
    NoStore,
    /// It is for one user.
    Private,
    /// It sets a cookie: that is never for two users.
    SetCookie,
    /// It depends on what no request shows.
    VaryEverything,
    /// It answers a request with credentials and does not say that others may have it.
    Credentials,
    /// What its status means does not allow it, or is not known.
    Status,
    /// It would be of no use: stale at once, and nothing to validate it by.
    Lifetime,
}

/// Statuses whose responses are stored if they say for how long; not all that the RFC allows. Nothing above 499 is: an error
/// of a server is what a cache protects from.
const UNDERSTOOD: [u16; 12] = [200, 203, 204, 300, 301, 302, 307, 308, 404, 405, 410, 414];
/// Statuses whose responses may be stored without (RFC 9110, section 15.1, successes and moves).
const HEURISTIC: [u16; 7] = [200, 203, 204, 300, 301, 308, 410];

/// The fields of a response that decide.
#[derive(Debug, Default)]
struct Told<'a> {
    control: ResponseControl,
    date: Option<&'a [u8]>,
    expires: Option<&'a [u8]>,
    age: Option<u64>,
    sets_cookie: bool,
    has_validator: bool,
}

impl<'a> Told<'a> {
    fn read(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut told = Self::default();
        for (name, value) in fields {
            let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
            match name.len() {
                13 if is("cache-control") => told.control.read(value),
                3 if is("age") => told.age = told.age.max(control::age(value)),
                4 if is("date") => told.date = Some(value),
                4 if is("etag") => told.has_validator = true,
                7 if is("expires") => told.expires = told.expires.or(Some(value)),
                10 if is("set-cookie") => told.sets_cookie = true,
                13 if is("last-modified") => told.has_validator = true,
                _other => {}
            }
        }
        told
    }

    /// The lifetime that the origin gives (RFC 9111, section 4.2.1), if it gives one.
    fn lifetime(&self, date: u64, wall: u64) -> Option<Duration> {
        let seconds = self.control.s_maxage.or(self.control.max_age).or_else(|| {
            // A date that cannot be read lies in the past (section 5.3).
            self.expires.map(|value| http_date::parse(value, wall).map_or(0, |expires| expires.saturating_sub(date)))
        });
        seconds.map(Duration::from_secs)
    }
}

/// Decides whether the response with `status` and `fields` to a GET is stored. Answers how long it is of what use, to whom it
/// may be served and what it depends on.
///
/// # Errors
/// Why it is not stored.
pub fn judge<'a, I>(
    policy: &Policy,
    asked: &Asked,
    status: u16,
    fields: I,
    arrival: Arrival,
    rng: &mut Rng,
) -> Result<(Freshness, Sharing, Vary), Refusal>
where
    I: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
{
    let told = Told::read(fields.clone());
    let control = &told.control;
    let is_understood = UNDERSTOOD.contains(&status);
    if asked.control.no_store || (control.no_store && !(control.must_understand && is_understood)) {
        return Err(Refusal::NoStore);
    }
    if control.private {
        return Err(Refusal::Private);
    }
    if told.sets_cookie {
        return Err(Refusal::SetCookie);
    }
    let date = told.date.and_then(|value| http_date::parse(value, arrival.wall)).unwrap_or(arrival.wall);
    let given = told.lifetime(date, arrival.wall);
    if !is_understood || (given.is_none() && !HEURISTIC.contains(&status)) {
        return Err(Refusal::Status);
    }
    let is_for_everybody = control.public || control.must_revalidate || control.s_maxage.is_some();
    let sharing = match (is_for_everybody, given) {
        (true, _) => Sharing::Everybody,
        (false, Some(_)) => Sharing::Unauthorized,
        (false, None) => Sharing::Anonymous,
    };
    if !sharing.serves(asked.credentials) {
        return Err(Refusal::Credentials);
    }
    let names = fields.filter(|(name, _value)| name.eq_ignore_ascii_case(b"vary")).map(|(_name, value)| value);
    let vary = Vary::read(names);
    if vary == Vary::Everything {
        return Err(Refusal::VaryEverything);
    }
    let freshness = freshness(policy, &told, given, date, arrival, rng);
    if !told.has_validator && freshness.until() <= arrival.arrived {
        return Err(Refusal::Lifetime);
    }
    Ok((freshness, sharing, vary))
}

fn freshness(
    policy: &Policy,
    told: &Told<'_>,
    given: Option<Duration>,
    date: u64,
    arrival: Arrival,
    rng: &mut Rng,
) -> Freshness {
    let control = &told.control;
    // Section 4.2.3, with the delay of the response counted against it.
    let apparent = Duration::from_secs(arrival.wall.saturating_sub(date));
    let delay = arrival.arrived.since(arrival.asked);
    let age = apparent.max(Duration::from_secs(told.age.unwrap_or(0)) + delay);
    let lifetime = given.unwrap_or(policy.default_ttl).min(policy.max_ttl);
    let left = lifetime.saturating_sub(age).mul_f64(1.0 - policy.jitter.clamp(0.0, 1.0) * rng.unit());
    // `s-maxage` forbids to serve stale (section 5.2.2.10), unless the origin itself says for how long.
    let is_shared = control.s_maxage.is_some();
    let window = |said: Option<u64>, ours: Duration| match said {
        Some(seconds) => Duration::from_secs(seconds),
        None if is_shared => Duration::ZERO,
        None => ours,
    };
    Freshness {
        arrived: arrival.arrived,
        age,
        lifetime: if left.is_zero() { lifetime.min(age) } else { age + left },
        while_revalidate: window(control.stale_while_revalidate, policy.while_revalidate),
        if_error: window(control.stale_if_error, policy.if_error),
        keep: window(None, policy.keep),
        no_cache: control.no_cache,
        never_stale: control.must_revalidate
            || control.proxy_revalidate
            || (is_shared && control.stale_while_revalidate.is_none() && control.stale_if_error.is_none()),
    }
}

/// Whether a field of a response is kept with it, as far as its name says. Fields of one connection are for the caller, who
/// knows which those are.
pub fn keeps(name: &[u8]) -> bool {
    // Both are computed anew for each answer.
    const COMPUTED: [&[u8]; 2] = [b"age", b"content-length"];
    !COMPUTED.iter().any(|computed| name.eq_ignore_ascii_case(computed))
}

/// Whether a field of a 304 takes the place of the stored one (section 3.2): those about the content do not, since what came
/// has none.
pub fn renewed(name: &[u8]) -> bool {
    let about_content = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"));
    keeps(name) && (!about_content || name.eq_ignore_ascii_case(b"content-location"))
}

#[cfg(test)]
mod tests;
