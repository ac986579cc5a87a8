//! The table of what is stored and for how long, by RFC 9111.

use super::*;
use crate::cache::Use;

/// 2026-11-21 00:00:00 GMT.
const WALL: u64 = 1_795_219_200;
const DATE: (&str, &str) = ("date", "Sat, 21 Nov 2026 00:00:00 GMT");
const POLICY: Policy = Policy {
    default_ttl: Duration::ZERO,
    max_ttl: Duration::from_secs(86_400),
    jitter: 0.0,
    while_revalidate: Duration::ZERO,
    if_error: Duration::ZERO,
    keep: Duration::ZERO,
};
const ARRIVAL: Arrival = Arrival { asked: Moment::from_millis(5_000), arrived: Moment::from_millis(5_000), wall: WALL };

fn verdict(
    policy: &Policy,
    asked: Asked,
    status: u16,
    fields: &[(&str, &str)],
) -> Result<(Freshness, Sharing, Vary), Refusal> {
    let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    judge(policy, &asked, status, fields, ARRIVAL, &mut Rng::seeded(7))
}

/// Seconds for which a 200 with these fields is fresh.
fn fresh_for(fields: &[(&str, &str)]) -> Result<u64, Refusal> {
    let (freshness, _sharing, _vary) = verdict(&POLICY, Asked::default(), 200, fields)?;
    Ok(match freshness.usable(&RequestControl::default(), ARRIVAL.arrived) {
        Use::Fresh { left } => left.as_secs(),
        Use::Refresh | Use::Allowed | Use::Validate => 0,
    })
}

#[test]
fn lifetimes_come_from_what_the_origin_says() {
    let etag = ("etag", "\"1\"");
    for (fields, expected) in [
        (&[("cache-control", "max-age=60")][..], Ok(60)),
        (&[("Cache-Control", "max-age=60"), ("cache-control", "s-maxage=10")], Ok(10)),
        (&[("cache-control", "max-age=60"), ("expires", "Sat, 21 Nov 2026 00:10:00 GMT"), DATE], Ok(60)),
        (&[("expires", "Sat, 21 Nov 2026 00:10:00 GMT"), DATE], Ok(600)),
        (&[("expires", "Sat, 21 Nov 2026 00:10:00 GMT")], Ok(600)),
        (&[("expires", "0"), etag], Ok(0)),
        (&[("expires", "0")], Err(Refusal::Lifetime)),
        (&[("expires", "Fri, 20 Nov 2026 00:00:00 GMT"), etag, DATE], Ok(0)),
        (&[("cache-control", "max-age=60"), ("age", "50")], Ok(10)),
        (&[("cache-control", "max-age=60"), ("age", "70"), etag], Ok(0)),
        (&[("cache-control", "max-age=60"), ("age", "70")], Err(Refusal::Lifetime)),
        (&[("cache-control", "max-age=60"), ("date", "Fri, 20 Nov 2026 23:59:40 GMT")], Ok(40)),
        (&[("cache-control", "max-age=60"), ("date", "Sat, 21 Nov 2026 00:05:00 GMT")], Ok(60)),
        (&[("cache-control", "max-age=999999999")], Ok(86_400)),
        (&[etag], Ok(0)),
        (&[("last-modified", "Sat, 21 Nov 2020 00:00:00 GMT")], Ok(0)),
        (&[], Err(Refusal::Lifetime)),
        (&[("cache-control", "no-cache, max-age=60")], Ok(0)),
    ] {
        assert_eq!(fresh_for(fields), expected, "{fields:?}");
    }
}

#[test]
fn what_is_not_for_everybody_is_not_stored() {
    let fresh = ("cache-control", "max-age=60");
    for (fields, expected) in [
        (&[("cache-control", "no-store, max-age=60")][..], Refusal::NoStore),
        (&[("cache-control", "private, max-age=60")], Refusal::Private),
        (&[("cache-control", "private=\"x\", s-maxage=60")], Refusal::Private),
        (&[fresh, ("Set-Cookie", "a=1")], Refusal::SetCookie),
        (&[("cache-control", "public, max-age=60"), ("set-cookie", "a=1")], Refusal::SetCookie),
        (&[fresh, ("vary", "accept, *")], Refusal::VaryEverything),
    ] {
        assert_eq!(verdict(&POLICY, Asked::default(), 200, fields).err(), Some(expected), "{fields:?}");
    }
    // A cache that knows the status goes by what is said beside `must-understand` (section 5.2.2.3).
    let careful = [("cache-control", "must-understand, no-store, max-age=60")];
    assert!(verdict(&POLICY, Asked::default(), 200, &careful).is_ok());
    assert_eq!(verdict(&POLICY, Asked::default(), 206, &careful).err(), Some(Refusal::NoStore));
    let no_store =
        Asked { control: RequestControl { no_store: true, ..RequestControl::default() }, ..Asked::default() };
    assert_eq!(verdict(&POLICY, no_store, 200, &[fresh]).err(), Some(Refusal::NoStore));
}

