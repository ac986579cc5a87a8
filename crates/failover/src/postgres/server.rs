//! Carries out what the agent's machine says, one action at a time.

use std::time::{Duration, Instant};

use mainstay_core::database::agent::{Action, Local, Stop};
use mainstay_core::database::{Engine, Lsn, Regime, Report, Server};

use super::copies::Copies;
use super::files::{Files, GRANTS, Standing};
use super::probe::{self, Probe};
use super::process::{AT_ONCE, LONG, Postmaster, SHORT, all_of, end_all, run};
use super::receiver::Receiver;
use super::retry::Retry;
use super::{REPLICATION_ROLE, SUPERUSER, Settings, control, local, log, query, slots};
use crate::silence::Silence;
use crate::{Discarded, Error, Executor};

/// How long a start, a promotion or a checkpoint may take.
const WORK_WITHIN: Duration = Duration::from_secs(60);
/// A planned stop that takes longer is one at once.
const FAST_WITHIN: Duration = Duration::from_secs(10);
/// The checkpoint before it that takes longer is not waited for.
const CHECKPOINT_WITHIN: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(20);
/// Empties and copies directories.
pub(super) const FIND: &str = "/usr/bin/find";
/// How often it is looked whether there are the slots that there should be.
const TEND: Duration = Duration::from_secs(5);
/// What a server says that was set to have less of something than its primary.
const TOO_LITTLE: &str = "insufficient parameter settings";

/// The local server.
#[derive(Debug)]
pub struct Instance {
    pub(super) settings: Settings,
    pub(super) postmaster: Option<Postmaster>,
    pub(super) standing: Standing,
    /// Whom it was told to stream from last.
    pub(super) upstream: Option<String>,
    /// It was started, or told, to take writes.
    pub(super) leads: bool,
    pub(super) sync: Option<u64>,
    /// It was told to become primary. Until it is, it may at any moment, whatever it says.
    pub(super) promoting: bool,
    rewinds: u32,
    clones: u32,
    retry: Retry,
    pub(super) discarded: Option<Discarded>,
    /// When it was looked after its slots last.
    tended: Option<Instant>,
    /// What it receives as a replica.
    pub(super) receiver: Receiver,
    /// Whether it answers.
    pub(super) silence: Silence,
    /// Writes rows while it is primary.
    probe: Option<Probe>,
    /// When it was tried last to be let in by a server that somebody else has started.
    pub(super) knocked: Option<Instant>,
}

