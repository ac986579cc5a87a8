//! The page that `mainstay explain` prints: what became of the request first, then where it went, each attempt, and why
//! each endpoint and route was or was not chosen.

use crate::admin::explanation::{Attempt, Choice, Considered, Explained, Requests};
use crate::status::table::{Cell, Paint, Tone, printable, render as table};

/// The pages of all requests with the id.
pub fn render(answer: &Requests, paint: Paint) -> String {
    let pages: Vec<String> = answer.requests.iter().map(|request| page(request, paint)).collect();
    let many = match pages.len() {
        0 | 1 => String::new(),
        count => format!("{count} requests have this id, the newest first\n\n"),
    };
    many + &pages.join("\n")
}

fn page(request: &Explained, paint: Paint) -> String {
    let tone = match (request.status, &request.error) {
        (500.., _) | (0, _) => Tone::Bad,
        (_, Some(_)) | (400.., _) => Tone::Warning,
        _answered => Tone::Good,
    };
    let mut page = paint.apply(tone, &printable(&headline(request)));
    page.push('\n');
    let about = format!(
        "request {} at {}, worker {}, configuration generation {}",
        request.id, request.time, request.worker, request.generation
    );
    page.push_str(&paint.apply(Tone::Faint, &printable(&about)));
    page.push_str("\n\n");
    page.push_str(&facts(request, paint));
    if !request.attempts.is_empty() {
        page.push('\n');
        page.push_str(&attempts(request, paint));
    }
    if !request.choices.is_empty() {
        page.push('\n');
        page.push_str(&choices(request, paint));
    }
    if !request.routes.is_empty() {
        page.push('\n');
        page.push_str(&routes(request, paint));
    }
    page
}

/// One line for people.
fn headline(request: &Explained) -> String {
    let what = match (&request.method, &request.host, &request.path) {
        (Some(method), Some(host), Some(path)) => {
            format!("{method} {host}{path}{}", if request.cut { "..." } else { "" })
        }
        _no_head => "a request whose head was refused".to_owned(),
    };
    let how = match request.status {
        0 => "was not answered".to_owned(),
        status => format!("was answered {status}"),
    };
    let error = request.error.as_ref().map_or_else(String::new, |error| format!(" ({error})"));
    let attempts = match request.attempts.len() {
        0 => "without an attempt".to_owned(),
        1 => "after 1 attempt".to_owned(),
        count => format!("after {count} attempts"),
    };
    format!("{what} {how}{error} {attempts} in {}", millis(request.duration_ms))
}

fn facts(request: &Explained, paint: Paint) -> String {
    let mut rows = vec![("client", request.client.clone()), ("listener", request.listener.clone())];
    rows.push(("admission", request.admission.clone()));
    rows.push(("route", request.route.clone().unwrap_or_else(|| "none".to_owned())));
    if let (Some(service), Some(balance)) = (&request.service, &request.balance) {
        rows.push(("service", format!("{service}, balanced by {balance}")));
    }
    if let Some(cell) = &request.cell {
        rows.push(("cell", cell.clone()));
    }
    if let Some(session) = &request.session {
        let what = match session.as_str() {
            "new" => "new: the request brought no cookie",
            "kept" => "kept: its endpoint was asked first",
            "moved" => "moved: its endpoint is lost",
            "ignored" => "new: the cookie was forged or too old",
            other => other,
        };
        rows.push(("session", what.to_owned()));
    }
    if let Some(tenant) = &request.tenant {
        let shard = request.shard.as_ref().map(|shard| format!(", may use {}", shard.join(" ")));
        let partition = request.partition.as_ref().map(|partition| format!(", partition {partition}"));
        let text = format!("{tenant}{}{}", partition.unwrap_or_default(), shard.unwrap_or_default());
        rows.push(("tenant", text));
    }
    if let Some(mirror) = &request.mirror {
        rows.push(("mirror", mirror.clone()));
    }
    if let Some(word) = &request.cache {
        rows.push(("cache", cache(word).to_owned()));
    }
    if let Some(form) = &request.fallback {
        rows.push(("fallback", format!("answered by its form `{form}`, in place of an error")));
    }
    rows.push(("bytes", format!("{} in, {} out", request.bytes_in, request.bytes_out)));
    let rows = rows.into_iter().map(|(key, value)| vec![Cell::text(key).tone(Tone::Faint), Cell::text(value)]);
    // A table without its heading.
    let text = table(&["", ""], &rows.collect::<Vec<_>>(), paint);
    text.split_once('\n').map_or_else(String::new, |(_heading, rows)| rows.to_owned())
}

