//! What `mainstay config` prints for people.

use std::time::{Duration, UNIX_EPOCH};

use mainstay_core::release::{Stage, Version, Vote};

use crate::shared_config::event::{Event, History, NodeOverview, Overview, Progress};
use crate::status::table::printable;
use crate::timestamp::rfc3339;

/// Notes and outcomes are cut after so many characters, since a line of a table is one line.
const CELL_CHARS: usize = 80;

/// One step of a release; nothing if it says no more than the one before.
pub(super) fn told(event: &Event, before: Option<&Progress>) -> String {
    match event {
        Event::Proposed { version, from, same_as } => {
            let what = match same_as {
                Some(other) => format!("version {version} (the text of version {other})"),
                None => format!("version {version}"),
            };
            format!("{what} is proposed; nodes serve {} meanwhile\n", name(*from))
        }
        Event::Progress(progress) => {
            let line = line(progress);
            if before.is_some_and(|before| self::line(before) == line) { String::new() } else { line }
        }
        Event::Ended(progress) if progress.is_success() => {
            let seconds = progress.elapsed_ms as f64 / 1e3;
            format!(
                "{}: all {} nodes serve version {}, after {seconds:.1} s\n",
                printable(&progress.said),
                progress.nodes,
                progress.version
            )
        }
        // The failure says it.
        Event::Ended(_) | Event::Failed { .. } => String::new(),
    }
}

fn line(progress: &Progress) -> String {
    let Progress { nodes, voted, serving, .. } = progress;
    let more = match &progress.stage {
        Stage::Validating => format!(": {voted} of {nodes} nodes have answered"),
        Stage::Baking { .. } => match &progress.canary {
            Some(sample) => format!(": {} of {} requests failed so far", sample.failures, sample.requests),
            None => String::new(),
        },
        Stage::Spreading { .. } => format!(": {serving} of {nodes} nodes serve it"),
        Stage::Canary { .. }
        | Stage::RollingBack { .. }
        | Stage::Done { .. }
        | Stage::Vetoed { .. }
        | Stage::RolledBack { .. } => String::new(),
    };
    format!("  {}{more}\n", printable(&progress.said))
}

fn name(version: Version) -> String {
    if version == 0 { "their own files".to_owned() } else { format!("version {version}") }
}

pub(super) fn history(history: &History) -> String {
    if history.versions.is_empty() {
        return "the cluster has no configuration: nodes serve their own files\n".to_owned();
    }
    let mut text =
        format!("{:>8}  {:<24}  {:<12}  {:>8}  {}\n", "VERSION", "WRITTEN", "AUTHOR", "BYTES", "OUTCOME, NOTE");
    for meta in history.versions.iter().rev() {
        let mark = if history.current == Some(meta.version) { "*" } else { "" };
        let at = rfc3339(UNIX_EPOCH + Duration::from_millis(meta.written_unix_ms));
        let outcome = meta.outcome.as_deref().unwrap_or("being released");
        let note = if meta.note.is_empty() { String::new() } else { format!(" ({})", meta.note) };
        let said: String = printable(&format!("{outcome}{note}")).chars().take(CELL_CHARS).collect();
        let number = format!("{mark}{}", meta.version);
        text.push_str(&format!("{number:>8}  {at}  {:<12}  {:>8}  {said}\n", printable(&meta.author), meta.bytes));
    }
    text.push_str("* is served by all nodes\n");
    text
}

pub(super) fn overview(overview: &Overview) -> String {
    if !overview.connected {
        let served = name(overview.serves).replace("their own files", "its own file");
        return format!("{} serves {served}; it has not reached the others since it has started\n", overview.node);
    }
    let mut text = match overview.current {
        Some(version) => format!("the cluster's configuration is version {version}\n"),
        None => "the cluster has no configuration: nodes serve their own files\n".to_owned(),
    };
    if let Some(release) = &overview.release {
        let word = if release.stage.is_over() { "last release" } else { "being released" };
        text.push_str(&format!("{word}: version {}: {}\n", release.version, line(release).trim()));
    }
    for node in &overview.nodes {
        text.push_str(&format!("  {}\n", printable(&of_node(node))));
    }
    text
}

fn of_node(node: &NodeOverview) -> String {
    let served = match node.serves {
        Some(0) => "its own file".to_owned(),
        Some(version) => format!("version {version}"),
        None => "nothing that it has told of".to_owned(),
    };
    let mut said = format!("{} serves {served}", node.node);
    match &node.vote {
        Some(Vote::Accept) => said.push_str(", accepts the new one"),
        Some(Vote::Veto(reasons)) => said.push_str(&format!(", vetoes the new one: {}", reasons.join(" | "))),
        None => {}
    }
    if let Some(failure) = &node.failure {
        let wanted = node.wanted.map_or_else(String::new, |version| format!(" {version}"));
        said.push_str(&format!("; version{wanted} cannot be applied: {failure}"));
    }
    said
}

#[cfg(test)]
mod tests {
    use mainstay_core::release::Sample;

    use super::*;

    fn progress(stage: Stage) -> Progress {
        Progress {
            version: 3,
            from: 2,
            said: stage.to_string(),
            stage,
            elapsed_ms: 61_200,
            nodes: 3,
            voted: 2,
            serving: 1,
            canary: Some(Sample { requests: 120, failures: 3, ..Sample::default() }),
        }
    }

    #[test]
    fn a_release_is_told_step_by_step() {
        let proposed = Event::Proposed { version: 3, from: 0, same_as: Some(1) };
        assert_eq!(
            told(&proposed, None),
            "version 3 (the text of version 1) is proposed; nodes serve their own files meanwhile\n"
        );
        let validating = progress(Stage::Validating);
        let event = Event::Progress(validating.clone());
        assert_eq!(told(&event, None), "  validating: 2 of 3 nodes have answered\n");
        assert_eq!(told(&event, Some(&validating)), "", "it is not news");
        let baking = Event::Progress(progress(Stage::Baking { node: "lb2".to_owned() }));
        assert_eq!(told(&baking, None), "  baking on lb2: 3 of 120 requests failed so far\n");
        let done = Event::Ended(progress(Stage::Done { unproven: false }));
        assert_eq!(told(&done, None), "done: all 3 nodes serve version 3, after 61.2 s\n");
    }

    #[test]
    fn nodes_say_what_is_wrong() {
        let node = NodeOverview {
            node: "lb2".to_owned(),
            serves: Some(2),
            wanted: Some(3),
            vote: Some(Vote::Veto(vec!["no certificate".to_owned()])),
            failure: Some("the port is taken".to_owned()),
        };
        assert_eq!(
            of_node(&node),
            "lb2 serves version 2, vetoes the new one: no certificate; version 3 cannot be applied: the port is taken"
        );
    }
}
