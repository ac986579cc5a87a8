//! The same for Redis.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use mainstay_e2e::process::Process;
use mainstay_e2e::tls::Authority;
use mainstay_e2e::{eventually, free, tools};
use mainstay_gateway::spec::{Database, Engine, UpstreamTls};

use crate::encrypted::ending;
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

/// A server that is called so, and takes nobody who does not encrypt.
fn encrypted(address: SocketAddr, name: &str) -> tools::Server {
    let dir = tempfile::tempdir().expect("a temporary directory");
    Authority::new("servers").issue(&[&address.ip().to_string()]).write(dir.path(), "server");
    let mut command = Command::new(tools::find("redis-server", "redis-server"));
    command.args(["--bind", &address.ip().to_string(), "--port", "0", "--tls-port", &address.port().to_string()]);
    command.args(["--tls-auth-clients", "no", "--tls-cert-file"]).arg(dir.path().join("server.pem"));
    command.arg("--tls-key-file").arg(dir.path().join("server.key"));
    command.args(["--save", "", "--dir"]).arg(dir.path());
    let process = Process::start("redis", dir.path(), &mut command, None);
    let mut server = tools::Server { dir, process };
    server.wait_for(address);
    assert!(encrypting(address, &["SET", "name", name]).output().expect("it runs").status.success());
    server
}

/// A client of Redis that encrypts, and takes any certificate.
fn encrypting(address: SocketAddr, words: &[&str]) -> Command {
    let mut command = Command::new(tools::find("redis-cli", "redis-tools"));
    command.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string(), "--tls", "--insecure"]);
    command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned()).concat()
}

fn asked(address: SocketAddr, words: &[&str]) -> String {
    said(&encrypting(address, words).output().expect("redis-cli starts"))
}

#[test]
fn tls_of_redis_passes_through_and_ends_in_a_reset() {
    let (at_one, at_two, listen) = (free(), free(), free());
    let (_one, _two) = (encrypted(at_one, "one"), encrypted(at_two, "two"));
    let led = gateway(vec![listener("write", listen, write())]);
    led.lead(3, Some(at_one), &[]);
    assert_eq!(asked(listen, &["GET", "name"]), "one");
    let blocked = encrypting(listen, &["BLPOP", "queue", "0"]).spawn().expect("redis-cli starts");
    eventually("a client waits", LONG, || asked(at_one, &["INFO", "clients"]).contains("blocked_clients:1"));
    led.lead(4, Some(at_two), &[]);
    // Nothing can be said inside of what others have encrypted.
    let output = blocked.wait_with_output().expect("redis-cli ends");
    assert!(!said(&output).contains("READONLY"), "{output:?}");
    assert_eq!((led.count(|it| it.cut_told.get()), led.count(|it| it.cut_reset.get())), (0, 1));
    assert_eq!(asked(listen, &["GET", "name"]), "two");
}

#[test]
fn tls_of_redis_ends_at_a_listener_with_a_certificate_and_may_begin_again_behind_it() {
    let (at_one, at_two, dir) = (free(), free(), tempfile::tempdir().expect("a temporary directory"));
    let (_one, _two) = (tools::redis(at_one), encrypted(at_two, "two"));
    assert_eq!(redis(&mut raw(at_one), "SET name one").expect("set"), "+OK");
    let (plain, again) = (free(), free());
    let onward = UpstreamTls { verify: false, ca: None, server_name: None, client: None };
    let led = gateway(vec![
        ending("plain", plain, write(), &dir),
        ending("again", again, Database { upstream_tls: Some(onward), ..write() }, &dir),
    ]);
    led.lead(3, Some(at_one), &[]);
    assert_eq!(asked(plain, &["GET", "name"]), "one");
    // Who does not encrypt gets no answer, and no server hears of it.
    let mut open: TcpStream = raw(plain);
    assert!(!redis(&mut open, "GET name").is_ok_and(|answer| answer.starts_with('$')));
    eventually("it is counted", LONG, || {
        led.0.state().listeners[0].shards.sum(|counters| counters.tls_failures.get()) == 1
    });
    led.lead(4, Some(at_two), &[]);
    assert_eq!(asked(again, &["GET", "name"]), "two");

    // An end can be told where TLS ends.
    led.lead(5, Some(at_one), &[]);
    let mut idle = connect(plain, &dir);
    assert_eq!((redis(&mut idle, "GET name").expect("a length"), line(&mut idle).expect("a value")), pair("one"));
    led.lead(6, None, &[]);
    assert!(line(&mut idle).expect("an error").starts_with("-READONLY "));
    assert_eq!(led.count(|it| it.cut_told.get()), 1);
}

/// A connection that has verified who answers.
fn connect(address: SocketAddr, dir: &tempfile::TempDir) -> impl Read + Write + use<> {
    let pem = std::fs::read_to_string(dir.path().join("ca.pem")).expect("the authority");
    let client = mainstay_e2e::tls::Client { trust: vec![pem], ..mainstay_e2e::tls::Client::default() };
    client.connect(address, &address.ip().to_string()).expect("a session").into_stream()
}
