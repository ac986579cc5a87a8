//! Tables of sessions, accepted and refused.

use std::time::Duration;

use mainstay_cluster::sessions::{Ack, Policy};
use mainstay_gateway::spec::{SessionEngine, SessionTable};

use super::{SMALL, good, shown};
use crate::config::sessions::{Redis, Sessions};

const REDIS: &str = "[sessions]\nredis = { address = \"127.0.0.1:6379\" }\n";

#[test]
fn a_table_in_each_node() {
    let config = good(&format!("{SMALL}sticky = {{ table = \"embedded\" }}\n"));
    assert_eq!(config.warnings, [], "the cookie needs no key");
    let sticky = config.spec.services[0].sticky.clone().expect("on");
    let half_an_hour = Duration::from_secs(1800);
    assert_eq!(sticky.table, Some(SessionTable { engine: SessionEngine::Embedded, ttl: half_an_hour }));
    assert_eq!(config.sessions, Sessions { policy: Policy::default(), redis: None });
    let all = "[sessions]\nmax = 5000\nack = \"majority\"\nack_timeout = \"50ms\"\n";
    let config = good(&format!("{all}{SMALL}sticky = {{ table = \"embedded\", ttl = \"2h\", cookie = \"sid\" }}\n"));
    let timeout = Duration::from_millis(50);
    assert_eq!(config.sessions.policy, Policy { max: 5000, ack: Ack::Majority, ack_timeout: timeout });
    assert_eq!(good(&format!("{SMALL}sticky = {{ key_file = \"k\" }}\n")).sessions, Sessions::default());
}

#[test]
fn a_table_in_redis() {
    let service = "sticky = { table = \"redis\" }\n";
    let redis = good(&format!("{REDIS}{SMALL}{service}")).sessions.redis.expect("redis");
    assert_eq!((redis.host.as_str(), redis.port, redis.database), ("127.0.0.1", 6379, 0));
    assert_eq!((redis.username, redis.password_file, redis.timeout), (None, None, Duration::from_millis(100)));
    let all = "[sessions]\nredis = { address = \"cache.internal\", database = 3, username = \"lb\", \
               password_file = \"redis.password\", timeout = \"20ms\" }\n";
    let expected = Redis {
        host: "cache.internal".into(),
        port: 6379,
        database: 3,
        username: Some("lb".into()),
        password_file: Some("/etc/mainstay/redis.password".into()),
        timeout: Duration::from_millis(20),
    };
    assert_eq!(good(&format!("{all}{SMALL}{service}")).sessions.redis, Some(expected));
    let of = |address: &str| {
        let redis = good(&format!("[sessions]\nredis = {{ address = \"{address}\" }}\n{SMALL}")).sessions.redis;
        redis.map(|redis| (redis.host, redis.port))
    };
    assert_eq!(of("[::1]:7000"), Some(("::1".into(), 7000)));
    assert_eq!(of("::1"), Some(("::1".into(), 6379)));
}

#[test]
fn nodes_that_agree_by_etcd_do_not_share_their_tables() {
    let said = |cluster: &str, table: &str| {
        shown(&format!("[node]\ndata_dir = \"/d\"\n{cluster}{REDIS}{SMALL}sticky = {{ table = \"{table}\" }}\n"))
    };
    let etcd = "[cluster]\netcd = [\"http://10.0.0.1:2379\"]\n";
    let warned = said(etcd, "embedded");
    assert!(warned.len() == 1 && warned[0].contains(": warning: service[0]: service `app` keeps"), "{warned:?}");
    assert!(warned[0].contains("a session is lost with its node; write table = \"redis\""), "{warned:?}");
    for (cluster, table) in [(etcd, "redis"), ("[cluster]\n", "embedded"), ("", "embedded")] {
        assert_eq!(said(cluster, table), [""; 0], "{cluster}{table}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let service = |written: &str| shown(&format!("{SMALL}sticky = {{ {written} }}\n"));
    for (written, expected) in [
        ("key_file = \"k\", table = \"disk\"", "`disk` is not known here; it is one of \"embedded\", \"redis\""),
        ("table = \"redis\"", "service `app` keeps its sessions in Redis, of which nothing is said; write [sessions]"),
        ("key_file = \"k\", ttl = \"5m\"", "`ttl` is for sessions in a table"),
        ("table = \"embedded\", key_file = \"k\"", "`key_file` has no meaning for sessions in a table"),
        ("table = \"embedded\", max_age = \"1h\"", "`max_age` has no meaning for sessions in a table"),
        ("table = \"embedded\", ttl = \"31d\"", "31d is out of bounds; it must be between 1s and 30d"),
    ] {
        let said = service(written);
        assert!(said.len() == 1 && said[0].contains(expected), "{written}: {said:?}");
    }
    let section = |written: &str| shown(&format!("[sessions]\n{written}\n{SMALL}"));
    for (written, expected) in [
        ("max = 0", "0 is out of bounds"),
        ("ack = \"two\"", "`two` is not known here; it is one of"),
        ("ack_timeout = \"3s\"", "3s is out of bounds; it must be between 1ms and 2s"),
        ("ttl = \"5m\"", "unknown key; `ttl` belongs to `service.sticky`"),
        ("redis = { }", "`address` is missing"),
        ("redis = { address = \"redis://localhost\" }", "this is a URL; write \"HOST:PORT\""),
        ("redis = { address = \"h:\" }", "`h:` has no port"),
        ("redis = { address = \"h\", username = \"u\" }", "a `username` without `password_file`"),
        ("redis = { address = \"h\", password = \"u\" }", "unknown key; known here: address, database"),
    ] {
        let said = section(written);
        assert!(said.len() == 1 && said[0].contains(expected), "{written}: {said:?}");
    }
}
