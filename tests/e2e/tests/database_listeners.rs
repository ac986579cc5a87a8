//! Listeners that lead to the servers of a database group, with real servers of PostgreSQL and Redis behind them.

#[path = "database_listeners/busy.rs"]
mod busy;
#[path = "database_listeners/encrypted.rs"]
mod encrypted;
#[path = "database_listeners/redis.rs"]
mod redis;
#[path = "database_listeners/setup.rs"]
mod setup;
#[path = "database_listeners/waits.rs"]
mod waits;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use mainstay_e2e::{eventually, free};
use mainstay_gateway::LeadError;
use mainstay_gateway::spec::{Access, Database, Engine};
use postgres::NoTls;
use postgres::error::SqlState;
use setup::{LONG, Postgres, connect, gateway, listener, name, raw};

fn write() -> Database {
    Database { hold: LONG, ..Database::write("orders", Engine::Postgres) }
}

#[test]
fn writers_leave_an_old_primary_and_are_told_so() {
    let (one, two, listen) = (Postgres::start("one"), Postgres::start("two"), free());
    let led = gateway(vec![listener("write", listen, write())]);
    led.lead(3, Some(one.address), &[(two.address, 0)]);
    let mut idle = raw(listen);
    busy::begin(&mut idle).expect("a session");
    let mut in_transaction = raw(listen);
    busy::begin(&mut in_transaction).expect("a session");
    busy::send(&mut in_transaction, "BEGIN; CREATE TABLE half (n int)").expect("sent");
    assert_eq!(busy::answer(&mut in_transaction).expect("half done"), "CCZ");
    let mut asleep = raw(listen);
    busy::begin(&mut asleep).expect("a session");
    busy::send(&mut asleep, "SELECT pg_sleep(50)").expect("sent");
    let mut direct = connect(one.address).expect("a session");
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
    eventually("the query runs", LONG, || direct.query_one(sleeping, &[]).expect("it answers").get::<_, i64>(0) == 1);

    assert_eq!(led.try_lead(2, Some(two.address), &[]), Err(LeadError::Outdated { term: 3, number: 3 }));
    busy::send(&mut idle, "SELECT 1").expect("sent");
    assert_eq!(busy::answer(&mut idle).expect("nothing has changed"), "TDCZ");

    led.lead(4, Some(two.address), &[(one.address, 0)]);
    for client in [&mut idle, &mut in_transaction] {
        let told = busy::answer(client).expect_err("it was ended").to_string();
        assert!(told.contains("C57P01\0") && told.contains("the primary of database group orders changes"), "{told}");
        assert_eq!(client.read(&mut [0; 1]).expect("an end in order"), 0);
    }
    // Whether it was carried out is not known, and the code says just that.
    let told = busy::answer(&mut asleep).expect_err("it was ended").to_string();
    assert!(told.contains("C08007\0"), "{told}");
    assert_eq!(name(&mut connect(listen).expect("a session")).expect("an answer"), "two");
    assert_eq!((led.count(|it| it.cut_told.get()), led.count(|it| it.cut_reset.get())), (3, 0));
    assert_eq!((led.count(|it| it.to_primary.get()), led.count(|it| it.to_replicas.get())), (4, 0));

    // Without a lease nothing new is known, and writers go on: an old primary is stopped from elsewhere.
    let before = led.0.state().databases[0].roles();
    let blind = mainstay_gateway::spec::Roles { is_current: false, primary: None, ..(*before).clone() };
    led.0.lead("orders", blind).expect("it is taken in");
    assert!(!led.0.state().databases[0].roles().is_current);
    assert_eq!(name(&mut connect(listen).expect("a session")).expect("an answer"), "two");
    assert_eq!(led.0.lead("nobody's", (*before).clone()), Err(LeadError::UnknownGroup("nobody's".to_owned())));
}

