//! An axum server that takes eight requests at once, lets eight more wait, and answers 503 to the rest at once. A client sends
//! forty at the same time.
//!
//! `cargo run -p mainstay-resilience --example axum_server`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::http::{StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mainstay_resilience::limit::Rate;
use mainstay_resilience::{BoxError, BulkheadLayer, RateLimitLayer, Rejected, TimeoutLayer, bulkhead};
use tower::ServiceBuilder;

/// What the layers refuse is answered with a status that says what to do about it.
async fn refused(error: BoxError) -> Response {
    let (status, reason) = match Rejected::of(&*error) {
        Some(rejected @ Rejected::Timeout { .. }) => (StatusCode::GATEWAY_TIMEOUT, rejected.word()),
        Some(rejected @ Rejected::Limited { .. }) => (StatusCode::TOO_MANY_REQUESTS, rejected.word()),
        Some(rejected) => (StatusCode::SERVICE_UNAVAILABLE, rejected.word()),
        None => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    };
    let wait = Rejected::of(&*error).and_then(Rejected::retry_after).unwrap_or(Duration::from_secs(1));
    (status, [(RETRY_AFTER, wait.as_secs().max(1).to_string())], reason).into_response()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let size = bulkhead::Policy { queue: 8, queue_timeout: Duration::from_secs(1), ..bulkhead::Policy::fixed(8) };
    let bulkhead = BulkheadLayer::new(size).named("orders");
    let layers = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(refused))
        .layer(RateLimitLayer::new(Rate::new(1_000, Duration::from_secs(1), 100)))
        .layer(bulkhead.clone())
        .layer(TimeoutLayer::new(Duration::from_secs(2)));
    let order = || async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        "ordered"
    };
    let router = Router::new().route("/orders", get(order).layer(layers));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let uri: axum::http::Uri = format!("http://{}/orders", listener.local_addr()?).parse()?;

    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<axum::body::Bytes>>();
    let requests = futures_util::future::join_all((0..40).map(|_request| client.get(uri.clone())));
    let answers = tokio::select! {
        ended = async { axum::serve(listener, router).await } => return Ok(ended?),
        answers = requests => answers,
    };
    let mut by_status = BTreeMap::new();
    for answer in answers {
        *by_status.entry(answer?.status()).or_insert(0) += 1;
    }
    println!("answers: {by_status:?}\nbulkhead: {:?}", bulkhead.counts());
    Ok(())
}
