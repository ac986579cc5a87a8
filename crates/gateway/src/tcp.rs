//! TCP listeners: a connection to the service for each connection of a client, bytes both ways.

use std::cell::RefCell;
use std::rc::Rc;

use mainstay_core::balance::Wanted;
use mainstay_core::random;
use mainstay_core::retry::Failure;

use crate::peer::Peer;
use crate::proxy_protocol::write;
use crate::spec::Protocol;
use crate::splice;
use crate::stream::{Buffer, Stream};
use crate::worker::Worker;
use crate::worker::deadline::Slot;
use crate::worker::pool::{self, InFlight};
use crate::worker::table::{Listener, Service, raise};

/// Endpoints that are tried for one connection. Nothing has been sent to any of them, so that trying is safe.
const ATTEMPTS: usize = 3;

/// Serves a client's connection until it closes.
pub(crate) async fn serve(worker: Rc<Worker>, listener: Rc<Listener>, mut client: Stream, peer: Peer, slot: Rc<Slot>) {
    let Protocol::Tcp { idle_timeout, .. } = &listener.state.spec.protocol else { return };
    let Some(service) = &listener.service else { return };
    let header = match service.state.spec.send_proxy {
        Some(version) => {
            let destination = peer.destination.as_deref().unwrap_or(&listener.state.spec.bind);
            write::proxied(version, peer.address, *destination)
        }
        None => Vec::new(),
    };
    let Some((mut connection, in_flight)) = connect(&worker, service, &peer, &header, &slot).await else {
        return client.reset_on_close();
    };
    let (mut up, mut down) = (Box::new(Buffer::new()), Box::new(Buffer::new()));
    let buffers = (&mut *up, &mut *down);
    let upstream = &mut connection.stream;
    splice::run(&worker, &slot, &mut client, upstream, buffers, *idle_timeout, &mut ()).await;
    drop(in_flight);
}

/// Connects to an endpoint, or to another one if that fails.
async fn connect(
    worker: &Worker,
    service: &Rc<Service>,
    peer: &Peer,
    header: &[u8],
    slot: &Slot,
) -> Option<(Box<pool::Connection>, InFlight)> {
    let key = match peer.address.ip().to_canonical() {
        std::net::IpAddr::V4(address) => random::hash(&address.octets()),
        std::net::IpAddr::V6(address) => random::hash(&address.octets()),
    };
    let mut tried = Vec::new();
    worker.deposit(&service.purse);
    while tried.len() < ATTEMPTS {
        if !tried.is_empty() && !worker.may_retry(service, &service.purse) {
            return None;
        }
        let now = worker.clock.now();
        let wanted = Wanted { key: Some(key), excluded: &tried, within: None };
        let Some(index) = worker.with_rng(|rng| service.pick(&wanted, now, rng, &RefCell::default())) else {
            if tried.is_empty() {
                raise(&service.state.empty);
            }
            return None;
        };
        let endpoint = service.endpoints.get(index)?;
        let mut in_flight = InFlight::new(endpoint, worker.index);
        slot.set(now.after(service.state.spec.connections.connect_timeout));
        match slot.within(Box::pin(pool::connect(service, index, header, worker.index, now))).await {
            Ok(Ok(connection)) => {
                in_flight.is_answered();
                endpoint.state.works();
                let took = worker.clock.now().since(now);
                endpoint.state.shards.of(worker.index).duration.record(took);
                endpoint.seen.answer(service.state.spec.balance.policy, now.after(took), took);
                return Some((connection, in_flight));
            }
            Ok(Err(_)) | Err(_) => worker.endpoint_failed(service, index, Failure::Connect),
        }
        tried.push(index);
    }
    None
}
