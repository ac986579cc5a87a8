//! The table that sessions are kept in where a signed cookie is not enough: the cookie holds an id, and the table says which
//! endpoint it belongs to. Where the table is, and who else has it, is not known here.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::spec;
use crate::state;

/// Bytes of an id.
const ID_BYTES: usize = 16;
/// The same as text.
pub(crate) const ID_TEXT: usize = 22;
/// A table that has not answered for this long is away. It has limits of its own; this one is for a table that is stuck.
const PATIENCE: Duration = Duration::from_secs(3);

/// A session's id: 128 random bits, which nobody can guess.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub u128);

impl fmt::Debug for SessionId {
    // Who has the id has the session.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

impl SessionId {
    pub(crate) fn draw() -> Option<Self> {
        let mut bytes = [0; ID_BYTES];
        rand::fill(&mut bytes).ok()?;
        Some(Self(u128::from_be_bytes(bytes)))
    }

    pub(crate) fn read(cookie: &[u8]) -> Option<Self> {
        let mut bytes = [0; ID_BYTES + 2];
        let length = URL_SAFE_NO_PAD.decode_slice(cookie, &mut bytes).ok()?;
        let bytes: [u8; ID_BYTES] = bytes.get(..length)?.try_into().ok()?;
        Some(Self(u128::from_be_bytes(bytes)))
    }

    pub(crate) fn text(self) -> [u8; ID_TEXT] {
        let mut text = [0; ID_TEXT];
        // 16 bytes are 22 characters.
        let _fits = URL_SAFE_NO_PAD.encode_slice(self.0.to_be_bytes(), &mut text);
        text
    }
}

/// Whose sessions are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The service's name.
    pub service: Arc<str>,
    /// Where they are kept, and how long.
    pub table: spec::SessionTable,
}

/// What a table knows of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It belongs to the endpoint of this name.
    At(Arc<str>),
    /// It never was, or has ended.
    Nowhere,
    /// The table cannot be asked.
    Away,
}

/// Whether a session that was bound will outlive this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// As many have it as was asked for.
    Safe,
    /// Not in time.
    Unsafe,
}

impl Bound {
    /// As it stands in logs.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Unsafe => "unsafe",
        }
    }
}

/// What comes now, or once somebody else has answered.
pub enum Answer<T> {
    /// At once.
    Now(T),
    /// From another thread.
    Later(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<T: fmt::Debug> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(value) => f.debug_tuple("Now").field(value).finish(),
            Self::Later(_future) => f.write_str("Later(..)"),
        }
    }
}

/// A table of sessions. Methods are called by workers and must not wait.
pub trait Sessions: Send + Sync + fmt::Debug {
    /// Which endpoint a session belongs to. That it is asked for counts as a use of it.
    fn find(&self, scope: &Scope, id: SessionId) -> Answer<Known>;

    /// Binds a session to an endpoint, in place of the one that it had, if any.
    fn bind(&self, scope: &Scope, id: SessionId, endpoint: &Arc<str>) -> Answer<Bound>;
}

/// A service's way to the table.
#[derive(Debug)]
pub(crate) struct Desk {
    sessions: Arc<dyn Sessions>,
    scope: Scope,
    names: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, usize>,
}

impl Desk {
    /// The way of `service`, if its sessions are kept in a table and there is one.
    pub(crate) fn of(service: &state::Service, sessions: Option<&Arc<dyn Sessions>>) -> Option<Self> {
        let table = service.spec.sticky.as_ref()?.table?;
        let names: Vec<Arc<str>> = service.endpoints.iter().map(|it| Arc::from(it.name.as_str())).collect();
        let by_name = names.iter().enumerate().map(|(index, name)| (Arc::clone(name), index)).collect();
        let scope = Scope { service: service.spec.name.as_str().into(), table };
        Some(Self { sessions: Arc::clone(sessions?), scope, names, by_name })
    }

    /// Which endpoint a session belongs to.
    pub(crate) async fn find(&self, id: SessionId) -> Known {
        within_reason(self.sessions.find(&self.scope, id), Known::Away).await
    }

    /// The index of the endpoint of that name.
    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Binds a session to the endpoint at `index`.
    pub(crate) async fn bind(&self, id: SessionId, index: usize) -> Bound {
        let Some(name) = self.names.get(index) else { return Bound::Unsafe };
        within_reason(self.sessions.bind(&self.scope, id, name), Bound::Unsafe).await
    }
}

async fn within_reason<T>(answer: Answer<T>, otherwise: T) -> T {
    match answer {
        Answer::Now(value) => value,
        Answer::Later(told) => tokio::time::timeout(PATIENCE, told).await.unwrap_or(otherwise),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_through_cookies() {
        let id = SessionId::draw().expect("random bytes");
        assert_ne!(id, SessionId::draw().expect("others"));
        assert_eq!(SessionId::read(&id.text()), Some(id));
        let text = id.text();
        for wrong in [&b""[..], b"x", &text[1..], &[&text[..], b"AA"].concat(), b"!!!!!!!!!!!!!!!!!!!!!!", &[b'A'; 400]]
        {
            assert_eq!(SessionId::read(wrong), None);
        }
        assert_eq!(format!("{id:?}"), "SessionId(..)", "an id is a secret");
    }
}
