//! `/api/v1/log` and `/api/v1/sampling`: how much the node tells, changed while it runs and for a time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{Json, Response};
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::precondition::{Condition, Tag};
use mainstay_admin::role::{OPERATOR, VIEWER};
use mainstay_core::sampling::Rate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::Node;
use crate::admin::api::{error, read};
use crate::config;
use crate::logging::{self, levels};

/// How long a wish holds unless it says.
pub const USUAL: Duration = Duration::from_secs(600);
/// And at most: nobody is to forget that a node tells too much, or too little.
pub const LONGEST: Duration = Duration::from_secs(86_400);

/// What `POST /api/v1/log/level` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LevelRequest {
    /// The part of the node; all parts if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        pattern = "^(addresses|admin|alerts|cluster|consensus|discovery|failover|gateway|health|history|ledger|otlp|probes|runtime)$"
    )]
    pub component: Option<String>,
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`; none: as configured again.
    #[schema(pattern = "^(off|error|warn|info|debug|trace)$")]
    pub level: Option<String>,
    /// For how long; 600 if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 86400)]
    pub seconds: Option<u64>,
}

/// What `POST /api/v1/sampling` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SamplingRequest {
    /// The route; all routes if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// A share such as `10%` of the requests that nothing speaks for; none: as configured again.
    pub rate: Option<String>,
    /// For how long; 600 if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 86400)]
    pub seconds: Option<u64>,
}

/// How the operational log is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogAnswer {
    /// The level that the process was started with.
    pub configured: String,
    /// What holds in its place.
    pub temporary: Vec<TemporaryStatus>,
    /// The parts whose level can be changed alone.
    pub components: Vec<String>,
    /// Lines that were left out since the start because there were too many of one message.
    pub left_out: u64,
}

/// Which requests leave a line of those that nothing speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SamplingAnswer {
    /// The share as configured for routes that say nothing else.
    pub configured: String,
    /// What holds in its place.
    pub temporary: Vec<TemporaryStatus>,
}

/// Something that is not as configured, for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemporaryStatus {
    /// `log level` or `sampling`.
    pub what: String,
    /// Of which component or route; none: of all of them.
    pub of: Option<String>,
    /// What holds now.
    pub is: String,
    /// What holds otherwise.
    pub configured: String,
    /// For how much longer.
    pub seconds_left: u64,
    /// The command that ends it.
    pub end: String,
}

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    let log = endpoint::get("/api/v1/log", VIEWER, "How much the operational log tells")
        .command("mainstay log level")
        .answers::<LogAnswer>()
        .tagged();
    let level = endpoint::post("/api/v1/log/level", OPERATOR, "Has the operational log tell more or less for a while")
        .command("mainstay log level [COMPONENT=]LEVEL --for TIME")
        .takes::<LevelRequest>()
        .answers::<LogAnswer>()
        .conditional();
    let sampling = endpoint::get("/api/v1/sampling", VIEWER, "Which requests leave a line in the access log")
        .command("mainstay events sampling")
        .answers::<SamplingAnswer>()
        .tagged();
    let sample = endpoint::post("/api/v1/sampling", OPERATOR, "Has more or fewer requests leave a line for a while")
        .command("mainstay events sampling RATE --route ROUTE --for TIME")
        .takes::<SamplingRequest>()
        .answers::<SamplingAnswer>()
        .conditional();
    vec![log.by(show_log), level.by(set_level), sampling.by(show_sampling), sample.by(set_sampling)]
}

/// What is not as configured now.
pub(super) fn temporary(node: &Node) -> Vec<TemporaryStatus> {
    let mut all = of_log(&logging::facts());
    all.extend(of_sampling(node));
    all
}

async fn show_log() -> Response {
    let facts = logging::facts();
    let temporary = of_log(&facts);
    tag(&temporary).on(Json(LogAnswer {
        temporary,
        configured: facts.configured,
        components: levels::COMPONENTS.iter().map(|(name, _targets)| (*name).to_owned()).collect(),
        left_out: facts.left_out,
    }))
}

/// The version of what was asked for; how much longer it holds is no part of it.
fn tag(temporary: &[TemporaryStatus]) -> Tag {
    let all: Vec<_> = temporary.iter().map(|it| (&it.of, &it.is)).collect();
    Tag::of(&all)
}

async fn set_level(condition: Condition, sent: Body) -> Response {
    let hint = r#"send {"component": "gateway", "level": "debug", "seconds": 600}, or "level": null to end it"#;
    let request: LevelRequest = match read(sent, hint).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let long = match span(request.seconds) {
        Ok(long) => long,
        Err(refusal) => return *refusal,
    };
    if let Err(changed) = condition.check(Some(&tag(&of_log(&logging::facts())))) {
        return changed.response();
    }
    let component = request.component.as_deref();
    let done = match &request.level {
        Some(level) => logging::wish(component, level, long),
        None => logging::end(component),
    };
    match done {
        Ok(()) => show_log().await,
        Err(why) => {
            let names: Vec<&str> = levels::COMPONENTS.iter().map(|(name, _targets)| *name).collect();
            let hint = format!("components: {}; levels: {}", names.join(", "), levels::LEVELS.join(", "));
            error(StatusCode::BAD_REQUEST, why.to_string(), Some(hint))
        }
    }
}

async fn show_sampling(Shared(node): Shared<Arc<Node>>) -> Response {
    let configured = node.gateway.sampling().first().map_or(Rate::ALL, |sampling| sampling.configured);
    let temporary = of_sampling(&node);
    tag(&temporary).on(Json(SamplingAnswer { configured: share(configured), temporary }))
}

async fn set_sampling(Shared(node): Shared<Arc<Node>>, condition: Condition, sent: Body) -> Response {
    let hint = r#"send {"route": "NAME", "rate": "10%", "seconds": 600}, or "rate": null to end it"#;
    let request: SamplingRequest = match read(sent, hint).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let long = match span(request.seconds) {
        Ok(long) => long,
        Err(refusal) => return *refusal,
    };
    if let Err(changed) = condition.check(Some(&tag(&of_sampling(&node)))) {
        return changed.response();
    }
    let route = request.route.as_deref();
    let done = match &request.rate {
        None => node.gateway.end_wished_sampling(route),
        Some(rate) => match config::parse_rate(rate) {
            Ok(rate) => node.gateway.wish_sampling(route, rate, long),
            Err(why) => return error(StatusCode::BAD_REQUEST, why, Some(hint.to_owned())),
        },
    };
    match done {
        Ok(()) => show_sampling(Shared(node)).await,
        Err(why) => error(StatusCode::NOT_FOUND, why.to_string(), None),
    }
}

fn span(seconds: Option<u64>) -> Result<Duration, Box<Response>> {
    let span = seconds.map_or(USUAL, Duration::from_secs);
    if span.is_zero() || span > LONGEST {
        let hint = Some(
            "it holds from a second to a day; what is to hold for longer belongs into the configuration".to_owned(),
        );
        return Err(Box::new(error(StatusCode::BAD_REQUEST, "`seconds` is out of bounds".to_owned(), hint)));
    }
    Ok(span)
}

fn of_log(facts: &logging::Facts) -> Vec<TemporaryStatus> {
    let told = |wished: &levels::Wished| TemporaryStatus {
        what: "log level".to_owned(),
        of: wished.component.map(str::to_owned),
        is: wished.level.to_owned(),
        configured: facts.configured.clone(),
        seconds_left: wished.left.as_secs(),
        end: match wished.component {
            Some(component) => format!("mainstay log level {component}=reset"),
            None => "mainstay log level reset".to_owned(),
        },
    };
    facts.wished.iter().map(told).collect()
}

fn of_sampling(node: &Node) -> Vec<TemporaryStatus> {
    let told = |sampling: mainstay_gateway::Sampling| {
        let (rate, left) = sampling.wished?;
        let end = match &sampling.route {
            Some(route) => format!("mainstay events sampling reset --route {route}"),
            None => "mainstay events sampling reset".to_owned(),
        };
        Some(TemporaryStatus {
            what: "sampling".to_owned(),
            of: sampling.route,
            is: share(rate),
            configured: share(sampling.configured),
            seconds_left: left.as_secs(),
            end,
        })
    };
    node.gateway.sampling().into_iter().filter_map(told).collect()
}

/// A rate as configurations have it.
fn share(rate: Rate) -> String {
    match rate {
        Rate(0) => "0%".to_owned(),
        Rate(one_in) => {
            let percent = format!("{:.5}", 100.0 / f64::from(one_in));
            format!("{}%", percent.trim_end_matches('0').trim_end_matches('.'))
        }
    }
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema;

    use super::*;

    #[test]
    fn rates_are_written_as_they_are_read() {
        let written = [0, 1, 2, 3, 10, 1000, 100_000].map(|one_in| share(Rate(one_in)));
        assert_eq!(written, ["0%", "100%", "50%", "33.33333%", "10%", "0.1%", "0.001%"]);
        for (text, one_in) in written.iter().zip([0, 1, 2, 3, 10, 1000, 100_000]) {
            assert_eq!(config::parse_rate(text), Ok(Rate(one_in)), "{text}");
        }
    }

    #[test]
    fn the_document_names_every_component_and_level() {
        let form = serde_json::to_value(LevelRequest::schema()).expect("JSON");
        let pattern = |member: &str| form["properties"][member]["pattern"].as_str().expect("a pattern").to_owned();
        let components: Vec<&str> = levels::COMPONENTS.iter().map(|(name, _targets)| *name).collect();
        assert_eq!(pattern("component"), format!("^({})$", components.join("|")));
        assert_eq!(pattern("level"), format!("^({})$", levels::LEVELS.join("|")));
    }
}
