//! Has the nodes of the cluster tell each other what they think of endpoints, and which of them operators have drained.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use mainstay_cluster::drains::{self, Drained};
use mainstay_cluster::opinions::{Answerer, Endpoints, Exchange, Pace};
use mainstay_cluster::peer::Service;
use mainstay_core::opinion::{Effect, Quorum, Verdict};
use mainstay_gateway::{Gateway, endpoint_number};

use super::{Context, sessions};

/// The gateway's endpoints.
struct Served(Arc<Gateway>);

impl Endpoints for Served {
    fn verdicts(&self) -> HashMap<u64, Verdict> {
        self.0.verdicts()
    }

    fn heed(&self, effect: &dyn Fn(u64, Option<Verdict>) -> Effect) -> usize {
        self.0.heed(effect)
    }
}

pub(super) async fn run(context: Context) {
    let gateway = Arc::clone(context.node.gateway());
    let answerer = Answerer::default();
    context.handlers.attach(Service::Opinions, Arc::new(answerer.clone()));
    let of = context.clone();
    let exchange = Exchange {
        endpoints: Served(Arc::clone(&gateway)),
        coordinator: Arc::clone(&context.coordinator),
        session: Arc::clone(&context.session),
        transport: Arc::clone(&context.transport),
        others: Rc::new(move || sessions::others(&of)),
        answerer,
        quorum: Quorum::Majority,
        pace: Pace::default(),
        counts: Arc::clone(context.node.opinions()),
    };
    let drain = move |drained: &BTreeSet<Drained>| {
        let numbers: HashSet<u64> = drained.iter().map(|it| endpoint_number(&it.service, &it.endpoint)).collect();
        gateway.drain_for_all(&numbers);
    };
    tokio::select! {
        biased;
        () = context.left() => {}
        () = exchange.run() => {}
        () = drains::follow(Arc::clone(&context.coordinator), drain) => {}
    }
}
