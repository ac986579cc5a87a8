//! PROXY headers towards endpoints: read by nginx, by HAProxy, by another gateway and byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::Sender;
use std::time::Duration;

use mainstay_e2e::tls::Authority;
use mainstay_e2e::{Mainstay, Wire, eventually, free, tools, wire};

const ANNA: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 9, 1));
const BERT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 9, 2));
const GET: &str = "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn config(listen: SocketAddr, listener: &str, endpoint: &str, service: &str) -> String {
    format!(
        "[[listener]]\nname = \"front\"\nbind = \"{listen}\"\n{listener}\n\n\
         [[service]]\nname = \"app\"\nendpoints = [\"{endpoint}\"]\n{service}\n"
    )
}

/// nginx that answers with what the header says.
fn nginx(listen: SocketAddr) -> tools::Server {
    let answer = "$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port";
    tools::nginx(
        listen,
        &format!("server {{ listen {listen} proxy_protocol; location / {{ return 200 \"{answer}\"; }} }}"),
        &[],
    )
}

fn local_address(wire: &mut Wire) -> SocketAddr {
    let stream: &TcpStream = wire.stream();
    stream.local_addr().expect("a local address")
}

#[test]
fn nginx_learns_of_each_client_over_http() {
    for version in ["v1", "v2"] {
        let (address, listen) = (free(), free());
        let _nginx = nginx(address);
        let service = format!(
            "send_proxy = \"{version}\"\nhealth = {{ http = \"/\", interval = \"200ms\", timeout = \"200ms\", unhealthy = 1 }}"
        );
        let gateway = Mainstay::start(&config(listen, "", &address.to_string(), &service));
        let (mut anna, mut bert) = (Wire::connect_from(ANNA, listen), Wire::connect_from(BERT, listen));
        for _round in 0..5 {
            for client in [&mut anna, &mut bert] {
                let from = local_address(client);
                let response = client.exchange(GET);
                assert_eq!((response.status, response.text()), (200, format!("{from} {listen}")), "{version}");
            }
        }
        let line = gateway.logged("/");
        assert_eq!(line["attempts"][0]["reused"], false);
        eventually("checks pass too", Duration::from_secs(10), || {
            gateway.metric("mainstay_endpoint_probes_total", &["\"passed\""]) >= 3.0
        });
        let down = gateway.metric("mainstay_endpoint_health", &["\"down\""]);
        assert_eq!(down, 0.0, "{}", gateway.status());
    }
}

#[test]
fn a_listener_on_every_address_names_the_one_that_was_used() {
    // The system chooses a port that is free on all addresses.
    let anywhere = TcpListener::bind("0.0.0.0:0").and_then(|socket| socket.local_addr()).expect("a free port");
    let (address, listen) = (free(), SocketAddr::new(free().ip(), anywhere.port()));
    let _nginx = nginx(address);
    let _gateway = Mainstay::start(&config(anywhere, "", &address.to_string(), "send_proxy = \"v2\""));
    let mut wire = Wire::connect(listen);
    let from = local_address(&mut wire);
    assert_eq!(wire.exchange(GET).text(), format!("{from} {listen}"));
}

#[test]
fn whom_a_trusted_proxy_names_is_the_client() {
    let (address, listen) = (free(), free());
    let _nginx = nginx(address);
    let listener = "trusted_proxies = [\"127.0.0.1\"]";
    let _gateway = Mainstay::start(&config(listen, listener, &address.to_string(), "send_proxy = \"v2\""));
    let named = "GET / HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 2001:db8::7\r\n\r\n";
    let IpAddr::V4(four) = listen.ip() else { panic!("tests run over IPv4") };
    // Of the client only the address is known (nginx shows port 0 as nothing), and a header cannot hold two families.
    let expected = format!("2001:db8::7: {}:{}", four.to_ipv6_mapped(), listen.port());
    assert_eq!(Wire::connect(listen).exchange(named).text(), expected);
}

