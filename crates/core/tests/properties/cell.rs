use std::collections::HashMap;
use std::time::Duration;

use mainstay_core::cell::{Cell, Place, Table};
use mainstay_core::time::Moment;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Event {
    Enter(u8),
    Leave(u8),
    Transfer(u8, u8),
    Forget(u8),
    Reload(u8),
}

fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let event = prop_oneof![
        6 => (0u8..12).prop_map(Event::Enter),
        5 => (0u8..12).prop_map(Event::Leave),
        2 => (0u8..12, 0u8..4).prop_map(|(account, cell)| Event::Transfer(account, cell)),
        1 => (0u8..12).prop_map(Event::Forget),
        1 => (0u8..3).prop_map(Event::Reload),
    ];
    prop::collection::vec((0u64..3000, event), 0..150)
}

fn cells(turn: u8) -> Vec<Cell> {
    let cell = |(number, capacity)| Cell { name: format!("c{number}"), capacity, pinned: Vec::new(), closed: false };
    let mut cells: Vec<Cell> = [(0, 2), (1, 3), (2, 4)].map(cell).into();
    cells.rotate_left(turn.into());
    cells
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn cells_stay_within_their_capacity_and_an_account_is_in_one_at_a_time(events in events()) {
        let limit = Duration::from_secs(5);
        let mut table = Table::new(cells(0), []);
        let mut now = Moment::ZERO;
        // By account: the cells that its requests are under way in, and since when it may be in another.
        let mut under_way: HashMap<u8, Vec<String>> = HashMap::new();
        let mut moved_at: HashMap<u8, Moment> = HashMap::new();
        for (later, event) in events {
            now = now.after(Duration::from_millis(later));
            match event {
                Event::Enter(account) => match table.enter(now, &format!("a{account}")) {
                    Place::In(number) => {
                        let name = table.cells()[number].name.clone();
                        let all = under_way.entry(account).or_default();
                        let overdue = moved_at.get(&account).is_some_and(|moved| now.since(*moved) >= limit);
                        prop_assert!(overdue || all.iter().all(|other| *other == name), "{all:?} and {name}");
                        all.push(name);
                    }
                    Place::Moving(rest) => prop_assert!(rest <= limit && table.moving() > 0),
                    Place::Full => prop_assert_eq!(table.accounts().count(), 9),
                    Place::BadName => prop_assert!(false, "the name is good"),
                },
                Event::Leave(account) => {
                    if under_way.get_mut(&account).and_then(Vec::pop).is_some() {
                        table.leave(now, &format!("a{account}"));
                    }
                }
                Event::Transfer(account, cell) => {
                    if table.transfer(now, &format!("a{account}"), &format!("c{cell}"), limit).is_ok() {
                        moved_at.entry(account).or_insert(now);
                    }
                }
                Event::Forget(account) => {
                    table.forget(&format!("a{account}"));
                }
                Event::Reload(turn) => table = table.over(cells(turn)),
            }
            table.check_invariants();
            for number in 0..table.cells().len() {
                prop_assert!(table.used(number) <= table.cells()[number].capacity);
            }
        }
    }
}
