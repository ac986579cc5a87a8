//! Resolution of names by `/etc/hosts` and DNS, with the time for which an answer holds.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use mainstay_core::resolve::members;
use tokio::sync::Semaphore;

/// Look-ups at once; others wait here.
const LOOKUPS_MAX: usize = 32;

/// What the system's own configuration of names is read from.
const SYSTEM_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// An entry of `/etc/hosts` and an address that needs no look-up hold this long; the file is looked at again then.
const LOCAL_TTL: Duration = Duration::from_secs(30);

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name servers, asked over UDP and, if an answer is cut, TCP; the system's if empty.
    pub servers: Vec<SocketAddr>,
    /// A look-up without an answer after this long has failed.
    pub timeout: Duration,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// The records; at least one.
    pub records: Vec<T>,
    /// How long they hold.
    pub ttl: Duration,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The name does not exist.
    #[error("no such name")]
    NoName,
    /// It exists, but without such a record.
    #[error("it has no {0}")]
    NoRecord(&'static str),
    /// Nobody answered.
    #[error("no answer from a name server within {0:?}")]
    Timeout(Duration),
    /// Something else went wrong.
    #[error("{0}")]
    Failed(String),
}

/// Looks names up, on the thread that made it. Changes of the system's files are noticed.
pub struct Resolver {
    settings: Settings,
    turns: Semaphore,
    built: Mutex<Option<Arc<Built>>>,
}

struct Built {
    resolver: TokioResolver,
    hosts: Hosts,
    /// When the system's files changed last.
    stamps: [Option<SystemTime>; 2],
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver that has asked nobody yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, turns: Semaphore::new(LOOKUPS_MAX), built: Mutex::default() }
    }

    /// The addresses of a host, IPv4 first: a server that has both is more often reachable by that.
    ///
    /// # Errors
    /// If there are none, or nobody says so in time.
    pub async fn addresses(&self, host: &str) -> Result<Answer<IpAddr>, LookupError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Answer { records: vec![address], ttl: LOCAL_TTL });
        }
        let built = self.built()?;
        let name = parse(host)?;
        if let Some(records) = local(&built.hosts, &name) {
            return Ok(Answer { records, ttl: LOCAL_TTL });
        }
        let lookup = self.within(built.resolver.lookup_ip(name), "address").await?;
        let records: Vec<IpAddr> = lookup.iter().collect();
        answer(records, lookup.as_lookup().answers(), "address")
    }

    /// The SRV records of a name.
    ///
    /// # Errors
    /// If there are none, or nobody says so in time.
    pub async fn services(&self, name: &str) -> Result<Answer<members::Record>, LookupError> {
        let built = self.built()?;
        let lookup = self.within(built.resolver.lookup(parse(name)?, RecordType::SRV), "SRV record").await?;
        let records = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(members::Record {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.to_ascii().trim_end_matches('.').to_ascii_lowercase(),
            }),
            _other => None,
        });
        answer(records.collect(), lookup.answers(), "SRV record")
    }

    /// The records of a name of one kind (`A`, `AAAA`, `CNAME`, `MX`, `NS`, `SRV`, `TXT`...), as zone files write their data;
    /// names end with a dot. `/etc/hosts` is not looked at.
    ///
    /// # Errors
    /// If there is no such kind, there are no records, or nobody says so in time.
    pub async fn records(&self, name: &str, kind: &str) -> Result<Answer<String>, LookupError> {
        let kind: RecordType =
            kind.parse().map_err(|_unknown| LookupError::Failed(format!("there are no {kind} records")))?;
        let built = self.built()?;
        let lookup = self.within(built.resolver.lookup(parse(name)?, kind), "such record").await?;
        // Others are the aliases on the way.
        let records = lookup.answers().iter().filter(|record| record.record_type() == kind);
        answer(records.map(|record| record.data.to_string()).collect(), lookup.answers(), "such record")
    }

    async fn within<T>(
        &self,
        looking: impl Future<Output = Result<T, NetError>>,
        wanted: &'static str,
    ) -> Result<T, LookupError> {
        // The wait for a turn comes before the time begins: a look-up that had no turn has not failed.
        let _turn = self.turns.acquire().await;
        match tokio::time::timeout(self.settings.timeout, looking).await {
            Ok(result) => result.map_err(|error| self.explain(error, wanted)),
            Err(_elapsed) => Err(LookupError::Timeout(self.settings.timeout)),
        }
    }

    fn explain(&self, error: NetError, wanted: &'static str) -> LookupError {
        match error {
            NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NXDomain => {
                LookupError::NoName
            }
            NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NoError => {
                LookupError::NoRecord(wanted)
            }
            NetError::Dns(DnsError::NoRecordsFound(none)) => {
                LookupError::Failed(format!("the name server answers {}", none.response_code))
            }
            NetError::Timeout => LookupError::Timeout(self.settings.timeout),
            other => LookupError::Failed(other.to_string()),
        }
    }

    /// The resolver by the system's files as they are now.
    fn built(&self) -> Result<Arc<Built>, LookupError> {
        let mut kept = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = SYSTEM_FILES.map(|file| fs::metadata(file).and_then(|data| data.modified()).ok());
        if let Some(built) = kept.as_ref().filter(|built| built.stamps == stamps) {
            return Ok(Arc::clone(built));
        }
        let resolver = build(&self.settings).map_err(|error| LookupError::Failed(error.to_string()))?;
        // A file that is not there names no hosts.
        let hosts = Hosts::from_system().unwrap_or_default();
        let built = Arc::new(Built { resolver, hosts, stamps });
        *kept = Some(Arc::clone(&built));
        Ok(built)
    }
}

