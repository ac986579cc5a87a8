//! The engine that keeps everything in an etcd cluster that somebody else runs.
//!
//! One member is asked until it fails, then the next. A change is sent once: if its answer does not come the caller is told
//! that nobody knows. Everything else is asked again elsewhere within the time of the call. All keys begin with a prefix,
//! so that the etcd cluster can serve others, too.

mod convert;
mod fault;
mod lease;
mod member;
mod members;
pub mod version;
mod watch;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Certificate, ConnectOptions, GetOptions, Identity, TlsOptions, WatchOptions};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use self::convert::{Space, revision, signed};
use self::fault::Fault;
use self::lease::Renewals;
use self::members::{Members, Sort};
use self::watch::Follower;
use crate::coordinator::{
    Consistency, Coordinator, Error, Lease, LeaseId, Listing, Operation, Range, Revision, Transaction,
    TransactionReply, Watch,
};
use crate::store::{Limits, check, check_range};

/// Bytes of an answer, at most.
const REPLY_BYTES_MAX: usize = 256 << 20;
/// A key that is read for what comes with the answer; it need not be there.
const PROBE: &str = "probe";
/// The longest time to live that etcd grants (`MaxLeaseTTL`).
const TTL_SECONDS_MAX: u64 = 9_000_000_000;
/// etcd refuses clients that ask for signs of life more often than every 5 s (`--grpc-keepalive-min-time`).
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3));

/// How to reach etcd.
#[derive(Clone)]
pub struct Options {
    /// The members' addresses, such as `http://192.0.2.1:2379` or `https://etcd1.example.com:2379`.
    pub endpoints: Vec<String>,
    /// What all keys begin with.
    pub prefix: String,
    /// How long a request may take, over all members together.
    pub timeout: Duration,
    /// For `https://`.
    pub tls: Option<Tls>,
    /// User name and password, if etcd asks for them.
    pub user: Option<(String, String)>,
}

/// Certificates, as PEM.
#[derive(Clone)]
pub struct Tls {
    /// The authorities that a member's certificate must come from.
    pub authorities: Vec<u8>,
    /// The certificate, with its chain, and the private key that this node shows.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    /// The client library would say so only when it connects.
    fn check(&self) -> Result<(), Error> {
        let count = |pem: &[u8]| CertificateDer::pem_slice_iter(pem).filter(Result::is_ok).count();
        if count(&self.authorities) == 0 {
            return Err(Error::Invalid("the file of etcd's authority has no certificate, as PEM".to_owned()));
        }
        let Some((certificate, key)) = &self.identity else { return Ok(()) };
        if count(certificate) == 0 {
            return Err(Error::Invalid("the file of this node's certificate for etcd has none, as PEM".to_owned()));
        }
        match PrivateKeyDer::from_pem_slice(key) {
            Ok(_key) => Ok(()),
            Err(_reason) => Err(Error::Invalid("the file of this node's key for etcd has none, as PEM".to_owned())),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the password nor the private key.
        f.debug_struct("Options")
            .field("endpoints", &self.endpoints)
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .field("tls", &self.tls.is_some())
            .field("user", &self.user.as_ref().map(|(name, _password)| name))
            .finish()
    }
}

/// What is known of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberState {
    /// Its address.
    pub url: String,
    /// Its version, once it has answered.
    pub version: Option<String>,
    /// What is wrong with that version.
    pub warning: Option<String>,
}

/// The engine. It connects when it is first asked for something; it must be used inside a tokio runtime.
#[derive(Clone, Debug)]
pub struct Etcd(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    members: Members,
    space: Space,
    renewals: Renewals,
}

