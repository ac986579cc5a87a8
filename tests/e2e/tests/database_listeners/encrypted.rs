//! TLS: through the gateway as it is, or ending there.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use mainstay_e2e::tls::Authority;
use mainstay_e2e::{eventually, free, tools};
use mainstay_gateway::spec::{CertificateFiles, ClientAuth, Database, Listener, ListenerTls, UpstreamTls};

use crate::setup::{LONG, Led, Postgres, connect, gateway, listener, psql, url};
use crate::write;

const IS_ENCRYPTED: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

fn with(address: SocketAddr, settings: &str) -> String {
    format!("{}&{settings}", url(address))
}

/// A listener where TLS ends, and the file of the authority that has signed for it.
pub fn ending(name: &str, bind: SocketAddr, database: Database, dir: &tempfile::TempDir) -> Listener {
    let authority = Authority::new("gateway");
    authority.issue(&[&bind.ip().to_string()]).write(dir.path(), "gateway");
    std::fs::write(dir.path().join("ca.pem"), authority.pem()).expect("the authority");
    let files = CertificateFiles { cert: dir.path().join("gateway.pem"), key: dir.path().join("gateway.key") };
    let tls = ListenerTls { certificates: vec![files], acme: Vec::new(), client_auth: ClientAuth::Off };
    Listener { tls: Some(tls), ..listener(name, bind, database) }
}

#[test]
fn tls_passes_through_and_its_sessions_are_cut_and_cancelled_too() {
    let (one, two, listen) = (Postgres::start("one"), Postgres::start("two"), free());
    let led = gateway(vec![listener("write", listen, write())]);
    led.lead(3, Some(one.address), &[]);
    for mode in ["prefer", "require"] {
        assert_eq!(psql(&with(listen, &format!("sslmode={mode}")), IS_ENCRYPTED).as_deref(), Ok("t"), "{mode}");
    }
    assert_eq!(psql(&with(listen, "sslmode=disable"), IS_ENCRYPTED).as_deref(), Ok("f"));

    // The key is in the encrypted part; who cancels asks every server that it could belong to.
    let sleeping = sleep(&with(listen, "sslmode=require"));
    let mut direct = connect(one.address).expect("a session");
    await_sleep(&mut direct);
    interrupt(&sleeping);
    let output = sleeping.wait_with_output().expect("psql ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("canceling statement due to user request"), "{said}");
    assert_eq!(led.count(|it| it.cancels_unknown.get()), 1);

    let sleeping = sleep(&with(listen, "sslmode=require"));
    await_sleep(&mut direct);
    led.lead(4, Some(two.address), &[]);
    let output = sleeping.wait_with_output().expect("psql ends");
    assert!(!output.status.success());
    assert_eq!(led.count(|it| it.cut_reset.get()), 1);
    assert_eq!(psql(&with(listen, "sslmode=require"), "SHOW cluster_name").as_deref(), Ok("two"));

    // Servers that speak TLS are not said not to, so that nobody goes on without it: the protocol has an error for that, whose
    // text clients do not show, since anybody could have sent it.
    let short = Database { hold: Duration::from_millis(100), ..write() };
    led.0.apply(crate::setup::spec(vec![listener("write", listen, short)])).expect("applied");
    led.lead(5, None, &[]);
    let said = psql(&with(listen, "sslmode=require"), "SELECT 1").expect_err("there is no server");
    assert!(said.contains("error response during SSL exchange"), "{said}");
    let said = psql(&with(listen, "sslmode=disable"), "SELECT 1").expect_err("there is no server");
    assert!(said.contains("no server of database group orders"), "{said}");
}

#[test]
fn a_client_that_asks_for_tls_in_vain_is_told_why_there_is_no_server() {
    let listen = free();
    let short = Database { hold: Duration::from_millis(100), ..write() };
    let led = gateway(vec![listener("write", listen, short)]);
    led.lead(3, None, &[]);
    // `prefer` is what clients do unless they are told otherwise.
    let said = psql(&with(listen, "sslmode=prefer"), "SELECT 1").expect_err("there is no server");
    assert!(said.contains("no server of database group orders"), "{said}");
    assert_eq!(led.count(|it| it.refused.no_server.get()), 1);
}

fn sleep(url: &str) -> std::process::Child {
    let mut command = Command::new(tools::find("psql", "postgresql-client"));
    command.args([url, "-Atc", "SELECT pg_sleep(50)"]).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("psql starts")
}

fn await_sleep(direct: &mut postgres::Client) {
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
    eventually("the query runs", LONG, || direct.query_one(asleep, &[]).expect("it answers").get::<_, i64>(0) == 1);
}

/// Sends the signal that `Ctrl-C` does.
fn interrupt(child: &std::process::Child) {
    tools::run("sh", "dash", &["-c", &format!("kill -INT {}", child.id())]);
}

#[test]
fn tls_ends_at_a_listener_with_a_certificate_and_may_begin_again_behind_it() {
    let (one, dir) = (Postgres::start("one"), tempfile::tempdir().expect("a temporary directory"));
    let (plain, again) = (free(), free());
    let onward = UpstreamTls { verify: false, ca: None, server_name: None, client: None };
    let led: Led = gateway(vec![
        ending("plain", plain, write(), &dir),
        ending("again", again, Database { upstream_tls: Some(onward), ..write() }, &dir),
    ]);
    led.lead(3, Some(one.address), &[]);
    let ca = dir.path().join("ca.pem");
    // Both have certificates of the authority that was made last.
    let verified = format!("sslmode=verify-full&sslrootcert={}", ca.display());
    assert_eq!(psql(&with(again, &verified), IS_ENCRYPTED).as_deref(), Ok("t"));
    assert_eq!(psql(&with(plain, "sslmode=require"), IS_ENCRYPTED).as_deref(), Ok("f"), "the server is asked in plain");
    let said = psql(&with(plain, "sslmode=disable"), IS_ENCRYPTED).expect_err("it has to be encrypted");
    assert!(said.contains("have to be encrypted"), "{said}");
    assert_eq!(led.count(|it| it.refused.not_encrypted.get()), 1);

    // What was cancelled is known by its key here, and an end is told.
    let sleeping = sleep(&with(plain, "sslmode=require"));
    let mut direct = connect(one.address).expect("a session");
    await_sleep(&mut direct);
    interrupt(&sleeping);
    let said = String::from_utf8_lossy(&sleeping.wait_with_output().expect("psql ends").stderr).into_owned();
    assert!(said.contains("canceling statement due to user request"), "{said}");
    assert_eq!((led.count(|it| it.cancels.get()), led.count(|it| it.cancels_unknown.get())), (1, 0));
    let sleeping = sleep(&with(plain, "sslmode=require"));
    await_sleep(&mut direct);
    led.lead(4, None, &[]);
    let said = String::from_utf8_lossy(&sleeping.wait_with_output().expect("psql ends").stderr).into_owned();
    assert!(said.contains("the primary of database group orders changes"), "{said}");
}