fn build(settings: &Settings) -> Result<TokioResolver, NetError> {
    let given = |servers: &[SocketAddr]| {
        let servers = servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let mut builder = if settings.servers.is_empty() {
        // Without a usable resolv.conf the C library asks this machine, and so do we.
        let own = [SocketAddr::from((Ipv4Addr::LOCALHOST, 53))];
        TokioResolver::builder_tokio().unwrap_or_else(|_unusable| given(&own))
    } else {
        given(&settings.servers)
    };
    let options = builder.options_mut();
    // Who asks knows how long an answer holds; a second memory would only make it older. Hosts are looked up before.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // Two tries fit into the time, so that one packet that is lost is no failure.
    options.timeout = settings.timeout / 2;
    options.attempts = 1;
    builder.build()
}

fn parse(name: &str) -> Result<Name, LookupError> {
    Name::from_ascii(name).map_err(|error| LookupError::Failed(format!("not a name: {error}")))
}

/// What is known of a host without asking anybody: `/etc/hosts`, and `localhost` (RFC 6761).
fn local(hosts: &Hosts, name: &Name) -> Option<Vec<IpAddr>> {
    let listed = |kind| {
        let lookup = hosts.lookup_static_host(&Query::query(name.clone(), kind))?;
        Some(lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>())
    };
    let mut found: Vec<IpAddr> = Vec::new();
    for address in [RecordType::A, RecordType::AAAA].into_iter().filter_map(listed).flatten() {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    let is_localhost = name.iter().next_back().is_some_and(|label| label.eq_ignore_ascii_case(b"localhost"));
    if is_localhost && (name.num_labels() == 1 || found.is_empty()) {
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            if !found.contains(&address) {
                found.push(address);
            }
        }
    }
    (!found.is_empty()).then_some(found)
}

fn answer<T>(records: Vec<T>, all: &[Record], wanted: &'static str) -> Result<Answer<T>, LookupError> {
    if records.is_empty() {
        return Err(LookupError::NoRecord(wanted));
    }
    // Names on the way (CNAME) count too: what they lead to may change as soon as the first of them may.
    let ttl = all.iter().map(|record| record.ttl).min().unwrap_or(0);
    Ok(Answer { records, ttl: Duration::from_secs(u64::from(ttl)) })
}

impl From<LookupError> for io::Error {
    fn from(error: LookupError) -> Self {
        Self::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(servers: &[SocketAddr]) -> Resolver {
        Resolver::new(Settings { servers: servers.to_vec(), timeout: Duration::from_secs(2) })
    }

    #[test]
    fn what_needs_no_name_server_asks_none() {
        // Nobody listens there, so that an answer can only be from here.
        let resolver = resolver(&["127.0.0.1:1".parse().unwrap()]);
        crate::thread::run_here(async {
            let found = resolver.addresses("localhost").await.unwrap();
            assert_eq!(found.records, ["127.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
            assert_eq!(resolver.addresses("shop.LOCALHOST.").await.unwrap().records.len(), 2);
            assert_eq!(
                resolver.addresses("127.0.0.9").await.unwrap().records,
                ["127.0.0.9".parse::<IpAddr>().unwrap()]
            );
            resolver.addresses("shop.test").await.unwrap_err();
            resolver.services("_http._tcp.shop.test").await.unwrap_err();
            assert!(matches!(resolver.addresses("a..b").await, Err(LookupError::Failed(_))));
        })
        .unwrap();
    }

    #[test]
    fn a_name_server_that_never_answers_is_given_up() {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let resolver = resolver(&[silent.local_addr().unwrap()]);
        let error = crate::thread::run_here(async { resolver.addresses("shop.test").await.unwrap_err() }).unwrap();
        assert_eq!(error, LookupError::Timeout(Duration::from_secs(2)));
    }
}