impl Etcd {
    /// The engine; nothing is connected yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the options contradict themselves.
    pub fn new(options: &Options) -> Result<Self, Error> {
        if options.endpoints.is_empty() {
            return Err(Error::Invalid("no member of etcd is named".to_owned()));
        }
        for url in &options.endpoints {
            match (url.starts_with("https://"), url.starts_with("http://"), &options.tls) {
                (true, _, Some(_)) | (_, true, None) => {}
                (true, _, None) => {
                    return Err(Error::Invalid(format!("{url}: name the authority of etcd's certificates")));
                }
                (_, true, Some(_)) => {
                    return Err(Error::Invalid(format!("{url}: there are certificates for it: write https://")));
                }
                _ => return Err(Error::Invalid(format!("{url}: write http:// or https:// before it"))),
            }
        }
        if let Some(tls) = &options.tls {
            tls.check()?;
        }
        let mut connect = ConnectOptions::new()
            .with_connect_timeout(options.timeout)
            .with_keep_alive(PING.0, PING.1)
            .with_keep_alive_while_idle(false)
            .with_auto_token_refresh(true);
        if let Some(tls) = &options.tls {
            let mut settings = TlsOptions::new().ca_certificate(Certificate::from_pem(&tls.authorities));
            if let Some((certificate, key)) = &tls.identity {
                settings = settings.identity(Identity::from_pem(certificate, key));
            }
            connect = connect.with_tls(settings);
        }
        if let Some((name, password)) = &options.user {
            connect = connect.with_user(name, password);
        }
        Ok(Self(Arc::new(Inner {
            members: Members::new(&options.endpoints, connect, options.timeout),
            space: Space::new(&options.prefix),
            renewals: Renewals::default(),
        })))
    }

    /// What is known of each member, for people.
    pub fn members(&self) -> Vec<MemberState> {
        let known = |member: &member::Member| {
            let version = member.version();
            let warning = version.as_deref().and_then(version::fault_of);
            MemberState { url: member.url().to_owned(), version, warning }
        };
        self.0.members.all().iter().map(known).collect()
    }
}

impl Inner {
    /// Turns what failed into what the caller is told. `once` says whether a lost request may have changed something.
    fn error(fault: Fault, once: bool, lease: Option<LeaseId>) -> Error {
        match (fault, lease) {
            (Fault::Lost(reason), _) if once => Error::Unknown(reason),
            (Fault::Lost(reason) | Fault::NotDone(reason), _) => Error::Unavailable(reason),
            (Fault::Final(error), _) => error,
            (Fault::LeaseNotFound, Some(lease)) => Error::LeaseNotFound(lease),
            (fault, _) => Error::Invalid(format!("etcd answers what was not asked: {fault:?}")),
        }
    }

    /// Performs a transaction of checked parts.
    async fn transact(&self, transaction: &Transaction, sort: Sort) -> Result<TransactionReply, Fault> {
        let request = self.space.transaction(transaction);
        let reply = self
            .members
            .ask(sort, |client, _member| {
                let request = request.clone();
                async move {
                    let mut client = client.kv_client().max_decoding_message_size(REPLY_BYTES_MAX);
                    Ok(client.txn(request).await?)
                }
            })
            .await?;
        let malformed = || Fault::Lost("the answer to the transaction is not of its form".to_owned());
        let at = reply.header().ok_or_else(malformed)?.revision();
        let (succeeded, outcomes) = self.space.reply(transaction, &reply).ok_or_else(malformed)?;
        Ok(TransactionReply { revision: revision(at), succeeded, outcomes })
    }

    /// The lease that a refused transaction names and that is not there.
    async fn missing_lease(&self, transaction: &Transaction) -> Option<LeaseId> {
        let mut named = Vec::new();
        for operation in transaction.then.iter().chain(&transaction.otherwise) {
            if let Operation::Put { lease: Some(lease), .. } = operation
                && !named.contains(lease)
            {
                named.push(*lease);
            }
        }
        if let [_, _, ..] = named.as_slice() {
            for lease in &named {
                let ask = |client: etcd_client::Client, _member| async move {
                    Ok(client.lease_client().time_to_live(lease.0, None).await?.ttl())
                };
                if matches!(self.members.ask(Sort::Repeatable, ask).await, Ok(..=0) | Err(Fault::LeaseNotFound)) {
                    return Some(*lease);
                }
            }
        }
        named.first().copied()
    }

    /// The revision up to which history is compacted, and the present one. etcd tells the former only to watches.
    async fn compacted(&self, asked: Revision) -> Result<Revision, Error> {
        let ask = |client: etcd_client::Client, _member| {
            let options = WatchOptions::new().with_start_revision(signed(asked.max(1)));
            let key = self.space.key("");
            async move {
                let mut stream = client.watch_client().watch(key, Some(options)).await?;
                while let Some(answer) = stream.message().await? {
                    if answer.compact_revision() > 0 {
                        return Ok(revision(answer.compact_revision()));
                    }
                }
                Err(Fault::Lost("the watch ended".to_owned()))
            }
        };
        self.members.ask(Sort::Repeatable, ask).await.map_err(|fault| Self::error(fault, false, None))
    }

