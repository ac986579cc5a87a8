//! When certificates are renewed whose authority says when (ACME Renewal Information, RFC 9773).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mainstay_core::timestamp;
use mainstay_e2e::{Mainstay, Origin, eventually, free};
use serde_json::{Value, json};

use super::acme::{both, certificate, issued};
use super::advisor::{Advisor, Says};
use super::pebble::{Pebble, Ports};

const SOON: Duration = Duration::from_secs(60);
const DAY: i64 = 86_400;

struct Scene {
    gateway: Mainstay,
    advisor: Advisor,
    _pebble: Pebble,
    _origin: Origin,
}

/// A gateway that orders from an authority that says when to renew.
fn scene(authority: &Value, says: &[Says], refuses: bool) -> Scene {
    let (clear, secure, origin) = (free(), free(), Origin::start());
    let pebble = Pebble::start(Ports { http: clear.port(), tls: 1 }, &[], authority);
    let advisor = Advisor::start(&pebble, says, refuses);
    let acme = advisor.through(&pebble.acme(&["a.test"], ""));
    let config = format!("{}{acme}", both(clear, secure, origin.address()));
    let mut gateway = Mainstay::launch("data_dir = \"data\"", &config, &[("front.pem", &pebble.front.pem())]);
    gateway.wait_until_ready();
    Scene { gateway, advisor, _pebble: pebble, _origin: origin }
}

fn shown(gateway: &Mainstay) -> Value {
    certificate(&gateway.admin("/api/v1/certificates"))["acme"].clone()
}

/// By the own rule these certificates would be renewed after years.
#[test]
fn a_certificate_is_renewed_within_the_window_that_its_authority_suggests() {
    let mut scene = scene(&json!({}), &[Says::Within(2, 4), Says::Within(30 * DAY, 31 * DAY)], false);
    let gateway = &mut scene.gateway;
    eventually("it is renewed by itself", SOON, || issued(gateway) >= 2.0);
    eventually("the authority is asked of the new one", SOON, || scene.advisor.asked().len() == 2);
    let (asked, orders) = (scene.advisor.asked(), scene.advisor.orders());
    assert_ne!(asked[0], asked[1]);
    assert_eq!(orders, [None, Some(asked[0].clone())], "the new one replaces the old one");
    let is_planned = |it: &Value| it["suggested"].is_object() && it["next_why"] == "suggested";
    eventually("the next window is planned for", SOON, || is_planned(&shown(gateway)));
    let acme = shown(gateway);
    let text = |value: &Value| value.as_str().expect("a time").to_owned();
    let (start, next, end) =
        (text(&acme["suggested"]["start"]), text(&acme["next_order"]), text(&acme["suggested"]["end"]));
    assert!(start <= next && next < end, "{acme}");
    let listed = String::from_utf8(gateway.command(&["certificate", "list"]).stdout).expect("text");
    assert!(listed.contains(&format!("renewed from {start} to {end}, see https://")), "{listed}");

    // Days later it is asked again, and would have the certificate replaced at once.
    scene.advisor.say(Says::Within(-2 * DAY, -DAY));
    let file = gateway.dir().join("data/acme/public.json");
    gateway.process().kill();
    let mut record: Value = serde_json::from_slice(&std::fs::read(&file).expect("the record")).expect("JSON");
    (record["advice"]["ask_at"], record["previous"]["suggested"]) = (json!(1), json!(1));
    std::fs::write(&file, record.to_string()).expect("the record");
    gateway.kill_and_restart();
    gateway.wait_until_ready();
    eventually("it is replaced", SOON, || issued(gateway) >= 1.0);
    eventually("the authority is asked of the newest one", SOON, || scene.advisor.asked().len() == 4);
    assert_eq!(scene.advisor.orders().last(), Some(&Some(asked[1].clone())));
    // An authority whose windows are always past has one more each six hours, not all that an hour allows.
    eventually("the next order waits", SOON, || shown(gateway)["next_why"] == "suggested");
    let next = shown(gateway)["next_order"].as_str().and_then(timestamp::parse).expect("a time");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    assert!(u128::from(next) > now + 5 * 3_600_000, "{next}");
    assert_eq!(scene.advisor.orders().len(), 3);
}

#[test]
fn without_an_answer_the_own_rule_counts_and_what_may_not_be_replaced_is_ordered_all_the_same() {
    let scene = scene(&json!({ "certificateValidityPeriod": 20 }), &[Says::Status(503)], true);
    eventually("it is renewed by itself", SOON, || issued(&scene.gateway) >= 2.0);
    let (asked, orders) = (scene.advisor.asked(), scene.advisor.orders());
    let of_the_first = asked.iter().filter(|it| **it == asked[0]).count();
    assert_eq!(of_the_first, 1, "it is not asked again and again: {asked:?}");
    assert_eq!(orders[..3], [None, Some(asked[0].clone()), None], "refused as a replacement, it is ordered of its own");
    assert_eq!(shown(&scene.gateway)["suggested"], Value::Null);
    assert_eq!(shown(&scene.gateway)["failures"], 0);
}
