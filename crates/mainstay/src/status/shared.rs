//! What the page says of what nodes share.

use crate::admin::acme::AcmeStatus;
use crate::admin::addresses::AddressStatus;
use crate::admin::probes::ProbeStatus;
use crate::admin::shared::{OpinionsStatus, SessionsStatus};
use crate::status::table::{Paint, Tone, printable};

/// A line for each certificate of an authority that is missing, or whose orders fail.
pub(super) fn acme(certificates: &[AcmeStatus], paint: Paint) -> String {
    let mut lines = String::new();
    for it in certificates {
        let name = &it.name;
        let error = it.last_error.as_deref().unwrap_or("none was ordered yet");
        let (tone, line) = match it.state.as_str() {
            "valid" if it.failures == 0 => continue,
            "valid" => {
                (Tone::Warning, format!("certificate {name}: renewal has failed {} times: {error}", it.failures))
            }
            "expired" => (Tone::Bad, format!("certificate {name}: EXPIRED: {error}")),
            _missing => (Tone::Bad, format!("certificate {name}: NOT ISSUED YET, clients see a stand-in: {error}")),
        };
        lines.push_str(&paint.apply(tone, &printable(&line)));
        lines.push('\n');
    }
    lines
}

/// A line for each address that moves between nodes: who has it, as far as this node knows.
pub(super) fn addresses(addresses: &[AddressStatus], paint: Paint) -> String {
    let mut lines = String::new();
    for address in addresses {
        let ip = address.ip;
        let how = address.interface.as_deref().map_or_else(|| "listening".to_owned(), |name| format!("on {name}"));
        let (tone, line) = match (&address.problem, address.here, &address.holder) {
            (Some(problem), _, _) => (Tone::Bad, format!("address {ip}: NOT POSSIBLE HERE: {problem}")),
            (None, true, _) => (Tone::Good, format!("address {ip}: held here, {how}")),
            (None, false, Some(holder)) => (Tone::Faint, format!("address {ip}: held by {holder}")),
            (None, false, None) => (Tone::Warning, format!("address {ip}: no holder is known")),
        };
        lines.push_str(&paint.apply(tone, &printable(&line)));
        lines.push('\n');
    }
    lines
}

/// A line on what nodes make of each other's verdicts, in a cluster.
pub(super) fn opinions(opinions: Option<&OpinionsStatus>, paint: Paint) -> String {
    let Some(OpinionsStatus { live, is_cut_off, is_frozen, down, .. }) = opinions else { return String::new() };
    let line = format!("opinions: {live} nodes are heard; {down} endpoints are down by the verdict of most");
    let (tone, line) = match (is_cut_off, is_frozen) {
        (true, _) => {
            (Tone::Bad, format!("{line}; THIS NODE IS CUT OFF from all endpoints, its verdicts are set aside"))
        }
        (false, true) => (Tone::Warning, format!("{line}; frozen: what the others think is not known")),
        (false, false) => (Tone::Faint, line),
    };
    format!("{}\n", paint.apply(tone, &line))
}

/// A line on synthetic probes, and one for each that does not pass.
pub(super) fn probes(probes: &[ProbeStatus], paint: Paint) -> String {
    if probes.is_empty() {
        return String::new();
    }
    let passing = probes.iter().filter(|probe| probe.state == "up").count();
    let mut lines = paint.apply(Tone::Faint, &format!("probes: {passing} of {} pass", probes.len()));
    lines.push('\n');
    for probe in probes.iter().filter(|probe| probe.state != "up") {
        let (tone, state) = match probe.state.as_str() {
            "down" => (Tone::Bad, "FAILS"),
            "degraded" => (Tone::Warning, "fails on some nodes"),
            _unknown => (Tone::Warning, "not known"),
        };
        let why = probe.failing.first().map(|it| format!(": {} (from {})", it.reason, it.node)).unwrap_or_default();
        lines.push_str(&paint.apply(tone, &printable(&format!("  {} {state}{why}", probe.name))));
        lines.push('\n');
    }
    lines
}

/// A line for each table of sessions that is in use.
pub(super) fn sessions(tables: &[SessionsStatus], paint: Paint) -> String {
    let mut lines = String::new();
    for table in tables {
        let (tone, line) = match table.sessions {
            Some(held) => (
                Tone::Faint,
                format!(
                    "sessions: {held} in the embedded table; {} bound here that others knew first, {} that they did not; \
                     {} told by others, {} found by comparing",
                    table.acknowledged, table.unacknowledged, table.received, table.repaired
                ),
            ),
            None if table.is_here => (
                Tone::Faint,
                format!("sessions: redis answers ({} answers, {} failures)", table.acknowledged, table.failures),
            ),
            None => (
                Tone::Bad,
                format!(
                    "sessions: REDIS IS AWAY, sessions go wherever there is room ({} failures, {} commands not sent)",
                    table.failures, table.skipped
                ),
            ),
        };
        lines.push_str(&paint.apply(tone, &line));
        lines.push('\n');
    }
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_whether_the_table_answers() {
        let embedded =
            SessionsStatus { table: "embedded".into(), is_here: true, sessions: Some(3), ..Default::default() };
        assert!(sessions(&[embedded], Paint::Plain).contains("3 in the embedded table"));
        let redis = SessionsStatus { table: "redis".into(), is_here: false, failures: 7, ..Default::default() };
        assert!(sessions(std::slice::from_ref(&redis), Paint::Plain).contains("REDIS IS AWAY"));
        let back = SessionsStatus { is_here: true, ..redis };
        assert!(sessions(&[back], Paint::Plain).contains("redis answers (0 answers, 7 failures)"));
        assert_eq!(sessions(&[], Paint::Plain), "");
        let cut_off = OpinionsStatus { live: 3, is_cut_off: true, ..OpinionsStatus::default() };
        assert!(opinions(Some(&cut_off), Paint::Plain).contains("THIS NODE IS CUT OFF"));
        assert_eq!(opinions(None, Paint::Plain), "");
    }

    #[test]
    fn it_says_who_has_which_address() {
        let there = AddressStatus {
            etag: String::new(),
            ip: [10, 0, 1, 100].into(),
            interface: Some("eth0".to_owned()),
            holder: Some("lb2".to_owned()),
            token: Some(7),
            belongs: Some("lb2".to_owned()),
            here: false,
            taken: 0,
            candidates: Vec::new(),
            problem: None,
        };
        let line = |address: AddressStatus| addresses(&[address], Paint::Plain);
        assert_eq!(line(there.clone()), "address 10.0.1.100: held by lb2\n");
        assert_eq!(line(AddressStatus { holder: None, ..there.clone() }), "address 10.0.1.100: no holder is known\n");
        assert_eq!(line(AddressStatus { here: true, ..there.clone() }), "address 10.0.1.100: held here, on eth0\n");
        let bound = AddressStatus { here: true, interface: None, ..there.clone() };
        assert_eq!(line(bound), "address 10.0.1.100: held here, listening\n");
        let unfit = AddressStatus { problem: Some("no eth0".to_owned()), ..there };
        assert_eq!(line(unfit), "address 10.0.1.100: NOT POSSIBLE HERE: no eth0\n");
    }
}
