//! What ends a primary when its driver cannot: the guard, the kernel's lease of its port, the watchdog.

use mainstay_cluster::guard::{AtDeath, Keeper, Part, Server, boot_time};
use mainstay_core::lease::Term;
use mainstay_failover::fence::port::PortLease;
use mainstay_failover::fence::watchdog::Watchdog;
use mainstay_failover::group::Warden;
use mainstay_failover::group::board::Rung;

use crate::cluster::Context;
use crate::config::database::{self, Database};

/// The rungs of this node's fencing ladder for one server.
pub(super) struct Wards {
    keeper: Keeper,
    part: Part,
    server: Server,
    /// Or why there is none.
    port: Result<PortLease, String>,
    port_is_required: bool,
    watchdog: Result<Watchdog, String>,
    stonith: bool,
}

impl Wards {
    pub(super) fn new(
        context: &Context,
        database: &Database,
        configured: &database::Server,
        program: &'static str,
    ) -> Self {
        // Its processes work in its data directory, whose name has no links in it then.
        let directory =
            std::fs::canonicalize(&configured.data_dir).unwrap_or_else(|_absent| configured.data_dir.clone());
        let server = Server { directory, program: program.to_owned(), asks: program == "postgres" };
        let fencing = &database.fencing;
        let address = database.member(&context.name).map(|member| member.address);
        let port = match (fencing.port_lease, address) {
            (database::PortLease::Off, _) | (_, None) => Err("`port_lease` is off".to_owned()),
            (database::PortLease::Auto | database::PortLease::Required, Some(address)) => {
                PortLease::open(&database.name, address, server.runs())
            }
        };
        let watchdog = fencing.watchdog.as_ref().ok_or_else(|| "`watchdog` is not set".to_owned());
        Self {
            keeper: context.keeper.clone(),
            part: context.keeper.part(&format!("database:{}", database.name)),
            server,
            port,
            port_is_required: fencing.port_lease == database::PortLease::Required,
            watchdog: watchdog.map(|path| Watchdog::new(path, context.timings.ttl)),
            stonith: fencing.stonith.is_some(),
        }
    }

    fn hold_port(&self, term: Term) -> Result<(), String> {
        let port = match &self.port {
            Ok(port) => port,
            Err(missing) if self.port_is_required => return Err(format!("there is no port lease: {missing}")),
            Err(_missing) => return Ok(()),
        };
        port.hold(term);
        match port.problem() {
            _ if port.stands() => Ok(()),
            Some(_problem) if !self.port_is_required => Ok(()),
            Some(problem) => Err(format!("there is no port lease: {problem}")),
            None => Err("the kernel has not heard of the port lease yet".to_owned()),
        }
    }
}

impl Warden for Wards {
    fn protect(&mut self, term: Term) -> Result<(), String> {
        self.part.protect(&self.server, term, AtDeath::Stop).map_err(|error| error.to_string())?;
        self.hold_port(term)?;
        if let Ok(watchdog) = &mut self.watchdog {
            watchdog.feed(term, boot_time()).map_err(|error| format!("the watchdog cannot be fed: {error}"))?;
        }
        Ok(())
    }

    fn release(&mut self) {
        self.part.release();
        if let Ok(port) = &self.port {
            port.release();
        }
        if let Ok(watchdog) = &mut self.watchdog
            && let Err(error) = watchdog.release()
        {
            tracing::warn!(%error, "databases: the watchdog cannot be switched off");
        }
    }

    fn may_wait(&self) -> Result<(), String> {
        match &self.watchdog {
            Ok(_watchdog) => Err("the watchdog would restart the machine if that process came too late".to_owned()),
            Err(_there_is_none) => Ok(()),
        }
    }

    fn rungs(&self) -> Vec<Rung> {
        let rung = |name: &str, missing| Rung { name: name.to_owned(), missing };
        let port = match &self.port {
            Ok(port) => port.problem(),
            Err(missing) => Some(missing.clone()),
        };
        let watchdog = match &self.watchdog {
            Ok(watchdog) => watchdog.missing(),
            Err(missing) => Some(missing.clone()),
        };
        let stonith = (!self.stonith).then(|| "`stonith` is not set".to_owned());
        vec![
            rung("guard", self.keeper.missing()),
            rung("port-lease", port),
            rung("watchdog", watchdog),
            rung("stonith", stonith),
        ]
    }
}
