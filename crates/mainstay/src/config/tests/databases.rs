//! `[[database]]`.

use std::path::Path;
use std::time::Duration;

use mainstay_core::database::{Durability, Engine};
use mainstay_gateway::spec::{Access, Protocol};
use mainstay_observe::secret::Secret;

use super::super::database::{Database, Doors, Fencing, PortLease, ReadFallback, Redis, Stonith, Times};
use super::{good, read, shown};

const NODE: &str = "[node]\nname = \"db1\"\ndata_dir = \"/var/lib/mainstay\"\nadmin = \"127.0.0.1:7900\"\n";
const CLUSTER: &str = "[cluster]\npeers = [\"db1=10.0.1.1\", \"db2=10.0.1.2\", \"db3=10.0.1.3\"]\n";
const GROUP: &str = "[[database]]\nname = \"orders\"\nengine = \"postgres\"\n";
const MEMBERS: &str = "[[database.member]]\nnode = \"db1\"\naddress = \"10.0.1.1:5432\"\n\
    [[database.member]]\nnode = \"db2\"\naddress = \"10.0.1.2:5432\"\n\
    [[database.member]]\nnode = \"db3\"\naddress = \"10.0.1.3:5432\"\n";
const SERVER: &str = "[database.server]\nreplication_password = { file = \"replication.password\" }\n";

/// The first node's file, with lines for the group.
fn with(lines: &str) -> String {
    format!("{NODE}{CLUSTER}{GROUP}{lines}\n{MEMBERS}{SERVER}")
}

fn group(text: &str) -> Database {
    let config = good(text);
    assert_eq!(config.warnings, [], "{text}");
    config.databases.into_iter().next().expect("a group")
}

#[test]
fn defaults() {
    let database = group(&with(""));
    assert_eq!((database.name.as_str(), database.engine, database.failsafe), ("orders", Engine::Postgres, false));
    assert_eq!((database.durability, database.acks, database.lag_max), (Durability::Async, 0, 1_048_576));
    let members: Vec<_> = database.members.iter().map(|it| (it.node.as_str(), it.address.to_string())).collect();
    assert_eq!(members[2], ("db3", "10.0.1.3:5432".to_owned()));
    assert!(database.members.iter().all(|member| member.priority == 100 && member.zone.is_none()));
    let server = database.server.as_ref().expect("it is a member");
    assert_eq!(server.data_dir, Path::new("/var/lib/mainstay/databases/orders/data"));
    assert_eq!(server.state_dir, Path::new("/var/lib/mainstay/databases/orders/state"));
    assert_eq!(server.password, Some(Secret::File("/etc/mainstay/replication.password".into())));
    assert_eq!((server.bin_dir.as_ref(), server.user.as_ref(), server.extra.as_str()), (None, None, ""));
    assert_eq!(database.fencing, Fencing::default());
    let doors = Doors {
        write: None,
        read: None,
        read_lag_max: 16 * 1_048_576,
        read_fallback: ReadFallback::Primary,
        hold: Duration::from_secs(5),
        hold_max: 1000,
        connect_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(86_400),
        max_connections: 65_536,
        tls: None,
        server_tls: None,
        rest: None,
    };
    assert_eq!(database.doors, doors);
    let policy = database.policy(Duration::from_millis(200));
    assert_eq!((policy.acks(), policy.members.len(), policy.guard), (0, 3, Duration::from_millis(200)));
    assert_eq!(policy.restart_within, Duration::from_secs(3));
    assert_eq!(database.others("db2").map(|it| it.node.as_str()).collect::<Vec<_>>(), ["db1", "db3"]);
    assert_eq!(good(super::SMALL).databases, []);
}

