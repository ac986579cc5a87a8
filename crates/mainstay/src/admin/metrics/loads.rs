//! The families about what endpoints say of their own load. An endpoint that says nothing has no samples.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use mainstay_core::load_report::Report;
use mainstay_gateway::state::State;

use super::{Families, endpoints};

impl Families<'_, '_> {
    pub(super) fn loads(&mut self, state: &State) -> fmt::Result {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let each = |read: fn(&Report) -> Option<f32>| {
            endpoints(state)
                .filter_map(move |(labels, endpoint)| Some((labels, f64::from(read(&endpoint.load.heard(now)?)?))))
        };
        let name =
            ("mainstay_endpoint_cpu_utilization", "Processors of the endpoint in use, of one, as it says itself.");
        self.gauge(name, None, each(|report| report.cpu))?;
        let name =
            ("mainstay_endpoint_memory_utilization", "Memory of the endpoint in use, of one, as it says itself.");
        self.gauge(name, None, each(|report| report.memory))?;
        let name =
            ("mainstay_endpoint_application_utilization", "What limits the endpoint, of one, as it says itself.");
        self.gauge(name, None, each(|report| report.application))?;
        let name = ("mainstay_endpoint_said_requests_per_second", "Requests a second, as the endpoint says itself.");
        self.gauge(name, None, each(|report| report.requests))?;
        let name = ("mainstay_endpoint_said_errors_per_second", "Errors a second, as the endpoint says itself.");
        self.gauge(name, None, each(|report| report.errors))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::admin::metrics::{Facts, Format, render};
    use crate::admin::sample_state::sample;

    #[test]
    fn what_an_endpoint_says_stands_there_and_of_others_nothing() {
        let state = sample();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let report = Report { cpu: Some(0.5), requests: Some(12.0), ..Report::default() };
        state.services[0].endpoints[1].load.note(&report, now);
        let text = render(Arc::clone(&state), Facts::default(), Format::OpenMetrics).expect("text");
        let lines: Vec<&str> =
            text.lines().filter(|line| line.contains("_utilization{") || line.contains("_said_")).collect();
        let samples: Vec<&&str> = lines.iter().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                &"mainstay_endpoint_cpu_utilization{service=\"shop\",endpoint=\"127.0.0.1:3002\"} 0.5",
                &"mainstay_endpoint_said_requests_per_second{service=\"shop\",endpoint=\"127.0.0.1:3002\"} 12.0"
            ]
        );
    }
}
