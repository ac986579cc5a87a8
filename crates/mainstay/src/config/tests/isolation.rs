//! Tenants and shards, accepted and refused.

use std::time::Duration;

use mainstay_core::quarantine;
use mainstay_core::shard::Policy;
use mainstay_gateway::spec::{Missing, RequestKind, SameSite, Sharding, Tenant, TenantKey};

use super::{SMALL, good, shown};

/// [`SMALL`] with eight endpoints and something more in its service.
fn eight(added: &str) -> String {
    let endpoints: Vec<String> = (1..9).map(|number| format!("\"10.0.0.{number}:80\"")).collect();
    SMALL.replace("\"127.0.0.1:3001\"", &endpoints.join(", ")) + added
}

const BY_HEADER: &str = "tenant = { header = \"X-Tenant\" }\n";

#[test]
fn tenants_and_shards() {
    let service = |added: &str| good(&eight(added)).spec.services[0].clone();
    let plain = service("");
    assert_eq!((plain.tenant, plain.shard), (None, None));
    let shuffled = service(&format!("{BY_HEADER}shard = {{ shuffle = 2 }}"));
    let tenant = Tenant { key: TenantKey::Header("x-tenant".to_owned()), missing: Missing::Default };
    assert_eq!(shuffled.tenant, Some(tenant));
    let policy = Policy::Shuffle { size: 2, max_overlap: None };
    assert_eq!(shuffled.shard, Some(Sharding { policy, spill: false }));
    let bounded = service(&format!("{BY_HEADER}shard = {{ shuffle = 3, max_overlap = 1 }}"));
    assert_eq!(bounded.shard.map(|it| it.policy), Some(Policy::Shuffle { size: 3, max_overlap: Some(1) }));
    let parted = service(&format!("{BY_HEADER}shard = {{ partitions = 4 }}"));
    assert_eq!(parted.shard.map(|it| it.policy), Some(Policy::Partition(4)));
    for (written, key) in [
        ("cookie = \"Org\"", TenantKey::Cookie("Org".to_owned())),
        ("api_key = \"X-Api-Key\"", TenantKey::ApiKey("x-api-key".to_owned())),
        ("segment = 2", TenantKey::Segment(2)),
        ("sni = true", TenantKey::Sni),
    ] {
        let tenant = service(&format!("tenant = {{ {written}, missing = \"refuse\" }}")).tenant;
        assert_eq!(tenant, Some(Tenant { key, missing: Missing::Refuse }));
    }
    let route = "[[route]]\nname = \"r\"\nservice = \"app\"\ntenant = { segment = 1 }\n";
    let of_route = good(&(eight("shard = { shuffle = 2 }\n") + route));
    assert_eq!(of_route.spec.routes[0].tenant.as_ref().map(|tenant| tenant.key.clone()), Some(TenantKey::Segment(1)));
}

#[test]
fn what_is_refused() {
    let five = "`header`, `cookie`, `api_key`, `segment` and `sni`";
    let cases = [
        ("tenant = {}", format!("m.toml:7:10: service[0].tenant: one of {five} is needed here")),
        (
            "tenant = { header = \"x-a\", sni = true }",
            format!("m.toml:7:10: service[0].tenant: one of {five}, not several"),
        ),
        (
            "tenant = { segment = 0 }",
            "m.toml:7:22: service[0].tenant.segment: 0 is out of bounds; it must be between 1 and 16".to_owned(),
        ),
        (
            "tenant = { header = \"x-a\" }\nshard = { shuffle = 2, partitions = 3 }",
            "m.toml:8:37: service[0].shard.partitions: either `shuffle` or `partitions`, not both".to_owned(),
        ),
        (
            "tenant = { header = \"x-a\" }\nshard = { shuffle = 2, max_overlap = 2 }",
            "m.toml:8:21: service[0].shard.shuffle: sets of 2 cannot share more than 1; make `max_overlap` smaller, or \
             leave it out"
                .to_owned(),
        ),
        (
            "tenant = { header = \"x-a\" }\nshard = { shuffle = 8 }",
            "m.toml:8:9: service[0].shard: with 8 endpoints every set of 8 holds all of them; choose a smaller number, or \
             add endpoints"
                .to_owned(),
        ),
        (
            "shard = { shuffle = 2 }",
            "m.toml:4:1: service[0]: service `app` has shards, but nothing says how requests of route `default` name their \
             tenants; write tenant = { header = \"x-tenant\" } in the service"
                .to_owned(),
        ),
        (
            "tenant = { header = \"x-a\" }\nshard = { shuffle = 2, spill = true }",
            "m.toml:8:32: warning: service[0].shard.spill: a tenant that has broken all its endpoints goes on to everybody else's; \
             leave `spill` out, or make shards larger"
                .to_owned(),
        ),
    ];
    for (added, expected) in cases {
        assert_eq!(shown(&eight(added)), [expected], "{added}");
    }
}