    async fn present(&self) -> Result<Revision, Error> {
        let ask = |mut client: etcd_client::Client, _member| {
            let key = self.space.key(PROBE);
            async move {
                let answer = client.get(key, Some(GetOptions::new().with_count_only())).await?;
                Ok(answer.header().map_or(0, |header| revision(header.revision())))
            }
        };
        self.members.ask(Sort::Repeatable, ask).await.map_err(|fault| Self::error(fault, false, None))
    }
}

#[async_trait]
impl Coordinator for Etcd {
    async fn range(
        &self,
        range: Range,
        at: Option<Revision>,
        limit: usize,
        consistency: Consistency,
    ) -> Result<Listing, Error> {
        check_range(&range)?;
        let inner = &self.0;
        let mut options = convert::reading(&range, limit);
        if let Some(at) = at {
            // For etcd 0 is the present; nothing can be asked of the empty store but that.
            options = options.with_revision(signed(at.max(1)));
        }
        let sort = match consistency {
            Consistency::Linearizable => Sort::Repeatable,
            Consistency::Local => {
                options = options.with_serializable();
                Sort::Local
            }
        };
        let ask = |client: etcd_client::Client, _member| {
            let (key, options) = (inner.space.key(range.start()), options.clone());
            async move {
                let mut client = client.kv_client().max_decoding_message_size(REPLY_BYTES_MAX);
                Ok(client.get(key, Some(options)).await?)
            }
        };
        match (inner.members.ask(sort, ask).await, at) {
            (Ok(answer), _) => Ok(Listing {
                revision: answer.header().map_or(0, |header| revision(header.revision())),
                entries: inner.space.entries(answer.kvs()),
                more: answer.more(),
            }),
            (Err(Fault::Compacted), Some(asked)) => {
                Err(Error::Compacted { asked, oldest: inner.compacted(asked).await? })
            }
            (Err(Fault::Future), Some(asked)) => Err(Error::Future { asked, present: inner.present().await? }),
            (Err(fault), _) => Err(Inner::error(fault, false, None)),
        }
    }

    async fn transact(&self, transaction: Transaction) -> Result<TransactionReply, Error> {
        check(&transaction, &Limits::default())?;
        let write = transaction.is_write();
        match self.0.transact(&transaction, if write { Sort::Once } else { Sort::Repeatable }).await {
            Ok(reply) => Ok(reply),
            Err(Fault::LeaseNotFound) => {
                Err(Inner::error(Fault::LeaseNotFound, false, self.0.missing_lease(&transaction).await))
            }
            Err(fault) => Err(Inner::error(fault, write, None)),
        }
    }

    async fn watch(&self, range: Range, from: Revision) -> Result<Box<dyn Watch>, Error> {
        check_range(&range)?;
        let seed = RandomState::new().hash_one(from);
        Ok(Box::new(Follower::open(Arc::clone(&self.0), range, from, seed).await?))
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease, Error> {
        // etcd counts whole seconds.
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        if !(1..=TTL_SECONDS_MAX).contains(&seconds) {
            return Err(Error::Invalid(format!("a lease cannot live for {ttl:?}")));
        }
        // One that was granted without its answer coming through ends by itself, so that asking again does no harm.
        let ask = |client: etcd_client::Client, _member| async move {
            Ok(client.lease_client().grant(signed(seconds), None).await?)
        };
        let granted =
            self.0.members.ask(Sort::Repeatable, ask).await.map_err(|fault| Inner::error(fault, true, None))?;
        let ttl = Duration::from_secs(u64::try_from(granted.ttl()).unwrap_or(0));
        Ok(Lease { id: LeaseId(granted.id()), ttl })
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease, Error> {
        let inner = &self.0;
        let ask = |client, member| inner.renewals.renew(client, member, lease, inner.space.key(PROBE));
        inner.members.ask(Sort::Repeatable, ask).await.map_err(|fault| Inner::error(fault, true, Some(lease)))
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.0.renewals.forget(lease);
        let ask = |client: etcd_client::Client, _member| async move {
            client.lease_client().revoke(lease.0).await?;
            Ok(())
        };
        match self.0.members.ask(Sort::Repeatable, ask).await {
            Ok(()) | Err(Fault::LeaseNotFound) => Ok(()),
            Err(fault) => Err(Inner::error(fault, true, Some(lease))),
        }
    }
}
