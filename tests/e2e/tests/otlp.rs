//! OTLP: what collectors get over HTTP and gRPC, and that one that is stuck costs no request anything.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mainstay_e2e::cluster::{Nodes, plain};
use mainstay_e2e::gateway::simple;
use mainstay_e2e::load::{Plan, Report};
use mainstay_e2e::scripted::Scripted;
use mainstay_e2e::tls::{Authority, Identity};
use mainstay_e2e::wire::get;
use mainstay_e2e::{Mainstay, Origin, eventually, free};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

const ALL: &str = "[tracing]\n[otlp]\nmetrics_interval = \"1s\"\nretry_for = \"30s\"\n";

/// A message that a collector has got: its path, a header, and its bytes.
type Arrived = (String, String, Vec<u8>);

/// All of them.
#[derive(Clone, Default)]
struct Got(Arc<Mutex<Vec<Arrived>>>);

impl Got {
    fn add(&self, path: &str, token: &str, bytes: Vec<u8>) {
        self.0.lock().expect("no thread panics with the lock").push((path.to_owned(), token.to_owned(), bytes));
    }

    fn of<T: Message + Default>(&self, path: &str) -> Vec<T> {
        let got = self.0.lock().expect("no thread panics with the lock");
        got.iter()
            .filter(|(of, ..)| of.contains(path))
            .map(|(_, _, bytes)| T::decode(&bytes[..]).expect("protobuf"))
            .collect()
    }

    fn records(&self) -> Vec<LogRecord> {
        let messages = self.of::<ExportLogsServiceRequest>("ogs");
        let scopes = messages.into_iter().flat_map(|it| it.resource_logs).flat_map(|it| it.scope_logs);
        scopes.flat_map(|it| it.log_records).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let messages = self.of::<ExportTraceServiceRequest>("race");
        let scopes = messages.into_iter().flat_map(|it| it.resource_spans).flat_map(|it| it.scope_spans);
        scopes.flat_map(|it| it.spans).collect()
    }

    fn metrics(&self) -> Vec<String> {
        let messages = self.of::<ExportMetricsServiceRequest>("etrics");
        let scopes = messages.into_iter().flat_map(|it| it.resource_metrics).flat_map(|it| it.scope_metrics);
        scopes.flat_map(|it| it.metrics).map(|it| it.name).collect()
    }

    fn tokens(&self) -> Vec<String> {
        self.0.lock().expect("no thread panics with the lock").iter().map(|(_, token, _)| token.clone()).collect()
    }
}

/// A collector that speaks HTTP. Its first answer is 503 with `Retry-After`.
fn over_http(got: &Got) -> Scripted {
    let (got, answered) = (got.clone(), Mutex::new(0));
    Scripted::start(move |mut exchange| {
        while let Some((head, body)) = exchange.request() {
            let number = {
                let mut answered = answered.lock().expect("no thread panics with the lock");
                *answered += 1;
                *answered
            };
            if number == 1 {
                exchange.send("HTTP/1.1 503 Not now\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n");
                continue;
            }
            got.add(&head.line, head.get("x-token").unwrap_or_default(), body.bytes);
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    })
}

/// A collector that speaks gRPC, on a thread of its own for as long as the test runs.
fn over_grpc(got: &Got, authority: Option<&Authority>) -> SocketAddr {
    let (address, got) = (free(), got.clone());
    let tls = authority.map(|authority| acceptor(authority, &authority.issue(&[&address.ip().to_string()])));
    let listener = std::net::TcpListener::bind(address).expect("a free address");
    listener.set_nonblocking(true).expect("not blocking");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        while let Ok((stream, _peer)) = listener.accept().await {
            let (got, tls) = (got.clone(), tls.clone());
            let service = service_fn(move |request: hyper::Request<Incoming>| answer(request, got.clone()));
            let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(async move {
                let _ended = match tls {
                    None => http.serve_connection(TokioIo::new(stream), service).await,
                    // Who shows no certificate of the authority gets no further.
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await,
                        Err(_refused) => Ok(()),
                    },
                };
            });
        }
    });
    std::mem::forget(runtime);
    address
}

async fn answer(
    request: hyper::Request<Incoming>,
    got: Got,
) -> Result<hyper::Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let path = request.uri().path().to_owned();
    let token = request.headers().get("x-token").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    if let Ok(body) = request.into_body().collect().await {
        // A flag and a length stand before the one message.
        got.add(&path, &token, body.to_bytes().get(5..).unwrap_or_default().to_vec());
    }
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from_static(&[0; 5])).with_trailers(async move { Some(Ok(trailers)) });
    let response = hyper::Response::builder().header("content-type", "application/grpc").body(body);
    Ok(response.expect("a response"))
}

