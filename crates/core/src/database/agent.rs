//! What a member does about the plan: one thing at a time, and nothing that depends on what the one before it led to.

use super::lineage::{Lineage, compare};
use super::{Engine, Lsn, Phase, Plan, Regime, Report, Server};
use crate::time::Moment;

/// How often data is taken back to where another one's history leaves it, before it is copied whole.
pub const REWINDS_MAX: u32 = 2;
/// How often it is copied whole before an operator has to look.
pub const CLONES_MAX: u32 = 3;

/// What the agent knows of its server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Local {
    /// What kind of server it is.
    pub engine: Engine,
    /// What it would say of itself. [`Report::term`] is what it said last.
    pub report: Report,
    /// It takes writes, or will once it has started.
    pub leads: bool,
    /// It runs, and has answered nothing for so long that a start is expected to do better.
    pub hung: bool,
    /// Rewinds that have failed since it last followed.
    pub rewinds: u32,
    /// Copies that have failed since it last followed.
    pub clones: u32,
    /// Whom it is told to stream from; `None`: nobody, or that is not known.
    pub upstream: Option<String>,
    /// Where it is, if it is to follow, gets nothing, and has not come any further for a while.
    pub stuck_at: Option<Lsn>,
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// At once: what waits for replicas is not told that it is done.
    Immediate,
    /// In order: sessions are ended, what was written is flushed and sent to the replicas.
    Fast,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Nothing.
    Wait,
    /// It has to be looked at by an operator: all retries are used up.
    GiveUp,
    /// A new database is made, which takes writes with this term and waits for these.
    Found {
        /// The term.
        term: u64,
        /// What commits wait for.
        sync: Regime,
    },
    /// The primary that runs already leads with this term from now on.
    Adopt {
        /// The term.
        term: u64,
    },
    /// It is stopped.
    Stop(Stop),
    /// The primary becomes a replica of nobody while it runs, with all that it has acknowledged.
    Demote,
    /// It is started as the primary that it was, with what it waits for set before.
    StartPrimary {
        /// Its term, which it had.
        term: u64,
        /// What commits wait for.
        sync: Regime,
    },
    /// It is started as a replica.
    StartReplica {
        /// Whom it streams from; `None`: nobody.
        of: Option<String>,
    },
    /// The replica streams from this one; `None`: from nobody, which it has to be certain of when this is done.
    Follow {
        /// Whom it streams from.
        of: Option<String>,
    },
    /// It becomes primary, with what it waits for set before.
    Promote {
        /// The new term.
        term: u64,
        /// What commits wait for.
        sync: Regime,
    },
    /// The primary writes a checkpoint, so that others can rewind to it.
    Checkpoint,
    /// Commits of the primary wait for these; done once what was acknowledged before is on enough of them.
    SetSync {
        /// Which number is reported then.
        since: u64,
        /// What commits wait for.
        sync: Regime,
    },
    /// The server, which was primary and whose successor has all that it has, counts as one no more.
    Resign,
    /// The data is taken back to where the primary's history leaves it. What would be lost is kept.
    Rewind {
        /// The primary.
        of: String,
    },
    /// The data is replaced by a copy.
    Clone {
        /// The primary.
        of: String,
    },
}

/// What to do next. `deadline` is when the node's session must have stopped acting, `None` without one; `source` is what the
/// member that [`Plan::source`] names said last.
pub fn step(
    me: &str,
    local: &Local,
    plan: &Plan,
    source: Option<&Report>,
    deadline: Option<Moment>,
    now: Moment,
) -> Action {
    // Only what leads with the plan's term, or still does with the one before, says what there is to follow. What cannot be asked
    // says nothing, and nobody must take its own data for another database's because of that.
    let led = if let Phase::Yielding { led, .. } = &plan.phase { *led } else { plan.term };
    let source = source.filter(|report| report.server == Server::Primary && report.led == Some(led));
    let may_act = deadline.is_some_and(|deadline| now < deadline);
    if let Some(end) = must_end(me, local, plan, may_act) {
        return end;
    }
    let leads = plan.leader() == Some(me) && may_act;
    match &local.report.server {
        Server::Starting => stay_starting(me, local, plan, source),
        Server::Unknown => end_what_hangs(me, local, plan, source),
        Server::Empty => match &plan.phase {
            Phase::Founding { .. } if leads => Action::Found { term: plan.term, sync: plan.sync.clone() },
            Phase::Serving { primary } if primary != me && source.is_some() => clone(local, primary),
            Phase::Founding { .. }
            | Phase::Serving { .. }
            | Phase::Yielding { .. }
            | Phase::Electing { .. }
            | Phase::Promoting { .. } => Action::Wait,
        },
        Server::Stopped { .. } if leads => start_to_lead(local, plan),
        Server::Stopped { .. } => start_to_follow(me, local, plan, source),
        Server::Replica { upstream: Some(_) } if leads => Action::Follow { of: None },
        Server::Replica { upstream: None } if leads && is_worse(local, plan) => Action::Wait,
        Server::Replica { upstream: None } if leads => Action::Promote { term: plan.term, sync: plan.sync.clone() },
        Server::Replica { upstream } => follow(me, local, plan, source, upstream.as_deref()),
        Server::Primary => keep_leading(local, plan),
    }
}

