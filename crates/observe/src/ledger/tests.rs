use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use mainstay_core::ledger::State;
use mainstay_core::transition::{Aspect, Record, Subject, Transition, Word};
use mainstay_runtime::journal::Journal;

use super::chain::{self, Stamp, Stood};
use super::file::Store;
use super::*;

fn stamp(seconds: u64) -> Stamp {
    Stamp { boot: "b".to_owned(), boottime_ns: seconds * 1_000_000_000, at_unix_ms: seconds * 1000 }
}

fn saw(seconds: u64, to: Word) -> Line {
    let transition = Transition::new(Subject::of_service("shop"), Aspect::Standing, Word::Unknown, to);
    let Stamp { boot, boottime_ns, at_unix_ms } = stamp(seconds);
    let record = Record {
        sequence: 1,
        at_unix_ms,
        boottime_ns,
        node: "a".to_owned(),
        transition: transition.because("<cause>"),
    };
    Line::Saw { boot, record }
}

fn opened(seconds: u64) -> Line {
    Line::Opened { stamp: stamp(seconds), node: "a".to_owned(), version: "1".to_owned(), torn_bytes: 0 }
}

fn ledger(folder: &Path, limits: Limits, lines: &[Line]) -> Store {
    let (mut store, _torn) = Store::open(folder, limits).unwrap().unwrap();
    for line in lines {
        if store.is_full() {
            let Line::Saw { record, .. } = line else { panic!("only these are many") };
            let is_over = record.transition.change.to == Word::Up;
            let stood = Stood {
                subject: Subject::of_service("shop"),
                state: if is_over { State::Down } else { State::Up },
                planned: false,
                cause: String::new(),
            };
            store.rotate(stamp(record.at_unix_ms / 1000), vec![stood]).unwrap();
        }
        store.append(line).unwrap();
    }
    store.sync().unwrap();
    store
}

#[test]
fn any_changed_byte_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    drop(ledger(
        folder.path(),
        Limits::default(),
        &[opened(1), saw(2, Word::Up), saw(3, Word::Down), saw(9, Word::Up)],
    ));
    let whole = verify(folder.path()).unwrap();
    assert_eq!((whole.intact, whole.lines, whole.problem), (true, 4, None));
    let path = folder.path().join("ledger-00000001.jsonl");
    let bytes = fs::read(&path).unwrap();
    let mut line = 1;
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        let verdict = verify(folder.path()).unwrap();
        // A line that lost its end reaches into the next one; the very last is then one that is being written.
        if at + 1 == bytes.len() {
            assert!(verdict.lines < 4);
            continue;
        }
        let problem = verdict.problem.unwrap_or_else(|| panic!("byte {at} of line {line} was changed"));
        assert!(problem.starts_with(&format!("ledger-00000001.jsonl, line {line}:")), "byte {at}: {problem}");
        if bytes[at] == b'\n' {
            line += 1;
        }
    }
}

#[test]
fn lines_that_are_taken_out_or_moved_are_found() {
    let folder = tempfile::tempdir().unwrap();
    drop(ledger(
        folder.path(),
        Limits::default(),
        &[opened(1), saw(2, Word::Up), saw(3, Word::Down), saw(9, Word::Up)],
    ));
    let path = folder.path().join("ledger-00000001.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for (kept, wrong) in [(vec![0, 1, 3], 3), (vec![0, 2, 1, 3], 2), (vec![0, 0, 1, 2, 3], 2)] {
        let text: String = kept.iter().map(|at| format!("{}\n", lines[*at])).collect();
        fs::write(&path, text).unwrap();
        let problem = verify(folder.path()).unwrap().problem.unwrap();
        assert!(problem.contains(&format!("line {wrong}: the line before it is missing")), "{problem}");
    }
    fs::write(&path, format!("{}\n{}\n", lines[2], lines[3])).unwrap();
    assert!(verify(folder.path()).unwrap().problem.unwrap().contains("the beginning is missing"));
}

#[test]
fn a_torn_line_is_cut_off_and_the_chain_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    drop(ledger(folder.path(), Limits::default(), &[opened(1), saw(2, Word::Up)]));
    let path = folder.path().join("ledger-00000001.jsonl");
    let mut bytes = fs::read(&path).unwrap();
    let good = bytes.len();
    let torn = bytes[..70].to_vec();
    bytes.extend_from_slice(&torn);
    fs::write(&path, &bytes).unwrap();
    assert!(verify(folder.path()).unwrap().intact, "it may be being written");
    let (mut store, cut) = Store::open(folder.path(), Limits::default()).unwrap().unwrap();
    assert_eq!((cut, fs::metadata(&path).unwrap().len()), (70, good as u64));
    assert!(Store::open(folder.path(), Limits::default()).unwrap().is_none(), "one process at a time");
    store.append(&opened(5)).unwrap();
    let verdict = verify(folder.path()).unwrap();
    assert_eq!((verdict.intact, verdict.lines), (true, 3), "{verdict:?}");
}

