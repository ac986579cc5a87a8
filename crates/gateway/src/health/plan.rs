use std::net::SocketAddr;
use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use mainstay_core::health::Policy;
use mainstay_probe::{Command, Expected, Failed, Get, Passed, Place, Target, Tls};
use mainstay_runtime::tls::{ClientSettings, ClientTls};
use mainstay_runtime::user;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::proxy_protocol::write;
use crate::spec::{Address, LOCAL_NAME, Liveness, Probe};
use crate::state::{Endpoint, Service};

/// What an endpoint is minded by. A reload that keeps the endpoint replaces it under the running task.
pub(super) struct Plan {
    pub(super) service: Arc<Service>,
    pub(super) check: Option<Check>,
}

/// An endpoint's check, ready to be performed.
pub(super) struct Check {
    pub(super) policy: Policy,
    /// Share of its weight that the endpoint gets while it is degraded.
    pub(super) degraded_share: f64,
    port: Option<u16>,
    /// What a connection to the endpoint itself begins with.
    header: Vec<u8>,
    /// Or why there can be no probe, which is then the verdict.
    target: Result<Target, String>,
    /// What tells life from death where checks fail; `None` without a cascade guard.
    liveness: Option<Result<Target, String>>,
}

impl Plan {
    pub(super) fn new(service: &Arc<Service>, endpoint: &Endpoint, tls: Option<&Arc<ClientConfig>>) -> Self {
        let check = service.spec.health.as_ref().map(|check| Check {
            policy: check.policy,
            degraded_share: check.degraded_share,
            port: check.port,
            header: service.spec.send_proxy.map(write::local).unwrap_or_default(),
            target: target(service, endpoint, &check.probe, tls),
            liveness: service.spec.guard.as_ref().map(|guard| liveness(service, endpoint, &guard.liveness, tls)),
        });
        Self { service: Arc::clone(service), check }
    }

    /// Whether it starts a process each time.
    pub(super) fn is_command(&self) -> bool {
        let probe = self.service.spec.health.as_ref().map(|check| &check.probe);
        matches!(probe, Some(Probe::Command { .. }))
    }

    /// Whether a running check may go on under `other`.
    pub(super) fn continues_as(&self, other: &Self) -> bool {
        self.service.spec.health == other.service.spec.health && self.service.spec.guard == other.service.spec.guard
    }
}

impl Check {
    /// Asks once. If it passes, what is amiss all the same; the reason if it fails.
    pub(super) async fn ask(&self, place: &Place, timeout: Duration) -> Result<Option<String>, String> {
        self.ask_for(self.target.as_ref().map_err(Clone::clone)?, place, timeout).await
    }

    /// Whether the endpoint lives at all; `None` if nobody wants to know.
    pub(super) async fn ask_life(&self, place: &Place, timeout: Duration) -> Option<bool> {
        Some(match self.liveness.as_ref()? {
            Ok(target) => self.ask_for(target, place, timeout).await.is_ok(),
            Err(_impossible) => false,
        })
    }

    async fn ask_for(&self, target: &Target, place: &Place, timeout: Duration) -> Result<Option<String>, String> {
        let result = match (place, self.port) {
            (Place::Tcp(address), Some(port)) => {
                mainstay_probe::probe(target, &Place::Tcp(SocketAddr::new(address.ip(), port)), &[], timeout).await
            }
            (Place::Tcp(_), None) | (Place::Unix(_), _) => {
                mainstay_probe::probe(target, place, &self.header, timeout).await
            }
        };
        result.map(|passed: Passed| passed.degraded).map_err(|failed: Failed| failed.to_string())
    }
}