#[test]
fn every_key() {
    let lines = "durability = \"sync-strict\"\nacks = 2\nlag_max = \"64KiB\"\nwrite = \"0.0.0.0:5000\"\nread = \"0.0.0.0:5001\"\n\
        read_lag_max = \"1MiB\"\nread_fallback = \"refuse\"\nhold = \"0s\"\nhold_max = 10\n\
        connect_timeout = \"3s\"\nidle_timeout = \"1h\"\nmax_connections = 20\nrest = \"127.0.0.1:8008\"\n\
        restart_within = \"1s\"\ngather = \"0s\"\ncooldown = \"1m\"\nyield_within = \"20s\"\nfailsafe = true\nprobe_rows = true\n\
        fencing = { port_lease = \"required\", watchdog = \"/dev/watchdog\", stonith = { command = [\"/usr/sbin/fence\", \"{node}\"], timeout = \"5s\" } }";
    let server = "bin_dir = \"/usr/lib/postgresql/15/bin\"\ndata_dir = \"/srv/orders\"\nstate_dir = \"/srv/mainstay\"\n\
        user = \"postgres\"\nextra = \"shared_buffers = 1GB\\nmax_connections = 500\"\n";
    let text = format!("{}{server}", with(lines))
        .replace("\"10.0.1.2:5432\"", "\"10.0.1.2:5432\"\npriority = 0\nno_reads = true\nzone = \"az2\"");
    let database = group(&text);
    assert_eq!((database.durability, database.acks, database.lag_max), (Durability::SyncStrict, 2, 65_536));
    assert!(database.probe_rows && database.failsafe && database.policy(Duration::ZERO).failsafe);
    assert!(database.members[1].no_reads && !database.members[1].no_sync);
    let doors = &database.doors;
    assert_eq!(doors.write.map(|it| it.port()).zip(doors.read.map(|it| it.port())), Some((5000, 5001)));
    assert_eq!((doors.read_lag_max, doors.read_fallback, doors.hold_max), (1_048_576, ReadFallback::Refuse, 10));
    let limits = (doors.connect_timeout, doors.idle_timeout, doors.max_connections);
    assert_eq!(limits, (Duration::from_secs(3), Duration::from_secs(3600), 20));
    assert_eq!((doors.hold, doors.rest.map(|it| it.port())), (Duration::ZERO, Some(8008)));
    let times = Times {
        restart_within: Duration::from_secs(1),
        gather: Duration::ZERO,
        cooldown: Duration::from_secs(60),
        yield_within: Duration::from_secs(20),
    };
    assert_eq!(database.times, times);
    let command = vec!["/usr/sbin/fence".to_owned(), "{node}".to_owned()];
    let fencing = Fencing {
        port_lease: PortLease::Required,
        watchdog: Some("/dev/watchdog".into()),
        stonith: Some(Stonith { command, timeout: Duration::from_secs(5) }),
    };
    assert_eq!(database.fencing, fencing);
    let server = database.server.expect("it is a member");
    assert_eq!((server.user.as_deref(), server.data_dir.to_str()), (Some("postgres"), Some("/srv/orders")));
    assert!(server.extra.ends_with("max_connections = 500"));
    assert_eq!((database.members[1].priority, database.members[1].zone.as_deref()), (0, Some("az2")));
}

#[test]
fn times_follow_those_of_the_cluster() {
    let fast = with("").replace("[cluster]", "[cluster]\ntimings = \"fast\"");
    assert_eq!(group(&fast).times.restart_within, Duration::from_millis(1500));
    let slow = with("").replace("[cluster]", "[cluster]\ntimings = \"conservative\"");
    assert_eq!(group(&slow).times.restart_within, Duration::from_secs(10));
}

#[test]
fn a_node_that_is_no_member_may_have_the_same_file_and_runs_nothing() {
    let text = with("write = \"0.0.0.0:5432\"").replace("name = \"db1\"", "name = \"lb1\"").replace("db1=", "lb1=");
    let config = good(&text);
    assert_eq!(config.databases[0].server, None);
    // On a member the server has that port.
    assert!(shown(&with("write = \"0.0.0.0:5432\""))[0].contains("the server of `orders` listens on 10.0.1.1:5432"));
    // The default folders are for members only.
    let bare = text.replace("data_dir = \"/var/lib/mainstay\"\n", "").replace("peers = ", "# ").replace(SERVER, "");
    assert_eq!(good(&bare).databases[0].server, None);
}