#[test]
fn haproxy_learns_of_each_client_over_tcp_and_tls() {
    let authority = Authority::new("inside");
    let identity = authority.issue(&["shop.test"]);
    let pair = format!("{}{}", identity.cert, identity.key);
    for version in ["v1", "v2"] {
        for tls in ["", "ssl crt pair.pem"] {
            let (address, listen) = (free(), free());
            let text = format!(
                "frontend f\n  bind {address} accept-proxy {tls}\n  http-request return status 200 content-type \
                 text/plain lf-string \"%[src]:%[src_port] %[dst]:%[dst_port]\"\n"
            );
            let _haproxy = tools::haproxy(address, &text, &[("pair.pem", &pair)]);
            let with_tls = if tls.is_empty() { "" } else { "tls = { ca = \"ca.pem\", server_name = \"shop.test\" }\n" };
            let service = format!("{with_tls}send_proxy = \"{version}\"");
            let listener = "protocol = \"tcp\"\nservice = \"app\"";
            let text = config(listen, listener, &address.to_string(), &service);
            let mut gateway = Mainstay::launch("", &text, &[("ca.pem", &authority.pem())]);
            gateway.wait_until_ready();
            for client in [ANNA, BERT] {
                let mut wire = Wire::connect_from(client, listen);
                let from = local_address(&mut wire);
                for _request in 0..2 {
                    let response = wire.exchange(GET);
                    assert_eq!(
                        (response.status, response.text()),
                        (200, format!("{from} {listen}")),
                        "{version} {tls}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_header_that_came_in_goes_out_again() {
    let (front, listen, behind, address) = (free(), free(), free(), free());
    let _nginx = nginx(address);
    let trusting = "proxy_protocol = { trusted = [\"127.0.0.1\"] }";
    let second = config(behind, trusting, &address.to_string(), "send_proxy = \"v1\"");
    let _second = Mainstay::start(&second);
    let tcp = format!("protocol = \"tcp\"\nservice = \"app\"\n{trusting}");
    let _first = Mainstay::start(&config(listen, &tcp, &behind.to_string(), "send_proxy = \"v2\""));
    let text =
        format!("frontend f\n  bind {front}\n  default_backend b\nbackend b\n  server s {listen} send-proxy-v2\n");
    let _haproxy = tools::haproxy(front, &text, &[]);
    let mut wire = Wire::connect_from(ANNA, front);
    let from = local_address(&mut wire);
    assert_eq!(wire.exchange(GET).text(), format!("{from} {front}"), "client and address of the very first");
}

#[test]
fn the_header_does_not_wait_for_the_client_and_checks_send_their_own() {
    for (version, check) in [("v1", b"PROXY UNKNOWN\r\n".as_slice()), ("v2", LOCAL)] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let socket = UnixListener::bind(dir.path().join("s")).expect("a socket");
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for mut stream in socket.incoming().flatten() {
                let mut bytes = Vec::new();
                let _limit = stream.set_read_timeout(Some(Duration::from_secs(10)));
                let _cut = stream.read_to_end(&mut bytes);
                if tell.send(bytes).is_err() {
                    return;
                }
            }
        });
        let listen = free();
        let service =
            format!("send_proxy = \"{version}\"\nhealth = {{ tcp = true, interval = \"200ms\", timeout = \"200ms\" }}");
        let endpoint = format!("unix:{}", dir.path().join("s").display());
        let listener = "protocol = \"tcp\"\nservice = \"app\"";
        let _gateway = Mainstay::start(&config(listen, listener, &endpoint, &service));
        let next = || told.recv_timeout(Duration::from_secs(15)).expect("a connection to the endpoint");
        assert_eq!(next(), check, "a check");
        let client = TcpStream::connect(listen).expect("a connection");
        let from = client.local_addr().expect("an address");
        // The server would speak first: the header must be there although the client says nothing.
        client.shutdown(std::net::Shutdown::Write).expect("a half-close");
        let mut bytes = next();
        while bytes == check {
            bytes = next();
        }
        if version == "v1" {
            let line = format!("PROXY TCP4 {} {} {} {}\r\n", from.ip(), listen.ip(), from.port(), listen.port());
            assert_eq!(String::from_utf8_lossy(&bytes), line);
        } else {
            assert_eq!((bytes.len(), &bytes[..14]), (28, b"\r\n\r\n\0\r\nQUIT\n\x21\x11".as_slice()));
        }
    }
}

/// Answers each request, and tells the first word of what comes before it.
fn answer_each(stream: TcpStream, tell: &Sender<String>) {
    let (mut reader, mut writer) = (BufReader::new(&stream), &stream);
    let mut message = String::new();
    while reader.read_line(&mut message).is_ok_and(|read| read > 0) {
        if message.ends_with("\r\n\r\n") {
            let told = tell.send(message.split(' ').next().unwrap_or_default().to_owned());
            if told.is_err() || writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                return;
            }
            message.clear();
        }
    }
}

#[test]
fn a_reload_that_switches_it_on_leaves_no_old_connection() {
    let (address, (tell, told)) = (free(), std::sync::mpsc::channel());
    let socket = TcpListener::bind(address).expect("a free address");
    std::thread::spawn(move || {
        for stream in socket.incoming().flatten() {
            let tell = tell.clone();
            std::thread::spawn(move || answer_each(stream, &tell));
        }
    });
    let first_words = || told.try_iter().collect::<Vec<String>>();
    let listen = free();
    let text = |service: &str| config(listen, "", &address.to_string(), service);
    let mut gateway = Mainstay::start(&text("health = \"off\""));
    let mut wire = Wire::connect(listen);
    assert_eq!((wire.exchange(GET).status, wire.exchange(GET).status), (200, 200));
    assert_eq!(first_words(), ["GET", "GET"]);
    gateway.reload(&text("health = \"off\"\nsend_proxy = \"v1\""));
    for _request in 0..4 {
        assert_eq!(wire.exchange(GET).status, 200);
    }
    assert_eq!(first_words(), ["PROXY"; 4], "each request came on a connection of its own");
    gateway.reload(&text("health = \"off\""));
    assert_eq!((wire.exchange(GET).status, wire.exchange(GET).status), (200, 200));
    assert_eq!(first_words(), ["GET", "GET"]);
    assert_eq!(wire::get(listen, "/").status, 200);
}

#[test]
fn requests_of_http2_clients_are_introduced() {
    let (address, listen) = (free(), free());
    let _nginx = nginx(address);
    let _gateway = Mainstay::start(&config(listen, "", &address.to_string(), "send_proxy = \"v2\""));
    let url = format!("http://{listen}/");
    for client in [ANNA.to_string(), BERT.to_string()] {
        let how = ["-s", "--max-time", "10", "--http2-prior-knowledge", "--interface", &client];
        let text = tools::run("curl", "curl", &[&how[..], &["-w", " %{local_port} %{http_version}", &url]].concat());
        let words: Vec<&str> = text.split(' ').collect();
        assert_eq!(words, [&format!("{client}:{}", words[2]), &listen.to_string(), words[2], "2"]);
    }
}
