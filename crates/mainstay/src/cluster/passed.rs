//! Has the node answer what is asked of its admin interface at other nodes.

use std::sync::Arc;

use mainstay_cluster::peer::Service;

use super::Context;
use crate::admin::passed::Answerer;

pub(super) async fn run(context: Context) {
    let queue = context.node.passed().clone();
    context.handlers.attach(Service::Admin, Arc::new(Answerer::new(Arc::clone(&context.node), queue)));
    context.left().await;
}
