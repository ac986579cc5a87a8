//! What clients wait is counted, by commands and by the beginnings of connections.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use mainstay_e2e::{eventually, free, tools};
use mainstay_gateway::spec::{Database, Engine};

use crate::busy;
use crate::setup::{LONG, Led, Postgres, connect, gateway, listener, raw, redis};
use crate::write;

/// Longer than a second, by which what was slow is told.
const SLOW: Duration = Duration::from_millis(1_200);
/// The first bucket of what takes longer than a second.
const ABOVE_A_SECOND: usize = 10;

/// All waits that were counted, and those of more than a second.
fn waits(led: &Led) -> (u64, u64) {
    let sum = |from: usize| led.count(|it| it.duration.buckets.iter().skip(from).map(|bucket| bucket.get()).sum());
    (sum(0), sum(ABOVE_A_SECOND))
}

#[test]
fn commands_of_postgresql_are_timed_and_copies_are_not() {
    let (one, listen) = (Postgres::start("one"), free());
    let led = gateway(vec![listener("write", listen, write())]);
    led.lead(3, Some(one.address), &[]);
    let mut client = raw(listen);
    busy::begin(&mut client).expect("a session");
    assert_eq!(waits(&led).0, 1, "the beginning of the connection");
    for number in 1..=5 {
        busy::send(&mut client, "SELECT 1").expect("sent");
        busy::answer(&mut client).expect("an answer");
        eventually("the answer is counted", LONG, || waits(&led).0 == 1 + number);
    }

    // A lock that somebody else holds.
    let mut direct = connect(one.address).expect("a session");
    direct.batch_execute("CREATE TABLE orders (n int)").expect("a table");
    let mut holder = direct.transaction().expect("a transaction");
    holder.batch_execute("LOCK TABLE orders").expect("a lock");
    let (before, slow) = waits(&led);
    busy::send(&mut client, "INSERT INTO orders VALUES (1)").expect("sent");
    thread::sleep(SLOW);
    assert_eq!(waits(&led), (before, slow), "it is under way");
    holder.commit().expect("the lock is given back");
    busy::answer(&mut client).expect("an answer");
    eventually("the wait is counted as long", LONG, || waits(&led) == (before + 1, slow + 1));

    // A copy takes as long as it takes; what follows it is timed.
    let (before, slow) = waits(&led);
    busy::send(&mut client, "COPY orders FROM STDIN").expect("sent");
    let mut ready = [0; 10];
    client.read_exact(&mut ready).expect("the server is ready for rows");
    assert_eq!((ready[0], ready[4]), (b'G', 9), "{ready:?}");
    thread::sleep(SLOW);
    client.write_all(b"d\0\0\0\x082\n3\nc\0\0\0\x04").expect("rows");
    assert_eq!(busy::answer(&mut client).expect("they are taken"), "CZ");
    busy::send(&mut client, "SELECT 1").expect("sent");
    busy::answer(&mut client).expect("an answer");
    eventually("what follows the copy is counted", LONG, || waits(&led).0 == before + 1);
    assert_eq!(waits(&led).1, slow, "the copy is not");

    // What is never answered was waited for until the connection was cut.
    let (before, slow) = waits(&led);
    busy::send(&mut client, "SELECT pg_sleep(50)").expect("sent");
    thread::sleep(SLOW);
    led.lead(4, None, &[]);
    assert!(busy::answer(&mut client).is_err(), "it is cut");
    eventually("the wait is counted in the end", LONG, || waits(&led) == (before + 1, slow + 1));

    // A connection that has to wait for a primary begins late.
    let waiting = thread::spawn(move || connect(listen).map(drop));
    led.await_held(1);
    thread::sleep(SLOW);
    led.lead(5, Some(one.address), &[]);
    waiting.join().expect("no panic").expect("a session");
    eventually("the wait for a primary is counted", LONG, || waits(&led) == (before + 2, slow + 2));
}

#[test]
fn commands_of_redis_are_timed_but_for_those_that_wait_by_themselves() {
    let (address, listen) = (free(), free());
    let server = tools::redis(address);
    let database = Database { hold: LONG, ..Database::write("orders", Engine::Redis) };
    let led = gateway(vec![listener("write", listen, database)]);
    led.lead(3, Some(address), &[]);
    let mut client = raw(listen);
    for number in 1..=3 {
        assert_eq!(redis(&mut client, "PING").expect("an answer"), "+PONG");
        eventually("the answer is counted", LONG, || waits(&led).0 == number);
    }
    assert_eq!(redis(&mut client, "BLPOP queue 0.1").expect("an answer"), "*-1");
    let slow = waits(&led).1;
    server.process.signal(libc::SIGSTOP);
    client.write_all(b"PING\r\n").expect("sent");
    thread::sleep(SLOW);
    server.process.signal(libc::SIGCONT);
    let mut answer = [0; 7];
    client.read_exact(&mut answer).expect("an answer");
    eventually("one long wait, and none for the queue", LONG, || waits(&led) == (4, slow + 1));
    // Who connects and goes has waited for nothing.
    drop(raw(listen));
    drop(client);
    eventually("nobody is connected", LONG, || led.0.state().databases[0].connections().is_empty());
    assert_eq!(waits(&led).0, 4);
}
