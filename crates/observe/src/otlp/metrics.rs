//! From the text of `/metrics` (OpenMetrics) to OTLP, so that both tell the same.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum, exemplar,
};

use super::attributes;

/// Points of one text that are sent.
const POINTS_MAX: usize = 50_000;

/// One family while it is read.
#[derive(Default)]
struct Family {
    name: String,
    kind: String,
    help: String,
    unit: String,
    numbers: Vec<NumberDataPoint>,
    /// By the labels without `le`.
    histograms: BTreeMap<String, Buckets>,
}

#[derive(Default)]
struct Buckets {
    labels: Vec<KeyValue>,
    /// Upper bounds with cumulative counts.
    bounds: Vec<(f64, u64)>,
    sum: f64,
    count: u64,
    exemplars: Vec<Exemplar>,
}

/// Reads a text. Lines that cannot be read are left out.
pub(super) fn read(text: &str, started: SystemTime, now: SystemTime) -> Vec<Metric> {
    let nanos = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let (started, now) = (nanos(started), nanos(now));
    let (mut metrics, mut family, mut points) = (Vec::new(), Family::default(), 0);
    for line in text.lines() {
        if let Some(about) = line.strip_prefix("# ") {
            let mut parts = about.splitn(3, ' ');
            let (what, name, rest) =
                (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            if what == "EOF" {
                break;
            }
            if name != family.name {
                let before = std::mem::replace(&mut family, Family { name: name.to_owned(), ..Family::default() });
                metrics.extend(before.finish(started, now));
            }
            match what {
                "TYPE" => rest.clone_into(&mut family.kind),
                "HELP" => rest.clone_into(&mut family.help),
                "UNIT" => rest.clone_into(&mut family.unit),
                _unknown => {}
            }
        } else if points < POINTS_MAX {
            points += usize::from(family.sample(line, started, now).is_some());
        }
    }
    metrics.extend(family.finish(started, now));
    metrics
}

impl Family {
    fn sample(&mut self, line: &str, started: u64, now: u64) -> Option<()> {
        // An exemplar stands behind ` # `, which no number holds; labels may.
        let (name, labels, rest) = split(line)?;
        let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
        let suffix = name.strip_prefix(self.name.as_str())?;
        let mut labels = labels_of(labels)?;
        match (self.kind.as_str(), suffix) {
            ("histogram", "_bucket") => {
                let place = labels.iter().position(|(key, _value)| key == "le")?;
                let bound = match labels.remove(place).1.as_str() {
                    "+Inf" => f64::INFINITY,
                    bound => bound.parse().ok()?,
                };
                let buckets = self.buckets(labels);
                buckets.bounds.push((bound, value as u64));
                buckets.exemplars.extend(exemplar_of(rest));
            }
            ("histogram", "_sum") => self.buckets(labels).sum = value,
            ("histogram", "_count") => self.buckets(labels).count = value as u64,
            (_, "_created") => return None,
            (kind, _) => {
                let start_time_unix_nano = if kind == "counter" { started } else { 0 };
                self.numbers.push(NumberDataPoint {
                    attributes: attributes_of(&labels),
                    start_time_unix_nano,
                    time_unix_nano: now,
                    value: Some(Value::AsDouble(value)),
                    ..NumberDataPoint::default()
                });
            }
        }
        Some(())
    }

    fn buckets(&mut self, labels: Vec<(String, String)>) -> &mut Buckets {
        let key = format!("{labels:?}");
        self.histograms.entry(key).or_insert_with(|| Buckets { labels: attributes_of(&labels), ..Buckets::default() })
    }

    fn finish(self, started: u64, now: u64) -> Option<Metric> {
        let cumulative = AggregationTemporality::Cumulative.into();
        let data = if !self.histograms.is_empty() {
            let data_points = self.histograms.into_values().map(|buckets| buckets.point(started, now)).collect();
            Data::Histogram(Histogram { data_points, aggregation_temporality: cumulative })
        } else if self.numbers.is_empty() {
            return None;
        } else if self.kind == "counter" {
            let data_points = self.numbers;
            Data::Sum(Sum { data_points, aggregation_temporality: cumulative, is_monotonic: true })
        } else {
            Data::Gauge(Gauge { data_points: self.numbers })
        };
        // OpenTelemetry has units of UCUM.
        let unit = match self.unit.as_str() {
            "seconds" => "s",
            "bytes" => "By",
            other => other,
        };
        let unit = unit.to_owned();
        Some(Metric { name: self.name, description: self.help, unit, data: Some(data), ..Metric::default() })
    }
}

impl Buckets {
    fn point(mut self, started: u64, now: u64) -> HistogramDataPoint {
        self.bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut below = 0;
        let mut bucket_counts = Vec::with_capacity(self.bounds.len());
        for (_bound, cumulative) in &self.bounds {
            bucket_counts.push(cumulative.saturating_sub(below));
            below = *cumulative;
        }
        HistogramDataPoint {
            attributes: self.labels,
            start_time_unix_nano: started,
            time_unix_nano: now,
            count: self.count,
            sum: Some(self.sum),
            bucket_counts,
            explicit_bounds: self
                .bounds
                .iter()
                .map(|(bound, _count)| *bound)
                .filter(|bound| bound.is_finite())
                .collect(),
            exemplars: self.exemplars,
            ..HistogramDataPoint::default()
        }
    }
}

/// The exemplar behind a bucket's count, as Mainstay writes it: a trace, a value and a time.
fn exemplar_of(rest: &str) -> Option<Exemplar> {
    let (_count, exemplar) = rest.split_once(" # {trace_id=\"")?;
    let (trace, rest) = exemplar.split_once("\"} ")?;
    let (value, time) = rest.split_once(' ')?;
    let (seconds, millis) = time.split_once('.')?;
    let trace = u128::from_str_radix(trace, 16).ok()?;
    let (seconds, millis): (u64, u64) = (seconds.parse().ok()?, millis.parse().ok()?);
    Some(Exemplar {
        trace_id: trace.to_be_bytes().to_vec(),
        time_unix_nano: seconds.checked_mul(1_000)?.checked_add(millis)?.checked_mul(1_000_000)?,
        value: Some(exemplar::Value::AsDouble(value.parse().ok()?)),
        ..Exemplar::default()
    })
}

/// Name, labels and what follows of a sample.
fn split(line: &str) -> Option<(&str, &str, &str)> {
    let end = line.find(['{', ' '])?;
    if line.as_bytes().get(end) == Some(&b' ') {
        return Some((&line[..end], "", &line[end..]));
    }
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (place, byte) in line.bytes().enumerate().skip(end + 1) {
        match byte {
            _any if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'}' if !is_quoted => return Some((&line[..end], &line[end + 1..place], &line[place + 1..])),
            _other => {}
        }
    }
    None
}

/// The labels between braces.
fn labels_of(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let (mut value, mut end, mut is_escaped) = (String::new(), None, false);
        for (place, letter) in rest.char_indices() {
            match letter {
                'n' if is_escaped => value.push('\n'),
                letter if is_escaped => value.push(letter),
                '\\' => {
                    is_escaped = true;
                    continue;
                }
                '"' => {
                    end = Some(place);
                    break;
                }
                letter => value.push(letter),
            }
            is_escaped = false;
        }
        labels.push((name.to_owned(), value));
        text = rest.get(end? + 1..)?;
        text = text.strip_prefix(',').unwrap_or(text);
    }
    Some(labels)
}

