//! Debian's etcd with three members, of which some are killed and some freeze.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mainstay_cluster::coordinator::Coordinator;
use mainstay_cluster::etcd::{Etcd, Options};
use mainstay_core::random::Rng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::etcd_server::Servers;
use crate::site::{Client, NODES, Site, millis};

/// The members, and for each node a client of its own that begins with another one.
pub(crate) struct EtcdSite {
    servers: RefCell<Servers>,
    clients: Vec<Arc<dyn Coordinator>>,
    never: watch::Sender<u64>,
}

impl EtcdSite {
    pub(crate) async fn start() -> Self {
        let servers = Servers::start(NODES);
        let client = |node: usize| -> Arc<dyn Coordinator> {
            let mut endpoints = servers.urls();
            endpoints.rotate_left(node);
            let timeout = Duration::from_millis(450);
            let prefix = "mainstay/".to_owned();
            Arc::new(Etcd::new(&Options { endpoints, prefix, timeout, tls: None, user: None }).unwrap())
        };
        let clients: Vec<_> = (0..NODES).map(client).collect();
        servers.wait_until(async || clients[0].get("up").await.is_ok()).await;
        Self { servers: RefCell::new(servers), clients, never: watch::Sender::new(0) }
    }
}

#[async_trait(?Send)]
impl Site for EtcdSite {
    fn client(&self, node: usize) -> Option<Client> {
        Some((Arc::clone(&self.clients[node]), self.never.subscribe()))
    }

    fn ttl(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn length(&self) -> Duration {
        Duration::from_secs(8)
    }

    async fn torment(&self, mut rng: Rng) -> u64 {
        let end = Instant::now() + self.length();
        let mut faults = 0;
        while Instant::now() < end {
            sleep(millis(&mut rng, 300, 1200)).await;
            let first = rng.below(NODES);
            // Mostly one, sometimes the majority, sometimes all.
            let many = [1, 1, 1, 2, 3][rng.below(5)];
            let freeze = rng.below(2) == 0;
            let victims: Vec<_> = (0..many).map(|offset| (first + offset) % NODES).collect();
            for victim in &victims {
                if freeze {
                    self.servers.borrow().signal(*victim, "STOP");
                } else {
                    self.servers.borrow_mut().kill(*victim);
                }
            }
            sleep(millis(&mut rng, 50, 1500)).await;
            for victim in &victims {
                if freeze {
                    self.servers.borrow().signal(*victim, "CONT");
                } else {
                    self.servers.borrow_mut().launch(*victim);
                }
            }
            faults += 1;
        }
        faults
    }

    async fn stop(&self) {
        (0..NODES).for_each(|index| self.servers.borrow_mut().kill(index));
    }
}
