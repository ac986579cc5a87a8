use proptest::prelude::*;

use super::*;

fn record(priority: u16, weight: u16, port: u16, target: &str) -> Record {
    Record { priority, weight, port, target: target.to_owned() }
}

fn shown(members: &Members) -> Vec<(String, u16, u32)> {
    let line = |member: &Member| (format!("{}:{}", member.target, member.port), member.priority, member.weight);
    members.list.iter().map(line).collect()
}

#[test]
fn an_answer_becomes_endpoints() {
    let made = members(&[
        record(20, 0, 80, "spare"),
        record(10, 60, 80, "b"),
        record(10, 20, 81, "a"),
        record(10, 20, 80, "a"),
        record(20, 5, 80, "b"),
        record(0, 5, 80, ""),
        record(0, 5, 0, "nowhere"),
    ]);
    let expected = [("a:80", 10, 20), ("a:81", 10, 20), ("b:80", 10, 60), ("spare:80", 20, 1)]
        .map(|(a, p, w)| (a.to_owned(), p, w));
    assert_eq!(shown(&made), expected);
    assert_eq!(members(&[record(0, 0, 0, "")]), Members::default());
}

#[test]
fn large_weights_are_scaled_together() {
    let made = members(&[record(0, 50_000, 80, "a"), record(0, 25_000, 80, "b"), record(0, 1, 80, "c")]);
    assert_eq!(shown(&made).iter().map(|(_name, _priority, weight)| *weight).collect::<Vec<_>>(), [1_000, 500, 1]);
}

#[test]
fn there_is_an_end_to_it() {
    let many: Vec<Record> = (0..1_003).map(|index| record(index % 3, 1, 80, &format!("host-{index:04}"))).collect();
    let made = members(&many);
    assert_eq!((made.list.len(), made.left_out), (MEMBERS_MAX, 3));
    assert!(made.list.windows(2).all(|pair| pair[0].priority <= pair[1].priority));
}

proptest! {
    #[test]
    fn the_order_of_records_changes_nothing(
        records in proptest::collection::vec((0u16..3, 0u16..2_000, 0u16..3, "[ab]{0,1}"), 0..20).prop_map(|records| {
            records.into_iter().map(|(priority, weight, port, target)| record(priority, weight, port, &target)).collect::<Vec<_>>()
        }),
        by in 0usize..20,
    ) {
        let made = members(&records);
        let mut turned = records.clone();
        turned.rotate_left(by.min(records.len()));
        prop_assert_eq!(&members(&turned), &made);
        prop_assert!(made.list.iter().all(|member| (1..=WEIGHT_MAX).contains(&member.weight)));
        let mut places: Vec<_> = made.list.iter().map(|member| (&member.target, member.port)).collect();
        places.sort_unstable();
        places.dedup();
        prop_assert_eq!(places.len(), made.list.len());
    }
}
