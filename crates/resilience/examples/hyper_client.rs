//! A hyper client that retries what may be made twice, hedges what is slow, and stops asking a server that is down. The server
//! answers every fifth request 503 and every seventh after half a second.
//!
//! `cargo run -p mainstay-resilience --example hyper_client`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{Request, StatusCode, Uri};
use axum::routing::get;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mainstay_resilience::http::{Idempotent, Statuses};
use mainstay_resilience::{
    BoxError, BreakerLayer, Budget, HedgeLayer, RetryLayer, TimeoutLayer, breaker, hedge, retry,
};
use tower::{ServiceBuilder, ServiceExt};

static REQUESTS: AtomicU32 = AtomicU32::new(0);

async fn flaky() -> (StatusCode, &'static str) {
    let request = REQUESTS.fetch_add(1, Ordering::Relaxed) + 1;
    if request.is_multiple_of(7) {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    if request.is_multiple_of(5) { (StatusCode::SERVICE_UNAVAILABLE, "no") } else { (StatusCode::OK, "yes") }
}

async fn ask(uri: Uri) -> Result<(), BoxError> {
    // One budget for both ways to make a call twice.
    let budget = Budget::default();
    let retry = RetryLayer::new(retry::Policy::default(), budget.clone()).judged_by(Statuses).repeated_by(Idempotent);
    let hedge = HedgeLayer::new(hedge::Policy { quantile: 0.8, ..hedge::Policy::default() }, budget)
        .judged_by(Statuses)
        .repeated_by(Idempotent);
    let breaker = BreakerLayer::new(breaker::Policy::default()).judged_by(Statuses);
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_secs(3)))
        .layer(retry.clone())
        .layer(hedge.clone())
        .layer(breaker.clone())
        .service(Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>());
    let (mut by_status, mut longest) = (BTreeMap::new(), Duration::ZERO);
    for _request in 0..100 {
        let request = Request::get(uri.clone()).body(Empty::new())?;
        let began = Instant::now();
        let response = service.clone().oneshot(request).await?;
        longest = longest.max(began.elapsed());
        *by_status.entry(response.status()).or_insert(0) += 1;
    }
    println!("answers: {by_status:?}, the slowest after {longest:?}");
    println!("retry: {:?}\nhedge: {:?}\nbreaker: {:?}", retry.counts(), hedge.counts(), breaker.counts());
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let uri: Uri = format!("http://{}/", listener.local_addr()?).parse()?;
    let router = Router::new().route("/", get(flaky));
    tokio::select! {
        ended = async { axum::serve(listener, router).await } => Ok(ended?),
        asked = ask(uri) => asked,
    }
}