#[test]
fn redis_has_no_durability_and_keys_of_its_own() {
    let text = with("").replace("\"postgres\"", "\"redis\"");
    let database = group(&text);
    let redis = database.server.map(|it| it.redis);
    assert_eq!((database.engine, redis), (Engine::Redis, Some(Redis::default())));
    let keys = "min_replicas = 2\nmin_replicas_lag = \"3s\"\nstale_reads = false\n";
    let given = Redis { min_replicas: 2, min_replicas_lag: Duration::from_secs(3), stale_reads: false };
    assert_eq!(group(&format!("{text}{keys}")).server.map(|it| it.redis), Some(given));
    let refused = [
        (text.replace("engine = \"redis\"", "engine = \"redis\"\ndurability = \"sync-strict\""), "Redis acknowledges"),
        (text.replace("replication_password = { file", "# "), "`replication_password` is missing"),
        (format!("{text}min_replicas = 3\n"), "3 members have 2 replicas"),
        (format!("{text}min_replicas_lag = \"100ms\"\n"), "min_replicas_lag"),
        (text.replace("engine = \"redis\"", "engine = \"redis\"\nprobe_rows = true"), "to PostgreSQL only"),
        (format!("{}stale_reads = true\n", with("")), "only Redis has this"),
    ];
    for (text, part) in refused {
        assert!(shown(&text).iter().any(|problem| problem.contains(part)), "{part}: {:#?}", shown(&text));
    }
}

#[test]
fn what_is_wrong_is_said() {
    let group_alone = |lines: &str| format!("{NODE}{CLUSTER}{GROUP}{lines}");
    let one = format!("[[database.member]]\nnode = \"db1\"\naddress = \"10.0.1.1:5432\"\n{SERVER}");
    let cases = [
        (with("").replace("engine = \"postgres\"\n", ""), "database[0]", "`engine` is missing"),
        (with("").replace("\"postgres\"", "\"mysql\""), "database[0].engine", "is not known here"),
        (with("").replace(CLUSTER, ""), "database[0]", "without [cluster] no node knows who is primary"),
        (group_alone(""), "database[0]", "at least two members"),
        (group_alone(&one), "database[0]", "at least two members"),
        (with("").replace("\"db2\"\n", "\"db1\"\n"), "database[0].member[1]", "node `db1` is a member already"),
        (with("").replace("10.0.1.2:5432", "10.0.1.1:5432"), "database[0].member[1]", "is the server of `db1`"),
        (with("").replace("10.0.1.2:5432", "0.0.0.0:5432"), "database[0].member[1].address", "cannot reach this"),
        (with("").replace("\"db2\"\n", "\"db22\"\n"), "database[0].member[1]", "names no node `db22`"),
        (with("").replace(":5432\"", ":5432\"\npriority = 0"), "database[0]", "no member may become primary"),
        (with("acks = 2"), "database[0].acks", "no replica has to have a write"),
        (with("durability = \"sync-strict\"\nacks = 3"), "database[0].acks", "3 members have 2 replicas"),
        (
            with("durability = \"sync-strict\"\nacks = 2")
                .replace("10.0.1.2:5432\"", "10.0.1.2:5432\"\nno_sync = true"),
            "database[0].durability",
            "with `no_sync` 1 replicas can be waited for",
        ),
        (with("lag_max = 5"), "database[0].lag_max", "a size needs a unit"),
        (with("hold = \"1s\""), "database[0].hold", "no effect without `write` or `read`"),
        (with("idle_timeout = \"1h\""), "database[0].idle_timeout", "no effect without `write` or `read`"),
        (with("read_lag_max = \"1MiB\""), "database[0].read_lag_max", "no effect without `read`"),
        (with("write = \"0.0.0.0:5000\"\nread = \"10.0.1.1:5000\""), "database[0].read", "`write` of `orders` listens"),
        (with("rest = \"127.0.0.1:7900\""), "database[0].rest", "the admin interface listens on 127.0.0.1:7900"),
        (with("rest = \"0.0.0.0:7946\""), "database[0].rest", "[cluster] listens on 10.0.1.1:7946"),
    ];
    all_told(&cases);
}

#[test]
fn what_is_wrong_with_a_server_is_said() {
    let cases = [
        (with("").replace(SERVER, ""), "database[0]", "nothing says what it runs"),
        (
            with("").replace("replication_password = { file", "# "),
            "database[0].server",
            "`replication_password` is missing",
        ),
        (
            with("").replace("{ file = \"replication.password\" }", "\"hunter2\""),
            "database[0].server.replication_password",
            "a secret",
        ),
        (
            with("").replace("data_dir = \"/var/lib/mainstay\"\n", "").replace("peers = ", "# "),
            "database[0].server",
            "no place",
        ),
        (
            format!("{}data_dir = \"/d\"\nstate_dir = \"/d/s\"\n", with("")),
            "database[0].server.state_dir",
            "is replaced",
        ),
        (
            format!("{}extra = \"a = 1\\n Port = 6000\"\n", with("")),
            "database[0].server.extra",
            "`Port` is set by Mainstay",
        ),
        (format!("{}user = \"a b\"\n", with("")), "database[0].server.user", "cannot be the name of a user"),
        (
            with("fencing = { stonith = { command = [\"/bin/f\"] } }"),
            "database[0].fencing.stonith.command",
            "which machine",
        ),
        (
            with("fencing = { stonith = { command = [\"f\", \"{node}\"] } }"),
            "database[0].fencing.stonith.command",
            "whole path",
        ),
        (with("fencing = { watchdogs = 1 }"), "database[0].fencing.watchdogs", "did you mean `watchdog`"),
    ];
    all_told(&cases);
}

