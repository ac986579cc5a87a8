use std::time::Duration;

use super::*;
use crate::backoff;
use crate::random::Rng;

const SECOND: Millis = 1000;
const T0: Millis = 1_700_000_000_000;

fn receiver(name: &str, severities: &[Severity]) -> Receiver {
    Receiver {
        name: name.to_owned(),
        severities: severities.to_vec(),
        matchers: Vec::new(),
        group_by: Receiver::GROUP_BY.map(str::to_owned).to_vec(),
        times: Times { wait: 30 * SECOND, interval: 300 * SECOND, repeat: 3600 * SECOND },
        resolved: true,
    }
}

fn policy() -> Policy {
    Policy {
        receivers: vec![receiver("pager", &[Severity::P1]), receiver("chat", &Severity::ALL)],
        ..Policy::default()
    }
}

fn endpoint(name: &str, zone: &str) -> Condition {
    let labels = Labels::new().with("service", "shop").with("endpoint", name).with("zone", zone);
    Condition::new("EndpointDown", Severity::P4, labels, "it is down")
}

fn down() -> Condition {
    Condition::new("ServiceDown", Severity::P1, Labels::new().with("service", "shop"), "nothing is served")
}

/// Runs the machine each second and lets messages arrive or not.
struct Bench {
    alerts: Alerts,
    now: Millis,
    silences: Silences,
    rng: Rng,
}

impl Bench {
    fn new(policy: Policy) -> Self {
        let (silences, rng) = (Silences::new(), Rng::seeded(1));
        Self { alerts: Alerts::new(policy, State::default()), now: T0, silences, rng }
    }

    fn run(&mut self, seconds: u64, conditions: &[Condition], works: bool) -> Vec<(u64, Delivery)> {
        let mut sent = Vec::new();
        for _second in 0..seconds {
            self.alerts.observe(self.now, conditions, &self.silences);
            while let Some(delivery) = self.alerts.next(self.now) {
                self.alerts.settled(self.now, delivery.id, works, &mut self.rng);
                sent.push(((self.now - T0) / SECOND, delivery));
            }
            self.alerts.check_invariants();
            self.now += SECOND;
        }
        sent
    }

    fn told(&mut self, seconds: u64, conditions: &[Condition]) -> Vec<(u64, String, usize, bool)> {
        let sent = self.run(seconds, conditions, true);
        let told = |(at, it): (u64, Delivery)| (at, it.receiver.clone(), it.items.len(), it.is_firing());
        sent.into_iter().map(told).collect()
    }
}

fn said(at: u64, receiver: &str, items: usize, firing: bool) -> (u64, String, usize, bool) {
    (at, receiver.to_owned(), items, firing)
}

#[test]
fn a_page_goes_at_once_others_wait_for_company() {
    let mut bench = Bench::new(policy());
    assert_eq!(bench.told(1, &[down()]), [said(0, "chat", 1, true), said(0, "pager", 1, true)]);
    let mut bench = Bench::new(policy());
    assert_eq!(bench.told(10, &[endpoint("a", "")]), []);
    let both = [endpoint("a", ""), endpoint("b", "")];
    assert_eq!(bench.told(25, &both), [said(30, "chat", 2, true)]);
    // A third one waits for the interval; then nothing for an hour.
    let three = [endpoint("a", ""), endpoint("b", ""), endpoint("c", "")];
    assert_eq!(bench.told(3600, &three), [said(330, "chat", 3, true)]);
    assert_eq!(bench.told(400, &three), [said(3930, "chat", 3, true)]);
    assert_eq!(bench.told(600, &[]), [said(4230, "chat", 3, false)]);
    assert_eq!(bench.told(3600, &[]), []);
}

#[test]
fn it_must_be_so_for_a_while_and_stays_for_a_while() {
    let mut bench = Bench::new(policy());
    let held = Condition { hold: 10 * SECOND, keep: 5 * SECOND, ..down() };
    assert_eq!(bench.told(10, std::slice::from_ref(&held)), []);
    assert_eq!(bench.told(3, &[]), []);
    assert_eq!(bench.told(20, std::slice::from_ref(&held)).first(), Some(&said(23, "chat", 1, true)));
    assert_eq!(bench.told(4, &[]), [], "it may come back");
    assert_eq!(bench.told(10, std::slice::from_ref(&held)), [], "and has");
    assert_eq!(bench.told(60, &[]).len(), 2, "both are told that it is over");
}

