//! What people look at in a browser: the dashboard's files, and `/status`, a page without scripts that is always there.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use mainstay_admin::dashboard;
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::{ANYONE, VIEWER};

use crate::admin::Node;
use crate::admin::api::error;
use crate::admin::document::{ActivityStatus, EndpointStatus, ServiceState, ServiceStatus, Status};

/// How often the page without scripts asks for itself again.
const REFRESH_SECONDS: u32 = 5;
/// Endpoints of a service that it lists; those that are not well come first.
const ENDPOINTS_MAX: usize = 200;
const NONE: &str = "&ndash;";

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    const HTML: &str = "text/html; charset=utf-8";
    vec![
        endpoint::get("/dashboard", ANYONE, "Leads to the dashboard").answers_text(HTML).by(first_page),
        endpoint::get("/dashboard/", ANYONE, "The dashboard, or a page that says how to have it")
            .answers_text(HTML)
            .by(index),
        endpoint::get("/dashboard/{*file}", ANYONE, "A file of the dashboard").answers_text(HTML).by(file),
        endpoint::get("/status", VIEWER, "What the node does, as a page without scripts").answers_text(HTML).by(page),
        endpoint::get("/status.css", ANYONE, "The style of that page").answers_text("text/css").by(style),
    ]
}

/// Whether links elsewhere (in a chat, in a mail) may lead here: what is here alone says nothing of the node, and no frame
/// of another site can show it.
pub(super) fn is_page(path: &str) -> bool {
    matches!(path, "/" | "/dashboard" | "/dashboard/")
}

/// Where a browser that asks for `/` is sent.
pub(super) fn start() -> &'static str {
    if dashboard::is_built() { "/dashboard/" } else { "/status" }
}

async fn first_page() -> Redirect {
    Redirect::temporary(start())
}

async fn index(headers: HeaderMap) -> Response {
    dashboard::answer("", &headers).unwrap_or_else(|| Redirect::temporary("/status").into_response())
}

async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    dashboard::answer(&name, &headers).unwrap_or_else(|| {
        let hint = "open /dashboard/ anew: the node may have been upgraded".to_owned();
        error(StatusCode::NOT_FOUND, format!("the dashboard has no `{name}`"), Some(hint))
    })
}

async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("pages/status.css")).into_response()
}

async fn page(Shared(node): Shared<Arc<Node>>) -> Response {
    let mut response = render(&node.status(), dashboard::is_built()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    dashboard::protect(headers);
    response
}

fn render(status: &Status, has_dashboard: bool) -> String {
    let node = &status.node;
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"refresh\" content=\"{REFRESH_SECONDS}\"><title>{name}</title>\
         <link rel=\"icon\" href=\"data:,\"><link rel=\"stylesheet\" href=\"/status.css\"></head><body>\n\
         <p>node <b>{name}</b>, {version}, as of {now}, looks again every {REFRESH_SECONDS} s{dashboard}</p>\n\
         <h1 class=\"{level}\">{verdict}</h1>\n",
        name = escaped(&node.name),
        version = escaped(&node.version),
        now = escaped(&node.now),
        dashboard = if has_dashboard { "; <a href=\"/dashboard/\">dashboard</a>" } else { "" },
        level = verdict_level(status),
        verdict = escaped(&status.verdict),
    );
    let reasons = node.not_ready.iter().chain(&status.configuration.last_reload.problems);
    for reason in reasons {
        let _written = writeln!(page, "<p class=\"bad\">{}</p>", escaped(reason));
    }
    for service in &status.services {
        add_service(&mut page, service);
    }
    add_routes(&mut page, status);
    page.push_str("</body></html>\n");
    page
}

fn verdict_level(status: &Status) -> &'static str {
    let worst = |state: ServiceState| status.services.iter().any(|service| service.state == state);
    match (status.node.ready && !worst(ServiceState::Down), worst(ServiceState::Degraded)) {
        (false, _) => "bad",
        (true, true) => "warn",
        (true, false) => "good",
    }
}

fn add_service(page: &mut String, service: &ServiceStatus) {
    let state = match service.state {
        ServiceState::Healthy => "healthy",
        ServiceState::Degraded => "degraded",
        ServiceState::Down => "down",
    };
    let _written = writeln!(
        page,
        "<h2>{} <span class=\"{state}\">{state}</span>, {} of {} endpoints serve</h2>\n<table><tr><th>endpoint</th>\
         <th>zone</th><th>state</th>{HEADS}<th>in flight</th><th>why</th></tr>",
        escaped(&service.name),
        service.eligible,
        service.endpoints.len(),
    );
    let mut endpoints: Vec<&EndpointStatus> = service.endpoints.iter().collect();
    endpoints.sort_by_key(|endpoint| endpoint.eligible);
    for endpoint in endpoints.iter().take(ENDPOINTS_MAX) {
        let _written = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td class=\"{}\">{}</td>{}<td class=\"n\">{}</td><td>{}</td></tr>",
            escaped(&endpoint.name),
            escaped(endpoint.zone.as_deref().unwrap_or_default()),
            if endpoint.eligible { "good" } else { "bad" },
            word(endpoint),
            cells(&endpoint.activity),
            endpoint.in_flight,
            escaped(&endpoint.reason),
        );
    }
    page.push_str("</table>\n");
    if endpoints.len() > ENDPOINTS_MAX {
        let _written = writeln!(page, "<p>{} more endpoints are not listed.</p>", endpoints.len() - ENDPOINTS_MAX);
    }
}

fn word(endpoint: &EndpointStatus) -> String {
    let words = [(endpoint.draining, "draining"), (endpoint.ejected, "ejected"), (endpoint.degraded, "degraded")];
    let mut said = escaped(&endpoint.health);
    for (_, word) in words.iter().filter(|(is_so, _)| *is_so) {
        said.push_str(", ");
        said.push_str(word);
    }
    said
}

fn add_routes(page: &mut String, status: &Status) {
    let _written = writeln!(page, "<h2>Routes</h2>\n<table><tr><th>route</th><th>service</th>{HEADS}</tr>");
    for route in &status.routes {
        let (name, service) = (escaped(&route.name), escaped(&route.service));
        let _written = writeln!(page, "<tr><td>{name}</td><td>{service}</td>{}</tr>", cells(&route.activity));
    }
    page.push_str("</table>\n");
}

const HEADS: &str =
    "<th class=\"n\">req/s</th><th class=\"n\">errors %</th><th class=\"n\">p50 ms</th><th class=\"n\">p99 ms</th>";

fn cells(activity: &ActivityStatus) -> String {
    let known = |value: Option<f64>| value.map_or(NONE.to_owned(), |value| value.to_string());
    let values =
        [activity.rate.to_string(), known(activity.error_percent), known(activity.p50_ms), known(activity.p99_ms)];
    values.map(|value| format!("<td class=\"n\">{value}</td>")).concat()
}

/// A text that says the same inside of HTML, in quotes or not: names and reasons come from configurations and endpoints.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_stays_text() {
        let text = escaped("<script>alert(\"1\" & '2')</script>");
        assert_eq!(text, "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;");
    }

    #[test]
    fn what_is_not_known_is_no_zero() {
        let cells = cells(&ActivityStatus { rate: 0.0, error_percent: None, p50_ms: Some(1.5), p99_ms: None });
        assert_eq!(cells.matches(NONE).count(), 2, "{cells}");
        assert!(cells.contains(">1.5<"), "{cells}");
    }
}
