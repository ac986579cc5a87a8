//! The lines of the status page about what is worth a look now: alerts, incidents, certificates, and how available services were.

use crate::admin::attention::{Attention, AvailabilityLine, DefectLine};
use crate::status::table::{Paint, Tone, printable};

/// What fires, lasts and ends; nothing if there is nothing of the kind.
pub(super) fn lines(of: &Attention, paint: Paint) -> String {
    let mut lines = Vec::new();
    for alert in &of.alerts {
        let tone = if alert.severity == "P1" || alert.severity == "P2" { Tone::Bad } else { Tone::Warning };
        lines.push((tone, format!("alert {} {}: {}", alert.severity, alert.name, alert.summary)));
    }
    let more = of.firing.saturating_sub(of.alerts.len() as u64);
    if more > 0 {
        lines.push((Tone::Warning, format!("{more} more alerts fire: mainstay alerts")));
    }
    lines.extend(of.incidents.iter().map(|title| (Tone::Warning, format!("incident, not over: {title}"))));
    for certificate in &of.certificates {
        let (usage, subject, days) = (&certificate.usage, &certificate.subject, certificate.days_left);
        let (tone, ends) = match days {
            days if days < 0.0 => (Tone::Bad, "has ended".to_owned()),
            days if days < 3.0 => (Tone::Bad, format!("ends in {days:.1} days")),
            days => (Tone::Warning, format!("ends in {days:.0} days")),
        };
        lines.push((tone, format!("certificate of {usage} ({subject}) {ends}")));
    }
    if let Some(DefectLine { count, last }) = &of.defects {
        let parts =
            if *count == 1 { "a part of the node has".to_owned() } else { format!("{count} parts of the node have") };
        lines.push((Tone::Bad, format!("{parts} ended by a panic, which is a defect: {last}")));
    }
    lines.into_iter().map(|(tone, line)| paint.apply(tone, &printable(&line)) + "\n").collect()
}

/// How available services and probes were, the least first.
pub(super) fn availability(of: &Attention, paint: Paint) -> String {
    if of.availability.is_empty() {
        return String::new();
    }
    let line = |it: &AvailabilityLine| {
        let share = it.availability_percent.map_or("not known".to_owned(), |percent| format!("{percent:.3} %"));
        let failed = match (it.failures, it.mttr_seconds) {
            (0, _) => String::new(),
            (1, Some(mttr)) => format!(", 1 failure of {mttr:.1} s"),
            (failures, Some(mttr)) => format!(", {failures} failures, MTTR {mttr:.1} s"),
            (failures, None) => format!(", {failures} failures"),
        };
        let kind = if it.kind == "service" { String::new() } else { format!("{} ", it.kind) };
        format!("{kind}{} {share}{failed}", it.name)
    };
    let all: Vec<String> = of.availability.iter().map(line).collect();
    let text = format!("available over 28 days, as this node saw it: {}", all.join("; "));
    format!("\n{}\n", paint.apply(Tone::Faint, &printable(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::attention::{AlertLine, CertificateLine};

    #[test]
    fn what_is_worth_a_look_is_said_in_a_line_each() {
        let of = Attention {
            alerts: vec![AlertLine {
                severity: "P1".into(),
                name: "ServiceDown".into(),
                summary: "shop is down".into(),
            }],
            firing: 3,
            incidents: vec!["shop: down".into()],
            certificates: vec![CertificateLine { usage: "listener web".into(), subject: "a".into(), days_left: 2.26 }],
            availability: vec![
                AvailabilityLine {
                    kind: "service".into(),
                    name: "shop".into(),
                    availability_percent: Some(99.5),
                    failures: 2,
                    mttr_seconds: Some(12.0),
                },
                AvailabilityLine { kind: "probe".into(), name: "login".into(), ..AvailabilityLine::default() },
            ],
            defects: Some(DefectLine { count: 2, last: "x.rs:7 (probes): no".into() }),
        };
        let said = lines(&of, Paint::Plain);
        let expected = "alert P1 ServiceDown: shop is down\n2 more alerts fire: mainstay alerts\nincident, not over: shop: down\n\
                        certificate of listener web (a) ends in 2.3 days\n2 parts of the node have ended by a panic, which is a defect: x.rs:7 (probes): no\n";
        assert_eq!(said, expected);
        let said = availability(&of, Paint::Plain);
        assert!(said.contains("shop 99.500 %, 2 failures, MTTR 12.0 s; probe login not known"), "{said}");
        assert_eq!(lines(&Attention::default(), Paint::Plain) + &availability(&Attention::default(), Paint::Plain), "");
    }
}
