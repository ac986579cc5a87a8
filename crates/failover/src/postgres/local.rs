//! What there is of the local server.

use std::fs;
use std::time::{Duration, Instant};

use mainstay_core::database::{Lsn, Report, Server};

use super::files::Files;
use super::process::{Postmaster, all_of, end_all};
use super::server::Instance;
use super::{Settings, adopt, control, log, query, startup};
use crate::Error;

/// A server that does not let us in is asked again after this time.
const KNOCK: Duration = Duration::from_secs(10);

/// Looks, and remembers what it has to.
pub(super) async fn look(instance: &mut Instance, said: u64) -> Result<Report, Error> {
    let settings = instance.settings.clone();
    let runs = instance.postmaster.as_mut().is_some_and(Postmaster::runs);
    if !runs {
        instance.postmaster = Postmaster::find(&settings);
        if instance.postmaster.is_none() && all_of(&settings).runs() {
            // A killed postmaster's processes may still acknowledge; it has stopped when they have.
            end_all(&settings, Duration::ZERO).await?;
        }
        // One that somebody else has started may take writes.
        (instance.leads, instance.promoting) = (instance.postmaster.is_some(), false);
    }
    let mut report = Report { term: said, led: instance.standing.led, ..Report::new(Server::Empty) };
    // A directory without either has never been a database, or was emptied to be a copy.
    let has_data = ["PG_VERSION", "global/pg_control"].iter().any(|file| settings.data_dir.join(file).exists());
    if !has_data || (instance.standing.torn && instance.postmaster.is_none()) {
        return Ok(report);
    }
    if instance.postmaster.is_none() {
        instance.silence.forget();
        instance.sync = None;
        report.position = instance.standing.position;
        return Ok(stopped(&settings, report).await);
    }
    let seen = match query::state(&settings).await {
        Ok(seen) => {
            instance.silence.heard(Instant::now());
            seen
        }
        Err(error) => {
            instance.silence.failed(&error, instance.leads, Instant::now());
            let starts = error.is_of_a_start() && !instance.leads && replays(instance).await;
            report.server = if starts { Server::Starting } else { Server::Unknown };
            report.stalled = starts && instance.receiver.is_dry();
            knock(instance).await?;
            return Ok(report);
        }
    };
    instance.promoting &= seen.is_replica;
    instance.leads = !seen.is_replica || instance.promoting;
    instance.remember(seen.position)?;
    report.system = seen.system;
    report.position = seen.position;
    if seen.is_replica {
        instance.sync = None;
        report.timeline = seen.timeline.max(control::newest_segment(&settings));
        report.server = Server::Replica { upstream: instance.upstream.clone() };
        if instance.upstream.is_some() {
            note_receipt(instance, seen.receiver, seen.position);
        } else {
            instance.receiver.forget();
        }
        report.stalled = instance.receiver.is_dry();
    } else {
        report.timeline = seen.timeline;
        report.server = Server::Primary;
        report.checkpointed = seen.checkpoint_timeline == seen.timeline;
        report.sync = instance.sync;
    }
    report.branches = control::branches(&settings, report.timeline);
    if !seen.is_replica {
        report.kept_from = control::kept_from(&settings.data_dir, seen.segment_bytes, seen.position, &report.branches);
    }
    Ok(report)
}

/// What the data says while nothing runs. That nothing runs is certain whatever the data is like, and elections wait for just that.
async fn stopped(settings: &Settings, mut report: Report) -> Report {
    report.server = Server::Stopped { clean: None };
    match control::read(settings).await {
        Ok(control) => {
            report.server = Server::Stopped { clean: control.clean };
            report.system = control.system;
            report.timeline = control.timeline.max(control::newest_segment(settings));
            report.position = control.position.max(report.position);
            report.branches = control::branches(settings, report.timeline);
        }
        Err(error) => tracing::debug!(%error, "database: the data cannot be read"),
    }
    report
}

/// Whether it replays what there is before it lets anybody in. Whether it comes any further with that is remembered.
async fn replays(instance: &mut Instance) -> bool {
    let Some(pid) = instance.postmaster.as_ref().map(Postmaster::pid) else { return false };
    let Some(seen) = startup::look(&instance.settings, pid).await else { return false };
    note_receipt(instance, seen.receiver, seen.at);
    true
}

/// Remembers where it is, and which process receives, if one does.
fn note_receipt(instance: &mut Instance, process: Option<i32>, position: Lsn) {
    let mut receiver = std::mem::take(&mut instance.receiver);
    let why = || {
        let from = instance.upstream.as_deref().unwrap_or("anybody, and lets nobody in before it does");
        format!("it receives nothing from {from}: {}", log::of_late(&instance.settings))
    };
    receiver.look(process, position, Instant::now(), why);
    instance.receiver = receiver;
    if instance.note_copies()
        && let Err(error) = Files(&instance.settings).stand(&instance.standing)
    {
        tracing::warn!(%error, "database: that it is not copied again and again any more cannot be noted");
    }
}

/// Has itself let in by a server that somebody else has started, now and then.
async fn knock(instance: &mut Instance) -> Result<(), Error> {
    let Some(pid) = instance.postmaster.as_ref().map(Postmaster::pid) else { return Ok(()) };
    let is_due = instance.knocked.is_none_or(|at| at.elapsed() >= KNOCK);
    if is_due && adopt::is_anothers(&instance.settings, pid) {
        instance.knocked = Some(Instant::now());
        adopt::admit(&instance.settings, pid).await?;
    }
    Ok(())
}

/// Whom our configuration says that it streams from, by the address in it.
pub(super) fn upstream(settings: &Settings) -> Option<String> {
    let text = fs::read_to_string(settings.state_dir.join("member.conf")).ok()?;
    let line = text.lines().find(|line| line.starts_with("primary_conninfo"))?;
    let is_to = |host: &str, port: u16| line.contains(&format!("host={host} port={port} "));
    let peer = settings.peers.iter().find(|peer| is_to(&peer.address.ip().to_string(), peer.address.port()));
    // An address that no member has any more is somebody all the same.
    peer.map(|peer| peer.node.clone()).or_else(|| line.contains("host=").then(|| "?".to_owned()))
}
