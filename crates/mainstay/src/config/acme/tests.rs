use mainstay_observe::secret::Secret;

use super::*;
use crate::config::tests::{good, shown};

const NODE: &str = "[node]\nname = \"lb1\"\ndata_dir = \"/var/lib/mainstay\"\n";
const LISTENERS: &str = "[[listener]]\nname = \"clear\"\nbind = \"127.0.0.1:8080\"\n\
     [[listener]]\nname = \"web\"\nbind = \"127.0.0.1:8443\"\ntls = { acme = \"public\" }\n\
     [[service]]\nname = \"shop\"\nendpoints = [\"127.0.0.1:1\"]\n";
const ACME: &str = "[[acme]]\nname = \"public\"\naccept_terms = true\ndomains = [\"Shop.example.com\"]\n";

#[test]
fn the_least_and_the_most() {
    let config = good(&format!("{NODE}{LISTENERS}{ACME}"));
    let least = &config.acme[0];
    assert_eq!((least.directory.as_str(), least.challenge), (LETS_ENCRYPT, Challenge::Http01));
    assert_eq!(config.spec.acme[0].domains, ["shop.example.com"]);
    assert_eq!(config.spec.listeners[1].tls.as_ref().unwrap().acme, ["public"]);
    let most = "directory = \"https://ca.internal/dir\"\ncontact = \"ops@example.com\"\nchallenge = \"tls-alpn-01\"\n\
         ca = \"root.pem\"\nbinding = { id = \"kid\", secret = { file = \"eab.key\" } }\n";
    let config = good(&format!("{NODE}{LISTENERS}{ACME}{most}"));
    let most = &config.acme[0];
    assert_eq!(most.contact, ["mailto:ops@example.com"]);
    assert_eq!(most.challenge, Challenge::TlsAlpn01);
    assert!(matches!(&most.binding, Some(Binding { id, key: Secret::File(_) }) if id == "kid"));
}

#[test]
fn what_is_refused() {
    let cases = [
        ("accept_terms = false\ndomains = \"a.b\"", "who does not accept its terms"),
        ("accept_terms = true", "`domains` is missing"),
        ("accept_terms = true\ndomains = []", "1 to 100 names"),
        ("accept_terms = true\ndomains = \"*.example.com\"", "needs a challenge over DNS"),
        ("accept_terms = true\ndomains = \"10.0.0.1\"", "not for an address"),
        ("accept_terms = true\ndomains = \"a b\"", "is not a host name"),
        ("accept_terms = true\ndomains = \"a.b\"\ndirectory = \"http://a/dir\"", "not the address of a directory"),
        ("accept_terms = true\ndomains = \"a.b\"\ncontact = \"ops\"", "not an address of mail"),
        ("accept_terms = true\ndomains = \"a.b\"\nchallenge = \"dns-01\"", "is not known here"),
        (
            "accept_terms = true\ndomains = \"a.b\"\nbinding = { id = \"a\", secret = \"S3CR\" }",
            "a secret does not belong",
        ),
    ];
    for (lines, expected) in cases {
        let problems = shown(&format!("{NODE}{LISTENERS}[[acme]]\nname = \"public\"\n{lines}\n"));
        assert!(problems.iter().any(|it| it.contains(expected)), "{lines}: {problems:#?}");
        assert!(!problems.iter().any(|it| it.contains("S3CR")), "{problems:#?}");
    }
}

#[test]
fn relations_to_listeners_and_to_each_other() {
    let problems = shown(&format!("{LISTENERS}{ACME}"));
    assert!(problems.iter().any(|it| it.contains("set `data_dir`")), "{problems:#?}");
    let problems = shown(&format!("{NODE}{LISTENERS}{}", ACME.replace("public", "publik")));
    assert!(problems.iter().any(|it| it.contains("there is no [[acme]] `public`")), "{problems:#?}");
    let problems = shown(&format!("{NODE}{LISTENERS}{ACME}{}", ACME.replace("public", "other")));
    assert!(problems.iter().any(|it| it.contains("is in the certificate `public` already")), "{problems:#?}");
    let only_tls = LISTENERS.split_once("[[listener]]\nname = \"web\"").unwrap().1;
    let only_tls = format!("{NODE}[[listener]]\nname = \"web\"{only_tls}{ACME}");
    let problems = shown(&only_tls);
    assert!(problems.iter().any(|it| it.contains("it asks without TLS, on port 80")), "{problems:#?}");
    good(&format!("{only_tls}challenge = \"tls-alpn-01\"\n"));
    let closed =
        only_tls.replace("acme = \"public\"", "acme = \"public\", client_auth = \"required\", client_ca = \"a\"");
    let problems = shown(&format!("{closed}challenge = \"tls-alpn-01\"\n"));
    assert!(problems.iter().any(|it| it.contains("shows no certificate")), "{problems:#?}");
}
