//! Nodes that ask each other over real sockets, and strangers that try.

mod slow;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use mainstay_runtime::task::{AbortOnDrop, Kind, spawn_local};
use mainstay_runtime::thread::run_here;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::client::{self, JoinError, TlsTransport};
use super::directory::Directory;
use super::server::{Doorkeeper, Handlers, Server};
use super::tls::Tls;
use super::*;
use crate::identity::{
    Authority, ClusterId, Credentials, Fingerprint, Identity, JoinToken, NodeKey, Stage, Subject, certificates,
};

const SOON: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(300);

struct Cluster {
    id: ClusterId,
    authority: Authority,
    directory: Directory,
}

struct Node {
    transport: TlsTransport,
    handlers: Handlers,
    tls: Tls,
    directory: Directory,
    _tasks: (AbortOnDrop, AbortOnDrop),
}

impl Cluster {
    fn new() -> Self {
        let id = ClusterId::new().unwrap();
        let authority = Authority::new(&id, SystemTime::now()).unwrap();
        Self { id, authority, directory: Directory::default() }
    }

    fn credentials(&self, node: u64, made: SystemTime, life: Duration) -> (Identity, Credentials) {
        let name = format!("n{node}");
        let subject = Subject { cluster: &self.id, node: NodeId(node), name: &name };
        let key = NodeKey::new().unwrap();
        let certificate = self.authority.issue(&subject, &key.public(), made, life).unwrap();
        let authority = self.authority.certificate().to_owned();
        let credentials = Credentials { certificate, key: key.private(), authority, authority_key: None };
        let address = String::new();
        (
            Identity { cluster: self.id.clone(), node: NodeId(node), name, address, voter: true, stage: Stage::Member },
            credentials,
        )
    }

    fn tls(&self, node: u64) -> Tls {
        let (identity, credentials) = self.credentials(node, SystemTime::now(), Duration::from_secs(3600));
        Tls::new(&identity, &credentials).unwrap()
    }

    /// A node that echoes messages for the store, and lets in whoever says "please".
    async fn node(&self, number: u64) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.directory.place(NodeId(number), listener.local_addr().unwrap().to_string());
        let (tls, directory) = (self.tls(number), Directory::default());
        let handlers = Handlers::default();
        handlers.attach(Service::Store, Arc::new(Echo));
        let doorkeeper: Option<Arc<dyn Doorkeeper>> = Some(Arc::new(Door));
        let server = Server { tls: tls.clone(), directory: directory.clone(), handlers: handlers.clone(), doorkeeper };
        let server = spawn_local(Kind::Control, server.serve(listener)).abort_on_drop();
        let (transport, driver) = client::start(tls.clone(), self.directory.clone());
        Node { transport, handlers, tls, directory, _tasks: (server, driver) }
    }

    fn address(&self, node: u64) -> String {
        self.directory.address(NodeId(node)).unwrap()
    }
}

impl Node {
    async fn ask(&self, to: u64, message: &'static str) -> Result<Bytes, CallError> {
        self.transport.call(NodeId(to), Service::Store, Bytes::from_static(message.as_bytes()), SOON).await
    }
}

struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, from: NodeId, message: Bytes) -> Result<Bytes, String> {
        match &*message {
            b"no" => Err("I will not".to_owned()),
            b"wait" => std::future::pending().await,
            _other => Ok(Bytes::from(format!("{from}:{}", String::from_utf8_lossy(&message)))),
        }
    }
}

struct Door;

#[async_trait]
impl Doorkeeper for Door {
    async fn admit(&self, message: Bytes) -> Result<Bytes, String> {
        if &*message == b"please" { Ok(Bytes::from_static(b"welcome")) } else { Err("say please".to_owned()) }
    }
}

fn here<F: Future>(future: F) -> F::Output {
    run_here(future).unwrap()
}

#[test]
fn nodes_ask_each_other() {
    here(async {
        let cluster = Cluster::new();
        let (one, two) = (cluster.node(1).await, cluster.node(2).await);
        assert_eq!(one.ask(2, "hello").await.unwrap(), "1:hello");
        assert_eq!(two.ask(1, "hello").await.unwrap(), "2:hello");
        assert!(matches!(one.ask(2, "no").await, Err(CallError::Refused { reason, .. }) if reason == "I will not"));
        let raft = one.transport.call(NodeId(2), Service::Raft, Bytes::new(), SOON).await;
        assert!(matches!(raft, Err(CallError::Refused { .. })), "{raft:?}");
        let large = Bytes::from(vec![7; MESSAGE_BYTES_MAX]);
        two.handlers.attach(Service::Sessions, Arc::new(Whole));
        let back = one.transport.call(NodeId(2), Service::Sessions, large.clone(), SOON).await.unwrap();
        assert_eq!(back, large);
        let larger = Bytes::from(vec![7; MESSAGE_BYTES_MAX + 1]);
        let refused = one.transport.call(NodeId(2), Service::Sessions, larger, SOON).await;
        assert!(matches!(refused, Err(CallError::Refused { .. })));
    });
}

