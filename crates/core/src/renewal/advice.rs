//! When an authority would have a certificate renewed (ACME Renewal Information, RFC 9773): how often it is asked, and what its
//! answer is worth.

use serde::{Deserialize, Serialize};

use super::{HOUR, Validity, part};
use crate::alert::Millis;

/// An authority is asked no sooner than this after it was asked, whatever it says (section 4.3.2).
const ASK_MIN: Millis = 60_000;
/// Nor later than this.
const ASK_MAX: Millis = 24 * HOUR;
/// When it is asked again that has refused, or has said what cannot be (section 4.3.3).
const ASK_REFUSED: Millis = 6 * HOUR;

/// Within which time an authority would have a certificate renewed, in milliseconds since 1970. It is never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(Millis, Millis)", into = "(Millis, Millis)")]
pub struct Window {
    start: Millis,
    end: Millis,
}

impl Window {
    /// From `start` until `end`; `None` unless that is later, which counts like no answer at all (section 4.2).
    pub fn new(start: Millis, end: Millis) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// From when.
    pub const fn start(&self) -> Millis {
        self.start
    }

    /// Until when.
    pub const fn end(&self) -> Millis {
        self.end
    }

    /// When a certificate of this validity is renewed: at any one time within the window, but with a twelfth of the
    /// certificate's lifetime left. `seed` stays the same for one certificate.
    pub fn moment(&self, validity: &Validity, seed: u64) -> Millis {
        let within = self.start.saturating_add(part(self.end - self.start, seed, self.start ^ self.end));
        within.min(validity.until.saturating_sub(validity.lifetime() / 12))
    }
}

impl TryFrom<(Millis, Millis)> for Window {
    type Error = &'static str;

    fn try_from((start, end): (Millis, Millis)) -> Result<Self, Self::Error> {
        Self::new(start, end).ok_or("a window ends after it begins")
    }
}

impl From<Window> for (Millis, Millis) {
    fn from(window: Window) -> Self {
        (window.start, window.end)
    }
}

/// What an authority answers when it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A window.
    Window {
        /// Within which time.
        window: Window,
        /// A page for people that says why.
        explanation: Option<String>,
        /// When it wants to be asked again, in milliseconds since 1970.
        ask_at: Option<Millis>,
    },
    /// It says nothing of renewals.
    Unsupported,
    /// It refuses, or has said what cannot be.
    Refused,
    /// It was not reached, or has too much to do.
    Unreachable {
        /// When it wants to be asked again, in milliseconds since 1970.
        ask_at: Option<Millis>,
    },
}

/// What an authority has said of one certificate, and when it is asked again. Whoever asks writes it down before and after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// What it has said last; it counts on while the authority cannot be reached.
    pub window: Option<Window>,
    /// A page for people that says why.
    pub explanation: Option<String>,
    /// When it is asked again, in milliseconds since 1970; what is past is due.
    pub ask_at: Millis,
    /// How often it was asked in vain since it last answered.
    pub failures: u32,
}

impl Advice {
    /// Whether the authority is to be asked now.
    pub fn is_due(&self, now: Millis) -> bool {
        // What lies further ahead was written by a clock that ran ahead.
        self.ask_at <= now || self.ask_at > now.saturating_add(ASK_MAX)
    }

    /// It is asked: in vain, until [`Self::hear`] knows better.
    pub fn ask(&mut self, now: Millis) {
        let doubled = ASK_MIN.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.ask_at = now.saturating_add(doubled.min(ASK_REFUSED));
    }

