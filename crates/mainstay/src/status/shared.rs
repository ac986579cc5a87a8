//! What the page says of what nodes share.

use crate::admin::shared::SessionsStatus;
use crate::status::table::{Paint, Tone};

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
    }
}
