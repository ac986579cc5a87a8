use std::time::Duration;

use mainstay_core::outlier::{Input, Machine, Output, Policy};
use mainstay_core::time::Moment;
use proptest::prelude::*;

fn policy() -> impl Strategy<Value = Policy> {
    let percent = prop_oneof![3 => 0u32..=100, 1 => Just(100)];
    (1u64..20_000, 1u64..100_000, percent).prop_map(|(base_ms, cap_ms, percent)| Policy {
        consecutive: 5,
        base: Duration::from_millis(base_ms),
        cap: Duration::from_millis(cap_ms),
        max_ejected: f64::from(percent) / 100.0,
        gray: None,
    })
}

/// Milliseconds to wait, and which endpoint trips with how many others eligible; `None` if only time passes.
fn event() -> impl Strategy<Value = (u64, Option<(usize, usize)>)> {
    (0u64..8000, prop::option::weighted(0.8, (0usize..14, 0usize..6)))
}

/// Who is out until when, as the outputs tell it.
struct Model {
    policy: Policy,
    until: Vec<Option<Moment>>,
}

impl Model {
    fn out(&self) -> usize {
        self.until.iter().flatten().count()
    }

    fn check(&mut self, machine: &mut Machine, now: Moment, input: Input) -> Result<(), TestCaseError> {
        while let Some(output) = machine.poll_output() {
            match output {
                Output::Eject { endpoint, until } => {
                    let Input::Tripped { endpoint: tripped, others } = input else {
                        return Err(TestCaseError::fail("an ejection out of nothing"));
                    };
                    prop_assert_eq!(endpoint, tripped);
                    prop_assert!(others > 0, "the last eligible one");
                    prop_assert!(self.until[endpoint].is_none(), "ejected twice");
                    prop_assert!(until > now && until <= now.after(self.policy.cap), "an end within the cap");
                    prop_assert!(until >= now.after(self.policy.base.min(self.policy.cap)));
                    self.until[endpoint] = Some(until);
                    prop_assert!(self.out() < self.until.len(), "one is always left");
                    // In whole numbers, so that this check does not round as the machine does.
                    let percent = (self.policy.max_ejected * 100.0).round() as usize;
                    prop_assert!(self.out() * 100 <= percent * self.until.len(), "beyond the cap");
                }
                Output::Ease { .. } => return Err(TestCaseError::fail("eased out without a comparison")),
                Output::Restore { endpoint } => {
                    let until = self.until[endpoint].take();
                    prop_assert!(until.is_some_and(|until| until <= now), "restored early or twice");
                }
            }
        }
        prop_assert!(self.until.iter().flatten().all(|until| *until > now), "none stays out for too long");
        prop_assert_eq!(machine.deadline(), self.until.iter().flatten().min().copied());
        Ok(())
    }

    /// Whether the policy lets this one be ejected.
    fn may(&self, endpoint: usize, others: usize) -> bool {
        let percent = (self.policy.max_ejected * 100.0).round() as usize;
        let total = self.until.len();
        let out = self.out() + 1;
        endpoint < total && self.until[endpoint].is_none() && others > 0 && out < total && out * 100 <= percent * total
    }
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn ejections_stay_within_the_cap_and_end(
        policy in policy(),
        endpoints in 0usize..13,
        events in prop::collection::vec(event(), 0..150),
    ) {
        let mut machine = Machine::new(policy, endpoints);
        let mut model = Model { policy, until: vec![None; endpoints] };
        let mut now = Moment::from_millis(500);
        for (wait_ms, tripped) in events {
            now = now.after(Duration::from_millis(wait_ms));
            // The driver keeps to the deadlines.
            machine.step(now, Input::Timeout);
            model.check(&mut machine, now, Input::Timeout)?;
            if let Some((endpoint, others)) = tripped {
                let may = model.may(endpoint, others);
                let input = Input::Tripped { endpoint, others };
                machine.step(now, input);
                model.check(&mut machine, now, input)?;
                prop_assert_eq!(may, model.until.get(endpoint).is_some_and(Option::is_some) && may, "refused without need");
            }
        }
        for _ejected in 0..endpoints {
            let Some(deadline) = machine.deadline() else { break };
            machine.step(deadline, Input::Timeout);
            model.check(&mut machine, deadline, Input::Timeout)?;
        }
        prop_assert_eq!(model.out(), 0, "every ejection ends");
    }

    #[test]
    fn a_late_driver_is_no_danger(
        policy in policy(),
        endpoints in 1usize..13,
        events in prop::collection::vec(event(), 0..100),
    ) {
        let mut machine = Machine::new(policy, endpoints);
        let mut model = Model { policy, until: vec![None; endpoints] };
        let mut now = Moment::ZERO;
        for (wait_ms, tripped) in events {
            now = now.after(Duration::from_millis(wait_ms));
            let input = tripped.map_or(Input::Timeout, |(endpoint, others)| Input::Tripped { endpoint, others });
            machine.step(now, input);
            model.check(&mut machine, now, input)?;
        }
    }
}
