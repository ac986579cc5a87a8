//! This process as what the cluster's configuration is applied to.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mainstay_cluster::config::{Host, Kept};
use mainstay_core::release::{Subject, Version};
use mainstay_runtime::thread;
use tokio::sync::oneshot;

use super::meter::Meter;
use super::{Change, NAME, errors};
use crate::admin::Node;
use crate::config;

/// The main thread takes a change within this time, unless an upgrade is under way. Shorter than the time that the
/// controller gives a node.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

/// The gateway of this process.
pub(super) struct Gateway {
    node: Arc<Node>,
    file: PathBuf,
    meter: Meter,
}

impl Gateway {
    pub(super) fn new(node: Arc<Node>, file: PathBuf) -> Self {
        let meter = Meter::new(Arc::clone(node.gateway()));
        Self { node, file, meter }
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }
}

#[async_trait]
impl Host for Gateway {
    async fn check(&self, text: Arc<str>) -> Result<(), Vec<String>> {
        let (done, checked) = oneshot::channel();
        let file = self.file.clone();
        // Certificates are read from a disk that may be slow, and this thread has leases to renew.
        let started = thread::spawn_blocking_thread("config-check", move || {
            let result = config::shared::check_overlay(&file, &text, NAME);
            let _receiver_waits = done.send(result.map(|_config| ()).map_err(|problems| errors(&problems)));
        });
        match started {
            Ok(_thread) => checked.await.unwrap_or_else(|_gone| Err(vec!["the check ended by a defect".to_owned()])),
            Err(error) => Err(vec![format!("it cannot be checked: {error}")]),
        }
    }

    async fn apply(&self, version: Version, text: Option<Arc<str>>) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let change = Change { shared: text.map(|text| Kept { version, text }), answer };
        let board = self.node.shared();
        board.changes.send(change).map_err(|_gone| "this node leaves".to_owned())?;
        match tokio::time::timeout(TAKEN_WITHIN, answered).await {
            Ok(Ok(result)) => result.inspect(|()| board.set_serves(version)),
            Ok(Err(_gone)) => Err("this node leaves".to_owned()),
            Err(_elapsed) => Err("the process is busy, with an upgrade perhaps".to_owned()),
        }
    }

    fn rate(&self) -> f64 {
        self.meter.rate()
    }

    fn change_comes(&self) {
        self.meter.change_comes();
    }

    fn change_is_there(&self) {
        self.meter.change_is_there();
    }

    fn seen(&self) -> (Vec<Subject>, Vec<Subject>) {
        self.meter.seen()
    }
}
