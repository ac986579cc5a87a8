//! What goes with all telemetry: attributes, and who it comes from.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use serde_json::Value;

use super::send::Message;

/// Who telemetry comes from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) node: String,
    pub(super) version: &'static str,
}

/// A name with a value.
pub(super) fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A name with a text.
pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Any::StringValue(value.to_owned()))
}

/// A JSON value; `None` for null.
pub(super) fn any(value: &Value) -> Option<Any> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => Any::BoolValue(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Any::IntValue(whole),
            None => Any::DoubleValue(number.as_f64()?),
        },
        Value::String(text) => Any::StringValue(text.clone()),
        Value::Array(values) => {
            Any::ArrayValue(ArrayValue { values: values.iter().map(|value| AnyValue { value: any(value) }).collect() })
        }
        Value::Object(fields) => {
            let values = fields.iter().filter_map(|(key, value)| Some(attribute(key, any(value)?))).collect();
            Any::KvlistValue(KeyValueList { values })
        }
    })
}

impl Origin {
    fn resource(&self) -> Option<Resource> {
        let attributes = vec![
            text("service.name", "mainstay"),
            text("service.version", self.version),
            text("service.instance.id", &self.node),
            text("host.name", &self.node),
        ];
        Some(Resource { attributes, ..Resource::default() })
    }

    fn scope(&self) -> Option<InstrumentationScope> {
        let version = self.version.to_owned();
        Some(InstrumentationScope { name: "mainstay".to_owned(), version, ..InstrumentationScope::default() })
    }

    pub(super) fn logs(&self, log_records: Vec<LogRecord>) -> Message {
        let scope = ScopeLogs { scope: self.scope(), log_records, ..ScopeLogs::default() };
        let of = ResourceLogs { resource: self.resource(), scope_logs: vec![scope], ..ResourceLogs::default() };
        Message::Logs(ExportLogsServiceRequest { resource_logs: vec![of] })
    }

    pub(super) fn spans(&self, spans: Vec<Span>) -> Message {
        let scope = ScopeSpans { scope: self.scope(), spans, ..ScopeSpans::default() };
        let of = ResourceSpans { resource: self.resource(), scope_spans: vec![scope], ..ResourceSpans::default() };
        Message::Traces(ExportTraceServiceRequest { resource_spans: vec![of] })
    }

    pub(super) fn metrics(&self, metrics: Vec<Metric>) -> Message {
        let scope = ScopeMetrics { scope: self.scope(), metrics, ..ScopeMetrics::default() };
        let of =
            ResourceMetrics { resource: self.resource(), scope_metrics: vec![scope], ..ResourceMetrics::default() };
        Message::Metrics(ExportMetricsServiceRequest { resource_metrics: vec![of] })
    }
}
