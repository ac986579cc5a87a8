//! Who may use the interface, as this node knows: users and tokens, open sessions, who has failed too often, and the audit
//! trail.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mainstay_admin::audit::{Entry, Trail};
use mainstay_admin::directory::{Directory, DirectoryError};
use mainstay_admin::oidc::Provider;
use mainstay_admin::ration::Ration;
use mainstay_admin::role::Role;
use mainstay_admin::secret;
use mainstay_admin::session::{Opened, Sessions, Whose};
use mainstay_admin::throttle::{self, Throttle};
use mainstay_cluster::coordinator::{Compare, Consistency, Coordinator, Operation, Range, Transaction};

use mainstay_observe::secret::Secret;

use crate::admin::hashing::{self, NotHashed};
use crate::admin::{Node, lock};
use crate::config::Config;
use crate::failure::Failure;

/// Where users and tokens are in the cluster's store.
const KEY: &str = "access/directory";
/// Failures of one client's address, and of one user's name, in a window.
const FAILURES_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses and names that are remembered.
const FAILED_MAX: usize = 4_096;
/// How often one more refusal is written down, after some at once: the trail is bounded, and must not consist of them.
const KNOWN_EVERY: Duration = Duration::from_secs(10);
const ANYBODY_EVERY: Duration = Duration::from_secs(120);
/// How often a change begins anew because another one came between.
const TRIES: usize = 5;

/// Why a change of users and tokens was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// What was asked for.
    #[error(transparent)]
    Asked(#[from] DirectoryError),
    /// There is no `[access]`.
    #[error("there are no users and tokens without [access] in the configuration")]
    Off,
    /// The file or the store.
    #[error("users and tokens cannot be kept: {0}")]
    Kept(String),
}

/// Why somebody cannot log in now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// They have failed too often, and have to wait.
    Wait(Duration),
    /// Too many log in.
    Busy(String),
}

/// Who brought a refusal about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Somebody who has shown who they are.
    Known,
    /// Whoever reaches the interface.
    Anybody,
}

/// Who has a session.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// As the audit trail calls them.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The services that they may change; none: all.
    pub services: Option<Vec<String>>,
    /// What their changes have to bring along.
    pub csrf: String,
}

/// What a node knows of who may use it.
#[derive(Debug)]
pub struct Access {
    is_on: bool,
    /// Without a cluster.
    file: Option<PathBuf>,
    audit_folder: Option<PathBuf>,
    directory: Mutex<Arc<Directory>>,
    addresses: Mutex<Throttle<IpAddr>>,
    names: Mutex<Throttle<String>>,
    sessions: Mutex<Sessions>,
    /// When tokens were last used here, in seconds since 1970.
    used: Mutex<HashMap<String, u64>>,
    changing: tokio::sync::Mutex<()>,
    /// Who logs people in beside the node itself.
    oidc: Option<(Provider, Secret)>,
    /// How many refusals are written down: of those who are known, and of anybody.
    refusals: Mutex<(Ration, Ration)>,
    /// Opened at the first use: until then a process that hands over may write to it.
    trail: Mutex<Option<Trail>>,
}

impl Access {
    /// What the node's files say.
    ///
    /// # Errors
    /// If the file with users and tokens cannot be read.
    pub fn open(config: &Config) -> Result<Self, Failure> {
        let data_dir = config.spec.node.data_dir.as_deref();
        let file = data_dir.filter(|_folder| config.cluster.is_none()).map(|folder| folder.join("access.json"));
        let directory = match file.as_deref().filter(|_file| config.access.is_some()) {
            Some(file) => read(file).map_err(|why| {
                Failure::new(format!("{}: {why}", file.display())).hint("put back a copy, or remove it and begin anew")
            })?,
            None => Directory::default(),
        };
        let (idle, longest) = config.access.as_ref().map_or((WINDOW, WINDOW), |it| (it.session_idle, it.session_max));
        let oidc = config.access.as_ref().and_then(|access| access.oidc.as_ref());
        Ok(Self {
            is_on: config.access.is_some(),
            oidc: oidc.map(|it| (Provider::new(it.settings.clone()), it.client_secret.clone())),
            refusals: Mutex::new((Ration::new(50, KNOWN_EVERY), Ration::new(20, ANYBODY_EVERY))),
            file,
            audit_folder: data_dir.map(|folder| folder.join("audit")),
            directory: Mutex::new(Arc::new(directory)),
            addresses: Mutex::new(Throttle::new(FAILURES_MAX, WINDOW, FAILED_MAX)),
            names: Mutex::new(Throttle::new(FAILURES_MAX, WINDOW, FAILED_MAX)),
            sessions: Mutex::new(Sessions::new(idle, longest)),
            used: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            trail: Mutex::default(),
        })
    }

