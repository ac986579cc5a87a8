//! `Cache-Control`, in requests and in responses (RFC 9111, section 5.2; RFC 5861).

/// More seconds than any lifetime has: larger numbers mean "for ever" (RFC 9111, section 1.2.2).
const SECONDS_MAX: u64 = 1 << 31;

/// What a client asks of caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestControl {
    /// Nothing of the exchange may be stored.
    pub no_store: bool,
    /// A stored response must be validated first.
    pub no_cache: bool,
    /// No response that is older, in seconds.
    pub max_age: Option<u64>,
    /// No response that is fresh for less, in seconds.
    pub min_fresh: Option<u64>,
    /// A response whose time is over by no more than this will do, in seconds.
    pub max_stale: Option<u64>,
    /// A stored response or none.
    pub only_if_cached: bool,
}

impl RequestControl {
    /// Takes in one line of `Cache-Control`.
    pub fn read(&mut self, value: &[u8]) {
        for (name, argument) in directives(value) {
            let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
            if is("no-store") {
                self.no_store = true;
            } else if is("no-cache") {
                self.no_cache = true;
            } else if is("only-if-cached") {
                self.only_if_cached = true;
            } else if is("max-age") {
                // The smallest of several, and none at all for one that cannot be read: the careful reading.
                least(&mut self.max_age, seconds(argument).unwrap_or(0));
            } else if is("min-fresh") {
                self.min_fresh = self.min_fresh.max(seconds(argument));
            } else if is("max-stale") {
                least(&mut self.max_stale, argument.map_or(SECONDS_MAX, |_given| seconds(argument).unwrap_or(0)));
            }
        }
    }

    /// Takes in `Pragma`, which counts only where there is no `Cache-Control` (RFC 9111, section 5.4).
    pub fn read_pragma(&mut self, value: &[u8]) {
        self.no_cache |= directives(value).any(|(name, _argument)| name.eq_ignore_ascii_case(b"no-cache"));
    }
}

/// What an origin says about its response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseControl {
    /// It may not be stored.
    pub no_store: bool,
    /// It must be validated before each use. The form that names fields counts as the one that does not.
    pub no_cache: bool,
    /// It is for one user. The form that names fields counts as the one that does not.
    pub private: bool,
    /// It is for everybody, also where it usually would not be.
    pub public: bool,
    /// Once stale, it must be validated.
    pub must_revalidate: bool,
    /// Likewise, for shared caches.
    pub proxy_revalidate: bool,
    /// Only for caches that know what its status means; for those, `no_store` does not count.
    pub must_understand: bool,
    /// For how long it is fresh, in seconds.
    pub max_age: Option<u64>,
    /// Likewise, for shared caches.
    pub s_maxage: Option<u64>,
    /// For how long after that it may be served while it is validated, in seconds.
    pub stale_while_revalidate: Option<u64>,
    /// For how long after that it may be served in place of an error, in seconds.
    pub stale_if_error: Option<u64>,
}

impl ResponseControl {
    /// Takes in one line of `Cache-Control`.
    pub fn read(&mut self, value: &[u8]) {
        for (name, argument) in directives(value) {
            let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
            let flag = match name.len() {
                6 if is("public") => &mut self.public,
                7 if is("private") => &mut self.private,
                8 if is("no-store") => &mut self.no_store,
                8 if is("no-cache") => &mut self.no_cache,
                15 if is("must-revalidate") => &mut self.must_revalidate,
                15 if is("must-understand") => &mut self.must_understand,
                16 if is("proxy-revalidate") => &mut self.proxy_revalidate,
                _other => {
                    let lifetime = match name.len() {
                        7 if is("max-age") => &mut self.max_age,
                        8 if is("s-maxage") => &mut self.s_maxage,
                        14 if is("stale-if-error") => &mut self.stale_if_error,
                        22 if is("stale-while-revalidate") => &mut self.stale_while_revalidate,
                        _unknown => continue,
                    };
                    // A lifetime that cannot be read is over; of several the shortest counts (RFC 9111, section 4.2.1).
                    least(lifetime, seconds(argument).unwrap_or(0));
                    continue;
                }
            };
            *flag = true;
        }
    }
}

fn least(into: &mut Option<u64>, value: u64) {
    *into = Some(into.map_or(value, |known| known.min(value)));
}

/// Reads a number of seconds, quoted or not.
fn seconds(argument: Option<&[u8]>) -> Option<u64> {
    let text = argument?;
    let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| (sum * 10 + u64::from(digit - b'0')).min(SECONDS_MAX);
    Some(text.iter().fold(0, add))
}

/// Reads `Age`: the first number of the field; `None` if it is none.
pub(super) fn age(value: &[u8]) -> Option<u64> {
    seconds(value.split(|byte| *byte == b',').next().map(<[u8]>::trim_ascii))
}

/// The directives of one line, with their arguments. Commas inside quotes do not separate.
fn directives(value: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let mut rest = value;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (mut quoted, mut escaped) = (false, false);
        let end = rest.iter().position(|byte| {
            match byte {
                _any if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b',' if !quoted => return true,
                _other => {}
            }
            false
        });
        let directive = &rest[..end.unwrap_or(rest.len())];
        rest = end.and_then(|end| rest.get(end + 1..)).unwrap_or_default();
        let equals = directive.iter().position(|byte| *byte == b'=');
        let name = &directive[..equals.unwrap_or(directive.len())];
        Some((name.trim_ascii(), equals.map(|equals| directive[equals + 1..].trim_ascii())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(lines: &[&str]) -> ResponseControl {
        let mut control = ResponseControl::default();
        lines.iter().for_each(|line| control.read(line.as_bytes()));
        control
    }

    #[test]
    fn directives_are_read_whatever_their_case_order_and_lines() {
        let control =
            response(&["Max-Age=60 , PUBLIC", "s-maxage=\"10\", stale-while-revalidate=5, x=\"a, no-store\""]);
        let expected = ResponseControl {
            public: true,
            max_age: Some(60),
            s_maxage: Some(10),
            stale_while_revalidate: Some(5),
            ..ResponseControl::default()
        };
        assert_eq!(control, expected);
        assert!(response(&["private=\"x-user\""]).private && response(&["no-cache=\"set-cookie\""]).no_cache);
        assert_eq!(response(&["", " , ,", "unknown, max-agex=3"]), ResponseControl::default());
    }

    #[test]
    fn a_lifetime_that_is_doubtful_is_the_short_one() {
        for (line, age) in [
            ("max-age=60, max-age=30", 30),
            ("max-age", 0),
            ("max-age=", 0),
            ("max-age=-1", 0),
            ("max-age=1.5", 0),
            ("max-age=60s", 0),
            ("max-age=99999999999999999999999", SECONDS_MAX),
        ] {
            assert_eq!(response(&[line]).max_age, Some(age), "{line}");
        }
    }

    #[test]
    fn requests_have_directives_of_their_own() {
        let mut control = RequestControl::default();
        control.read(b"max-stale, min-fresh=5, only-if-cached");
        assert_eq!((control.max_stale, control.min_fresh), (Some(SECONDS_MAX), Some(5)));
        control.read(b"max-stale=7");
        assert_eq!(control.max_stale, Some(7));
        assert!(control.only_if_cached && !control.no_cache);
        control.read_pragma(b"no-cache");
        assert!(control.no_cache);
        assert_eq!((age(b"17"), age(b"3, 4"), age(b"x"), age(b"")), (Some(17), Some(3), None, None));
    }
}