impl Instance {
    /// Writes the configuration, and finds a server that runs already.
    ///
    /// # Errors
    /// If the directories cannot be made, or belong to somebody else.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        let files = Files(&settings);
        files.prepare()?;
        let standing = files.standing();
        let postmaster = Postmaster::find(&settings);
        let upstream = local::upstream(&settings);
        // Whether it takes writes is seen when it is asked; until then the worse is assumed.
        let leads = postmaster.is_some();
        Ok(Self {
            receiver: Copies::receiver(standing.copies),
            settings,
            postmaster,
            standing,
            upstream,
            leads,
            sync: None,
            promoting: false,
            rewinds: 0,
            clones: 0,
            retry: Retry::default(),
            discarded: None,
            tended: None,
            silence: Silence::default(),
            probe: None,
            knocked: None,
        })
    }

    /// Written before anything happens, so that whoever comes back knows that its data may have gone its own way.
    fn leads_from_now(&mut self, term: u64) -> Result<(), Error> {
        self.standing.led = Some(term);
        probe::forget_earlier(&self.settings, term);
        Files(&self.settings).stand(&self.standing)
    }

    pub(super) fn remember(&mut self, position: Lsn) -> Result<(), Error> {
        /// Positions are written down this coarsely, so that the disk has little to do.
        const STEP: Lsn = 1 << 20;
        if position > self.standing.position {
            let is_far = position - self.standing.position >= STEP;
            self.standing.position = position;
            if is_far {
                return Files(&self.settings).stand(&self.standing);
            }
        }
        Ok(())
    }

    fn follow(&mut self, of: Option<&str>) -> Result<(), Error> {
        Files(&self.settings).member(of, &Regime::default())?;
        self.upstream = of.map(str::to_owned);
        Ok(())
    }

    async fn reload(&self) -> Result<(), Error> {
        // Whoever used ALTER SYSTEM for what is ours took it from us.
        let reset = Files(&self.settings).overridden().into_iter().map(|key| format!("ALTER SYSTEM RESET {key}"));
        for reset in reset.collect::<Vec<_>>() {
            tracing::warn!(reset, "database: a setting that is Mainstay's was overridden; it is taken out");
            query::run(&self.settings, "to forget a setting", &reset, SHORT).await?;
        }
        query::run(&self.settings, "to read its configuration", "SELECT pg_reload_conf()", SHORT).await
    }

    /// Nothing is received any more.
    async fn detached(&self) -> Result<(), Error> {
        let wait = async {
            while query::state(&self.settings).await?.receives {
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        let late = |_elapsed| Error::Late { what: "the replica's detaching".to_owned(), limit: SHORT };
        tokio::time::timeout(SHORT, wait).await.map_err(late)?
    }

    async fn start(&mut self, leads: bool) -> Result<(), Error> {
        (self.leads, self.promoting, self.sync, self.tended) = (leads, false, None, None);
        // What an adopted server's own files say now.
        Files(&self.settings).prepare()?;
        Files(&self.settings).take_out_overrides()?;
        let said = log::length(&self.settings);
        self.postmaster = Some(Postmaster::start(&self.settings)?);
        let wait = async {
            loop {
                if query::state(&self.settings).await.is_ok() {
                    return Ok(());
                }
                if !self.postmaster.as_mut().is_some_and(Postmaster::runs) {
                    let said = log::last_words(&self.settings, said);
                    if said.contains(TOO_LITTLE) {
                        // It is started anew with as much as its primary had.
                        Files(&self.settings).raise(&control::needs(&self.settings).await?)?;
                    }
                    return Err(Error::Program { program: "postgres".to_owned(), said });
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        // One that takes longer, to recover from a crash perhaps, is seen to be starting.
        tokio::time::timeout(FAST_WITHIN, wait).await.unwrap_or(Ok(()))
    }

    async fn found(&mut self, term: u64, sync: &Regime) -> Result<(), Error> {
        let data = self.settings.data_dir.clone();
        self.tear(&data).await?;
        let path = data.display().to_string();
        let mut arguments = vec!["-D", &path, "-U", SUPERUSER, "-A", "peer", "-k", "-E", "UTF8", "--no-locale"];
        let log = self.standing.log_folder();
        arguments.extend(log.iter().flat_map(|log| ["-X", log]));
        run(&self.settings, "initdb", &arguments, WORK_WITHIN * 5).await?;
        self.mend()?;
        Files(&self.settings).member(None, sync)?;
        self.leads_from_now(term)?;
        self.start(true).await?;
        self.make_role().await
    }

    /// The role that replicas stream with. Its commit waits for nobody, since nobody can follow before it is there.
    async fn make_role(&self) -> Result<(), Error> {
        let password = self.settings.password.replace('\'', "''");
        let sql = format!(
            "SET synchronous_commit = local; SET log_statement = none; SET log_min_error_statement = panic; \
             SET log_min_duration_statement = -1; SET password_encryption = 'scram-sha-256'; \
             DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{REPLICATION_ROLE}') \
             THEN CREATE ROLE {REPLICATION_ROLE}; END IF; END $$; \
             ALTER ROLE {REPLICATION_ROLE} LOGIN REPLICATION PASSWORD '{password}'; {GRANTS}"
        );
        query::run(&self.settings, "the replication role", &sql, WORK_WITHIN).await
    }

    async fn adopt(&mut self, term: u64) -> Result<(), Error> {
        if let Some(lacks) = query::unsuitable(&self.settings).await? {
            return Err(Error::Unsuitable(lacks));
        }
        self.make_role().await?;
        self.leads_from_now(term)
    }

    async fn promote(&mut self, term: u64, sync: &Regime) -> Result<(), Error> {
        Files(&self.settings).member(None, sync)?;
        self.upstream = None;
        self.leads_from_now(term)?;
        (self.leads, self.promoting, self.sync, self.tended) = (true, true, None, None);
        self.reload().await?;
        query::promote(&self.settings, WORK_WITHIN + SHORT).await
    }

    /// Makes and removes slots, now and then. Without them replicas stream all the same as long as the log is kept.
    async fn tend(&mut self, server: &Server) {
        let is_primary = match server {
            Server::Primary => true,
            Server::Replica { .. } => false,
            Server::Empty | Server::Stopped { .. } | Server::Starting | Server::Unknown => return,
        };
        if self.tended.is_some_and(|at| at.elapsed() < TEND) {
            return;
        }
        self.tended = Some(Instant::now());
        crate::log::bound(&Files(&self.settings).log());
        let sql = slots::tend(&self.settings.peers, is_primary);
        if let Err(error) = query::run(&self.settings, "to tend its slots", &sql, SHORT).await {
            tracing::debug!(%error, "database: the slots of replicas are not as they should be");
        }
    }

    /// Rows are written in the term that it leads with, and in no other.
    fn keep_probing(&mut self, report: &Report) {
        let term = report.led.filter(|_| self.settings.options.probe_rows && report.server == Server::Primary);
        if self.probe.as_ref().map(Probe::term) != term {
            self.probe = term.map(|term| Probe::begin(&self.settings, term));
        }
    }

    async fn wait_for(&mut self, since: u64, sync: &Regime) -> Result<(), Error> {
        Files(&self.settings).member(None, sync)?;
        self.reload().await?;
        if query::is_caught_up(&self.settings, sync).await? {
            self.sync = Some(since);
        }
        Ok(())
    }

    async fn copy(&mut self, of: &str) -> Result<(), Error> {
        self.stop(Stop::Fast).await;
        let source = Files(&self.settings).way_to(of)?;
        let data = self.settings.data_dir.clone();
        self.tear(&data).await?;
        let path = data.display().to_string();
        let mut arguments = vec!["-D", &path, "-d", &source, "-X", "stream", "-c", "fast", "--no-password"];
        let log = self.standing.log_folder();
        arguments.extend(log.iter().flat_map(|log| ["--waldir", log]));
        run(&self.settings, "pg_basebackup", &arguments, LONG).await?;
        self.receiver.is_copied(Instant::now());
        Files(&self.settings).set_standby(true)?;
        self.mend()
    }
}

impl Executor for Instance {
    async fn observe(&mut self, said: u64) -> Result<Local, Error> {
        let report = local::look(self, said).await?;
        self.tend(&report.server).await;
        self.keep_probing(&report);
        if matches!(report.server, Server::Replica { upstream: Some(_) }) && report.timeline > 0 {
            (self.rewinds, self.clones) = (0, 0);
        }
        let (rewinds, clones) = (self.rewinds, self.clones);
        let (leads, upstream, stuck_at) = (self.leads, self.upstream.clone(), self.receiver.stuck_at());
        let hung = self.silence.is_hung();
        Ok(Local { engine: Engine::Postgres, report, leads, hung, rewinds, clones, upstream, stuck_at })
    }

    async fn carry_out(&mut self, action: &Action) -> Result<(), Error> {
        self.retry.check(action, Instant::now())?;
        let outcome = self.perform(action).await;
        self.retry.note(action, outcome.as_ref().err(), Instant::now());
        // Whoever could not be reached says nothing of the data. What was dropped on the way has not failed either.
        if let Err(error) = &outcome
            && !error.is_of_the_way()
        {
            match action {
                Action::Rewind { .. } => self.rewinds += 1,
                Action::Clone { .. } => self.clones += 1,
                _other => {}
            }
        }
        outcome
    }

    async fn stop(&mut self, stop: Stop) {
        if self.leads && stop == Stop::Fast {
            // What the stop would have to write is written while clients still write, who are without a primary for less time.
            let _the_stop_writes_it = query::run(&self.settings, "a checkpoint", "CHECKPOINT", CHECKPOINT_WITHIN).await;
        }
        let ended = match (&mut self.postmaster, stop) {
            (Some(postmaster), Stop::Fast) => postmaster.stop_fast(FAST_WITHIN).await,
            (Some(_), Stop::Immediate) | (None, _) => false,
        };
        // One that has ended by itself has waited for all that it had started.
        if !ended || all_of(&self.settings).runs() {
            // A process that is frozen, or that a killed postmaster has left, is ended as well.
            while let Err(error) = end_all(&self.settings, AT_ONCE).await {
                tracing::error!(%error, "database: the server cannot be stopped; it is tried again");
            }
        }
        // It is waited for, if it is our child.
        let _ended = self.postmaster.as_mut().map(Postmaster::runs);
        (self.postmaster, self.leads, self.promoting, self.sync) = (None, false, false, None);
        self.silence.end(Instant::now());
    }

    fn trouble(&self) -> Option<&str> {
        self.silence.why().or(self.receiver.why())
    }

    fn process(&mut self) -> Option<u32> {
        let postmaster = self.postmaster.as_mut()?;
        postmaster.runs().then(|| postmaster.pid())
    }

    fn discarded(&mut self) -> Option<Discarded> {
        self.discarded.take()
    }

    async fn missing_rows(&mut self) -> Option<u64> {
        probe::missing(&self.settings).await
    }
}

impl Instance {
    async fn perform(&mut self, action: &Action) -> Result<(), Error> {
        match action {
            Action::Wait | Action::GiveUp => Ok(()),
            Action::Found { term, sync } => self.found(*term, sync).await,
            Action::Adopt { term } => self.adopt(*term).await,
            Action::Stop(stop) => {
                self.stop(*stop).await;
                Ok(())
            }
            // A PostgreSQL that takes writes becomes a replica by a restart only: core does not ask for it.
            Action::Demote => {
                self.stop(Stop::Fast).await;
                Ok(())
            }
            Action::StartPrimary { term, sync } => {
                Files(&self.settings).set_standby(false)?;
                Files(&self.settings).member(None, sync)?;
                self.leads_from_now(*term)?;
                self.start(true).await
            }
            Action::StartReplica { of } => {
                Files(&self.settings).set_standby(true)?;
                self.follow(of.as_deref())?;
                self.start(false).await
            }
            Action::Follow { of } => {
                self.follow(of.as_deref())?;
                self.reload().await?;
                if of.is_none() { self.detached().await } else { Ok(()) }
            }
            Action::Promote { term, sync } => self.promote(*term, sync).await,
            Action::Checkpoint => query::run(&self.settings, "a checkpoint", "CHECKPOINT", WORK_WITHIN).await,
            Action::SetSync { since, sync } => self.wait_for(*since, sync).await,
            Action::Resign => self.mend(),
            Action::Rewind { of } => self.rewind(of).await,
            Action::Clone { of } => self.copy(of).await,
        }
    }
}
