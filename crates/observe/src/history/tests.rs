//! Tests of the history as a whole.

use super::*;

const START: u64 = 1_700_000_400;

fn at_second(second: u64, rate: u64) -> Reading {
    let mut reading = Reading { requests: second * rate, errors: second, active: 3, ..Reading::default() };
    reading.buckets[2] = second * rate;
    reading
}

fn feed(history: &History, from: u64, seconds: std::ops::Range<u64>, rate: u64) {
    for second in seconds {
        history.sample(from + second, [(Kind::Route, "shop", at_second(second, rate))]);
    }
}

/// The same, a minute at a time: what the thread that writes cannot take at once is lost, by design.
fn feed_at_its_pace(history: &History, from: u64, minutes: u64, rate: u64) {
    for minute in 0..minutes {
        let written = history.facts().disk_bytes;
        feed(history, from, minute * 60..(minute + 1) * 60, rate);
        wait_until(|| minute == 0 || history.facts().disk_bytes > written);
    }
}

fn route() -> Series {
    Series::new(Kind::Route, "shop")
}

#[test]
fn windows_of_all_lengths_add_up() {
    let history = History::in_memory();
    let day = 86_400;
    feed(&history, START, 0..4 * day, 10);
    let now = START + 4 * day - 1;
    for span in [10, 300, 1_800, 3_600, 7_200, 21_600, day, 3 * day, 4 * day] {
        let counts = history.window(&route(), Duration::from_secs(span), now);
        let expected = span * 10;
        assert!(counts.requests.abs_diff(expected) <= 6_000, "{span}: {counts:?}");
        assert!(span > 3_600 || counts.requests.abs_diff(expected) <= 10, "{span}: seconds are exact");
        assert_eq!(counts.buckets[2], counts.requests);
        assert_eq!(counts.active_seconds, counts.seconds * 3);
    }
    let all = history.range(&route(), START, now + 1, 600).expect("it is known");
    assert_eq!(all.points.iter().map(|point| point.counts.requests).sum::<u64>(), (4 * day - 1) * 10);
    assert!(all.points.windows(2).all(|two| two[1].at == two[0].at + 600));
}

#[test]
fn a_counter_that_went_back_counts_from_zero() {
    let history = History::in_memory();
    feed(&history, START, 0..100, 10);
    feed(&history, START + 100, 0..100, 10);
    let counts = history.window(&route(), Duration::from_secs(3_600), START + 199);
    assert_eq!((counts.requests, counts.errors), (99 * 10 * 2, 99 * 2));
}

#[test]
fn a_clock_that_goes_back_an_hour_takes_what_was_noted_of_that_hour_with_it() {
    let history = History::in_memory();
    feed(&history, START, 0..100, 10);
    history.sample(START + 5_000, [(Kind::Route, "shop", at_second(101, 10))]);
    history.sample(START + 200, [(Kind::Route, "shop", at_second(102, 10))]);
    let range = history.range(&route(), 0, u64::MAX, 0).expect("it is known");
    assert!(range.points.iter().all(|point| point.at <= START + 200), "{range:?}");
    let counts = history.window(&route(), Duration::from_secs(3_600), START + 200);
    assert_eq!(counts.requests, 99 * 10 + 10);
}

#[test]
fn what_was_kept_is_there_after_a_restart_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = now() - 7_200;
    let history = History::kept(folder.path()).expect("a thread");
    wait_until(|| folder.path().join("lock").exists());
    feed_at_its_pace(&history, start, 60, 10);
    history.add(&Series::new(Kind::Probe, "login"), &Counts { requests: 5, errors: 1, ..Counts::default() });
    history.sample(start + 3_600, [(Kind::Route, "shop", at_second(3_600, 10))]);
    assert_eq!(history.facts().probes, [("login".into(), Added { events: 5, bad: 1 })]);
    history.close();
    assert_eq!(history.facts().batches_lost, 0);

    let again = History::kept(folder.path()).expect("a thread");
    feed(&again, start + 3_601, 0..60, 10);
    wait_until(|| again.window(&route(), Duration::from_secs(7_200), start + 3_661).requests > 30_000);
    let counts = again.window(&route(), Duration::from_secs(7_200), start + 3_661);
    assert_eq!(counts.requests, 36_000 + 590);
    let probe = again.window(&Series::new(Kind::Probe, "login"), Duration::from_secs(7_200), start + 3_661);
    assert_eq!((probe.requests, probe.errors), (5, 1));
    assert_eq!(again.facts().probes, [], "they count from the start of the process");
    again.close();
}

