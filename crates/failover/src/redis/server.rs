//! Carries out what the agent's machine says, one action at a time.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use mainstay_core::database::agent::{Action, Local, Stop};
use mainstay_core::database::{Engine, Lsn};

use super::files::{Files, Standing, random};
use super::info::NOBODY;
use super::process::Process;
use super::{Settings, count, local, snapshot};
use crate::executor::Discarded;
use crate::silence::Silence;
use crate::{Error, Executor};

/// How long a start may take before it is only looked at whether it has come up.
const START_WITHIN: Duration = Duration::from_secs(10);
/// An orderly stop writes a snapshot, after the replicas have everything; a longer one is none.
const FAST_WITHIN: Duration = Duration::from_secs(30);
/// A stop at once keeps what is in the memory if that takes no longer than this. Nothing is acknowledged meanwhile, since
/// the server does nothing else.
const AT_ONCE: Duration = Duration::from_millis(500);
/// How long a primary that steps down waits for its replicas. Whoever lacks something after that gets it from it as from
/// a replica.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a whole copy is waited for. A longer one goes on, and is looked at.
const COPY_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);
/// Data that was replaced stays so often; the oldest goes.
const KEPT_MAX: usize = 2;

/// The local server.
#[derive(Debug)]
pub struct Instance {
    pub(super) settings: Settings,
    pub(super) process: Option<Process>,
    pub(super) standing: Standing,
    /// The position that was written down last.
    pub(super) written: Lsn,
    /// It was started, or told, to take writes.
    pub(super) leads: bool,
    /// It was started so that it answers no reads before it has joined.
    pub(super) gated: bool,
    pub(super) sync: Option<u64>,
    pub(super) clones: u32,
    discarded: Option<Discarded>,
    /// Whether it answers.
    pub(super) silence: Silence,
    /// When it was tried last to be let in by a server that somebody else has started.
    pub(super) knocked: Option<Instant>,
}

