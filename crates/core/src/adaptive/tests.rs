use super::*;

/// A backend with places for `workers` requests, each of which takes `service`; what comes beyond waits there.
struct Backend {
    workers: u32,
    service: Duration,
}

impl Backend {
    /// The latency with `in_flight` requests at the backend.
    fn latency(&self, in_flight: u32) -> Duration {
        self.service.mul_f64((f64::from(in_flight) / f64::from(self.workers)).max(1.0))
    }
}

/// Offers as much as the limit allows, up to `offered` at once, for `time`. Answers the limits that were seen.
fn run(machine: &mut Adaptive, now: &mut Moment, backend: &Backend, offered: u32, time: Duration) -> Vec<u32> {
    let end = now.after(time);
    let mut limits = Vec::new();
    while *now < end {
        let in_flight = machine.limit().min(offered);
        let latency = backend.latency(in_flight);
        *now = now.after(latency.div_f64(f64::from(in_flight)));
        machine.sample(*now, Sample { latency, entered_with: in_flight, left_with: in_flight });
        limits.push(machine.limit());
    }
    limits
}

fn settled(backend: &Backend, policy: Policy, seconds: u64) -> (u32, Adaptive, Moment) {
    let mut now = Moment::from_millis(1000);
    let mut machine = Adaptive::new(policy, now, 7);
    let limits = run(&mut machine, &mut now, backend, 10_000, Duration::from_secs(seconds));
    let tail = &limits[limits.len() / 2..];
    let mut following: Vec<u32> = tail.iter().copied().filter(|limit| *limit > policy.probe).collect();
    following.sort_unstable();
    (following.get(following.len() / 2).copied().unwrap_or(policy.probe), machine, now)
}

#[test]
fn the_limit_settles_a_little_above_what_the_backend_takes() {
    for (workers, service_ms) in [(8, 20), (50, 100), (10, 200), (200, 5)] {
        let backend = Backend { workers, service: Duration::from_millis(service_ms) };
        let (limit, machine, _now) = settled(&backend, Policy::default(), 30);
        assert_eq!(machine.base(), Some(backend.service));
        assert!(limit >= workers && limit <= workers * 2 + 20, "{workers} places, {service_ms} ms: {limit}");
    }
}

#[test]
fn a_slower_backend_lowers_it_and_recovery_raises_it_again() {
    let healthy = Backend { workers: 50, service: Duration::from_millis(10) };
    let (before, mut machine, mut now) = settled(&healthy, Policy::default(), 20);
    let sick = Backend { workers: 10, ..healthy };
    let limits = run(&mut machine, &mut now, &sick, 10_000, Duration::from_secs(10));
    let during = *limits.last().expect("requests were made");
    assert!(during < before / 2, "{before} fell to {during}");
    let limits = run(&mut machine, &mut now, &healthy, 10_000, Duration::from_secs(10));
    let after = limits.last().copied().expect("requests were made");
    assert!(after > before * 3 / 4, "back to {after} of {before}");
}

#[test]
fn a_limit_that_nobody_uses_does_not_grow() {
    let backend = Backend { workers: 1000, service: Duration::from_millis(10) };
    let mut now = Moment::ZERO;
    let mut machine = Adaptive::new(Policy::default(), now, 1);
    let limits = run(&mut machine, &mut now, &backend, 4, Duration::from_secs(200));
    assert!(limits.iter().all(|limit| *limit == 20), "{:?}", limits.iter().max());
    assert!(!machine.is_measuring(), "what is quiet is measured as it is");
}

#[test]
fn the_floor_is_another_number_than_the_probe() {
    let backend = Backend { workers: 1, service: Duration::from_millis(10) };
    let policy = Policy { min: 12, probe: 1, ..Policy::default() };
    let mut now = Moment::ZERO;
    let mut machine = Adaptive::new(policy, now, 1);
    let limits = run(&mut machine, &mut now, &backend, 10_000, Duration::from_secs(100));
    assert_eq!(machine.base(), Some(backend.service), "measured with one at a time");
    assert!(limits.iter().all(|limit| *limit == 1 || *limit >= 12));
    assert!(limits.contains(&1) && limits.last() == Some(&12));
}

#[test]
fn measurements_end_when_nothing_is_answered() {
    let backend = Backend { workers: 50, service: Duration::from_millis(10) };
    let (_limit, mut machine, now) = settled(&backend, Policy::default(), 10);
    let mut then = now;
    while !machine.is_measuring() && then < now.after(Duration::from_secs(120)) {
        then = then.after(Duration::from_millis(10));
        let latency = backend.service;
        machine.sample(then, Sample { latency, entered_with: 30, left_with: 30 });
    }
    assert!(machine.is_measuring());
    machine.turn(then.after(LONGEST_MEASUREMENT));
    assert!(!machine.is_measuring());
    assert_eq!(machine.base(), Some(backend.service), "the last one stands");
}

#[test]
fn nodes_measure_at_different_times() {
    let backend = Backend { workers: 20, service: Duration::from_millis(10) };
    let mut when: Vec<Moment> = (0..8)
        .map(|seed| {
            let mut now = Moment::ZERO;
            let mut machine = Adaptive::new(Policy::default(), now, seed);
            run(&mut machine, &mut now, &backend, 10_000, Duration::from_secs(5));
            while !machine.is_measuring() {
                run(&mut machine, &mut now, &backend, 10_000, Duration::from_millis(10));
            }
            now
        })
        .collect();
    when.sort_unstable();
    assert!(when[7].since(when[0]) > Duration::from_secs(4), "{when:?}");
}

#[test]
fn policies_without_sense_keep_the_limit_sane() {
    let senseless = Policy {
        min: 0,
        max: 0,
        initial: 0,
        probe: 0,
        tolerance: f64::NAN,
        slack: Duration::MAX,
        remeasure: Duration::ZERO,
        jitter: f64::NAN,
    };
    let mut machine = Adaptive::new(senseless, Moment::ZERO, 1);
    for millis in 0..10_000 {
        let now = Moment::from_millis(millis * 100);
        machine.sample(now, Sample { latency: Duration::MAX, entered_with: 9, left_with: u32::MAX });
        assert_eq!(machine.limit(), 1);
    }
}