fn target(
    service: &Service,
    endpoint: &Endpoint,
    probe: &Probe,
    config: Option<&Arc<ClientConfig>>,
) -> Result<Target, String> {
    let own_name = || match &endpoint.address {
        Address::Unix(_) => LOCAL_NAME.to_owned(),
        Address::Socket(_) | Address::Name { .. } => endpoint.name.clone(),
        Address::Member { host, address } => format!("{host}:{}", address.port()),
    };
    let secured = |protocol: &[u8]| {
        let config = config.map_or_else(verified_by_the_system, |config| Ok(Arc::clone(config)))?;
        Ok::<_, String>(Tls { config: speaking(&config, protocol), server_name: server_name(service, endpoint)? })
    };
    match probe {
        Probe::Tcp => Ok(Target::Tcp),
        Probe::Http { path, host, expect, tls, json } => {
            let host = host.clone().unwrap_or_else(own_name);
            let get = Get { path: path.clone(), host, expect: Expected(expect.clone()), json: json.clone() };
            Ok(Target::Http { get, tls: if *tls { Some(secured(b"http/1.1")?) } else { None } })
        }
        Probe::Script { script, host } => {
            let tls = if config.is_some() { Some(secured(b"http/1.1")?) } else { None };
            Ok(Target::Script { script: script.clone(), host: host.clone().unwrap_or_else(own_name), tls })
        }
        Probe::Command { argv, degraded, user } => {
            let user = user.as_deref().map(runner).transpose()?;
            let names = [("MAINSTAY_SERVICE", &service.spec.name), ("MAINSTAY_ENDPOINT", &endpoint.name)];
            let environment = names.map(|(name, value)| (name.to_owned(), value.clone())).to_vec();
            let command = Command { argv: argv.clone(), degraded: degraded.clone(), user };
            if command.user.is_none() && user::is_root() {
                warn_of_root();
            }
            Ok(Target::Command { command, environment })
        }
        Probe::Grpc { service: name } => {
            let check = mainstay_probe::Check { service: name.clone(), authority: own_name() };
            Ok(Target::Grpc { check, tls: if config.is_some() { Some(secured(b"h2")?) } else { None } })
        }
    }
}

fn runner(name: &str) -> Result<user::User, String> {
    let found = user::find(name).map_err(|error| format!("cannot read /etc/passwd: {error}"))?;
    found.ok_or_else(|| format!("there is no user `{name}` on this machine"))
}

/// Whoever wants a check to run as root says so: `user = "root"`.
fn warn_of_root() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            "command checks run as root; name another user: health = {{ command = [...], user = \"nobody\" }}"
        );
    });
}

fn liveness(
    service: &Service,
    endpoint: &Endpoint,
    liveness: &Liveness,
    config: Option<&Arc<ClientConfig>>,
) -> Result<Target, String> {
    let probe = match liveness {
        Liveness::Tcp => Probe::Tcp,
        Liveness::Http { path } => {
            Probe::Http { path: path.clone(), host: None, expect: vec![(100, 499)], tls: config.is_some(), json: None }
        }
    };
    target(service, endpoint, &probe, config)
}

/// The same settings for a check that speaks `protocol`, whatever requests speak.
fn speaking(config: &Arc<ClientConfig>, protocol: &[u8]) -> Arc<ClientConfig> {
    if config.alpn_protocols == [protocol] || (config.alpn_protocols.is_empty() && protocol == b"http/1.1") {
        return Arc::clone(config);
    }
    let mut config = ClientConfig::clone(config);
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

fn server_name(service: &Service, endpoint: &Endpoint) -> Result<ServerName<'static>, String> {
    let configured = service.spec.tls.as_ref().and_then(|tls| tls.server_name.clone());
    let name = match (configured, &endpoint.address) {
        (Some(name), _address) => name,
        (None, Address::Socket(address)) => return Ok(ServerName::from(address.ip())),
        (None, Address::Name { host, .. } | Address::Member { host, .. }) => host.clone(),
        (None, Address::Unix(_)) => LOCAL_NAME.to_owned(),
    };
    ServerName::try_from(name.clone()).map_err(|_invalid| format!("`{name}` is no name that TLS can verify"))
}

/// For services that have no TLS settings of their own. Loaded once: the system's authorities are many.
fn verified_by_the_system() -> Result<Arc<ClientConfig>, String> {
    static LOADED: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let load = || ClientTls::load(&ClientSettings::default(), &[]).map_err(|error| error.to_string());
    LOADED.get_or_init(load).clone()
}
