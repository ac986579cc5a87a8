//! A group whose commits wait for nobody: what a failover loses is what was said of it, and a replica that lags too far neither
//! takes over nor is read from.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use mainstay_e2e::lab::databases::Databases;
use mainstay_e2e::lab::within;
use mainstay_e2e::lab::writer::{prepare, rows, to};
use mainstay_e2e::{eventually, soak};
use postgres::NoTls;

use crate::faults::SERVERS;
use crate::trial::SOON;

const READS: u16 = 5001;
/// Positions are told four times a second.
const TOLD: Duration = Duration::from_secs(2);

/// A machine that is too busy to renew a lease in time is seen as one that failed. Then it is begun anew, so often.
const ATTEMPTS: usize = 5;

#[test]
fn what_is_lost_is_what_was_said_and_who_lags_is_left_alone() {
    let database =
        format!("durability = \"async\"\nread = \"0.0.0.0:{READS}\"\nread_lag_max = \"1MiB\"\nprobe_rows = true");
    let mut databases = Databases::start("", &database);
    eventually("a table", SOON, || {
        let client = databases.primary().and_then(|primary| databases.superuser(primary).ok());
        client.is_some_and(|mut client| prepare(&mut client).is_ok())
    });
    let mut first = (0..).map(|attempt| attempt * 1_000);
    let mut until_undisturbed = |trial: fn(&mut Databases, i64) -> Option<()>| {
        let is_undisturbed = first.by_ref().take(ATTEMPTS).any(|first| trial(&mut databases, first).is_some());
        assert!(is_undisturbed, "another one takes over each time");
    };
    soak::repeat("a loss", || {
        until_undisturbed(a_loss_is_what_was_said);
        until_undisturbed(who_lags_is_neither_read_from_nor_promoted);
    });
}

fn primary(databases: &Databases) -> Option<usize> {
    databases.settle();
    databases.primary()
}

/// Writes rows to the primary, over its own socket; all are acknowledged.
fn write(databases: &Databases, primary: usize, rows: std::ops::Range<i64>) -> Option<()> {
    let mut client = databases.superuser(primary).ok()?;
    rows.into_iter().try_for_each(|row| client.execute("INSERT INTO rows VALUES ($1)", &[&row]).ok().map(drop))
}

/// Writes so many kilobytes that mean nothing.
fn fill(databases: &Databases, primary: usize, kilobytes: u32) -> Option<()> {
    let mut client = databases.superuser(primary).ok()?;
    client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS filler (text text); ALTER TABLE filler ALTER text SET STORAGE external",
        )
        .ok()?;
    (0..kilobytes).try_for_each(|_| client.batch_execute("INSERT INTO filler VALUES (repeat('x', 1000))").ok())
}

/// The end of what a server has.
fn position(databases: &Databases, node: usize) -> Option<i64> {
    let text = "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END \
                - '0/0'::pg_lsn)::bigint";
    databases.superuser(node).ok()?.query_one(text, &[]).ok()?.try_get(0).ok()
}

fn found(databases: &Databases) -> BTreeSet<i64> {
    let mut found = None;
    eventually("the rows", SOON, || {
        let client = databases.primary().and_then(|primary| databases.superuser(primary).ok());
        found = client.and_then(|mut client| rows(&mut client).ok());
        found.is_some()
    });
    found.expect("just read")
}

