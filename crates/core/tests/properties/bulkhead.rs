use std::time::Duration;

use mainstay_core::bulkhead::{Bulkhead, Entry, Policy, Settled, Ticket};
use mainstay_core::criticality::Criticality;
use mainstay_core::time::Moment;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Event {
    Enter(Criticality),
    Release,
    /// The n-th of those with a ticket comes back, whether it was called or not.
    Leave(usize),
    SetLimit(u32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (0usize..4).prop_map(|class| Event::Enter(Criticality::ALL[class])),
        4 => Just(Event::Release),
        3 => (0usize..20).prop_map(Event::Leave),
        1 => (0u32..6).prop_map(Event::SetLimit),
    ]
}

/// Who waits, in order of arrival, and who was called, as the machine's answers tell it.
struct Model {
    limit: u32,
    queue: u32,
    overload_after: Duration,
    in_flight: u32,
    waiting: Vec<(Ticket, Criticality)>,
    called: Vec<(Ticket, Settled)>,
    crowded_since: Option<Moment>,
    /// The most tickets that were open at once.
    most_open: usize,
}

impl Model {
    fn is_overloaded(&self, now: Moment) -> bool {
        self.crowded_since.is_some_and(|since| now.since(since) >= self.overload_after)
    }

    /// The place in `waiting` of who has to be called next.
    fn next(&self, now: Moment) -> Option<usize> {
        let class = self.waiting.iter().map(|(_ticket, class)| *class).max()?;
        let mut of_class = (0..self.waiting.len()).filter(|at| self.waiting[*at].1 == class);
        if self.is_overloaded(now) { of_class.next_back() } else { of_class.next() }
    }

    /// The place of who has to give way to `class`.
    fn victim(&self, now: Moment, class: Criticality) -> Option<usize> {
        let least = self.waiting.iter().map(|(_ticket, class)| *class).min().filter(|least| *least < class)?;
        let mut of_class = (0..self.waiting.len()).filter(|at| self.waiting[*at].1 == least);
        if self.is_overloaded(now) { of_class.next() } else { of_class.next_back() }
    }

    fn expect(&mut self, machine: &mut Bulkhead, at: usize, as_what: Settled) -> Result<(), TestCaseError> {
        let (ticket, _class) = self.waiting.remove(at);
        prop_assert_eq!(machine.poll_output(), Some(ticket));
        prop_assert!(machine.is_called(ticket));
        self.called.push((ticket, as_what));
        Ok(())
    }

    fn fill(&mut self, machine: &mut Bulkhead, now: Moment) -> Result<(), TestCaseError> {
        let calls_by = self.is_overloaded(now);
        while self.in_flight < self.limit
            && let Some(at) = self.next(now)
        {
            prop_assert_eq!(calls_by, self.is_overloaded(now));
            self.expect(machine, at, Settled::Admitted)?;
            self.in_flight += 1;
        }
        Ok(())
    }

    fn step(&mut self, machine: &mut Bulkhead, now: Moment, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Enter(class) => {
                let victim = self.victim(now, class);
                let is_full = self.waiting.len() as u32 >= self.queue;
                match machine.enter(now, class) {
                    Entry::Admitted => {
                        prop_assert!(self.in_flight < self.limit && self.waiting.is_empty());
                        self.in_flight += 1;
                    }
                    Entry::Full => prop_assert!(self.in_flight >= self.limit && is_full && victim.is_none()),
                    Entry::Waiting(ticket) => {
                        prop_assert!(self.in_flight >= self.limit, "nobody waits beside a free place");
                        if is_full {
                            let victim = victim.expect("only a more important one takes a place");
                            self.expect(machine, victim, Settled::Displaced)?;
                        }
                        let open = self.waiting.iter().map(|(ticket, _class)| ticket);
                        let all: Vec<usize> =
                            open.chain(self.called.iter().map(|(ticket, _as)| ticket)).map(|it| it.number()).collect();
                        prop_assert!(!all.contains(&ticket.number()), "numbers tell open tickets apart");
                        self.most_open = self.most_open.max(all.len() + 1);
                        prop_assert!(ticket.number() < self.most_open, "and are small");
                        self.waiting.push((ticket, class));
                    }
                }
            }
            Event::Release if self.in_flight > self.called_in() => {
                self.in_flight -= 1;
                machine.release(now);
                self.fill(machine, now)?;
            }
            Event::Release => {}
            Event::Leave(number) => {
                let open = self.waiting.len() + self.called.len();
                if open == 0 {
                    return Ok(());
                }
                let at = number % open;
                let (ticket, settled) = match at.checked_sub(self.waiting.len()) {
                    Some(at) => self.called.remove(at),
                    None => (self.waiting.remove(at).0, Settled::Left),
                };
                prop_assert_eq!(machine.leave(now, ticket), settled);
                prop_assert_eq!(machine.leave(now, ticket), Settled::Unknown, "once only");
            }
            Event::SetLimit(limit) => {
                self.limit = limit.max(1);
                machine.set_limit(now, limit);
                self.fill(machine, now)?;
            }
        }
        Ok(())
    }

    /// Those called in who have not come back: they cannot be over yet.
    fn called_in(&self) -> u32 {
        self.called.iter().filter(|(_ticket, settled)| *settled == Settled::Admitted).count() as u32
    }
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn places_are_never_lost_and_the_important_go_first(
        concurrency in 0u32..5,
        queue in 0u32..6,
        events in prop::collection::vec((0u64..80, event()), 0..300),
    ) {
        let overload_after = Duration::from_millis(100);
        let mut machine = Bulkhead::new(Policy { concurrency, queue, overload_after });
        let mut now = Moment::from_millis(5);
        let mut model = Model {
            limit: concurrency.max(1),
            queue,
            overload_after,
            in_flight: 0,
            waiting: Vec::new(),
            called: Vec::new(),
            crowded_since: None,
            most_open: 0,
        };
        for (wait_ms, event) in events {
            now = now.after(Duration::from_millis(wait_ms));
            model.step(&mut machine, now, event)?;
            model.crowded_since = if model.waiting.is_empty() { None } else { model.crowded_since.or(Some(now)) };
            prop_assert_eq!(machine.poll_output(), None, "nobody else is called");
            prop_assert_eq!(machine.in_flight(), model.in_flight);
            prop_assert_eq!(machine.waiting(), model.waiting.len() as u32);
            prop_assert!(machine.waiting() <= queue);
            prop_assert!(model.waiting.is_empty() || model.in_flight >= model.limit, "nobody waits without need");
            prop_assert_eq!(machine.is_overloaded(now), model.is_overloaded(now));
        }
    }
}
