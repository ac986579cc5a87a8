use super::judge::{ALL, Measure, Verdict};
use super::*;

const BAKE: Duration = Duration::from_secs(60);

fn sample(requests: u64, failures: u64, p50_ms: u64) -> Sample {
    let p50 = Duration::from_millis(p50_ms);
    Sample { requests, failures, p50, p99: p50 * 3 }
}

fn all(sample: Sample) -> Vec<Subject> {
    vec![Subject { name: ALL.to_owned(), sample }]
}

fn traffic(at: Moment, before: Sample, since: Sample) -> Option<Traffic> {
    Some(Traffic { received: at, before: all(before), since: all(since) })
}

/// Three nodes that serve version 1, and a release of version 2.
struct Scene {
    now: Moment,
    nodes: Vec<Node>,
    previous: Previous,
    abort: bool,
}

impl Scene {
    fn new(bake: Option<Duration>) -> Self {
        let node = |(name, rate): (&str, f64)| Node { name: name.to_owned(), serves: Some(1), rate, ..Node::default() };
        let release = Release::new(2, 1, Terms { bake, ..Terms::default() }, 7);
        Self {
            now: Moment::from_millis(1),
            nodes: [("a", 100.0), ("b", 20.0), ("c", 0.0)].map(node).into(),
            previous: Previous { release, since: Moment::from_millis(1) },
            abort: false,
        }
    }

    fn plan(&mut self) -> Stage {
        let observation = Observation { now: self.now, nodes: &self.nodes, abort: self.abort };
        let plan = plan(&Policy::default(), &observation, &self.previous);
        self.previous = Previous { release: plan.release.clone(), since: plan.since };
        plan.release.stage
    }

    fn wait(&mut self, time: Duration) -> &mut Self {
        self.now = self.now.after(time);
        self
    }

    fn all_accept(&mut self) -> &mut Self {
        self.nodes.iter_mut().for_each(|node| node.vote = Some(Vote::Accept));
        self
    }

    /// Nodes do as they are told.
    fn obey(&mut self) -> &mut Self {
        for node in &mut self.nodes {
            node.serves = Some(self.previous.release.target(&node.name));
        }
        self
    }

    fn see(&mut self, node: usize, before: Sample, since: Sample) -> &mut Self {
        self.nodes[node].traffic = traffic(self.now, before, since);
        self
    }

    /// Up to the beginning of the bake, on node b.
    fn baking() -> Self {
        let mut scene = Self::new(Some(BAKE));
        assert_eq!(scene.all_accept().plan(), Stage::Canary { node: "b".to_owned() });
        assert_eq!(scene.obey().plan(), Stage::Baking { node: "b".to_owned() });
        scene
    }
}

#[test]
fn a_release_goes_its_way() {
    let mut scene = Scene::new(Some(BAKE));
    assert_eq!(scene.plan(), Stage::Validating);
    scene.nodes[0].vote = Some(Vote::Accept);
    assert_eq!(scene.plan(), Stage::Validating, "two have not voted");
    // Of those with enough traffic, b has the least.
    assert_eq!(scene.all_accept().plan(), Stage::Canary { node: "b".to_owned() });
    assert_eq!(["a", "b", "c"].map(|node| scene.previous.release.target(node)), [1, 2, 1]);
    assert_eq!(scene.obey().plan(), Stage::Baking { node: "b".to_owned() });
    scene.wait(BAKE / 2).see(1, sample(900, 1, 5), sample(600, 1, 5));
    assert_eq!(scene.plan(), Stage::Baking { node: "b".to_owned() }, "it is not over");
    scene.wait(BAKE / 2).see(1, sample(900, 1, 5), sample(1200, 1, 5));
    assert_eq!(scene.plan(), Stage::Spreading { unproven: false });
    assert_eq!(scene.plan(), Stage::Spreading { unproven: false }, "a and c still serve the old one");
    assert_eq!(scene.obey().plan(), Stage::Done { unproven: false });
    assert_eq!(scene.previous.release.number, 12);
    assert_eq!(["a", "b", "c"].map(|node| scene.previous.release.target(node)), [2, 2, 2]);
}