/// What the cache's word means.
fn cache(word: &str) -> &str {
    match word {
        "hit" => "answered by what was stored",
        "stale" => "answered by what was stored, although it was stale",
        "validated" => "answered by what was stored, after the endpoint said that it is still good",
        "coalesced" => "answered by what another request for the same had brought",
        "miss" => "nothing was stored that could be served",
        "bypass" => "passed by: the cache cannot answer such a request",
        other => other,
    }
}

fn attempts(request: &Explained, paint: Paint) -> String {
    let heading = ["ATTEMPT", "START", "TOOK", "ENDPOINT", "OUTCOME", "CONNECTION", "THEN"];
    let row = |(index, attempt): (usize, &Attempt)| {
        let (outcome, tone) = match (attempt.outcome.as_str(), attempt.status) {
            ("ok", Some(status)) if status < 500 => (format!("{status}"), Tone::Good),
            ("ok" | "status", Some(status)) => (format!("{status}"), Tone::Warning),
            (word, _) => (word.to_owned(), Tone::Warning),
        };
        vec![
            Cell::number((index + 1).to_string()),
            Cell::number(format!("+{}", millis(attempt.start_ms))),
            Cell::number(millis(attempt.duration_ms)),
            Cell::text(attempt.endpoint.as_str()),
            Cell::text(outcome).tone(tone),
            Cell::text(match (attempt.outcome.as_str(), attempt.reused) {
                ("connect-failed", _) => "none",
                (_, true) => "reused",
                (_, false) => "new",
            }),
            Cell::text(then(attempt, index + 1 == request.attempts.len(), request)),
        ]
    };
    table(&heading, &request.attempts.iter().enumerate().map(row).collect::<Vec<_>>(), paint)
}

fn then(attempt: &Attempt, is_last: bool, request: &Explained) -> String {
    match (attempt.then.as_str(), &attempt.no_retry, attempt.backoff_ms) {
        ("retry", _, Some(wait)) => {
            let when =
                if wait > 0.0 { format!("retried after {}", millis(wait)) } else { "retried at once".to_owned() };
            if is_last { format!("{when}: nobody was left to try") } else { when }
        }
        ("hedge", _, _) => "another endpoint was asked as well and answered first".to_owned(),
        ("no-retry", Some(why), _) => format!("not retried: {why}"),
        _end if request.error.is_none() && attempt.outcome == "ok" => "sent to the client".to_owned(),
        _end => "the end".to_owned(),
    }
}

fn choices(request: &Explained, paint: Paint) -> String {
    let heading = ["CHOICE", "ENDPOINT", "STATE", "VERDICT"];
    let balance = request.balance.as_deref().unwrap_or_default();
    let mut rows = Vec::new();
    for (index, choice) in request.choices.iter().enumerate() {
        let mut number = (index + 1).to_string();
        for endpoint in &choice.endpoints {
            rows.push(considered(std::mem::take(&mut number), endpoint, choice, balance));
        }
        if choice.left_out > 0 {
            rows.push(vec![Cell::number(""), Cell::text(format!("and {} more", choice.left_out))]);
        }
    }
    table(&heading, &rows, paint)
}

