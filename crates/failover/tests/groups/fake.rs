//! A server that is a model, behind the seam of the drivers.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_core::database::agent::{Action, Local, Stop};
use mainstay_core::lease::Term;
use mainstay_failover::group::Warden;
use mainstay_failover::group::board::Rung;
use mainstay_failover::{Discarded, Error, Executor};

use crate::world::{NAMES, Process, World};

/// What a server does beside what it is told.
#[derive(Default)]
pub(crate) struct Mood {
    /// What it is told does not end.
    pub(crate) hangs: AtomicBool,
    /// What it is told fails.
    pub(crate) fails: AtomicBool,
    /// It does not stop, whoever tells it to.
    pub(crate) immortal: AtomicBool,
    /// Whoever ends it at the lease's end has been told that it may lead.
    pub(crate) protected: AtomicBool,
    /// Nor can it be left alone while nobody tells that one of renewals.
    pub(crate) impatient: AtomicBool,
    /// How often it was told something.
    pub(crate) told: AtomicU32,
    /// How often it was told to stop.
    pub(crate) stopped: AtomicU32,
}

pub(crate) struct Fake {
    pub(crate) at: usize,
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) mood: Arc<Mood>,
    pub(crate) discarded: Option<Discarded>,
}

impl Fake {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever would end the server, which the site does.
pub(crate) struct Ward(pub(crate) Arc<Mood>);

impl Warden for Ward {
    fn protect(&mut self, _term: Term) -> Result<(), String> {
        self.0.protected.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn release(&mut self) {
        self.0.protected.store(false, Ordering::Relaxed);
    }

    fn may_wait(&self) -> Result<(), String> {
        if self.0.impatient.load(Ordering::Relaxed) { Err("for the test".to_owned()) } else { Ok(()) }
    }

    fn rungs(&self) -> Vec<Rung> {
        Vec::new()
    }
}

impl Executor for Fake {
    async fn observe(&mut self, said: u64) -> Result<Local, Error> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut local = self.world().nodes[self.at].local();
        local.report.term = said;
        Ok(local)
    }

    async fn carry_out(&mut self, action: &Action) -> Result<(), Error> {
        self.mood.told.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
        while self.mood.hangs.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if self.mood.fails.load(Ordering::Relaxed) {
            return Err(Error::UnknownPeer("for the test".to_owned()));
        }
        self.world().carry_out(self.at, action.clone());
        if let Action::Rewind { of } | Action::Clone { of } = action {
            let kept = "/kept".into();
            let of = of.clone();
            self.discarded = Some(Discarded { of, bytes: Some(96), commits: Some(2), span_ms: None, keys: None, kept });
        }
        Ok(())
    }

    async fn stop(&mut self, stop: Stop) {
        self.mood.stopped.fetch_add(1, Ordering::Relaxed);
        if self.mood.immortal.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            return;
        }
        let mut world = self.world();
        let was_primary = world.nodes[self.at].process == Process::Primary;
        world.carry_out(self.at, Action::Stop(stop));
        // One that stops in order sends everything before it ends.
        for at in (0..NAMES.len()).filter(|_| was_primary && stop == Stop::Fast) {
            let follows = world.nodes[at].process == Process::Replica { of: Some(self.at) };
            while follows && world.nodes[at].log.len() < world.nodes[self.at].log.len() && !world.mixed {
                world.stream(at, self.at);
            }
        }
    }

    fn process(&mut self) -> Option<u32> {
        (!matches!(self.world().nodes[self.at].process, Process::Down { .. })).then_some(1)
    }

    fn discarded(&mut self) -> Option<Discarded> {
        self.discarded.take()
    }
}