#[test]
fn no_error_is_put_into_the_middle_of_an_answer() {
    let (one, listen) = (Postgres::start("one"), free());
    let led = gateway(vec![listener("write", listen, write())]);
    led.lead(3, Some(one.address), &[]);
    let mut client = raw(listen);
    busy::begin(&mut client).expect("a session");
    busy::send(&mut client, "COPY (SELECT repeat('y', 1000) FROM generate_series(1, 100000)) TO STDOUT").expect("sent");
    // It is not read, so that the way fills up with whole and half messages.
    let counters = || led.0.state().databases[0].connections();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(counters(), BTreeMap::from([(one.address, 1)]));
    led.lead(4, None, &[]);
    eventually("the connection is cut", LONG, || counters().is_empty());
    let mut received = Vec::new();
    let ended = client.read_to_end(&mut received);
    assert!(ended.is_err(), "an orderly end would look like the end of the answer");
    let mut rest = &received[..];
    while rest.len() >= 5 {
        let length = u32::from_be_bytes([rest[1], rest[2], rest[3], rest[4]]) as usize;
        assert!(matches!(rest[0], b'H' | b'd'), "an error in the middle: {}", rest[0] as char);
        rest = rest.get(1 + length..).unwrap_or_default();
    }
    assert_eq!((led.count(|it| it.cut_told.get()), led.count(|it| it.cut_reset.get())), (0, 1));
}

#[test]
fn new_connections_wait_for_a_primary_up_to_limits() {
    let (one, listen, short) = (Postgres::start("one"), free(), free());
    let held = Database { hold_max: 3, ..write() };
    let impatient = Database { hold: Duration::from_millis(300), ..write() };
    let led = gateway(vec![listener("write", listen, held), listener("short", short, impatient)]);
    led.lead(3, None, &[]);
    let waiting: Vec<_> = (0..3).map(|_each| thread::spawn(move || name(&mut connect(listen)?))).collect();
    led.await_held(3);
    let refused = connect(listen).err().expect("there is no more room");
    assert_eq!(refused.code(), Some(&SqlState::CANNOT_CONNECT_NOW));
    assert!(format!("{:?}", refused.as_db_error()).contains("too many connections wait"), "{refused:?}");
    let begun = Instant::now();
    let refused = connect(short).err().expect("there is no server");
    assert_eq!(refused.code(), Some(&SqlState::CANNOT_CONNECT_NOW));
    assert!(begun.elapsed() >= Duration::from_millis(300), "it has waited");
    assert!(format!("{:?}", refused.as_db_error()).contains("orders"), "{refused:?}");

    // Nobody listens there, which is how a primary looks that has just died. It is tried again until roles change.
    led.lead(4, Some(free()), &[]);
    led.await_held(3);
    led.lead(5, Some(one.address), &[]);
    for waiting in waiting {
        assert_eq!(waiting.join().expect("no panic").expect("it was led to the primary"), "one");
    }
    led.await_held(0);
    let (held, released) = (led.count(|it| it.held.get()), led.count(|it| it.released.get()));
    assert_eq!((held, released, led.count(|it| it.refused.queue_full.get())), (3, 3, 1));
}

#[test]
fn a_client_that_leaves_waits_no_more_and_a_slow_or_wrong_one_is_refused() {
    let listen = free();
    let database = Database { startup_timeout: Duration::from_millis(300), ..write() };
    let led = gateway(vec![listener("write", listen, database)]);
    led.lead(3, None, &[]);
    let mut leaves = raw(listen);
    busy::ask(&mut leaves).expect("sent");
    led.await_held(1);
    drop(leaves);
    led.await_held(0);

    let mut slow = raw(listen);
    slow.write_all(&[0, 0, 0]).expect("a part of a length");
    assert_eq!(slow.read(&mut [0; 16]).expect("an end"), 0);
    let mut wrong = raw(listen);
    wrong.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    wrong.read_to_end(&mut answer).expect("an answer, then the end");
    assert!(String::from_utf8_lossy(&answer).contains("C08P01\0"), "{answer:?}");
    let (malformed, slow) = (led.count(|it| it.refused.malformed.get()), led.count(|it| it.refused.too_slow.get()));
    assert_eq!((malformed, slow), (1, 1));
}

#[test]
fn a_cancelled_command_is_found_whichever_server_runs_it() {
    let (one, two, listen) = (Postgres::start("one"), Postgres::start("two"), free());
    let database = Database { access: Access::Read { lag_max: 0, fallback: false, cut: false }, ..write() };
    let led = gateway(vec![listener("read", listen, database)]);
    led.lead(3, None, &[(one.address, 0), (two.address, 0)]);
    let mut names = Vec::new();
    let sleeping: Vec<_> = (0..4)
        .map(|_each| {
            let mut client = connect(listen).expect("a session");
            names.push(name(&mut client).expect("an answer"));
            let token = client.cancel_token();
            (token, thread::spawn(move || client.batch_execute("SELECT pg_sleep(50)")))
        })
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["one", "one", "two", "two"]);
    for (token, sleeping) in sleeping {
        // The command may not have begun yet, in which case there is nothing to cancel.
        while !sleeping.is_finished() {
            token.cancel_query(NoTls).expect("it is passed on");
            thread::sleep(Duration::from_millis(50));
        }
        let error = sleeping.join().expect("no panic").expect_err("it was cancelled");
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error:?}");
    }
    assert!(led.count(|it| it.cancels.get()) >= 4);
    assert_eq!(led.count(|it| it.cancels_unknown.get()), 0);
    eventually("nothing is left", LONG, || led.0.state().databases[0].connections().is_empty());
}

