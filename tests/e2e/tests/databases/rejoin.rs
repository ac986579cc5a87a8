//! How members come back whose data is not what it was.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use mainstay_e2e::lab::programs::{Programs, Strike};
use mainstay_e2e::{eventually, soak};

use crate::faults::{PEERS, random};
use crate::trial::{SOON, Trial};

/// What a node says when it begins to copy.
const COPIES: &str = "Clone {";
const REWINDS: &str = "Rewind {";

#[test]
fn members_come_back_from_the_middle_of_anything_or_say_why_not() {
    let programs = Programs::new();
    let mut trial = Trial::start(&format!("bin_dir = \"{}\"", programs.path().display()));
    soak::repeat("comes back", || {
        killed_in_the_middle_of_a_rewind_and_of_a_copy(&mut trial, &programs);
        without_power_in_the_middle_of_a_rewind(&mut trial, &programs);
        data_that_cannot_be_read_stays_out_and_says_why(&mut trial);
        an_old_primary_with_corrupt_data_comes_back(&mut trial);
        without_a_majority_it_can_be_read(&mut trial);
    });
}

impl Trial {
    /// The primary's power goes, and another one takes over.
    fn replace(&mut self) -> usize {
        let primary = self.settled();
        std::thread::sleep(random(Duration::from_secs(1)));
        self.databases.power_off(primary);
        // What was on its way is not what goes on.
        std::thread::sleep(Duration::from_secs(1));
        self.goes_on("writes after a loss of power");
        primary
    }

    fn said(&mut self, node: usize, what: &str) -> usize {
        self.databases.nodes().said(node, what)
    }
}

fn killed_in_the_middle_of_a_rewind_and_of_a_copy(trial: &mut Trial, programs: &Programs) {
    let old = trial.replace();
    programs.strike("pg_rewind", Strike::Kill);
    programs.strike("pg_basebackup", Strike::Kill);
    let copied = trial.said(old, COPIES);
    trial.databases.power_on(old);
    trial.settled();
    assert!(programs.was_struck("pg_rewind") && programs.was_struck("pg_basebackup"));
    assert!(trial.said(old, COPIES) > copied, "half rewound data is good for nothing");
    trial.has_everything("killed in the middle of a rewind and of a copy");
}

fn without_power_in_the_middle_of_a_rewind(trial: &mut Trial, programs: &Programs) {
    for program in ["pg_rewind", "pg_basebackup"] {
        let old = trial.replace();
        if program == "pg_basebackup" {
            // A copy follows upon a rewind that fails half way.
            programs.strike("pg_rewind", Strike::Kill);
        }
        programs.strike(program, Strike::Hang);
        trial.databases.power_on(old);
        eventually("it is in the middle", SOON, || programs.was_struck(program));
        trial.databases.power_off(old);
        programs.end(program);
        let rewound = trial.said(old, REWINDS);
        trial.databases.power_on(old);
        trial.settled();
        assert_eq!(trial.said(old, REWINDS), rewound, "it is copied: what is half done is not gone on with");
        trial.has_everything(&format!("without power in the middle of {program}"));
    }
}

/// Behind the version, so that it is the checksum that tells.
const DAMAGE: [u8; 8] = [0xff; 8];

/// Nobody knows what it is: perhaps it is another database's, or all that there is.
fn data_that_cannot_be_read_stays_out_and_says_why(trial: &mut Trial) {
    let replica = (trial.settled() + 1) % 3;
    let name = format!("n{replica}");
    trial.databases.power_off(replica);
    let control = trial.databases.data_dir(replica).join("global/pg_control");
    let file = File::options().write(true).open(&control).expect("there is a control file");
    file.write_all_at(&DAMAGE, 40).expect("root may write");
    drop(file);
    trial.databases.power_on(replica);
    let mut why = String::new();
    eventually("it says why it stays out", SOON, || {
        let member = trial.databases.member(replica);
        why = member["error"].as_str().unwrap_or_default().to_owned();
        why.contains("control file") && member["state"] == "stopped"
    });
    eprintln!("a damaged control file: {why}");
    trial.goes_on("writes while it is out");
    assert_eq!(fs::read(&control).expect("it is there")[40..48], DAMAGE, "nothing was done to it");
    let asked = trial.databases.nodes().command(replica, &["database", "reinit", "orders", &name, "--yes"]);
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    trial.settled();
}

/// It is known to be of this database, and its log is kept: it is rewound, or copied.
fn an_old_primary_with_corrupt_data_comes_back(trial: &mut Trial) {
    let old = trial.replace();
    // Without it no server starts on this data.
    fs::write(trial.databases.data_dir(old).join("global/pg_filenode.map"), "nonsense").expect("root may write");
    trial.databases.power_on(old);
    trial.settled();
    trial.has_everything("an old primary with corrupt data");
}

fn without_a_majority_it_can_be_read(trial: &mut Trial) {
    trial.settled();
    (0..3).for_each(|node| trial.databases.lab().part(node, PEERS));
    eventually("everybody only reads", SOON, || {
        let reads = |node: usize| {
            let mut client = trial.databases.superuser(node).ok()?;
            let row = client.query_one("SELECT pg_is_in_recovery() AND count(*) > 0 FROM rows", &[]).ok()?;
            row.try_get::<_, bool>(0).ok()
        };
        (0..3).all(|node| reads(node) == Some(true))
    });
    let since = Instant::now();
    std::thread::sleep(Duration::from_secs(2));
    assert!(!trial.went_on(since), "nobody takes writes without a majority");
    (0..3).for_each(|node| trial.databases.lab().heal(node));
    trial.goes_on("writes with a majority");
    trial.settled();
    trial.has_everything("without a majority");
}
