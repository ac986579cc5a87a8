//! Logins by an OpenID Connect provider, against a real one that the test starts, and what an attacker could send in its place.

#[path = "oidc/encrypted.rs"]
mod encrypted;

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use mainstay_e2e::gateway::simple;
use mainstay_e2e::tls::Client;
use mainstay_e2e::wire::Response;
use mainstay_e2e::{Mainstay, Origin, Wire, free, tools};
use serde_json::{Value, json};

use super::{said, with_line};

const SECRET: &str = "a-secret-of-the-client-that-nobody-may-see";
const CALLBACK: &str = "/api/v1/session/oidc/callback";

/// The provider's process.
struct Provider {
    child: Child,
    at: SocketAddr,
    issuer: String,
    /// Kept open: whoever writes into a pipe that nobody reads from is ended.
    _output: BufReader<ChildStdout>,
}

impl Provider {
    fn start(callback: &str) -> Self {
        Self::start_with("http", callback, &[])
    }

    /// `files`: its certificate and the key, if it speaks TLS. It has read them when this returns.
    fn start_with(scheme: &str, callback: &str, files: &[String]) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../oidc");
        assert!(folder.join("node_modules/oidc-provider").is_dir(), "run `npm ci` in tests/oidc, as `make test` does");
        let at = free();
        let mut command = Command::new(tools::find("node", "nodejs"));
        let issuer = format!("{scheme}://{at}");
        command.args(["provider.mjs", &issuer, callback]).args(files).current_dir(folder);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("node runs");
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let mut first = String::new();
        let _read = output.read_line(&mut first);
        let provider = Self { child, at, issuer, _output: output };
        assert_eq!(first.trim(), "listening", "the provider has not started");
        provider
    }

    /// Has the next token changed.
    fn warp(&self, how: &str) {
        let answer = Wire::connect(self.at).exchange(super::request("POST", &format!("/warp/{how}"), "", ""));
        assert_eq!(answer.status, 200);
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// As much of a browser as forms and redirections need.
struct Browser {
    from: IpAddr,
    /// Authorities that it believes.
    trust: Vec<String>,
    /// Whose, for which paths, name and value.
    jar: Vec<(SocketAddr, String, String, String)>,
}

impl Browser {
    /// Each is another client, so that the failures of one test do not count for the next.
    fn new(last: u8) -> Self {
        Self { from: Ipv4Addr::new(127, 99, 0, last).into(), trust: Vec::new(), jar: Vec::new() }
    }

    fn ask(&mut self, url: &str, method: &str, body: &str) -> Response {
        let (address, path) = parts(url);
        let mine = |it: &&(SocketAddr, String, String, String)| it.0 == address && path.starts_with(&it.1);
        let cookies: Vec<String> = self.jar.iter().filter(mine).map(|it| format!("{}={}", it.2, it.3)).collect();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nCookie: {}\r\nSec-Fetch-Site: cross-site\r\n\
             Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nAccept: text/html\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            cookies.join("; "),
            body.len()
        );
        let response = if url.starts_with("https:") {
            let client = Client { trust: self.trust.clone(), ..Client::default() };
            client.connect(address, &address.ip().to_string()).expect("the provider's certificate").exchange(text)
        } else {
            Wire::connect_from(self.from, address).exchange(text)
        };
        for (name, value) in &response.head.headers {
            if name.eq_ignore_ascii_case("set-cookie") {
                self.keep(address, value);
            }
        }
        response
    }

    fn keep(&mut self, address: SocketAddr, said: &str) {
        let mut parts = said.split(';').map(str::trim);
        let (name, value) = parts.next().and_then(|it| it.split_once('=')).expect("a cookie");
        let path = parts.find_map(|it| it.to_ascii_lowercase().starts_with("path=").then(|| it[5..].to_owned()));
        self.jar.retain(|it| !(it.0 == address && it.2 == name));
        if !value.is_empty() {
            self.jar.push((address, path.unwrap_or_else(|| "/".to_owned()), name.to_owned(), value.to_owned()));
        }
    }

    fn cookie(&self, name: &str) -> Option<String> {
        self.jar.iter().find(|it| it.2 == name).map(|it| it.3.clone())
    }

    /// Follows redirections up to a page, or up to the address that leads back to the node, which is not opened.
    fn follow(&mut self, url: &str, method: &str, body: &str) -> Result<Response, String> {
        let (mut url, mut response) = (url.to_owned(), self.ask(url, method, body));
        for _hop in 0..12 {
            let Some(next) = response.header("location") else { return Ok(response) };
            let scheme = url.split("://").next().unwrap_or_default();
            url =
                if next.starts_with("http") { next.to_owned() } else { format!("{scheme}://{}{next}", parts(&url).0) };
            if parts(&url).1.starts_with(CALLBACK) {
                return Err(url);
            }
            response = self.ask(&url, "GET", "");
        }
        panic!("redirected for ever: {url}");
    }

    /// Logs in at the provider, and answers where that leads back to.
    fn log_in(&mut self, node: SocketAddr, user: &str) -> String {
        let mut page = self.follow(&format!("http://{node}/api/v1/session/oidc"), "GET", "").expect("a form");
        for body in [format!("prompt=login&login={user}&password=x"), "prompt=consent".to_owned()] {
            assert_eq!(page.status, 200, "{}", page.text());
            let text = page.text();
            let action = text.split("action=\"").nth(1).and_then(|it| it.split('"').next()).expect("a form");
            match self.follow(action, "POST", &body) {
                Ok(next) => page = next,
                Err(back) => return back,
            }
        }
        panic!("not led back: {}", page.text());
    }
}

