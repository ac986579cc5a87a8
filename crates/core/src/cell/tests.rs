use super::*;

fn cell(name: &str, capacity: usize) -> Cell {
    Cell { name: name.to_owned(), capacity, pinned: Vec::new(), closed: false }
}

fn at(seconds: u64) -> Moment {
    Moment::from_millis(seconds * 1000)
}

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn accounts_go_to_the_least_full_cell_and_stay_there() {
    let mut table = Table::new(vec![cell("a", 2), cell("b", 4)], []);
    let places: Vec<Place> = (0..6).map(|number| table.enter(at(0), &format!("account-{number}"))).collect();
    assert_eq!(places, [0, 1, 1, 0, 1, 1].map(Place::In));
    assert_eq!(table.enter(at(0), "one-more"), Place::Full);
    assert_eq!(table.enter(at(0), "account-3"), Place::In(0), "a full cell keeps its own");
    table.check_invariants();
}

#[test]
fn pinned_accounts_have_their_place_and_closed_cells_take_nobody_else() {
    let mut small = cell("small", 1);
    small.pinned = vec!["acme".to_owned()];
    let closed = Cell { closed: true, ..cell("closed", 10) };
    // The table says otherwise, which does not count.
    let mut table = Table::new(vec![small, closed, cell("open", 10)], [("acme", "open"), ("old", "closed")]);
    assert_eq!(table.enter(at(0), "acme"), Place::In(0));
    assert_eq!(table.enter(at(0), "old"), Place::In(1));
    assert_eq!(table.enter(at(0), "new"), Place::In(2));
    assert_eq!(table.transfer(at(0), "acme", "open", LIMIT), Err(MoveError::Pinned));
    assert_eq!(table.transfer(at(0), "new", "small", LIMIT), Err(MoveError::Full));
}

#[test]
fn a_move_waits_for_what_is_under_way() {
    let mut table = Table::new(vec![cell("a", 5), cell("b", 5)], []);
    assert_eq!(table.enter(at(0), "acme"), Place::In(0));
    assert_eq!(table.transfer(at(1), "acme", "b", LIMIT), Ok(()));
    assert_eq!(table.transfer(at(1), "acme", "b", LIMIT), Err(MoveError::There));
    assert_eq!(table.enter(at(2), "acme"), Place::Moving(Duration::from_secs(9)));
    assert_eq!((table.used(0), table.used(1), table.moving()), (0, 1, 1));
    assert!(table.leave(at(3), "acme"));
    assert_eq!(table.enter(at(3), "acme"), Place::In(1));
    table.check_invariants();
}

#[test]
fn a_move_ends_in_time_and_can_be_turned_round() {
    let mut table = Table::new(vec![cell("a", 5), cell("b", 5)], []);
    assert_eq!(table.enter(at(0), "acme"), Place::In(0));
    assert_eq!(table.transfer(at(0), "acme", "b", LIMIT), Ok(()));
    assert_eq!(table.enter(at(10), "acme"), Place::In(1), "the time is over");
    assert_eq!(table.transfer(at(11), "acme", "a", LIMIT), Ok(()));
    assert_eq!(table.transfer(at(12), "acme", "b", LIMIT), Ok(()));
    table.leave(at(13), "acme");
    table.leave(at(13), "acme");
    assert_eq!(table.find("acme"), Some((1, None)));
    table.check_invariants();
    // Nothing is under way: at once.
    assert_eq!(table.transfer(at(14), "acme", "a", LIMIT), Ok(()));
    assert_eq!(table.find("acme"), Some((0, None)));
    assert_eq!(table.transfer(at(14), "unknown", "b", LIMIT), Ok(()));
    assert_eq!(table.find("unknown"), Some((1, None)));
    assert_eq!(table.transfer(at(14), "acme", "c", LIMIT), Err(MoveError::NoCell));
}

#[test]
fn names_are_bounded() {
    let mut table = Table::new(vec![cell("a", 5)], [("bad\nname", "a")]);
    for name in ["", &"x".repeat(NAME_BYTES_MAX + 1), "bad\nname"] {
        assert_eq!(table.enter(at(0), name), Place::BadName);
        assert_eq!(table.transfer(at(0), name, "a", LIMIT), Err(MoveError::BadName));
    }
    assert_eq!(table.used(0), 0);
}

#[test]
fn other_cells_keep_what_is_known() {
    let mut table = Table::new(vec![cell("a", 5), cell("b", 5)], [("gone", "b")]);
    table.enter(at(0), "acme");
    table.transfer(at(0), "acme", "b", LIMIT).expect("a move");
    let mut next = table.over(vec![cell("b", 5), cell("a", 1), cell("c", 1)]);
    next.check_invariants();
    assert_eq!(next.find("acme"), Some((1, Some(0))));
    assert_eq!(next.find("gone"), Some((0, None)));
    assert!(next.leave(at(1), "acme"));
    let without = next.over(vec![cell("c", 1)]);
    without.check_invariants();
    assert_eq!((without.find("acme"), without.find("gone")), (None, None));
}

#[test]
fn an_account_can_be_forgotten() {
    let mut table = Table::new(vec![cell("a", 1)], []);
    table.enter(at(0), "acme");
    assert!(!table.forget("acme"), "a request is under way");
    table.leave(at(0), "acme");
    assert!(table.forget("acme") && !table.forget("acme"));
    assert_eq!(table.enter(at(0), "other"), Place::In(0));
}
