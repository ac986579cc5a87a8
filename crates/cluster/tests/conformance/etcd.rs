//! The suite on etcd, and what only this engine can do wrong.

use std::sync::Arc;
use std::time::Duration;

use mainstay_cluster::coordinator::Coordinator;
use mainstay_cluster::etcd::{Etcd, Options};
use mainstay_runtime::thread::run_here;

use crate::bench::{Bench, Case, run};
use crate::etcd_server::Servers;
use crate::{leases, limits, reads, transactions, watches};

pub(crate) fn options(endpoints: Vec<String>) -> Options {
    let timeout = Duration::from_secs(5);
    Options { endpoints, prefix: "mainstay/".to_owned(), timeout, tls: None, user: None }
}

pub(crate) async fn serving(servers: &Servers) -> Arc<dyn Coordinator> {
    let etcd: Arc<dyn Coordinator> = Arc::new(Etcd::new(&options(servers.urls())).unwrap());
    servers.wait_until(async || etcd.get("up").await.is_ok()).await;
    etcd
}

fn suite(cases: &[(&str, Case)]) {
    let servers = Servers::start(1);
    run_here(async {
        let store = serving(&servers).await;
        let url = servers.url(0);
        let compact = move |revision| -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
            let url = url.clone();
            Box::pin(async move {
                let mut client = etcd_client::Client::connect([url], None).await.unwrap();
                client.compact(i64::try_from(revision).unwrap(), None).await.unwrap();
            })
        };
        let other = Arc::new(Etcd::new(&options(servers.urls())).unwrap());
        let bench = Bench { store, other, compact: Box::new(compact), ttl: Duration::from_secs(2) };
        run(&bench, cases).await;
    })
    .unwrap();
}

#[test]
fn reads_conform() {
    suite(reads::CASES);
}

#[test]
fn transactions_conform() {
    suite(transactions::CASES);
    suite(limits::CASES);
}

#[test]
fn watches_conform() {
    suite(watches::CASES);
}

#[test]
fn leases_conform() {
    suite(leases::CASES);
}