fn parts(url: &str) -> (SocketAddr, String) {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let rest = rest.unwrap_or_else(|| panic!("{url}"));
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    (address.parse().unwrap_or_else(|_| panic!("{url}")), format!("/{path}"))
}

fn config(origin: SocketAddr, issuer: &str, node: SocketAddr) -> String {
    format!(
        "[access]\n[access.oidc]\nname = \"Test ID\"\nissuer = \"{issuer}\"\nclient_id = \"mainstay\"\n\
         client_secret = {{ file = \"oidc.secret\" }}\nexternal_url = \"http://{node}\"\nscopes = [\"profile\", \"groups\"]\n\
         [[access.oidc.group]]\nname = \"staff\"\nrole = \"viewer\"\n\
         [[access.oidc.group]]\nname = \"sre\"\nrole = \"operator\"\nservices = [\"app\"]\n{}",
        simple(free(), &[origin], "")
    )
}

/// A node whose provider is what `start` makes for the address that leads back to it.
fn node<T>(start: impl FnOnce(&str) -> (T, String)) -> (Mainstay, T, Origin) {
    let origin = Origin::start();
    let without = format!("[access]\n{}", simple(free(), &[origin.address()], ""));
    // The address of the admin interface is known once the node has been started.
    let mut gateway = Mainstay::start_with("data_dir = \"data\"", &without);
    let (provider, issuer) = start(&format!("http://{}{CALLBACK}", gateway.admin_address()));
    std::fs::write(gateway.dir().join("oidc.secret"), format!("{SECRET}\n")).expect("written");
    gateway.write_config(&config(origin.address(), &issuer, gateway.admin_address()));
    gateway.kill_and_restart();
    (gateway, provider, origin)
}

fn with_provider() -> (Mainstay, Provider, Origin) {
    node(|callback| {
        let provider = Provider::start(callback);
        let issuer = provider.issuer.clone();
        (provider, issuer)
    })
}