#[test]
fn what_explains_others_is_told_alone() {
    let mut bench = Bench::new(policy());
    let labels = Labels::new().with("service", "shop").with("zone", "a");
    let zone = Condition::new("ZoneLost", Severity::P2, labels, "zone a is gone");
    let all = [zone, endpoint("1", "a"), endpoint("2", "a"), endpoint("3", "b")];
    let sent = bench.run(60, &all, true);
    let names: Vec<_> = sent.iter().flat_map(|(_at, it)| &it.items).map(|it| it.labels.get("endpoint")).collect();
    assert_eq!(names, ["", "3"], "{sent:?}");
    let inhibited = bench.alerts.muted(endpoint("1", "a").labels.fingerprint());
    assert!(inhibited.inhibited_by.is_some());
    // When the zone is back and one endpoint is not, that one is told.
    let sent = bench.run(400, &[endpoint("1", "a"), endpoint("3", "b")], true);
    assert!(sent.iter().any(|(_at, it)| it.items.iter().any(|it| it.labels.get("endpoint") == "1")), "{sent:?}");
    // The lesser of two about the same thing is explained by the graver.
    let certificate = |severity| Condition::new("CertificateExpiring", severity, Labels::new().with("usage", "x"), "");
    let mut bench = Bench::new(policy());
    let sent = bench.run(60, &[certificate(Severity::P3), certificate(Severity::P2)], true);
    assert_eq!(sent.iter().map(|(_at, it)| it.severity()).collect::<Vec<_>>(), [Severity::P2]);
}

#[test]
fn silences_hold_back_and_what_is_left_is_told_when_they_end() {
    let mut bench = Bench::new(policy());
    let silence = Silence {
        id: "s".to_owned(),
        matchers: vec![Matcher::parse("service=shop").unwrap()],
        starts: T0,
        ends: T0 + 100 * SECOND,
        updated: T0,
        author: "anna".to_owned(),
        comment: "maintenance".to_owned(),
    };
    assert_eq!(silence.check(T0), Ok(()));
    bench.silences.insert("s".to_owned(), silence.clone());
    assert_eq!(bench.told(100, &[down()]), []);
    assert_eq!(bench.told(1, &[down()]).len(), 2);
    let everything = Silence { matchers: vec![Matcher::parse("service=~.*").unwrap()], ..silence };
    assert!(everything.check(T0).unwrap_err().to_string().contains("everything"));
    // What came and went while it was silenced was never owed.
    let mut bench = Bench::new(policy());
    bench.silences.insert("s".to_owned(), Silence { matchers: everything.matchers, ..bench_silence() });
    assert_eq!(bench.told(50, &[down()]), []);
    assert_eq!(bench.told(600, &[]), []);
}

fn bench_silence() -> Silence {
    let text = || "x".to_owned();
    let (starts, ends) = (T0, T0 + 1000 * SECOND);
    Silence { id: text(), matchers: Vec::new(), starts, ends, updated: T0, author: text(), comment: text() }
}

#[test]
fn a_receiver_that_is_down_hears_of_everything_later_and_its_failure_shows() {
    let mut bench = Bench::new(policy());
    let tries = bench.run(300, &[down()], false);
    assert!((10..60).contains(&tries.len()), "{} tries in five minutes", tries.len());
    assert_eq!(bench.alerts.failing().keys().collect::<Vec<_>>(), ["chat", "pager"]);
    // It has ended before anybody could be told: it is told all the same, as one that has ended.
    bench.run(120, &[], false);
    let sent = bench.run(120, &[], true);
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(sent.iter().all(|(_at, it)| !it.is_firing() && it.items[0].is_new));
    assert!(bench.alerts.failing().is_empty());
    assert_eq!(bench.run(600, &[], true), []);
}

#[test]
fn whoever_takes_over_repeats_only_what_was_under_way() {
    let mut bench = Bench::new(policy());
    bench.run(10, &[down()], true);
    let text = format!("{:?}", bench.alerts.state());
    bench.alerts = Alerts::new(policy(), bench.alerts.state().clone());
    assert_eq!(bench.told(300, &[down()]), [], "{text}");
    // One that was sent, but not written down, goes again.
    let other = Condition::new("QuorumLost", Severity::P1, Labels::new(), "");
    bench.alerts.observe(bench.now, &[down(), other.clone()], &bench.silences);
    let kept = bench.alerts.state().clone();
    let first = bench.alerts.next(bench.now).expect("a page");
    bench.alerts.settled(bench.now, first.id, true, &mut bench.rng);
    bench.alerts = Alerts::new(policy(), kept);
    assert_eq!(bench.told(2, &[down(), other]).len(), 2);
}

#[test]
fn the_dead_mans_switch_is_told_regularly_and_only_to_whom_it_is_for() {
    let dead_man = Some(DeadMan { receiver: "dead-man".to_owned(), interval: 60 * SECOND });
    let mut bench = Bench::new(Policy { dead_man, ..policy() });
    let told = bench.told(200, &[]);
    let expected: Vec<_> = [0, 60, 120, 180].map(|at| said(at, "dead-man", 1, true)).to_vec();
    assert_eq!(told, expected);
}

#[test]
fn what_somebody_takes_care_of_is_not_repeated_but_its_end_is_told() {
    let mut bench = Bench::new(policy());
    bench.run(1, &[down()], true);
    let by = Acknowledgement { by: "anna".to_owned(), at: bench.now, note: String::new() };
    assert!(bench.alerts.acknowledge(down().labels.fingerprint(), by.clone()));
    assert!(!bench.alerts.acknowledge(Fingerprint(1), by));
    assert_eq!(bench.told(2 * 3600, &[down()]), []);
    assert_eq!(bench.told(60, &[]).len(), 2);
    assert_eq!(bench.told(60, &[down()]).len(), 2, "a new life of the alert is told again");
}