#[test]
fn readers_are_spread_and_leave_who_lags() {
    let (one, two, three) = (Postgres::start("one"), Postgres::start("two"), Postgres::start("three"));
    let (listen, strict) = (free(), free());
    let read = |fallback, cut| Database {
        hold: Duration::ZERO,
        access: Access::Read { lag_max: 1_000, fallback, cut },
        ..write()
    };
    let led = gateway(vec![listener("read", listen, read(true, false)), listener("strict", strict, read(false, true))]);
    let ten = |address| {
        let mut clients: Vec<_> = (0..10).map(|_each| connect(address).expect("a session")).collect();
        let mut counts = BTreeMap::new();
        for client in &mut clients {
            *counts.entry(name(client).expect("an answer")).or_insert(0) += 1;
        }
        (clients, counts)
    };
    let counted = |each: &[(&str, i32)]| -> BTreeMap<String, i32> {
        each.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    };
    led.lead(3, Some(one.address), &[(two.address, 0), (three.address, 1_000)]);
    let (mut stay, spread) = ten(listen);
    assert_eq!(spread, counted(&[("three", 5), ("two", 5)]));
    led.lead(3, Some(one.address), &[(two.address, 0), (three.address, 1_001)]);
    assert_eq!(ten(listen).1, counted(&[("two", 10)]));
    // Who is connected already stays, where that is not asked for otherwise.
    assert!(stay.iter_mut().all(|client| name(client).is_ok()));
    let (mut cut, spread) = ten(strict);
    assert_eq!(spread, counted(&[("two", 10)]));
    led.lead(3, Some(one.address), &[(two.address, 5_000), (three.address, 1_001)]);
    assert!(cut.iter_mut().all(|client| name(client).is_err()));
    assert_eq!(ten(listen).1, counted(&[("one", 10)]));
    let refused = connect(strict).err().expect("there is no server for it");
    assert_eq!(refused.code(), Some(&SqlState::CANNOT_CONNECT_NOW));

    // A replica that is promoted is not for readers any more while there are others.
    led.lead(4, Some(two.address), &[(three.address, 0)]);
    let mut left = 0;
    for client in &mut stay {
        match name(client) {
            Ok(name) => assert_eq!(name, "three"),
            Err(_) => left += 1,
        }
    }
    assert_eq!(left, 5);
}

#[test]
fn a_server_that_hangs_is_left_as_soon_as_there_is_another_one() {
    let (one, two, listen) = (Postgres::start("one"), Postgres::start("two"), free());
    let led = gateway(vec![listener("write", listen, write())]);
    led.lead(3, Some(one.address), &[]);
    // The kernel still accepts for it, and nobody ever answers.
    one.server.process.signal(libc::SIGSTOP);
    let waiting = thread::spawn(move || name(&mut connect(listen)?));
    eventually("it has connected", LONG, || !led.0.state().databases[0].connections().is_empty());
    led.lead(4, Some(two.address), &[]);
    assert_eq!(waiting.join().expect("no panic").expect("it was led on"), "two");
    one.server.process.signal(libc::SIGCONT);
}

#[test]
fn a_reload_keeps_sessions_and_what_is_known_and_a_removed_listener_ends_them() {
    let (one, listen, other) = (Postgres::start("one"), free(), free());
    let led = gateway(vec![listener("write", listen, write())]);
    led.lead(3, Some(one.address), &[]);
    let mut client = connect(listen).expect("a session");
    let both = vec![listener("write", listen, write()), listener("second", other, write())];
    led.0.apply(setup::spec(both)).expect("applied");
    assert_eq!(name(&mut client).expect("it goes on"), "one");
    assert_eq!(name(&mut connect(other).expect("a session")).expect("an answer"), "one");
    led.0.apply(setup::spec(Vec::new())).expect("applied");
    name(&mut client).expect_err("nobody tells of its server any more");
}
