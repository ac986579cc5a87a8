//! Malformed and hostile requests: every one meets its verdict, nothing malformed reaches a backend, the gateway goes on.

#[path = "hostile/requests.rs"]
mod requests;

use std::time::{Duration, Instant};

use mainstay_e2e::gateway::simple;
use mainstay_e2e::scripted::{Exchange, Scripted};
use mainstay_e2e::wire::Broken;
use mainstay_e2e::{Mainstay, Wire, free};
use requests::{Case, Verdict};

/// What a smuggler wants to be taken for a request of its own. It comes after the bytes of each case that must be refused.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

struct Stand {
    gateway: Mainstay,
    listen: std::net::SocketAddr,
    backend: Scripted,
}

fn strict_backend() -> Scripted {
    Scripted::start(|mut exchange: Exchange| {
        while let Some((head, body)) = exchange.request() {
            exchange.note(format!("WHOLE {} trailers {:?}", head.line, body.trailers));
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    })
}

fn stand(listener: &str) -> Stand {
    let (listen, backend) = (free(), strict_backend());
    let config = simple(listen, &[backend.address()], "health = \"off\"\noutlier = \"off\"");
    let config = config.replacen("name = \"web\"\n", &format!("name = \"web\"\n{listener}\n"), 1);
    Stand { gateway: Mainstay::start(&config), listen, backend }
}

impl Stand {
    fn run(&mut self, cases: &[Case], cut: bool) {
        let mut wrong = Vec::new();
        for (name, bytes, verdict) in cases {
            if let Err(what) = self.case(bytes, *verdict, cut) {
                wrong.push(format!("{name}: {what} (verdict {verdict:?})"));
            }
        }
        assert!(self.gateway.process().is_running(), "the gateway is gone");
        assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    }

    fn case(&self, bytes: &[u8], verdict: Verdict, cut: bool) -> Result<(), String> {
        self.backend.forget();
        let mut wire = Wire::try_connect(self.listen, Duration::from_secs(3)).map_err(|broken| broken.to_string())?;
        let smuggle = matches!(verdict, Verdict::Refused(..) | Verdict::NeverWhole) && !cut;
        let sent = if smuggle { [bytes, SMUGGLED].concat() } else { bytes.to_vec() };
        wire.send(&sent).map_err(|error| error.to_string())?;
        if cut {
            wire.finish();
        }
        let answer = wire.response();
        let verdict = self.judge(verdict, answer, &mut wire, cut);
        self.backend_is_unharmed()?;
        verdict
    }

    fn judge(
        &self,
        verdict: Verdict,
        answer: Result<mainstay_e2e::wire::Response, Broken>,
        wire: &mut Wire,
        cut: bool,
    ) -> Result<(), String> {
        let seen = self.backend.seen();
        let whole = seen.iter().filter(|note| note.starts_with("WHOLE")).count();
        match verdict {
            Verdict::Refused(status, reasons) => {
                let response = answer.map_err(|broken| format!("no answer: {broken}"))?;
                let known = reasons.split('|').any(|reason| response.reason() == reason);
                if response.status != status || !known {
                    return Err(format!("answered {} {:?}", response.status, response.reason()));
                }
                closes(wire)?;
                if seen.is_empty() { Ok(()) } else { Err(format!("the backend saw {seen:?}")) }
            }
            Verdict::Forwarded(line) => {
                let response = answer.map_err(|broken| format!("no answer: {broken}"))?;
                let expected = format!("WHOLE {line} ");
                let arrived = seen.iter().any(|note| note.starts_with(&expected));
                if response.status == 200 && arrived && whole == 1 {
                    return Ok(());
                }
                Err(format!("answered {} {:?}, the backend saw {seen:?}", response.status, response.reason()))
            }
            Verdict::Either => match answer {
                Ok(response) if response.status == 200 => Ok(()),
                Ok(response) if (400..=417).contains(&response.status) || [501, 505].contains(&response.status) => {
                    if whole == 0 {
                        closes(wire)
                    } else {
                        Err(format!("refused, and the backend saw {seen:?}"))
                    }
                }
                Ok(response) => Err(format!("answered {} {:?}", response.status, response.reason())),
                Err(Broken::Closed | Broken::Reset) if cut => Ok(()),
                Err(broken) => Err(format!("no answer: {broken}")),
            },
            Verdict::NeverWhole => {
                if whole > 0 {
                    return Err(format!("the backend saw {seen:?}"));
                }
                match answer {
                    Ok(response) if (400..=499).contains(&response.status) => closes(wire),
                    Ok(response) => Err(format!("answered {} {:?}", response.status, response.reason())),
                    Err(Broken::Closed | Broken::Reset) => Ok(()),
                    Err(broken) => Err(format!("not closed: {broken}")),
                }
            }
        }
    }

    /// After every case: nothing malformed or smuggled arrived, and the next request is served.
    fn backend_is_unharmed(&self) -> Result<(), String> {
        let mut wire = Wire::try_connect(self.listen, Duration::from_secs(3)).map_err(|broken| broken.to_string())?;
        wire.send("GET /after HTTP/1.1\r\nHost: a\r\n\r\n").map_err(|error| error.to_string())?;
        let after = wire.response().map_err(|broken| format!("does not serve afterwards: {broken}"))?;
        if after.status != 200 {
            return Err(format!("answers {} {:?} afterwards", after.status, after.reason()));
        }
        let seen = self.backend.seen();
        let bad = seen.iter().find(|note| note.contains("MALFORMED") || note.contains("/smuggled"));
        bad.map_or(Ok(()), |note| Err(format!("reached the backend: {note}")))
    }
}

/// After a refusal the connection ends, and nothing of what came behind it was answered.
fn closes(wire: &mut Wire) -> Result<(), String> {
    match wire.rest() {
        Ok(rest) if rest.is_empty() => Ok(()),
        Err(Broken::Reset) => Ok(()),
        Ok(rest) => Err(format!("more after the refusal: {:?}", String::from_utf8_lossy(&rest))),
        Err(broken) => Err(format!("not closed after the refusal: {broken}")),
    }
}

#[test]
fn framing() {
    stand("").run(requests::FRAMINGS, false);
}

#[test]
fn heads() {
    stand("").run(requests::HEADS, false);
}

#[test]
fn bodies() {
    let mut stand = stand("");
    stand.run(requests::BODIES, false);
    stand.run(requests::CUT, true);
}

#[test]
fn there_are_at_least_sixty_cases() {
    let all = [requests::FRAMINGS, requests::HEADS, requests::BODIES, requests::CUT];
    assert!(all.iter().map(|cases| cases.len()).sum::<usize>() >= 60);
}

#[test]
fn limits_of_a_head() {
    let stand = stand("max_head = \"8KiB\"\nmax_headers = 20");
    let answer = |request: String| {
        let mut wire = Wire::connect(stand.listen);
        // The gateway may answer and close before it has taken everything.
        let _refused_early = wire.send(request);
        let response = wire.response().expect("an answer");
        (response.status, response.reason().to_owned())
    };
    let long = "a".repeat(9_000);
    let (line, header) = (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), "X-Long: ".to_owned() + &long);
    assert_eq!(answer(line), (414, "target-too-long".to_owned()));
    assert_eq!(answer(format!("GET / HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n")), (431, "head-too-large".to_owned()));
    let many = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-Many: 1\r\n".repeat(count));
    assert_eq!(answer(many(20)), (431, "head-too-large".to_owned()));
    assert_eq!(answer(many(18)).0, 200);
    // A head that never ends is cut at the limit too, and not held until it times out.
    let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "b".repeat(20_000));
    assert_eq!(answer(endless), (431, "head-too-large".to_owned()));
    assert!(stand.backend.seen().len() <= 2, "{:?}", stand.backend.seen());
}

