//! The cookie that binds a session to an endpoint: what it says, and whether it is ours.
//!
//! It holds a mark of the endpoint and when it was set, signed. The mark is a keyed hash of the endpoint's name, so that the
//! cookie tells nobody where the endpoint is, and two services or two keys have different marks for the same one.

use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::{constant_time, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Version, mark, time and signature.
const BYTES: usize = 1 + MARK + 4 + SIGNATURE;
/// The same as text.
pub(crate) const TEXT: usize = BYTES.div_ceil(3) * 4;
const MARK: usize = 8;
/// Half of a SHA-256, which RFC 2104 allows.
const SIGNATURE: usize = 16;
const VERSION: u8 = 1;
/// A key has at least as many characters.
const KEY_CHARS_MIN: usize = 32;
/// Keys in one file, at most.
const KEYS_MAX: usize = 8;
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The keys of a service: the first signs, all verify.
pub(crate) struct Keys {
    keys: Vec<hmac::Key>,
    /// What the keys make of nothing, to tell whether others are the same.
    marks: Vec<hmac::Tag>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} keys", self.keys.len())
    }
}

impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        let marks = |keys: &Self| keys.marks.iter().map(|mark| mark.as_ref().to_vec()).collect::<Vec<_>>();
        marks(self) == marks(other)
    }
}

impl Keys {
    fn new(secrets: &[&[u8]]) -> Self {
        let keys: Vec<hmac::Key> = secrets.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret)).collect();
        let marks = keys.iter().map(|key| hmac::sign(key, b"")).collect();
        Self { keys, marks }
    }

    /// The keys of a file, one a line.
    ///
    /// # Errors
    /// If it cannot be read or holds none that is long enough. Nothing of it is repeated.
    pub(crate) fn load(file: &Path) -> Result<Self, String> {
        let refused = |error: std::io::Error| format!("cannot read {}: {error}", file.display());
        let mut text = Vec::new();
        let opened = std::fs::File::open(file).map_err(refused)?;
        opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(refused)?;
        let lines: Vec<&[u8]> =
            text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect();
        if text.len() as u64 > FILE_BYTES_MAX || !(1..=KEYS_MAX).contains(&lines.len()) {
            return Err(format!("{} holds 1 to {KEYS_MAX} keys, one a line", file.display()));
        }
        if let Some(at) = lines.iter().position(|line| line.len() < KEY_CHARS_MIN) {
            let name = file.display();
            return Err(format!(
                "{name}: key {} has less than {KEY_CHARS_MIN} characters; `openssl rand -hex 32` makes one",
                at + 1
            ));
        }
        Ok(Self::new(&lines))
    }

    /// The key that this process has drawn. Others, and this one after a restart, do not know it.
    pub(crate) fn own() -> Result<Arc<Self>, String> {
        static OWN: OnceLock<Arc<Keys>> = OnceLock::new();
        if let Some(own) = OWN.get() {
            return Ok(Arc::clone(own));
        }
        let mut secret = [0u8; 32];
        rand::fill(&mut secret).map_err(|_unspecified| "the system gives no random bytes".to_owned())?;
        Ok(Arc::clone(OWN.get_or_init(|| Arc::new(Self::new(&[&secret])))))
    }
}

/// What a cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It was not made with one of our keys.
    Forged,
    /// Its time is over.
    Stale,
    /// The endpoint is none of the service's any more.
    Gone,
    /// The session belongs to this endpoint. `renew`: the cookie is to be set anew.
    Bound { endpoint: usize, renew: bool },
}

/// The endpoints of a service as cookies name them.
#[derive(Debug)]
pub(crate) struct Marks {
    pub(crate) keys: Arc<Keys>,
    service: Vec<u8>,
    max_age: Option<Duration>,
    /// By key, then by endpoint.
    marks: Vec<Vec<[u8; MARK]>>,
}

impl Marks {
    pub(crate) fn new<'a>(
        keys: &Arc<Keys>,
        service: &str,
        endpoints: impl Iterator<Item = &'a str> + Clone,
        max_age: Option<Duration>,
    ) -> Self {
        let mark = |key: &hmac::Key, endpoint: &str| {
            let tag = keyed(key, &[b"endpoint", service.as_bytes(), endpoint.as_bytes()]);
            let mut mark = [0; MARK];
            mark.copy_from_slice(&tag.as_ref()[..MARK]);
            mark
        };
        let marks = keys.keys.iter().map(|key| endpoints.clone().map(|endpoint| mark(key, endpoint)).collect());
        Self { marks: marks.collect(), keys: Arc::clone(keys), service: service.as_bytes().to_vec(), max_age }
    }

    /// Reads a cookie. `now` is in seconds since 1970.
    pub(crate) fn read(&self, cookie: &[u8], now: u32) -> Said {
        let mut bytes = [0; BYTES + 3];
        let Some(length) = URL_SAFE_NO_PAD.decode_slice(cookie, &mut bytes).ok().filter(|length| *length == BYTES)
        else {
            return Said::Forged;
        };
        let (body, signature) = bytes[..length].split_at(BYTES - SIGNATURE);
        let signed_by = self.keys.keys.iter().position(|key| {
            let tag = keyed(key, &[b"cookie", &self.service, body]);
            constant_time::verify_slices_are_equal(&tag.as_ref()[..SIGNATURE], signature).is_ok()
        });
        let Some(number) = signed_by.filter(|_number| body[0] == VERSION) else { return Said::Forged };
        let mut set_at = [0; 4];
        set_at.copy_from_slice(&body[1 + MARK..]);
        let age = Duration::from_secs(now.saturating_sub(u32::from_be_bytes(set_at)).into());
        if self.max_age.is_some_and(|max_age| age >= max_age) {
            return Said::Stale;
        }
        let known = self.marks.get(number).and_then(|marks| marks.iter().position(|mark| mark[..] == body[1..=MARK]));
        let renew = number > 0 || self.max_age.is_some_and(|max_age| age >= max_age / 2);
        known.map_or(Said::Gone, |endpoint| Said::Bound { endpoint, renew })
    }

    /// The text of a cookie for `endpoint`, set `now`; `None` if there is no such endpoint.
    pub(crate) fn write(&self, endpoint: usize, now: u32) -> Option<[u8; TEXT]> {
        let (key, mark) = (self.keys.keys.first()?, self.marks.first()?.get(endpoint)?);
        let mut bytes = [0; BYTES];
        bytes[0] = VERSION;
        bytes[1..=MARK].copy_from_slice(mark);
        bytes[1 + MARK..BYTES - SIGNATURE].copy_from_slice(&now.to_be_bytes());
        let tag = keyed(key, &[b"cookie", &self.service, &bytes[..BYTES - SIGNATURE]]);
        bytes[BYTES - SIGNATURE..].copy_from_slice(&tag.as_ref()[..SIGNATURE]);
        let mut text = [b'='; TEXT];
        let _length = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).ok()?;
        Some(text)
    }
}

