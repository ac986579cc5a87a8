//! Floating addresses, accepted and refused.

use std::time::Duration;

use super::super::address::Mode;
use super::{SMALL, good, shown};

const CLUSTER: &str = "[cluster]\n";
const NODE: &str = "[node]\nname = \"lb1\"\ndata_dir = \"state\"\nspare = true\n";

fn with(address: &str) -> String {
    format!("{NODE}{CLUSTER}{SMALL}[[address]]\n{address}\n")
}

#[test]
fn an_address_with_everything() {
    let config = good(&with(
        "ip = \"10.0.1.100/24\"\ninterface = \"eth0\"\nprefer = [\"lb1\", \"lb2\"]\npreempt = \"30s\"\ndrain = \"2s\"",
    ));
    assert!(config.spare);
    let [address] = &config.addresses[..] else { panic!("one address") };
    assert_eq!(address.address.to_string(), "10.0.1.100/24");
    assert_eq!(address.mode, Mode::Interface("eth0".to_owned()));
    assert_eq!(address.prefer, ["lb1", "lb2"]);
    assert_eq!((address.preempt, address.drain), (Some(Duration::from_secs(30)), Duration::from_secs(2)));
    assert!(!config.spec.listeners[0].floating);
}

#[test]
fn an_address_with_little_stays_where_it_is() {
    let config = good(&with("ip = \"2001:db8::100\"\ninterface = \"eth0\"\nprefer = [\"lb1\"]\npreempt = \"off\""));
    let address = &config.addresses[0];
    assert_eq!((address.address.to_string().as_str(), address.preempt), ("2001:db8::100/128", None));
}

#[test]
fn listeners_on_a_floating_address_are_marked() {
    let config = good(&with("ip = \"127.0.0.1\"\nmode = \"bind\""));
    assert_eq!(config.addresses[0].mode, Mode::Bind);
    assert!(config.spec.listeners[0].floating);
}

#[test]
fn what_does_not_fit_is_refused() {
    let eth0 = "interface = \"eth0\"";
    for (text, expected) in [
        (with(eth0), "`ip` is missing"),
        (with("ip = \"10.0.1.100\""), "`interface` is missing"),
        (with(&format!("ip = \"10.0.1.300/24\"\n{eth0}")), "not an IP address"),
        (with(&format!("ip = \"10.0.1.100/33\"\n{eth0}")), "the prefix is not between"),
        (with("ip = \"10.0.1.100\"\ninterface = \"a/b\""), "cannot be the name of a network interface"),
        (with("ip = \"10.0.1.100\"\ninterface = \"sixteen-letters1\""), "cannot be the name of a network interface"),
        (with(&format!("ip = \"127.0.0.1\"\nmode = \"bind\"\n{eth0}")), "has no meaning with mode = \"bind\""),
        (with("ip = \"127.0.0.2\"\nmode = \"bind\""), "no [[listener]] is bound to 127.0.0.2"),
        (with(&format!("ip = \"10.0.1.100\"\n{eth0}\npreempt = \"5s\"")), "no node to take the address back"),
        (with(&format!("ip = \"10.0.1.100\"\n{eth0}\nprefer = [\"a\", \"a\"]")), "`a` stands here twice"),
        (
            with(&format!("ip = \"10.0.1.100\"\n{eth0}\n[[address]]\nip = \"10.0.1.100/24\"\n{eth0}")),
            "there is another [[address]] 10.0.1.100",
        ),
        (
            with(&format!("ip = \"10.0.1.100\"\n{eth0}")).replace(CLUSTER, ""),
            "without [cluster] no node knows who holds an address",
        ),
    ] {
        let problems = shown(&text);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:#?}\n{text}");
    }
}
