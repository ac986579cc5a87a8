//! The last will of a node that keeps the agreement with others: another process of its machine, which is no node, has the
//! node's lease ended in its name.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::select_ok;

use super::message::{Wish, encode};
use super::read_known;
use crate::coordinator::LeaseId;
use crate::identity::{Folder, IdentityError};
use crate::peer::client;
use crate::peer::directory::Directory;
use crate::peer::tls::Tls;
use crate::peer::{NodeId, Service, Transport};

/// Nodes that are asked, at most.
const ASKED_MAX: usize = 5;
/// Each node is asked so much later than the one before, which has mostly done it by then.
const STAGGER: Duration = Duration::from_millis(100);
/// One node is waited for so long. An election fits in: the leader may be the one that died.
const ATTEMPT: Duration = Duration::from_secs(1);
/// After an attempt that failed.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks the other nodes of a dead one to end its lease, with its own certificate, until one has done it or `limit` is over:
/// the lease ends by itself then. To be called on a local runtime. `address_of` says where a node of some name is, if the
/// operator knows better.
///
/// # Errors
/// Why not, for the log.
pub async fn end_lease(
    folder: &Folder,
    address_of: impl Fn(&str) -> Option<String>,
    lease: LeaseId,
    limit: Duration,
) -> Result<(), String> {
    let unreadable = |error: IdentityError| error.to_string();
    let identity = folder.identity().map_err(unreadable)?;
    let tls = Tls::new(&identity, &folder.credentials().map_err(unreadable)?).map_err(unreadable)?;
    let directory = Directory::default();
    let mut others = Vec::new();
    for known in read_known(folder).into_iter().filter(|known| known.node != identity.node) {
        directory.place(known.node, address_of(&known.name).unwrap_or(known.address));
        others.push(known.node);
    }
    let (transport, _connections) = client::start(tls, directory);
    let transport: Arc<dyn Transport> = Arc::new(transport);
    let message = encode(&Wish::End { lease })?;
    let end = Instant::now() + limit;
    let ask = |(place, node): (usize, NodeId)| -> Pin<Box<dyn Future<Output = Result<(), String>>>> {
        let (transport, message) = (Arc::clone(&transport), message.clone());
        let later = STAGGER * u32::try_from(place).unwrap_or_default();
        Box::pin(async move {
            tokio::time::sleep(later).await;
            loop {
                match transport.call(node, Service::Membership, message.clone(), ATTEMPT).await {
                    Ok(_ended) => return Ok(()),
                    Err(error) if Instant::now() >= end => return Err(error.to_string()),
                    Err(_not_now) => tokio::time::sleep(PAUSE).await,
                }
            }
        })
    };
    let asked: Vec<_> = others.into_iter().take(ASKED_MAX).enumerate().map(ask).collect();
    if asked.is_empty() {
        return Err("it has no others to ask".to_owned());
    }
    select_ok(asked).await.map(|_first| ())
}
