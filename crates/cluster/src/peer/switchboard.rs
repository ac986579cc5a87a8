//! A network inside one process, for tests and simulations: links can be cut, one way or both, and slowed down.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{CallError, Handler, NodeId, Service, Transport};

/// The network. All copies are the same one.
#[derive(Clone, Default)]
pub struct Switchboard(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    handlers: HashMap<(NodeId, Service), Arc<dyn Handler>>,
    links: HashMap<(NodeId, NodeId), Link>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Link {
    cut: bool,
    delay: Duration,
}

impl fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        f.debug_struct("Switchboard").field("links", &inner.links).finish_non_exhaustive()
    }
}

impl Switchboard {
    /// The transport of one node.
    pub fn transport(&self, of: NodeId) -> Arc<dyn Transport> {
        Arc::new(Port { network: self.clone(), of })
    }

    /// Lets `handler` answer what is sent to `node`'s `service`.
    pub fn attach(&self, node: NodeId, service: Service, handler: Arc<dyn Handler>) {
        self.lock().handlers.insert((node, service), handler);
    }

    /// Takes a node off the network, as if its process had been killed.
    pub fn detach(&self, node: NodeId) {
        self.lock().handlers.retain(|(of, _service), _handler| *of != node);
    }

    /// Cuts or mends what `from` sends to `to`, requests and answers; the other direction stays as it is.
    pub fn cut(&self, from: NodeId, to: NodeId, cut: bool) {
        self.lock().links.entry((from, to)).or_default().cut = cut;
    }

    /// Delays what `from` sends to `to`.
    pub fn slow(&self, from: NodeId, to: NodeId, delay: Duration) {
        self.lock().links.entry((from, to)).or_default().delay = delay;
    }

    /// Mends all links.
    pub fn heal(&self) {
        self.lock().links.clear();
    }

    fn link(&self, from: NodeId, to: NodeId) -> Link {
        self.lock().links.get(&(from, to)).copied().unwrap_or_default()
    }

    fn handler(&self, node: NodeId, service: Service) -> Option<Arc<dyn Handler>> {
        self.lock().handlers.get(&(node, service)).cloned()
    }

    /// Moves a message over a link; `false` if it is lost.
    async fn carry(&self, from: NodeId, to: NodeId) -> bool {
        let link = self.link(from, to);
        if !link.delay.is_zero() {
            tokio::time::sleep(link.delay).await;
        }
        !self.link(from, to).cut
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Port {
    network: Switchboard,
    of: NodeId,
}

#[async_trait]
impl Transport for Port {
    async fn call(&self, to: NodeId, service: Service, message: Bytes, limit: Duration) -> Result<Bytes, CallError> {
        let exchange = async {
            if !self.network.carry(self.of, to).await {
                // Like a packet that a firewall drops: nothing comes back until the caller has lost patience.
                std::future::pending::<()>().await;
            }
            let Some(handler) = self.network.handler(to, service) else {
                return Err(CallError::Unreachable { to, reason: "connection refused".to_owned() });
            };
            let answer = handler.handle(self.of, message).await;
            if !self.network.carry(to, self.of).await {
                std::future::pending::<()>().await;
            }
            answer.map_err(|reason| CallError::Refused { to, reason })
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(CallError::Lost { to, reason: format!("no answer within {limit:?}") }),
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_runtime::thread::run_here;

    use super::*;

    struct Echo;

    #[async_trait]
    impl Handler for Echo {
        async fn handle(&self, _from: NodeId, message: Bytes) -> Result<Bytes, String> {
            Ok(message)
        }
    }

    #[test]
    fn links_are_cut_one_way_and_healed() {
        run_here(async {
            let (network, one, two) = (Switchboard::default(), NodeId(1), NodeId(2));
            network.attach(two, Service::Store, Arc::new(Echo));
            let port = network.transport(one);
            let ask = || port.call(two, Service::Store, Bytes::from_static(b"hello"), Duration::from_millis(50));
            assert_eq!(ask().await.unwrap(), "hello");
            for (from, to) in [(one, two), (two, one)] {
                network.cut(from, to, true);
                assert!(matches!(ask().await, Err(CallError::Lost { .. })));
                network.heal();
                assert_eq!(ask().await.unwrap(), "hello");
            }
            network.detach(two);
            assert!(matches!(ask().await, Err(CallError::Unreachable { .. })));
        })
        .unwrap();
    }
}
