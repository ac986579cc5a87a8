//! What attempts cost and say: the retry budget, the endpoints' counters, and rows of failures.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_core::budget::Budget;
use mainstay_core::grpc::Status;
use mainstay_core::load_report;
use mainstay_core::retry::Failure;

use super::Worker;
use super::table::{Service, raise};
use crate::http::exchange::Exchange;
use crate::http1::field::Name;

/// Requests after which a worker tells the shared retry budget, at the latest.
const DEPOSIT_BATCH: u32 = 64;

/// A retry budget as one worker sees it.
#[derive(Debug)]
pub(crate) struct Purse {
    /// Shared by all workers.
    budget: Arc<Mutex<Budget>>,
    /// Requests that it has not been told of yet.
    undeposited: Cell<u32>,
}

impl Purse {
    pub(crate) fn new(budget: &Arc<Mutex<Budget>>) -> Self {
        Self { budget: Arc::clone(budget), undeposited: Cell::new(0) }
    }
}

impl Worker {
    /// Counts a request towards the retry budget.
    pub(crate) fn deposit(&self, purse: &Purse) {
        purse.undeposited.set(purse.undeposited.get() + 1);
        if purse.undeposited.get() >= DEPOSIT_BATCH {
            self.flush_deposit(purse);
        }
    }

    /// Tells the shared retry budget what was not yet told.
    pub(super) fn flush_deposit(&self, purse: &Purse) {
        let requests = purse.undeposited.take();
        if requests > 0 {
            let mut budget = purse.budget.lock().unwrap_or_else(PoisonError::into_inner);
            budget.deposit(self.clock.now(), requests);
        }
    }

    /// Charges the retry budget for an attempt at an endpoint of `service`.
    pub(crate) fn may_retry(&self, service: &Service, purse: &Purse) -> bool {
        self.flush_deposit(purse);
        let now = self.clock.now();
        let granted = purse.budget.lock().unwrap_or_else(PoisonError::into_inner).withdraw(now);
        if !granted {
            raise(&service.state.budget_refusals);
        }
        granted
    }

    /// Counts a failed attempt and, if there were enough in a row, reports the endpoint.
    pub(crate) fn endpoint_failed(&self, service: &Service, index: usize, failure: Failure) {
        let Some(endpoint) = service.endpoints.get(index) else { return };
        let counters = endpoint.state.shards.of(self.index);
        match failure {
            Failure::Connect => counters.connect_failures.add(1),
            Failure::StaleConnection | Failure::Refused => return,
            Failure::Reset | Failure::Malformed => counters.resets.add(1),
            Failure::Timeout => counters.timeouts.add(1),
            Failure::Status(_) | Failure::Unavailable => {}
        }
        counters.failed.add(1);
        endpoint.seen.failure(service.state.spec.balance.policy, self.now());
        let Some(policy) = &service.state.spec.outlier else { return };
        let failures = endpoint.state.failures_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= policy.consecutive && !endpoint.state.ejected.load(Ordering::Relaxed) {
            self.health.tripped(&service.state, index);
        }
    }

    /// An attempt was cancelled after `age` since another endpoint has answered first, though it was asked later.
    pub(crate) fn endpoint_lost(&self, service: &Service, index: usize, age: Duration) {
        if let Some(endpoint) = service.endpoints.get(index) {
            endpoint.seen.lost(service.state.spec.balance.policy, self.now(), age);
        }
    }

    /// Counts an answered attempt: its status says whether the endpoint works.
    pub(crate) fn endpoint_answered(&self, service: &Service, index: usize, exchange: &Exchange) {
        let Some(endpoint) = service.endpoints.get(index) else { return };
        let status = exchange.response.status;
        let counters = endpoint.state.shards.of(self.index);
        if let Some(class) = counters.by_class.get(usize::from(status / 100).wrapping_sub(1)) {
            class.add(1);
        }
        if let Some(attempt) = exchange.attempts.last() {
            counters.duration.record(attempt.duration);
        }
        if let Some(said) = exchange.response.find(Name::LoadReport)
            && let Some(report) = load_report::parse(said.value.get(exchange.output.all()))
        {
            endpoint.state.load.note(&report, self.since_1970());
        }
        // What a gRPC call has come to is in its trailers, which are still to come unless there is no body.
        let said = match &exchange.call {
            Some(call) if status == 200 => call.status.map(Status::http_equivalent),
            _http => Some(status),
        };
        match said {
            Some(status @ 500..) => self.endpoint_failed(service, index, Failure::Status(status)),
            Some(_works) => {
                endpoint.state.works();
                if let Some(attempt) = exchange.attempts.last() {
                    endpoint.seen.answer(service.state.spec.balance.policy, self.now(), attempt.duration);
                }
            }
            None => {}
        }
    }
}
