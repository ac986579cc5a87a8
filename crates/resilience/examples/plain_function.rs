//! A plain async function behind a breaker, retries and a fallback. It fails for a while and recovers.
//!
//! `cargo run -p mainstay-resilience --example plain_function`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mainstay_resilience::{BoxError, BreakerLayer, Budget, FallbackLayer, RetryLayer, TimeoutLayer, breaker, retry};
use tower::{ServiceBuilder, ServiceExt, service_fn};

static CALLS: AtomicU32 = AtomicU32::new(0);

/// What a customer may like, asked of a service that is down between its 3rd and its 9th call.
async fn recommendations(customer: u32) -> Result<Vec<String>, BoxError> {
    let call = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    if (3..9).contains(&call) {
        return Err("connection refused".into());
    }
    Ok(vec![format!("what customer {customer} likes")])
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let policy = breaker::Policy {
        consecutive: Some(4),
        open_for: Duration::from_millis(200),
        open_max: Duration::from_millis(200),
        probes: 1,
        ramp: Duration::ZERO,
        ..breaker::Policy::default()
    };
    let breaker = BreakerLayer::new(policy).named("recommendations");
    let fallback = FallbackLayer::new(|_failure| async { Ok(vec!["what everybody likes".to_owned()]) });
    // From the outside in: whatever happens below, there is an answer.
    let service = ServiceBuilder::new()
        .layer(fallback.clone())
        .layer(RetryLayer::new(retry::Policy::default(), Budget::default()))
        .layer(breaker.clone())
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .service(service_fn(recommendations));
    for customer in 1..=20 {
        let answer = service.clone().oneshot(customer).await?;
        println!("{customer:2}: {:<25} (breaker {})", answer.join(", "), breaker.phase().word());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("breaker: {:?}\nfallback: {:?}", breaker.counts(), fallback.counts());
    Ok(())
}
