//! What receivers are told, in the form that each of them understands.

use mainstay_core::alert::{Delivery, Item, Labels, Millis, Reason, Severity, rule};
use mainstay_core::timestamp::rfc3339;
use serde_json::{Value, json};

use super::settings::Settings;

/// Where pages and views are.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// Before the name of a page.
    pub runbooks: String,
    /// Before the name of a view.
    pub dashboard: String,
}

impl Links {
    /// As the settings have them.
    pub fn of(settings: &Settings) -> Self {
        Self { runbooks: settings.runbooks.clone(), dashboard: settings.dashboard.clone() }
    }

    /// The page that says what to do about an alert of this name; empty if there is none.
    pub fn runbook(&self, name: &str) -> String {
        rule(name).map(|rule| format!("{}{}.md", self.runbooks, rule.page)).unwrap_or_default()
    }

    /// The view that shows what the alert is about.
    pub fn view(&self, labels: &Labels) -> String {
        let view = rule(labels.get("alertname")).map_or("#/alerts", |rule| rule.view);
        format!("{}{}", self.dashboard, view.replace("{service}", labels.get("service")))
    }
}

/// The events for PagerDuty, one an alert. The receiver knows by the key which of them are one and the same.
pub fn pagerduty(delivery: &Delivery, links: &Links, routing_key: &str) -> Vec<Value> {
    let mut events = Vec::new();
    for item in &delivery.items {
        let key = format!("mainstay-{}", item.id);
        // One that ended before it could be told is told from its beginning.
        if item.ended.is_none() || item.is_new {
            events.push(trigger(item, links, routing_key, &key));
        }
        if item.ended.is_some() {
            events.push(json!({"routing_key": routing_key, "event_action": "resolve", "dedup_key": key}));
        }
    }
    events
}

fn trigger(item: &Item, links: &Links, routing_key: &str, key: &str) -> Value {
    let severity = match item.severity {
        Severity::P1 => "critical",
        Severity::P2 => "error",
        Severity::P3 => "warning",
        Severity::P4 => "info",
    };
    let source = [item.labels.get("node"), item.labels.get("service"), "mainstay"];
    json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": key,
        "payload": {
            "summary": headline(item),
            "source": source.into_iter().find(|text| !text.is_empty()),
            "severity": severity,
            "timestamp": rfc3339(item.since),
            "component": item.labels.get("service"),
            "class": item.labels.get("alertname"),
            "custom_details": item.labels,
        },
        "links": [
            {"href": links.runbook(item.labels.get("alertname")), "text": "what to do"},
            {"href": links.view(&item.labels), "text": "dashboard"},
        ],
    })
}

/// `P1 ServiceDown: checkout: none of 3 endpoints gets traffic`
pub fn headline(item: &Item) -> String {
    format!("{} {}: {}", item.severity.word(), item.labels.get("alertname"), item.summary)
}

/// The subject of a message: how grave, what, how many.
pub fn subject(delivery: &Delivery) -> String {
    let firing = delivery.items.iter().filter(|item| item.ended.is_none()).count();
    let state = match firing {
        0 => "RESOLVED".to_owned(),
        count => format!("FIRING {count}"),
    };
    let again = if delivery.reason == Reason::Repeat { ", still" } else { "" };
    let name = delivery.items.first().map_or("", |item| item.labels.get("alertname"));
    let service = delivery.labels.get("service");
    let service = if service.is_empty() { String::new() } else { format!(" {service}") };
    format!("[{} {state}{again}] {name}{service}", delivery.severity().word())
}

/// The message as text for people.
pub fn text(delivery: &Delivery, links: &Links) -> String {
    let mut text = String::new();
    for item in &delivery.items {
        let state = match item.ended {
            None => format!("FIRING since {}", rfc3339(item.since)),
            Some(ended) => format!("RESOLVED at {}, fired since {}", rfc3339(ended), rfc3339(item.since)),
        };
        let runbook = links.runbook(item.labels.get("alertname"));
        text.push_str(&format!("{}\n  {state}\n  {}\n", headline(item), item.labels));
        text.push_str(&format!("  what to do: {runbook}\n  see: {}\n\n", links.view(&item.labels)));
    }
    if delivery.left_out > 0 {
        text.push_str(&format!("{} more follow in the next message.\n", delivery.left_out));
    }
    text
}

/// The message for Slack.
pub fn slack(delivery: &Delivery, links: &Links) -> Value {
    let colour = match (delivery.is_firing(), delivery.severity()) {
        (false, _) => "#2eb886",
        (true, Severity::P1) => "#a30200",
        (true, Severity::P2) => "#d9700b",
        (true, Severity::P3 | Severity::P4) => "#daa038",
    };
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let text = text(delivery, links);
    // A message of Slack ends at 40,000 characters.
    let text = &text[..text.floor_char_boundary(20_000)];
    json!({
        "text": escaped(&subject(delivery)),
        "attachments": [{"color": colour, "text": escaped(text), "fallback": escaped(&subject(delivery))}],
    })
}

fn annotations(item: &Item, links: &Links) -> Value {
    json!({
        "summary": item.summary,
        "runbook_url": links.runbook(item.labels.get("alertname")),
        "dashboard_url": links.view(&item.labels),
    })
}

/// Alerts for another Alertmanager. Those that fire are announced to end by themselves, so that they do if we do.
pub fn alertmanager(delivery: &Delivery, links: &Links, now: Millis, lives: Millis) -> Value {
    let alert = |item: &Item| {
        let ends = item.ended.unwrap_or(now.saturating_add(lives));
        json!({
            "labels": item.labels,
            "annotations": annotations(item, links),
            "startsAt": rfc3339(item.since),
            "endsAt": rfc3339(ends),
            "generatorURL": links.view(&item.labels),
        })
    };
    delivery.items.iter().map(alert).collect()
}

/// What Alertmanager sends to webhooks, version 4.
pub fn webhook(delivery: &Delivery, links: &Links) -> Value {
    let state = |firing: bool| if firing { "firing" } else { "resolved" };
    let alert = |item: &Item| {
        json!({
            "status": state(item.ended.is_none()),
            "labels": item.labels,
            "annotations": annotations(item, links),
            "startsAt": rfc3339(item.since),
            "endsAt": item.ended.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), rfc3339),
            "generatorURL": links.view(&item.labels),
            "fingerprint": item.id.to_string(),
        })
    };
    json!({
        "version": "4",
        "groupKey": delivery.group,
        "truncatedAlerts": delivery.left_out,
        "status": state(delivery.is_firing()),
        "receiver": delivery.receiver,
        "groupLabels": delivery.labels,
        "commonLabels": common(delivery),
        "commonAnnotations": {},
        "externalURL": links.dashboard,
        "alerts": delivery.items.iter().map(alert).collect::<Vec<_>>(),
    })
}

/// What all alerts of a message have in common.
fn common(delivery: &Delivery) -> Labels {
    let mut common = Labels::new();
    let Some(first) = delivery.items.first() else { return common };
    for (name, value) in first.labels.iter() {
        if delivery.items.iter().all(|item| item.labels.get(name) == value) {
            common.set(name, value);
        }
    }
    common
}
