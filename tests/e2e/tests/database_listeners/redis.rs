//! The same for Redis.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use mainstay_e2e::{eventually, free, tools};
use mainstay_gateway::spec::{Database, Engine};

use crate::setup::{LONG, gateway, line, listener, raw, redis};

fn write() -> Database {
    Database { hold: LONG, ..Database::write("orders", Engine::Redis) }
}

#[test]
fn clients_of_redis_follow_the_term() {
    let (at_one, at_two, listen, short) = (free(), free(), free(), free());
    let (_one, _two) = (tools::redis(at_one), tools::redis(at_two));
    for (address, name) in [(at_one, "one"), (at_two, "two")] {
        assert_eq!(redis(&mut raw(address), &format!("SET name {name}")).expect("set"), "+OK");
    }
    let impatient = Database { hold: Duration::from_millis(200), ..write() };
    let led = gateway(vec![listener("write", listen, write()), listener("short", short, impatient)]);
    led.lead(3, Some(at_one), &[(at_two, 0)]);
    let mut idle = raw(listen);
    assert_eq!((redis(&mut idle, "GET name").expect("a length"), line(&mut idle).expect("a value")), pair("one"));
    let mut blocked = raw(listen);
    blocked.write_all(b"*3\r\n$5\r\nBLPOP\r\n$5\r\nqueue\r\n$1\r\n0\r\n").expect("sent");
    let mut direct = raw(at_one);
    eventually("a client waits for the queue", LONG, || {
        direct.write_all(b"INFO clients\r\n").expect("sent");
        let length: usize = line(&mut direct).expect("a length")[1..].parse().expect("a number");
        let mut text = vec![0; length + 2];
        direct.read_exact(&mut text).expect("a text");
        String::from_utf8_lossy(&text).contains("blocked_clients:1")
    });

    led.lead(4, None, &[]);
    // Who waits for nothing gets an error, which its next command is answered by.
    assert!(line(&mut idle).expect("an error").starts_with("-READONLY "));
    assert_eq!(idle.read(&mut [0; 1]).expect("an end"), 0);
    // Who waits for an answer must not take the error for it: the command may have been carried out.
    assert!(blocked.read(&mut [0; 1]).is_err(), "a reset");
    assert_eq!((led.count(|it| it.cut_told.get()), led.count(|it| it.cut_reset.get())), (1, 1));

    let waiting = thread::spawn(move || {
        let mut stream = raw(listen);
        (redis(&mut stream, "GET name").expect("a length"), line(&mut stream).expect("a value"))
    });
    led.await_held(1);
    let mut refused = raw(short);
    assert!(redis(&mut refused, "GET name").expect("an answer").starts_with("-LOADING "));
    assert_eq!(refused.read(&mut [0; 1]).expect("an end"), 0);
    led.lead(5, Some(at_two), &[]);
    assert_eq!(waiting.join().expect("no panic"), pair("two"));
}

fn pair(name: &str) -> (String, String) {
    (format!("${}", name.len()), name.to_owned())
}