#[test]
fn somebody_whom_the_provider_knows_gets_the_role_of_their_groups() {
    let (gateway, _provider, origin) = with_provider();
    let at = gateway.admin_address();
    let ways = super::ask(at, "GET", "/api/v1/session", "", "").json()["login"].clone();
    assert_eq!(ways["oidc"], json!({"name": "Test ID", "url": "/api/v1/session/oidc"}), "{ways}");
    let mut browser = Browser::new(1);
    let back = browser.log_in(at, "jane");
    let state = browser.cookie("mainstay_oidc").expect("a cookie while the login is under way");
    let welcome = browser.ask(&format!("{back}&next=https://evil.example"), "GET", "");
    assert_eq!(welcome.status, 200, "{}", welcome.text());
    assert!(welcome.header("location").is_none() && !welcome.text().contains("evil.example"), "{}", welcome.text());
    assert_eq!(browser.cookie("mainstay_oidc"), None, "taken away");
    let session = browser.cookie("mainstay_session").expect("a session");
    let headers = welcome.head.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    let set: Vec<&String> = headers.map(|(_, value)| value).filter(|it| it.starts_with("mainstay_session")).collect();
    assert!(set[0].contains("HttpOnly") && set[0].contains("SameSite=Strict"), "{set:?}");
    let cookie = format!("Cookie: mainstay_session={session}\r\n");
    let who = super::ask(at, "GET", "/api/v1/session", &cookie, "").json();
    let told = json!({"user": who["user"], "role": who["role"], "via": who["via"], "services": who["services"]});
    assert_eq!(told, json!({"user": "oidc jane", "role": "operator", "via": "session", "services": ["app"]}));
    let drain = |service: &str, headers: &str| {
        let body = json!({"service": service, "endpoint": origin.address().to_string(), "drain": false}).to_string();
        super::ask(at, "POST", "/api/v1/drain", headers, &body).status
    };
    let word = format!("{cookie}x-mainstay-csrf: {}\r\n", who["csrf"].as_str().expect("a word"));
    assert_eq!((drain("app", &cookie), drain("app", &word), drain("pay", &word)), (403, 200, 403));

    let mut other = Browser::new(2);
    let back_of_mallory = other.log_in(at, "mallory");
    let refused = other.ask(&back_of_mallory, "GET", "");
    assert_eq!((refused.status, other.cookie("mainstay_session")), (403, None));
    assert!(refused.text().contains("`mallory` is in no group that has a role here"), "{}", refused.text());

    let trail = said(&gateway.command(&["audit-log", "export"]));
    let lines: Vec<Value> = trail.lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
    let of = |user: &str, outcome: &str, action: &str| {
        lines.iter().any(|line| line["user"] == user && line["outcome"] == outcome && line["action"] == action)
    };
    let login = format!("GET {CALLBACK}");
    assert!(of("oidc jane", "done", &login) && of("oidc jane", "done", "POST /api/v1/drain"), "{trail}");
    assert!(of("oidc mallory", "refused", &login) && of("oidc jane", "refused", "POST /api/v1/drain"), "{trail}");
    let code = back.split("code=").nth(1).and_then(|it| it.split('&').next()).expect("a code").to_owned();
    let mut seen = trail + &gateway.stderr();
    for file in super::walk(&gateway.dir().join("data")) {
        seen += &String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default());
    }
    for (what, secret) in [("secret", SECRET), ("code", &code), ("cookie", &session), ("state's cookie", &state)] {
        assert!(!seen.contains(secret), "the {what} was written somewhere");
    }
    assert_eq!(super::ask(at, "DELETE", "/api/v1/session", &word, "").status, 200);
    assert_eq!(drain("app", &word), 401, "after the logout");
}

