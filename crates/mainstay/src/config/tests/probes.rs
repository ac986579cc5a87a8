//! Probes, accepted and refused.

use std::fs;
use std::path::Path;
use std::time::Duration;

use mainstay_observe::probes::Action;

use super::{SMALL, good, shown};

fn with(probe: &str) -> String {
    format!("{SMALL}[[probe]]\nname = \"login\"\n{probe}")
}

#[test]
fn what_is_not_said_has_a_default_and_every_step_has_a_name() {
    let config = good(&with(
        "[[probe.step]]\nurl = \"https://shop.test/login?x=1\"\n[[probe.step]]\nmethod = \"POST\"\nurl = \"/login\"\n\
         [[probe.step]]\ntls = \"shop.test:443\"\n[[probe.step]]\ntcp = \"[::1]:25\"\n[[probe.step]]\ndns = \"shop.test\"\n",
    ));
    let [probe] = config.probes.as_slice() else { panic!("{config:?}") };
    assert_eq!((probe.interval, probe.timeout), (Duration::from_secs(30), Duration::from_secs(10)));
    let names: Vec<&str> = probe.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["GET /login", "POST /login", "TLS shop.test:443", "TCP ::1:25", "DNS shop.test A"]);
    let Action::Http(request) = &probe.steps[0].action else { panic!("{probe:?}") };
    assert_eq!((request.follow, request.body_max), (0, 256 * 1024));
    assert!(request.expect.accepts(204) && !request.expect.accepts(302));
    assert!(good(SMALL).probes.is_empty());
    let short = good(&with("interval = \"5s\"\n[[probe.step]]\nurl = \"http://a.test\"\n"));
    assert_eq!(short.probes[0].timeout, Duration::from_secs(5), "no longer than the interval");
}

/// The block of docs/probes.md is a whole configuration.
#[test]
fn the_page_about_probes_is_true() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/probes.md");
    let page = fs::read_to_string(page).expect("docs/probes.md");
    let block = page.split("```toml\n").nth(1).and_then(|rest| rest.split_once("```")).expect("an example").0;
    let config = good(block);
    assert_eq!(config.warnings, []);
    assert_eq!(config.probes.iter().map(|probe| probe.steps.len()).collect::<Vec<_>>(), [3, 3]);
    assert_eq!(config.objectives.len(), 1);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let step = "[[probe.step]]\nurl = \"https://shop.test/\"\n";
    for (probe, expected) in [
        ("", "0 steps, where 1 to 16 are allowed"),
        ("[[probe.step]]\nname = \"nothing\"\n", "a step does one thing"),
        ("[[probe.step]]\nurl = \"https://a.test\"\ntcp = \"a.test:1\"\n", "a step does one thing"),
        ("[[probe.step]]\nurl = \"/login\"\n", "no step before this one says at which host"),
        ("[[probe.step]]\nurl = \"ftp://a.test/\"\n", "this is no URL of HTTP"),
        ("[[probe.step]]\nurl = \"https://me:pw@a.test/\"\n", "a URL holds no user and no password here"),
        ("[[probe.step]]\nurl = \"https://a.test/{id}\"\n", "no step before this one captures `id`"),
        ("[[probe.step]]\ntcp = \"a.test:1\"\nmin_days = 3\n", "`min_days` means nothing beside `tcp`"),
        ("[[probe.step]]\ntcp = \"a.test\"\n", "port"),
        ("[[probe.step]]\ndns = \"a.test\"\ntype = \"AX\"\n", "`AX` is not known here"),
        ("[[probe.step]]\nurl = \"http://a.test\"\nexpect_text = \"(\"\n", "not a regular expression"),
        (&format!("timeout = \"40s\"\n{step}"), "a journey may not take longer than the interval"),
        (&format!("secrets = {{ pw = \"hunter2\" }}\n{step}"), "a secret does not belong into the configuration"),
        (&format!("from = []\n{step}"), "between 1 and 32 nodes"),
        (&format!("{step}[[probe]]\nname = \"login\"\n{step}"), "there is another probe `login`"),
    ] {
        let problems = shown(&with(probe));
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{probe}: {problems:#?}");
        assert!(!problems.iter().any(|problem| problem.contains("hunter2")), "{problems:#?}");
    }
}
