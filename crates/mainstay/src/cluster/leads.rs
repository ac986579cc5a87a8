//! Tells the gateway where the clients of database groups go: what the node knows of its groups, as roles of servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::database::{Phase, Server};
use mainstay_core::roles::{Replica, Roles};
use mainstay_failover::group::board::{Member, View};
use mainstay_gateway::LeadError;

use super::Context;

/// How often everything is said again: a listener may have come by a reload.
const AGAIN: Duration = Duration::from_secs(1);

/// Follows the board for as long as the node takes part. What the gateway was told last stands after that.
pub(super) async fn run(context: Context) {
    if context.handle.groups().configured().is_empty() {
        return;
    }
    let gateway = Arc::clone(context.node.gateway());
    let board = context.handle.databases();
    let mut changes = board.follow();
    let mut ticks = tokio::time::interval(AGAIN);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = context.left() => return,
            changed = changes.changed() => if changed.is_err() { return },
            _tick = ticks.tick() => {}
        }
        for (group, view) in board.views() {
            let database = context.handle.groups().database(&group);
            let no_reads = |node: &str| database.and_then(|it| it.member(node)).is_some_and(|member| member.no_reads);
            match gateway.lead(&group, roles(&view, no_reads)) {
                // No listener of this node leads there, or none yet.
                Ok(()) | Err(LeadError::UnknownGroup(_)) => {}
                Err(error @ LeadError::Outdated { .. }) => {
                    tracing::debug!(group, %error, "database: an older plan was read");
                }
            }
        }
    }
}

/// The roles that a view gives to servers. Readers are led to none that has `no_reads`.
fn roles(view: &View, no_reads: impl Fn(&str) -> bool) -> Roles {
    let plan = &view.plan;
    let address = |node: &str| view.members.iter().find(|member| member.node == node).map(|member| member.address);
    let leaving = match &plan.phase {
        Phase::Yielding { from, .. } => address(from),
        Phase::Founding { .. } | Phase::Serving { .. } | Phase::Electing { .. } | Phase::Promoting { .. } => None,
    };
    let primary = plan.serving().and_then(address);
    let end = end(view, plan.serving());
    let replica = |member: &Member| {
        let report = member.report.as_ref().filter(|_report| member.alive && !no_reads(&member.node))?;
        let Server::Replica { .. } = report.server else { return None };
        let lag = end.map(|end| end.saturating_sub(report.position));
        Some(Replica { address: member.address, lag }).filter(|it| Some(it.address) != primary)
    };
    let mut replicas: Vec<Replica> = view.members.iter().filter_map(replica).collect();
    let mut seen: Vec<SocketAddr> = Vec::new();
    replicas.retain(|it| {
        !seen.contains(&it.address) && {
            seen.push(it.address);
            true
        }
    });
    Roles { term: plan.term, number: plan.number, primary, leaving, replicas, is_current: view.is_current }
}

/// The end of the log that lag is measured against: the primary's or, while there is none, that of whoever has most. Reports
/// are as old as their members' last ones, so that a lag is right to within what is written between two of them.
fn end(view: &View, primary: Option<&str>) -> Option<u64> {
    let positions = || {
        let alive = view.members.iter().filter(|member| member.alive);
        alive.filter_map(|member| Some((member.node.as_str(), member.report.as_ref()?.position)))
    };
    let of_primary = positions().find(|(node, _position)| Some(*node) == primary);
    of_primary.map(|(_node, position)| position).or_else(|| positions().map(|(_node, position)| position).max())
}

#[cfg(test)]
mod tests {
    use mainstay_core::database::{Engine, Plan, Report};

    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([10, 0, 0, 1], port).into()
    }

    fn member(node: &str, port: u16, server: Server, position: u64) -> Member {
        let report = Report { term: 3, position, ..Report::new(server) };
        Member { node: node.to_owned(), address: at(port), alive: true, report: Some(report) }
    }

    fn view(phase: Phase) -> View {
        let replica = || Server::Replica { upstream: Some("a".to_owned()) };
        View {
            engine: Engine::Postgres,
            plan: Plan { number: 9, term: 3, phase, ..Plan::default() },
            is_current: true,
            members: vec![
                member("a", 1, Server::Primary, 1_000),
                member("b", 2, replica(), 900),
                member("c", 3, replica(), 1_010),
                member("d", 4, Server::Stopped { clean: None }, 1_000),
            ],
            own: None,
            obstacle: None,
            end: None,
            paused: false,
            failovers: Vec::new(),
        }
    }

    #[test]
    fn a_view_gives_servers_their_roles() {
        let serving = roles(&view(Phase::Serving { primary: "a".to_owned() }), |_node| false);
        assert_eq!((serving.term, serving.number, serving.primary, serving.leaving), (3, 9, Some(at(1)), None));
        let replicas = [Replica { address: at(2), lag: Some(100) }, Replica { address: at(3), lag: Some(0) }];
        assert_eq!((serving.replicas, serving.is_current), (replicas.to_vec(), true));

        let yielding = Phase::Yielding { from: "a".to_owned(), led: 2, to: "b".to_owned() };
        let yielding = roles(&view(yielding), |_node| false);
        assert_eq!((yielding.primary, yielding.leaving), (None, Some(at(1))));

        // The primary is gone: replicas serve reads, measured against the one that has most.
        let mut electing = view(Phase::Electing { from: "a".to_owned(), forced: None });
        electing.members[0].alive = false;
        let electing = roles(&electing, |_node| false);
        assert_eq!((electing.primary, electing.leaving), (None, None));
        let replicas = [Replica { address: at(2), lag: Some(110) }, Replica { address: at(3), lag: Some(0) }];
        assert_eq!(electing.replicas, replicas);

        let mut gone = view(Phase::Serving { primary: "a".to_owned() });
        gone.members[1].alive = false;
        assert_eq!(roles(&gone, |_node| false).replicas, [Replica { address: at(3), lag: Some(0) }]);
        assert_eq!(roles(&gone, |node| node == "c").replicas, [], "readers are not led there");
    }
}