#[test]
fn without_a_bake_all_get_it_at_once() {
    let mut scene = Scene::new(None);
    assert_eq!(scene.all_accept().plan(), Stage::Spreading { unproven: true });
    assert_eq!(scene.obey().plan(), Stage::Done { unproven: true });
}

#[test]
fn one_veto_decides_and_all_reasons_are_told() {
    let mut scene = Scene::new(Some(BAKE));
    scene.nodes[2].vote = Some(Vote::Veto(vec!["no such file".to_owned()]));
    assert_eq!(scene.plan(), Stage::Validating, "others may have reasons of their own");
    scene.nodes[0].vote = Some(Vote::Accept);
    scene.nodes[1].vote = Some(Vote::Accept);
    let stage = scene.plan();
    assert_eq!(stage.to_string(), "vetoed: c: no such file");
    assert_eq!(["a", "b", "c"].map(|node| scene.previous.release.target(node)), [1, 1, 1]);
}

#[test]
fn silence_is_a_veto() {
    let mut scene = Scene::new(Some(BAKE));
    scene.nodes[0].vote = Some(Vote::Accept);
    scene.nodes[1].vote = Some(Vote::Accept);
    assert_eq!(scene.wait(Duration::from_secs(9)).plan(), Stage::Validating);
    let stage = scene.wait(Duration::from_secs(1)).plan();
    assert_eq!(stage.to_string(), "vetoed: c: it has not answered within 10 s");
    // A node that has died is not waited for.
    let mut scene = Scene::new(Some(BAKE));
    scene.all_accept().nodes[2].vote = None;
    scene.nodes.pop();
    assert_eq!(scene.plan(), Stage::Canary { node: "b".to_owned() });
}

#[test]
fn errors_on_the_canary_end_it_at_once_and_the_others_never_had_it() {
    let mut scene = Scene::baking();
    scene.wait(Duration::from_secs(2)).see(1, sample(900, 1, 5), sample(40, 20, 5));
    let stage = scene.plan();
    assert_eq!(
        stage.to_string(),
        "rolling-back: more errors over all requests on the canary: 20 of 40 failed; before: 1 of 900 failed"
    );
    assert_eq!(["a", "b", "c"].map(|node| scene.previous.release.target(node)), [1, 1, 1]);
    assert_eq!(scene.plan().word(), "rolling-back", "b still serves the new one");
    assert_eq!(scene.obey().plan().word(), "rolled-back");
}

#[test]
fn what_fails_everywhere_is_not_the_new_versions_doing() {
    let mut scene = Scene::baking();
    scene.wait(Duration::from_secs(10)).see(1, sample(900, 1, 5), sample(200, 100, 5));
    scene.see(0, sample(900, 1, 5), sample(1000, 480, 5));
    assert_eq!(scene.plan().word(), "baking");
    // Nor what has always failed there.
    scene.see(1, sample(900, 440, 5), sample(200, 100, 5)).see(0, sample(900, 1, 5), sample(1000, 1, 5));
    assert_eq!(scene.plan().word(), "baking");
    scene.see(1, sample(900, 90, 5), sample(200, 100, 5));
    assert_eq!(scene.plan().word(), "rolling-back");
}

#[test]
fn a_slow_canary_is_judged_from_the_second_half_on() {
    let mut scene = Scene::baking();
    scene.wait(BAKE / 2 - Duration::from_secs(1)).see(1, sample(900, 0, 20), sample(200, 0, 80));
    assert_eq!(scene.plan().word(), "baking");
    scene.wait(Duration::from_secs(1)).see(1, sample(900, 0, 20), sample(200, 0, 80));
    let stage = scene.plan();
    assert!(stage.to_string().contains("median latency over all requests on the canary: 80.0 ms; before: 20.0 ms"));
}

