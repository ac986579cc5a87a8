use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mainstay_runtime::clock::Clock;
use mainstay_runtime::journal::Journal;
use rustls::ClientConfig;
use tokio::sync::{mpsc, watch};

use super::names::Names;
use super::roster::Roster;
use crate::spec;
use crate::state::{Endpoint, Service, State};

/// Reports of failing endpoints that may wait; further ones are dropped, since the next failure reports again.
const TRIPS_MAX: usize = 1024;

/// The way to the thread that minds health. Every copy may be used from any thread and none ever waits.
#[derive(Clone, Debug)]
pub(crate) struct Driver {
    assign: watch::Sender<Option<Assignment>>,
    trips: mpsc::Sender<Trip>,
    orders: mpsc::UnboundedSender<Order>,
    settled: Arc<AtomicBool>,
}

/// What is to be minded.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    pub(super) state: Arc<State>,
    pub(super) tls: Arc<HashMap<String, Arc<ClientConfig>>>,
}

/// An endpoint that fails real requests.
#[derive(Debug)]
pub(super) struct Trip {
    pub(super) service: Arc<Service>,
    pub(super) endpoint: Arc<Endpoint>,
}

/// What an operator wants of an endpoint.
#[derive(Debug)]
pub(super) struct Order {
    /// The service's name.
    pub(super) service: String,
    pub(super) endpoint: Arc<Endpoint>,
    /// For how long it gets nothing; `None`: what is held against it is forgotten.
    pub(super) eject: Option<Duration>,
}

impl Driver {
    /// The way to the driver, and the driver itself, to be run on the control thread. What changes goes to `journal`.
    pub(crate) fn start(clock: Clock, resolver: &spec::Resolver, journal: Journal) -> (Self, Runner) {
        Self::start_with(clock, Names::new(resolver), journal)
    }

    pub(super) fn start_with(clock: Clock, names: Names, journal: Journal) -> (Self, Runner) {
        let (assign, assigned) = watch::channel(None);
        let (trips, tripped) = mpsc::channel(TRIPS_MAX);
        // As many as there are requests to the admin interface.
        let (orders, ordered) = mpsc::unbounded_channel();
        let settled = Arc::new(AtomicBool::new(false));
        let gate = Arc::new(Gate(Arc::clone(&settled)));
        (Self { assign, trips, orders, settled }, Runner { clock, names, journal, assigned, tripped, ordered, gate })
    }

    /// Minds the endpoints of `state` from now on. An endpoint that was there before (the same `Arc`) under an equal check
    /// keeps its state and its running check. `tls` holds the settings of services that speak TLS, by name.
    pub(crate) fn apply(&self, state: Arc<State>, tls: HashMap<String, Arc<ClientConfig>>) {
        // If two come in quick succession, the earlier one is of no interest any more.
        self.assign.send_replace(Some(Assignment { state, tls: Arc::new(tls) }));
    }

    /// Reports that an endpoint's `failures_in_a_row` has reached the service's limit. Report again at every further
    /// failure: the driver sets the count back once it has dealt with it, and drops reports when it cannot keep up.
    pub(crate) fn tripped(&self, service: &Arc<Service>, endpoint_index: usize) {
        if let Some(endpoint) = service.endpoints.get(endpoint_index) {
            let trip = Trip { service: Arc::clone(service), endpoint: Arc::clone(endpoint) };
            let _dropped_if_full = self.trips.try_send(trip);
        }
    }

    /// Ejects an endpoint for so long (`None`: forgets what is held against it), because an operator wants it.
    pub(crate) fn order(&self, service: &Arc<Service>, endpoint: &Arc<Endpoint>, eject: Option<Duration>) {
        let (service, endpoint) = (service.spec.name.clone(), Arc::clone(endpoint));
        let _thread_is_gone = self.orders.send(Order { service, endpoint, eject });
    }

    /// Whether every endpoint of the first state has had its first verdict. Once it is so, it stays so: a reload that adds
    /// endpoints does not make the node unready.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }
}

/// The driver, before it runs.
pub(crate) struct Runner {
    clock: Clock,
    names: Names,
    journal: Journal,
    assigned: watch::Receiver<Option<Assignment>>,
    tripped: mpsc::Receiver<Trip>,
    ordered: mpsc::UnboundedReceiver<Order>,
    gate: Arc<Gate>,
}

impl Runner {
    /// Runs until every [`Driver`] is gone.
    pub(crate) async fn run(self) {
        let Self { clock, names, journal, mut assigned, mut tripped, mut ordered, gate } = self;
        let mut roster = Roster::new(clock, names, journal, gate);
        loop {
            let deadline = roster.deadline();
            tokio::select! {
                changed = assigned.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let assignment = assigned.borrow_and_update().clone();
                    if let Some(assignment) = assignment {
                        roster.apply(&assignment);
                    }
                }
                Some(trip) = tripped.recv() => roster.trip(&trip),
                Some(order) = ordered.recv() => roster.order(&order),
                () = clock.sleep_until(deadline) => roster.advance(),
            }
        }
    }
}

/// Held by each endpoint that has had no verdict yet; when nobody holds it any more, the first verdicts are complete.
pub(super) struct Gate(Arc<AtomicBool>);

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