/// Each text has this problem at this key.
fn all_told(cases: &[(String, &str, &str)]) {
    for (text, path, part) in cases {
        let problems = shown(text);
        let is_told = problems.iter().any(|it| it.contains(&format!(": {path}: ")) && it.contains(part));
        assert!(is_told, "{path}: {part}: {problems:#?}\n{text}");
        assert!(!problems.iter().any(|it| it.contains("hunter2")), "{problems:#?}");
    }
}

#[test]
fn two_groups_share_nothing() {
    let second = |lines: &str| format!("{}{GROUP}{lines}{MEMBERS}{SERVER}", with(""));
    let problems = shown(&second(""));
    assert!(problems.iter().any(|it| it.contains("there is another [[database]] `orders`")), "{problems:#?}");
    assert!(problems.iter().any(|it| it.contains("the server of `orders` listens on 10.0.1.1:5432")), "{problems:#?}");
    let other = MEMBERS.replace("5432", "5442");
    let folder = "data_dir = \"/var/lib/mainstay/databases/orders/data\"\n";
    let name = GROUP.replace("orders", "users");
    assert!(read(&format!("{}{name}{other}{SERVER}", with(""))).is_ok());
    let problems = shown(&format!("{}{name}{other}{SERVER}{folder}", with("")));
    assert!(problems[0].contains("is a folder of `orders`"), "{problems:#?}");
}

#[test]
fn doors_are_listeners() {
    let config = good(&with(
        "write = \"10.0.1.1:5000\"\nread = \"10.0.1.1:5001\"\nread_fallback = \"refuse\"\nhold = \"9s\"\n\
         idle_timeout = \"1h\"\nconnect_timeout = \"3s\"\nmax_connections = 20\n\
         tls = { cert = \"a.pem\", key = \"a.key\" }\nserver_tls = true",
    ));
    let [write, read] = config.spec.listeners.as_slice() else { panic!("{:?}", config.spec.listeners) };
    assert_eq!((write.name.as_str(), write.bind.to_string()), ("orders-write", "10.0.1.1:5000".to_owned()));
    assert_eq!((read.name.as_str(), read.bind.to_string()), ("orders-read", "10.0.1.1:5001".to_owned()));
    assert_eq!((write.max_connections, read.max_connections), (20, 20));
    let (Protocol::Database(write), Protocol::Database(read), true) =
        (&write.protocol, &read.protocol, write.tls.is_some() && read.tls.is_some())
    else {
        panic!("{write:?}, {read:?}");
    };
    assert_eq!((write.group.as_str(), write.access, write.hold), ("orders", Access::Write, Duration::from_secs(9)));
    assert_eq!((write.idle_timeout, read.connect_timeout), (Duration::from_secs(3600), Duration::from_secs(3)));
    assert_eq!(read.access, Access::Read { lag_max: 16 * 1_048_576, fallback: false, cut: false });
    assert!(write.upstream_tls.as_ref().is_some_and(|tls| tls.verify));
    assert_eq!(good(&with("")).spec.listeners, []);

    let problems = shown(&with("tls = { cert = \"a.pem\", key = \"a.key\" }\nserver_tls = true"));
    assert!(problems.iter().any(|it| it.contains("`tls` has no effect without")), "{problems:#?}");
    assert!(problems.iter().any(|it| it.contains("`server_tls` has no effect without")), "{problems:#?}");
    let taken = format!("{}{}", with("write = \"10.0.1.1:5000\""), super::SMALL.replace("\"web\"", "\"orders-write\""));
    let problems = shown(&taken);
    assert!(problems.iter().any(|it| it.contains("is how a listener of a [[database]] is called")), "{problems:#?}");
}
