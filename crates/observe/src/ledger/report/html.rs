//! A report as one page that needs nothing else: to be printed or sent.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use mainstay_core::ledger::{Day, State};
use mainstay_runtime::clock::Wall;

use super::Report;

const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;\
background:#fff}table{border-collapse:collapse;width:100%;margin:1rem 0}th,td{text-align:left;padding:.3rem .6rem;\
border-bottom:1px solid #d5d9de;vertical-align:top}td.n{text-align:right;font-variant-numeric:tabular-nums}svg{width:100%;\
height:auto}h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}.up{fill:#2c7a4b}.partial{fill:#c98a1b}.down{fill:#b3261e}\
.planned{fill:#5a6b7b}.none{fill:#e6e8eb}text{font-size:11px;fill:#4a5058}@media print{body{margin:0}}";

/// Width of the graphs, in their own units.
const WIDTH: f64 = 880.0;
const BAR: f64 = 90.0;
/// Days that are drawn, the latest.
const DAYS_MAX: usize = 120;

/// The page.
pub fn page(report: &Report) -> String {
    let mut page = String::new();
    let title = format!("Availability of {} {}", report.kind, escape(&report.name));
    // Writing to a String cannot fail.
    let _infallible = write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>\
         <p>{} to {}, as node {} saw it.</p>",
        time(report.since_unix_ms),
        time(report.until_unix_ms),
        escape(&report.node)
    );
    figures(&mut page, report);
    by_day(&mut page, report);
    timeline(&mut page, report);
    outages(&mut page, report);
    page.push_str("<h2>How to read it</h2><ul>");
    for note in &report.notes {
        let _infallible = write!(page, "<li>{}</li>", escape(note));
    }
    page.push_str("</ul></body></html>\n");
    page
}

fn figures(page: &mut String, report: &Report) {
    let figures = &report.figures;
    let percent = |share: Option<f64>| share.map_or("not known".to_owned(), |share| format!("{share:.4} %"));
    let length = |seconds: Option<f64>| seconds.map_or("not known".to_owned(), length);
    let recovery = &report.recovery;
    let rows = [
        ("Availability of the observed time", percent(figures.availability_percent)),
        ("The same without planned down-time", percent(figures.unplanned_availability_percent)),
        ("Coverage: observed share of the time", percent(figures.coverage_percent)),
        ("Down-time in a year at this availability", length(report.down_a_year_seconds)),
        ("Up, in part included", length(Some(figures.up_seconds))),
        ("Of that degraded", length(Some(figures.partial_seconds))),
        ("Down without a plan", length(Some(figures.down_seconds))),
        ("Down by plan", length(Some(figures.planned_seconds))),
        ("Failures", figures.failures.to_string()),
        ("MTBF (up-time between failures)", length(figures.mtbf_seconds)),
        ("MTTF (up-times that ended in a failure)", length(figures.mttf_seconds)),
        ("MTTR", length(figures.mttr_seconds)),
        (
            "Failures a year at 95 % confidence",
            figures.failures_per_second.map_or("not known".to_owned(), |range| {
                let year = 365.25 * 86_400.0;
                format!("{:.2} to {:.2}", range.least * year, range.most * year)
            }),
        ),
        ("Failovers to this node", recovery.failovers.to_string()),
        ("Recovery time (RTO as reached), mean and longest", {
            format!("{}, {}", length(recovery.mean_seconds), length(recovery.longest_seconds))
        }),
        ("Data lost (RPO as reached)", recovery.lost_seconds.map_or("none is kept here".to_owned(), self::length)),
    ];
    page.push_str("<h2>Figures</h2><table>");
    for (name, value) in rows {
        let _infallible = write!(page, "<tr><td>{name}</td><td class=\"n\">{value}</td></tr>");
    }
    page.push_str("</table>");
}

/// A bar a day: up, degraded, planned and down as parts of the observed time.
fn by_day(page: &mut String, report: &Report) {
    let all: Vec<&Day> = report.earlier_days.iter().chain(&report.days).collect();
    let shown = all.get(all.len().saturating_sub(DAYS_MAX)..).unwrap_or_default();
    if shown.is_empty() {
        return;
    }
    let step = (WIDTH / shown.len() as f64).min(40.0);
    let _infallible = write!(
        page,
        "<h2>By day</h2><svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"Availability by day\">",
        BAR + 20.0
    );
    for (index, day) in shown.iter().enumerate() {
        let x = index as f64 * step;
        let observed = day.observed_seconds().max(1e-9);
        let mut top = 0.0;
        let date = time(day.day * 86_400_000).chars().take(10).collect::<String>();
        let share = 100.0 * day.up_seconds / observed;
        let _infallible = write!(page, "<g><title>{date}: {share:.3} % up, {} failures</title>", day.failures);
        let up = day.up_seconds - day.partial_seconds;
        for (class, part) in
            [("down", day.down_seconds), ("planned", day.planned_seconds), ("partial", day.partial_seconds), ("up", up)]
        {
            let mut height = BAR * part / observed;
            // Seconds of a day would not be seen.
            if part > 0.0 && height < 2.0 {
                height = 2.0;
            }
            let height = height.min(BAR - top);
            if height > 0.0 {
                let width = (step - 2.0).max(1.0);
                let _infallible = write!(
                    page,
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
                );
                top += height;
            }
        }
        page.push_str("</g>");
        if index % shown.len().div_ceil(10) == 0 {
            let label = date.get(5..).unwrap_or_default();
            let _infallible = write!(page, "<text x=\"{x:.1}\" y=\"{:.0}\">{label}</text>", BAR + 15.0);
        }
    }
    page.push_str("</svg>");
}

/// The whole time on one line.
fn timeline(page: &mut String, report: &Report) {
    let span = report.until_unix_ms.saturating_sub(report.since_unix_ms).max(1) as f64;
    let place = |at: u64| WIDTH * at.saturating_sub(report.since_unix_ms) as f64 / span;
    let _infallible = write!(
        page,
        "<h2>Timeline</h2><svg viewBox=\"0 0 {WIDTH} 50\" role=\"img\" aria-label=\"Outages in time\">\
         <rect class=\"none\" x=\"0\" y=\"0\" width=\"{WIDTH}\" height=\"30\"/>"
    );
    for outage in &report.outages {
        let (class, x) = (class(outage.state, outage.planned), place(outage.began_unix_ms));
        let width = (WIDTH * outage.seconds * 1e3 / span).max(1.5);
        let _infallible = write!(
            page,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"0\" width=\"{width:.1}\" height=\"30\"><title>{} for {}: \
             {}</title></rect>",
            time(outage.began_unix_ms),
            length(outage.seconds),
            escape(&outage.cause)
        );
    }
    let _infallible = write!(
        page,
        "<text x=\"0\" y=\"45\">{}</text><text x=\"{WIDTH}\" y=\"45\" text-anchor=\"end\">{}</text></svg>",
        time(report.since_unix_ms),
        time(report.until_unix_ms)
    );
}

fn outages(page: &mut String, report: &Report) {
    page.push_str("<h2>When it was not well</h2>");
    if report.outages.is_empty() {
        page.push_str("<p>Never, as far as somebody looked.</p>");
        return;
    }
    page.push_str("<table><tr><th>Began</th><th>Lasted</th><th>State</th><th>Cause</th></tr>");
    for outage in &report.outages {
        let state = match (outage.state, outage.planned) {
            (State::Down, true) => "down by plan",
            (State::Down, false) => "down",
            _partial => "degraded",
        };
        let _infallible = write!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td><td>{state}</td><td>{}</td></tr>",
            time(outage.began_unix_ms),
            length(outage.seconds),
            escape(&outage.cause)
        );
    }
    page.push_str("</table>");
}

const fn class(state: State, planned: bool) -> &'static str {
    match (state, planned) {
        (State::Down, true) => "planned",
        (State::Down, false) => "down",
        (State::Partial, _) => "partial",
        (State::Up, _) => "up",
        (State::NotObserved, _) => "none",
    }
}

/// A length for people.
fn length(seconds: f64) -> String {
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else if seconds < 3_600.0 {
        format!("{:.1} min", seconds / 60.0)
    } else if seconds < 2.0 * 86_400.0 {
        format!("{:.2} h", seconds / 3_600.0)
    } else {
        format!("{:.2} d", seconds / 86_400.0)
    }
}

fn time(unix_ms: u64) -> String {
    let mut text = Vec::new();
    Wall::new().write(UNIX_EPOCH + Duration::from_millis(unix_ms), &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Causes come from endpoints, too: nothing in them becomes markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
