use std::path::Path;

use mainstay_core::alert::{CATALOGUE, Condition, Delivery, Item, Labels, Reason, Severity};

use super::message::{self, Links};
use super::settings::{Adjustment, Settings};

const T0: u64 = 1_795_257_187_042;

fn item(name: &str, ended: Option<u64>, is_new: bool) -> Item {
    let labels = Labels::new().with("alertname", name).with("service", "shop").with("severity", "P1");
    let summary = "none of 3 endpoints gets traffic <3>".to_owned();
    Item { id: labels.fingerprint(), labels, summary, severity: Severity::P1, since: T0, ended, is_new }
}

fn delivery(items: Vec<Item>) -> Delivery {
    Delivery {
        id: 1,
        receiver: "pager".to_owned(),
        group: "pager/{}".to_owned(),
        labels: Labels::new().with("service", "shop"),
        items,
        left_out: 0,
        reason: Reason::News,
        attempt: 0,
    }
}

fn links() -> Links {
    Links { runbooks: "https://wiki/alerts/".to_owned(), dashboard: "https://lb/".to_owned() }
}

#[test]
fn pages_are_known_by_their_alert_and_closed_when_it_ends() {
    let events = message::pagerduty(&delivery(vec![item("ServiceDown", None, true)]), &links(), "key");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["event_action"], "trigger");
    assert_eq!(events[0]["payload"]["severity"], "critical");
    assert_eq!(events[0]["payload"]["timestamp"], "2026-11-21T10:33:07.042Z");
    assert_eq!(events[0]["links"][0]["href"], "https://wiki/alerts/service-down.md");
    assert_eq!(events[0]["links"][1]["href"], "https://lb/#/services/shop");
    let ended = message::pagerduty(&delivery(vec![item("ServiceDown", Some(T0 + 1), false)]), &links(), "key");
    assert_eq!((ended.len(), &ended[0]["event_action"]), (1, &"resolve".into()));
    assert_eq!(ended[0]["dedup_key"], events[0]["dedup_key"]);
    let unheard = message::pagerduty(&delivery(vec![item("ServiceDown", Some(T0 + 1), true)]), &links(), "key");
    let actions: Vec<_> = unheard.iter().map(|event| event["event_action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["trigger", "resolve"]);
}

#[test]
fn webhooks_get_what_alertmanager_sends() {
    let both = delivery(vec![item("ServiceDown", None, true), item("ErrorRateHigh", Some(T0 + 1), false)]);
    let body = message::webhook(&both, &links());
    assert_eq!((&body["version"], &body["status"]), (&"4".into(), &"firing".into()));
    assert_eq!(body["commonLabels"], serde_json::json!({"service": "shop", "severity": "P1"}));
    assert_eq!(body["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
    assert_eq!(body["alerts"][1]["status"], "resolved");
    assert_eq!(body["alerts"][1]["endsAt"], "2026-11-21T10:33:07.043Z");
    let alerts = message::alertmanager(&both, &links(), T0, 60_000);
    assert_eq!(alerts[0]["endsAt"], "2026-11-21T10:34:07.042Z", "it ends by itself if we do");
    assert_eq!(alerts[0]["labels"]["alertname"], "ServiceDown");
}

#[test]
fn text_for_people_says_what_where_and_what_to_do() {
    let both = delivery(vec![item("ServiceDown", None, true)]);
    assert_eq!(message::subject(&both), "[P1 FIRING 1] ServiceDown shop");
    let text = message::text(&both, &links());
    assert!(text.contains("what to do: https://wiki/alerts/service-down.md"), "{text}");
    let slack = message::slack(&both, &links());
    assert!(slack["attachments"][0]["text"].as_str().unwrap().contains("traffic &lt;3&gt;"));
    assert_eq!(slack["attachments"][0]["color"], "#a30200");
}

#[test]
fn built_in_alerts_can_be_adjusted() {
    let condition = Condition::new("CpuHigh", Severity::P3, Labels::new(), "");
    let adjustment = |enabled| Adjustment {
        name: "CpuHigh".to_owned(),
        enabled,
        hold: Some(std::time::Duration::from_secs(7)),
        keep: Some(std::time::Duration::from_secs(5)),
        severity: Some(Severity::P2),
    };
    let settings = |enabled| Settings { adjustments: vec![adjustment(enabled)], ..Settings::default() };
    let adjusted = settings(true).adjust(vec![condition.clone()]);
    assert_eq!(
        (adjusted[0].hold, adjusted[0].keep, adjusted[0].severity, adjusted[0].labels.get("severity")),
        (7000, 5000, Severity::P2, "P2")
    );
    assert_eq!(settings(false).adjust(vec![condition]), []);
}

#[test]
fn every_built_in_alert_has_its_page() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/alerts");
    for rule in CATALOGUE {
        let page = folder.join(format!("{}.md", rule.page));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(text.starts_with(&format!("# {}\n", rule.name)), "{}", page.display());
        for part in ["## Meaning", "## First look", "## Mitigation"] {
            assert!(text.contains(part), "{} has no part `{part}`", page.display());
        }
    }
    let pages = std::fs::read_dir(&folder).unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    for page in pages.filter(|page| page != "README.md") {
        assert!(CATALOGUE.iter().any(|rule| format!("{}.md", rule.page) == page), "{page} is about no alert");
    }
}