fn everything_arrives(endpoint: SocketAddr, protocol: &str, got: &Got) {
    everything_arrives_at(&format!("http://{endpoint}"), protocol, got, "", &[]);
}

fn everything_arrives_at(endpoint: &str, protocol: &str, got: &Got, more: &str, files: &[(&str, &str)]) {
    let (origin, listen) = (Origin::start(), free());
    let settings = format!(
        "{ALL}endpoint = \"{endpoint}\"\nprotocol = \"{protocol}\"\n{more}headers = {{ x-token = {{ file = \"token\" }} }}\n"
    );
    let config = simple(listen, &[origin.address()], "") + &settings;
    let mut gateway = Mainstay::launch("", &config, &[files, &[("token", "planted-token\n")]].concat());
    gateway.wait_until_ready();
    let id = get(listen, "/ok?secret=1").header("x-request-id").expect("an id").to_owned();
    eventually("the request arrives", Duration::from_secs(20), || !got.records().is_empty() && got.spans().len() >= 2);
    let line = gateway.logged("/ok");
    let record = got.records().into_iter().find(|it| format!("{it:?}").contains(&id)).expect("the request's record");
    assert_eq!(hex(&record.trace_id), line["trace_id"].as_str().unwrap_or_default());
    let spans = got.spans();
    let own = spans.iter().find(|span| hex(&span.span_id) == line["span_id"]).expect("the request's span");
    let attempt =
        spans.iter().find(|span| hex(&span.span_id) == line["attempts"][0]["span_id"]).expect("the attempt's");
    assert_eq!(attempt.parent_span_id, own.span_id);
    assert!(own.start_time_unix_nano <= attempt.start_time_unix_nano, "{own:?} {attempt:?}");
    eventually("metrics arrive", Duration::from_secs(20), || {
        got.metrics().iter().any(|name| name == "mainstay_requests")
    });
    assert!(got.tokens().iter().all(|token| token == "planted-token"), "{:?}", got.tokens());
    eventually("they are counted", Duration::from_secs(10), || gateway.metric("mainstay_otlp_sent_total", &[]) >= 3.0);
    // What was not sent yet is sent at the end.
    assert_eq!(get(listen, "/ok?last").status, 200);
    let before = got.records().len();
    gateway.terminate(Duration::from_secs(20));
    eventually("the last one arrives", Duration::from_secs(5), || got.records().len() > before);
    assert!(!gateway.stderr().contains("planted"), "{}", gateway.stderr());
}

/// The time that 99 of 100 requests stay below.
fn p99(report: &Report) -> Duration {
    let mut times: Vec<Duration> = report.outcomes.iter().map(|outcome| outcome.took).collect();
    times.sort();
    times[times.len() * 99 / 100]
}

#[test]
fn over_http_and_after_a_refusal_that_passes() {
    let got = Got::default();
    let collector = over_http(&got);
    everything_arrives(collector.address(), "http", &got);
    let paths: Vec<String> = collector.seen().into_iter().filter(|line| line.starts_with("POST")).collect();
    assert!(
        ["/v1/logs", "/v1/traces", "/v1/metrics"].iter().all(|it| paths.iter().any(|path| path.contains(it))),
        "{paths:?}"
    );
}