/// Cookies of another site's redirection are kept back or sent as a real browser does it.
#[test]
fn a_real_browser_signs_in_by_the_button_of_the_login_page() {
    let (gateway, _provider, _origin) = with_provider();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../dashboard");
    assert!(folder.join("node_modules/playwright-core").is_dir(), "run `make dashboard`");
    let mut command = Command::new(tools::find("node", "nodejs"));
    command.args(["tests/oidc.mjs", &format!("http://{}", gateway.admin_address()), "vera"]).current_dir(folder);
    let output = command.env("CHROMIUM", tools::find("chromium", "chromium")).output().expect("node runs");
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn what_an_attacker_sends_opens_no_session() {
    let (gateway, provider, _origin) = with_provider();
    let at = gateway.admin_address();
    let kinds = [
        ("nonce", "(nonce)"),
        ("audience", "(aud)"),
        ("audiences", "(aud)"),
        ("party", "(azp)"),
        ("issuer", "(iss)"),
        ("expired", "(exp, iat)"),
        ("future", "(exp, iat)"),
        ("none", "(alg)"),
        ("secret", "(alg)"),
        ("forged", "its signature is wrong"),
        ("payload", "its signature is wrong"),
        ("stranger", "no such key"),
    ];
    for (client, (how, why)) in (10..).zip(kinds) {
        let mut browser = Browser::new(client);
        let back = browser.log_in(at, "jane");
        provider.warp(how);
        let refused = browser.ask(&back, "GET", "");
        assert_eq!((refused.status, browser.cookie("mainstay_session")), (400, None), "{how}: {}", refused.text());
        assert!(refused.text().contains(why), "{how}: {}", refused.text());
    }

    // What comes back through the browser, changed on the way. Each login can be ended once.
    let issuer = format!("http%3A%2F%2F{}%3A{}", provider.at.ip(), provider.at.port());
    let named = format!("iss={issuer}");
    let changes = [
        ("(state)", "state=", "state=x"),
        ("(iss)", issuer.as_str(), "https%3A%2F%2Fevil.example"),
        ("(iss)", named.as_str(), "x=y"),
        ("no code", "code=", "cod="),
    ];
    for (client, (why, from, to)) in (30..).zip(changes) {
        let mut browser = Browser::new(client);
        let back = browser.log_in(at, "jane");
        let changed = back.replace(from, to);
        assert_ne!(changed, back);
        let refused = browser.ask(&changed, "GET", "");
        assert_eq!((refused.status, browser.cookie("mainstay_session")), (400, None), "{why}: {}", refused.text());
        assert!(refused.text().contains(why), "{}", refused.text());
        let again = browser.ask(&back, "GET", "");
        assert_eq!((again.status, browser.cookie("mainstay_session")), (400, None), "once: {}", again.text());
    }

    // The answer to a login that was begun in another browser, and a code that somebody else has got.
    let (mut victim, mut attacker) = (Browser::new(40), Browser::new(41));
    let back = attacker.log_in(at, "jane");
    assert_eq!((victim.ask(&back, "GET", "").status, victim.cookie("mainstay_session")), (400, None));
    let own = victim.log_in(at, "vera");
    let part = |url: &str, name: &str| {
        url.split(['?', '&']).find_map(|it| it.strip_prefix(name)).expect("a part of the address").to_owned()
    };
    let injected = own.replace(&part(&own, "code="), &part(&back, "code="));
    let refused = victim.ask(&injected, "GET", "");
    assert_eq!((refused.status, victim.cookie("mainstay_session")), (403, None), "{}", refused.text());
    assert!(refused.text().contains("invalid_grant"), "{}", refused.text());

    guess(&gateway);

    // The control: without any of this, the same browser gets in.
    let back = victim.log_in_again(at);
    let opened = victim.ask(&back, "GET", "");
    assert_eq!((opened.status, victim.cookie("mainstay_session").is_some()), (200, true), "{}", opened.text());
}

/// A client that fails too often has to wait, and the trail holds some of it, not all.
fn guess(gateway: &Mainstay) {
    let at = gateway.admin_address();
    let mut guesser = Browser::new(50);
    let statuses: Vec<u16> =
        (0..40).map(|_try| guesser.ask(&format!("http://{at}{CALLBACK}?code=x&state=y"), "GET", "").status).collect();
    assert!(statuses.starts_with(&[400, 400]) && statuses.ends_with(&[429, 429]), "{statuses:?}");
    let trail = said(&gateway.command(&["audit-log", "export"]));
    let refusals = trail.lines().filter(|line| line.contains("\"outcome\":\"refused\"")).count();
    assert!((10..=30).contains(&refusals), "{refusals} of some 40: {trail}");
    assert!(gateway.command(&["audit-log", "verify"]).status.success());
}

impl Browser {
    /// The provider still knows who it is, and leads straight back.
    fn log_in_again(&mut self, node: SocketAddr) -> String {
        let led = self.follow(&format!("http://{node}/api/v1/session/oidc"), "GET", "");
        led.expect_err("led back")
    }
}

#[test]
fn a_provider_that_does_not_answer_holds_nobody_else_up() {
    // It takes connections and says nothing.
    let (gateway, silent, _origin) = node(|_callback| {
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let issuer = format!("http://{}", silent.local_addr().expect("its address"));
        (silent, issuer)
    });
    let at = gateway.admin_address();
    let added = with_line(&gateway, &["access", "user", "add", "jane", "--role", "viewer"], "correct horse battery");
    assert!(added.status.success(), "{}", said(&added));
    let waits =
        std::thread::spawn(move || Browser::new(60).ask(&format!("http://{at}/api/v1/session/oidc"), "GET", ""));
    let _asked = silent.accept().expect("the node asks");
    let body = json!({"user": "jane", "password": "correct horse battery"}).to_string();
    assert_eq!(super::ask(at, "POST", "/api/v1/session", "", &body).status, 200);
    let refused = waits.join().expect("an answer");
    assert_eq!(refused.status, 502, "{}", refused.text());
    assert!(!refused.text().contains(&silent.local_addr().expect("its address").to_string()), "{}", refused.text());
    // For a while it is not asked again, and says so at once.
    silent.set_nonblocking(true).expect("set");
    assert_eq!(Browser::new(61).ask(&format!("http://{at}/api/v1/session/oidc"), "GET", "").status, 502);
    mainstay_e2e::eventually("the log says which provider", Duration::from_secs(60), || {
        gateway.stderr().contains(".well-known/openid-configuration")
    });
}
