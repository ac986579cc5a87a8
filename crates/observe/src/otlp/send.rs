//! Sends messages to a collector, over HTTP or gRPC.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay_core::random::Rng;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message as _;
use tokio::time::{Instant, timeout};
use tonic::metadata::{MetadataKey, MetadataMap};
use tonic::transport::Channel;

use super::retry::{self, Refusal};
use super::settings::{Settings, Tls};
use super::way::Way;

/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 64 * 1024;
/// The longest time that a collector can ask for.
const AFTER_MAX: Duration = Duration::from_secs(60);

/// What one message holds.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Logs(ExportLogsServiceRequest),
    Traces(ExportTraceServiceRequest),
    Metrics(ExportMetricsServiceRequest),
}

impl Message {
    /// Records, spans or metrics in it.
    pub(super) fn items(&self) -> u64 {
        let count = match self {
            Self::Logs(logs) => {
                logs.resource_logs.iter().flat_map(|it| &it.scope_logs).map(|it| it.log_records.len()).sum::<usize>()
            }
            Self::Traces(traces) => {
                traces.resource_spans.iter().flat_map(|it| &it.scope_spans).map(|it| it.spans.len()).sum()
            }
            Self::Metrics(metrics) => {
                metrics.resource_metrics.iter().flat_map(|it| &it.scope_metrics).map(|it| it.metrics.len()).sum()
            }
        };
        count as u64
    }

    const fn path(&self) -> &'static str {
        match self {
            Self::Logs(_) => "/v1/logs",
            Self::Traces(_) => "/v1/traces",
            Self::Metrics(_) => "/v1/metrics",
        }
    }

    fn encoded(&self) -> Vec<u8> {
        match self {
            Self::Logs(message) => message.encode_to_vec(),
            Self::Traces(message) => message.encode_to_vec(),
            Self::Metrics(message) => message.encode_to_vec(),
        }
    }

    /// How many items an answer says were rejected.
    fn rejected(&self, answer: &[u8]) -> u64 {
        let rejected = match self {
            Self::Logs(_) => ExportLogsServiceResponse::decode(answer)
                .ok()
                .and_then(|it| it.partial_success)
                .map(|it| it.rejected_log_records),
            Self::Traces(_) => ExportTraceServiceResponse::decode(answer)
                .ok()
                .and_then(|it| it.partial_success)
                .map(|it| it.rejected_spans),
            Self::Metrics(_) => {
                let answer = ExportMetricsServiceResponse::decode(answer).ok();
                answer.and_then(|it| it.partial_success).map(|it| it.rejected_data_points)
            }
        };
        rejected.and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
    }
}

/// A collector.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) settings: Arc<Settings>,
    way: Way,
    /// The collector has refused or not answered, which was said once.
    is_failing: bool,
}

impl Sink {
    /// Prepares to send by `settings`; connects later.
    pub(super) fn new(settings: &Arc<Settings>) -> Result<Self, String> {
        Ok(Self { settings: Arc::clone(settings), way: Way::new(settings)?, is_failing: false })
    }

    /// Prepares anew if the collector has refused or not answered: its certificates, or this node's, may be others by now.
    fn refresh(&mut self) {
        if self.is_failing && self.settings.tls != Tls::default() {
            match Way::new(&self.settings) {
                Ok(way) => self.way = way,
                Err(error) => tracing::debug!(error, "the way to the collector stays as it is"),
            }
        }
    }

    /// Sends a message until it is accepted or given up. Answers how many of its items were not accepted.
    pub(super) async fn deliver(&mut self, message: Message, failures: &AtomicU64, rng: &mut Rng) -> u64 {
        let until = Instant::now() + self.settings.retry_for;
        let mut number = 0;
        loop {
            self.refresh();
            let refusal = match timeout(self.settings.timeout, self.send(&message)).await {
                Ok(Ok(rejected)) => {
                    if std::mem::take(&mut self.is_failing) {
                        tracing::info!(endpoint = self.settings.endpoint, "the collector accepts telemetry again");
                    }
                    return rejected;
                }
                Ok(Err(refusal)) => refusal,
                Err(_late) => Refusal::Passing { reason: "no answer in time".to_owned(), after: None },
            };
            failures.fetch_add(1, Ordering::Relaxed);
            let (reason, wait) = match refusal {
                Refusal::Final(reason) => (reason, None),
                Refusal::Passing { reason, after } => (reason, Some(retry::wait(number, after, rng))),
            };
            if !std::mem::replace(&mut self.is_failing, true) {
                tracing::warn!(endpoint = self.settings.endpoint, reason, "the collector does not accept telemetry");
            }
            let Some(wait) = wait.filter(|wait| Instant::now() + *wait < until) else { return u64::MAX };
            tokio::time::sleep(wait).await;
            number += 1;
        }
    }

