//! `/api/v1/events`: what has changed on this node, from its journal; the latest as a list, or each as it comes.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::extract::{Query, State as Shared};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Json, Response};
use hyper::body::Bytes;
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::VIEWER;
use mainstay_core::incident;
use mainstay_core::transition::Record;
use mainstay_runtime::journal::{Heard, Journal, LENGTH};
use mainstay_runtime::task::{self, Kind};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::ToSchema;

use crate::admin::{Node, streamed};
use crate::timestamp::rfc3339;

/// Events in one answer, unless the question says.
const LIMIT: usize = 100;
/// And at most.
const LIMIT_MAX: usize = 1000;
/// Events that a slow reader of the stream may be behind; then the journal waits for it, and tells what was missed.
const BEHIND_MAX: usize = 64;
/// Between two signs of life of a quiet stream: less than anything on the way waits before it gives a connection up.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    vec![
        endpoint::get("/api/v1/events", VIEWER, "What has changed on this node, the latest first")
            .paged_by_number()
            .query("service", "Only what is about this service and its endpoints")
            .answers::<EventsAnswer>()
            .by(list),
        endpoint::get("/api/v1/events/stream", VIEWER, "What changes on this node, as server-sent events")
            .answers_text("text/event-stream")
            .by(stream),
    ]
}

/// What is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// At most so many.
    pub limit: Option<usize>,
    /// The `next` of the answer before.
    pub cursor: Option<u64>,
    /// Only of this service.
    pub service: Option<String>,
}

/// A part of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventsAnswer {
    /// The latest first.
    pub items: Vec<EventAnswer>,
    /// Where older ones go on; absent if there are none that are kept.
    pub next: Option<String>,
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventAnswer {
    /// Its number in the journal of this process.
    pub seq: u64,
    /// When, by the node's clock.
    pub time: String,
    /// The node that saw it.
    pub node: String,
    /// Whose state changed.
    pub subject: SubjectAnswer,
    /// What about it.
    pub change: String,
    /// What it was.
    pub from: String,
    /// What it is now.
    pub to: String,
    /// Why; empty if that is not known.
    pub cause: String,
    /// Whether somebody wanted it so.
    pub planned: bool,
    /// All that in one sentence.
    pub text: String,
    /// `bad`, `good`, or `note` for what is neither.
    pub level: String,
}

/// Whose state changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubjectAnswer {
    /// Such as `endpoint`, `service` or `node`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The service that it is or belongs to.
    pub service: Option<String>,
}

impl EventAnswer {
    /// A record of the journal in words.
    pub fn of(record: &Record) -> Self {
        let Record { sequence, at_unix_ms, node, transition, .. } = record;
        let (subject, change) = (&transition.subject, transition.change);
        let cause = transition.cause.as_str().to_owned();
        let because = if cause.is_empty() { String::new() } else { format!(": {cause}") };
        Self {
            seq: *sequence,
            time: rfc3339(UNIX_EPOCH + Duration::from_millis(*at_unix_ms)),
            node: node.clone(),
            subject: SubjectAnswer {
                kind: subject.kind().to_owned(),
                name: subject.name().to_owned(),
                service: subject.service().map(str::to_owned),
            },
            change: change.aspect.to_string(),
            from: change.from.to_string(),
            to: change.to.to_string(),
            text: format!("{}{because}", incident::text(transition)),
            cause,
            planned: transition.planned,
            level: incident::level(transition).as_str().to_owned(),
        }
    }
}

async fn list(Shared(node): Shared<Arc<Node>>, Query(query): Query<EventsQuery>) -> Response {
    Json(page(node.journal(), &query)).into_response()
}

fn page(journal: &Journal, query: &EventsQuery) -> EventsAnswer {
    let limit = query.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let before = query.cursor.unwrap_or(u64::MAX);
    let is_wanted = |record: &&Arc<Record>| {
        let of_service = |service: &String| record.transition.subject.service() == Some(service);
        record.sequence < before && query.service.as_ref().is_none_or(of_service)
    };
    let kept = journal.since(0, LENGTH);
    let mut found = kept.iter().rev().filter(is_wanted);
    let items: Vec<EventAnswer> = found.by_ref().take(limit).map(|record| EventAnswer::of(record)).collect();
    let next = found.next().and(items.last()).map(|last| last.seq.to_string());
    EventsAnswer { items, next }
}

/// Goes on where a reader that comes back was, as far as the journal keeps it.
async fn stream(Shared(node): Shared<Arc<Node>>, headers: HeaderMap) -> Response {
    let heard = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<u64>().ok());
    let journal = node.journal().clone();
    let (tell, told) = mpsc::channel(BEHIND_MAX);
    let telling = task::spawn_local(Kind::Admin, async move {
        let mut follows = match heard {
            Some(last) => journal.subscribe_after(last),
            None => journal.subscribe(),
        };
        loop {
            let text = match tokio::time::timeout(SIGN_OF_LIFE, follows.next()).await {
                Ok(heard) => written(&heard),
                Err(_nothing_happened) => ": quiet\n\n".to_owned(),
            };
            if tell.send(Bytes::from(text)).await.is_err() {
                return;
            }
        }
    });
    streamed::answer("text/event-stream", told, telling.abort_on_drop())
}

fn written(heard: &Heard) -> String {
    match heard {
        Heard::Record(record) => {
            let event = EventAnswer::of(record);
            // Texts and numbers always have a form in JSON.
            let data = serde_json::to_string(&event).unwrap_or_default();
            format!("id: {}\nevent: transition\ndata: {data}\n\n", event.seq)
        }
        Heard::Missed(count) => format!("event: lag\ndata: {{\"missed\":{count}}}\n\n"),
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::transition::{Aspect, Subject, Transition, Word};

    use super::*;

    fn journal() -> Journal {
        let journal = Journal::new("lb1");
        for number in 0..10 {
            let service = if number % 2 == 0 { "shop" } else { "mail" };
            let subject = Subject::endpoint(service, &format!("10.0.0.{number}:80"));
            journal.record(Transition::new(subject, Aspect::Health, Word::Up, Word::Down).because("refused"));
        }
        journal
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_repetition() {
        let journal = journal();
        let mut seen = Vec::new();
        let mut query = EventsQuery { limit: Some(3), ..EventsQuery::default() };
        loop {
            let page = page(&journal, &query);
            seen.extend(page.items.iter().map(|event| event.seq));
            match page.next {
                Some(next) => query.cursor = next.parse().ok(),
                None => break,
            }
        }
        assert_eq!(seen, (1..=10).rev().collect::<Vec<_>>());
    }

    #[test]
    fn a_service_has_its_own_events_and_they_say_what_happened() {
        let query = EventsQuery { service: Some("mail".to_owned()), ..EventsQuery::default() };
        let page = page(&journal(), &query);
        assert_eq!(page.items.len(), 5);
        assert_eq!(page.items[0].text, "mail/10.0.0.9:80 is taken out of rotation: refused");
        assert_eq!((page.items[0].level.as_str(), page.next), ("bad", None));
    }

    #[test]
    fn an_event_of_the_stream_is_one_message() {
        let journal = journal();
        let last = journal.since(9, 1).remove(0);
        let text = written(&Heard::Record(last));
        assert!(text.starts_with("id: 10\nevent: transition\ndata: {") && text.ends_with("}\n\n"), "{text}");
        assert_eq!(text.lines().count(), 4, "{text}");
    }
}
