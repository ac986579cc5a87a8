//! The nodes and services of a cluster on one page, as `mainstay status --cluster` shows them.

use std::time::Duration;

use crate::admin::document::ServiceState;
use crate::admin::objectives::spoken;
use crate::admin::overview::{NodeOverview, Overview, ServiceOverview};
use crate::admin::scope::Coverage;
use crate::status::table::{Cell, Paint, Tone, printable, render as table};

/// The whole page.
pub fn page(overview: &Overview, paint: Paint) -> String {
    let is = |state: ServiceState| overview.services.iter().any(|it| it.seen.iter().any(|seen| seen.state == state));
    let missing = overview.coverage.missing.len();
    let (tone, text) = if is(ServiceState::Down) {
        (Tone::Bad, "a service is down as a node sees it")
    } else if is(ServiceState::Degraded) || missing > 0 || overview.nodes.iter().any(|node| !node.ready) {
        (Tone::Warning, "not everything is well")
    } else {
        (Tone::Good, "all services are healthy at all nodes")
    };
    let mut page = format!("{}\n", paint.apply(tone, text));
    page.push_str(&whose(&overview.coverage));
    let facts = format!("asked of {}; rates over {} s", overview.node, overview.span_seconds);
    page.push_str(&paint.apply(Tone::Faint, &printable(&facts)));
    page.push_str("\n\n");
    page.push_str(&nodes(&overview.nodes, paint));
    page.push('\n');
    page.push_str(&services(&overview.services, paint));
    page
}

/// Whose numbers are in a sum, and whose are not: a line each.
pub fn whose(coverage: &Coverage) -> String {
    let mut text = format!("{}\n", printable(&format!("numbers of {}", coverage.nodes.join(", "))));
    for missing in &coverage.missing {
        text.push_str(&format!("{}\n", printable(&format!("WITHOUT {}: {}", missing.name, missing.reason))));
    }
    text
}

fn nodes(nodes: &[NodeOverview], paint: Paint) -> String {
    let row = |node: &NodeOverview| {
        let ready = if node.ready { ("yes", Tone::Good) } else { ("no", Tone::Bad) };
        vec![
            Cell::text(&node.name),
            Cell::text(ready.0).tone(ready.1),
            Cell::number(format!("{:.1}", node.rate)),
            Cell::number(percent(node.error_percent)),
            Cell::number(spoken(Duration::from_secs(node.uptime_seconds))),
            Cell::text(&node.version),
            Cell::text(&node.verdict),
        ]
    };
    let rows: Vec<Vec<Cell>> = nodes.iter().map(row).collect();
    table(&["NODE", "READY", "REQ/S", "ERRORS", "UP", "VERSION", ""], &rows, paint)
}

fn services(services: &[ServiceOverview], paint: Paint) -> String {
    let millis = |number: Option<f64>| number.map_or("-".to_owned(), |number| format!("{number:.0} ms"));
    let row = |service: &ServiceOverview| {
        let worst = service.seen.iter().fold(Tone::Good, |worst, seen| match (worst, seen.state) {
            (Tone::Bad, _) | (_, ServiceState::Down) => Tone::Bad,
            (Tone::Warning, _) | (_, ServiceState::Degraded) => Tone::Warning,
            (_, ServiceState::Healthy) => worst,
        });
        let seen = service.seen.iter().map(|it| format!("{} {}/{}", it.node, it.eligible, it.endpoints));
        vec![
            Cell::text(&service.name),
            Cell::number(format!("{:.1}", service.rate)),
            Cell::number(percent(service.error_percent)),
            Cell::number(millis(service.p50_ms)),
            Cell::number(millis(service.p99_ms)),
            Cell::text(seen.collect::<Vec<_>>().join(", ")).tone(worst),
        ]
    };
    let rows: Vec<Vec<Cell>> = services.iter().map(row).collect();
    table(&["SERVICE", "REQ/S", "ERRORS", "P50", "P99", "ENDPOINTS"], &rows, paint)
}

fn percent(number: Option<f64>) -> String {
    number.map_or("-".to_owned(), |number| format!("{number:.2}%"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::scope::MissingNode;

    #[test]
    fn who_is_missing_is_said_before_any_number() {
        let missing = MissingNode { name: "lb3".to_owned(), reason: "nobody listens".to_owned() };
        let coverage = Coverage { nodes: vec!["lb1".to_owned(), "lb2".to_owned()], missing: vec![missing] };
        let page = page(&Overview { node: "lb1".to_owned(), coverage, ..Overview::default() }, Paint::Plain);
        let lines: Vec<&str> = page.lines().collect();
        assert_eq!(lines[..3], ["not everything is well", "numbers of lb1, lb2", "WITHOUT lb3: nobody listens"]);
    }
}