/// It is not what was chosen: it has crashed since, and lost by that what others may have. Another election has to say.
fn is_worse(local: &Local, plan: &Plan) -> bool {
    let has_led = local.report.led == Some(plan.term) && !matches!(plan.phase, Phase::Founding { .. });
    let has_less = plan.chosen_at.is_some_and(|chosen_at| local.report.position < chosen_at);
    !local.engine.outlives_crashes() && (has_led || has_less)
}

/// Whoever takes writes and must not any more.
fn must_end(me: &str, local: &Local, plan: &Plan, may_act: bool) -> Option<Action> {
    let is_down = matches!(local.report.server, Server::Empty | Server::Stopped { .. });
    if is_down || !(local.leads || local.report.server == Server::Primary) {
        return None;
    }
    let is_mine = local.report.led == Some(plan.term);
    match &plan.phase {
        // A cluster that runs already is left alone until it is adopted, or somebody else is chosen.
        Phase::Founding { by } if local.report.led.is_none() && by.as_deref().is_none_or(|by| by == me) => None,
        Phase::Founding { by } if by.as_deref() == Some(me) && is_mine && may_act => None,
        Phase::Serving { primary } | Phase::Promoting { primary } if primary == me && is_mine && may_act => None,
        Phase::Yielding { from, led, .. } if from == me && local.report.led == Some(*led) && may_act => {
            let steps_down = local.engine.steps_down() && local.report.server == Server::Primary;
            Some(if steps_down { Action::Demote } else { Action::Stop(Stop::Fast) })
        }
        Phase::Founding { .. }
        | Phase::Serving { .. }
        | Phase::Promoting { .. }
        | Phase::Yielding { .. }
        | Phase::Electing { .. } => Some(Action::Stop(Stop::Immediate)),
    }
}

fn start_to_lead(local: &Local, plan: &Plan) -> Action {
    // One that crashed while it was promoted may not have begun a timeline of its own. Started as primary it would write on the one
    // before, which others may have more of: it has to be promoted again.
    let is_promoted = !matches!(plan.phase, Phase::Promoting { .. });
    if is_promoted && local.report.led == Some(plan.term) && local.engine.outlives_crashes() {
        // The same primary after a crash: nobody else was promoted since.
        return Action::StartPrimary { term: plan.term, sync: plan.sync.clone() };
    }
    Action::StartReplica { of: None }
}

/// One that lacks something before it can let anybody in would wait for it for ever if its primary no longer has it, or if it waits
/// for it from somebody else. Stopped, it can be compared with its primary.
fn stay_starting(me: &str, local: &Local, plan: &Plan, source: Option<&Report>) -> Action {
    let (Phase::Serving { primary }, Some(report)) = (&plan.phase, source) else { return Action::Wait };
    let is_astray = local.report.stalled && local.upstream.as_ref() != Some(primary);
    let is_in_vain = primary != me && (is_astray || is_out_of_reach(local, report));
    if is_in_vain { Action::Stop(Stop::Fast) } else { Action::Wait }
}

/// A replica that hangs starts again, unless what it has might be wanted and would be gone with its process. In a pause it is the
/// operator's.
fn end_what_hangs(me: &str, local: &Local, plan: &Plan, source: Option<&Report>) -> Action {
    let is_spare = match &plan.phase {
        Phase::Serving { primary } => primary != me && source.is_some(),
        Phase::Electing { .. } => local.engine.outlives_crashes(),
        Phase::Promoting { .. } | Phase::Yielding { .. } | Phase::Founding { .. } => false,
    };
    if local.hung && is_spare && !plan.licence.is_held() { Action::Stop(Stop::Immediate) } else { Action::Wait }
}

