//! The shared configuration over the engine of one process: followers, a controller, and what operators ask.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "config/leader.rs"]
mod leader;

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mainstay_cluster::config::desk::{self, DeskError, Proposal};
use mainstay_cluster::config::{Controller, Fence, Follower, Host, Kept, VERSIONS_MAX, View};
use mainstay_cluster::coordinator::Coordinator;
use mainstay_cluster::memory::{Fault, Memory};
use mainstay_core::release::judge::ALL;
use mainstay_core::release::{Policy, Sample, Stage, Subject, Terms, Version};
use mainstay_runtime::task::{AbortOnDrop, Kind, spawn_local};
use mainstay_runtime::thread::run_here;
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(20);

/// A node that serves texts: those with `veto NAME` are vetoed by that node, those with `broken NAME` cannot be applied by
/// it, and with `errors` in them one request in two fails.
#[derive(Default)]
struct Fake {
    name: String,
    served: Mutex<Vec<(Version, Option<Arc<str>>)>>,
}

impl Fake {
    fn says(&self, text: &str, word: &str) -> bool {
        text.contains(&format!("{word} {}", self.name))
    }

    fn serves(&self) -> Option<Arc<str>> {
        self.served.lock().unwrap().last().and_then(|(_version, text)| text.clone())
    }

    fn versions(&self) -> Vec<Version> {
        self.served.lock().unwrap().iter().map(|(version, _text)| *version).collect()
    }
}

#[async_trait]
impl Host for Fake {
    async fn check(&self, text: Arc<str>) -> Result<(), Vec<String>> {
        if self.says(&text, "veto") { Err(vec!["no such file".to_owned(), "no such key".to_owned()]) } else { Ok(()) }
    }

    async fn apply(&self, version: Version, text: Option<Arc<str>>) -> Result<(), String> {
        if text.as_deref().is_some_and(|text| self.says(text, "broken")) {
            return Err("the port is taken".to_owned());
        }
        self.served.lock().unwrap().push((version, text));
        Ok(())
    }

    fn rate(&self) -> f64 {
        if self.name == "b" { 50.0 } else { 100.0 }
    }

    fn change_comes(&self) {}

    fn change_is_there(&self) {}

    fn seen(&self) -> (Vec<Subject>, Vec<Subject>) {
        let failures = if self.serves().is_some_and(|text| text.contains("errors")) { 50 } else { 0 };
        let subject = |requests, failures| Subject {
            name: ALL.to_owned(),
            sample: Sample { requests, failures, ..Sample::default() },
        };
        (vec![subject(1000, 0)], vec![subject(100, failures)])
    }
}

/// Three nodes and what they share.
struct Scene {
    memory: Memory,
    store: Arc<dyn Coordinator>,
    hosts: Vec<Arc<Fake>>,
    seen: Vec<watch::Receiver<Option<View>>>,
    role: watch::Sender<Option<Fence>>,
    _tasks: Vec<AbortOnDrop>,
}

impl Scene {
    async fn new() -> Self {
        let memory = Memory::new();
        let store: Arc<dyn Coordinator> = Arc::new(memory.clone());
        let mut scene = Self {
            memory,
            store,
            hosts: Vec::new(),
            seen: Vec::new(),
            role: watch::Sender::new(None),
            _tasks: Vec::new(),
        };
        for name in ["a", "b", "c"] {
            scene.store.put(&format!("nodes/{name}"), Bytes::from_static(b"{}"), None).await.unwrap();
            let host = Arc::new(Fake { name: name.to_owned(), ..Fake::default() });
            scene.follow(scene.store.clone(), &host, None, 0);
            scene.hosts.push(host);
        }
        scene.control().await;
        scene
    }

    fn follow(&mut self, store: Arc<dyn Coordinator>, host: &Arc<Fake>, kept_at: Option<PathBuf>, serves: Version) {
        let follower = Follower::new(store, host.clone(), &host.name, kept_at, serves, 1);
        self.seen.push(follower.seen());
        self._tasks.push(spawn_local(Kind::Control, follower.run()).abort_on_drop());
    }

    /// Another node gets the role; the one before has lost it.
    async fn control(&mut self) {
        let key = "roles/config".to_owned();
        let delete = mainstay_cluster::coordinator::Operation::delete(key.clone());
        self.store.transact(mainstay_cluster::coordinator::Transaction::always([delete])).await.unwrap();
        let created = self.store.put(&key, Bytes::from_static(b"{}"), None).await.unwrap();
        self.role = watch::Sender::new(Some(Fence { key, created }));
        let controller = Controller::new(self.store.clone(), Policy::default(), self.role.subscribe(), 2);
        self._tasks.push(spawn_local(Kind::Control, controller.run()).abort_on_drop());
    }