#[test]
fn what_is_too_old_makes_room_and_its_days_stay_in_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { file: 20_000, total: 60_000 };
    let mut lines = vec![opened(1), saw(1, Word::Up)];
    // Four seconds down in each hundred, for two days.
    for outage in 1..1_728 {
        lines.extend([saw(outage * 100, Word::Down), saw(outage * 100 + 4, Word::Up)]);
    }
    let store = ledger(folder.path(), limits, &lines);
    let size: u64 = chain::files(folder.path()).unwrap().iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(size <= limits.total + limits.file && size == store.size(), "{size}");
    let verdict = verify(folder.path()).unwrap();
    assert!(verdict.intact, "{verdict:?}");
    let mut down = std::collections::BTreeMap::<u64, f64>::new();
    let mut scan = scan::Scan::of(folder.path(), 0, |_line| {}).unwrap();
    for (_subject, day) in std::mem::take(&mut scan.days) {
        *down.entry(day.day).or_default() += day.down_seconds;
    }
    for (_subject, intervals) in scan.intervals() {
        for day in mainstay_core::ledger::days(&intervals) {
            *down.entry(day.day).or_default() += day.down_seconds;
        }
    }
    let all: Vec<(u64, f64)> = down.into_iter().map(|(day, seconds)| (day, seconds.round())).collect();
    assert_eq!(all, [(0, 3452.0), (1, 3456.0)]);
    drop(store);
    fs::remove_file(chain::files(folder.path()).unwrap().remove(0)).unwrap();
    assert!(!verify(folder.path()).unwrap().intact, "a file that was deleted otherwise is missed");
}

fn soon<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(30) {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("not within 30 s: {what}");
}

fn stand(journal: &Journal, from: Word, to: Word) {
    journal.record(Transition::new(Subject::of_service("shop"), Aspect::Standing, from, to).because("<power>"));
}

/// A ledger that follows a journal, and what it says once `outages` of them are written down.
fn reported(folder: &Path, outages: usize) -> report::Report {
    let subject = Subject::of_service("shop");
    soon("the report", || {
        let report = report::of(folder, &subject, 3_600_000, true).ok()?;
        (report.outages.len() >= outages).then_some(report)
    })
}

#[test]
fn what_the_journal_tells_is_written_reported_and_remembered_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("ledger");
    let journal = Journal::new("a");
    let ledger = start(&journal, Some(place.clone()), Limits::default(), "1");
    stand(&journal, Word::Unknown, Word::Up);
    std::thread::sleep(Duration::from_millis(300));
    stand(&journal, Word::Up, Word::Down);
    let began = Instant::now();
    std::thread::sleep(Duration::from_millis(400));
    stand(&journal, Word::Down, Word::Up);
    let down = began.elapsed().as_secs_f64();
    let report = reported(&place, 1);
    assert!((report.figures.down_seconds - down).abs() < 0.05, "{report:?}");
    assert_eq!((report.figures.failures, report.node.as_str()), (1, "a"));
    assert!(report.figures.coverage_percent.unwrap() < 50.0, "an hour was asked for, and seconds were observed");
    let page = report::page(&report);
    assert!(page.contains("&lt;power&gt;") && !page.contains("<power>"), "{page}");
    assert!(page.contains("<svg") && !page.contains("http"), "it needs nothing from elsewhere");
    let id = ledger.incidents(|incidents| incidents[0].id.clone());
    journal.record(Transition::new(Subject::node("a"), Aspect::Life, Word::Serving, Word::Leaving));
    soon("the end of the first process", || Store::open(&place, Limits::default()).unwrap());
    let second = Journal::new("a");
    let again = start(&second, Some(place.clone()), Limits::default(), "1");
    soon("what was before", || again.incident(&id));
    stand(&second, Word::Unknown, Word::Down);
    let report = reported(&place, 2);
    assert_eq!(report.figures.failures, 2);
    assert!(verify(&place).unwrap().intact);
    second.record(Transition::new(Subject::node("a"), Aspect::Life, Word::Serving, Word::Leaving));
}

#[test]
fn without_a_folder_incidents_are_known_all_the_same() {
    let journal = Journal::new("a");
    let ledger = start(&journal, None, Limits::default(), "1");
    stand(&journal, Word::Up, Word::Down);
    soon("the incident", || ledger.incidents(|all| (!all.is_empty()).then_some(())));
    assert_eq!(ledger.status(), Status::default());
}
