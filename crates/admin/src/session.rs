//! Sessions of people who have logged in with a browser. They are kept in memory: whoever's node restarts logs in again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::role::Role;
use crate::secret::{self, NoRandomness};

/// The cookie's name.
pub const COOKIE: &str = "mainstay_session";
/// Sessions at once; the one that was used longest ago makes room.
const SESSIONS_MAX: usize = 1_000;

/// Open sessions.
#[derive(Debug)]
pub struct Sessions {
    idle: Duration,
    longest: Duration,
    /// By the digest of the cookie.
    open: HashMap<String, Session>,
}

/// Whose a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Of a user with a password here. What they may do is looked up at each request.
    User {
        /// Their name.
        name: String,
        /// What the user's entry was when it was opened: if that changes, the session is over.
        stamp: String,
    },
    /// Of somebody whom a provider knows. What they may do was said when they logged in.
    Provider {
        /// Their name there.
        name: String,
        /// What they may do.
        role: Role,
        /// The services that they may change; none: all.
        services: Option<Vec<String>>,
    },
}

/// An open session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Whose.
    pub whose: Whose,
    /// What a change has to bring along.
    pub csrf: String,
    opened: Instant,
    used: Instant,
}

/// A session that has just been opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// What the browser keeps, and no script sees.
    pub cookie: String,
    /// What the page's script brings along with changes.
    pub csrf: String,
}

impl Sessions {
    /// Sessions end after `idle` without a request, and after `longest` in any case.
    pub fn new(idle: Duration, longest: Duration) -> Self {
        Self { idle, longest, open: HashMap::new() }
    }

    /// Opens a session.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn open(&mut self, now: Instant, whose: Whose) -> Result<Opened, NoRandomness> {
        let opened = Opened { cookie: secret::make("")?, csrf: secret::make("")? };
        if self.open.len() >= SESSIONS_MAX {
            self.sweep(now);
        }
        if self.open.len() >= SESSIONS_MAX
            && let Some(oldest) = self.open.iter().min_by_key(|(_, session)| session.used).map(|(key, _)| key.clone())
        {
            self.open.remove(&oldest);
        }
        let session = Session { whose, csrf: opened.csrf.clone(), opened: now, used: now };
        self.open.insert(secret::digest(opened.cookie.as_bytes()), session);
        Ok(opened)
    }

    /// The session of a cookie, which is used by this.
    pub fn find(&mut self, now: Instant, cookie: &str) -> Option<Session> {
        let key = secret::digest(cookie.as_bytes());
        let session = self.open.get_mut(&key)?;
        if is_over(session, now, self.idle, self.longest) {
            self.open.remove(&key);
            return None;
        }
        session.used = now;
        Some(session.clone())
    }

    /// Ends a session.
    pub fn close(&mut self, cookie: &str) {
        self.open.remove(&secret::digest(cookie.as_bytes()));
    }

    /// How many are open, as far as is known.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn sweep(&mut self, now: Instant) {
        let (idle, longest) = (self.idle, self.longest);
        self.open.retain(|_key, session| !is_over(session, now, idle, longest));
    }
}

fn is_over(session: &Session, now: Instant, idle: Duration, longest: Duration) -> bool {
    let since = |then: Instant| now.saturating_duration_since(then);
    since(session.used) >= idle || since(session.opened) >= longest
}

/// The session's cookie among those of a request.
pub fn cookie_of(header: &str) -> Option<&str> {
    header.split(';').find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// What sets the cookie, or with no value takes it away. `secure`: it is only sent over TLS.
pub fn set_cookie(value: Option<&str>, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    let (value, age) = value.map_or(("", "; Max-Age=0"), |value| (value, ""));
    format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{age}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn jane() -> Whose {
        Whose::User { name: "jane".to_owned(), stamp: "1".to_owned() }
    }

    #[test]
    fn a_session_ends_when_it_is_idle_and_when_it_is_old() {
        let start = Instant::now();
        let mut sessions = Sessions::new(30 * MINUTE, 720 * MINUTE);
        let idle = sessions.open(start, jane()).expect("random");
        assert_eq!(sessions.find(start + 29 * MINUTE, &idle.cookie).map(|it| it.whose), Some(jane()));
        assert!(sessions.find(start + 59 * MINUTE, &idle.cookie).is_none());
        assert!(sessions.is_empty());
        let busy = sessions.open(start, jane()).expect("random");
        for minutes in (0..720).step_by(20) {
            assert!(sessions.find(start + minutes * MINUTE, &busy.cookie).is_some(), "{minutes}");
        }
        assert!(sessions.find(start + 720 * MINUTE, &busy.cookie).is_none());
        let left = sessions.open(start, jane()).expect("random");
        assert_ne!(left.cookie, left.csrf);
        sessions.close(&left.cookie);
        assert!(sessions.find(start, &left.cookie).is_none());
    }

    #[test]
    fn their_number_is_bounded() {
        let start = Instant::now();
        let mut sessions = Sessions::new(30 * MINUTE, 720 * MINUTE);
        for at in 0..2_000_u32 {
            sessions.open(start + Duration::from_millis(at.into()), jane()).expect("random");
        }
        assert_eq!(sessions.len(), SESSIONS_MAX);
    }

    #[test]
    fn the_cookie_among_others() {
        assert_eq!(cookie_of("a=b; mainstay_session=xyz; c=d"), Some("xyz"));
        assert_eq!(cookie_of("mainstay_sessionx=xyz"), None);
        assert!(set_cookie(Some("x"), true).ends_with("; HttpOnly; SameSite=Strict; Secure"));
        assert!(set_cookie(None, false).contains("Max-Age=0"));
    }
}
