//! Serving what DNS names besides what is configured.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use mainstay_runtime::thread;

use super::Gateway;
use crate::assemble::{self, Sockets};
use crate::discovery::Runner;
use crate::state::State;

impl Gateway {
    /// Has `finder` follow the names of the present state, on a thread of its own that ends with the gateway.
    pub(super) fn follow_names(self: &Arc<Self>, finder: Runner) -> io::Result<()> {
        self.discovery.apply(&self.state());
        let served = Arc::downgrade(self);
        let serve = move || {
            if let Some(gateway) = served.upgrade() {
                gateway.serve_again();
            }
        };
        thread::spawn_local_runtime("discovery", move || finder.run(serve)).map(|_runs_until_the_end| ())
    }

    /// Serves the same spec with what has become of it since: endpoints that the sources of services have found, weights that
    /// an operator has given. It is no reload: the number of the spec stays.
    pub(super) fn serve_again(&self) {
        if self.leaving.load(Ordering::Acquire) {
            return;
        }
        let _one_at_a_time = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        let (spec, previous, tls) = {
            let current = self.current();
            (current.spec.clone(), Arc::clone(&current.state), current.tls.clone())
        };
        let state =
            assemble::state(&spec, self.workers.len(), Some(&previous), previous.cells.clone(), self.clock.now());
        let (generation, applied_at) = (previous.generation, previous.applied_at);
        let state = Arc::new(State { generation, applied_at, ..state });
        self.health.apply(Arc::clone(&state), tls.services.clone());
        self.tell_workers(&state, tls, Sockets::new(), spec.node.explain);
        self.current().state = state;
    }
}