#[test]
fn credentials_need_the_origins_word() {
    let policy = Policy { default_ttl: Duration::from_secs(60), ..POLICY };
    let asked = |credentials| Asked { credentials, ..Asked::default() };
    for (credentials, line, stored) in [
        (Credentials::Authorization, "max-age=60", false),
        (Credentials::Authorization, "public, max-age=60", true),
        (Credentials::Authorization, "s-maxage=60", true),
        (Credentials::Authorization, "must-revalidate, max-age=60", true),
        (Credentials::Cookie, "max-age=60", true),
        (Credentials::Cookie, "x", false),
        (Credentials::None, "x", true),
    ] {
        let verdict = verdict(&policy, asked(credentials), 200, &[("cache-control", line)]);
        assert_eq!(verdict.is_ok(), stored, "{credentials:?} {line}: {verdict:?}");
        if let Ok((_freshness, sharing, _vary)) = verdict {
            assert!(sharing.serves(credentials) && sharing.serves(Credentials::None));
        }
    }
    assert!(!Sharing::Anonymous.serves(Credentials::Cookie));
    assert!(!Sharing::Unauthorized.serves(Credentials::Authorization));
}

#[test]
fn statuses_need_a_lifetime_of_their_own_or_a_meaning() {
    let explicit = [("cache-control", "max-age=60")];
    let policy = Policy { default_ttl: Duration::from_secs(60), ..POLICY };
    for status in [200, 203, 204, 300, 301, 302, 307, 308, 404, 405, 410, 414] {
        assert!(verdict(&POLICY, Asked::default(), status, &explicit).is_ok(), "{status}");
    }
    for status in [201, 206, 303, 304, 400, 401, 403, 407, 500, 501, 502, 503, 504, 599] {
        assert_eq!(verdict(&POLICY, Asked::default(), status, &explicit).err(), Some(Refusal::Status), "{status}");
    }
    assert!(verdict(&policy, Asked::default(), 200, &[]).is_ok());
    for status in [302, 404, 405, 414] {
        assert_eq!(verdict(&policy, Asked::default(), status, &[]).err(), Some(Refusal::Status), "{status}");
    }
}

#[test]
fn stale_windows_are_the_origins_or_else_ours() {
    let policy = Policy { while_revalidate: Duration::from_secs(5), if_error: Duration::from_secs(50), ..POLICY };
    for (line, windows, never) in [
        ("max-age=60", (5, 50), false),
        ("max-age=60, stale-while-revalidate=7, stale-if-error=0", (7, 0), false),
        ("s-maxage=60", (0, 0), true),
        ("s-maxage=60, stale-while-revalidate=7", (7, 0), false),
        ("s-maxage=60, stale-while-revalidate=7, proxy-revalidate", (7, 0), true),
        ("max-age=60, must-revalidate", (5, 50), true),
    ] {
        let (freshness, ..) = verdict(&policy, Asked::default(), 200, &[("cache-control", line)]).expect(line);
        assert_eq!((freshness.while_revalidate.as_secs(), freshness.if_error.as_secs()), windows, "{line}");
        assert_eq!(freshness.never_stale, never, "{line}");
    }
}

#[test]
fn jitter_only_ever_shortens() {
    let policy = Policy { jitter: 0.1, ..POLICY };
    let mut rng = Rng::seeded(3);
    let mut seen = std::collections::BTreeSet::new();
    for _each in 0..1_000 {
        let fields = [(&b"cache-control"[..], &b"max-age=100"[..]), (b"age", b"50")];
        let judged = judge(&policy, &Asked::default(), 200, fields.into_iter(), ARRIVAL, &mut rng);
        let (freshness, ..) = judged.expect("it is storable");
        let left = freshness.lifetime.saturating_sub(freshness.age);
        assert!(
            left > Duration::from_secs(45) - Duration::from_millis(1) && left <= Duration::from_secs(50),
            "{left:?}"
        );
        seen.insert(left.as_millis() / 500);
    }
    assert!(seen.len() >= 10, "lifetimes are spread: {seen:?}");
}

#[test]
fn fields_about_the_content_survive_a_304() {
    for (name, kept, replaced) in [
        ("ETag", true, true),
        ("Age", false, false),
        ("Content-Length", false, false),
        ("Content-Type", true, false),
        ("content-encoding", true, false),
        ("Content-Location", true, true),
        ("cache-control", true, true),
    ] {
        assert_eq!((keeps(name.as_bytes()), renewed(name.as_bytes())), (kept, replaced), "{name}");
    }
}
