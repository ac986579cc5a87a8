//! The cluster, as `mainstay status` and `mainstay cluster status` show it.

use crate::admin::cluster::{ClusterStatus, MemberStatus};
use crate::admin::nodes::NodeEntry;
use crate::status::table::{Cell, Paint, Tone, printable, render as table};

/// One line for the page of a node, and a second one if something is wrong.
pub fn line(status: &ClusterStatus, paint: Paint) -> String {
    let (tone, text) = summary(status);
    format!("{}\n", paint.apply(tone, &printable(&format!("cluster: {text}"))))
}

/// The whole page.
pub fn page(status: &ClusterStatus, paint: Paint) -> String {
    let (tone, text) = summary(status);
    let mut page = format!("{}\n", paint.apply(tone, &printable(&text)));
    let name = status.cluster.as_deref().unwrap_or("-");
    let certificate = status
        .certificate_seconds_left
        .map_or_else(String::new, |left| format!("; this node's certificate ends in {} d", left / 86_400));
    let facts = format!(
        "seen by {} (node {}); cluster {name}; term {}, revision {}{certificate}",
        status.node, status.id, status.term, status.revision
    );
    page.push_str(&paint.apply(Tone::Faint, &printable(&facts)));
    page.push('\n');
    if !status.members.is_empty() {
        page.push('\n');
        page.push_str(&members(&status.members, paint));
    }
    page
}

fn summary(status: &ClusterStatus) -> (Tone, String) {
    if let Some(failure) = &status.failure {
        return (Tone::Bad, format!("{}: this node takes no part: {failure}", status.engine));
    }
    let voters = status.members.iter().filter(|it| it.role == "leader" || it.role == "voter");
    let (all, up) =
        voters.fold((0, 0), |(all, up), it| (all + 1, up + usize::from(it.state == "up" || it.state == "here")));
    let seen = if all == 0 { String::new() } else { format!(", {up} of {all} voters seen") };
    let leader = status.leader.as_deref().map_or_else(String::new, |leader| format!(", {leader} leads"));
    match status.quorum {
        None => (Tone::Warning, format!("{}: not heard from it yet", status.engine)),
        Some(true) if up < all => (Tone::Warning, format!("{}: quorum{leader}{seen}", status.engine)),
        Some(true) => (Tone::Good, format!("{}: quorum{leader}{seen}", status.engine)),
        Some(false) => {
            let reason = status.quorum_reason.as_deref().unwrap_or("nobody answers");
            let since = status.quorum_seconds;
            let text = format!(
                "{}: NO QUORUM for {since} s{seen}: nothing can be changed, what is served stays as it is ({reason})",
                status.engine
            );
            (Tone::Bad, text)
        }
    }
}

/// The nodes as a table.
pub fn nodes(nodes: &[NodeEntry], paint: Paint) -> String {
    let row = |node: &NodeEntry| {
        let answered = match (node.state.as_str(), node.answered_seconds) {
            ("here", _) => String::new(),
            (_, Some(seconds)) => format!("{seconds:.1} s ago"),
            (_, None) => "-".to_owned(),
        };
        let ready = match node.ready {
            Some(true) => ("yes", Tone::Good),
            Some(false) => ("no", Tone::Bad),
            None => ("-", Tone::Faint),
        };
        vec![
            Cell::text(&node.name),
            Cell::text(node.role.as_deref().unwrap_or("-")),
            Cell::text(&node.state).tone(tone(&node.state)),
            Cell::number(answered),
            Cell::text(ready.0).tone(ready.1),
            Cell::text(node.version.as_deref().unwrap_or("-")),
            Cell::text(node.zone.as_deref().unwrap_or("-")),
            Cell::text(node.reason.as_deref().unwrap_or_default()).tone(Tone::Faint),
        ]
    };
    let rows: Vec<Vec<Cell>> = nodes.iter().map(row).collect();
    table(&["NODE", "ROLE", "STATE", "ANSWERED", "READY", "VERSION", "ZONE", ""], &rows, paint)
}

fn tone(state: &str) -> Tone {
    match state {
        "down" => Tone::Bad,
        "unknown" => Tone::Warning,
        _up_or_here => Tone::Good,
    }
}

fn members(members: &[MemberStatus], paint: Paint) -> String {
    let row = |member: &MemberStatus| {
        let remark = match (&member.reason, member.lag) {
            (Some(reason), _) => reason.clone(),
            (None, Some(lag)) if lag > 0 => format!("{lag} entries behind"),
            (None, _) => String::new(),
        };
        vec![
            Cell::text(printable(&member.name)),
            Cell::text(member.id.to_string()),
            Cell::text(printable(&member.address)),
            Cell::text(printable(&member.role)),
            Cell::text(printable(&member.state)).tone(tone(&member.state)),
            Cell::text(printable(&remark)).tone(Tone::Faint),
        ]
    };
    let rows: Vec<Vec<Cell>> = members.iter().map(row).collect();
    table(&["NODE", "ID", "ADDRESS", "ROLE", "STATE", ""], &rows, paint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> ClusterStatus {
        let member = |id: u64, role: &str, state: &str| MemberStatus {
            id,
            name: format!("lb{id}"),
            address: format!("10.0.1.{id}:7946"),
            role: role.to_owned(),
            state: state.to_owned(),
            reason: (state == "down").then(|| "nobody listens".to_owned()),
            lag: None,
        };
        ClusterStatus {
            engine: "embedded".to_owned(),
            node: "lb1".to_owned(),
            id: 1,
            cluster: Some("0123".to_owned()),
            failure: None,
            quorum: Some(true),
            quorum_seconds: 9,
            quorum_reason: None,
            leader: Some("lb2".to_owned()),
            term: 3,
            revision: 40,
            certificate_seconds_left: Some(30 * 86_400),
            members: vec![member(1, "voter", "here"), member(2, "leader", "up"), member(3, "voter", "down")],
        }
    }

    #[test]
    fn the_verdict_comes_first_and_says_what_is_down() {
        let page = page(&status(), Paint::Plain);
        assert!(page.starts_with("embedded: quorum, lb2 leads, 2 of 3 voters seen\n"), "{page}");
        assert!(page.contains("certificate ends in 30 d"), "{page}");
        assert!(page.lines().any(|line| line.starts_with("lb3") && line.ends_with("nobody listens")), "{page}");
    }

    #[test]
    fn a_lost_quorum_and_a_failed_node_are_said() {
        let lost = ClusterStatus { quorum: Some(false), quorum_reason: Some("no leader".to_owned()), ..status() };
        assert!(line(&lost, Paint::Plain).contains("NO QUORUM for 9 s"), "{}", line(&lost, Paint::Plain));
        let failed = ClusterStatus { failure: Some("the disk is full".to_owned()), ..status() };
        assert!(line(&failed, Paint::Plain).contains("takes no part: the disk is full"));
    }
}