#[test]
fn quarantines() {
    let of = |written: &str| {
        let route = format!("[[route]]\nname = \"r\"\nservice = \"app\"\nquarantine = {written}\n");
        good(&(SMALL.to_owned() + &route)).spec.routes[0].quarantine.clone()
    };
    assert_eq!(of("false"), None);
    let default = of("true").expect("on");
    assert_eq!((default.policy, default.status), (quarantine::Policy::default(), 422));
    assert_eq!(default.kind, RequestKind { query: true, headers: Vec::new(), body: 0 });
    assert_eq!(of("{}"), Some(default));
    let all = "{ endpoints = 3, window = \"5s\", hold = \"2s\", cap = \"4s\", entries = 10, status = 503, query = false, \
               headers = [\"X-A\"], body = \"1KiB\" }";
    let all = of(all).expect("on");
    let second = Duration::from_secs(1);
    let policy =
        quarantine::Policy { endpoints: 3, window: 5 * second, hold: 2 * second, cap: 4 * second, entries: 10 };
    assert_eq!((all.policy, all.status), (policy, 503));
    assert_eq!(all.kind, RequestKind { query: false, headers: vec!["x-a".to_owned()], body: 1024 });
    let route = "[[route]]\nname = \"r\"\nservice = \"app\"\nquarantine = ";
    for (written, expected) in [
        (
            "5",
            "m.toml:10:14: route[0].quarantine: true or a table is needed here, not a number; write quarantine = true or quarantine = { endpoints = 2 }",
        ),
        (
            "{ hold = \"5s\", cap = \"4s\" }",
            "m.toml:10:35: route[0].quarantine.cap: `hold` (5s) must not be longer than `cap` (4s)",
        ),
        (
            "{ status = 200 }",
            "m.toml:10:25: route[0].quarantine.status: 200 is out of bounds; it must be between 400 and 599",
        ),
        (
            "{ body = \"1MiB\" }",
            "m.toml:10:23: route[0].quarantine.body: 1MiB is out of bounds; it must be between 1B and 4KiB",
        ),
    ] {
        assert_eq!(shown(&format!("{SMALL}{route}{written}\n")), [expected], "{written}");
    }
}

#[test]
fn sticky_sessions() {
    let of = |written: &str| good(&format!("{SMALL}sticky = {written}\n")).spec.services[0].sticky.clone();
    assert_eq!(of("false"), None);
    let default = of("true").expect("on");
    assert_eq!((default.cookie.as_str(), default.path.as_str(), default.max_age), ("mainstay_app", "/", None));
    assert_eq!((default.same_site, default.http_only, default.secure), (SameSite::Lax, true, None));
    let all = "{ cookie = \"Sid\", key_file = \"k\", max_age = \"2h\", path = \"/shop\", same_site = \"none\", \
               http_only = false, secure = true }";
    let all = of(all).expect("on");
    assert_eq!((all.cookie.as_str(), all.path.as_str()), ("Sid", "/shop"));
    assert_eq!(all.key_file, Some("/etc/mainstay/k".into()));
    assert_eq!((all.max_age, all.same_site), (Some(Duration::from_secs(7200)), SameSite::None));
    assert_eq!((all.http_only, all.secure), (false, Some(true)));
    let warned = shown(&format!("{SMALL}sticky = true\n"));
    assert!(warned.len() == 1 && warned[0].contains("without `key_file` the key is drawn at each start"), "{warned:?}");
    for (written, expected) in [
        (
            "{ key_file = \"k\", cookie = \"a b\" }",
            "m.toml:7:37: service[0].sticky.cookie: `a b` is not the name of a header",
        ),
        (
            "{ key_file = \"k\", path = \"/a;b\" }",
            "m.toml:7:35: service[0].sticky.path: a cookie's path cannot hold `;` or `,`",
        ),
        (
            "{ key_file = \"k\", same_site = \"none\", secure = false }",
            "m.toml:7:40: service[0].sticky.same_site: browsers refuse a cookie with same_site = \"none\" that is not secure; leave `secure` out",
        ),
        (
            "5",
            "m.toml:7:10: service[0].sticky: true or a table is needed here, not a number; write sticky = true or sticky = { key_file = \"sessions.key\" }",
        ),
    ] {
        assert_eq!(shown(&format!("{SMALL}sticky = {written}\n")), [expected], "{written}");
    }
    let both = shown(&format!("{SMALL}balance = \"hash\"\nsticky = {{ key_file = \"k\" }}\n"));
    assert_eq!(
        both,
        [
            "m.toml:8:10: service[0].sticky: `sticky` and balance = \"hash\" both say where a session goes; leave one of them out"
        ]
    );
}