/// Fuzzing once found a path of 400 bytes that took ten seconds.
#[test]
fn no_head_within_the_limits_is_expensive() {
    let stand = stand("");
    for unit in ["%2fa", "%5ca", "/%2f", "..%2f", "%2e%2e%2e%2f", "%", "/./", "//", "a/../"] {
        let path = unit.repeat(60_000 / unit.len());
        let begun = Instant::now();
        let mut wire = Wire::connect(stand.listen);
        let _refused_early = wire.send(format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = wire.response().unwrap_or_else(|broken| panic!("{unit}: {broken}"));
        assert!(matches!(response.status, 200 | 400), "{unit}: {}", response.status);
        assert!(begun.elapsed() < Duration::from_secs(2), "{unit}: {:?}", begun.elapsed());
    }
    for field in ["Cookie: a=b; ", "X-Forwarded-For: 1.2.3.4, ", "Connection: a, ", "Via: 1.1 a, "] {
        let (name, unit) = field.split_once(": ").expect("a field");
        let value = unit.repeat(60_000 / unit.len());
        let begun = Instant::now();
        let mut wire = Wire::connect(stand.listen);
        wire.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: {value}\r\n\r\n")).expect("sent");
        assert!(wire.response().is_ok(), "{name}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{name}: {:?}", begun.elapsed());
    }
}

#[test]
fn limits_of_chunk_extensions_and_trailers() {
    let stand = stand("");
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for hostile in [
        format!("{head}5;{}", "e".repeat(1_000_000)),
        format!("{head}5\r\nhello\r\n0\r\nX: {}", "t".repeat(1_000_000)),
        format!("{head}5\r\nhello\r\n0\r\n{}", "X: 1\r\n".repeat(100_000)),
    ] {
        let mut wire = Wire::connect(stand.listen);
        let _refused_early = wire.send(hostile);
        match wire.response() {
            Ok(response) => assert!((400..500).contains(&response.status), "{}", response.status),
            Err(broken) => assert!(matches!(broken, Broken::Closed | Broken::Reset), "{broken}"),
        }
        assert_eq!(stand.backend_is_unharmed(), Ok(()));
    }
    assert!(!stand.backend.seen().iter().any(|note| note.starts_with("WHOLE POST")));
}

#[test]
fn a_trailer_cannot_change_framing_routing_or_identity() {
    let stand = stand("");
    let trailers = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: b\r\nAuthorization: x\r\nX-Forwarded-For: 1.2.3.4\r\n\
                    Connection: close\r\nx-sum: 7\r\n";
    let mut wire = Wire::connect(stand.listen);
    let response = wire.exchange(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{trailers}\r\n"
    ));
    assert_eq!(response.status, 200);
    let seen = stand.backend.seen().join("\n").to_lowercase();
    assert!(seen.contains("x-sum"), "{seen}");
    for name in ["content-length", "transfer-encoding", "host", "authorization", "x-forwarded-for", "connection"] {
        assert!(!seen.contains(name), "{name} in {seen}");
    }
}

