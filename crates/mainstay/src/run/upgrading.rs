//! The upgrade that is under way, if one is: at most one at a time.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::admin::Node;
use crate::admin::bind::Bound;
use crate::admin::upgrade::{Asked, Asker};
use crate::run::successor::{self, AdminSockets, Plan, Refusal, Successor};
use crate::run::{notify, program};
use crate::upgrade::READY_SECONDS;
use crate::upgrade::event::{Event, UpgradeRequest};

/// Takes what is asked, one after another.
pub(super) struct Upgrader {
    node: Arc<Node>,
    configuration: Option<PathBuf>,
    /// Looked up at start: the path to the program is relative to where the process was then, or was found in `PATH`.
    program: Option<PathBuf>,
    asked: UnboundedReceiver<Asked>,
    running: Option<Running>,
}

type Attempt = Pin<Box<dyn Future<Output = Result<Successor, Refusal>>>>;

struct Running {
    attempt: Attempt,
    asker: Asker,
    hung_up: bool,
}

/// What became of an upgrade.
pub(super) enum Ended {
    /// This process serves on. `hung_up` if it was told to reload meanwhile.
    Failed { hung_up: bool },
    /// Another process serves.
    Succeeded { successor: Successor, asker: Asker, hung_up: bool },
}

impl Upgrader {
    pub(super) fn new(node: Arc<Node>, configuration: Option<PathBuf>, asked: UnboundedReceiver<Asked>) -> Self {
        Self { node, configuration, program: program::own(), asked, running: None }
    }

    /// Whether an upgrade is under way. Nothing else should change meanwhile.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Remembers a SIGHUP until it is known who should heed it.
    pub(super) fn hung_up(&mut self) {
        if let Some(running) = &mut self.running {
            running.hung_up = true;
        }
    }

    /// SIGUSR2.
    pub(super) fn signalled(&mut self, bound: &Bound) {
        self.begin(Asked { request: UpgradeRequest::default(), asker: Asker::nobody() }, bound);
    }

    /// Begins with what is asked for, and answers how it ended. Nothing is lost if the future is dropped before its end.
    pub(super) async fn next(&mut self, bound: &Bound) -> Ended {
        loop {
            let attempt = async {
                match &mut self.running {
                    Some(running) => running.attempt.as_mut().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                result = attempt => {
                    if let Some(running) = self.running.take() {
                        return ended(result, running);
                    }
                }
                Some(asked) = self.asked.recv() => self.begin(asked, bound),
            }
        }
    }

    fn begin(&mut self, asked: Asked, bound: &Bound) {
        match self.attempt(&asked, bound) {
            Ok(attempt) => {
                notify::reloading("upgrading");
                tracing::info!("upgrading: a new process is to take over");
                self.running = Some(Running { attempt, asker: asked.asker, hung_up: false });
            }
            Err(refusal) => tell_refusal(refusal, &asked.asker),
        }
    }

    fn attempt(&self, asked: &Asked, bound: &Bound) -> Result<Attempt, Refusal> {
        if self.running.is_some() {
            return Err(Refusal::new("another upgrade is under way"));
        }
        if std::process::id() == 1 {
            let hint = "start a new container beside this one, then stop this one";
            return Err(Refusal::new("the node is process 1: the container would end with it").hint(hint));
        }
        let Some(program) = asked.request.binary.clone().or_else(|| self.program.clone()) else {
            let hint = "name it with --binary";
            return Err(Refusal::new("the program that the node was started from cannot be found").hint(hint));
        };
        let admin = AdminSockets::of(bound).map_err(|error| Refusal::new(format!("admin sockets: {error}")))?;
        let plan = Plan {
            program,
            arguments: std::env::args_os().skip(1).collect(),
            configuration: self.configuration.clone(),
            limit: Duration::from_secs(asked.request.timeout_seconds.unwrap_or(READY_SECONDS)),
        };
        Ok(Box::pin(successor::succeed(plan, Arc::clone(&self.node), admin, asked.asker.clone())))
    }
}

fn ended(result: Result<Successor, Refusal>, running: Running) -> Ended {
    let Running { asker, hung_up, .. } = running;
    match result {
        Ok(successor) => Ended::Succeeded { successor, asker, hung_up },
        Err(refusal) => {
            tell_refusal(refusal, &asker);
            notify::ready();
            Ended::Failed { hung_up }
        }
    }
}

fn tell_refusal(refusal: Refusal, asker: &Asker) {
    let Refusal { error, hint, log } = refusal;
    tracing::error!(error, "not upgraded; this process serves on");
    asker.tell(Event::Failed { error, hint, log });
}
