use super::*;

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 1, last])
}

fn address(last: u8, prefer: &[&str]) -> Address {
    Address { ip: ip(last), prefer: prefer.iter().map(|name| (*name).to_owned()).collect(), preempt: None }
}

/// Nodes by name; `+` before it: a spare, `!`: not ready.
fn nodes(names: &str) -> Vec<Node> {
    let node = |word: &str| Node {
        name: word.trim_start_matches(['+', '!']).to_owned(),
        ready: !word.contains('!'),
        spare: word.contains('+'),
        able: (1..=9).map(ip).collect(),
        ready_for: Duration::from_secs(3600),
    };
    names.split_whitespace().map(node).collect()
}

fn seen(names: &str) -> Observation {
    Observation { nodes: nodes(names), ..Observation::default() }
}

/// The owners, by address, `-` for none.
fn owners(plan: &Plan, addresses: u8) -> String {
    (1..=addresses).map(|last| plan.owner(ip(last)).unwrap_or("-")).collect::<Vec<_>>().join(" ")
}

/// Plans once for each row and compares.
fn table(policy: &Policy, rows: &[(&str, &str)]) {
    let mut present = Plan::default();
    for (row, (names, expected)) in rows.iter().enumerate() {
        present = plan(policy, &seen(names), &present);
        assert_eq!(owners(&present, policy.addresses.len() as u8), *expected, "row {row}: {names}");
    }
}

#[test]
fn active_passive() {
    let policy = Policy { addresses: vec![address(1, &["lb1", "lb2"])] };
    table(
        &policy,
        &[
            ("lb1 lb2", "lb1"),
            ("lb2", "lb2"),
            // No preemption.
            ("lb1 lb2", "lb2"),
            ("lb1 !lb2", "lb1"),
            // Nobody is better than one that is there.
            ("!lb1 !lb2", "lb1"),
            ("!lb2", "-"),
            ("lb2", "lb2"),
        ],
    );
}

#[test]
fn active_active() {
    let policy = Policy { addresses: vec![address(1, &["lb1", "lb2"]), address(2, &["lb2", "lb1"])] };
    table(&policy, &[("lb1 lb2", "lb1 lb2"), ("lb2", "lb2 lb2"), ("lb1 lb2", "lb2 lb2"), ("lb1", "lb1 lb1")]);
    // Without preferences they are spread.
    let policy = Policy { addresses: (1..=4).map(|last| address(last, &[])).collect() };
    let spread = plan(&policy, &seen("lb1 lb2"), &Plan::default());
    assert_eq!(spread.owners.values().filter(|owner| owner.node == "lb1").count(), 2);
}

#[test]
fn n_plus_1() {
    let policy = Policy {
        addresses: vec![address(1, &["lb1"]), address(2, &["lb2"]), address(3, &["lb3"]), address(4, &["lb3"])],
    };
    table(
        &policy,
        &[
            ("lb1 lb2 lb3 +lb4", "lb1 lb2 lb3 lb3"),
            // The spare stands in for one node, with all that it had.
            ("lb1 lb2 +lb4", "lb1 lb2 lb4 lb4"),
            // The one that is back takes what is lost next.
            ("lb1 lb2 lb3 +lb4", "lb1 lb2 lb4 lb4"),
            ("lb1 lb3 +lb4", "lb1 lb3 lb4 lb4"),
            ("lb1 lb3", "lb1 lb3 lb3 lb3"),
            ("+lb4", "lb4 lb4 lb4 lb4"),
        ],
    );
}

#[test]
fn a_spare_is_no_home_while_an_active_node_is_idle() {
    let policy = Policy { addresses: vec![address(1, &[]), address(2, &[])] };
    let spread = plan(&policy, &seen("lb1 +lb2"), &Plan::default());
    assert_eq!(owners(&spread, 2), "lb1 lb1", "nobody is gone");
    let lost = plan(&policy, &seen("+lb2 lb3"), &spread);
    assert_eq!(lost.owners.values().filter(|owner| owner.node == "lb3").count(), 1, "{lost:?}");
}