    /// Whether who comes in over TCP has to show who they are.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Users and tokens as known here.
    pub fn directory(&self) -> Arc<Directory> {
        lock(&self.directory).clone()
    }

    /// When a token was last used at this node, in seconds since 1970.
    pub fn last_used(&self, id: &str) -> Option<u64> {
        lock(&self.used).get(id).copied()
    }

    /// How long a client has to wait after failures.
    pub fn wait(&self, address: IpAddr) -> Option<Duration> {
        lock(&self.addresses).wait(Instant::now(), &throttle::client(address))
    }

    /// Notes that a client has shown something wrong.
    pub fn failed(&self, address: IpAddr) {
        lock(&self.addresses).failed(Instant::now(), throttle::client(address));
    }

    /// Notes that a token was used.
    pub fn used(&self, id: &str) {
        let mut used = lock(&self.used);
        if used.len() > self.directory().tokens().len() + FAILED_MAX {
            used.clear();
        }
        used.insert(id.to_owned(), unix_seconds());
    }

    /// Opens a session for who has this name and password; none if they are wrong.
    ///
    /// # Errors
    /// Why that cannot be said now.
    pub async fn log_in(
        &self,
        address: Option<IpAddr>,
        name: String,
        password: String,
    ) -> Result<Option<Opened>, NotNow> {
        let now = Instant::now();
        let key: String = name.chars().take(64).collect();
        let waits = [address.and_then(|address| self.wait(address)), lock(&self.names).wait(now, &key)];
        if let Some(wait) = waits.into_iter().flatten().max() {
            return Err(NotNow::Wait(wait));
        }
        // Each counts as failed while it is looked at, so that many at once do not get more tries than one after another.
        lock(&self.names).failed(now, key.clone());
        if let Some(address) = address {
            self.failed(address);
        }
        let directory = self.directory();
        let asked = name.clone();
        let looked = move || directory.user(&asked, &password).map(|user| secret::digest(user.password.as_bytes()));
        let found = hashing::elsewhere(looked).await;
        if !matches!(found, Ok(None))
            && let Some(address) = address
        {
            lock(&self.addresses).forgive(&throttle::client(address));
        }
        match found {
            Ok(Some(stamp)) => {
                lock(&self.names).succeeded(&key);
                Ok(lock(&self.sessions).open(Instant::now(), Whose::User { name, stamp }).ok())
            }
            Ok(None) => Ok(None),
            Err(why @ (NotHashed::Busy | NotHashed::Thread(_))) => {
                lock(&self.names).forgive(&key);
                Err(NotNow::Busy(why.to_string()))
            }
        }
    }

    /// Who logs people in beside the node itself, and where the secret for that is.
    pub fn oidc(&self) -> Option<&(Provider, Secret)> {
        self.oidc.as_ref()
    }

    /// Opens a session for somebody whom the provider knows.
    pub fn admit(&self, name: String, role: Role, services: Option<Vec<String>>) -> Option<Opened> {
        lock(&self.sessions).open(Instant::now(), Whose::Provider { name, role, services }).ok()
    }

    /// Who has the session of a cookie, if they are still who they were.
    pub fn session(&self, cookie: &str) -> Option<Visitor> {
        let session = lock(&self.sessions).find(Instant::now(), cookie)?;
        let csrf = session.csrf;
        match session.whose {
            Whose::User { name, stamp } => {
                let directory = self.directory();
                let user = directory.users().get(&name)?;
                let is_same = secret::same(&secret::digest(user.password.as_bytes()), &stamp);
                let (role, services) = (user.role, user.services.clone());
                is_same.then(|| Visitor { name: format!("user {name}"), role, services, csrf })
            }
            Whose::Provider { name, role, services } => {
                Some(Visitor { name: format!("oidc {name}"), role, services, csrf })
            }
        }
    }

    /// Ends a session.
    pub fn log_out(&self, cookie: &str) {
        lock(&self.sessions).close(cookie);
    }

