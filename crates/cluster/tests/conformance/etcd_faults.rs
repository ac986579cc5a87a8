//! etcd's members die, freeze and lose each other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_cluster::coordinator::{Consistency, Coordinator, Error, Operation, Range, Transaction};
use mainstay_cluster::etcd::{Etcd, Options, Tls, version};
use mainstay_runtime::thread::run_here;
use tempfile::TempDir;

use crate::bench::{SOON, next};
use crate::etcd::{options, serving};
use crate::etcd_server::Servers;

/// Time for one request in tests that wait for it to run out.
const SHORT: Duration = Duration::from_millis(700);

fn store(endpoints: Vec<String>, timeout: Duration) -> Arc<dyn Coordinator> {
    Arc::new(Etcd::new(&Options { timeout, ..options(endpoints) }).unwrap())
}

async fn put(store: &Arc<dyn Coordinator>, key: &str, value: &str) -> Result<u64, Error> {
    store.transact(Transaction::always([Operation::put(key, value.to_owned(), None)])).await.map(|reply| reply.revision)
}

#[test]
fn nothing_is_changed_where_nobody_listens() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    run_here(async {
        for endpoints in [vec![url.clone()], vec![url.clone(); 3]] {
            let (store, begun) = (store(endpoints, SHORT), Instant::now());
            assert!(matches!(store.get("a").await, Err(Error::Unavailable(_))));
            let local = store.range(Range::key("a"), None, 1, Consistency::Local).await;
            assert!(matches!(local, Err(Error::Unavailable(_))), "{local:?}");
            assert!(matches!(put(&store, "a", "1").await, Err(Error::Unavailable(_))));
            assert!(matches!(store.grant(SOON).await, Err(Error::Unavailable(_))));
            assert!(matches!(store.watch(Range::key("a"), 1).await.map(drop), Err(Error::Unavailable(_))));
            assert!(begun.elapsed() < SOON, "refused connections take no time");
        }
    })
    .unwrap();
}

#[test]
fn of_a_frozen_member_it_is_not_known_what_it_has_done() {
    let servers = Servers::start(1);
    run_here(async {
        let patient = serving(&servers).await;
        let store = store(servers.urls(), SHORT);
        put(&store, "a", "before").await.unwrap();
        servers.signal(0, "STOP");
        // The connection is known to work, so that this one is sent.
        let write = put(&store, "a", "frozen").await;
        assert!(matches!(write, Err(Error::Unknown(_))), "{write:?}");
        // After that the member has to prove itself before it is sent another one.
        let write = put(&store, "b", "frozen").await;
        assert!(matches!(write, Err(Error::Unavailable(_))), "{write:?}");
        let read = store.get("a").await;
        assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
        servers.signal(0, "CONT");
        let value = patient.get("a").await.unwrap().unwrap().value;
        assert!(value == "before" || value == "frozen", "{value:?}");
        assert_eq!(patient.get("b").await.unwrap(), None, "what is called undone is not done");
    })
    .unwrap();
}

#[test]
fn a_watch_and_a_lease_outlive_a_restart() {
    let mut servers = Servers::start(1);
    run_here(async {
        let store = serving(&servers).await;
        let lease = store.grant(Duration::from_secs(60)).await.unwrap();
        store.keep_alive(lease.id).await.unwrap();
        let first = put(&store, "a", "0").await.unwrap();
        let mut watch = store.watch(Range::key("a"), first).await.unwrap();
        assert_eq!(next(&mut watch).await.revision, first);
        for round in 1..=3 {
            let before = put(&store, "a", &format!("{round} before")).await.unwrap();
            servers.kill(0);
            servers.launch(0);
            servers.wait_until(async || store.get("a").await.is_ok()).await;
            let after = put(&store, "a", &format!("{round} after")).await.unwrap();
            assert_eq!((next(&mut watch).await.revision, next(&mut watch).await.revision), (before, after));
            store.keep_alive(lease.id).await.unwrap();
        }
    })
    .unwrap();
}

#[test]
fn one_member_of_three_may_die_or_freeze() {
    let mut servers = Servers::start(3);
    run_here(async {
        let store = serving(&servers).await;
        let start = put(&store, "a", "start").await.unwrap();
        let mut watch = store.watch(Range::key("a"), start + 1).await.unwrap();
        let lease = store.grant(Duration::from_secs(60)).await.unwrap().id;
        let mut acknowledged = Vec::new();
        for index in 0..3 {
            if index == 1 {
                servers.signal(index, "STOP");
            } else {
                servers.kill(index);
            }
            let end = Instant::now() + SOON;
            let (mut writes, mut renewed) = (0, false);
            while writes < 5 || !renewed {
                assert!(Instant::now() < end, "two members of three do not serve:\n{}", servers.logs());
                if let Ok(revision) = put(&store, "a", &format!("{index} {writes}")).await {
                    acknowledged.push(revision);
                    writes += 1;
                }
                renewed = renewed || store.keep_alive(lease).await.is_ok();
            }
            if index == 1 {
                servers.signal(index, "CONT");
            } else {
                servers.launch(index);
            }
            servers.wait_until(async || self::store(vec![servers.url(index)], SHORT).get("a").await.is_ok()).await;
        }
        // All that was acknowledged is told, in order; besides at most what nobody knew of.
        let mut told = Vec::new();
        while told.last() != acknowledged.last() {
            told.push(next(&mut watch).await.revision);
        }
        assert!(told.windows(2).all(|pair| pair[0] < pair[1]), "{told:?}");
        assert!(acknowledged.iter().all(|revision| told.contains(revision)), "{told:?} lacks some of {acknowledged:?}");
        let history = store.range(Range::key("a"), None, 1, Consistency::Linearizable).await.unwrap();
        assert_eq!(history.entries[0].version, told.len() as u64 + 1, "each revision is told once");
    })
    .unwrap();
}