#[test]
fn the_gravest_have_room() {
    let mut bench = Bench::new(policy());
    let many: Vec<_> = (0..ALERTS_MAX + 100).map(|index| endpoint(&index.to_string(), "")).collect();
    bench.run(1, &many, true);
    assert_eq!(bench.alerts.without_room(), 100);
    let with_one: Vec<_> = many.into_iter().chain([down()]).collect();
    assert_eq!(bench.told(1, &with_one).len(), 2);
}

#[test]
fn thresholds_of_the_built_in_alerts() {
    let names = |seen: &Observation| -> Vec<String> {
        conditions(seen).iter().map(|it| format!("{} {}", it.name(), it.severity.word())).collect()
    };
    let well = EndpointSeen { name: "a".into(), zone: "x".into(), eligible: true, ..EndpointSeen::default() };
    let other = EndpointSeen { name: "b".into(), zone: "y".into(), ..well.clone() };
    let bad = EndpointSeen { eligible: false, down: true, ..well.clone() };
    let service = |endpoints: &[&EndpointSeen]| Observation {
        services: vec![ServiceSeen { name: "s".into(), endpoints: endpoints.iter().map(|it| (*it).clone()).collect() }],
        ..Observation::default()
    };
    assert_eq!(names(&service(&[&well, &other])), Vec::<String>::new());
    assert_eq!(names(&service(&[&bad, &other])), ["ServiceDegraded P2", "EndpointDown P4", "ZoneLost P2"]);
    assert_eq!(names(&service(&[&bad])), ["ServiceDown P1", "EndpointDown P4"]);
    let busy = EndpointSeen { cpu_percent: Some(85.1), memory_percent: Some(90.0), ..well.clone() };
    let full = EndpointSeen { cpu_percent: Some(85.0), memory_percent: Some(90.1), ..well.clone() };
    let found = names(&service(&[&busy, &full]));
    assert_eq!(found, ["EndpointCpuHigh P3", "EndpointMemoryHigh P3"]);
    let drained = EndpointSeen { draining: true, ..bad };
    assert_eq!(names(&service(&[&drained, &other])), Vec::<String>::new());

    let route = |rate, errors, median| Observation {
        routes: vec![RouteSeen { rate, error_percent: errors, median_ms: median, ..RouteSeen::default() }],
        ..Observation::default()
    };
    assert_eq!(names(&route(10.0, Some(5.0), Some(500.0))), Vec::<String>::new());
    assert_eq!(names(&route(10.0, Some(5.1), Some(501.0))), ["ErrorRateHigh P2", "ResponseTimeHigh P2"]);
    assert_eq!(names(&route(0.1, Some(100.0), None)), Vec::<String>::new());

    let node = NodeSeen { cpu_percent: Some(86.0), memory_percent: Some(91.0), ..NodeSeen::default() };
    assert_eq!(names(&Observation { node, ..Observation::default() }), ["CpuHigh P3", "MemoryHigh P3"]);
    let node = NodeSeen { defect: Some("x.rs:7".to_owned()), ..NodeSeen::default() };
    assert_eq!(names(&Observation { node, ..Observation::default() }), ["Defect P3"]);
    let ends = |days_left| Observation {
        certificates: vec![CertificateSeen { days_left, ..CertificateSeen::default() }],
        ..Observation::default()
    };
    assert_eq!(names(&ends(31.0)), Vec::<String>::new());
    assert_eq!(names(&ends(30.0)), ["CertificateExpiring P3"]);
    assert_eq!(names(&ends(2.0)).len(), 3);
    let listener = ListenerSeen { connections: 160.0, usual: Some(105.0), ..ListenerSeen::default() };
    let crowded = Observation { listeners: vec![listener], ..Observation::default() };
    assert_eq!(names(&crowded), ["ConnectionsHigh P3"]);
}

#[test]
fn every_built_in_alert_is_described() {
    for rule in CATALOGUE {
        assert!(!rule.meaning.is_empty() && !rule.page.is_empty() && rule.view.starts_with("#/"), "{}", rule.name);
    }
}

#[test]
fn retries_back_off_within_their_bounds() {
    let retry = backoff::Policy { base: Duration::from_secs(1), cap: Duration::from_secs(8) };
    let mut bench = Bench::new(Policy { retry, ..policy() });
    let tries = bench.run(200, &[down()], false);
    let times: Vec<u64> = tries.iter().filter(|(_at, it)| it.receiver == "pager").map(|(at, _it)| *at).collect();
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] <= 9, "{times:?}");
    }
    assert!(times.windows(2).skip(4).all(|pair| pair[1] - pair[0] >= 4), "{times:?}");
}
