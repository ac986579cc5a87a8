//! Whether a server's data is a beginning of another one's. PostgreSQL counts timelines up at each promotion, and two members
//! that were promoted one after the other without having met count to the same number, so that the number alone says nothing.
//! Redis gives its history a new random name at each promotion, and remembers the one before and where it ended.

use serde::{Deserialize, Serialize};

use super::{Lsn, Report, Server};

/// Where a timeline began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Branch {
    /// Its number.
    pub timeline: u32,
    /// The position that the timeline before it was left at.
    pub at: Lsn,
}

/// A history that goes on under another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Before {
    /// What it was called.
    pub system: u64,
    /// Up to where it is the same.
    pub at: Lsn,
}

/// What a member's data is to the primary's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lineage {
    /// A beginning of it: it can follow.
    Beginning,
    /// The same, of a former primary: it can follow once it takes itself for one no more.
    Succeeded,
    /// It went on after a place where the primary's history goes another way, and can be taken back to it.
    Ahead,
    /// It cannot be told, or timelines of the same number are not the same: only a copy helps.
    Foreign,
}

/// Compares. `own.led` is the term of an earlier time as primary.
pub fn compare(own: &Report, primary: &Report) -> Lineage {
    if let Some(before) = primary.before
        && own.system == Some(before.system)
    {
        return if own.position <= before.at { Lineage::Beginning } else { Lineage::Ahead };
    }
    let is_other = |(one, other): (Option<u64>, Option<u64>)| one.zip(other).is_some_and(|(one, other)| one != other);
    if is_other((own.system, primary.system)) || own.timeline > primary.timeline {
        return Lineage::Foreign;
    }
    let begin =
        |report: &Report, timeline: u32| report.branches.iter().find(|branch| branch.timeline == timeline).copied();
    // A timeline that both know must have begun at the same place. The first one has no beginning.
    if own.branches.iter().any(|branch| begin(primary, branch.timeline) != Some(*branch)) {
        return Lineage::Foreign;
    }
    if own.timeline == primary.timeline {
        // Whoever was primary itself and is on the same timeline may have written something else on it.
        return if own.led.is_some() { Lineage::Foreign } else { Lineage::Beginning };
    }
    let left =
        primary.branches.iter().filter(|branch| branch.timeline > own.timeline).min_by_key(|branch| branch.timeline);
    match left {
        Some(branch) if is_succeeded(own, primary, branch.at) => Lineage::Succeeded,
        // What a former primary has on its disk may be more than it has said.
        Some(branch) if own.led.is_some() || own.position > branch.at => Lineage::Ahead,
        Some(_) => Lineage::Beginning,
        None => Lineage::Foreign,
    }
}

/// Whether a former primary's successor has all that is on its disk. It stopped in order, so that its last record is known; its
/// timeline was left after the beginning of that record, which is after its end, since timelines are left between records; and it
/// was left in the very next term, so that nobody else has written on a timeline of that number since.
fn is_succeeded(own: &Report, primary: &Report, left: Lsn) -> bool {
    let is_next = own.led.zip(primary.led).is_some_and(|(led, next)| led.checked_add(1) == Some(next));
    let has_ended = match own.server {
        Server::Stopped { clean: Some(last) } => last < left,
        Server::Stopped { clean: None }
        | Server::Empty
        | Server::Starting
        | Server::Replica { .. }
        | Server::Primary
        | Server::Unknown => false,
    };
    is_next && has_ended
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Server;

    fn report(timeline: u32, position: Lsn, led: Option<u64>, began: &[(u32, Lsn)]) -> Report {
        let branches = began.iter().map(|(timeline, at)| Branch { timeline: *timeline, at: *at }).collect();
        let stopped = Report::new(Server::Stopped { clean: None });
        Report { system: Some(1), timeline, position, led, branches, ..stopped }
    }

    #[test]
    fn whose_data_is_a_beginning_of_the_primarys() {
        let primary = report(3, 900, Some(7), &[(2, 100), (3, 500)]);
        let cases = [
            (report(1, 100, None, &[]), Lineage::Beginning, "left where the primary's first timeline was"),
            (report(1, 101, None, &[]), Lineage::Ahead, "received more on it"),
            (report(1, 90, Some(1), &[]), Lineage::Ahead, "wrote on it, and may have more than it says"),
            (report(2, 400, None, &[(2, 100)]), Lineage::Beginning, "on the second"),
            (report(2, 600, None, &[(2, 100)]), Lineage::Ahead, "too far on the second"),
            (report(2, 400, None, &[(2, 90)]), Lineage::Foreign, "another second one"),
            (report(3, 950, None, &[(2, 100), (3, 500)]), Lineage::Beginning, "what it says may be newer"),
            (report(3, 600, Some(6), &[(2, 100), (3, 500)]), Lineage::Foreign, "promoted at the same place"),
            (report(4, 600, None, &[(2, 100), (3, 500), (4, 550)]), Lineage::Foreign, "from the future"),
            (Report { system: Some(2), ..report(1, 1, None, &[]) }, Lineage::Foreign, "another database"),
        ];
        for (own, expected, what) in cases {
            assert_eq!(compare(&own, &primary), expected, "{what}");
        }
    }

    #[test]
    fn a_former_primary_whose_successor_has_its_last_record_needs_no_rewind() {
        let primary = Report { led: Some(8), ..report(3, 900, None, &[(2, 100), (3, 500)]) };
        let own = |led, clean| Report { server: Server::Stopped { clean }, ..report(2, 480, Some(led), &[(2, 100)]) };
        let cases = [
            (own(7, Some(499)), Lineage::Succeeded, "it begins before the timeline was left"),
            (own(7, Some(500)), Lineage::Ahead, "it begins where that was"),
            (own(7, None), Lineage::Ahead, "it has crashed"),
            (own(6, Some(499)), Lineage::Ahead, "somebody else was primary in between"),
            (Report { server: Server::Replica { upstream: None }, ..own(7, None) }, Lineage::Ahead, "it runs"),
            (Report { system: Some(2), ..own(7, Some(499)) }, Lineage::Foreign, "another database"),
            (Report { timeline: 3, ..own(7, Some(499)) }, Lineage::Foreign, "the same timeline"),
        ];
        for (own, expected, what) in cases {
            assert_eq!(compare(&own, &primary), expected, "{what}");
        }
    }

    #[test]
    fn histories_that_promotions_rename() {
        let of = |system, position, led| Report { system: Some(system), ..report(1, position, led, &[]) };
        let primary = Report { before: Some(Before { system: 7, at: 500 }), ..of(8, 900, Some(3)) };
        let cases = [
            (of(8, 800, None), Lineage::Beginning, "the same"),
            (of(7, 500, None), Lineage::Beginning, "the one before, up to where it ended"),
            (of(7, 500, Some(2)), Lineage::Beginning, "a former primary has what it says"),
            (of(7, 501, Some(2)), Lineage::Ahead, "and went on"),
            (of(6, 100, None), Lineage::Foreign, "an earlier one, which cannot be told from a strange one"),
            (of(8, 800, Some(3)), Lineage::Foreign, "the same name, and written by itself"),
            (Report { system: None, ..of(0, 0, None) }, Lineage::Beginning, "nothing at all"),
        ];
        for (own, expected, what) in cases {
            assert_eq!(compare(&own, &primary), expected, "{what}");
        }
    }
}