#[test]
fn a_preferred_node_takes_an_address_back_after_the_delay_if_the_policy_says_so() {
    let mut with_delay = address(1, &["lb1", "lb2"]);
    with_delay.preempt = Some(Duration::from_secs(60));
    let policy = Policy { addresses: vec![with_delay] };
    let away = plan(&policy, &seen("lb2"), &Plan::default());
    let mut back = seen("lb1 lb2");
    back.nodes[0].ready_for = Duration::from_secs(59);
    assert_eq!(owners(&plan(&policy, &back, &away), 1), "lb2");
    back.nodes[0].ready_for = Duration::from_secs(60);
    assert_eq!(owners(&plan(&policy, &back, &away), 1), "lb1");
    // What an operator has placed stays.
    let mut moved = back.clone();
    moved.moves.insert(ip(1), "lb2".to_owned());
    let placed = plan(&policy, &moved, &away);
    assert_eq!(owners(&plan(&policy, &back, &placed), 1), "lb2");
    assert_eq!(owners(&plan(&policy, &seen("lb1"), &placed), 1), "lb1", "until that node is gone");
}

#[test]
fn operators_move_addresses_to_nodes_that_are_fit() {
    let policy = Policy { addresses: vec![address(1, &["lb1"])] };
    let first = plan(&policy, &seen("lb1 lb2 !lb3"), &Plan::default());
    for (target, expected) in [("lb2", "lb2"), ("lb3", "lb1"), ("nobody", "lb1"), ("lb1", "lb1")] {
        let mut asked = seen("lb1 lb2 !lb3");
        asked.moves.insert(ip(1), target.to_owned());
        assert_eq!(owners(&plan(&policy, &asked, &first), 1), expected, "{target}");
    }
}

#[test]
fn a_node_without_the_interface_is_not_chosen() {
    let policy = Policy { addresses: vec![address(1, &["lb1"]), address(2, &["lb1"])] };
    let mut unable = seen("lb1 lb2");
    unable.nodes[0].able = [ip(2)].into();
    assert_eq!(owners(&plan(&policy, &unable, &Plan::default()), 2), "lb2 lb1");
}

#[test]
fn while_nodes_start_an_address_waits_for_its_own() {
    let policy = Policy { addresses: vec![address(1, &["lb1", "lb2"]), address(2, &[])] };
    let starting = |names: &str| Observation { starting: true, ..seen(names) };
    assert_eq!(owners(&plan(&policy, &starting("lb2 lb3"), &Plan::default()), 2), "- -");
    assert_eq!(owners(&plan(&policy, &starting("lb2 lb1"), &Plan::default()), 2), "lb1 -");
    // The whole cluster starts again: what was planned before is kept for those who are to come.
    let owner = |node: &str| Owner { node: node.to_owned(), placed: false };
    let before = Plan { number: 7, owners: [(ip(1), owner("lb2")), (ip(2), owner("lb2"))].into() };
    assert_eq!(plan(&policy, &starting("lb3"), &before), before);
    assert_eq!(owners(&plan(&policy, &seen("lb3"), &before), 2), "lb3 lb3");
}

#[test]
fn nobody_waits_for_a_node_that_was_there_and_is_gone() {
    let policy = Policy { addresses: vec![address(1, &["lb1"]), address(2, &[])] };
    let owner = |node: &str| Owner { node: node.to_owned(), placed: false };
    let before = Plan { number: 7, owners: [(ip(1), owner("lb1")), (ip(2), owner("lb2"))].into() };
    let gone = |name: &str| Observation { starting: true, gone: [name.to_owned()].into(), ..seen("lb3") };
    assert_eq!(owners(&plan(&policy, &gone("lb1"), &before), 2), "lb3 lb2", "lb2 may still come");
    assert_eq!(owners(&plan(&policy, &gone("lb2"), &before), 2), "lb1 lb3");
    assert_eq!(owners(&plan(&policy, &gone("lb1"), &Plan::default()), 2), "- -", "nobody had them");
}

#[test]
fn addresses_that_are_no_longer_wanted_leave_the_plan_and_numbers_count_changes() {
    let both = Policy { addresses: vec![address(1, &["lb1"]), address(2, &["lb1"])] };
    let first = plan(&both, &seen("lb1"), &Plan::default());
    assert_eq!((first.number, first.owners.len()), (1, 2));
    assert_eq!(plan(&both, &seen("lb1"), &first), first);
    let one = Policy { addresses: vec![address(2, &["lb1"])] };
    let second = plan(&one, &seen("lb1"), &first);
    assert_eq!((second.number, owners(&second, 2)), (2, "- lb1".to_owned()));
}
