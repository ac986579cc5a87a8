//! Logins that were begun here and are at the provider now. What belongs to one is found by a cookie of the browser that began
//! it, so that nobody can end a login in another one's browser (RFC 6749, section 10.12).

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use openidconnect::{CsrfToken, Nonce, PkceCodeVerifier};

use crate::secret::{self, NoRandomness};

/// The cookie's name.
pub const COOKIE: &str = "mainstay_oidc";
/// The paths to which browsers send it.
const PATH: &str = "/api/v1/session/oidc";
/// How long somebody may take at the provider.
const LIFE: Duration = Duration::from_secs(600);
/// Logins at once, of all and of one client; the oldest makes room, so that one client's cannot push out all others'.
const WAITING_MAX: usize = 1_024;
const OF_CLIENT_MAX: usize = 16;

/// A login that was begun.
#[derive(Debug)]
pub struct Waiting {
    /// The digest of the cookie.
    key: String,
    client: Option<IpAddr>,
    begun: Instant,
    /// What the provider has to send back.
    pub state: CsrfToken,
    /// What the token has to say.
    pub nonce: Nonce,
    /// What proves to the provider that the code comes from who began (RFC 7636).
    pub verifier: PkceCodeVerifier,
}

/// All of them, the oldest first.
#[derive(Debug, Default)]
pub struct Pending(VecDeque<Waiting>);

impl Pending {
    /// Adds one, and answers its cookie.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn add(
        &mut self,
        now: Instant,
        client: Option<IpAddr>,
        (state, nonce, verifier): (CsrfToken, Nonce, PkceCodeVerifier),
    ) -> Result<String, NoRandomness> {
        let cookie = secret::make("")?;
        self.0.retain(|it| now.saturating_duration_since(it.begun) < LIFE);
        if self.0.iter().filter(|it| it.client == client).count() >= OF_CLIENT_MAX
            && let Some(oldest) = self.0.iter().position(|it| it.client == client)
        {
            self.0.remove(oldest);
        }
        if self.0.len() >= WAITING_MAX {
            self.0.pop_front();
        }
        let key = secret::digest(cookie.as_bytes());
        self.0.push_back(Waiting { key, client, begun: now, state, nonce, verifier });
        Ok(cookie)
    }

    /// Takes the one of a cookie out: it can be ended once.
    pub fn take(&mut self, now: Instant, cookie: &str) -> Option<Waiting> {
        let key = secret::digest(cookie.as_bytes());
        let found = self.0.iter().position(|it| it.key == key)?;
        self.0.remove(found).filter(|it| now.saturating_duration_since(it.begun) < LIFE)
    }
}

/// The cookie among those of a request.
pub fn cookie_of(header: &str) -> Option<&str> {
    header.split(';').find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// What sets the cookie, or with no value takes it away. `Lax`, since the browser comes back from another site; the
/// session's own cookie is `Strict`.
pub fn set_cookie(value: Option<&str>, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    let (value, age) = value.map_or(("", 0), |value| (value, LIFE.as_secs()));
    format!("{COOKIE}={value}; Path={PATH}; HttpOnly; SameSite=Lax{secure}; Max-Age={age}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> (CsrfToken, Nonce, PkceCodeVerifier) {
        (CsrfToken::new_random(), Nonce::new_random(), PkceCodeVerifier::new("v".repeat(43)))
    }

    #[test]
    fn a_login_ends_once_and_in_time() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut pending = Pending::default();
        let cookie = pending.add(start, None, one()).expect("random");
        assert!(pending.take(start, "another").is_none());
        assert!(pending.take(start + 599 * second, &cookie).is_some());
        assert!(pending.take(start + 599 * second, &cookie).is_none(), "once");
        let late = pending.add(start, None, one()).expect("random");
        assert!(pending.take(start + 600 * second, &late).is_none());
    }

    #[test]
    fn one_client_cannot_push_out_the_others() {
        let start = Instant::now();
        let mut pending = Pending::default();
        let address = |last: u8| Some(IpAddr::from([10, 0, 0, last]));
        let other = pending.add(start, address(1), one()).expect("random");
        for _each in 0..2 * WAITING_MAX {
            pending.add(start, address(2), one()).expect("random");
        }
        assert_eq!(pending.0.len(), OF_CLIENT_MAX + 1);
        assert!(pending.take(start, &other).is_some());
    }

    #[test]
    fn the_cookie_is_for_the_login_only() {
        assert_eq!(cookie_of("mainstay_session=a; mainstay_oidc=b"), Some("b"));
        assert!(set_cookie(Some("x"), true).contains("Path=/api/v1/session/oidc; HttpOnly; SameSite=Lax; Secure"));
        assert!(set_cookie(None, false).ends_with("Max-Age=0"));
    }
}
