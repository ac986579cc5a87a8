//! What there is of the local server.

use std::time::{Duration, Instant};

use mainstay_core::database::{Lsn, Report, Server};

use super::adopt::{self, Door};
use super::files::{Files, Standing};
use super::info::{self, Info};
use super::process::Process;
use super::server::Instance;
use super::wire::Reply;
use super::{AGENT, Settings, snapshot};
use crate::Error;

/// One that does not let us in is asked again after this time.
const KNOCK: Duration = Duration::from_secs(10);
/// A server that says nothing for so long is frozen, or busy with a script or a slow disk.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// One command, from the same machine.
pub(super) async fn ask(
    settings: &Settings,
    what: &str,
    command: &[&str],
    limit: Duration,
) -> Result<Option<String>, Error> {
    let secret = Files(settings).secret()?;
    let mut client = Door::of(settings).open(AGENT, &secret, limit).await?;
    client.ask(what, command, limit).await.map(Reply::text)
}

pub(super) async fn info(settings: &Settings) -> Result<Info, Error> {
    let text = ask(settings, "what it is", &["INFO"], ANSWER_WITHIN).await?;
    Ok(info::parse(&text.unwrap_or_default()))
}

/// Looks, and remembers what it has to.
pub(super) async fn look(instance: &mut Instance, said: u64) -> Result<Report, Error> {
    if !instance.process.as_mut().is_some_and(Process::runs) {
        instance.process = Process::find(&instance.settings);
        // One that somebody else has started may take writes.
        instance.leads = instance.process.is_some();
    }
    // What it continues it decides by itself: it says nothing of where its log begins.
    let mut report = Report {
        term: said,
        timeline: 1,
        led: instance.standing.led,
        checkpointed: true,
        ..Report::new(Server::Empty)
    };
    if instance.process.is_none() {
        instance.silence.forget();
        instance.sync = None;
        return Ok(stopped(instance, report));
    }
    knock(instance).await?;
    let info = match info(&instance.settings).await {
        Ok(info) => info,
        Err(error) => {
            instance.silence.failed(&error, instance.leads, Instant::now());
            report.server = Server::Unknown;
            return Ok(report);
        }
    };
    instance.silence.heard(Instant::now());
    if info.loads {
        report.server = Server::Starting;
        return Ok(report);
    }
    instance.leads = info.is_primary;
    learn(instance, &info).await?;
    report.led = instance.standing.led;
    let is_made_up = instance.standing.made_up.as_deref() == Some(&info.id);
    let own = instance.standing.id.as_deref();
    report.system = if is_made_up { own.and_then(info::name) } else { info::name(&info.id) };
    report.position = if is_made_up { instance.standing.position } else { info.position };
    // The offsets of what was loaded from a file without an id began anew.
    let began_anew = info.before.as_ref().is_some_and(|(id, _)| instance.standing.made_up.as_ref() == Some(id));
    report.before = info::before(&info).filter(|_| !began_anew);
    if info.is_primary {
        report.server = Server::Primary;
        report.sync = instance.sync;
    } else {
        instance.sync = None;
        let peers = &instance.settings.peers;
        let upstream = info.upstream.map(|upstream| {
            let peer = peers.iter().find(|peer| upstream.is(peer.address));
            // An address that no member has any more is somebody all the same.
            peer.map_or_else(|| "?".to_owned(), |peer| peer.node.clone())
        });
        report.server = Server::Replica { upstream };
    }
    Ok(report)
}

/// Has itself let in by a server that somebody else has started, now and then.
async fn knock(instance: &mut Instance) -> Result<(), Error> {
    let found = instance.process.as_ref().filter(|process| !process.is_ours());
    let Some(pid) = found.map(Process::pid) else { return Ok(()) };
    let is_due = instance.knocked.is_none_or(|at| at.elapsed() >= KNOCK);
    if is_due && adopt::is_anothers(&instance.settings, pid) {
        instance.knocked = Some(Instant::now());
        adopt::admit(&instance.settings, pid).await?;
    }
    Ok(())
}

fn stopped(instance: &Instance, mut report: Report) -> Report {
    let files = Files(&instance.settings);
    if !files.has_data() {
        return report;
    }
    // Whatever runs on an append-only file reads that, and only that.
    let head = snapshot::read(&files.snapshot()).filter(|_| !files.append_only().exists());
    let standing = &instance.standing;
    let (id, position) = match head {
        Some(snapshot::Head { id: Some(id), position }) => (Some(id), position),
        Some(snapshot::Head { id: None, .. }) | None => (standing.id.clone(), standing.position),
    };
    report.server = Server::Stopped { clean: None };
    report.system = id.as_deref().and_then(info::name);
    report.position = position;
    report
}

/// What is remembered of what it has.
async fn learn(instance: &mut Instance, info: &Info) -> Result<(), Error> {
    /// Positions are written down this coarsely, so that the disk has little to do.
    const STEP: Lsn = 64 << 10;
    let before = instance.standing.clone();
    // A file without an id is loaded under one that Redis makes up. It stands for what is known of the data.
    if instance.standing.unnamed {
        instance.standing.unnamed = false;
        instance.standing.made_up = (!info.is_linked).then(|| info.id.clone());
    }
    if instance.standing.made_up.as_deref() != Some(&info.id) {
        instance.standing.id = Some(info.id.clone());
        instance.standing.position = info.position;
    }
    if !info.is_primary && info.is_linked && info.upstream.is_some() {
        // What it has is its primary's from here on.
        (instance.standing.led, instance.standing.made_up, instance.clones) = (None, None, 0);
        if instance.gated {
            let stale = if instance.settings.options.stale_reads { "yes" } else { "no" };
            let command = ["CONFIG", "SET", "replica-serve-stale-data", stale];
            // One that refuses is asked again at the next look.
            let answered = ask(&instance.settings, "to answer reads again", &command, ANSWER_WITHIN).await;
            instance.gated = answered.is_err();
        }
    }
    let after = &instance.standing;
    let is_far = after.position.abs_diff(instance.written) >= STEP;
    if is_far || !is_same(after, &before) {
        instance.written = after.position;
        return Files(&instance.settings).stand(after);
    }
    Ok(())
}

/// Whether nothing differs but the position.
fn is_same(one: &Standing, other: &Standing) -> bool {
    *one == Standing { position: one.position, ..other.clone() }
}
