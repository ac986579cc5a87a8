//! Exemplars of OpenMetrics: at each bucket of a route's durations a trace that fell into it and can be looked up.
//!
//! The library writes exemplars only of histograms that it counts itself. Ours are counted by workers; so their lines are
//! completed once they are written.

use std::fmt::Write as _;

use mainstay_gateway::state::{BUCKETS, Exemplar, Route, State};

/// What the lines that get exemplars begin with.
pub(super) const FAMILY: &str = "http_server_request_duration_seconds_bucket{";
/// Buckets of one route.
const EACH: usize = BUCKETS.len() + 1;

/// The text with exemplars. `text` has all buckets of each route of `state`, in this order.
pub(super) fn complete(text: &str, state: &State) -> String {
    let mut answer = String::with_capacity(text.len() + text.len() / 8);
    let mut number = 0;
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        answer.push_str(line);
        if line.starts_with(FAMILY) {
            let found = state.routes.get(number / EACH).and_then(|route| latest(route, number % EACH));
            if let Some(exemplar) = found {
                write(&mut answer, exemplar);
            }
            number += 1;
        }
        answer.push_str(end);
    }
    answer
}

/// The last one of a bucket that any worker has noted.
fn latest(route: &Route, bucket: usize) -> Option<Exemplar> {
    route.shards.iter().filter_map(|counters| counters.exemplars.get(bucket)).max_by_key(|exemplar| exemplar.at)
}

fn write(answer: &mut String, exemplar: Exemplar) {
    let Exemplar { trace, duration, at } = exemplar;
    // Writing to a string does not fail.
    let _written = write!(
        answer,
        " # {{trace_id=\"{trace:032x}\"}} {} {}.{:03}",
        duration.as_secs_f64(),
        at.as_secs(),
        at.subsec_millis()
    );
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::admin::metrics::{Facts, Format, render};
    use crate::admin::sample_state::{sample, serve};

    use super::*;

    #[test]
    fn a_bucket_names_the_last_trace_of_any_worker_and_only_in_openmetrics() {
        let state = sample();
        serve(&state, 0, 1, 7, Duration::from_millis(30));
        let one = |trace, millis, at| Exemplar {
            trace,
            duration: Duration::from_millis(millis),
            at: Duration::from_millis(at),
        };
        let note = |worker, exemplar| state.routes[0].shards.of(worker).exemplars.note(exemplar);
        note(0, one(0xabc, 30, 1_700_000_000_250));
        note(1, one(0xdef, 40, 1_700_000_000_125));
        note(1, one(1 << 127, 70_000, 1_700_000_001_000));
        let text = render(state.clone(), Facts::default(), Format::OpenMetrics).expect("a string takes everything");
        for line in [
            "http_server_request_duration_seconds_bucket{le=\"0.05\",route=\"default\"} 7 # \
             {trace_id=\"00000000000000000000000000000abc\"} 0.03 1700000000.250",
            "http_server_request_duration_seconds_bucket{le=\"+Inf\",route=\"default\"} 7 # \
             {trace_id=\"80000000000000000000000000000000\"} 70 1700000001.000",
        ] {
            assert!(text.lines().any(|found| found == line), "`{line}` is missing in\n{text}");
        }
        assert_eq!(text.matches("trace_id").count(), 2);
        let older = render(state, Facts::default(), Format::Prometheus).expect("a string takes everything");
        assert!(!older.contains("trace_id"));
    }
}
