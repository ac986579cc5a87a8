//! Tells the journal of the cluster as this node sees it: the quorum, the other members, and the stages of a configuration.
//! What the node itself holds is told where it is won and lost, by its session.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_cluster::config::View;
use mainstay_core::release::Stage;
use mainstay_core::transition::{Aspect, Subject, Transition, Word};
use mainstay_runtime::journal::Journal;

use super::{Context, Quorum};
use crate::admin::cluster::{MemberStatus, report};

/// How often it looks.
const LOOK: Duration = Duration::from_millis(500);

pub(super) async fn run(context: Context) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut seen = Seen::default();
    let mut configuration = context.node.shared().seen();
    loop {
        tokio::select! {
            biased;
            () = context.left() => return,
            _tick = ticks.tick() => {}
        }
        let journal = context.node.journal();
        seen.look_at_quorum(&context.handle.quorum(), journal);
        seen.look_at_members(report(&context.name, &context.handle).members, journal);
        let view = configuration.borrow_and_update();
        if let Some(view) = view.as_ref() {
            seen.look_at_release(view, journal);
        }
    }
}

/// What was told last.
#[derive(Default)]
struct Seen {
    quorum: Option<bool>,
    /// By the member's name.
    members: BTreeMap<String, Word>,
    /// The version that is being released, and its stage.
    release: Option<(u64, Word)>,
}

impl Seen {
    fn look_at_quorum(&mut self, quorum: &Quorum, journal: &Journal) {
        let (there, cause) = match quorum {
            Quorum::Unknown => return,
            Quorum::There { .. } => (true, String::new()),
            Quorum::Lost { reason, .. } => (false, reason.clone()),
        };
        let word = |there: bool| if there { Word::Present } else { Word::Lost };
        if self.quorum != Some(there) {
            let from = self.quorum.map_or(Word::Unknown, word);
            self.quorum = Some(there);
            let change = Transition::new(Subject::Cluster, Aspect::Quorum, from, word(there));
            journal.record(change.because(cause));
        }
    }

    fn look_at_members(&mut self, members: Vec<MemberStatus>, journal: &Journal) {
        // A node that cannot ask its engine knows of nobody; that is no removal.
        if members.is_empty() {
            return;
        }
        let tell = |name: &str, from: Word, to: Word, cause: String, planned: bool| {
            let subject = Subject::Member { name: name.to_owned() };
            let change = Transition::new(subject, Aspect::Membership, from, to);
            journal.record(change.because(cause).planned(planned));
        };
        let gone = |name: &String| !members.iter().any(|member| member.name == *name);
        let removed: Vec<String> = self.members.keys().filter(|name| gone(name)).cloned().collect();
        for name in removed {
            let before = self.members.remove(&name).unwrap_or(Word::Unknown);
            tell(&name, before, Word::Removed, "removed from the cluster".to_owned(), true);
        }
        for member in members {
            let now = match member.state.as_str() {
                "here" | "up" => Word::Present,
                "down" => Word::Away,
                _not_known_yet => continue,
            };
            let before = self.members.get(&member.name).copied();
            if before != Some(now) {
                let from = before.unwrap_or(Word::Unknown);
                tell(&member.name, from, now, member.reason.unwrap_or_default(), false);
                self.members.insert(member.name, now);
            }
        }
    }

    fn look_at_release(&mut self, view: &View, journal: &Journal) {
        let Some((_revision, record)) = &view.record else { return };
        let (version, stage) = (record.release.version, &record.release.stage);
        let to = word(stage);
        let before = self.release;
        if before == Some((version, to)) {
            return;
        }
        self.release = Some((version, to));
        // What was over before this node looked is no news.
        if before.is_none() && stage.is_over() {
            return;
        }
        let from = before.filter(|(known, _stage)| *known == version).map_or(Word::Unknown, |(_version, stage)| stage);
        let subject = Subject::Config { name: version.to_string() };
        let change = Transition::new(subject, Aspect::Configuration, from, to);
        let wanted = !matches!(to, Word::RollingBack | Word::RolledBack | Word::Vetoed);
        journal.record(change.because(stage.to_string()).planned(wanted));
    }
}

const fn word(stage: &Stage) -> Word {
    match stage {
        Stage::Validating => Word::Validating,
        Stage::Canary { .. } => Word::Canary,
        Stage::Baking { .. } => Word::Baking,
        Stage::Spreading { .. } => Word::Spreading,
        Stage::RollingBack { .. } => Word::RollingBack,
        Stage::Done { .. } => Word::Done,
        Stage::Vetoed { .. } => Word::Vetoed,
        Stage::RolledBack { .. } => Word::RolledBack,
    }
}