#[test]
fn over_grpc_too() {
    let got = Got::default();
    everything_arrives(over_grpc(&got, None), "grpc", &got);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a collector shows, and whom it lets in: who has a certificate of `authority`.
fn acceptor(authority: &Authority, identity: &Identity) -> TlsAcceptor {
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(der(&authority.pem())).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_client_cert_verifier(clients.expect("a verifier"));
    let mut config = builder.with_single_cert(vec![der(&identity.cert)], key).expect("a configuration");
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

#[test]
fn over_grpc_and_tls_with_a_certificate_on_both_sides() {
    let (got, authority) = (Got::default(), Authority::new("collectors"));
    let ours = authority.issue(&["node"]);
    let address = over_grpc(&got, Some(&authority));
    let more = "ca = \"ca.pem\"\ncert = \"own.pem\"\nkey = \"own.key\"\n";
    let (ca, stranger) = (authority.pem(), Authority::new("strangers"));
    let files = [("ca.pem", ca.as_str()), ("own.pem", &ours.cert), ("own.key", &ours.key)];
    everything_arrives_at(&format!("https://{address}"), "grpc", &got, more, &files);
    // A collector that cannot show who it is gets nothing, until the file says that it is to be trusted.
    let (got, origin, listen) = (Got::default(), Origin::start(), free());
    let address = over_grpc(&got, Some(&authority));
    let settings = format!("{ALL}endpoint = \"https://{address}\"\nprotocol = \"grpc\"\n{more}");
    let wrong = stranger.pem();
    let files = [("ca.pem", wrong.as_str()), ("own.pem", &ours.cert), ("own.key", &ours.key)];
    let mut gateway = Mainstay::launch("", &(simple(listen, &[origin.address()], "") + &settings), &files);
    gateway.wait_until_ready();
    eventually("it is refused", Duration::from_secs(60), || gateway.metric("mainstay_otlp_failures_total", &[]) >= 1.0);
    assert!(got.0.lock().expect("no thread panics with the lock").is_empty());
    std::fs::write(gateway.dir().join("ca.pem"), &ca).expect("the authority");
    eventually("it is trusted", Duration::from_secs(60), || !got.metrics().is_empty());
}

/// What it took to write a session into its table is a part of its request's trace.
#[test]
fn a_session_that_is_written_has_a_span_of_its_own() {
    let (got, origin, listen) = (Got::default(), Origin::start(), free());
    let collector = over_http(&got);
    let settings =
        format!("[tracing]\n[otlp]\nsignals = [\"traces\"]\nendpoint = \"http://{}\"\n", collector.address());
    let config = simple(listen, &[origin.address()], "sticky = { table = \"embedded\" }\n") + &settings;
    let gateway = Mainstay::start(&config);
    assert!(get(listen, "/ok").header("set-cookie").is_some());
    eventually("the write arrives", Duration::from_secs(20), || {
        got.spans().iter().any(|span| span.name == "session write")
    });
    let (spans, line) = (got.spans(), gateway.logged("/ok"));
    let write = spans.iter().find(|span| span.name == "session write").expect("the write's");
    let own = spans.iter().find(|span| span.span_id == write.parent_span_id).expect("its request's");
    assert_eq!(
        (hex(&own.span_id).as_str(), &write.trace_id),
        (line["span_id"].as_str().expect("an id"), &own.trace_id)
    );
    assert!(own.start_time_unix_nano <= write.start_time_unix_nano, "{own:?} {write:?}");
    assert!(write.end_time_unix_nano <= own.end_time_unix_nano, "{own:?} {write:?}");
    let outcome = line["session_write"]["outcome"].as_str().expect("an outcome").to_owned();
    assert!(format!("{:?}", write.attributes).contains(&format!("\"{outcome}\"")), "{write:?}");
}

/// A node that is alone in its cluster takes the cluster's roles over, and tells of it.
#[test]
fn what_the_cluster_does_is_told_in_spans() {
    let got = Got::default();
    let collector = over_http(&got);
    let settings = format!("[otlp]\nsignals = [\"traces\"]\nendpoint = \"http://{}\"\n", collector.address());
    let nodes = Nodes::start(1, move |place| plain(place) + &settings);
    eventually("a role is taken over", Duration::from_secs(60), || {
        got.spans().iter().any(|span| span.name == "role takeover" && span.trace_id.len() == 16)
    });
    assert!(got.records().is_empty() && got.metrics().is_empty());
    drop(nodes);
}

#[test]
fn a_collector_that_is_stuck_costs_no_request_anything() {
    // It accepts connections and never reads.
    let stuck = std::net::TcpListener::bind(free()).expect("a free address");
    let (origin, with, without) = (Origin::start(), free(), free());
    let endpoint = stuck.local_addr().expect("bound");
    let settings = format!("{ALL}endpoint = \"http://{endpoint}\"\ntimeout = \"500ms\"\n");
    let gateway = Mainstay::start(&(simple(with, &[origin.address()], "") + &settings));
    let control = Mainstay::start(&simple(without, &[origin.address()], ""));
    // Enough lines for more batches than the queue holds.
    let load = |listen| Plan { requests: 30_000, clients: 4, ..Plan::new(listen) }.run();
    let (told, expected) = (load(with), load(without));
    told.assert_clean(30_000);
    expected.assert_clean(30_000);
    let (told, expected) = (p99(&told), p99(&expected));
    assert!(told <= expected * 3 + Duration::from_millis(50), "{told:?} beside {expected:?} without a collector");
    let failures = || gateway.metric("mainstay_otlp_failures_total", &[]);
    eventually("it was noticed", Duration::from_secs(20), || failures() >= 1.0);
    assert_eq!(gateway.metric("mainstay_access_log_dropped_total", &[]), 0.0);
    drop((control, stuck));
}