fn considered(number: String, endpoint: &Considered, choice: &Choice, balance: &str) -> Vec<Cell> {
    let in_flight = |load: Option<u64>| load.map_or_else(String::new, |load| format!(", {load} in flight"));
    let chosen_is = |state: &str| choice.endpoints.iter().any(|it| it.verdict == "chosen" && it.state == state);
    let (verdict, tone) = match endpoint.verdict.as_str() {
        "chosen" => (format!("chosen{}", in_flight(endpoint.in_flight)), Tone::Good),
        "more-loaded" => (format!("compared and not less loaded{}", in_flight(endpoint.in_flight)), Tone::Faint),
        "outside-shard" => ("skipped: not in the tenant's shard".to_owned(), Tone::Faint),
        "already-tried" => ("skipped: already tried".to_owned(), Tone::Warning),
        "breaker-open" => ("skipped: its circuit breaker is open".to_owned(), Tone::Warning),
        "not-eligible" if endpoint.state == "unknown" && (chosen_is("up") || chosen_is("degraded")) => {
            ("skipped: no verdict of its checks yet, and others are up".to_owned(), Tone::Warning)
        }
        "not-eligible" if endpoint.state == "other-zone" => {
            ("skipped: in another zone, and the node's own has what it needs".to_owned(), Tone::Faint)
        }
        "not-eligible" if endpoint.reason.is_empty() => (format!("skipped: {}", endpoint.state), Tone::Warning),
        "not-eligible" => (format!("skipped: {}: {}", endpoint.state, endpoint.reason), Tone::Warning),
        _not_drawn => {
            let why = match balance {
                "round-robin" => "not its turn",
                "hash" => "the key belongs to another",
                _drawn => "not drawn",
            };
            (why.to_owned(), Tone::Faint)
        }
    };
    let verdict = match endpoint.weight_percent {
        percent if percent > 0.0 && percent < 100.0 => {
            let why = if endpoint.reason.is_empty() { String::new() } else { format!(": {}", endpoint.reason) };
            format!("{verdict}; at {percent}% of its weight{why}")
        }
        _full_or_out => verdict,
    };
    vec![
        Cell::number(number),
        Cell::text(endpoint.endpoint.as_str()),
        Cell::text(endpoint.state.as_str()),
        Cell::text(verdict).tone(tone),
    ]
}

fn routes(request: &Explained, paint: Paint) -> String {
    let row = |looked: &crate::admin::explanation::RouteLooked| {
        let (verdict, tone) = match looked.verdict.as_str() {
            "taken" => ("taken", Tone::Good),
            "host" => ("another host", Tone::Faint),
            "path" => ("another path", Tone::Faint),
            "method" => ("another method", Tone::Warning),
            _headers => ("its headers are missing or have other values", Tone::Warning),
        };
        vec![Cell::text(looked.route.as_str()), Cell::text(verdict).tone(tone)]
    };
    table(&["ROUTE", "VERDICT"], &request.routes.iter().map(row).collect::<Vec<_>>(), paint)
}