/// The files and the new process then both have a part of the minute.
#[test]
fn a_restart_within_a_minute_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = (now() - 600) / 60 * 60;
    let history = History::kept(folder.path()).expect("a thread");
    wait_until(|| folder.path().join("lock").exists());
    feed(&history, start, 0..10, 10);
    history.close();
    let again = History::kept(folder.path()).expect("a thread");
    feed(&again, start + 20, 0..5, 10);
    let window = || again.window(&route(), Duration::from_secs(300), start + 24).requests;
    wait_until(|| window() == 90 + 40);
    again.close();
}

#[test]
fn a_damaged_file_is_set_aside_and_a_folder_that_cannot_be_is_survived() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::kept(folder.path()).expect("a thread");
    wait_until(|| folder.path().join("lock").exists());
    feed(&history, now() - 7_200, 0..300, 10);
    history.close();
    let file =
        files(folder.path()).into_iter().find(|path| path.to_string_lossy().contains("minute-")).expect("a file");
    let mut bytes = std::fs::read(&file).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    let again = History::kept(folder.path()).expect("a thread");
    wait_until(|| again.facts().files_damaged == 1);
    assert!(!file.exists() && file.with_extension("damaged").exists());
    again.close();

    let nowhere = History::kept(&file.with_extension("damaged")).expect("a thread");
    wait_until(|| nowhere.facts().write_failures > 0);
    feed(&nowhere, START, 0..10, 10);
    assert_eq!(nowhere.window(&route(), Duration::from_secs(60), START + 9).requests, 90);
    nowhere.close();
}

/// The arithmetic of the module's documentation, and what a sample costs.
#[test]
fn a_thousand_busy_endpoints_stay_within_what_is_promised() {
    let history = History::in_memory();
    let names: Vec<String> =
        (0..1_000).map(|number| format!("shop/10.0.{}.{}:8080", number / 250, number % 250)).collect();
    let mut readings = vec![Reading::default(); names.len()];
    let mut random = 1_u64;
    let mut took = Duration::ZERO;
    let seconds = 900;
    for second in 0..seconds {
        for reading in &mut readings {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            for (bucket, share) in
                reading.buckets.iter_mut().zip([random >> 60, random >> 58 & 31, random >> 56 & 15, 3, 1])
            {
                *bucket += share;
                reading.requests += share;
            }
            reading.active = random >> 61;
        }
        let began = std::time::Instant::now();
        history
            .sample(START + second, names.iter().zip(&readings).map(|(name, it)| (Kind::Endpoint, name.as_str(), *it)));
        took += began.elapsed();
    }
    let facts = history.facts();
    let per_step = facts.memory_bytes as f64 / 1_000.0 / (seconds as f64 + 16.0);
    println!(
        "{} KiB for {} series after {seconds} s, about {per_step:.1} bytes a step; {:?} a sample",
        facts.memory_bytes / 1_024,
        facts.series,
        took / seconds as u32
    );
    assert_eq!((facts.series, facts.series_dropped), (1_000, 0));
    assert!(facts.memory_bytes < 24 * 1_048_576, "{facts:?}");
    let more: Vec<String> = (0..5_000).map(|number| format!("other/{number}")).collect();
    history.sample(START + seconds, more.iter().map(|name| (Kind::Endpoint, name.as_str(), Reading::default())));
    let facts = history.facts();
    assert!(facts.series <= (ENDPOINTS_MAX + WHOLE_MAX) as u64 && facts.series_dropped > 0, "{facts:?}");
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}

fn wait_until(done: impl Fn() -> bool) {
    for _attempt in 0..200 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("waited ten seconds in vain");
}
