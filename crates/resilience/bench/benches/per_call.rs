//! What one call costs: `cargo bench -p mainstay-resilience-bench`.
//!
//! The service below answers at once, so that what is measured is the layer alone, on one thread without contention. Each
//! crate is set as nearly alike as its settings allow: a breaker over the last 100 calls or the last ten seconds that opens at
//! half, a bulkhead of 100, three attempts with a budget where there is one.

#![allow(missing_docs, reason = "criterion's macros make functions without")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use failsafe::futures::CircuitBreaker as _;
use mainstay_resilience as ours;
use mainstay_resilience_bench::{call, work};
use tower::retry::budget::Budget as _;
use tower::{Layer, Service, ServiceBuilder, service_fn};

const HOUR: Duration = Duration::from_secs(3600);

fn measure<S: Service<u64>>(criterion: &mut Criterion, name: &str, mut service: S, succeeds: bool) {
    assert_eq!(call(&mut service, 1), succeeds, "{name}");
    criterion.bench_function(name, |bencher| bencher.iter(|| black_box(call(&mut service, black_box(1)))));
}

/// Fails often enough for any breaker here to open.
fn broken<S: Service<u64>>(mut service: S) -> S {
    for _call in 0..200 {
        let _failed = call(&mut service, 0);
    }
    service
}

fn baseline(criterion: &mut Criterion) {
    measure(criterion, "nothing", service_fn(work), true);
}

fn our_breaker() -> ours::BreakerLayer {
    ours::BreakerLayer::new(ours::breaker::Policy { open_for: HOUR, open_max: HOUR, ..Default::default() })
}

fn their_breaker() -> impl Service<u64> {
    use tower_resilience::circuitbreaker::CircuitBreakerLayer;
    let layer = CircuitBreakerLayer::builder().failure_rate_threshold(0.5).sliding_window_size(100);
    layer.wait_duration_in_open(HOUR).build().expect("a breaker").layer(service_fn(work))
}

fn failsafe() -> impl Service<u64> {
    let backoff = failsafe::backoff::constant(HOUR);
    let policy = failsafe::failure_policy::success_rate_over_time_window(0.5, 20, Duration::from_secs(10), backoff);
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    service_fn(move |request| breaker.call(work(request)))
}

/// Its rate over time opens only after a whole window, so that failures in a row open this one.
fn failsafe_in_a_row() -> impl Service<u64> {
    let policy = failsafe::failure_policy::consecutive_failures(20, failsafe::backoff::constant(HOUR));
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    service_fn(move |request| breaker.call(work(request)))
}

fn recloser() -> impl Service<u64> {
    let breaker = recloser::Recloser::custom().error_rate(0.5).closed_len(100).open_wait(HOUR).build();
    let breaker = recloser::AsyncRecloser::from(breaker);
    service_fn(move |request| breaker.call(work(request)))
}

fn breakers(criterion: &mut Criterion) {
    measure(criterion, "breaker/closed/mainstay", our_breaker().layer(service_fn(work)), true);
    measure(criterion, "breaker/closed/failsafe", failsafe(), true);
    measure(criterion, "breaker/closed/recloser", recloser(), true);
    measure(criterion, "breaker/closed/tower-resilience", their_breaker(), true);
    measure(criterion, "breaker/open/mainstay", broken(our_breaker().layer(service_fn(work))), false);
    measure(criterion, "breaker/open/failsafe", broken(failsafe_in_a_row()), false);
    measure(criterion, "breaker/open/recloser", broken(recloser()), false);
    measure(criterion, "breaker/open/tower-resilience", broken(their_breaker()), false);
}

fn bulkheads(criterion: &mut Criterion) {
    use tower_resilience::bulkhead::BulkheadLayer;
    let ours = ours::BulkheadLayer::new(ours::bulkhead::Policy { queue: 100, ..ours::bulkhead::Policy::fixed(100) });
    measure(criterion, "bulkhead/mainstay", ours.layer(service_fn(work)), true);
    let towers = ServiceBuilder::new().concurrency_limit(100).service(service_fn(work));
    measure(criterion, "bulkhead/tower", towers, true);
    let theirs = BulkheadLayer::builder().max_concurrent_calls(100).build().expect("a bulkhead");
    measure(criterion, "bulkhead/tower-resilience", theirs.layer(service_fn(work)), true);
}

/// Three attempts within tower's own budget.
#[derive(Clone)]
struct Thrice {
    left: u32,
    budget: std::sync::Arc<tower::retry::budget::TpsBudget>,
}

impl tower::retry::Policy<u64, u64, std::io::Error> for Thrice {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _request: &mut u64, result: &mut Result<u64, std::io::Error>) -> Option<Self::Future> {
        if result.is_ok() {
            self.budget.deposit();
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        self.budget.withdraw().then(|| std::future::ready(()))
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}

fn retries(criterion: &mut Criterion) {
    use tower_resilience::retry::{RetryBudgetBuilder, RetryLayer};
    let ours = ours::RetryLayer::new(ours::retry::Policy::default(), ours::Budget::default());
    measure(criterion, "retry/mainstay", ours.layer(service_fn(work)), true);
    let thrice = Thrice { left: 2, budget: std::sync::Arc::default() };
    measure(criterion, "retry/tower", ServiceBuilder::new().retry(thrice).service(service_fn(work)), true);
    let budget = RetryBudgetBuilder::new().token_bucket().build().expect("a budget");
    let theirs = RetryLayer::<u64, u64, std::io::Error>::builder().max_attempts(3).budget(budget).build();
    measure(criterion, "retry/tower-resilience", theirs.layer(service_fn(work)), true);
}

fn stacks(criterion: &mut Criterion) {
    let stack = ServiceBuilder::new()
        .layer(ours::RetryLayer::new(ours::retry::Policy::default(), ours::Budget::default()))
        .layer(our_breaker())
        .layer(ours::BulkheadLayer::new(ours::bulkhead::Policy::fixed(100)))
        .service(service_fn(work));
    measure(criterion, "all-three/mainstay", stack, true);
    let limit = ours::RateLimitLayer::new(ours::limit::Rate::new(1_000_000_000, Duration::from_secs(1), 1_000_000_000));
    measure(criterion, "rate-limit/mainstay", limit.layer(service_fn(work)), true);
}

/// Timers and clocks of some layers want a runtime around them.
fn all(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _inside = runtime.enter();
    for group in [baseline, breakers, bulkheads, retries, stacks] {
        group(criterion);
    }
}

criterion_group!(per_call, all);
criterion_main!(per_call);
