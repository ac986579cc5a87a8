//! Many connections under load while roles change, and bytes that are counted.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use mainstay_e2e::{eventually, free, tools};

use crate::setup::{LONG, Postgres, connect, gateway, listener, psql, raw, url};
use crate::write;

/// Asks for a session.
pub fn ask(stream: &mut TcpStream) -> io::Result<()> {
    let parameters = b"user\0app\0database\0postgres\0\0";
    let length = (8 + parameters.len()) as u32;
    stream.write_all(&[&length.to_be_bytes()[..], &(3u32 << 16).to_be_bytes(), parameters].concat())
}

/// Begins a session.
pub fn begin(stream: &mut TcpStream) -> io::Result<()> {
    ask(stream)?;
    answer(stream).map(drop)
}

/// Sends a simple query.
pub fn send(stream: &mut TcpStream, query: &str) -> io::Result<()> {
    let length = (query.len() + 5) as u32;
    stream.write_all(&[b"Q", &length.to_be_bytes()[..], query.as_bytes(), b"\0"].concat())
}

/// Reads until the server is ready again. The letters of the messages, and the content of an error.
pub fn answer(stream: &mut TcpStream) -> io::Result<String> {
    let mut letters = String::new();
    loop {
        let mut header = [0; 5];
        stream.read_exact(&mut header)?;
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        assert!((4..1 << 20).contains(&length), "no message: {header:?} behind {letters}");
        let mut content = vec![0; length - 4];
        stream.read_exact(&mut content)?;
        letters.push(header[0] as char);
        match header[0] {
            b'Z' => return Ok(letters),
            b'E' => return Err(io::Error::other(String::from_utf8_lossy(&content).into_owned())),
            b'R' | b'S' | b'K' | b'C' | b'D' | b'T' | b'N' | b'I' => {}
            other => panic!("not a message that was asked for: {}", other as char),
        }
    }
}

/// One of many clients: a table's row for each number, for as long as it is let.
struct Writer {
    stream: Option<TcpStream>,
    number: usize,
    acknowledged: Vec<(usize, usize)>,
}

impl Writer {
    /// Inserts one row. Whether it was acknowledged.
    fn insert(&mut self, listen: SocketAddr, id: usize) -> io::Result<()> {
        if self.stream.is_none() {
            let mut stream = raw(listen);
            begin(&mut stream)?;
            self.stream = Some(stream);
        }
        let stream = self.stream.as_mut().expect("there is one now");
        self.number += 1;
        send(stream, &format!("INSERT INTO rows VALUES ({id}, {})", self.number))?;
        let letters = answer(stream)?;
        assert_eq!(letters, "CZ", "half of an answer, or two");
        self.acknowledged.push((id, self.number));
        Ok(())
    }
}

#[test]
fn two_hundred_busy_connections_change_over_and_keep_what_was_acknowledged() {
    const THREADS: usize = 20;
    const EACH: usize = 10;
    let (one, two, listen) = (Postgres::start("one"), Postgres::start("two"), free());
    for server in [&one, &two] {
        let mut client = connect(server.address).expect("a session");
        client.batch_execute("CREATE TABLE rows (id int, n int)").expect("a table");
    }
    let led = gateway(vec![listener("write", listen, write())]);
    led.lead(3, Some(one.address), &[]);
    let (stop, failures) = (AtomicBool::new(false), AtomicUsize::new(0));
    let acknowledged: BTreeSet<(usize, usize)> = thread::scope(|scope| {
        let (stop, failures) = (&stop, &failures);
        let run = |first: usize| {
            let mut writers: Vec<Writer> =
                (0..EACH).map(|_each| Writer { stream: None, number: 0, acknowledged: Vec::new() }).collect();
            while !stop.load(Ordering::Relaxed) {
                for (index, writer) in writers.iter_mut().enumerate() {
                    if writer.insert(listen, first * EACH + index).is_err() {
                        failures.fetch_add(1, Ordering::Relaxed);
                        writer.stream = None;
                    }
                }
            }
            writers.into_iter().flat_map(|writer| writer.acknowledged).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || run(thread))).collect();
        let database = || led.0.state().databases[0].connections();
        let all_at = |address| database().get(&address) == Some(&(THREADS * EACH));
        eventually("all are connected", LONG, || all_at(one.address));
        led.lead(4, None, &[]);
        eventually("nobody is left at the old primary", LONG, || !database().contains_key(&one.address));
        led.lead(5, Some(two.address), &[]);
        eventually("all are at the new one", LONG, || all_at(two.address));
        let (_, before) = counts(two.address);
        eventually("they write", LONG, || counts(two.address).1 > before + 200);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    let found: BTreeSet<(usize, usize)> =
        [one.address, two.address].iter().flat_map(|address| counts(*address).0).collect();
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), acknowledged.len());
    // No connection was ended twice, and each was held instead of refused when it came back.
    let failures = failures.load(Ordering::Relaxed);
    assert!((1..=THREADS * EACH).contains(&failures), "{failures}");
    assert_eq!(led.count(|it| it.refused.no_server.get() + it.refused.queue_full.get()), 0);
}

/// The rows of a server, and how many there are.
fn counts(address: SocketAddr) -> (Vec<(usize, usize)>, usize) {
    let mut client = connect(address).expect("a session");
    let rows = client.query("SELECT id, n FROM rows", &[]).expect("rows");
    let number = |row: &postgres::Row, at| usize::try_from(row.get::<_, i32>(at)).expect("no negative number");
    let rows: Vec<_> = rows.iter().map(|row| (number(row, 0), number(row, 1))).collect();
    let count = rows.len();
    (rows, count)
}

#[test]
fn no_byte_of_a_copy_is_lost_or_doubled() {
    let (one, listen) = (Postgres::start("one"), free());
    let led = gateway(vec![listener("write", listen, write())]);
    led.lead(3, Some(one.address), &[]);
    let rows = "COPY (SELECT i, md5(i::text), repeat('z', i % 300) FROM generate_series(1, 100000) i) TO STDOUT";
    let direct = psql(&url(one.address), rows).expect("rows");
    assert!(direct.len() > 15_000_000, "{}", direct.len());
    let through = psql(&url(listen), rows).expect("rows");
    assert!(direct == through, "the copies differ");
    // And the other way.
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("rows");
    std::fs::write(&file, direct + "\n").expect("a file");
    psql(&url(listen), "CREATE TABLE copied (i int, m text, z text)").expect("a table");
    let copy = format!("\\copy copied FROM '{}'", file.display());
    tools::run("psql", "postgresql-client", &[&url(listen), "-c", &copy]);
    let sum = |table: &str| format!("SELECT count(*), md5(string_agg(m || z, '' ORDER BY i)) FROM {table}");
    let made = "(SELECT i, md5(i::text) m, repeat('z', i % 300) z FROM generate_series(1, 100000) i) made";
    assert_eq!(psql(&url(listen), &sum("copied")), psql(&url(one.address), &sum(made)));
    // Lag is told all the time and changes nothing for who is connected.
    assert_eq!(led.count(|it| it.cut_told.get() + it.cut_reset.get()), 0);
}
