//! What Debian's Pebble does not have, in front of it: ACME Renewal Information (RFC 9773).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use mainstay_core::timestamp::rfc3339;
use mainstay_e2e::http::{Body, Head};
use mainstay_e2e::scripted::{Exchange, Scripted};
use mainstay_e2e::tls::Client;
use mainstay_e2e::{Mainstay, free};
use serde_json::{Value, json};

use super::pebble::Pebble;

/// What is said of a certificate to whoever asks when it is to be renewed.
#[derive(Clone, Copy, Debug)]
pub enum Says {
    /// Between so many seconds from now and so many.
    Within(i64, i64),
    /// Nothing but a status.
    Status(u16),
}

/// What it does, and what it was asked.
#[derive(Debug)]
struct Script {
    /// The last one is said from then on.
    says: VecDeque<Says>,
    /// Whether orders that replace a certificate are refused.
    refuses: bool,
    asked: Vec<String>,
    /// What each order replaces.
    orders: Vec<Option<String>>,
}

/// A Pebble that knows when certificates are to be renewed.
pub struct Advisor {
    script: Arc<Mutex<Script>>,
    listen: SocketAddr,
    pebble: SocketAddr,
    _tls: Mainstay,
    _plain: Scripted,
}

impl Advisor {
    /// Puts it in front of `pebble`.
    pub fn start(pebble: &Pebble, says: &[Says], refuses: bool) -> Self {
        let script = Script { says: says.iter().copied().collect(), refuses, asked: Vec::new(), orders: Vec::new() };
        let (script, listen) = (Arc::new(Mutex::new(script)), free());
        let (known, at, trust) = (Arc::clone(&script), pebble.listen, pebble.front.pem());
        let plain = Scripted::start(move |mut exchange: Exchange| {
            while let Some((head, body)) = exchange.request() {
                let answer = answered(&mut known.lock().expect("no thread panics with the lock"), listen, &head, &body);
                let answer = answer.unwrap_or_else(|| passed(&known, listen, at, &trust, &head, &body));
                exchange.send(answer);
            }
        });
        let config = format!(
            "[[listener]]\nname = \"front\"\nbind = \"{listen}\"\ntls = {{ cert = \"front.pem\", key = \"front.key\" }}\n\
             [[service]]\nname = \"authority\"\nendpoints = [\"{}\"]\n",
            plain.address()
        );
        let identity = pebble.front.issue(&["localhost", &listen.ip().to_string()]);
        let mut tls = Mainstay::launch("", &config, &[("front.pem", &identity.cert), ("front.key", &identity.key)]);
        tls.wait_until_ready();
        Self { script, listen, pebble: at, _tls: tls, _plain: plain }
    }

    /// Says this from now on.
    pub fn say(&self, says: Says) {
        self.script().says = VecDeque::from([says]);
    }

    /// The certificates that it was asked of.
    pub fn asked(&self) -> Vec<String> {
        self.script().asked.clone()
    }

    /// What each order replaces.
    pub fn orders(&self) -> Vec<Option<String>> {
        self.script().orders.clone()
    }

    /// A configuration of an `[[acme]]` that orders through it.
    pub fn through(&self, acme: &str) -> String {
        acme.replace(&self.pebble.to_string(), &self.listen.to_string())
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no thread panics with the lock")
    }
}

/// What Pebble has no answer to.
fn answered(script: &mut Script, listen: SocketAddr, head: &Head, body: &Body) -> Option<Vec<u8>> {
    let path = head.line.split(' ').nth(1).unwrap_or_default();
    if let Some(certificate) = path.strip_prefix("/renewal-info/") {
        script.asked.push(certificate.to_owned());
        let says = if script.says.len() > 1 { script.says.pop_front() } else { script.says.front().copied() };
        return Some(match says.expect("something to say") {
            Says::Status(status) => response(status, "", &json!({ "type": "about:blank" })),
            Says::Within(start, end) => {
                let page = format!("https://{listen}/why");
                let window = json!({ "start": at(start), "end": at(end) });
                response(200, "Retry-After: 1\r\n", &json!({ "suggestedWindow": window, "explanationURL": page }))
            }
        });
    }
    if path != "/order-plz" {
        return None;
    }
    let replaced = replaced(body);
    let is_refused = script.refuses && replaced.is_some();
    script.orders.push(replaced);
    let problem = json!({ "type": "urn:ietf:params:acme:error:alreadyReplaced", "detail": "somebody else did" });
    is_refused.then(|| response(409, "", &problem))
}

/// The certificate that an order replaces, as it says.
fn replaced(body: &Body) -> Option<String> {
    let message: Value = serde_json::from_slice(&body.bytes).expect("a signed message");
    let payload = BASE64_URL_SAFE_NO_PAD.decode(message["payload"].as_str().expect("a payload")).expect("base64url");
    let payload: Value = serde_json::from_slice(&payload).expect("an order");
    payload["replaces"].as_str().map(str::to_owned)
}

/// What Pebble answers, with what it does not know of.
fn passed(
    script: &Mutex<Script>,
    listen: SocketAddr,
    pebble: SocketAddr,
    trust: &str,
    head: &Head,
    body: &Body,
) -> Vec<u8> {
    let kept = |(name, _value): &&(String, String)| {
        !["connection", "transfer-encoding", "content-length"].contains(&name.to_ascii_lowercase().as_str())
    };
    let lines = |head: &Head| -> String {
        head.headers.iter().filter(kept).map(|(name, value)| format!("{name}: {value}\r\n")).collect()
    };
    let client = Client { trust: vec![trust.to_owned()], ..Client::default() };
    let mut wire = client.connect(pebble, "localhost").expect("pebble");
    let length = body.bytes.len();
    let text = format!("{}\r\n{}Connection: close\r\nContent-Length: {length}\r\n\r\n", head.line, lines(head));
    let answer = wire.exchange([text.as_bytes(), &body.bytes].concat());
    let Ok(mut said) = serde_json::from_slice::<Value>(&answer.body.bytes) else {
        return with_length(answer.status, &lines(&answer.head), &answer.body.bytes);
    };
    let path = head.line.split(' ').nth(1).unwrap_or_default();
    if path == "/dir" {
        said["renewalInfo"] = json!(format!("https://{listen}/renewal-info"));
    } else if path == "/order-plz" && answer.status == 201 {
        let script = script.lock().expect("no thread panics with the lock");
        said["replaces"] = json!(script.orders.last().cloned().flatten());
    }
    with_length(answer.status, &lines(&answer.head), said.to_string().as_bytes())
}

fn response(status: u16, lines: &str, body: &Value) -> Vec<u8> {
    with_length(status, &format!("Content-Type: application/json\r\n{lines}"), body.to_string().as_bytes())
}

fn with_length(status: u16, lines: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} Said\r\n{lines}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// So many seconds from now.
fn at(seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let then = now.as_millis() as i64 + seconds * 1000;
    rfc3339(u64::try_from(then).expect("after 1970"))
}
