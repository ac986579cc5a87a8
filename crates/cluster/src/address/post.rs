//! The guard, seen from the driver: started before it is needed, told what is held, replaced when it is gone.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mainstay_runtime::thread::spawn_blocking_thread;
use tokio::sync::Notify;

use super::guard::{Guard, Orders};

/// After a guard could not be started.
const PAUSE: Duration = Duration::from_secs(5);

/// Where the guard is, and its replacement once it has come up.
pub(super) struct Post {
    program: (PathBuf, Vec<String>),
    guard: Option<Guard>,
    /// What a thread leaves that has started one.
    started: Arc<Mutex<Start>>,
    /// Told when a guard has come up.
    pub(super) changed: Arc<Notify>,
    told: Option<Orders>,
}

enum Start {
    Idle,
    UnderWay,
    Up(Guard),
    Failed(Instant),
}

impl Post {
    pub(super) fn new(program: (PathBuf, Vec<String>), changed: Arc<Notify>) -> Self {
        let started = Arc::new(Mutex::new(Start::Idle));
        let mut post = Self { program, guard: None, started, changed, told: None };
        post.look();
        post
    }

    /// Gives orders, to the guard that is there or to the next one.
    pub(super) fn tell(&mut self, orders: Orders) {
        self.look();
        if self.told.as_ref() == Some(&orders) {
            return;
        }
        if let Some(guard) = &mut self.guard
            && let Err(error) = guard.tell(&orders)
        {
            tracing::warn!(%error, "address: the guard is replaced; until then the kernel ends what this node cannot");
            if let Some(guard) = self.guard.take() {
                guard.kill();
            }
            self.look();
        }
        self.told = Some(orders);
    }

    /// Takes over a guard that has come up, or has one started: elsewhere, since that waits.
    fn look(&mut self) {
        let mut start = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        *start = match std::mem::replace(&mut *start, Start::Idle) {
            Start::Up(guard) => {
                self.guard = Some(guard);
                self.told = None;
                Start::Idle
            }
            Start::Failed(at) if at.elapsed() < PAUSE => Start::Failed(at),
            Start::Idle | Start::Failed(_) if self.guard.is_none() => {
                let (program, started, changed) =
                    (self.program.clone(), Arc::clone(&self.started), Arc::clone(&self.changed));
                let work = move || {
                    let up = start_guard(&program.0, &program.1);
                    *started.lock().unwrap_or_else(PoisonError::into_inner) = up;
                    changed.notify_one();
                };
                match spawn_blocking_thread("address-guard", work) {
                    Ok(_runs) => Start::UnderWay,
                    Err(_refused) => Start::Failed(Instant::now()),
                }
            }
            as_it_was => as_it_was,
        };
    }
}

fn start_guard(program: &Path, arguments: &[String]) -> Start {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match Guard::start(program, &arguments) {
        Ok(guard) => Start::Up(guard),
        Err(error) => {
            tracing::warn!(%error, "address: no guard could be started; the kernel ends what this node cannot");
            Start::Failed(Instant::now())
        }
    }
}
