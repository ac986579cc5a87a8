//! The guard, seen from its node: started before it is needed, told what is held, replaced when it is gone.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mainstay_runtime::thread::spawn_blocking_thread;
use tokio::sync::watch;

use super::{Guard, Orders};

/// After a guard could not be started.
const PAUSE: Duration = Duration::from_secs(5);

/// Where the guard is, and its replacement once it has come up.
pub(super) struct Post {
    program: (PathBuf, Vec<String>),
    guard: Option<Guard>,
    /// What a thread leaves that has started one.
    started: Arc<Mutex<Start>>,
    /// Told when a guard has come up, or could not be started.
    changed: Arc<watch::Sender<u64>>,
    told: Option<Orders>,
}

enum Start {
    Idle,
    UnderWay,
    Up(Guard),
    Failed(Instant, String),
}

impl Post {
    pub(super) fn new(program: (PathBuf, Vec<String>), changed: Arc<watch::Sender<u64>>) -> Self {
        let started = Arc::new(Mutex::new(Start::Idle));
        let mut post = Self { program, guard: None, started, changed, told: None };
        post.look();
        post
    }

    /// Gives orders, to the guard that is there or to the next one.
    ///
    /// # Errors
    /// Why no guard has them.
    pub(super) fn tell(&mut self, orders: Orders) -> Result<(), String> {
        self.look();
        if self.guard.is_some() && self.told.as_ref() == Some(&orders) {
            return Ok(());
        }
        if let Some(guard) = &mut self.guard
            && let Err(error) = guard.tell(&orders)
        {
            tracing::warn!(%error, "guard: it is replaced; until then nobody ends what this node cannot, but the kernel addresses");
            if let Some(guard) = self.guard.take() {
                guard.kill();
            }
            self.look();
        }
        match &self.guard {
            Some(_guard) => {
                self.told = Some(orders);
                Ok(())
            }
            None => Err(self.missing().unwrap_or_default()),
        }
    }

    /// Why there is no guard; `None`: there is one.
    pub(super) fn missing(&self) -> Option<String> {
        if self.guard.is_some() {
            return None;
        }
        Some(match &*self.started.lock().unwrap_or_else(PoisonError::into_inner) {
            Start::Failed(_at, reason) => format!("it cannot be started: {reason}"),
            Start::Idle | Start::UnderWay | Start::Up(_) => "it is being started".to_owned(),
        })
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
            Start::Failed(at, reason) if at.elapsed() < PAUSE => Start::Failed(at, reason),
            Start::Idle | Start::Failed(..) if self.guard.is_none() => {
                let (program, started, changed) =
                    (self.program.clone(), Arc::clone(&self.started), Arc::clone(&self.changed));
                let work = move || {
                    let up = start_guard(&program.0, &program.1);
                    *started.lock().unwrap_or_else(PoisonError::into_inner) = up;
                    changed.send_modify(|count| *count = count.wrapping_add(1));
                };
                match spawn_blocking_thread("guard", work) {
                    Ok(_runs) => Start::UnderWay,
                    Err(error) => Start::Failed(Instant::now(), error.to_string()),
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
            tracing::warn!(%error, "guard: none could be started; of what this node cannot end, the kernel ends addresses");
            Start::Failed(Instant::now(), error.to_string())
        }
    }
}