/// Signs parts, each with its length, so that no two lists of parts come to the same bytes.
fn keyed(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.sign()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"];

    fn keys(secrets: &[&str]) -> Arc<Keys> {
        Arc::new(Keys::new(&secrets.iter().map(|secret| secret.as_bytes()).collect::<Vec<_>>()))
    }

    fn marks(keys: &Arc<Keys>, max_age: Option<u64>) -> Marks {
        Marks::new(keys, "shop", NAMES.into_iter(), max_age.map(Duration::from_secs))
    }

    fn text(cookie: &[u8; TEXT]) -> Vec<u8> {
        cookie.iter().copied().filter(|byte| *byte != b'=').collect()
    }

    #[test]
    fn a_cookie_says_which_endpoint_and_nothing_else() {
        let marks = marks(&keys(&["one"]), None);
        for endpoint in 0..3 {
            let cookie = text(&marks.write(endpoint, 1000).expect("a cookie"));
            assert_eq!(marks.read(&cookie, 99_000), Said::Bound { endpoint, renew: false });
            let shown = String::from_utf8(cookie).expect("text");
            assert!(
                !shown.contains("10.0") && shown.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it))
            );
        }
        assert_eq!(marks.write(3, 1000), None);
    }

    #[test]
    fn whatever_is_changed_makes_it_forged() {
        let marks = marks(&keys(&["one"]), None);
        let cookie = text(&marks.write(1, 1000).expect("a cookie"));
        for at in 0..cookie.len() {
            let mut changed = cookie.clone();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let said = marks.read(&changed, 1000);
            // The last character has bits that belong to no byte, which the decoder refuses as well.
            assert_eq!(said, Said::Forged, "{at}");
        }
        for other in [&b""[..], b"x", &cookie[1..], &[&cookie[..], b"AAAA"].concat(), b"10.0.0.1:80"] {
            assert_eq!(marks.read(other, 1000), Said::Forged);
        }
        let elsewhere = Marks::new(&keys(&["one"]), "other", NAMES.into_iter(), None);
        assert_eq!(elsewhere.read(&cookie, 1000), Said::Forged, "another service's");
        assert_eq!(self::marks(&keys(&["two"]), None).read(&cookie, 1000), Said::Forged, "another key's");
    }

    #[test]
    fn time_and_keys_go_by() {
        let old = marks(&keys(&["one"]), Some(100));
        let cookie = text(&old.write(2, 1000).expect("a cookie"));
        assert_eq!(old.read(&cookie, 1049), Said::Bound { endpoint: 2, renew: false });
        assert_eq!(old.read(&cookie, 1050), Said::Bound { endpoint: 2, renew: true });
        assert_eq!(old.read(&cookie, 1100), Said::Stale);
        assert_eq!(old.read(&cookie, 900), Said::Bound { endpoint: 2, renew: false }, "a clock that went back");
        let turned = marks(&keys(&["two", "one"]), None);
        assert_eq!(turned.read(&cookie, 1000), Said::Bound { endpoint: 2, renew: true });
        let fewer = Marks::new(&keys(&["one"]), "shop", NAMES[..2].iter().copied(), None);
        assert_eq!(fewer.read(&cookie, 1000), Said::Gone);
    }

    #[test]
    fn keys_come_from_files_that_hold_good_ones() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keys");
        let good = "0123456789abcdef0123456789abcdef";
        for (content, is_good) in [
            (good.to_owned(), true),
            (format!("{good}\n\n{good}x\n"), true),
            (String::new(), false),
            ("short".to_owned(), false),
        ] {
            std::fs::write(&file, &content).expect("written");
            let loaded = Keys::load(&file);
            assert_eq!(loaded.is_ok(), is_good);
            assert!(loaded.err().is_none_or(|why| content.is_empty() || !why.contains(&content)));
        }
        assert!(Keys::load(&folder.path().join("none")).is_err());
        assert_eq!(Keys::own().expect("a key"), Keys::own().expect("the same"));
    }
}
