//! The property: a call that its caller cancels counts as neither success nor failure, and gives back all that it held.

use mainstay_resilience::breaker::{self, Phase};
use mainstay_resilience::{BreakerLayer, BulkheadLayer, CoalesceLayer, Rejected, bulkhead, coalesce};
use proptest::prelude::*;
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceBuilder, ServiceExt};

use crate::scripted::{Does, Scripted, ms, rejection};

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Calls take 100 ms each and are cancelled after random times: whoever stays gets an answer, and in the end the bulkhead is
    /// empty.
    #[test]
    fn a_bulkhead_is_empty_when_everybody_is_gone(
        patience in prop::collection::vec((0u64..50, 1u64..400), 1..40),
        concurrency in 1u32..5,
        queue in 0u32..10,
    ) {
        run(async move {
            let scripted = Scripted::new(|_call| Does::answer_after(ms(100)));
            let policy = bulkhead::Policy { queue, queue_timeout: ms(250), ..bulkhead::Policy::fixed(concurrency) };
            let layer = BulkheadLayer::new(policy);
            let service = layer.layer(scripted.service());
            let mut calls = Vec::new();
            for (pause, patience) in patience {
                calls.push(tokio::spawn(timeout(ms(patience), service.clone().oneshot(1))));
                sleep(ms(pause)).await;
                assert!(layer.in_flight() <= concurrency && layer.waiting() <= queue);
            }
            for call in calls {
                if let Ok(Err(error)) = call.await.expect("no panic") {
                    let rejected = rejection(&error);
                    assert!(matches!(rejected, Some(Rejected::Full | Rejected::QueueTimeout { .. })), "{rejected:?}");
                }
            }
            assert_eq!((layer.in_flight(), layer.waiting()), (0, 0));
            assert!(scripted.most_at_once() <= u64::from(concurrency));
            service.oneshot(1).await.expect("there is room again");
        });
    }

    /// Every call would fail, and each is cancelled before it does: the breaker stays closed. Probes that are cancelled keep no
    /// slot, so that a later one may close it.
    #[test]
    fn a_breaker_learns_nothing_and_keeps_nothing(cancelled in 1usize..60, probes in 0usize..20) {
        run(async move {
            let scripted = Scripted::new(|_call| Does::FailAfter(ms(100)));
            let layer = BreakerLayer::new(breaker::Policy {
                consecutive: Some(3), open_for: ms(1_000), jitter: 0.0, probes: 1, ramp: ms(0), ..Default::default()
            });
            let service = layer.layer(scripted.service());
            for _call in 0..cancelled {
                timeout(ms(50), service.clone().oneshot(1)).await.expect_err("cancelled");
            }
            assert_eq!((layer.phase(), layer.counts().get("cancelled")), (Phase::Closed, cancelled as u64));
            for _call in 0..3 {
                service.clone().oneshot(1).await.expect_err("it fails");
            }
            sleep(ms(1_000)).await;
            for _probe in 0..probes {
                let error = timeout(ms(50), service.clone().oneshot(1)).await;
                assert!(error.is_err(), "each got the slot and was cancelled: {error:?}");
            }
            assert_eq!(layer.phase(), Phase::HalfOpen);
            let well = layer.layer(Scripted::new(|_call| Does::answer_after(ms(1))).service());
            well.oneshot(1).await.expect("the slot is free");
            assert_eq!(layer.phase(), Phase::Closed);
        });
    }

    /// Whoever leads is cancelled at random times; all who stay are answered, and nothing is left over.
    #[test]
    fn coalesced_calls_survive_whoever_leaves(patience in prop::collection::vec(1u64..400, 1..30)) {
        run(async move {
            let scripted = Scripted::new(|_call| Does::answer_after(ms(100)));
            let policy = coalesce::Policy { leaders: 100, ..coalesce::Policy::default() };
            let layer = CoalesceLayer::new(policy, |request: &u32| Some(*request));
            let service = ServiceBuilder::new().layer(layer.clone()).service(scripted.service());
            let calls: Vec<_> = patience
                .iter()
                .map(|patience| tokio::spawn(timeout(ms(*patience), service.clone().oneshot(7))))
                .collect();
            for (call, patience) in calls.into_iter().zip(&patience) {
                match call.await.expect("no panic") {
                    Ok(answer) => assert_eq!(answer.expect("an answer"), 7),
                    Err(_elapsed) => assert!(*patience < 400),
                }
            }
            let before = scripted.calls();
            service.oneshot(7).await.expect("nobody leads any more");
            assert_eq!(scripted.calls(), before + 1);
        });
    }
}
