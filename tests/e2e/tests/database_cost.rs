//! What following PostgreSQL's protocol costs beside carrying bytes: processor time of the gateway's worker for the same exchanges
//! through a listener of a database group and through a TCP listener. Other processes do not count, so that a busy machine
//! changes little. `make database-cost` prints the figures of an optimised build.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, thread};

use mainstay_e2e::free;
use mainstay_gateway::Gateway;
use mainstay_gateway::spec::{
    AccessLog, Address, Database, Endpoint, Engine, Listener, Node, Protocol, Resolver, Roles, Service, Shutdown, Spec,
    Telemetry,
};

/// Rounds of each; the middle one counts.
const ROUNDS: usize = 5;
/// A row's bytes, with its header.
const ROW: usize = 105;
/// That anybody may come in, and may ask.
const BEGINNING: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
/// That an answer is over, and the next query may come.
const END: &[u8] = b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";
/// How much of each is done in a round.
const SIZES: (usize, usize) = if cfg!(debug_assertions) { (500, 20_000) } else { (20_000, 500_000) };

/// A server of PostgreSQL that lets everybody in, and answers each query with as many rows as it says.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    stream.read_exact(&mut vec![0; u32::from_be_bytes(length) as usize - 4])?;
    stream.write_all(BEGINNING)?;
    let row = [b"D".as_slice(), &(ROW as u32 - 1).to_be_bytes(), &[b'x'; ROW - 5]].concat();
    loop {
        let mut header = [0; 5];
        stream.read_exact(&mut header)?;
        let mut query = vec![0; u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize - 4];
        stream.read_exact(&mut query)?;
        let rows = std::str::from_utf8(&query[..query.len() - 1]).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut all = row.repeat(rows);
        all.extend_from_slice(END);
        stream.write_all(&all)?;
    }
}

/// The time that the gateway's one worker has spent on a processor.
fn spent() -> Duration {
    let threads = fs::read_dir("/proc/self/task").expect("our threads").flatten();
    let is_worker =
        |path: &std::path::Path| fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "worker-0");
    let nanos = threads.map(|entry| entry.path()).filter(|path| is_worker(path)).map(|path| {
        let stat = fs::read_to_string(path.join("schedstat")).expect("the worker runs");
        stat.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
    });
    Duration::from_nanos(nanos.sum())
}

/// Processor time of the worker.
struct Cost {
    /// For a query with one row.
    query: Duration,
    /// For a MiB of rows.
    mebibyte: Duration,
}

fn round(address: SocketAddr) -> Cost {
    let mut client = session(address);
    let (queries, rows) = SIZES;
    let before = spent();
    (0..queries).for_each(|_| query(&mut client, 1));
    let between = spent();
    query(&mut client, rows);
    let mebibytes = (rows * ROW) as f64 / f64::from(1 << 20);
    Cost {
        query: (between - before) / u32::try_from(queries).expect("few"),
        mebibyte: (spent() - between).div_f64(mebibytes),
    }
}

/// A connection with a session.
fn session(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a read limit");
    stream.set_nodelay(true).expect("a socket");
    let parameters = b"user\0app\0\0";
    let startup = [&(8 + parameters.len() as u32).to_be_bytes()[..], &(3u32 << 16).to_be_bytes(), parameters].concat();
    stream.write_all(&startup).expect("sent");
    stream.read_exact(&mut [0; BEGINNING.len()]).expect("an answer");
    stream
}

/// Asks for so many rows, and reads them.
fn query(stream: &mut TcpStream, rows: usize) {
    let rows_text = rows.to_string();
    let length = (rows_text.len() + 5) as u32;
    stream.write_all(&[b"Q", &length.to_be_bytes()[..], rows_text.as_bytes(), b"\0"].concat()).expect("sent");
    let (mut left, mut buffer) = (rows * ROW + END.len(), vec![0; 1 << 16]);
    while left > 0 {
        let read = stream.read(&mut buffer).expect("an answer");
        assert!(read > 0 && read <= left, "{read} of {left} bytes");
        left -= read;
    }
}

/// A gateway with one worker, and listeners of both kinds that lead to a server.
fn gateway(server: SocketAddr, [database, tcp]: [SocketAddr; 2]) -> Arc<Gateway> {
    let listener = |name: &str, bind, protocol| Listener {
        name: name.to_owned(),
        bind,
        floating: false,
        proxy_protocol: None,
        tls: None,
        max_connections: 100,
        protocol,
    };
    let plain = Protocol::Tcp { service: "plain".to_owned(), idle_timeout: Duration::from_secs(60) };
    let service =
        Service { endpoints: vec![Endpoint::new(Address::Socket(server))], health: None, ..Service::new("plain") };
    let spec = Spec {
        node: Node {
            name: "test".to_owned(),
            zone: None,
            workers: 1,
            access_log: AccessLog::Off,
            explain: 0,
            shutdown: Shutdown { lead: Duration::ZERO, deadline: Duration::from_millis(500) },
            resolver: Resolver::default(),
            cache_memory: 1 << 20,
            data_dir: None,
        },
        listeners: vec![
            listener("write", database, Protocol::Database(Database::write("orders", Engine::Postgres))),
            listener("plain", tcp, plain),
        ],
        routes: Vec::new(),
        services: vec![service],
        cells: Vec::new(),
        acme: Vec::new(),
        telemetry: Telemetry::default(),
    };
    let gateway = Gateway::start(spec).expect("the gateway starts");
    let roles = Roles { term: 1, number: 1, primary: Some(server), is_current: true, ..Roles::default() };
    gateway.lead("orders", roles).expect("it has a listener");
    gateway
}

#[test]
fn what_a_query_and_a_mebibyte_cost_beside_a_tcp_listener() {
    let (server, database, tcp) = (server(), free(), free());
    let gateway = gateway(server, [database, tcp]);
    // In turn, so that both meet the same machine.
    let rounds: Vec<[Cost; 2]> = (0..ROUNDS).map(|_| [database, tcp].map(round)).collect();
    let middle = |pick: &dyn Fn(&[Cost; 2]) -> Duration| {
        let mut all: Vec<Duration> = rounds.iter().map(pick).collect();
        all.sort();
        all[ROUNDS / 2]
    };
    let query = [middle(&|it| it[0].query), middle(&|it| it[1].query)];
    let mebibyte = [middle(&|it| it[0].mebibyte), middle(&|it| it[1].mebibyte)];
    eprintln!("a query and its answer: {:?} by the listener of a group, {:?} by a TCP listener", query[0], query[1]);
    eprintln!("a MiB of rows of {ROW} bytes: {:?}, {:?}", mebibyte[0], mebibyte[1]);
    assert!(query.iter().chain(&mebibyte).all(|time| !time.is_zero()), "the worker was not found");
    gateway.shutdown();
}
