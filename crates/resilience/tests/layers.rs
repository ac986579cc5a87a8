//! The layers over a service that does what the test says, with tokio's clock paused.

#[path = "layers/cancelled.rs"]
mod cancelled;
#[path = "layers/scripted.rs"]
mod scripted;

use std::sync::Arc;
use std::time::Duration;

use mainstay_resilience::breaker::{self, Phase};
use mainstay_resilience::limit::Rate;
use mainstay_resilience::{
    BoxError, BreakerLayer, Budget, BulkheadLayer, CoalesceLayer, FallbackLayer, HedgeLayer, RateLimitLayer, Rejected,
    RetryLayer, TimeoutLayer, Verdict, backoff, budget, bulkhead, coalesce, hedge, retry,
};
use scripted::{Does, Scripted, ms, rejection};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt};

fn breaker_policy() -> breaker::Policy {
    breaker::Policy {
        consecutive: Some(3),
        open_for: ms(1_000),
        jitter: 0.0,
        probes: 1,
        ramp: ms(0),
        ..Default::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_too_long_is_given_up() {
    let scripted = Scripted::new(|call| Does::answer_after(ms(if call == 0 { 50 } else { 5_000 })));
    let layer = TimeoutLayer::new(ms(100));
    let service = layer.layer(scripted.service());
    assert_eq!(service.clone().oneshot(7).await.expect("in time"), 7);
    let began = Instant::now();
    let error = service.oneshot(8).await.expect_err("too late");
    assert_eq!(rejection(&error), Some(Rejected::Timeout { after: ms(100) }));
    assert_eq!((began.elapsed(), layer.counts().get("timeout")), (ms(100), 1));
    assert_eq!(scripted.cancelled(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_opens_tries_and_closes() {
    let scripted = Scripted::new(|call| if call < 4 { Does::Fail } else { Does::answer_after(ms(1)) });
    let layer = BreakerLayer::new(breaker_policy());
    let service = layer.layer(scripted.service());
    for _call in 0..3 {
        assert_eq!(rejection(&service.clone().oneshot(1).await.expect_err("it fails")), None);
    }
    assert_eq!(layer.phase(), Phase::Open);
    let error = service.clone().oneshot(1).await.expect_err("open");
    assert_eq!(rejection(&error), Some(Rejected::Open { retry_after: ms(1_000) }));
    assert_eq!(scripted.calls(), 3, "it was not made");
    sleep(ms(1_000)).await;
    assert_eq!(layer.phase(), Phase::HalfOpen);
    service.clone().oneshot(1).await.expect_err("the probe fails");
    assert_eq!(layer.phase(), Phase::Open, "and for twice as long");
    sleep(ms(1_500)).await;
    assert_eq!(layer.phase(), Phase::Open);
    sleep(ms(500)).await;
    assert_eq!(service.clone().oneshot(9).await.expect("the probe succeeds"), 9);
    assert_eq!(layer.phase(), Phase::Closed);
    let counts: Vec<_> = layer.counts().iter().collect();
    let expected = [("success", 1), ("failure", 4), ("ignored", 0), ("cancelled", 0), ("rejected", 1), ("opened", 2)];
    assert_eq!(counts, expected);
}

#[tokio::test(start_paused = true)]
async fn rejections_further_in_do_not_open_a_breaker() {
    let scripted = Scripted::new(|_call| Does::answer_after(ms(1_000_000)));
    let (breaker, bulkhead) = (BreakerLayer::new(breaker_policy()), BulkheadLayer::new(bulkhead::Policy::fixed(1)));
    let service = ServiceBuilder::new().layer(breaker.clone()).layer(bulkhead.clone()).service(scripted.service());
    let held = tokio::spawn(service.clone().oneshot(0));
    sleep(ms(1)).await;
    for _call in 0..10 {
        let error = service.clone().oneshot(1).await.expect_err("full");
        assert_eq!(rejection(&error), Some(Rejected::Full));
    }
    assert_eq!((breaker.phase(), breaker.counts().get("ignored")), (Phase::Closed, 10));
    held.abort();
}

#[tokio::test(start_paused = true)]
async fn retries_wait_with_jitter_and_end_with_their_attempts() {
    let scripted = Scripted::new(|call| if call < 2 { Does::Fail } else { Does::answer_after(ms(0)) });
    let policy = retry::Policy {
        attempts: 3,
        backoff: backoff::Policy { base: ms(100), cap: ms(1_000) },
        ..retry::Policy::default()
    };
    let layer = RetryLayer::new(policy, Budget::default());
    assert_eq!(layer.layer(scripted.service()).oneshot(5).await.expect("the third attempt"), 5);
    assert_eq!((scripted.calls(), layer.counts().get("retry")), (3, 2));
    let failing = Scripted::new(|_call| Does::Fail);
    let began = Instant::now();
    layer.layer(failing.service()).oneshot(5).await.expect_err("all fail");
    assert_eq!((failing.calls(), layer.counts().get("given-up")), (3, 1));
    assert!(began.elapsed() <= ms(100 + 200), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn retries_stay_within_their_budget() {
    for (ratio, most) in [(0.1, 110), (10.0, 300)] {
        let failing = Scripted::new(|_call| Does::Fail);
        let budget = Budget::new(budget::Policy { ratio, floor_per_second: 0.0, ..budget::Policy::default() });
        let policy = retry::Policy {
            backoff: backoff::Policy { base: Duration::ZERO, cap: Duration::ZERO },
            ..retry::Policy::default()
        };
        let service = RetryLayer::new(policy, budget).layer(failing.service());
        for _call in 0..100 {
            service.clone().oneshot(1).await.expect_err("it fails");
        }
        assert_eq!(failing.calls(), most, "with {ratio}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_made_twice_is_not() {
    let failing = Scripted::new(|_call| Does::Fail);
    let layer = RetryLayer::new(retry::Policy::default(), Budget::default())
        .repeated_by(|request: &u32| request.is_multiple_of(2).then_some(*request));
    layer.layer(failing.service()).oneshot(1).await.expect_err("it fails");
    assert_eq!(failing.calls(), 1);
    layer.layer(failing.service()).oneshot(2).await.expect_err("it fails");
    assert_eq!(failing.calls(), 4);
    let judged = RetryLayer::new(retry::Policy::default(), Budget::default())
        .judged_by(|_result: &Result<u32, BoxError>| Verdict::Ignored);
    judged.layer(failing.service()).oneshot(2).await.expect_err("it fails");
    assert_eq!(failing.calls(), 5, "the judge says that it is the call's own fault");
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_lets_some_in_and_some_wait() {
    let scripted = Scripted::new(|_call| Does::answer_after(ms(100)));
    let policy = bulkhead::Policy { queue: 2, queue_timeout: ms(150), ..bulkhead::Policy::fixed(2) };
    let layer = BulkheadLayer::new(policy);
    let service = layer.layer(scripted.service());
    let calls: Vec<_> = (0..6).map(|number| tokio::spawn(service.clone().oneshot(number))).collect();
    sleep(ms(1)).await;
    assert_eq!((layer.in_flight(), layer.waiting(), scripted.calls()), (2, 2, 2));
    let mut ends = Vec::new();
    for call in calls {
        ends.push(call.await.expect("no panic").map_err(|error| rejection(&error)));
    }
    assert_eq!(ends, [Ok(0), Ok(1), Ok(2), Ok(3), Err(Some(Rejected::Full)), Err(Some(Rejected::Full))]);
    assert_eq!((layer.in_flight(), layer.waiting(), scripted.most_at_once()), (0, 0, 2));
    assert_eq!((layer.counts().get("waited"), layer.counts().get("full")), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_wait_has_an_end() {
    let scripted = Scripted::new(|_call| Does::answer_after(ms(10_000)));
    let policy = bulkhead::Policy { queue: 5, queue_timeout: ms(150), ..bulkhead::Policy::fixed(1) };
    let layer = BulkheadLayer::new(policy);
    let service = layer.layer(scripted.service());
    let held = tokio::spawn(service.clone().oneshot(0));
    sleep(ms(1)).await;
    let began = Instant::now();
    let error = service.oneshot(1).await.expect_err("too long");
    assert_eq!(rejection(&error), Some(Rejected::QueueTimeout { after: ms(150) }));
    assert_eq!((began.elapsed(), layer.waiting()), (ms(150), 0));
    held.abort();
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_may_find_its_size() {
    // A service with four places: more calls at once take longer, each in its turn.
    let places = Arc::new(tokio::sync::Semaphore::new(4));
    let work = {
        let places = Arc::clone(&places);
        move |_request: u32| {
            let places = Arc::clone(&places);
            async move {
                let _place = places.acquire().await?;
                sleep(ms(20)).await;
                Ok::<u32, BoxError>(1)
            }
        }
    };
    let adaptive = bulkhead::Adaptive { min: 1, initial: 50, probe: 2, ..bulkhead::Adaptive::default() };
    let policy =
        bulkhead::Policy { concurrency: bulkhead::Concurrency::Adaptive(adaptive), ..bulkhead::Policy::fixed(1) };
    let layer = BulkheadLayer::new(policy);
    let service = layer.layer(tower::service_fn(work));
    for _turn in 0..3_000 {
        for _call in 0..3 {
            drop(tokio::spawn(service.clone().oneshot(1)));
        }
        sleep(ms(5)).await;
    }
    assert!((3..=16).contains(&layer.limit()), "{}", layer.limit());
}

#[tokio::test(start_paused = true)]
async fn rates_are_kept_for_all_and_for_each_key() {
    let scripted = Scripted::new(|_call| Does::answer_after(ms(0)));
    let rate = Rate::new(10, ms(1_000), 5);
    let layer = RateLimitLayer::new(rate);
    let service = layer.layer(scripted.service());
    let mut passed = 0;
    for _call in 0..20 {
        passed += u32::from(service.clone().oneshot(1).await.is_ok());
    }
    assert_eq!(passed, 5);
    let error = service.clone().oneshot(1).await.expect_err("too many");
    assert_eq!(rejection(&error), Some(Rejected::Limited { retry_after: ms(100) }));
    sleep(ms(100)).await;
    service.oneshot(1).await.expect("one more");
    assert_eq!((layer.counts().get("admitted"), layer.counts().get("rejected")), (6, 16));

    let keyed = RateLimitLayer::new(rate).by_key(100, |request: &u32| u64::from(*request)).layer(scripted.service());
    for key in 0..10 {
        let mut passed = 0;
        for _call in 0..8 {
            passed += u32::from(keyed.clone().oneshot(key).await.is_ok());
        }
        assert_eq!(passed, 5, "key {key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_gets_a_twin_and_the_first_good_answer_counts() {
    let scripted = Scripted::new(|call| Does::answer_after(ms(if call % 25 == 24 { 5_000 } else { 10 })));
    let policy = hedge::Policy { quantile: 0.9, min_calls: 20, ..hedge::Policy::default() };
    let layer = HedgeLayer::new(policy, Budget::default());
    let service = layer.layer(scripted.service());
    assert_eq!(layer.delay(), None);
    let mut longest = Duration::ZERO;
    for _call in 0..200 {
        let began = Instant::now();
        service.clone().oneshot(1).await.expect("an answer");
        longest = longest.max(began.elapsed());
    }
    assert!(longest < ms(30), "{longest:?}");
    let hedges = layer.counts().get("hedge");
    assert!((7..=9).contains(&hedges), "{hedges}");
    assert_eq!((layer.counts().get("won"), scripted.cancelled()), (hedges, hedges));
    // The control: without hedging the slow ones are slow.
    let began = Instant::now();
    for _call in 0..25 {
        scripted.service().oneshot(1).await.expect("an answer");
    }
    assert!(began.elapsed() > ms(5_000));
}

#[tokio::test(start_paused = true)]
async fn hedges_share_the_budget() {
    let scripted = Scripted::new(|call| Does::answer_after(ms(if call < 30 { 10 } else { 1_000 })));
    let budget = Budget::new(budget::Policy { ratio: 0.1, floor_per_second: 0.0, ..budget::Policy::default() });
    let layer = HedgeLayer::new(hedge::Policy::default(), budget);
    let service = layer.layer(scripted.service());
    for _call in 0..60 {
        let call = service.clone().oneshot(1);
        drop(tokio::spawn(call));
        sleep(ms(20)).await;
    }
    assert!(scripted.calls() <= 66, "{}", scripted.calls());
    assert!(layer.counts().get("refused-by-budget") > 0);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_takes_the_place_of_a_failure() {
    let scripted = Scripted::new(|call| if call == 0 { Does::answer_after(ms(1)) } else { Does::Fail });
    let layer = FallbackLayer::new(|_failure: Result<u32, BoxError>| async { Ok(42) });
    let service = layer.layer(scripted.service());
    assert_eq!(service.clone().oneshot(1).await.expect("the answer"), 1);
    assert_eq!(service.clone().oneshot(1).await.expect("the fallback"), 42);
    assert_eq!(layer.counts().get("fallback"), 1);
    let picky = layer.judged_by(|result: &Result<u32, BoxError>| match result {
        Ok(7) => Verdict::Failure,
        _other => Verdict::Success,
    });
    let fine = Scripted::new(|_call| Does::answer_after(ms(1)));
    assert_eq!(picky.layer(fine.service()).oneshot(7).await.expect("the fallback"), 42);
}

#[tokio::test(start_paused = true)]
async fn of_many_calls_for_one_thing_one_is_made() {
    let scripted = Scripted::new(|_call| Does::answer_after(ms(100)));
    let layer = CoalesceLayer::new(coalesce::Policy::default(), |request: &u32| (*request > 0).then_some(*request));
    let service = layer.layer(scripted.service());
    let calls: Vec<_> = (0..1_000).map(|_call| tokio::spawn(service.clone().oneshot(7))).collect();
    for call in calls {
        assert_eq!(call.await.expect("no panic").expect("an answer"), 7);
    }
    assert_eq!((scripted.calls(), layer.counts().get("shared")), (1, 999));
    // What comes later is asked anew, and what has no key always.
    service.clone().oneshot(7).await.expect("an answer");
    let alone: Vec<_> = (0..5).map(|_call| tokio::spawn(service.clone().oneshot(0))).collect();
    for call in alone {
        call.await.expect("no panic").expect("an answer");
    }
    assert_eq!(scripted.calls(), 7);
}

#[tokio::test(start_paused = true)]
async fn the_leaders_end_is_not_that_of_the_others() {
    // The first call fails, the second is cancelled, the third answers.
    let scripted = Scripted::new(|call| match call {
        0 => Does::FailAfter(ms(50)),
        _later => Does::answer_after(ms(100)),
    });
    let layer = CoalesceLayer::new(coalesce::Policy::default(), |request: &u32| Some(*request));
    let service = layer.layer(scripted.service());
    let calls: Vec<_> = (0..10).map(|_call| tokio::spawn(service.clone().oneshot(7))).collect();
    sleep(ms(75)).await;
    assert_eq!(scripted.calls(), 2, "the second one leads");
    let mut calls = calls.into_iter();
    calls.next().expect("the first").await.expect("no panic").expect_err("its own call failed");
    calls.next().expect("the second").abort();
    for call in calls {
        assert_eq!(call.await.expect("no panic").expect("an answer"), 7);
    }
    assert_eq!(scripted.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn all_leaders_failing_is_told() {
    let failing = Scripted::new(|_call| Does::FailAfter(ms(10)));
    let layer = CoalesceLayer::new(coalesce::Policy::default(), |request: &u32| Some(*request));
    let service = layer.layer(failing.service());
    let calls: Vec<_> = (0..10).map(|_call| tokio::spawn(service.clone().oneshot(7))).collect();
    let mut told = 0;
    for call in calls {
        let error = call.await.expect("no panic").expect_err("it fails");
        told += u32::from(rejection(&error) == Some(Rejected::LeadersFailed));
    }
    assert_eq!((failing.calls(), told), (3, 7));
}