fn attributes_of(labels: &[(String, String)]) -> Vec<KeyValue> {
    labels.iter().map(|(name, value)| attributes::text(name, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP a_requests Requests.
# TYPE a_requests counter
a_requests_total{route=\"x}y\",class=\"2xx\"} 5 # {trace_id=\"1\"} 0.1
a_requests_total{route=\"q\\\"\\\\\"} 7
# HELP a_time_seconds Time.
# TYPE a_time_seconds histogram
# UNIT a_time_seconds seconds
a_time_seconds_sum{route=\"x\"} 2.5
a_time_seconds_count{route=\"x\"} 4
a_time_seconds_bucket{le=\"0.1\",route=\"x\"} 1
a_time_seconds_bucket{le=\"1.0\",route=\"x\"} 3 # {trace_id=\"000000000000000000000000000000ab\"} 0.5 1700000000.250
a_time_seconds_bucket{le=\"+Inf\",route=\"x\"} 4
# HELP a_ready Ready.
# TYPE a_ready gauge
a_ready 1.0
not a sample
# EOF
";

    #[test]
    fn counters_gauges_and_histograms_come_through() {
        let metrics = read(TEXT, UNIX_EPOCH, SystemTime::now());
        let names: Vec<_> = metrics.iter().map(|metric| (metric.name.as_str(), metric.unit.as_str())).collect();
        assert_eq!(names, [("a_requests", ""), ("a_time_seconds", "s"), ("a_ready", "")]);
        let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("{:?}", metrics[0]) };
        assert!(sum.is_monotonic);
        let values: Vec<_> = sum.data_points.iter().map(|point| (point.attributes.len(), point.value)).collect();
        assert_eq!(values, [(2, Some(Value::AsDouble(5.0))), (1, Some(Value::AsDouble(7.0)))]);
        assert_eq!(sum.data_points[1].attributes, [attributes::text("route", "q\"\\")]);
        let Some(Data::Histogram(histogram)) = &metrics[1].data else { panic!("{:?}", metrics[1]) };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum, point.attributes.len()), (4, Some(2.5), 1));
        assert_eq!((&point.bucket_counts[..], &point.explicit_bounds[..]), (&[1, 2, 1][..], &[0.1, 1.0][..]));
        let [exemplar] = &point.exemplars[..] else { panic!("{point:?}") };
        assert_eq!(exemplar.trace_id[15], 0xab);
        assert_eq!(exemplar.value, Some(exemplar::Value::AsDouble(0.5)));
        assert_eq!(exemplar.time_unix_nano, 1_700_000_000_250_000_000);
        assert!(matches!(&metrics[2].data, Some(Data::Gauge(gauge)) if gauge.data_points.len() == 1));
    }

    #[test]
    fn nothing_that_is_no_text_of_metrics_breaks_it() {
        for text in [
            "",
            "#",
            "# ",
            "# TYPE",
            "a{",
            "a{b",
            "a{b=\"",
            "a{b=\"c\"",
            "a{b=\"c\"}",
            "x y z",
            "# TYPE a counter\na{=\"\"} x",
        ] {
            assert!(read(text, UNIX_EPOCH, UNIX_EPOCH).is_empty(), "{text}");
        }
    }
}