    /// Sends a message once. Answers how many of its items were rejected.
    async fn send(&self, message: &Message) -> Result<u64, Refusal> {
        match &self.way {
            Way::Http(client) => self.over_http(client, message).await,
            Way::Grpc(channel) => self.over_grpc(channel.clone(), message).await,
        }
    }

    async fn over_http(&self, client: &reqwest::Client, message: &Message) -> Result<u64, Refusal> {
        let url = format!("{}{}", self.settings.endpoint, message.path());
        let mut request = client.post(url).header("content-type", "application/x-protobuf").body(message.encoded());
        for (name, secret) in &self.settings.headers {
            request = request.header(name, secret.read().map_err(Refusal::Final)?);
        }
        let unreachable = |error: reqwest::Error| Refusal::Passing { reason: chain(&error), after: None };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let after = after.map(|seconds| Duration::from_secs(seconds).min(AFTER_MAX));
        let mut answer = Vec::new();
        while let Some(part) = response.chunk().await.map_err(unreachable)? {
            answer.extend_from_slice(&part[..part.len().min(ANSWER_MAX - answer.len())]);
            if answer.len() == ANSWER_MAX {
                break;
            }
        }
        match status {
            200..=299 => Ok(message.rejected(&answer)),
            status if retry::http_may_pass(status) => {
                Err(Refusal::Passing { reason: format!("status {status}"), after })
            }
            status => Err(Refusal::Final(format!("status {status}"))),
        }
    }

    async fn over_grpc(&self, channel: Channel, message: &Message) -> Result<u64, Refusal> {
        let metadata = self.metadata()?;
        let answer = match message {
            Message::Logs(message) => {
                let mut client = LogsServiceClient::new(channel).max_decoding_message_size(ANSWER_MAX);
                let answer = client.export(with(metadata, message.clone())).await;
                answer.map(|it| it.into_inner().partial_success.map(|it| it.rejected_log_records))
            }
            Message::Traces(message) => {
                let mut client = TraceServiceClient::new(channel).max_decoding_message_size(ANSWER_MAX);
                let answer = client.export(with(metadata, message.clone())).await;
                answer.map(|it| it.into_inner().partial_success.map(|it| it.rejected_spans))
            }
            Message::Metrics(message) => {
                let mut client = MetricsServiceClient::new(channel).max_decoding_message_size(ANSWER_MAX);
                let answer = client.export(with(metadata, message.clone())).await;
                answer.map(|it| it.into_inner().partial_success.map(|it| it.rejected_data_points))
            }
        };
        match answer {
            Ok(rejected) => Ok(rejected.and_then(|count| u64::try_from(count).ok()).unwrap_or(0)),
            Err(status) => {
                let reason = format!("{:?}: {}", status.code(), status.message());
                if retry::grpc_may_pass(status.code(), !status.details().is_empty()) {
                    Err(Refusal::Passing { reason, after: None })
                } else {
                    Err(Refusal::Final(reason))
                }
            }
        }
    }

    fn metadata(&self) -> Result<MetadataMap, Refusal> {
        let mut metadata = MetadataMap::new();
        for (name, secret) in &self.settings.headers {
            let value = secret.read().map_err(Refusal::Final)?;
            // Neither says what the value was.
            let key =
                MetadataKey::from_bytes(name.as_bytes()).map_err(|_bad| format!("`{name}` is no name of metadata"));
            let value = value.parse().map_err(|_bad| format!("the value of `{name}` cannot be sent"));
            metadata.insert(key.map_err(Refusal::Final)?, value.map_err(Refusal::Final)?);
        }
        Ok(metadata)
    }
}

fn with<T>(metadata: MetadataMap, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    *request.metadata_mut() = metadata;
    request
}

/// An error with its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