    async fn propose(&self, text: &str, bake_ms: Option<u64>) -> Result<Version, DeskError> {
        let terms = Terms { bake: bake_ms.map(Duration::from_millis), ..Terms::default() };
        let proposal = Proposal { text: text.to_owned(), author: "me".to_owned(), note: String::new(), terms };
        desk::propose(&self.store, &proposal, None).await
    }

    /// Waits until a node knows of a release that is as wanted.
    async fn until(&self, what: &str, mut wanted: impl FnMut(&View, &Stage) -> bool) -> Stage {
        let mut seen = self.seen[0].clone();
        let waiting = async {
            loop {
                let stage = seen.borrow_and_update().as_ref().and_then(|view| {
                    let stage = &view.record.as_ref()?.1.release.stage;
                    wanted(view, stage).then(|| stage.clone())
                });
                if let Some(stage) = stage {
                    return stage;
                }
                seen.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(stage) => stage,
            Err(_elapsed) => panic!("{what}: {:?}", seen.borrow()),
        }
    }

    async fn until_over(&self, version: Version) -> Stage {
        let is_it = |view: &View| view.record.as_ref().is_some_and(|(_, record)| record.release.version == version);
        self.until("the end of a release", |view, stage| stage.is_over() && is_it(view)).await
    }

    async fn until_serves(&self, host: usize, text: &str) {
        let waiting = async {
            while self.hosts[host].serves().as_deref() != Some(text) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let elapsed = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(elapsed.is_ok(), "{host} serves {:?}", self.hosts[host].serves());
    }
}

fn run<F: Future<Output = ()>>(test: F) {
    run_here(test).unwrap();
}

#[test]
fn a_configuration_goes_to_all_nodes_and_is_current_then() {
    run(async {
        let scene = Scene::new().await;
        assert_eq!(scene.propose("one", None).await, Ok(1));
        assert_eq!(scene.until_over(1).await, Stage::Done { unproven: true });
        for host in &scene.hosts {
            assert_eq!(host.serves().as_deref(), Some("one"));
        }
        assert_eq!(scene.propose("one", None).await, Err(DeskError::Unchanged(1)));
        assert_eq!(scene.propose("two", Some(300)).await, Ok(2));
        assert_eq!(scene.until_over(2).await, Stage::Done { unproven: false });
        let (metas, current) = desk::history(&scene.store).await.unwrap();
        let outcomes: Vec<_> = metas.iter().map(|meta| (meta.version, meta.outcome.as_deref())).collect();
        assert_eq!(outcomes, [(1, Some("done (unproven)")), (2, Some("done"))]);
        assert_eq!(current, Some(2));
        assert_eq!(desk::show(&scene.store, None).await.unwrap().1, "two");
        assert_eq!(desk::show(&scene.store, Some(3)).await, Err(DeskError::NoVersion(3)));
        let terms = Terms::default();
        // Whoever has seen version 1 does not take back what version 2 says.
        let proposal =
            Proposal { text: "three".into(), author: "me".into(), note: String::new(), terms: terms.clone() };
        let builds_on = |version| desk::propose(&scene.store, &proposal, Some(version));
        assert_eq!(builds_on(&[1]).await, Err(DeskError::Changed(2)));
        let back = desk::roll_back(&scene.store, None, "me", terms.clone(), Some(&[1])).await;
        assert_eq!(back, Err(DeskError::Changed(2)));
        assert_eq!(desk::roll_back(&scene.store, None, "me", terms, None).await, Ok((3, 1)));
        scene.until_over(3).await;
        assert_eq!(scene.hosts[2].serves().as_deref(), Some("one"));
    });
}

#[test]
fn one_nodes_veto_keeps_everybody_at_the_old_one() {
    run(async {
        let scene = Scene::new().await;
        scene.propose("one", None).await.unwrap();
        scene.until_over(1).await;
        scene.propose("two veto c", Some(100)).await.unwrap();
        assert_eq!(scene.until_over(2).await.to_string(), "vetoed: c: no such file | no such key");
        assert!(scene.hosts.iter().all(|host| host.versions() == [1]));
    });
}

#[test]
fn a_canary_whose_clients_fare_worse_goes_back_and_the_others_never_had_it() {
    run(async {
        let scene = Scene::new().await;
        scene.propose("one", None).await.unwrap();
        scene.until_over(1).await;
        scene.propose("two errors", Some(60_000)).await.unwrap();
        let stage = scene.until_over(2).await;
        assert!(stage.to_string().starts_with("rolled-back: more errors over all requests on the canary: 50 of 100"));
        assert_eq!(scene.hosts[1].versions(), [1, 2, 1], "it has the least traffic");
        assert!([0, 2].iter().all(|other| scene.hosts[*other].versions() == [1]));
        assert_eq!(desk::history(&scene.store).await.unwrap().1, Some(1));
    });
}

#[test]
fn a_canary_that_cannot_apply_it_goes_back_too_even_to_what_was_there_before_the_first() {
    run(async {
        let scene = Scene::new().await;
        scene.propose("one broken b", Some(60_000)).await.unwrap();
        let stage = scene.until_over(1).await;
        assert_eq!(stage.to_string(), "rolled-back: b could not apply it: the port is taken");
        assert!(scene.hosts.iter().all(|host| host.versions().is_empty()));
        scene.propose("two broken c", None).await.unwrap();
        let stage = scene.until_over(2).await;
        assert_eq!(stage.to_string(), "rolled-back: c could not apply it: the port is taken");
        assert!(scene.hosts.iter().all(|host| host.serves().is_none()));
    });
}

#[test]
fn a_release_survives_a_change_of_who_plans_it() {
    run(async {
        let mut scene = Scene::new().await;
        scene.propose("one", Some(800)).await.unwrap();
        scene.until("the bake", |_view, stage| matches!(stage, Stage::Baking { .. })).await;
        // The one before does not know yet that it has lost the role: its fence tells.
        let before = scene.role.clone();
        scene.control().await;
        scene.until("a takeover", |view, _| view.record.as_ref().is_some_and(|it| it.1.release.takeovers == 1)).await;
        assert_eq!(scene.until_over(1).await, Stage::Done { unproven: false });
        drop(before);
        assert!(scene.hosts.iter().all(|host| host.versions() == [1]), "each applied it once");
    });
}

#[test]
fn an_operator_ends_a_release_and_only_one_goes_on_at_a_time() {
    run(async {
        let scene = Scene::new().await;
        assert_eq!(desk::abort(&scene.store).await, Err(DeskError::NoRelease));
        scene.propose("one", Some(60_000)).await.unwrap();
        scene.until("the bake", |_view, stage| matches!(stage, Stage::Baking { .. })).await;
        let stage = "baking on b".to_owned();
        assert_eq!(scene.propose("two", None).await, Err(DeskError::Busy { version: 1, stage }));
        assert_eq!(desk::abort(&scene.store).await, Ok(1));
        assert_eq!(scene.until_over(1).await.word(), "aborted");
        assert!(scene.hosts.iter().all(|host| host.serves().is_none()));
        scene.propose("two", None).await.unwrap();
        assert_eq!(scene.until_over(2).await.word(), "done");
    });
}

#[test]
fn the_number_of_versions_is_bounded() {
    run(async {
        let scene = Scene::new().await;
        for version in 1..=VERSIONS_MAX as u64 + 3 {
            scene.propose(&format!("number {version}"), None).await.unwrap();
            scene.until_over(version).await;
        }
        let (metas, _current) = desk::history(&scene.store).await.unwrap();
        assert_eq!(metas.len(), VERSIONS_MAX);
        assert_eq!(metas[0].version, 4);
        assert_eq!(desk::show(&scene.store, Some(3)).await, Err(DeskError::NoVersion(3)));
        let large = "x".repeat(mainstay_cluster::config::TEXT_BYTES_MAX + 1);
        assert!(matches!(scene.propose(&large, None).await, Err(DeskError::TooLarge { .. })));
    });
}

#[test]
fn a_node_that_was_cut_off_catches_up_and_keeps_on_disk_what_is_proven() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let mut scene = Scene::new().await;
        let link = Arc::new(scene.memory.link());
        let host = Arc::new(Fake { name: "d".to_owned(), ..Fake::default() });
        // It is not registered, so that nobody waits for it.
        scene.follow(link.clone(), &host, Some(path.clone()), 0);
        scene.hosts.push(host);
        scene.propose("one", None).await.unwrap();
        scene.until_serves(3, "one").await;
        link.set(Fault::Refused);
        scene.propose("two", None).await.unwrap();
        scene.until_over(2).await;
        assert_eq!(scene.hosts[3].serves().as_deref(), Some("one"), "what it had");
        link.set(Fault::None);
        scene.until_serves(3, "two").await;
        let kept = async {
            loop {
                match Kept::read(&path).unwrap() {
                    Some(kept) if kept.version == 2 => return kept,
                    Some(_) | None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let kept = tokio::time::timeout(PATIENCE, kept).await.unwrap();
        assert_eq!(&*kept.text, "two");
    });
}