/// `None`: another one took over before it was to.
fn a_loss_is_what_was_said(databases: &mut Databases, first: i64) -> Option<()> {
    let old = primary(databases)?;
    let before: BTreeSet<i64> = found(databases);
    write(databases, old, first..first + 100)?;
    let expected: BTreeSet<i64> = before.into_iter().chain(first..first + 100).collect();
    eventually("replicas have it", SOON, || {
        let has_all = |mut client| rows(&mut client).is_ok_and(|rows| rows == expected);
        (0..3).all(|node| databases.superuser(node).is_ok_and(has_all))
    });
    let term = databases.group()["term"].as_i64()?;
    let probed = rows_of_probe(databases, old, term)?;
    databases.lab().part(old, SERVERS);
    let measured = write(databases, old, first + 100..first + 150)
        .and_then(|()| fill(databases, old, 200))
        .and_then(|()| position(databases, old))
        .and_then(|end| {
            let had: Option<Vec<i64>> =
                (0..3).filter(|node| *node != old).map(|node| position(databases, node)).collect();
            Some(end - had?.into_iter().max()?)
        });
    std::thread::sleep(TOLD);
    // Rows of the probe that nobody else gets.
    let mut unheard = 0;
    eventually("rows of the probe", SOON, || {
        unheard = rows_of_probe(databases, old, term).map_or(0, |rows| rows - probed);
        unheard >= 3 || databases.primary() != Some(old)
    });
    let is_undisturbed = databases.primary() == Some(old);
    databases.power_off(old);
    eventually("another one takes over", SOON, || {
        databases.group()["phase"] == "serving" && databases.primary().is_some_and(|primary| primary != old)
    });
    // Not before: the system delivers what a server has sent when it is dead, too.
    databases.lab().heal(old);
    let group = databases.group();
    let kept = found(databases);
    databases.power_on(old);
    databases.settle();
    let measured = measured.filter(|_| is_undisturbed)?;
    let reported = kibibytes(&group["failovers"][0]["risk"]);
    // It is told to a tenth of a kibibyte, and a server may write a little by itself after it was asked.
    assert!(
        (measured - 103..measured + 65_536).contains(&reported),
        "measured {measured}, reported {reported}: {group}"
    );
    assert_eq!(kept, expected, "what replicas had is there, and nothing else was promised");
    assert_eq!(found(databases), expected, "also when the old one is back");
    let mut loss = serde_json::Value::Null;
    eventually("the old one says what it had", SOON, || {
        let failovers = databases.group()["failovers"].as_array().cloned().unwrap_or_default();
        let failover = failovers.iter().find(|failover| failover["term"] == group["failovers"][0]["term"]);
        loss = failover.map(|failover| failover["loss"].clone()).unwrap_or_default();
        loss["measured"] == true
    });
    // One may have got there before the cable was cut, and one may have come after the last look.
    let counted = loss["probe_rows"].as_i64().unwrap_or_default();
    assert!((unheard - 1..=unheard + 2).contains(&counted), "{unheard} rows of the probe were heard by nobody: {loss}");
    Some(())
}

/// How many rows the probe has written there in this term.
fn rows_of_probe(databases: &Databases, node: usize, term: i64) -> Option<i64> {
    let sql = format!("SELECT coalesce(max(number), 0) FROM mainstay.probe WHERE term = {term}");
    let mut rows = None;
    eventually("the probe writes", SOON, || {
        let row = databases.superuser(node).ok().and_then(|mut client| client.query_one(&sql, &[]).ok());
        rows = row.map(|row| row.get(0));
        rows.is_some() || databases.primary() != Some(node)
    });
    rows
}

/// How many bytes a line begins with that tells kibibytes.
fn kibibytes(line: &serde_json::Value) -> i64 {
    let text = line.as_str().unwrap_or_default();
    let number = text.split_once(" KiB ").and_then(|(number, _)| number.parse::<f64>().ok());
    (number.unwrap_or_else(|| panic!("how much may be lost: {text:?}")) * 1024.0) as i64
}

/// Which server a client reads from that comes in at this node.
fn read_from(databases: &Databases, node: usize) -> Option<SocketAddr> {
    let through = SocketAddr::from((databases.lab().address(node), READS));
    within(&databases.lab().client(), || {
        let mut client = to(&Databases::login(), through).connect(NoTls).ok()?;
        let row = client.query_one("SELECT host(inet_server_addr())", &[]).ok()?;
        Some(SocketAddr::new(row.get::<_, &str>(0).parse().ok()?, SERVERS))
    })
}

/// `None`: another one took over before it was to.
fn who_lags_is_neither_read_from_nor_promoted(databases: &mut Databases, first: i64) -> Option<()> {
    let old = primary(databases)?;
    let before = found(databases);
    let server = databases.server(old);
    eventually("a replica is read from", SOON, || read_from(databases, old).is_some_and(|address| address != server));
    databases.lab().part(old, SERVERS);
    let written = fill(databases, old, 3_000).and_then(|()| write(databases, old, first..first + 10));
    // Nodes know positions that are a second old.
    std::thread::sleep(TOLD);
    let is_undisturbed = || databases.primary() == Some(old);
    if written.is_some() && is_undisturbed() {
        eventually("reads leave who lags", SOON, || read_from(databases, old) == Some(server) || !is_undisturbed());
    }
    let is_undisturbed = written.is_some() && is_undisturbed();
    databases.power_off(old);
    if is_undisturbed {
        eventually("it is said why nobody takes over", SOON, || databases.group()["obstacle"]["code"] == "behind");
        std::thread::sleep(Duration::from_secs(3));
        assert!(databases.primaries().is_empty(), "nobody who lacks so much takes over");
    }
    // Not before: the system delivers what a server has sent when it is dead, too.
    databases.lab().heal(old);
    databases.power_on(old);
    databases.settle();
    is_undisturbed.then_some(())?;
    assert_eq!(databases.primary(), Some(old), "it has everything");
    assert_eq!(found(databases), before.into_iter().chain(first..first + 10).collect(), "nothing is lost");
    Some(())
}
