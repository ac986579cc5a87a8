//! Where sessions are kept: the tables of crate `cluster` as the gateway asks for them.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use mainstay_cluster::sessions::{Found, Store, now, redis};
use mainstay_core::random;
use mainstay_core::session::Key;
use mainstay_gateway::sessions::{Answer, Bound, Known, Scope, SessionId, Sessions};
use mainstay_gateway::spec::{SessionEngine, SessionTable};
use mainstay_runtime::thread;

use crate::config::sessions::{Redis, Sessions as Settings};
use crate::failure::Failure;

/// Bytes of a file with a password, at most.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// All tables that services may keep their sessions in.
#[derive(Debug)]
pub struct Tables {
    embedded: Arc<Store>,
    redis: RwLock<Option<Connected>>,
}

#[derive(Debug)]
struct Connected {
    settings: redis::Settings,
    handle: redis::Handle,
}

impl Tables {
    /// The tables that `settings` ask for.
    ///
    /// # Errors
    /// If the password cannot be read, or a thread cannot be had.
    pub fn start(settings: &Settings) -> Result<Arc<Self>, Failure> {
        let tables = Self { embedded: Store::new(settings.policy), redis: RwLock::default() };
        tables.apply(settings)?;
        Ok(Arc::new(tables))
    }

    /// Goes on with other settings; sessions stay.
    ///
    /// # Errors
    /// As [`Self::start`]; nothing has changed then.
    pub fn apply(&self, settings: &Settings) -> Result<(), Failure> {
        let wanted = settings.redis.as_ref().map(resolve).transpose()?;
        let known = self.redis.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|it| it.settings.clone());
        if wanted != known {
            let connected = wanted.map(connect).transpose()?;
            // What spoke to the Redis before ends with the last handle to it.
            *self.redis.write().unwrap_or_else(PoisonError::into_inner) = connected;
        }
        self.embedded.set_policy(settings.policy);
        Ok(())
    }

    /// The one in this node.
    pub fn embedded(&self) -> &Arc<Store> {
        &self.embedded
    }

    /// The way to Redis, if there is one.
    pub fn redis(&self) -> Option<redis::Handle> {
        self.redis.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|it| it.handle.clone())
    }
}

fn connect(settings: redis::Settings) -> Result<Connected, Failure> {
    let (handle, runner) = redis::Handle::new(settings.clone());
    thread::spawn_local_runtime("sessions", move || runner.run())
        .map_err(|error| Failure::new(format!("cannot start the thread that speaks to Redis: {error}")))?;
    Ok(Connected { settings, handle })
}

fn resolve(redis: &Redis) -> Result<redis::Settings, Failure> {
    let password = redis.password_file.as_ref().map(|file| {
        let refused =
            |why: String| Failure::new(format!("sessions.redis.password_file: cannot read {}: {why}", file.display()));
        let size = std::fs::metadata(file).map_err(|error| refused(error.to_string()))?.len();
        if size > PASSWORD_BYTES_MAX {
            return Err(refused(format!("it has {size} bytes; a password has at most {PASSWORD_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(file).map_err(|error| refused(error.to_string()))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    });
    Ok(redis::Settings {
        host: redis.host.clone(),
        port: redis.port,
        database: redis.database,
        username: redis.username.clone(),
        password: password.transpose()?,
        timeout: redis.timeout,
    })
}

/// The key of a session in the embedded table: ids of one service say nothing in another.
fn key(scope: &Scope, id: SessionId) -> Key {
    Key { scope: random::hash(scope.service.as_bytes()), id: id.0 }
}

/// Rounded up to seconds, which is what tables count in.
fn ttl(table: SessionTable) -> u32 {
    let SessionTable { engine: _, ttl } = table;
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    u32::try_from(seconds.max(Duration::from_secs(1).as_secs())).unwrap_or(u32::MAX)
}

fn known(endpoint: Option<Arc<str>>) -> Known {
    endpoint.map_or(Known::Nowhere, Known::At)
}

impl Sessions for Tables {
    fn find(&self, scope: &Scope, id: SessionId) -> Answer<Known> {
        match scope.table.engine {
            SessionEngine::Embedded => match self.embedded.find(now(), key(scope, id)) {
                Found::Now(endpoint) => Answer::Now(known(endpoint)),
                Found::Later(told) => Answer::Later(Box::pin(async { told.await.map_or(Known::Away, known) })),
            },
            SessionEngine::Redis => {
                let asked = self.redis().and_then(|redis| redis.find(&scope.service, id.0, ttl(scope.table)).ok());
                match asked {
                    Some(told) => Answer::Later(Box::pin(async {
                        match told.await {
                            Ok(Ok(endpoint)) => known(endpoint),
                            Ok(Err(redis::Away)) | Err(_) => Known::Away,
                        }
                    })),
                    None => Answer::Now(Known::Away),
                }
            }
        }
    }

    fn bind(&self, scope: &Scope, id: SessionId, endpoint: &Arc<str>) -> Answer<Bound> {
        let said = |is_safe: bool| if is_safe { Bound::Safe } else { Bound::Unsafe };
        match scope.table.engine {
            SessionEngine::Embedded => match self.embedded.bind(now(), key(scope, id), endpoint, ttl(scope.table)) {
                None => Answer::Now(Bound::Safe),
                Some(told) => Answer::Later(Box::pin(async move { said(told.await.unwrap_or(false)) })),
            },
            SessionEngine::Redis => {
                let asked = self.redis().map(|redis| redis.bind(&scope.service, id.0, endpoint, ttl(scope.table)));
                match asked {
                    Some(Ok(told)) => Answer::Later(Box::pin(async move { said(matches!(told.await, Ok(Ok(())))) })),
                    Some(Err(redis::Away)) | None => Answer::Now(Bound::Unsafe),
                }
            }
        }
    }
}