#[test]
fn a_slow_head_is_answered_408() {
    let stand = stand("head_timeout = \"1s\"\nkeep_alive_timeout = \"2s\"");
    let begun = Instant::now();
    let mut slow = Wire::connect(stand.listen);
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: 123456789".chunks(1).take(30) {
        if slow.send(byte).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        if begun.elapsed() > Duration::from_millis(1_800) {
            break;
        }
    }
    let response = slow.response().expect("an answer");
    assert_eq!((response.status, response.reason()), (408, "head-timeout"));
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    // A connection that says nothing at all is closed without an answer, and a kept one after its own limit.
    let mut silent = Wire::connect(stand.listen);
    let mut kept = Wire::connect(stand.listen);
    assert_eq!(kept.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    assert!(kept.is_closed());
    match silent.response() {
        Err(Broken::Closed) => {}
        Ok(response) => assert_eq!(response.status, 408),
        Err(broken) => panic!("{broken}"),
    }
}

#[test]
fn a_thousand_hostile_connections_leave_nothing_behind() {
    let mut stand = stand("head_timeout = \"1s\"");
    let before = stand.gateway.process().resident_bytes();
    for round in 0..10 {
        let wires: Vec<Wire> = (0..100)
            .map(|index| {
                let mut wire = Wire::connect(stand.listen);
                let part =
                    &b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"[..(index * 7 + round) % 53];
                wire.send(part).expect("sent");
                wire
            })
            .collect();
        drop(wires);
    }
    mainstay_e2e::eventually("all connections are closed", Duration::from_secs(20), || {
        let open = stand.gateway.metric("mainstay_listener_connections", &[]);
        open <= 1.0
    });
    assert_eq!(stand.backend_is_unharmed(), Ok(()));
    let after = stand.gateway.process().resident_bytes();
    assert!(after < before + 32 * 1024 * 1024, "{before} -> {after}");
}
