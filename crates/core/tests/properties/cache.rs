//! What must hold for any response: fields are read without a panic, and nothing is served for longer than it may be.

use std::time::Duration;

use mainstay_core::cache::{
    Arrival, Asked, Credentials, Policy, RequestControl, ResponseControl, Sharing, Use, Vary, is_not_modified, judge,
    selecting,
};
use mainstay_core::http_date;
use mainstay_core::random::Rng;
use mainstay_core::time::Moment;
use proptest::prelude::*;

fn line() -> impl Strategy<Value = String> {
    let directive = prop_oneof![
        "(max-age|s-maxage|stale-while-revalidate|stale-if-error)=[0-9]{1,4}",
        "(public|private|no-store|no-cache|must-revalidate|must-understand|[a-z]{1,5})",
        "[ -~]{0,12}",
    ];
    prop::collection::vec(directive, 0..5).prop_map(|parts| parts.join(", "))
}

fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let field = prop_oneof![
        4 => line().prop_map(|line| ("cache-control".to_owned(), line)),
        1 => "[0-9]{0,5}".prop_map(|age| ("age".to_owned(), age)),
        1 => Just(("expires".to_owned(), "Sun, 06 Nov 1994 08:49:37 GMT".to_owned())),
        1 => Just(("set-cookie".to_owned(), "a=b".to_owned())),
        1 => Just(("etag".to_owned(), "\"1\"".to_owned())),
        1 => "[a-z*, -]{0,20}".prop_map(|vary| ("vary".to_owned(), vary)),
    ];
    prop::collection::vec(field, 0..6)
}

proptest! {
    #![proptest_config(super::config())]

    #[test]
    fn nothing_is_fresh_for_longer_than_it_may_be(
        fields in fields(),
        status in 200_u16..600,
        default_ttl in 0_u64..100,
        seed in any::<u64>(),
        later in 0_u64..20_000,
        authorized in any::<bool>(),
    ) {
        let policy = Policy {
            default_ttl: Duration::from_secs(default_ttl),
            max_ttl: Duration::from_secs(3_600),
            jitter: 0.2,
            while_revalidate: Duration::from_secs(10),
            if_error: Duration::from_secs(20),
            keep: Duration::from_secs(30),
        };
        let credentials = if authorized { Credentials::Authorization } else { Credentials::None };
        let asked = Asked { credentials, ..Asked::default() };
        let arrival = Arrival { asked: Moment::ZERO, arrived: Moment::from_millis(10), wall: 784_111_777 };
        let pairs = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let judged = judge(&policy, &asked, status, pairs.clone(), arrival, &mut Rng::seeded(seed));
        let mut control = ResponseControl::default();
        for (_name, value) in pairs.clone().filter(|(name, _value)| *name == b"cache-control") {
            control.read(value);
        }
        let Ok((freshness, sharing, vary)) = judged else { return Ok(()) };
        prop_assert!(status < 500 && !control.private && !pairs.clone().any(|(name, _value)| name == b"set-cookie"));
        prop_assert!(!authorized || sharing == Sharing::Everybody);
        prop_assert!(vary != Vary::Everything);
        prop_assert!(!control.no_store || control.must_understand);
        let now = Moment::from_millis(10 + later * 1_000);
        let said = control.s_maxage.or(control.max_age);
        let most = said.map_or(Duration::from_secs(default_ttl.max(3_600)), Duration::from_secs);
        match freshness.usable(&RequestControl::default(), now) {
            Use::Fresh { left } => {
                prop_assert!(freshness.age_at(now) + left <= most.min(policy.max_ttl) + Duration::from_millis(1));
                prop_assert!(!control.no_cache);
            }
            Use::Refresh => prop_assert!(!freshness.never_stale && !control.must_revalidate && !control.no_cache),
            Use::Allowed => prop_assert!(false, "no client allowed it"),
            Use::Validate => {}
        }
        if freshness.serves_on_error(now) {
            prop_assert!(now < freshness.until() && !control.no_cache);
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..60), now in any::<u32>()) {
        let _date = http_date::parse(&bytes, u64::from(now));
        RequestControl::default().read(&bytes);
        ResponseControl::default().read(&bytes);
        let stored = mainstay_core::cache::Validators { etag: Some(&bytes), modified: Some(&bytes) };
        let _matches = is_not_modified([&bytes[..]].into_iter(), Some(&bytes), stored, u64::from(now));
        if let Vary::Fields(names) = Vary::read([&bytes[..]].into_iter()) {
            let mut out = Vec::new();
            selecting(&names, [(&bytes[..], &bytes[..])].into_iter(), &mut out);
        }
    }

    #[test]
    fn a_written_date_is_read_back(days in 0_u64..30_000, second in 0_u64..86_400) {
        // An independent calendar: counted day by day.
        let (mut year, mut month, mut day) = (1970_u64, 0_usize, 1_u64);
        let lengths = |year: u64| {
            let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
            [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        };
        for _day in 0..days {
            day += 1;
            if day > lengths(year)[month] {
                (day, month) = (1, month + 1);
            }
            if month == 12 {
                (month, year) = (0, year + 1);
            }
        }
        let name = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][month];
        let (hour, minute, rest) = (second / 3_600, second / 60 % 60, second % 60);
        let text = format!("Mon, {day:02} {name} {year} {hour:02}:{minute:02}:{rest:02} GMT");
        prop_assert_eq!(http_date::parse(text.as_bytes(), 0), Some(days * 86_400 + second), "{}", text);
    }
}
