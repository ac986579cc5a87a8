//! Whatever comes in whatever order: at most one leads, everybody hears something, and leaders are bounded.

use std::collections::HashMap;

use mainstay_core::coalesce::{Ended, Flight, Joined, Limits, Ticket, Told};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Event {
    Join,
    End(Ended),
    /// A member gives up, by its place among those that wait or were told to lead.
    Leave(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Join),
        1 => Just(Event::End(Ended::Shared)),
        1 => Just(Event::End(Ended::Unshared)),
        3 => Just(Event::End(Ended::Failed)),
        2 => any::<usize>().prop_map(Event::Leave),
    ]
}

proptest! {
    #![proptest_config(super::config())]

    #[test]
    fn one_leads_and_nobody_is_forgotten(
        events in prop::collection::vec(event(), 0..200),
        waiters in 0_usize..20,
        leaders in 1_u32..5,
    ) {
        let mut flight = Flight::new(Limits { waiters, leaders });
        // What each waiting member has heard.
        let mut members: HashMap<Ticket, Option<Told>> = HashMap::new();
        let (mut leads, mut failures) = (1, 0);
        for event in events {
            match event {
                Event::Join => match flight.join() {
                    Joined::Wait(ticket) => prop_assert!(members.insert(ticket, None).is_none()),
                    Joined::Alone => prop_assert!(flight.is_over() || flight.waiting() == waiters),
                    Joined::Lead => prop_assert!(false, "only who makes a flight leads it at once"),
                },
                Event::End(how) if !flight.is_over() => {
                    leads -= 1;
                    failures += u32::from(how == Ended::Failed);
                    members.retain(|_ticket, told| *told != Some(Told::Lead));
                    flight.ended(how);
                }
                Event::End(how) => flight.ended(how),
                Event::Leave(place) => {
                    let mut tickets: Vec<Ticket> = members.keys().copied().collect();
                    tickets.sort();
                    if let Some(ticket) = tickets.get(place % tickets.len().max(1)) {
                        let told = members.remove(ticket).flatten();
                        leads -= u32::from(told == Some(Told::Lead));
                        flight.leave(*ticket, told);
                    }
                }
            }
            while let Some((ticket, told)) = flight.poll_output() {
                let heard = members.get_mut(&ticket);
                prop_assert!(heard.as_ref().is_some_and(|heard| heard.is_none()), "told once, while waiting");
                if let Some(heard) = heard {
                    *heard = Some(told);
                }
                leads += u32::from(told == Told::Lead);
            }
            let waiting = members.values().filter(|told| told.is_none()).count();
            prop_assert_eq!(flight.waiting(), waiting);
            prop_assert!(waiting <= waiters);
            prop_assert_eq!(leads, u32::from(!flight.is_over()), "one leads until it is over");
            prop_assert!(failures <= leaders);
            prop_assert!(!flight.is_over() || waiting == 0, "nobody waits for what is over");
        }
    }
}