struct Whole;

#[async_trait]
impl Handler for Whole {
    async fn handle(&self, _from: NodeId, message: Bytes) -> Result<Bytes, String> {
        Ok(message)
    }
}

/// Forwards to a node, counts connections, and holds back what comes from the node on those that it is told of.
async fn relay(to: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap().to_string(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    spawn_local(Kind::Control, async move {
        loop {
            let (mut near, _from) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let mut far = TcpStream::connect(&to).await.unwrap();
            spawn_local(Kind::Control, async move {
                let _ended = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (address, count)
}

#[test]
fn connections_are_used_again_and_given_up_after_a_timeout() {
    here(async {
        let cluster = Cluster::new();
        let (one, _two) = (cluster.node(1).await, cluster.node(2).await);
        let (address, count) = relay(cluster.address(2)).await;
        cluster.directory.place(NodeId(2), address);
        for _time in 0..20 {
            one.ask(2, "hello").await.unwrap();
        }
        assert_eq!(count.load(Ordering::SeqCst), 1, "one connection carries all");
        let wait = one.transport.call(NodeId(2), Service::Store, Bytes::from_static(b"wait"), SHORT).await;
        assert!(matches!(wait, Err(CallError::Lost { .. })), "{wait:?}");
        assert_eq!(one.ask(2, "hello").await.unwrap(), "1:hello");
        assert_eq!(count.load(Ordering::SeqCst), 2, "the one that timed out is not used again");
    });
}

#[test]
fn requests_beside_each_other_get_their_own_answers() {
    here(async {
        let cluster = Cluster::new();
        let (one, _two) = (cluster.node(1).await, cluster.node(2).await);
        let asked = (0..200).map(|number| {
            let transport = one.transport.clone();
            async move {
                let message = Bytes::from(number.to_string());
                let answer = transport.call(NodeId(2), Service::Store, message, SOON).await.unwrap();
                assert_eq!(answer, format!("1:{number}"));
            }
        });
        futures_util::future::join_all(asked).await;
    });
}

#[test]
fn a_node_that_is_not_there_is_unreachable_and_comes_back() {
    here(async {
        let cluster = Cluster::new();
        let one = cluster.node(1).await;
        assert!(
            matches!(one.ask(2, "hello").await, Err(CallError::Unreachable { reason, .. }) if reason.contains("not known"))
        );
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        cluster.directory.place(NodeId(2), free.local_addr().unwrap().to_string());
        drop(free);
        assert!(matches!(one.ask(2, "hello").await, Err(CallError::Unreachable { .. })));
        let _two = cluster.node(2).await;
        // The pause after a failed try is short.
        for _try in 0..100 {
            if one.ask(2, "hello").await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it is not asked again");
    });
}

#[test]
fn silence_is_not_taken_for_a_refusal() {
    here(async {
        let cluster = Cluster::new();
        let one = cluster.node(1).await;
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        cluster.directory.place(NodeId(2), silent.local_addr().unwrap().to_string());
        for _time in 0..3 {
            let asked = tokio::time::Instant::now();
            let answer = one.transport.call(NodeId(2), Service::Store, Bytes::new(), SHORT).await;
            assert!(matches!(answer, Err(CallError::Lost { .. })), "{answer:?}");
            assert!(asked.elapsed() > SHORT / 2, "who asks again and again must not do so without a pause");
        }
    });
}

#[test]
fn removed_nodes_are_refused_also_on_connections_that_they_have() {
    here(async {
        let cluster = Cluster::new();
        let (one, two) = (cluster.node(1).await, cluster.node(2).await);
        one.ask(2, "hello").await.unwrap();
        two.directory.remove(NodeId(1));
        assert!(
            matches!(one.ask(2, "hello").await, Err(CallError::Refused { reason, .. }) if reason.contains("removed"))
        );
        let fresh = cluster.node(1).await;
        assert!(matches!(fresh.ask(2, "hello").await, Err(CallError::Lost { .. } | CallError::Unreachable { .. })));
    });
}

#[test]
fn strangers_and_expired_certificates_are_refused() {
    here(async {
        let (cluster, other) = (Cluster::new(), Cluster::new());
        let _one = cluster.node(1).await;
        // Another authority, even for the same cluster id and number.
        let forged =
            Cluster { id: cluster.id.clone(), authority: other.authority, directory: cluster.directory.clone() };
        let (stranger, _driver) = client::start(forged.tls(2), cluster.directory.clone());
        let ask = |transport: TlsTransport| async move {
            transport.call(NodeId(1), Service::Store, Bytes::from_static(b"hello"), SOON).await
        };
        assert!(ask(stranger).await.is_err());
        let day = Duration::from_secs(86_400);
        let (identity, old) = cluster.credentials(2, SystemTime::now() - 10 * day, day);
        let (expired, _driver) = client::start(Tls::new(&identity, &old).unwrap(), cluster.directory.clone());
        assert!(ask(expired).await.is_err());
        let (early, young) = cluster.credentials(2, SystemTime::now() + 10 * day, day);
        let (not_yet, _driver) = client::start(Tls::new(&early, &young).unwrap(), cluster.directory.clone());
        assert!(ask(not_yet).await.is_err());
        let (right, _driver) = client::start(cluster.tls(2), cluster.directory.clone());
        assert_eq!(ask(right).await.unwrap(), "2:hello", "the control");
    });
}

#[test]
fn a_node_is_who_its_certificate_says() {
    here(async {
        let cluster = Cluster::new();
        let (one, _two) = (cluster.node(1).await, cluster.node(2).await);
        // Node 2 answers where node 3 should be.
        cluster.directory.place(NodeId(3), cluster.address(2));
        let answer = one.ask(3, "hello").await;
        assert!(matches!(answer, Err(CallError::Unreachable { .. })), "{answer:?}");
        let (identity, _own) = cluster.credentials(1, SystemTime::now(), SOON);
        let (_other, credentials) = cluster.credentials(2, SystemTime::now(), SOON);
        assert!(Tls::new(&identity, &credentials).is_err(), "a folder with another node's certificate is refused");
    });
}

#[test]
fn certificates_are_renewed_without_a_restart() {
    here(async {
        let cluster = Cluster::new();
        let (one, two) = (cluster.node(1).await, cluster.node(2).await);
        one.ask(2, "hello").await.unwrap();
        let before = two.tls.present().validity;
        let (_identity, fresh) = cluster.credentials(2, SystemTime::now(), Duration::from_secs(7200));
        two.tls.renew(&fresh).unwrap();
        assert!(two.tls.present().validity.until > before.until);
        assert!(two.tls.renew(&Credentials { certificate: "nonsense".to_owned(), ..fresh }).is_err());
        let again = cluster.node(1).await;
        assert_eq!(again.ask(2, "hello").await.unwrap(), "1:hello");
        assert_eq!(one.ask(2, "hello").await.unwrap(), "1:hello");
    });
}

#[test]
fn a_new_node_checks_the_authority_by_its_fingerprint() {
    here(async {
        let cluster = Cluster::new();
        let _one = cluster.node(1).await;
        let address = cluster.address(1);
        let fingerprint = Fingerprint::of(&certificates("ca", cluster.authority.certificate()).unwrap()[0]);
        let token = JoinToken::new(cluster.id.clone(), fingerprint, vec![address.clone()]).unwrap();
        let ask = |token: JoinToken, message: &'static [u8]| {
            let address = address.clone();
            async move { client::join(&token, &address, Bytes::from_static(message), SOON).await }
        };
        assert_eq!(ask(token.clone(), b"please").await.unwrap(), "welcome");
        assert!(
            matches!(ask(token.clone(), b"now").await, Err(JoinError::Refused { reason, .. }) if reason == "say please")
        );
        let mut wrong = token.clone();
        wrong.authority = Fingerprint([1; 32]);
        assert!(matches!(ask(wrong, b"please").await, Err(JoinError::Failed { .. })));
        let mut elsewhere = token;
        elsewhere.cluster = ClusterId::new().unwrap();
        assert!(matches!(ask(elsewhere, b"please").await, Err(JoinError::Failed { .. })));
    });
}

#[test]
fn hostile_bytes_end_their_connection_and_nothing_else() {
    here(async {
        let cluster = Cluster::new();
        let (one, _two) = (cluster.node(1).await, cluster.node(2).await);
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], &[0xff; 64], &[0x16, 3, 1, 0xff, 0xff, 1]] {
            let mut stream = TcpStream::connect(cluster.address(2)).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            let _reset_or_alert = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap();
        }
        // A member that breaks the protocol: a frame that is too long, one that is too short.
        for bytes in [[0xff_u8; 16], [0; 16]] {
            let stream = TcpStream::connect(cluster.address(2)).await.unwrap();
            let tls = cluster.tls(3);
            let connector = TlsConnector::from(Arc::clone(&tls.present().client));
            let mut stream = connector.connect(tls.name_of(NodeId(2)).unwrap(), stream).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            stream.flush().await.unwrap();
            let mut answer = Vec::new();
            let _ended = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap();
            assert_eq!(answer, b"");
        }
        // Whoever connects and says nothing holds up nobody.
        let silent: Vec<TcpStream> =
            futures_util::future::join_all((0..20).map(|_| TcpStream::connect(cluster.address(2))))
                .await
                .into_iter()
                .map(Result::unwrap)
                .collect();
        assert_eq!(one.ask(2, "hello").await.unwrap(), "1:hello");
        drop(silent);
    });
}
