//! The two formats of the answer.

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0: what is answered unless something else is asked for.
    OpenMetrics,
    /// Prometheus' own text format, for tools that know nothing else (`promtool check metrics`).
    Prometheus,
}

impl Format {
    /// What an `Accept` header asks for.
    pub fn wanted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("text/plain") && !accept.contains("openmetrics") => Self::Prometheus,
            Some(_) | None => Self::OpenMetrics,
        }
    }

    /// The content type of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The same samples, described as the older format does: a counter's name includes its suffix, there are no units and no
/// end mark, and information is a gauge.
pub(super) fn as_prometheus(openmetrics: &str) -> String {
    let mut answer = String::with_capacity(openmetrics.len());
    let mut help = "";
    for line in openmetrics.lines() {
        if let Some(text) = line.strip_prefix("# HELP ") {
            // Written once the type below it is known.
            help = text.split_once(' ').map_or("", |(_name, text)| text);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _other => ("", kind),
            };
            answer.push_str(&format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            answer.push_str(line);
            answer.push('\n');
        }
    }
    answer
}