fn millis(millis: f64) -> String {
    if millis >= 1000.0 { format!("{:.2}s", millis / 1000.0) } else { format!("{millis:.1}ms") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::explanation::RouteLooked;

    fn considered(endpoint: &str, state: &str, verdict: &str, in_flight: Option<u64>) -> Considered {
        let reason = if state == "down" { "connection refused\x1b[2J".to_owned() } else { String::new() };
        let (endpoint, state, verdict) = (endpoint.to_owned(), state.to_owned(), verdict.to_owned());
        let weight_percent = if verdict == "not-eligible" { 0.0 } else { 100.0 };
        Considered { endpoint, state, reason, verdict, in_flight, weight_percent }
    }

    fn attempt(endpoint: &str, outcome: &str, status: Option<u16>, then: &str) -> Attempt {
        Attempt {
            endpoint: endpoint.to_owned(),
            start_ms: 0.25,
            duration_ms: 1500.0,
            outcome: outcome.to_owned(),
            status,
            reused: true,
            then: then.to_owned(),
            no_retry: None,
            backoff_ms: (then == "retry").then_some(12.0),
        }
    }

    fn request() -> Explained {
        let some = |text: &str| Some(text.to_owned());
        Explained {
            id: "abc".to_owned(),
            trace_id: None,
            time: "2026-11-21T12:00:00.000Z".to_owned(),
            duration_ms: 31.25,
            worker: 1,
            generation: 3,
            client: "10.0.0.9".to_owned(),
            listener: "web".to_owned(),
            method: some("GET"),
            host: some("shop.test"),
            path: some("/cart"),
            cut: false,
            admission: "passed".to_owned(),
            status: 200,
            error: None,
            bytes_in: 0,
            bytes_out: 12,
            route: some("shop"),
            service: some("app"),
            balance: some("least-request"),
            mirror: some("copied to canary"),
            fallback: None,
            cache: None,
            cell: None,
            session: some("kept"),
            tenant: some("00c0ffee"),
            partition: None,
            shard: Some(vec!["10.0.0.1:80".to_owned(), "10.0.0.2:80".to_owned()]),
            routes: vec![
                RouteLooked { route: "beta".to_owned(), verdict: "headers".to_owned() },
                RouteLooked { route: "shop".to_owned(), verdict: "taken".to_owned() },
            ],
            attempts: vec![
                attempt("10.0.0.1:80", "reset", None, "retry"),
                attempt("10.0.0.2:80", "ok", Some(200), "end"),
            ],
            choices: vec![Choice {
                endpoints: vec![
                    considered("10.0.0.1:80", "up", "chosen", Some(0)),
                    considered("10.0.0.2:80", "up", "more-loaded", Some(4)),
                    considered("10.0.0.3:80", "down", "not-eligible", None),
                    considered("10.0.0.4:80", "unknown", "not-eligible", None),
                ],
                left_out: 7,
            }],
        }
    }

    #[test]
    fn what_became_of_it_comes_first_and_each_reason_is_told() {
        let page = render(&Requests { requests: vec![request()] }, Paint::Plain);
        assert!(
            page.starts_with("GET shop.test/cart was answered 200 after 2 attempts in 31.2ms\nrequest abc at "),
            "{page}"
        );
        for line in [
            "service    app, balanced by least-request",
            "mirror     copied to canary",
            "      1  +0.2ms  1.50s  10.0.0.1:80  reset    reused      retried after 12.0ms",
            "      2  +0.2ms  1.50s  10.0.0.2:80  200      reused      sent to the client",
            "     1  10.0.0.1:80  up       chosen, 0 in flight",
            "        10.0.0.2:80  up       compared and not less loaded, 4 in flight",
            "        10.0.0.3:80  down     skipped: down: connection refused [2J",
            "        10.0.0.4:80  unknown  skipped: no verdict of its checks yet, and others are up",
            "        and 7 more",
            "beta   its headers are missing or have other values",
            "shop   taken",
        ] {
            assert!(page.lines().any(|given| given == line), "`{line}` is not in\n{page}");
        }
    }

    #[test]
    fn what_ended_badly_says_how() {
        let broken =
            Explained { status: 503, error: Some("no-healthy-endpoint".to_owned()), attempts: Vec::new(), ..request() };
        assert!(headline(&broken).ends_with("was answered 503 (no-healthy-endpoint) without an attempt in 31.2ms"));
        let refused = Explained { method: None, status: 0, error: Some("client-gone".to_owned()), ..request() };
        let line = headline(&refused);
        assert!(line.starts_with("a request whose head was refused was not answered (client-gone)"), "{line}");
        let two = Requests { requests: vec![request(), request()] };
        assert!(render(&two, Paint::Plain).starts_with("2 requests have this id, the newest first\n\nGET "));
    }
}
