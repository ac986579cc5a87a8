//! What a request in progress notes: each choice of an endpoint and what was decided after it.

use std::rc::Rc;
use std::time::Duration;

use mainstay_core::retry::Refusal;
use mainstay_core::time::Moment;

use super::view::View;
use crate::http::record::Attempt;

/// Choices that have their place in the record itself. Only requests with more of them, which are rare, allocate.
const INLINE: usize = 2;

/// What follows an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Next {
    /// The request ends here: it was answered, or there was nothing to decide.
    #[default]
    End,
    /// Another choice, after this wait.
    Retry(Duration),
    /// Another endpoint was asked as well, and answered first.
    Hedge,
    /// No retry: the policy or the request forbids it.
    Refused(Refusal),
    /// No retry: the request's time would be over.
    Deadline,
    /// No retry: the service's budget is used up.
    Budget,
    /// No retry: such requests have reset connections at too many endpoints.
    Quarantined,
}

/// The endpoints whose loads the balancer compared, with their requests in flight.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Drawn {
    loads: [(u32, u32); 2],
    count: u8,
}

impl Drawn {
    pub(crate) fn note(&mut self, index: usize, load: u32) {
        if let Some(place) = self.loads.get_mut(usize::from(self.count)) {
            *place = (index as u32, load);
            self.count += 1;
        }
    }

    /// The load of the endpoint at `index`, if it was asked for.
    pub(crate) fn load(&self, index: usize) -> Option<u32> {
        let known = self.loads.iter().take(usize::from(self.count));
        known.copied().find(|(of, _load)| *of as usize == index).map(|(_of, load)| load)
    }
}

/// One choice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    pub(crate) view: Option<Rc<View>>,
    pub(crate) drawn: Drawn,
    /// Endpoints that were drawn and whose circuit breakers let nothing through.
    pub(crate) refused: Vec<usize>,
    /// When the attempt began.
    pub(crate) started: Moment,
    /// Whether an attempt followed.
    began: bool,
    /// The attempt that followed; filled in when the request has ended.
    pub(crate) attempt: Option<Attempt>,
    pub(crate) next: Next,
}

/// The choices of one request. The allocation, if there ever was one, is used again.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    inline: [Step; INLINE],
    more: Vec<Step>,
    count: usize,
}

impl Trace {
    /// Forgets the request before.
    pub(crate) fn begin(&mut self) {
        self.count = 0;
        self.more.clear();
    }

    /// An endpoint was chosen, or none could be; the circuit breakers of those in `refused` let nothing through.
    pub(crate) fn choice(&mut self, view: Rc<View>, drawn: Drawn, refused: &[usize]) {
        match self.inline.get_mut(self.count) {
            // Field by field: what is not written here is not moved.
            Some(place) => {
                place.view = Some(view);
                place.drawn = drawn;
                place.refused.clear();
                place.refused.extend_from_slice(refused);
                place.next = Next::End;
                place.began = false;
            }
            None => self.more.push(Step { view: Some(view), drawn, refused: refused.to_vec(), ..Step::default() }),
        }
        self.count += 1;
    }

    /// The attempt at the chosen endpoint begins.
    pub(crate) fn started(&mut self, now: Moment) {
        if let Some(step) = self.last() {
            step.started = now;
            step.began = true;
        }
    }

    /// What was decided after the attempt.
    pub(crate) fn next(&mut self, next: Next) {
        if let Some(step) = self.last() {
            step.next = next;
        }
    }

    fn last(&mut self) -> Option<&mut Step> {
        let index = self.count.checked_sub(1)?;
        if index < INLINE { self.inline.get_mut(index) } else { self.more.last_mut() }
    }

    /// When each attempt began.
    pub(crate) fn starts(&self) -> impl Iterator<Item = Moment> {
        self.steps().filter(|step| step.began).map(|step| step.started)
    }

    /// The choices in order.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.inline.iter().chain(&self.more).take(self.count)
    }

    /// Takes over the choices of `other`, with its attempts.
    pub(crate) fn copy(&mut self, other: &Self, attempts: &[Attempt]) {
        self.begin();
        self.count = other.count;
        let mut attempts = attempts.iter();
        for (step, place) in other.inline.iter().zip(&mut self.inline).take(other.count) {
            place.view.clone_from(&step.view);
            place.drawn = step.drawn;
            place.refused.clone_from(&step.refused);
            place.started = step.started;
            place.next = step.next;
            place.attempt = if step.began { attempts.next().copied() } else { None };
        }
        let mut attempt = |step: &Step| if step.began { attempts.next().copied() } else { None };
        self.more.extend(other.more.iter().map(|step| Step { attempt: attempt(step), ..step.clone() }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::record::Outcome;

    fn attempt(endpoint: usize) -> Attempt {
        Attempt { endpoint, outcome: Outcome::Answered(200), duration: Duration::ZERO, reused: false, elsewhere: false }
    }

    #[test]
    fn choices_come_back_in_order_however_many_there_were() {
        let mut kept = Trace::default();
        for count in [5, 1, 0, 3, 2] {
            let mut trace = Trace::default();
            for number in 0..count {
                let mut drawn = Drawn::default();
                drawn.note(number, number as u32);
                trace.choice(Rc::default(), drawn, &[number]);
                trace.started(Moment::from_millis(number as u64));
                trace.next(Next::Retry(Duration::from_millis(number as u64)));
            }
            // The last choice found nobody.
            let attempts: Vec<Attempt> = (1..count).map(attempt).collect();
            kept.copy(&trace, &attempts);
            assert_eq!(kept.steps().count(), count);
            for (number, step) in kept.steps().enumerate() {
                assert_eq!(step.drawn.load(number), Some(number as u32));
                assert_eq!(step.refused, [number]);
                assert_eq!(step.started, Moment::from_millis(number as u64));
                assert_eq!(step.next, Next::Retry(Duration::from_millis(number as u64)));
                assert_eq!(step.attempt.map(|it| it.endpoint), (number + 1 < count).then_some(number + 1));
            }
        }
    }

    #[test]
    fn two_loads_are_noted_and_no_more() {
        let mut drawn = Drawn::default();
        for (index, load) in [(7, 1), (3, 2), (5, 3)] {
            drawn.note(index, load);
        }
        assert_eq!([7, 3, 5].map(|index| drawn.load(index)), [Some(1), Some(2), None]);
    }
}