#[test]
fn a_leader_without_a_quorum_renews_nothing() {
    let servers = Servers::start(3);
    run_here(async {
        let store = serving(&servers).await;
        let mut leader = None;
        for index in 0..3 {
            servers.wait_until(async || self::store(vec![servers.url(index)], SHORT).get("a").await.is_ok()).await;
            let mut client = etcd_client::Client::connect([servers.url(index)], None).await.unwrap();
            let status = client.status().await.unwrap();
            if status.header().unwrap().member_id() == status.leader() {
                leader = Some(index);
            }
        }
        let leader = leader.expect("a leader");
        let lease = store.grant(Duration::from_secs(60)).await.unwrap();
        let cut_off = self::store(vec![servers.url(leader)], SHORT);
        put(&store, "a", "1").await.unwrap();
        cut_off.keep_alive(lease.id).await.unwrap();
        let others = (0..3).filter(|index| *index != leader);
        others.clone().for_each(|index| servers.signal(index, "STOP"));
        let renewal = cut_off.keep_alive(lease.id).await;
        let local = cut_off.range(Range::key("a"), None, 1, Consistency::Local).await;
        let read = cut_off.get("a").await;
        others.for_each(|index| servers.signal(index, "CONT"));
        assert!(matches!(renewal, Err(Error::Unknown(_) | Error::Unavailable(_))), "{renewal:?}");
        assert_eq!(local.unwrap().entries.len(), 1, "a local read needs no quorum");
        assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
        servers.wait_until(async || cut_off.keep_alive(lease.id).await.is_ok()).await;
    })
    .unwrap();
}

/// An authority with the certificates of a server and of a client, in files for etcd.
fn certificates() -> (TempDir, Vec<String>, Tls) {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, key);
    let issue = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let (server, client) = (issue("127.0.0.1"), issue("node"));
    let mut arguments = vec!["--client-cert-auth".to_owned()];
    for (option, file, text) in [
        ("--trusted-ca-file", "ca.pem", &root),
        ("--cert-file", "server.pem", &server.0),
        ("--key-file", "key.pem", &server.1),
    ] {
        let path = dir.path().join(file);
        std::fs::write(&path, text).unwrap();
        arguments.extend([option.to_owned(), path.to_str().unwrap().to_owned()]);
    }
    let identity = Some((client.0.into_bytes(), client.1.into_bytes()));
    (dir, arguments, Tls { authorities: root.into_bytes(), identity })
}

#[test]
fn certificates_are_shown_and_checked() {
    let (dir, arguments, tls) = certificates();
    let servers = Servers::start_with(1, dir, "https", arguments);
    run_here(async {
        let with = |tls: Tls| -> Arc<dyn Coordinator> {
            Arc::new(Etcd::new(&Options { tls: Some(tls), timeout: SHORT, ..options(servers.urls()) }).unwrap())
        };
        let store = with(tls.clone());
        servers.wait_until(async || put(&store, "a", "1").await.is_ok()).await;
        let (_dir, _arguments, foreign) = certificates();
        let nameless = Tls { identity: None, ..tls.clone() };
        let elsewhere = Tls { authorities: foreign.authorities.clone(), ..tls.clone() };
        let unknown = Tls { identity: foreign.identity, ..tls };
        for refused in [nameless, elsewhere, unknown] {
            let answer = with(refused).get("a").await;
            assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
        }
        assert_eq!(store.get("a").await.unwrap().unwrap().value, "1");
    })
    .unwrap();
}

#[test]
fn the_version_is_known_and_warned_of() {
    let servers = Servers::start(1);
    run_here(async {
        let etcd = Etcd::new(&options(servers.urls())).unwrap();
        assert_eq!(etcd.members()[0].version, None);
        let store: Arc<dyn Coordinator> = Arc::new(etcd.clone());
        servers.wait_until(async || store.get("a").await.is_ok()).await;
        let member = etcd.members().remove(0);
        let known = member.version.expect("it has answered");
        assert_eq!(member.warning, version::fault_of(&known));
    })
    .unwrap();
}

#[test]
fn options_that_contradict_themselves_are_refused() {
    let empty = Tls { authorities: Vec::new(), identity: None };
    let (_dir, _arguments, tls) = certificates();
    let keyless = Tls { identity: Some((tls.authorities.clone(), b"no key".to_vec())), ..tls.clone() };
    for (endpoints, tls) in [
        (vec!["https://127.0.0.1:2379"], Some(empty)),
        (vec!["https://127.0.0.1:2379"], Some(keyless)),
        (vec![], None),
        (vec!["127.0.0.1:2379"], None),
        (vec!["https://127.0.0.1:2379"], None),
        (vec!["https://127.0.0.1:2379", "http://127.0.0.1:2379"], Some(tls)),
    ] {
        let endpoints = endpoints.into_iter().map(str::to_owned).collect();
        let refused = Etcd::new(&Options { tls, ..options(endpoints) });
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
    let secret = Options { user: Some(("node".to_owned(), "secret".to_owned())), ..options(Vec::new()) };
    assert!(!format!("{secret:?}").contains("secret"));
}
