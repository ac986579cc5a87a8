//! When a certificate is ordered from an authority that speaks ACME (RFC 8555): early enough to be renewed in peace, and
//! never so often that the authority has reason to refuse.

pub mod advice;

use self::advice::Window;
use crate::alert::Millis;
use crate::random;

/// One hour.
const HOUR: Millis = 3_600_000;
/// A wait that an authority asks for counts up to here: what is longer is a mistake, or a clock that was set.
const WAIT_MAX: Millis = 7 * 24 * HOUR;
/// Between two orders that the authority suggests: one whose windows are always past is not to have all that an hour allows.
const SUGGESTED_APART: Millis = 6 * HOUR;

/// How orders are spread in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The wait after the first failure, in milliseconds; it doubles with each further one.
    pub retry: Millis,
    /// The longest such wait, in milliseconds.
    pub retry_max: Millis,
    /// Orders within any hour, at most. Let's Encrypt allows five failed validations of a name in an hour.
    pub orders_an_hour: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self { retry: 60_000, retry_max: 12 * HOUR, orders_an_hour: 4 }
    }
}

/// From when until when a certificate is valid, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From when.
    pub from: Millis,
    /// Until when.
    pub until: Millis,
}

impl Validity {
    /// How long it lasts.
    pub const fn lifetime(&self) -> Millis {
        self.until.saturating_sub(self.from)
    }

    /// When it is renewed: when a third of it is left, and up to a twenty-fourth earlier, so that what was issued together is
    /// not renewed together. `seed` stays the same for one certificate.
    pub fn renewal(&self, seed: u64) -> Millis {
        let third = self.until.saturating_sub(self.lifetime() / 3);
        third.saturating_sub(part(self.lifetime() / 24, seed, self.until))
    }
}

/// What is wanted, and what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The certificate that there is.
    pub certificate: Option<Validity>,
    /// Whether it is for the names that the configuration asks for.
    pub fits: bool,
    /// Somebody asks for a new one: the waits after failures do not count then, those that the authority asks for do.
    pub asked: bool,
    /// Within which time the authority would have the certificate renewed, if it says so.
    pub suggested: Option<Window>,
}

/// What became of earlier orders. Whoever orders writes it down before and after, so that another process knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Previous {
    /// When the last orders began, the latest last: as many as an hour may have.
    pub orders: Vec<Millis>,
    /// How many have failed since the last one that succeeded.
    pub failures: u32,
    /// The authority has asked to wait until then.
    pub not_before: Millis,
    /// When the last order began that the authority had suggested, unless one has failed since.
    #[serde(default)]
    pub suggested: Millis,
}

impl Previous {
    /// An order begins.
    pub fn begin(&mut self, policy: &Policy, why: Why, now: Millis) {
        if why == Why::Suggested {
            self.suggested = now;
        }
        self.orders.push(now);
        let surplus = self.orders.len().saturating_sub(policy.orders_an_hour.max(1));
        self.orders.drain(..surplus);
    }

    /// It has failed; the authority asks to wait until `not_before`, if it has said so.
    pub fn fail(&mut self, not_before: Option<Millis>) {
        self.failures = self.failures.saturating_add(1);
        (self.not_before, self.suggested) = (not_before.unwrap_or(0), 0);
    }

    /// It has succeeded.
    pub fn succeed(&mut self) {
        (self.failures, self.not_before) = (0, 0);
    }
}

/// Why a certificate is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is none.
    Missing,
    /// That which there is, is for other names.
    Changed,
    /// It ends before long.
    Due,
    /// The authority would have it renewed now.
    Suggested,
    /// Somebody has asked.
    Asked,
}

impl Why {
    /// In a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Due => "due",
            Self::Suggested => "suggested",
            Self::Asked => "asked",
        }
    }
}

/// The next order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// When, in milliseconds since 1970; what is past is due.
    pub at: Millis,
    /// Why.
    pub why: Why,
}

/// When the next order begins. `seed` is the same for as long as the thing is, and another one for other certificates.
pub fn plan(policy: &Policy, seen: &Observation, previous: &Previous, now: Millis, seed: u64) -> Plan {
    let (due, why) = match seen.certificate {
        _ if seen.asked => (0, Why::Asked),
        None => (0, Why::Missing),
        Some(_) if !seen.fits => (0, Why::Changed),
        Some(validity) => match seen.suggested {
            Some(window) => (window.moment(&validity, seed).max(apart(&validity, previous, now)), Why::Suggested),
            None => (validity.renewal(seed), Why::Due),
        },
    };
    // What lies ahead was written by a clock that ran ahead, and would hold everything up until then.
    let orders: Vec<Millis> = previous.orders.iter().copied().filter(|at| *at <= now).collect();
    let mut at = due;
    if let Some(last) = orders.last().filter(|_last| previous.failures > 0 && !seen.asked) {
        at = at.max(last.saturating_add(wait(policy, previous.failures, seed ^ last)));
    }
    if previous.not_before <= now.saturating_add(WAIT_MAX) {
        at = at.max(previous.not_before);
    }
    let room = policy.orders_an_hour.max(1);
    if let Some(first) = orders.len().checked_sub(room).and_then(|index| orders.get(index)) {
        at = at.max(first.saturating_add(HOUR));
    }
    Plan { at, why }
}