    /// It has answered what it was asked.
    pub fn hear(&mut self, answer: Answer, now: Millis) {
        let again = |wait: Millis| now.saturating_add(wait.clamp(ASK_MIN, ASK_MAX));
        match answer {
            Answer::Window { window, explanation, ask_at } => {
                let ask_at = again(ask_at.map_or(ASK_REFUSED, |at| at.saturating_sub(now)));
                *self = Self { window: Some(window), explanation, ask_at, failures: 0 };
            }
            Answer::Unsupported => *self = Self { ask_at: again(ASK_REFUSED), ..Self::default() },
            Answer::Refused => self.ask_at = again(ASK_REFUSED),
            Answer::Unreachable { ask_at } => {
                let wanted = ask_at.map_or(0, |at| again(at.saturating_sub(now)));
                self.ask_at = self.ask_at.max(wanted);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Millis = 24 * HOUR;
    const NOW: Millis = 1_000 * DAY;

    fn heard(retry: Option<Millis>) -> Advice {
        let window = Window::new(NOW + DAY, NOW + 2 * DAY).unwrap();
        let mut advice = Advice { failures: 3, ..Advice::default() };
        advice.hear(Answer::Window { window, explanation: None, ask_at: retry.map(|wait| NOW + wait) }, NOW);
        advice
    }

    #[test]
    fn it_is_asked_when_it_wants_to_be_within_bounds() {
        for (retry, wait) in [
            (Some(2 * HOUR), 2 * HOUR),
            (Some(0), ASK_MIN),
            (Some(900 * DAY), ASK_MAX),
            (Some(u64::MAX - NOW), ASK_MAX),
            (None, ASK_REFUSED),
        ] {
            let advice = heard(retry);
            assert_eq!((advice.ask_at, advice.failures), (NOW + wait, 0), "{retry:?}");
            assert!(!advice.is_due(NOW) && !advice.is_due(NOW + wait - 1) && advice.is_due(NOW + wait));
        }
    }

    #[test]
    fn one_that_cannot_be_reached_is_asked_less_and_less_often_and_what_it_said_counts_on() {
        let mut advice = heard(None);
        let (window, mut waits) = (advice.window, Vec::new());
        for _time in 0..40 {
            advice.ask(NOW);
            advice.hear(Answer::Unreachable { ask_at: None }, NOW);
            waits.push(advice.ask_at - NOW);
        }
        assert_eq!(waits[..3], [ASK_MIN, 2 * ASK_MIN, 4 * ASK_MIN]);
        assert!(waits.is_sorted() && waits[39] == ASK_REFUSED);
        assert_eq!(advice.window, window);
        advice.hear(Answer::Unreachable { ask_at: Some(NOW + 8 * HOUR) }, NOW);
        assert_eq!((advice.ask_at, advice.window), (NOW + 8 * HOUR, window));
        advice.hear(Answer::Refused, NOW);
        assert_eq!((advice.ask_at, advice.window), (NOW + ASK_REFUSED, window));
        advice.hear(Answer::Unsupported, NOW);
        assert_eq!((advice.ask_at, advice.window, advice.failures), (NOW + ASK_REFUSED, None, 0));
    }

    #[test]
    fn a_clock_that_ran_ahead_does_not_silence_it() {
        assert!(Advice { ask_at: NOW + 900 * DAY, ..Advice::default() }.is_due(NOW));
    }

    #[test]
    fn windows_are_never_empty_and_their_moments_are_spread() {
        assert_eq!(Window::new(NOW, NOW), None);
        assert_eq!(Window::new(NOW + 1, NOW), None);
        assert!(Window::try_from((5, 5)).is_err());
        let validity = Validity { from: NOW, until: NOW + 90 * DAY };
        let window = Window::new(NOW + 60 * DAY, NOW + 62 * DAY).unwrap();
        let moments: Vec<Millis> = (0..400).map(|seed| window.moment(&validity, seed)).collect();
        assert!(moments.iter().all(|at| (window.start()..window.end()).contains(at)));
        let quarters = moments.iter().map(|at| (at - window.start()) / (DAY / 2));
        for quarter in 0..4 {
            let found = quarters.clone().filter(|it| *it == quarter).count();
            assert!((60..140).contains(&found), "{found} of 400 in quarter {quarter}");
        }
        // A window that leaves no time is a mistake, which is not to cost the certificate.
        let late = Window::new(NOW + 89 * DAY, NOW + 400 * DAY).unwrap();
        assert!(late.moment(&validity, 7) <= validity.until - 90 * DAY / 12);
    }
}
