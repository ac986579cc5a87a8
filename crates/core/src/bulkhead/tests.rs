use super::*;

const NOW: Moment = Moment::from_millis(1000);

fn bulkhead(concurrency: u32, queue: u32) -> Bulkhead {
    Bulkhead::new(Policy { concurrency, queue, overload_after: Duration::from_millis(100) })
}

fn wait(bulkhead: &mut Bulkhead, now: Moment, class: Criticality) -> Ticket {
    match bulkhead.enter(now, class) {
        Entry::Waiting(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

#[test]
fn so_many_are_in_so_many_wait_and_no_more() {
    let mut bulkhead = bulkhead(2, 1);
    assert_eq!(bulkhead.enter(NOW, Criticality::Normal), Entry::Admitted);
    assert_eq!(bulkhead.enter(NOW, Criticality::Normal), Entry::Admitted);
    let ticket = wait(&mut bulkhead, NOW, Criticality::Normal);
    assert_eq!(bulkhead.enter(NOW, Criticality::Normal), Entry::Full);
    bulkhead.release(NOW);
    assert_eq!(bulkhead.poll_output(), Some(ticket));
    assert_eq!(bulkhead.leave(NOW, ticket), Settled::Admitted);
    assert_eq!(bulkhead.leave(NOW, ticket), Settled::Unknown);
    assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (2, 0));
}

#[test]
fn the_first_goes_first_until_the_queue_stays_full() {
    let mut bulkhead = bulkhead(1, 10);
    bulkhead.enter(NOW, Criticality::Normal);
    let tickets: Vec<Ticket> = (0..4).map(|_request| wait(&mut bulkhead, NOW, Criticality::Normal)).collect();
    bulkhead.release(NOW.after(Duration::from_millis(50)));
    assert_eq!(bulkhead.poll_output(), Some(tickets[0]), "not for long");
    bulkhead.release(NOW.after(Duration::from_millis(100)));
    assert_eq!(bulkhead.poll_output(), Some(tickets[3]), "for too long");
    bulkhead.release(NOW.after(Duration::from_millis(110)));
    bulkhead.release(NOW.after(Duration::from_millis(120)));
    // The queue was empty for a moment: order is restored.
    let later = NOW.after(Duration::from_millis(130));
    let next: Vec<Ticket> = (0..2).map(|_request| wait(&mut bulkhead, later, Criticality::Normal)).collect();
    while bulkhead.poll_output().is_some() {}
    bulkhead.release(later);
    assert_eq!(bulkhead.poll_output(), Some(next[0]));
}

#[test]
fn the_important_go_first_and_take_the_places_of_the_others() {
    let mut bulkhead = bulkhead(1, 2);
    bulkhead.enter(NOW, Criticality::Sheddable);
    let low = wait(&mut bulkhead, NOW, Criticality::Sheddable);
    let normal = wait(&mut bulkhead, NOW, Criticality::Normal);
    assert_eq!(bulkhead.enter(NOW, Criticality::Sheddable), Entry::Full, "nobody gives way to an equal");
    let critical = wait(&mut bulkhead, NOW, Criticality::Critical);
    assert_eq!(bulkhead.poll_output(), Some(low));
    assert_eq!(bulkhead.leave(NOW, low), Settled::Displaced);
    bulkhead.release(NOW);
    assert_eq!(bulkhead.poll_output(), Some(critical));
    assert!(bulkhead.is_called(critical) && !bulkhead.is_called(normal));
    assert_eq!(bulkhead.leave(NOW, critical), Settled::Admitted);
    assert_eq!(bulkhead.leave(NOW, normal), Settled::Left);
    assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (1, 0));
}

#[test]
fn without_a_queue_nobody_waits() {
    let mut bulkhead = bulkhead(0, 0);
    assert_eq!(bulkhead.enter(NOW, Criticality::Normal), Entry::Admitted, "a limit of none counts as one");
    assert_eq!(bulkhead.enter(NOW, Criticality::Critical), Entry::Full);
}

#[test]
fn a_limit_that_changes_is_followed() {
    let mut bulkhead = bulkhead(3, 5);
    for _request in 0..3 {
        bulkhead.enter(NOW, Criticality::Normal);
    }
    let tickets: Vec<Ticket> = (0..2).map(|_request| wait(&mut bulkhead, NOW, Criticality::Normal)).collect();
    bulkhead.set_limit(NOW, 1);
    bulkhead.release(NOW);
    bulkhead.release(NOW);
    assert_eq!(bulkhead.poll_output(), None, "as many are in as may be");
    bulkhead.set_limit(NOW, 10);
    assert_eq!(bulkhead.poll_output(), Some(tickets[0]));
    assert_eq!(bulkhead.poll_output(), Some(tickets[1]));
}