/// From when on what the authority suggests is followed again.
fn apart(validity: &Validity, previous: &Previous, now: Millis) -> Millis {
    let last = Some(previous.suggested).filter(|at| (1..=now).contains(at));
    last.map_or(0, |at| at.saturating_add(SUGGESTED_APART.min(validity.lifetime() / 4)))
}

/// The wait after so many failures: between half of the bound and all of it.
fn wait(policy: &Policy, failures: u32, seed: u64) -> Millis {
    let doubled = 1u64.checked_shl(failures.saturating_sub(1).min(32)).unwrap_or(u64::MAX);
    let bound = policy.retry.saturating_mul(doubled).min(policy.retry_max);
    bound - part(bound / 2, seed, u64::from(failures))
}

/// A part of `whole` that looks random and is always the same for `seed` and `of`.
fn part(whole: Millis, seed: u64, of: u64) -> Millis {
    let mixed = random::hash(&[seed.to_le_bytes(), of.to_le_bytes()].concat());
    mixed.checked_rem(whole).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Millis = 24 * HOUR;
    const NOW: Millis = 1_000 * DAY;

    fn seen(certificate: Option<Validity>) -> Observation {
        Observation { certificate, fits: true, asked: false, suggested: None }
    }

    #[test]
    fn a_certificate_of_ninety_days_is_renewed_before_its_last_thirty() {
        let validity = Validity { from: NOW, until: NOW + 90 * DAY };
        for seed in 0..200 {
            let plan = plan(&Policy::default(), &seen(Some(validity)), &Previous::default(), NOW, seed);
            let days = (plan.at - NOW) as f64 / DAY as f64;
            assert!((56.25..=60.0).contains(&days), "{days}");
            assert_eq!(plan.why, Why::Due);
        }
    }

    #[test]
    fn what_is_missing_or_changed_is_ordered_at_once() {
        let plan = |seen: &Observation| plan(&Policy::default(), seen, &Previous::default(), NOW, 1);
        assert_eq!(plan(&seen(None)), Plan { at: 0, why: Why::Missing });
        let changed = Observation { fits: false, ..seen(Some(Validity { from: NOW, until: NOW + DAY })) };
        assert_eq!(plan(&changed), Plan { at: 0, why: Why::Changed });
        assert_eq!(plan(&Observation { asked: true, ..changed }), Plan { at: 0, why: Why::Asked });
    }

    #[test]
    fn failures_wait_longer_and_longer_unless_somebody_asks() {
        let policy = Policy::default();
        let at = |failures, asked| {
            let previous = Previous { orders: vec![NOW], failures, ..Previous::default() };
            plan(&policy, &Observation { asked, ..seen(None) }, &previous, NOW, 7).at
        };
        assert!((NOW + 30_000..=NOW + 60_000).contains(&at(1, false)));
        assert!((NOW + 240_000..=NOW + 480_000).contains(&at(4, false)));
        assert!((NOW + 6 * HOUR..=NOW + 12 * HOUR).contains(&at(u32::MAX, false)));
        assert_eq!(at(9, true), 0);
    }

    #[test]
    fn an_authority_that_asks_to_wait_is_obeyed_also_when_somebody_asks() {
        let previous = Previous { orders: vec![NOW], failures: 1, not_before: NOW + HOUR, suggested: 0 };
        let asked = Observation { asked: true, ..seen(None) };
        assert_eq!(plan(&Policy::default(), &asked, &previous, NOW, 7).at, NOW + HOUR);
        let absurd = Previous { not_before: u64::MAX, ..previous };
        assert_eq!(plan(&Policy::default(), &asked, &absurd, NOW, 7).at, 0);
    }

    #[test]
    fn an_authoritys_window_counts_in_place_of_the_own_rule_and_is_not_followed_again_and_again() {
        let validity = Validity { from: NOW, until: NOW + 90 * DAY };
        let at = |start: Millis, previous: &Previous| {
            let suggested = Window::new(start, start + DAY);
            let plan = plan(&Policy::default(), &Observation { suggested, ..seen(Some(validity)) }, previous, NOW, 7);
            assert_eq!(plan.why, Why::Suggested);
            plan.at
        };
        let mut previous = Previous::default();
        let late = NOW + 75 * DAY;
        assert!((late..late + DAY).contains(&at(late, &previous)));
        assert!(at(NOW - 2 * DAY, &previous) < NOW, "what is past is due");
        previous.begin(&Policy::default(), Why::Due, NOW - HOUR);
        assert!(at(NOW - 2 * DAY, &previous) < NOW);
        previous.begin(&Policy::default(), Why::Suggested, NOW - HOUR);
        assert_eq!(at(NOW - 2 * DAY, &previous), NOW + 5 * HOUR);
        assert!((late..late + DAY).contains(&at(late, &previous)));
    }

    #[test]
    fn a_clock_that_ran_ahead_holds_nothing_up() {
        let previous = Previous { orders: vec![NOW + 900 * DAY; 4], failures: 3, ..Previous::default() };
        assert_eq!(plan(&Policy::default(), &seen(None), &previous, NOW, 7).at, 0);
    }
}
