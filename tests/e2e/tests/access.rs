//! Who may do what at the admin interface: every endpoint with every kind of credentials, logins, and the audit trail.

#[path = "access/fuzzed.rs"]
mod fuzzed;
#[path = "access/oidc.rs"]
mod oidc;
#[path = "access/shared.rs"]
mod shared;
#[path = "access/versions.rs"]
mod versions;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use mainstay_e2e::gateway::{built, simple};
use mainstay_e2e::wire::Response;
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free};
use serde_json::{Value, json};

/// A node that asks for tokens, with an endpoint that answers.
fn node() -> (Mainstay, Origin) {
    let origin = Origin::start();
    let config = format!("[access]\n{}", simple(free(), &[origin.address()], ""));
    (Mainstay::start_with("data_dir = \"data\"", &config), origin)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn token(gateway: &Mainstay, arguments: &[&str]) -> String {
    let arguments = [&["access", "token", "create", "--json"], arguments].concat();
    let made: Value = serde_json::from_slice(&gateway.command(&arguments).stdout).expect("a token as JSON");
    made["token"].as_str().expect("a token").to_owned()
}

/// Runs a command with a line on its standard input.
fn with_line(gateway: &Mainstay, arguments: &[&str], line: &str) -> Output {
    let mut command = Command::new(built("mainstay"));
    command.args(arguments).arg("--admin").arg(gateway.dir().join("admin.sock"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command");
    child.stdin.take().expect("piped").write_all(format!("{line}\n").as_bytes()).expect("written");
    child.wait_with_output().expect("its output")
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn ask(to: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Response {
    Wire::connect(to).exchange(request(method, path, headers, body))
}

/// The status of the answer alone: a stream of events would never be over.
fn status(mut connection: impl Read + Write, request: &str) -> u16 {
    connection.write_all(request.as_bytes()).expect("written");
    let mut line = [0; 12];
    connection.read_exact(&mut line).expect("an answer");
    let status = line.strip_prefix(b"HTTP/1.1 ").and_then(|it| std::str::from_utf8(it).ok()?.parse().ok());
    status.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(&line)))
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn get(gateway: &Mainstay, path: &str, token: &str) -> Response {
    ask(gateway.admin_address(), "GET", path, &bearer(token), "")
}

/// Method, path and least role of every operation that the node describes.
fn operations(gateway: &Mainstay) -> Vec<(String, String, String, bool)> {
    let document = gateway.admin("/api/v1/openapi.json").json();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let least = operation["x-role"].as_str().expect("a role").to_owned();
            let path: String = path
                .split('/')
                .map(|part| if part.starts_with('{') { "x" } else { part })
                .collect::<Vec<_>>()
                .join("/");
            found.push((method.to_uppercase(), path, least, operation["x-changes"] == true));
        }
    }
    assert!(found.len() > 20, "{found:?}");
    found
}

#[test]
fn every_endpoint_with_every_kind_of_credentials() {
    let (gateway, _origin) = node();
    let short = token(&gateway, &["short", "--role", "admin", "--for", "1s"]);
    let roles = ["anyone", "viewer", "operator", "admin"];
    let tokens: Vec<String> = roles[1..].iter().map(|role| token(&gateway, &[role, "--role", role])).collect();
    let scoped = token(&gateway, &["scoped", "--role", "admin", "--service", "other"]);
    eventually("the short token has expired", Duration::from_secs(10), || {
        get(&gateway, "/api/v1/status", &short).status == 401
    });
    let at = gateway.admin_address();
    let refused = |status: u16| status == 401 || status == 403;
    for (method, path, least, changes) in operations(&gateway) {
        let name = format!("{method} {path}, least {least}");
        // No handler takes this body for a request, so that what is let through changes nothing.
        let answer = |headers: &str| {
            let connection = TcpStream::connect(at).expect("the admin port");
            connection.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
            status(connection, &request(&method, &path, headers, "!"))
        };
        let needed = roles.iter().position(|role| *role == least).expect("a role");
        // A login with nothing is a login that fails; it is for everybody all the same.
        let is_session = path == "/api/v1/session";
        let nobody = answer("");
        assert_eq!(nobody == 401, needed > 0 || (is_session && method == "GET"), "{name}: {nobody} without a token");
        for (at_role, token) in tokens.iter().enumerate() {
            let found = answer(&bearer(token));
            assert_eq!(refused(found), at_role + 1 < needed, "{name}: {found} as {}", roles[at_role + 1]);
        }
        let found = answer(&bearer(&scoped));
        // Whose scope it may be, a session is their own.
        assert_eq!(found == 403, changes && needed > 0, "{name}: {found} with a scope");
        let socket = UnixStream::connect(gateway.dir().join("admin.sock")).expect("the socket");
        let found = status(socket, &request(&method, &path, "", "!"));
        assert!(!refused(found), "{name}: {found} over the socket");
    }
    assert_eq!(get(&gateway, "/api/v1/status", &short).status, 401, "expired");
}

#[test]
fn a_scope_lets_its_services_be_changed_and_a_revoked_token_nothing() {
    let (gateway, origin) = node();
    let drain = |token: &str, service: &str| {
        let body = json!({"service": service, "endpoint": origin.address().to_string(), "drain": false}).to_string();
        ask(gateway.admin_address(), "POST", "/api/v1/drain", &bearer(token), &body).status
    };
    let own = token(&gateway, &["own", "--role", "operator", "--service", "app"]);
    let other = token(&gateway, &["other", "--role", "operator", "--service", "shop"]);
    assert_eq!((drain(&own, "app"), drain(&own, "shop"), drain(&other, "app")), (200, 403, 403));
    let listed = said(&gateway.command(&["access", "token", "list"]));
    let id = listed.lines().find(|line| line.contains("  own  ")).and_then(|line| line.split_whitespace().next());
    let revoked = gateway.command(&["access", "token", "revoke", id.expect("listed")]);
    assert!(revoked.status.success(), "{}", said(&revoked));
    assert_eq!(drain(&own, "app"), 401);
}

/// A node believes another one who asks, and judges itself what they may.
#[test]
fn what_comes_through_a_node_is_judged_by_the_table_all_the_same() {
    let (gateway, origin) = node();
    let name =
        get(&gateway, "/api/v1/status", &token(&gateway, &["look", "--role", "viewer"])).json()["node"]["name"].clone();
    let below = format!("/api/v1/nodes/{}", name.as_str().expect("a name"));
    let at = gateway.admin_address();
    let [viewer, operator, admin] =
        ["viewer", "operator", "admin"].map(|role| token(&gateway, &[role, "--role", role]));
    let scoped = token(&gateway, &["own", "--role", "operator", "--service", "app"]);
    let password = "never to be seen anywhere";
    let user = json!({"name": "joe", "role": "viewer", "password": password}).to_string();
    let drain = json!({"service": "app", "endpoint": origin.address().to_string(), "drain": false}).to_string();
    let ask = |method: &str, path: &str, token: &str, body: &str| {
        ask(at, method, &format!("{below}{path}"), &bearer(token), body)
    };
    let post = |path: &str, token: &str, body: &str| ask("POST", path, token, body).status;
    assert_eq!(ask("GET", "/status", &viewer, "").status, 200);
    assert_eq!(ask("GET", "/access/users", &viewer, "").status, 403, "what an admin may see");
    let refused = ask("POST", "/access/users", &operator, &user);
    assert_eq!((refused.status, &refused.json()["node"]), (403, &name), "{}", refused.text());
    let drains = [&viewer, &operator, &admin, &scoped].map(|token| post("/drain", token, &drain));
    assert_eq!(drains, [403, 200, 200, 403], "one who may change some services asks the node itself");
    assert_eq!((post("/access/users", &admin, &user), post("/session", &admin, "{}")), (200, 400));
    let listed = said(&gateway.command(&["audit-log", "export"]));
    assert!(listed.contains(&format!("POST {below}/drain")) && listed.contains("POST /api/v1/drain"), "{listed}");
    assert!(!listed.contains(password), "{listed}");
}

#[test]
fn sessions_need_their_word_for_changes_and_end() {
    let (gateway, origin) = node();
    let added = with_line(&gateway, &["access", "user", "add", "jane", "--role", "operator"], "correct horse battery");
    assert!(added.status.success(), "{}", said(&added));
    let at = gateway.admin_address();
    let login = |password: &str| {
        let body = json!({"user": "jane", "password": password}).to_string();
        ask(at, "POST", "/api/v1/session", "", &body)
    };
    assert_eq!(login("wrong horse battery").status, 401);
    let opened = login("correct horse battery");
    assert_eq!(opened.status, 200, "{}", opened.text());
    let cookie = opened.header("set-cookie").expect("a cookie").to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().expect("a value"));
    let csrf = opened.json()["csrf"].as_str().expect("a word").to_owned();
    let body = json!({"service": "app", "endpoint": origin.address().to_string(), "drain": true}).to_string();
    let drain = |headers: &str| ask(at, "POST", "/api/v1/drain", headers, &body).status;
    assert_eq!(drain(&cookie), 403, "without the word");
    assert_eq!(drain(&format!("{cookie}x-mainstay-csrf: {}\r\n", csrf.to_uppercase())), 403, "with another one");
    let word = format!("{cookie}x-mainstay-csrf: {csrf}\r\n");
    assert_eq!(drain(&format!("{word}Origin: http://evil.example\r\n")), 403, "from another site");
    assert_eq!(drain(&word), 200);
    let page = ask(at, "GET", "/api/v1/status", &cookie, "");
    assert_eq!((page.status, page.header("x-frame-options")), (200, Some("DENY")));
    assert!(page.header("content-security-policy").is_some_and(|csp| csp.contains("frame-ancestors 'none'")));
    assert_eq!(ask(at, "DELETE", "/api/v1/session", &word, "").status, 200);
    assert_eq!(drain(&word), 401, "after the logout");
    let again = login("correct horse battery");
    let cookie =
        format!("Cookie: {}\r\n", again.header("set-cookie").and_then(|it| it.split(';').next()).expect("one"));
    assert_eq!(ask(at, "GET", "/api/v1/status", &cookie, "").status, 200);
    let changed = with_line(&gateway, &["access", "user", "password", "jane"], "another long password");
    assert!(changed.status.success(), "{}", said(&changed));
    assert_eq!(ask(at, "GET", "/api/v1/status", &cookie, "").status, 401, "another password ends sessions");
    let statuses: Vec<u16> = (0..12).map(|_try| login("guess after guess").status).collect();
    assert!(statuses.starts_with(&[401, 401]) && statuses.ends_with(&[429]), "{statuses:?}");
    assert_eq!(login("another long password").status, 429, "who guesses does not learn that it was right");
}

#[test]
fn changes_are_written_down_and_secrets_nowhere() {
    let (mut gateway, origin) = node();
    let secret = token(&gateway, &["ci", "--role", "admin"]);
    let at = gateway.admin_address();
    let body = json!({"service": "app", "endpoint": origin.address().to_string(), "drain": true}).to_string();
    assert_eq!(ask(at, "POST", "/api/v1/drain", &bearer(&secret), &body).status, 200);
    let password = "never to be seen anywhere";
    let user = json!({"name": "joe", "role": "viewer", "password": password}).to_string();
    assert_eq!(ask(at, "POST", "/api/v1/access/users", &bearer(&secret), &user).status, 200);
    let in_address = ask(at, "GET", &format!("/api/v1/status?token={secret}"), "", "");
    assert_eq!(in_address.status, 400, "{}", in_address.text());
    let listed = said(&gateway.command(&["audit-log", "list"]));
    assert!(listed.contains("POST /api/v1/drain") && listed.contains("token ci ("), "{listed}");
    let verified = gateway.command(&["audit-log", "verify"]);
    assert!(verified.status.success() && said(&verified).contains("intact: 4 lines"), "{}", said(&verified));
    gateway.kill_and_restart();
    assert_eq!(get(&gateway, "/api/v1/access/users", &secret).json()[0]["name"], "joe", "kept over a restart");
    let folder = gateway.dir().join("data/audit");
    let mut seen = said(&gateway.command(&["audit-log", "export"])) + &gateway.stderr();
    for entry in walk(gateway.dir()) {
        seen += &String::from_utf8_lossy(&std::fs::read(entry).unwrap_or_default());
    }
    for (method, path, _least, _changes) in operations(&gateway) {
        // A stream has no end; what it tells is in the list of events.
        if method == "GET" && !path.ends_with("/stream") {
            seen += &get(&gateway, &path, &secret).text();
        }
    }
    assert!(seen.contains("POST /api/v1/drain"));
    assert!(!seen.contains(&secret) && !seen.contains(password), "a secret was written somewhere");
    let file = walk(&folder).into_iter().find(|it| it.extension().is_some_and(|end| end == "jsonl")).expect("a file");
    let text = std::fs::read_to_string(&file).expect("readable");
    std::fs::write(&file, text.replacen("\"outcome\":\"done\"", "\"outcome\":\"none\"", 1)).expect("written");
    let verified = gateway.command(&["audit-log", "verify"]);
    assert_eq!(verified.status.code(), Some(1), "{}", said(&verified));
    assert!(said(&verified).contains("line 1 was changed"), "{}", said(&verified));
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            found.extend(walk(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn with_a_certificate_the_port_speaks_tls_and_commands_do() {
    let authority = mainstay_e2e::tls::Authority::new("admin");
    let origin = Origin::start();
    let config = format!("[access]\n{}", simple(free(), &[origin.address()], ""));
    let keys = tempfile::tempdir().expect("a folder");
    authority.issue(&[&free().ip().to_string()]).write(keys.path(), "admin");
    let file = |name: &str| std::fs::read_to_string(keys.path().join(name)).expect("a file");
    let files = [("admin.pem", file("admin.pem")), ("admin.key", file("admin.key")), ("ca.pem", authority.pem())];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let node = "data_dir = \"data\"\nadmin_tls = { cert = \"admin.pem\", key = \"admin.key\" }";
    let mut gateway = Mainstay::launch(node, &config, &files);
    gateway.process().wait_for_log("serving", 1, Duration::from_secs(15));
    let secret = token(&gateway, &["ci", "--role", "viewer"]);
    let path = gateway.dir().join("token");
    std::fs::write(&path, format!("{secret}\n")).expect("written");
    let place = format!("https://{}", gateway.admin_address());
    let status = |with: &[&str]| {
        let mut command = Command::new(built("mainstay"));
        command.args(["status", "--admin", &place]).args(with).output().expect("the command")
    };
    let ca = gateway.dir().join("ca.pem").display().to_string();
    let good = status(&["--admin-ca", &ca, "--token-file", &path.display().to_string()]);
    assert!(good.status.success() && said(&good).starts_with("serving"), "{}", said(&good));
    assert!(said(&status(&["--admin-ca", &ca])).contains("needs a token"), "without a token");
    assert!(!status(&["--token-file", &path.display().to_string()]).status.success(), "an unknown authority");
    // The certificate is watched like all others.
    let listed = gateway.command(&["certificate", "list"]);
    assert!(said(&listed).contains("admin interface"), "{}", said(&listed));
}