impl Instance {
    /// Makes the directories, and finds a server that runs already.
    ///
    /// # Errors
    /// If they cannot be made, or belong to somebody else.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        let files = Files(&settings);
        files.prepare()?;
        let mut standing = files.standing();
        if standing.id.is_none() && files.has_data() {
            // What nobody knows where it comes from is nobody else's data: it gets a name of its own.
            standing.id = Some(random()?);
            files.stand(&standing)?;
        }
        let process = Process::find(&settings);
        // Whether it takes writes is seen when it is asked; until then the worse is assumed.
        let leads = process.is_some();
        let (written, gated) = (standing.position, standing.led.is_some());
        let (sync, clones, discarded, silence, knocked) = (None, 0, None, Silence::default(), None);
        Ok(Self { settings, process, standing, written, leads, gated, sync, clones, discarded, silence, knocked })
    }

    /// Written before anything happens, so that whoever comes back knows that its data may have gone its own way.
    fn leads_from_now(&mut self, term: u64) -> Result<(), Error> {
        self.standing.led = Some(term);
        Files(&self.settings).stand(&self.standing)
    }

    async fn tell(&self, what: &str, command: &[&str]) -> Result<(), Error> {
        local::ask(&self.settings, what, command, local::ANSWER_WITHIN).await.map(|_reply| ())
    }

    async fn start(&mut self, leads: bool, of: Option<&str>) -> Result<(), Error> {
        self.sync = None;
        self.leads = leads;
        // Whoever led and went its own way answers no reads before that is settled.
        self.gated = self.standing.led.is_some() && !leads;
        let files = Files(&self.settings);
        files.configure(leads, of, self.gated)?;
        let is_named = snapshot::read(&files.snapshot()).is_some_and(|head| head.id.is_some());
        let is_named = is_named && !files.append_only().exists();
        (self.standing.unnamed, self.standing.made_up) = (!leads && !is_named, None);
        files.stand(&self.standing)?;
        self.process = Some(Process::start(&self.settings)?);
        self.comes_up().await?;
        if leads {
            // Whoever starts it by hand with what stands there gets a replica of nobody.
            return Files(&self.settings).configure(false, None, false);
        }
        Ok(())
    }

    /// Until it has loaded, if that does not take long.
    async fn comes_up(&mut self) -> Result<(), Error> {
        let wait = async {
            loop {
                if let Ok(info) = local::info(&self.settings).await
                    && !info.loads
                {
                    return Ok(());
                }
                if !self.process.as_mut().is_some_and(Process::runs) {
                    return Err(self.failed());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(START_WITHIN, wait).await.unwrap_or(Ok(()))
    }

    /// Why it did not come up. Data that cannot be read is set aside: a copy of another member's helps, nothing else.
    fn failed(&mut self) -> Error {
        const UNREADABLE: [&str; 6] = [
            "Wrong signature trying to load DB",
            "Short read or OOM loading DB",
            "rdb file reading failure",
            "Fatal error loading the DB",
            "Bad file format reading the append only file",
            "Unexpected end of file reading the append only file",
        ];
        let log = fs::read_to_string(Files(&self.settings).log()).unwrap_or_default();
        let begin = log.rfind("Redis is starting").or_else(|| log.rfind("just started")).unwrap_or(0);
        let last = log.get(begin..).unwrap_or_default();
        let line = last.lines().rev().find(|line| UNREADABLE.iter().any(|reason| line.contains(reason)));
        let Some(line) = line else {
            let said = last.lines().last().unwrap_or("see its log").to_owned();
            return Error::Program { program: super::PROGRAM.to_owned(), said };
        };
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let kept = Files(&self.settings).set_aside(&format!("unreadable-{seconds}"), KEPT_MAX);
        self.standing = Standing { led: self.standing.led, ..Standing::default() };
        if let Err(error) = kept.and_then(|_kept| Files(&self.settings).stand(&self.standing)) {
            return error;
        }
        Error::Program { program: super::PROGRAM.to_owned(), said: format!("{line}; its data was set aside") }
    }

    async fn found(&mut self, term: u64) -> Result<(), Error> {
        self.standing = Standing::default();
        self.leads_from_now(term)?;
        self.start(true, None).await?;
        self.settle_id().await
    }

    /// A primary without a backlog takes another replication id with its first replica, which the planner might not hear of
    /// before it is gone. So it gets one at once, by whoever asks as a replica would, and hangs up.
    async fn settle_id(&self) -> Result<(), Error> {
        if local::info(&self.settings).await?.has_backlog {
            return Ok(());
        }
        self.tell("its replication id", &["PSYNC", "?", "-1"]).await
    }

    async fn follow(&mut self, of: Option<&str>) -> Result<(), Error> {
        let (host, port) = match of {
            Some(of) => {
                let address = self.settings.peer(of)?.address;
                (address.ip().to_string(), address.port().to_string())
            }
            None => (NOBODY.0.to_owned(), NOBODY.1.to_owned()),
        };
        Files(&self.settings).configure(false, of, self.gated)?;
        self.tell("to follow", &["REPLICAOF", &host, &port]).await
    }

    async fn promote(&mut self, term: u64) -> Result<(), Error> {
        self.leads_from_now(term)?;
        (self.leads, self.sync) = (true, None);
        Files(&self.settings).configure(false, None, true)?;
        self.tell("its promotion", &["REPLICAOF", "NO", "ONE"]).await?;
        let info = local::info(&self.settings).await?;
        let refused = || Error::Refused { what: "its promotion".to_owned(), said: "it is a replica still".to_owned() };
        if !info.is_primary {
            return Err(refused());
        }
        self.settle_id().await
    }

    /// Writes wait, the replicas get what was acknowledged, and then it is one itself. Whoever waited is told that it must
    /// not write here.
    async fn demote(&mut self) -> Result<(), Error> {
        let pause = PAUSE.as_millis().saturating_mul(2).to_string();
        self.tell("to let writes wait", &["CLIENT", "PAUSE", &pause, "WRITE"]).await?;
        let wait = async {
            // Replicas say by themselves how far they are once a second; more of them than there are makes it ask them.
            while self.tell("to ask its replicas", &["WAIT", "1000", "20"]).await.is_ok() {
                let Ok(info) = local::info(&self.settings).await else { return };
                if info.acknowledged.iter().all(|offset| *offset >= info.position) {
                    return;
                }
            }
        };
        let _late = tokio::time::timeout(PAUSE, wait).await;
        self.follow(None).await?;
        self.leads = false;
        self.tell("to go on", &["CLIENT", "UNPAUSE"]).await
    }

    /// Keeps what it has, and lets the primary send everything.
    async fn copy(&mut self, of: &str) -> Result<(), Error> {
        self.stop(Stop::Fast).await;
        if Files(&self.settings).has_data() {
            let own = local::look(self, 0).await?;
            let name = format!("{:016x}-{:012}", own.system.unwrap_or(0), own.position);
            let kept = Files(&self.settings).set_aside(&name, KEPT_MAX)?;
            self.discarded = Some(count::discarded(&self.settings, of, &own, kept).await);
        }
        self.standing = Standing::default();
        Files(&self.settings).stand(&self.standing)?;
        self.start(false, Some(of)).await?;
        let wait = async {
            loop {
                match local::info(&self.settings).await {
                    Ok(info) if info.is_linked && !info.loads => return Ok(()),
                    Ok(_) | Err(_) if !self.process.as_mut().is_some_and(Process::runs) => return Err(self.failed()),
                    Ok(_) | Err(_) => tokio::time::sleep(LOOK).await,
                }
            }
        };
        tokio::time::timeout(COPY_WITHIN, wait).await.unwrap_or(Ok(()))
    }

    /// Lets it write a snapshot and end; whether it did.
    async fn shut_down(&mut self, words: &[&str], limit: Duration) -> bool {
        let Some(process) = &mut self.process else { return true };
        // Its answer is that it ends.
        let told = local::ask(&self.settings, "to stop", words, limit);
        tokio::select! {
            answer = told => match answer {
                Err(Error::Refused { .. } | Error::Late { .. }) => false,
                // It hangs up when it ends.
                Ok(_) | Err(_) => process.ends_within(AT_ONCE).await,
            },
            ended = process.ends_within(limit) => ended,
        }
    }
}

impl Executor for Instance {
    async fn observe(&mut self, said: u64) -> Result<Local, Error> {
        let report = local::look(self, said).await?;
        crate::log::bound(&Files(&self.settings).log());
        let (leads, clones) = (self.leads, self.clones);
        let hung = self.silence.is_hung();
        Ok(Local { engine: Engine::Redis, report, leads, hung, rewinds: 0, clones, upstream: None, stuck_at: None })
    }

    async fn carry_out(&mut self, action: &Action) -> Result<(), Error> {
        match action {
            // Whether it was primary it tells by the name of its history.
            Action::Wait | Action::GiveUp | Action::Checkpoint | Action::Resign => Ok(()),
            Action::Found { term, .. } => self.found(*term).await,
            Action::Adopt { term } => {
                self.leads_from_now(*term)?;
                self.settle_id().await
            }
            Action::Stop(stop) => {
                self.stop(*stop).await;
                Ok(())
            }
            Action::Demote => self.demote().await,
            // What it was primary with may be gone: core elects first.
            Action::StartPrimary { .. } => self.start(false, None).await,
            Action::StartReplica { of } => self.start(false, of.as_deref()).await,
            Action::Follow { of } => self.follow(of.as_deref()).await,
            Action::Promote { term, .. } => self.promote(*term).await,
            Action::SetSync { since, sync } if sync.acks == 0 => {
                self.sync = Some(*since);
                Ok(())
            }
            Action::SetSync { .. } => Err(Error::Refused {
                what: "to wait for replicas".to_owned(),
                said: "Redis acknowledges alone; set `durability = \"async\"`".to_owned(),
            }),
            Action::Rewind { of } | Action::Clone { of } => {
                self.clones += 1;
                self.copy(of).await
            }
        }
    }

    async fn stop(&mut self, stop: Stop) {
        let (words, limit): (&[&str], _) = match stop {
            Stop::Fast => (&["SHUTDOWN", "SAVE"], FAST_WITHIN),
            Stop::Immediate => (&["SHUTDOWN", "SAVE", "NOW", "FORCE"], AT_ONCE),
        };
        if !self.shut_down(words, limit).await
            && let Some(process) = &mut self.process
        {
            process.kill().await;
        }
        (self.process, self.leads, self.sync) = (None, false, None);
        self.silence.end(Instant::now());
    }

    fn trouble(&self) -> Option<&str> {
        self.silence.why()
    }

    fn process(&mut self) -> Option<u32> {
        let process = self.process.as_mut()?;
        process.runs().then(|| process.pid())
    }

    fn discarded(&mut self) -> Option<Discarded> {
        self.discarded.take()
    }
}
