//! OpenSLO v1: objectives as other tools write them.
//!
//! OpenSLO names services and targets and leaves what is measured to queries of other systems, which nobody else can answer.
//! A ratio metric is taken as availability and a threshold metric as latency, of the service of the same name; what that
//! leaves out is said.

use serde::Deserialize;

/// Bytes of a file, at most.
pub const BYTES_MAX: usize = 1_048_576;

/// An objective of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// Its name, of letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The service it is about.
    pub service: String,
    /// Of latency: what takes longer, in seconds, is bad; `None` is availability.
    pub threshold_seconds: Option<f64>,
    /// The share that is to be good, in percent.
    pub target_percent: f64,
    /// The window as OpenSLO has it, such as `28d`.
    pub window: String,
}

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Import {
    /// Its objectives.
    pub objectives: Vec<Imported>,
    /// What was left out, or was not sure, a sentence each.
    pub notes: Vec<String>,
}

/// Why nothing can be made of a file.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is too large.
    #[error("it has {0} bytes, and at most {BYTES_MAX} are read")]
    TooLarge(usize),
    /// It is not YAML of the form of OpenSLO.
    #[error("it is no OpenSLO: {0}")]
    Syntax(String),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    service: String,
    indicator: Option<Indicator>,
    indicator_ref: Option<String>,
    #[serde(default)]
    time_window: Vec<TimeWindow>,
    budgeting_method: Option<String>,
    #[serde(default)]
    objectives: Vec<Target>,
    // Of `kind: SLI`.
    threshold_metric: Option<serde_json::Value>,
    ratio_metric: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Indicator {
    #[serde(default)]
    spec: IndicatorSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndicatorSpec {
    threshold_metric: Option<serde_json::Value>,
    ratio_metric: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TimeWindow {
    #[serde(default)]
    duration: String,
    #[serde(default)]
    is_rolling: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    target: Option<f64>,
    target_percent: Option<f64>,
    op: Option<String>,
    value: Option<f64>,
}

/// Reads a file of one or more documents.
///
/// # Errors
/// If it is too large, or no YAML in the form of OpenSLO.
pub fn read(text: &str) -> Result<Import, ImportError> {
    if text.len() > BYTES_MAX {
        return Err(ImportError::TooLarge(text.len()));
    }
    let documents: Vec<Document> =
        serde_saphyr::from_multiple(text).map_err(|error| ImportError::Syntax(first_line(&error.to_string())))?;
    let mut import = Import::default();
    for document in &documents {
        let name = &document.metadata.name;
        if document.api_version != "openslo/v1" {
            let version = clip(&document.api_version);
            import.notes.push(format!("{} {name}: of version `{version}`; only openslo/v1 is read", document.kind));
        } else if document.kind == "SLO" {
            objective(document, &documents, &mut import);
        } else if document.kind != "SLI" && document.kind != "Service" {
            import.notes.push(format!("{} {name}: not taken over", clip(&document.kind)));
        }
    }
    if documents.is_empty() {
        return Err(ImportError::Syntax("it is empty".to_owned()));
    }
    Ok(import)
}

fn objective(document: &Document, all: &[Document], import: &mut Import) {
    let (spec, name) = (&document.spec, plain(&document.metadata.name));
    let Import { objectives, notes } = import;
    let mut note = |text: &str| notes.push(format!("SLO {name}: {text}"));
    match spec.budgeting_method.as_deref() {
        None | Some("Occurrences") => {}
        Some(method) => {
            note(&format!("budgeting method {} is not supported; events are counted instead", clip(method)))
        }
    }
    let window = match spec.time_window.as_slice() {
        [] => "28d".to_owned(),
        [first, rest @ ..] => {
            if !first.is_rolling || !rest.is_empty() {
                note("calendar windows are not supported; the window rolls instead");
            }
            days(&first.duration).unwrap_or_else(|| {
                note(&format!("a window of `{}` is not supported; 28d instead", clip(&first.duration)));
                "28d".to_owned()
            })
        }
    };
    let referred = spec
        .indicator_ref
        .as_ref()
        .and_then(|name| all.iter().find(|it| it.kind == "SLI" && it.metadata.name == *name).map(|sli| &sli.spec));
    let is_threshold = match (&spec.indicator, referred) {
        (Some(indicator), _) => {
            Some((indicator.spec.threshold_metric.is_some(), indicator.spec.ratio_metric.is_some()))
        }
        (None, Some(sli)) => Some((sli.threshold_metric.is_some(), sli.ratio_metric.is_some())),
        (None, None) => None,
    };
    let is_threshold = match is_threshold {
        Some((true, _)) => true,
        Some((false, true)) => false,
        Some((false, false)) | None => {
            note("what it measures is not in this file; taken as availability");
            false
        }
    };
    note(if is_threshold {
        "its query is replaced by the latency of the service; its value is taken as seconds"
    } else {
        "its query is replaced by the service's share of responses below 500"
    });
    let many = spec.objectives.len() > 1;
    for (number, target) in spec.objectives.iter().enumerate() {
        let Some(percent) = target.target_percent.or(target.target.map(|share| share * 100.0)) else {
            note("an objective without a target is left out");
            continue;
        };
        let threshold_seconds = target.value.filter(|_| is_threshold);
        if is_threshold && (threshold_seconds.is_none() || !matches!(target.op.as_deref(), Some("lt" | "lte"))) {
            note("a threshold that is no upper bound (op lt or lte, and a value) is left out");
            continue;
        }
        let name = if many { format!("{name}-{}", number + 1) } else { name.clone() };
        let service = plain(&spec.service);
        objectives.push(Imported { name, service, threshold_seconds, target_percent: percent, window: window.clone() });
    }
}

/// A length of OpenSLO in days: it has minutes, hours, days, weeks, months, quarters and years.
fn days(duration: &str) -> Option<String> {
    let (number, unit) = duration.split_at_checked(duration.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|number| (1..=1_000).contains(number))?;
    let days = match unit {
        "d" => number,
        "w" => number * 7,
        "M" if number == 1 => 30,
        "h" if number.is_multiple_of(24) => number / 24,
        _other => return None,
    };
    (1..=35).contains(&days).then(|| format!("{days}d"))
}

/// A name of which only what a configuration allows is left.
fn plain(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let name: String = name.chars().take(80).map(allowed).collect();
    let name = name.trim_start_matches(['-', '.']);
    if name.is_empty() { "unnamed".to_owned() } else { name.to_owned() }
}

fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "\
apiVersion: openslo/v1
kind: SLO
metadata: {name: checkout latency, displayName: fast}
spec:
  service: checkout
  indicator:
    metadata: {name: p}
    spec:
      thresholdMetric: {metricSource: {type: Prometheus, spec: {query: up}}}
  timeWindow: [{duration: 4w, isRolling: true}]
  budgetingMethod: Occurrences
  objectives:
  - {op: lte, value: 0.5, target: 0.99}
  - {op: lte, value: 1, targetPercent: 99.9}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: checkout}
spec:
  service: checkout
  indicatorRef: share
  timeWindow: [{duration: 1Q, isRolling: false}]
  budgetingMethod: Timeslices
  objectives: [{target: 0.999}]
---
apiVersion: openslo/v1
kind: SLI
metadata: {name: share}
spec: {ratioMetric: {counter: true}}
---
apiVersion: openslo/v1
kind: AlertPolicy
metadata: {name: page}
spec: {}
";

    #[test]
    fn objectives_are_taken_over_and_what_is_not_is_said() {
        let import = read(TWO).expect("it is OpenSLO");
        let of = |name: &str, threshold_seconds, target_percent| Imported {
            name: name.to_owned(),
            service: "checkout".to_owned(),
            threshold_seconds,
            target_percent,
            window: "28d".to_owned(),
        };
        let expected = [
            of("checkout-latency-1", Some(0.5), 99.0),
            of("checkout-latency-2", Some(1.0), 99.9),
            of("checkout", None, 99.9),
        ];
        assert_eq!(import.objectives, expected);
        for said in ["Timeslices", "calendar windows", "`1Q`", "AlertPolicy page", "taken as seconds"] {
            assert!(import.notes.iter().any(|note| note.contains(said)), "{said}: {:#?}", import.notes);
        }
    }

    #[test]
    fn what_is_no_openslo_is_refused_and_nothing_panics() {
        assert!(read("a: [").is_err() && read("").is_err());
        let other = read("apiVersion: v2\nkind: SLO\n").expect("YAML of that form");
        assert!(other.objectives.is_empty() && other.notes[0].contains("only openslo/v1"));
        assert!(read(&" ".repeat(BYTES_MAX + 1)).is_err());
        for cut in (0..TWO.len()).step_by(7) {
            let _survived = read(&TWO[..cut]);
        }
        assert_eq!(
            (days("1M"), days("x"), days(""), days("99d"), days("48h")),
            (Some("30d".to_owned()), None, None, None, Some("2d".to_owned()))
        );
    }
}
