//! Whom a request belongs to, and which endpoints it may reach for that.

use mainstay_core::random;

use super::exchange::{Exchange, Run};
use super::record::{self, Ending};
use super::respond::{self, OwnError};
use super::sticky::{Pin, Session};
use super::{cells, identity, quarantine, routing};
use crate::http1::write::decimal;
use crate::spec::{Missing, Tenant, TenantKey};
use crate::state::IsolationCounters;
use crate::stream::Stream;
use crate::worker::table::Service;

/// Bytes of a tenant's name that stand in the access log.
const NAME_BYTES_MAX: usize = 64;
/// Endpoints of a shard that stand in the access log.
const LOGGED_MAX: usize = 8;
/// What requests without a tenant are called together.
const DEFAULT: &[u8] = b"default";

/// What keeps a request from others. The allocations are used again.
#[derive(Debug, Default)]
pub(crate) struct Isolation {
    /// The hash of the tenant's name, if the route asks for tenants.
    pub(crate) tenant: Option<u64>,
    /// The tenant's name as it may be shown.
    name: Vec<u8>,
    shard: Vec<usize>,
    is_sharded: bool,
    /// What requests of its kind have in common, if that was worked out.
    pub(super) fingerprint: Option<u64>,
    /// The session that the request belongs to.
    pub(crate) pin: Pin,
    /// The cell of the account, by its place in the route.
    pub(crate) cell: Option<usize>,
}

impl Isolation {
    /// Forgets the request before.
    pub(crate) fn begin(&mut self) {
        self.tenant = None;
        self.is_sharded = false;
        self.fingerprint = None;
        self.pin = Pin::default();
        self.cell = None;
    }

    /// The only endpoints that may be chosen, by index; `None` for all.
    pub(crate) fn within(&self) -> Option<&[usize]> {
        self.is_sharded.then_some(&self.shard)
    }

    /// Whether the endpoint at `index` may be chosen.
    pub(crate) fn reaches(&self, index: usize) -> bool {
        self.within().is_none_or(|shard| shard.contains(&index))
    }

    /// What a client is told when nobody could be chosen.
    pub(crate) const fn nobody(&self) -> OwnError {
        if self.is_sharded { respond::NO_SHARD } else { respond::NO_ENDPOINT }
    }

    /// Writes the tenant and its shard into a line of the access log, inside whose last string it begins and ends.
    pub(crate) fn log(&self, line: &mut Vec<u8>, service: &Service) {
        if self.pin.session != Session::Off {
            record::text(line, b"\",\"session\":\"", self.pin.session.word().as_bytes());
        }
        let Some(tenant) = self.tenant else { return };
        record::text(line, b"\",\"tenant\":\"", &self.name);
        if !self.is_sharded {
            return;
        }
        line.extend_from_slice(b"\",\"shard\":\"");
        if let Some((number, of)) = service.partition(tenant) {
            decimal(line, number as u64 + 1);
            line.push(b'/');
            return decimal(line, of as u64);
        }
        for (nth, index) in self.shard.iter().take(LOGGED_MAX).enumerate() {
            if nth > 0 {
                line.push(b'+');
            }
            line.extend_from_slice(service.endpoints.get(*index).map_or(&b""[..], |endpoint| &endpoint.log_name));
        }
    }
}

/// Finds out whom the request belongs to and whom it may reach. Answers why it is refused, if it is.
pub(crate) fn enter(run: &Run<'_>, client: &Stream, exchange: &mut Exchange) -> Option<OwnError> {
    // A fallback leads to another service, which has other shards or none.
    exchange.isolation.is_sharded = false;
    let service = &run.route.service;
    let tenant = run.route.state.spec.tenant.as_ref().or(service.state.spec.tenant.as_ref())?;
    let mut isolation = std::mem::take(&mut exchange.isolation);
    let refusal = isolation.identify(tenant, client, exchange);
    if let Some(tenant) = isolation.tenant {
        isolation.is_sharded = service.shard(tenant, &mut isolation.shard);
    }
    exchange.isolation = isolation;
    refusal
}

/// Counts a request that the gateway answered itself.
pub(crate) fn count(counters: &IsolationCounters, ending: Ending) {
    match ending.error {
        Some(reason) if reason == respond::NO_TENANT.reason => counters.no_tenant.add(1),
        Some(reason) if reason == respond::NO_SHARD.reason => counters.no_shard.add(1),
        Some(quarantine::REASON) => counters.quarantined.add(1),
        Some(reason) if reason == cells::FULL.reason => counters.cells_full.add(1),
        Some(reason) if reason == cells::MOVING.reason => counters.account_moving.add(1),
        Some(_other) => {}
        None => {}
    }
}

impl Isolation {
    fn identify(&mut self, tenant: &Tenant, client: &Stream, exchange: &Exchange) -> Option<OwnError> {
        let name = named(&tenant.key, client, exchange).filter(|name| !name.is_empty());
        self.name.clear();
        let Some(name) = name else {
            if tenant.missing == Missing::Refuse {
                return Some(respond::NO_TENANT);
            }
            self.name.extend_from_slice(DEFAULT);
            self.tenant = Some(random::hash(DEFAULT));
            return None;
        };
        let hash = random::hash(name);
        self.tenant = Some(hash);
        match &tenant.key {
            TenantKey::ApiKey(_) => {
                // Half of the hash: enough to tell keys apart, and too little to tell which key it is.
                self.name.extend_from_slice(b"key-");
                self.name.extend_from_slice(&crate::worker::hexadecimal(hash)[..8]);
            }
            TenantKey::Header(_) | TenantKey::Cookie(_) | TenantKey::Segment(_) | TenantKey::Sni => {
                self.name.extend_from_slice(name.get(..NAME_BYTES_MAX).unwrap_or(name));
            }
        }
        None
    }
}

/// The name as the request gives it.
pub(super) fn named<'a>(key: &TenantKey, client: &'a Stream, exchange: &'a Exchange) -> Option<&'a [u8]> {
    let bytes = exchange.head_bytes();
    match key {
        TenantKey::Header(name) | TenantKey::ApiKey(name) => identity::header(&exchange.head, bytes, name),
        TenantKey::Cookie(name) => identity::cookie(&exchange.head, bytes, name),
        TenantKey::Segment(number) => routing::segment(exchange.head.path.get(bytes), *number),
        TenantKey::Sni => client.server_name().map(str::as_bytes),
    }
}
