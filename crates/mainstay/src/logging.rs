//! The operational log: what the process does (start, reload, health changes, drains, shutdown), on standard error.
//!
//! Its levels can be changed while the process runs ([`levels`]), and what comes again and again is told in one line
//! ([`repeats`]).

pub mod levels;
pub mod repeats;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use mainstay_runtime::defect::{self, Defect, Noted};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, reload};

use self::levels::{LevelError, Levels, Wished};
use self::repeats::Repeats;
use crate::failure::Failure;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Where the level comes from if the command line does not say.
pub const LEVEL_VARIABLE: &str = "MAINSTAY_LOG";
/// Letters of a message that are told again.
const MESSAGE_MAX: usize = 200;

/// The log of the process, once it runs.
static LOG: OnceLock<Log> = OnceLock::new();

/// What steers the log.
#[derive(Debug)]
struct Log {
    levels: Mutex<Levels>,
    filter: reload::Handle<EnvFilter, Registry>,
    repeats: Mutex<Repeats<Identifier>>,
}

/// How the log is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The level that the process was started with.
    pub configured: String,
    /// What was asked for in its place.
    pub wished: Vec<Wished>,
    /// Lines that were left out because there were too many of one message.
    pub left_out: u64,
}

/// Starts the log, which people read if it goes to a terminal. A second call (tests) changes nothing.
///
/// # Errors
/// If the level cannot be understood.
pub fn start(format: Option<Format>, level: Option<&str>, terminal: bool) -> Result<(), Failure> {
    let from_environment = std::env::var(LEVEL_VARIABLE).ok().filter(|level| !level.is_empty());
    let level = level.map(str::to_owned).or(from_environment).unwrap_or_else(|| "info".to_owned());
    let levels = Levels::new(&level);
    let filter = EnvFilter::try_new(levels.filter()).map_err(|error| {
        Failure::usage(format!("log level `{level}`: {error}"))
            .hint("use error, warn, info, debug, trace or off, or parts such as `info,mainstay_gateway=debug`")
    })?;
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter).with(NotTooOften);
    let format = format.unwrap_or(if terminal { Format::Text } else { Format::Json });
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let started = match format {
        Format::Json => registry.with(lines.json().flatten_event(true).with_current_span(false)).try_init(),
        Format::Text => registry.with(lines.with_ansi(terminal)).try_init(),
    };
    // The only possible error is that a log already runs, which then serves as well.
    if started.is_ok() {
        let log = Log { levels: Mutex::new(levels), filter: handle, repeats: Mutex::default() };
        let _only_one_starts = LOG.set(log);
    }
    Ok(())
}

/// Has a component, or all of them, log at `level` for this long.
///
/// # Errors
/// If there is no such component or level, or no log.
pub fn wish(component: Option<&str>, level: &str, long: Duration) -> Result<(), LevelError> {
    change(|levels| levels.wish(component, level, Instant::now() + long))
}

/// Goes back to the level that the process was started with, for a component or for everything.
///
/// # Errors
/// If there is no such component, or no log.
pub fn end(component: Option<&str>) -> Result<(), LevelError> {
    change(|levels| levels.end(component))
}

/// How the log is.
pub fn facts() -> Facts {
    let Some(log) = LOG.get() else { return Facts::default() };
    let levels = lock(&log.levels);
    Facts {
        configured: levels.configured().to_owned(),
        wished: levels.wished(Instant::now()),
        left_out: lock(&log.repeats).left_out(),
    }
}

/// Ends levels whose time is over, and tells what was left out and which parts have ended by a panic. Called about once a second.
pub fn tick() {
    let Some(log) = LOG.get() else { return };
    let now = Instant::now();
    let mut levels = lock(&log.levels);
    let has_changed = levels.expire(now);
    if has_changed {
        // What is configured was taken at the start.
        let _taken_before = log.take(&levels);
    }
    drop(levels);
    if has_changed {
        tracing::info!("a level of the log is as configured again: its time is over");
    }
    tell_left_out(Some(now));
    tell_defects();
}

/// Tells of all lines that were left out, before the process ends.
pub fn finish() {
    tell_left_out(None);
    tell_defects();
}

/// Tells of panics since the last time. Where they happened the log may have been in use.
fn tell_defects() {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    let Noted { count, last: Some(last) } = defect::noted() else { return };
    let new = count.saturating_sub(TOLD.swap(count, Ordering::Relaxed));
    if new > 0 {
        let Defect { thread, place, message } = last;
        tracing::error!(
            thread,
            place,
            message,
            new,
            "a part of the node ended by a panic, which is a defect: please report it"
        );
    }
}

fn tell_left_out(now: Option<Instant>) {
    let Some(log) = LOG.get() else { return };
    // The lock is not held while lines are written: they come by here themselves.
    let told = lock(&log.repeats).tell(now);
    for repeats::LeftOut { level, message, count } in told {
        match level {
            Level::ERROR => tracing::error!(like = message, "{count} more like this"),
            Level::WARN => tracing::warn!(like = message, "{count} more like this"),
            _finer => tracing::info!(like = message, "{count} more like this"),
        }
    }
}

fn change(change: impl FnOnce(&mut Levels) -> Result<(), LevelError>) -> Result<(), LevelError> {
    let log = LOG.get().ok_or_else(|| LevelError::Refused("this process has no log of its own".to_owned()))?;
    let mut levels = lock(&log.levels);
    let mut changed = levels.clone();
    change(&mut changed)?;
    log.take(&changed)?;
    *levels = changed;
    Ok(())
}

impl Log {
    fn take(&self, levels: &Levels) -> Result<(), LevelError> {
        let filter = EnvFilter::try_new(levels.filter()).map_err(|error| LevelError::Refused(error.to_string()))?;
        self.filter.reload(filter).map_err(|error| LevelError::Refused(error.to_string()))
    }
}

/// Leaves out what comes too often.
struct NotTooOften;

impl<S: Subscriber> Layer<S> for NotTooOften {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let Some(log) = LOG.get() else { return true };
        let metadata = event.metadata();
        let message = || {
            let mut message = Message(String::new());
            event.record(&mut message);
            message.0.chars().take(MESSAGE_MAX).collect()
        };
        lock(&log.repeats).admit(metadata.callsite(), *metadata.level(), Instant::now(), message)
    }
}

/// The message of an event.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

// A poisoned lock only says that its holder panicked; what it guards is changed whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