fn start_to_follow(me: &str, local: &Local, plan: &Plan, source: Option<&Report>) -> Action {
    // Data that cannot be read may be all that there is of something: it is never replaced unasked. A start says what is wrong.
    if local.engine.rewinds() && local.report.system.is_none() && matches!(plan.phase, Phase::Serving { .. }) {
        return Action::StartReplica { of: None };
    }
    match &plan.phase {
        Phase::Serving { primary } if primary != me => {
            let Some(report) = source else { return Action::StartReplica { of: None } };
            join(local, primary, report).unwrap_or_else(|| Action::StartReplica { of: Some(primary.clone()) })
        }
        // It stays down, so that its end stays where its successor has it.
        Phase::Yielding { from, .. } if from == me => Action::Wait,
        // Whoever went another way is taken back once the switchover is over: this primary is on its way out.
        Phase::Yielding { from, .. } => {
            let continues = |report: &&Report| join(local, from, report).is_none();
            Action::StartReplica { of: source.filter(continues).map(|_report| from.clone()) }
        }
        // What it has can only be told by one that runs.
        Phase::Electing { .. } | Phase::Serving { .. } => Action::StartReplica { of: None },
        Phase::Promoting { .. } | Phase::Founding { .. } => Action::Wait,
    }
}

fn follow(me: &str, local: &Local, plan: &Plan, source: Option<&Report>, upstream: Option<&str>) -> Action {
    match &plan.phase {
        Phase::Electing { .. } | Phase::Promoting { .. } if upstream.is_some() => Action::Follow { of: None },
        // What it is told to follow decides by itself what it continues, and by now what it has is that one's: a report from
        // before another promotion says nothing of it.
        Phase::Serving { primary } if local.engine.renames() && upstream == Some(primary) => Action::Wait,
        Phase::Serving { primary } if primary != me => match source {
            Some(report) => {
                let stopped = join(local, primary, report).map(|_other| Action::Stop(Stop::Fast));
                let followed = || match upstream {
                    Some(upstream) if upstream == primary => Action::Wait,
                    Some(_) | None => Action::Follow { of: Some(primary.clone()) },
                };
                stopped.unwrap_or_else(followed)
            }
            None if upstream.is_some_and(|upstream| upstream != primary) => Action::Follow { of: None },
            None => Action::Wait,
        },
        Phase::Electing { .. }
        | Phase::Promoting { .. }
        | Phase::Serving { .. }
        | Phase::Yielding { .. }
        | Phase::Founding { .. } => Action::Wait,
    }
}

/// What has to happen before it can follow; `None`: nothing.
fn join(local: &Local, primary: &str, report: &Report) -> Option<Action> {
    match compare(&local.report, report) {
        Lineage::Beginning if is_out_of_reach(local, report) => Some(clone(local, primary)),
        Lineage::Beginning => None,
        Lineage::Succeeded => Some(Action::Resign),
        // Earlier, the control file that a rewind begins with tells of the timeline before.
        Lineage::Ahead if !local.engine.rewinds() => Some(clone(local, primary)),
        Lineage::Ahead if !report.checkpointed => Some(Action::Wait),
        Lineage::Ahead if local.rewinds < REWINDS_MAX => Some(Action::Rewind { of: primary.to_owned() }),
        Lineage::Ahead | Lineage::Foreign => Some(clone(local, primary)),
    }
}

/// What it lacks is not in the primary's log any more, nor does it come from elsewhere.
pub fn is_out_of_reach(local: &Local, primary: &Report) -> bool {
    local.stuck_at.zip(primary.kept_from).is_some_and(|(at, from)| at < from)
}

fn clone(local: &Local, primary: &str) -> Action {
    if local.clones < CLONES_MAX { Action::Clone { of: primary.to_owned() } } else { Action::GiveUp }
}

fn keep_leading(local: &Local, plan: &Plan) -> Action {
    match &plan.phase {
        Phase::Founding { by: Some(_) } if local.report.led.is_none() => Action::Adopt { term: plan.term },
        Phase::Founding { .. } => Action::Wait,
        Phase::Serving { .. } | Phase::Promoting { .. } | Phase::Yielding { .. } | Phase::Electing { .. } => {
            // Those that it waits for may have to rewind before they can have anything.
            if !local.report.checkpointed {
                Action::Checkpoint
            } else if local.report.sync != Some(plan.sync_since) {
                Action::SetSync { since: plan.sync_since, sync: plan.sync.clone() }
            } else {
                Action::Wait
            }
        }
    }
}

/// The term that the server conforms to, for [`Report::term`]: the plan's, unless it still acts as an older primary, or may
/// stream from one.
pub fn conforms(me: &str, local: &Local, plan: &Plan) -> u64 {
    let conforms = match &local.report.server {
        Server::Empty | Server::Stopped { .. } => true,
        Server::Starting | Server::Unknown => false,
        Server::Primary => local.report.led == Some(plan.term),
        Server::Replica { upstream: None } => true,
        Server::Replica { upstream: Some(from) } => plan.source() == Some(from.as_str()) && from != me,
    };
    if conforms { plan.term } else { local.report.term.min(plan.term) }
}