    /// Changes users and tokens, in the cluster's store if the node is in one. `change` may be called again.
    ///
    /// # Errors
    /// If the change is none, or cannot be kept: then nothing has changed, as far as is known.
    pub async fn change<T>(
        &self,
        node: &Node,
        mut change: impl FnMut(&mut Directory) -> Result<T, DirectoryError>,
    ) -> Result<T, ChangeError> {
        if !self.is_on() {
            return Err(ChangeError::Off);
        }
        let _one_at_a_time = self.changing.lock().await;
        if let Some(cluster) = node.cluster() {
            let coordinator = cluster.parts().map_err(ChangeError::Kept)?.coordinator;
            return self.change_in_store(coordinator.as_ref(), change).await;
        }
        let Some(file) = &self.file else {
            return Err(ChangeError::Kept("the cluster is not open yet".to_owned()));
        };
        let mut directory = (*self.directory()).clone();
        let done = change(&mut directory)?;
        write(file, &directory).map_err(|why| ChangeError::Kept(format!("{}: {why}", file.display())))?;
        *lock(&self.directory) = Arc::new(directory);
        Ok(done)
    }

    async fn change_in_store<T>(
        &self,
        coordinator: &dyn Coordinator,
        mut change: impl FnMut(&mut Directory) -> Result<T, DirectoryError>,
    ) -> Result<T, ChangeError> {
        let failed = |why: mainstay_cluster::coordinator::Error| ChangeError::Kept(why.to_string());
        for _try in 0..TRIES {
            let present = coordinator.get(KEY).await.map_err(failed)?;
            let (mut directory, unchanged) = match &present {
                Some(entry) => {
                    let read = serde_json::from_slice(&entry.value);
                    (read.map_err(|why| ChangeError::Kept(why.to_string()))?, Compare::modified(KEY, entry.modified))
                }
                None => (Directory::default(), Compare::absent(KEY)),
            };
            let done = change(&mut directory)?;
            let value = serde_json::to_vec(&directory).map_err(|why| ChangeError::Kept(why.to_string()))?;
            let written = Transaction::when([unchanged], [Operation::put(KEY, value, None)]);
            if coordinator.transact(written).await.map_err(failed)?.succeeded {
                *lock(&self.directory) = Arc::new(directory);
                return Ok(done);
            }
        }
        Err(ChangeError::Kept("others changed them at the same time; ask again".to_owned()))
    }

    /// Takes over what the cluster's store says by now, as far as this node has seen.
    pub async fn look(&self, node: &Node) {
        let Some(cluster) = node.cluster().filter(|_cluster| self.is_on()) else { return };
        let Ok(parts) = cluster.parts() else { return };
        let listing = parts.coordinator.range(Range::key(KEY), None, 1, Consistency::Local).await;
        let Some(entry) = listing.ok().and_then(|listing| listing.entries.into_iter().next()) else { return };
        match serde_json::from_slice::<Directory>(&entry.value) {
            Ok(directory) if directory != *self.directory() => *lock(&self.directory) = Arc::new(directory),
            Ok(_same) => {}
            Err(error) => tracing::error!(%error, "access: users and tokens in the cluster's store cannot be read"),
        }
    }

    /// Does something with the audit trail.
    ///
    /// # Errors
    /// If it cannot be opened, read or written.
    pub fn trail<T>(&self, use_it: impl FnOnce(&mut Trail) -> std::io::Result<T>) -> std::io::Result<T> {
        let mut trail = lock(&self.trail);
        let trail = match trail.as_mut() {
            Some(trail) => trail,
            None => trail.insert(Trail::open(self.audit_folder.clone())?),
        };
        use_it(trail)
    }

    /// Writes a change down.
    ///
    /// # Errors
    /// As [`Access::trail`].
    pub fn note(&self, entry: Entry) -> std::io::Result<()> {
        self.trail(|trail| trail.add(entry))
    }

    /// Writes down that something was refused, unless that has happened too often of late; then the next line says how often.
    pub fn note_refusal(&self, by: By, mut entry: Entry) {
        let Some(left_out) = ration(&mut lock(&self.refusals), by).take(Instant::now()) else { return };
        entry.left_out = left_out;
        if let Err(error) = self.note(entry) {
            tracing::error!(%error, "the audit trail cannot be written");
        }
    }
}

/// See [`Access::note_refusal`].
fn ration(rations: &mut (Ration, Ration), by: By) -> &mut Ration {
    match by {
        By::Known => &mut rations.0,
        By::Anybody => &mut rations.1,
    }
}

fn read(file: &Path) -> Result<Directory, String> {
    match std::fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Directory::default()),
        Err(error) => Err(error.to_string()),
    }
}

/// Whole or not at all, and for nobody else to read.
fn write(file: &Path, directory: &Directory) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let temporary = file.with_extension("new");
    let mut open = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    open.write_all(&serde_json::to_vec(directory)?)?;
    open.sync_data()?;
    std::fs::rename(temporary, file)
}

/// The wall clock.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
