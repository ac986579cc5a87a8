use super::*;

/// Records of one node, at so many seconds.
fn record(seconds: f64, transition: Transition) -> Record {
    let nanos = Duration::from_secs_f64(seconds).as_nanos() as u64;
    Record {
        sequence: 0,
        at_unix_ms: 1_000_000 + nanos / 1_000_000,
        boottime_ns: nanos,
        node: "a".to_owned(),
        transition,
    }
}

fn service(seconds: f64, from: Word, to: Word) -> Record {
    let change = Transition::new(Subject::of_service("shop"), Aspect::Standing, from, to);
    record(seconds, change.because(format!("it went {to}")))
}

fn health(seconds: f64, service: &str, from: Word, to: Word) -> Record {
    record(
        seconds,
        Transition::new(Subject::endpoint(service, "10.0.0.1:80"), Aspect::Health, from, to).because("refused"),
    )
}

#[test]
fn an_outage_is_one_incident_with_what_led_to_it_and_what_was_done() {
    let mut book = Book::new(Policy::default());
    book.take(&service(1.0, Word::Unknown, Word::Up));
    book.take(&health(99.5, "other", Word::Up, Word::Down));
    book.take(&health(99.9, "shop", Word::Up, Word::Down));
    book.take(&service(100.0, Word::Up, Word::Degraded));
    book.take(&service(103.0, Word::Degraded, Word::Down));
    assert!(!book.incidents()[0].is_over());
    assert_eq!(book.incidents()[0].down_until(108_000_000_000), Duration::from_secs(5));
    book.take(&health(110.0, "shop", Word::Down, Word::Up));
    book.take(&service(110.0, Word::Down, Word::Up));
    book.advance(120_000_000_000);
    let incidents = book.incidents();
    assert_eq!(incidents.len(), 1);
    let incident = incidents[0];
    assert_eq!((incident.title().as_str(), incident.cause.as_str()), ("shop: down", "it went down"));
    assert_eq!((incident.began_unix_ms, incident.ended_unix_ms), (1_100_000, Some(1_110_000)));
    assert_eq!((incident.lasted, incident.down), (Duration::from_secs(10), Duration::from_secs(7)));
    assert_eq!(incident.actions, ["shop/10.0.0.1:80 is taken out of rotation after 0.0 s"]);
    let parts: Vec<Part> = incident.entries.iter().map(|entry| entry.part).collect();
    assert_eq!(parts, [Part::Action, Part::Fault, Part::Fault, Part::Recovery, Part::Recovery]);
    assert_eq!(book.find(&incident.id).map(|found| found.began_ns), Some(100_000_000_000));
}

#[test]
fn trouble_that_comes_back_soon_is_the_same_incident_and_later_is_another() {
    let mut book = Book::new(Policy::default());
    for begin in [100.0, 104.0, 130.0] {
        book.take(&service(begin, Word::Up, Word::Down));
        book.take(&service(begin + 1.0, Word::Down, Word::Up));
    }
    let lengths: Vec<u64> = book.incidents().iter().map(|incident| incident.lasted.as_secs()).collect();
    assert_eq!(lengths, [1, 5]);
    assert_eq!(book.incidents()[1].down, Duration::from_secs(2));
}

#[test]
fn a_drain_is_a_planned_incident_and_what_is_not_known_ends_one() {
    let mut book = Book::new(Policy::default());
    let mut drained = service(10.0, Word::Up, Word::Down);
    drained.transition.planned = true;
    book.take(&drained);
    assert!(book.incidents()[0].planned);
    let gone = Transition::new(Subject::of_service("shop"), Aspect::Standing, Word::Down, Word::Absent);
    book.take(&record(12.0, gone));
    assert_eq!(book.incidents()[0].lasted, Duration::from_secs(2));
    assert!(book.incidents()[0].is_over());
}

#[test]
fn everything_has_a_limit() {
    let policy = Policy { kept: 3, entries: 5, open: 2, ..Policy::default() };
    let mut book = Book::new(policy);
    for index in 0..4 {
        let down = Transition::new(Subject::of_service(&format!("s{index}")), Aspect::Standing, Word::Up, Word::Down);
        book.take(&record(1.0, down));
    }
    assert_eq!(book.incidents().len(), 2);
    for index in 0..20 {
        let seconds = 2.0 + f64::from(index);
        book.take(&health(seconds, "s0", Word::Up, Word::Down));
    }
    let incident = book.find("1001000-service-s0").unwrap();
    assert_eq!((incident.entries.len(), incident.left_out), (5, 16));
    let mut book = Book::new(policy);
    for index in 0..9 {
        let begin = 100.0 * f64::from(index);
        book.take(&service(begin, Word::Up, Word::Down));
        book.take(&service(begin + 1.0, Word::Down, Word::Up));
    }
    book.advance(2_000_000_000_000);
    assert_eq!(book.incidents().len(), 3);
}

#[test]
fn after_a_restart_nothing_is_open_any_more() {
    let mut book = Book::new(Policy::default());
    book.take(&service(10.0, Word::Up, Word::Down));
    book.restart();
    assert!(book.incidents()[0].is_over());
    assert!(book.open.is_empty());
}