#[test]
fn too_little_traffic_prolongs_the_bake_and_then_the_terms_decide() {
    for (quiet, expected) in [(Quiet::Proceed, "spreading (unproven)"), (Quiet::RollBack, "rolling-back")] {
        let mut scene = Scene::baking();
        scene.previous.release.terms.quiet = quiet;
        scene.wait(BAKE).see(1, sample(900, 0, 5), sample(10, 2, 5));
        assert_eq!(scene.plan().word(), "baking");
        scene.wait(BAKE * 2).see(1, sample(900, 0, 5), sample(20, 2, 5));
        assert!(scene.plan().to_string().starts_with(expected), "{quiet:?}");
    }
    // Reports that are old say nothing either.
    let mut scene = Scene::baking();
    scene.see(1, sample(900, 0, 5), sample(200, 100, 5)).wait(Duration::from_secs(6));
    assert_eq!(scene.plan().word(), "baking");
}

#[test]
fn a_canary_that_fails_or_vanishes_or_is_late_is_rolled_back() {
    let mut scene = Scene::baking();
    scene.nodes[1].failure = Some("cannot bind".to_owned());
    assert_eq!(scene.plan().to_string(), "rolling-back: b could not apply it: cannot bind");
    let mut scene = Scene::baking();
    scene.nodes.remove(1);
    assert_eq!(scene.plan().to_string(), "rolling-back: b, the canary, is gone");
    let mut scene = Scene::new(Some(BAKE));
    scene.all_accept().plan();
    assert_eq!(scene.wait(Duration::from_secs(15)).plan().to_string(), "rolling-back: not applied in time by b");
    // The way back ends too if nobody answers.
    scene.obey().nodes[0].serves = None;
    let stage = scene.wait(Duration::from_secs(15)).plan();
    assert_eq!(stage.to_string(), "rolled-back: not applied in time by b; not confirmed by a");
}

#[test]
fn an_abort_ends_it_from_any_stage() {
    let mut scene = Scene::new(Some(BAKE));
    scene.abort = true;
    assert_eq!(scene.plan().word(), "rolling-back");
    assert_eq!(scene.plan().word(), "aborted");
    assert_eq!(scene.plan().word(), "aborted");
}

#[test]
fn takeovers_restart_the_stage_and_are_counted() {
    let mut scene = Scene::baking();
    for _takeover in 0..5 {
        scene.wait(BAKE - Duration::from_secs(1));
        scene.previous = Previous { release: scene.previous.release.taken_over(), since: scene.now };
        assert_eq!(scene.plan().word(), "baking");
    }
    scene.previous.release = scene.previous.release.taken_over();
    assert_eq!(scene.plan().to_string(), "rolling-back: the node in charge changed too often");
    assert_eq!(scene.plan().word(), "rolled-back");
    let over = scene.previous.release.clone();
    assert_eq!(over.taken_over(), over);
}

#[test]
fn the_canary_is_the_node_with_the_least_traffic_that_suffices() {
    let policy = Policy::default();
    let node = |(name, rate): (&str, f64)| Node { name: name.to_owned(), rate, ..Node::default() };
    for (rates, expected) in [
        (vec![("a", 100.0), ("b", 20.0), ("c", 0.0)], Some("b")),
        (vec![("a", 0.1), ("b", 0.2), ("c", 0.0)], Some("b")),
        (vec![("a", 0.0), ("b", 0.0)], Some("a")),
        (vec![("b", 5.0), ("a", 5.0)], Some("a")),
        (vec![], None),
    ] {
        let nodes: Vec<Node> = rates.iter().copied().map(node).collect();
        assert_eq!(choose_canary(&policy, &nodes, BAKE).as_deref(), expected, "{rates:?}");
    }
}

#[test]
fn a_new_kind_of_request_is_judged_by_itself() {
    let policy = judge::Policy::default();
    let subject = |name: &str, sample: Sample| Subject { name: name.to_owned(), sample };
    let canary = Traffic {
        received: Moment::ZERO,
        before: vec![subject(ALL, sample(5000, 0, 5))],
        since: vec![subject(ALL, sample(5000, 40, 5)), subject("new", sample(40, 40, 5))],
    };
    let Verdict::Worse(worse) = judge::judge(&policy, &canary, &[], false) else { panic!("not noticed") };
    assert_eq!((worse.subject.as_str(), worse.measure), ("new", Measure::Errors));
    // Few failures among few requests are chance.
    let mut few = canary.clone();
    few.since = vec![subject(ALL, sample(40, 4, 5))];
    assert_eq!(judge::judge(&policy, &few, &[], true), Verdict::Well);
}
