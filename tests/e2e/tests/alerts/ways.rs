//! Ways that need more than a webhook: mail over TLS to a real server, and the one who notices silence.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use mainstay_e2e::gateway::simple;
use mainstay_e2e::process::Process;
use mainstay_e2e::tls::Authority;
use mainstay_e2e::{Mainstay, address, eventually, free, wire};
use serde_json::Value;

use super::inbox::{self, Inbox};
use super::{AT_ONCE, SOON, alerts};

fn smtp(name: &str, port: u16, tls: &str, credentials: bool) -> String {
    let user = if credentials { "user = \"ops\"\nsmtp_password = { file = \"mail.password\" }\n" } else { "" };
    format!(
        "[[receiver]]\nname = \"{name}\"\ntype = \"smtp\"\nhost = \"{}\"\nport = {port}\ntls = \"{tls}\"\n\
         from = \"a@example.com\"\nto = \"{name}@example.com\"\n{user}",
        address::host()
    )
}

/// A gateway whose only service is down. It trusts the authority in `ca.pem` alone.
fn with_receivers(receivers: &str, authority: &Authority) -> Mainstay {
    let health =
        "health = { http = \"/health\", interval = \"200ms\", timeout = \"100ms\", unhealthy = 2, healthy = 1 }";
    let config = format!("{}{AT_ONCE}{receivers}", simple(free(), &[free()], health));
    let files = [("ca.pem", &*authority.pem()), ("mail.password", "M41L-PASSWORD\n")];
    let trust = "export SSL_CERT_FILE=$DIR/ca.pem";
    let mut gateway = Mainstay::launch_after(trust, "data_dir = \"data\"", &config, &files);
    gateway.wait_until_ready();
    gateway
}

/// Starts the mail server; answers it with its two ports.
fn mail_server(dir: &Path, authority: &Authority) -> (Process, u16, u16) {
    authority.issue(&[&address::host().to_string()]).write(dir, "mail");
    let (starttls, wrapped) = (free(), free());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/alerts/smtp.py");
    // Debian's own interpreter is the one that knows Debian's modules, whichever comes first in the path.
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script).arg(address::host().to_string());
    command.args([starttls.port().to_string(), wrapped.port().to_string()]);
    command.args(["mail.pem", "mail.key", "letters"].map(|name| dir.join(name)));
    let mut server = Process::start("mail", dir, &mut command, None);
    eventually("the mail server listens (python3-aiosmtpd)", SOON, || {
        assert!(server.is_running(), "{}", server.stderr());
        [starttls, wrapped].iter().all(|at| wire::Wire::try_connect(*at, Duration::from_secs(1)).is_ok())
    });
    (server, starttls.port(), wrapped.port())
}

#[test]
fn mail_goes_over_tls_to_who_can_prove_who_they_are_and_to_nobody_else() {
    let (authority, stranger) = (Authority::new("mail"), Authority::new("somebody"));
    let (dir, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (_server, starttls, wrapped) = mail_server(dir.path(), &authority);
    let (_imposter, _starttls, imposter) = mail_server(other.path(), &stranger);
    // A server, or somebody in between, that does not offer STARTTLS.
    let plain = inbox::mail();
    let receivers = [
        smtp("starttls", starttls, "starttls", true),
        smtp("wrapped", wrapped, "tls", true),
        smtp("imposter", imposter, "tls", true),
        smtp("plain", plain.port(), "starttls", true).replace(&address::host().to_string(), "127.0.0.1"),
    ];
    let gateway = with_receivers(&receivers.concat(), &authority);
    let letters = |dir: &Path| std::fs::read_to_string(dir.join("letters")).unwrap_or_default();
    for way in ["starttls", "wrapped"] {
        let head = format!("way={way} secured=True user=ops");
        eventually("a letter", SOON, || letters(dir.path()).contains(&head));
    }
    assert!(letters(dir.path()).contains("Subject: [P1 FIRING 1] ServiceDown app"), "{}", letters(dir.path()));
    for (name, why) in [("imposter", "certificate"), ("plain", "STARTTLS")] {
        let label = format!("receiver=\"{name}\"");
        eventually("it is refused", SOON, || {
            gateway.metric("mainstay_alert_notifications_total", &[&label, "failed"]) >= 1.0
        });
        let told = |it: &Value| {
            it["receiver"] == name && it["detail"].to_string().to_lowercase().contains(&why.to_lowercase())
        };
        let all = alerts(&gateway);
        let mut notifications = all.iter().flat_map(|it| it["notifications"].as_array().cloned().unwrap_or_default());
        assert!(notifications.any(|it| told(&it)), "{name}: {all:?}");
    }
    assert_eq!(letters(other.path()), "", "nothing is told to somebody else");
    assert!(!plain.text().contains("Subject") && !plain.text().contains("AUTH"), "{}", plain.text());
    assert!(!gateway.stderr().contains("M41L-PASSWORD"));
}

#[test]
fn who_expects_to_hear_regularly_notices_when_nobody_watches_any_more() {
    let hook = Inbox::start();
    let health = "health = { http = \"/health\", interval = \"1s\" }";
    let receiver =
        format!("[[receiver]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"http://{}/hook\"\n", hook.address());
    let alerting = "[alerting]\ndead_man = \"hook\"\ndead_man_interval = \"1s\"\n";
    let config = format!("{}{alerting}{receiver}", simple(free(), &[free()], health));
    let mut gateway = Mainstay::start_with("data_dir = \"data\"", &config);
    let beats = || hook.bodies().iter().filter(|body| body.to_string().contains("Watchdog")).count();
    eventually("it is told again and again", SOON, || beats() >= 3);
    gateway.process().kill();
    // What was on its way when it died may still arrive.
    thread::sleep(Duration::from_millis(500));
    let last = beats();
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(beats(), last, "nobody speaks for a node that is dead");
    gateway.kill_and_restart();
    gateway.wait_until_ready();
    eventually("it is told again", SOON, || beats() >= last + 2);
}
