//! Orders certificates when the planner says so.

use std::sync::Arc;
use std::time::Duration;

use mainstay_core::alert::Millis;
use mainstay_core::renewal::advice::Advice;
use mainstay_core::renewal::{self, Plan, Policy, Why};
use mainstay_core::timestamp::rfc3339;
use mainstay_core::transition::{Aspect, Subject, Transition, Word};

use super::client::{Client, Failed, Fresh};
use super::desk::Desk;
use super::place::Place;
use super::record::{Attempt, Issued, Record};
use super::settings::Settings;
use super::suggestion;
use crate::alerts::clock;
use crate::certificates;

/// The longest sleep between two looks: clocks are set, stores change, and roles move.
const LOOK: Duration = Duration::from_secs(5);
/// The shortest one, after a place could not be read or written.
const PAUSE: Duration = Duration::from_secs(2);
/// One order with everything that belongs to it; the authority forgets orders only after days.
const ORDER_TIMEOUT: Duration = Duration::from_secs(300);

/// What the driver works with.
pub struct Parts {
    /// What others see and ask.
    pub desk: Arc<Desk>,
    /// The node's name.
    pub node: String,
    /// Is told of what changes.
    pub ears: Box<dyn Fn(Transition)>,
    /// Whether the node leaves: nothing is begun then.
    pub is_leaving: Box<dyn Fn() -> bool>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Orders until the node leaves, while the place says that this node does. In a cluster it ends too when there is nothing to
/// order any more.
pub async fn run(parts: &Parts, place: &dyn Place) {
    while !(parts.is_leaving)() {
        let mut sleep = LOOK;
        let settings = parts.desk.settings();
        if settings.is_empty() && place.ends() {
            return;
        }
        for settings in settings.iter() {
            match look(parts, place, settings).await {
                Ok(Some(at)) => {
                    let wait = Duration::from_millis(at.saturating_sub(clock::now()));
                    sleep = sleep.min(wait.max(Duration::from_millis(10)));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(certificate = settings.name, %error, "acme: nothing can be ordered now");
                    sleep = sleep.min(PAUSE);
                }
            }
        }
        // A change that came while orders were placed has left its mark, so that nothing is missed.
        let _timeout = tokio::time::timeout(sleep, parts.desk.changed()).await;
    }
}

/// Orders one certificate if it is due; when it is next, otherwise. Nothing if another node orders.
async fn look(parts: &Parts, place: &dyn Place, settings: &Settings) -> Result<Option<Millis>, String> {
    let name = &settings.name;
    if !place.orders() {
        parts.desk.note_plan(name, None, place.orderer());
        return Ok(None);
    }
    let mut record = place.load(name).await?;
    if plan(place, settings, &record).at > clock::now() {
        consult(place, settings, &mut record).await?;
    }
    let next = plan(place, settings, &record);
    parts.desk.note(name, &record);
    parts.desk.note_plan(name, Some(next), place.orderer());
    if next.at > clock::now() {
        return Ok(Some(next.at));
    }
    let record = order(parts, place, settings, record, next.why).await?;
    let next = plan(place, settings, &record);
    parts.desk.note_plan(name, Some(next), place.orderer());
    Ok(Some(next.at))
}

fn plan(place: &dyn Place, settings: &Settings, record: &Record) -> Plan {
    // An order whose node has died is begun anew by whoever goes on.
    let is_broken_off = record.last.as_ref().is_some_and(|last| !last.is_over);
    let seen = record.observation(settings, is_broken_off || place.is_asked(&settings.name));
    renewal::plan(&Policy::default(), &seen, &record.previous, clock::now(), settings.seed())
}

/// Asks the authority when it would have the certificate renewed, if it is time to.
async fn consult(place: &dyn Place, settings: &Settings, record: &mut Record) -> Result<(), String> {
    let now = clock::now();
    let Some(certificate) = record.identifier(settings).filter(|_known| record.advice.is_due(now)) else {
        return Ok(());
    };
    // Written before the authority hears of it: while nothing can be written, it is not to be asked again and again.
    record.advice.ask(now);
    place.save(&settings.name, record).await?;
    record.advice.hear(suggestion::ask(settings, &certificate).await, clock::now());
    place.save(&settings.name, record).await
}

async fn order(
    parts: &Parts,
    place: &dyn Place,
    settings: &Settings,
    mut record: Record,
    why: Why,
) -> Result<Record, String> {
    let name = settings.name.as_str();
    let now = clock::now();
    // Written before the authority hears of it: whoever goes on after a crash knows how many there were.
    record.previous.begin(&Policy::default(), why, now);
    record.last = Some(Attempt { at: now, node: parts.node.clone(), error: None, is_over: false });
    place.begin(name, &record).await?;
    tracing::info!(
        certificate = name,
        why = why.word(),
        directory = settings.directory,
        "acme: a certificate is ordered"
    );
    let before = standing(&record, now);
    let result = match tokio::time::timeout(ORDER_TIMEOUT, obtain(place, settings, &mut record)).await {
        Ok(result) => result,
        Err(_elapsed) => {
            let why = format!("no certificate within {} s", ORDER_TIMEOUT.as_secs());
            Err(Failed { why, not_before: None, is_unknown: false })
        }
    };
    if let Err(error) = place.publish(name, &[]).await {
        tracing::debug!(certificate = name, %error, "acme: answers stay until the node's lease ends");
    }
    let error = result.err();
    conclude(parts, settings, &mut record, error.as_ref(), before);
    parts.desk.count(name, error.is_none());
    // An order that has succeeded is not forgotten because the store is away for a moment.
    let mut saved = place.save(name, &record).await;
    for _again in 0..5 {
        if saved.is_ok() || !place.orders() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        saved = place.save(name, &record).await;
    }
    saved.map(|()| record)
}

/// Writes down what came of it, and tells.
fn conclude(parts: &Parts, settings: &Settings, record: &mut Record, error: Option<&Failed>, before: Word) {
    let name = settings.name.as_str();
    let failed_before = record.previous.failures > 0;
    if let Some(last) = &mut record.last {
        last.is_over = true;
        last.error = error.map(|failed| failed.why.clone());
    }
    let subject = Subject::Certificate { name: format!("acme {name}") };
    let from = if failed_before { Word::Refused } else { before };
    match error {
        None => {
            record.previous.succeed();
            let until = record.certificate().map_or_else(String::new, |it| rfc3339(it.until));
            tracing::info!(certificate = name, until, "acme: a certificate was issued");
            let cause = format!("issued for {}, until {until}", settings.domains.join(", "));
            (parts.ears)(Transition::new(subject, Aspect::Certificate, from, Word::Renewed).because(cause));
        }
        Some(failed) => {
            record.previous.fail(failed.not_before);
            let failures = record.previous.failures;
            tracing::error!(certificate = name, error = failed.why, failures, "acme: nothing was issued");
            if !failed_before {
                let told = Transition::new(subject, Aspect::Certificate, from, Word::Refused);
                (parts.ears)(told.because(failed.why.as_str()));
            }
        }
    }
}

fn standing(record: &Record, now: Millis) -> Word {
    match record.certificate() {
        None => Word::Absent,
        Some(certificate) if certificate.until <= now => Word::Expired,
        Some(_certificate) => Word::Valid,
    }
}

/// From an account to a certificate in the record.
async fn obtain(place: &dyn Place, settings: &Settings, record: &mut Record) -> Result<(), Failed> {
    let client = Client::new(settings)?;
    if record.account_at != settings.directory {
        record.account = None;
    }
    let mut is_new = record.account.is_none();
    loop {
        let (account, written) = client.account(record.account.as_ref()).await?;
        if is_new {
            (record.account, record.account_at) = (Some(written), settings.directory.clone());
            // Accounts are limited too: what was made is not to be made again.
            place.save(&settings.name, record).await.map_err(|why| Failed {
                why,
                not_before: None,
                is_unknown: false,
            })?;
        }
        let publish = async |answers: &[_]| place.publish(&settings.name, answers).await;
        // An account that is new has nothing to replace.
        let replaced = record.identifier(settings).filter(|_known| !is_new);
        match client.order(&account, replaced, publish).await {
            Ok(fresh) => return take(settings, record, fresh),
            Err(failed) if failed.is_unknown && !is_new => {
                tracing::warn!(certificate = settings.name, "acme: the authority has forgotten the account");
                record.account = None;
                is_new = true;
            }
            Err(failed) => return Err(failed),
        }
    }
}

/// Takes what was issued, if it is what was asked for.
fn take(settings: &Settings, record: &mut Record, fresh: Fresh) -> Result<(), Failed> {
    let wrong = |why: String| Failed { why, not_before: None, is_unknown: false };
    let found = certificates::parse_pem(fresh.chain.as_bytes());
    let leaf = found.map_err(|error| wrong(format!("what was issued cannot be read: {error}")))?.into_iter().next();
    let leaf = leaf.ok_or_else(|| wrong("what was issued is empty".to_owned()))?;
    if let Some(missing) =
        settings.domains.iter().find(|domain| !leaf.names.iter().any(|name| name.eq_ignore_ascii_case(domain)))
    {
        return Err(wrong(format!("what was issued is not for {missing}")));
    }
    if leaf.until <= clock::now() {
        return Err(wrong("what was issued has expired: is this machine's clock right?".to_owned()));
    }
    record.issued = Some(Issued {
        chain: fresh.chain,
        key: fresh.key,
        domains: settings.domains.iter().cloned().collect(),
        directory: settings.directory.clone(),
    });
    record.advice = Advice::default();
    Ok(())
}
