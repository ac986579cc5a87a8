//! The examples are accepted, and the reference names every key.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::keys;
use super::super::{Problem, check, parse};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(super) fn examples() -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(root().join("examples")).expect("the folder of examples");
    let mut found: Vec<(PathBuf, String)> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| (path.clone(), fs::read_to_string(&path).expect("an example")))
        .collect();
    found.sort();
    assert!(found.len() >= 5, "{found:?}");
    found
}

#[test]
fn examples_are_accepted_without_a_warning() {
    for (path, text) in examples() {
        let config =
            parse(&text, &path.display().to_string(), Path::new("")).unwrap_or_else(|problems| panic!("{problems:#?}"));
        assert_eq!(config.warnings, [], "{}", path.display());
    }
}

/// The blocks marked as TOML in the reference are whole configurations.
#[test]
fn the_reference_is_true() {
    let reference = fs::read_to_string(root().join("docs/config.md")).expect("docs/config.md");
    let blocks: Vec<&str> = reference
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```").map(|(block, _rest)| block))
        .collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let config = parse(block, "docs/config.md", Path::new("")).unwrap_or_else(|problems| panic!("{problems:#?}"));
        assert_eq!(config.warnings, [], "{block}");
    }
    for section in keys::ALL {
        for key in section.names {
            assert!(
                reference.contains(&format!("`{key}`")),
                "docs/config.md does not name `{key}` of {}",
                section.section
            );
        }
    }
}

#[test]
fn files_are_tried_by_check_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mainstay.toml");
    let text = "[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:1\"\ntls = { cert = \"a.pem\", key = \"a.key\" }\n[[service]]\nname = \"app\"\nendpoints = [\"127.0.0.1:2\"]\n";
    fs::write(&file, text).expect("written");
    assert!(super::super::load(&file).is_ok());
    let problems = check(&file).expect_err("there is no certificate");
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].message.contains("a.pem") && problems[0].path == "listener[0].tls", "{problems:#?}");

    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    fs::write(folder.path().join("a.pem"), pair.cert.pem()).expect("written");
    fs::write(folder.path().join("a.key"), "nothing").expect("written");
    assert!(check(&file).expect_err("there is no key")[0].message.contains("a.key"));
    fs::write(folder.path().join("a.key"), pair.signing_key.serialize_pem()).expect("written");
    assert_eq!(check(&file).expect("a pair").warnings, []);

    let socket = folder.path().join("app.sock");
    fs::write(&file, text.replace("127.0.0.1:2", &format!("unix:{}", socket.display()))).expect("written");
    assert_eq!(check(&file).expect("a server may start later").warnings, []);
    fs::write(&socket, "").expect("written");
    let warnings = check(&file).expect("a warning only").warnings;
    assert!(warnings.len() == 1 && warnings[0].message.ends_with("app.sock: this is no socket"), "{warnings:#?}");
    fs::remove_file(&socket).expect("removed");
    let _listening = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    assert_eq!(check(&file).expect("a socket").warnings, []);

    let missing = check(&folder.path().join("missing.toml")).expect_err("no file");
    assert!(missing[0].to_string().contains("cannot read the file"), "{missing:#?}");
    fs::write(&file, b"a = \"\xff\"").expect("written");
    assert!(check(&file).expect_err("no text")[0].message.contains("not UTF-8"));
}

#[test]
fn authorities_are_tried_wherever_they_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mainstay.toml");
    let text = r#"
        [node]
        data_dir = "data"
        [otlp]
        endpoint = "https://collector.example.com:4318"
        ca = "otlp.pem"
        [[listener]]
        name = "clear"
        bind = "127.0.0.1:1"
        [[service]]
        name = "app"
        endpoints = ["127.0.0.1:2"]
        [[acme]]
        name = "shop"
        accept_terms = true
        domains = ["shop.example.com"]
        ca = "acme.pem"
        [[probe]]
        name = "login"
        ca = "probe.pem"
        [[probe.step]]
        url = "https://shop.example.com/"
        [access.oidc]
        issuer = "https://id.example.com"
        client_id = "mainstay"
        client_secret = { file = "secret" }
        external_url = "https://lb.example.com"
        ca = "oidc.pem"
        [[access.oidc.group]]
        name = "sre"
        role = "operator"
    "#;
    fs::write(&file, text).expect("written");
    fs::write(folder.path().join("secret"), "secret").expect("written");
    assert!(super::super::load(&file).is_ok(), "{:#?}", super::super::load(&file));
    let named = |problems: &[Problem]| problems.iter().map(|it| it.path.clone()).collect::<Vec<_>>();
    let problems = check(&file).expect_err("there are none");
    assert_eq!(named(&problems), ["otlp.ca", "acme[0].ca", "probe[0].ca", "access.oidc.ca"], "{problems:#?}");
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    for name in ["otlp.pem", "acme.pem", "probe.pem"] {
        fs::write(folder.path().join(name), pair.cert.pem()).expect("written");
    }
    fs::write(folder.path().join("oidc.pem"), "no certificate").expect("written");
    assert_eq!(named(&check(&file).expect_err("one is none")), ["access.oidc.ca"]);
}

/// What a node serves without is a warning, with the key and what to do.
#[test]
fn secrets_programs_and_users_are_looked_for_by_check() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mainstay.toml");
    let example = fs::read_to_string(root().join("examples/database-postgres.toml")).expect("an example");
    let nowhere = folder.path().join("nowhere");
    let server = format!("user = \"nobody-of-that-name\"\nbin_dir = \"{}\"", nowhere.display());
    let text = example.replace("user = \"postgres\"", &server);
    let receiver = "[[receiver]]\nname = \"team\"\ntype = \"webhook\"\nurl = { env = \"MAINSTAY_TEST_NOT_SET\" }\n";
    fs::write(&file, format!("{text}\n{receiver}")).expect("written");
    assert_eq!(super::super::load(&file).expect("it is well formed").warnings, []);

    let shown = |warnings: &[Problem]| -> Vec<(String, String)> {
        warnings.iter().map(|it| (it.path.clone(), it.message.clone())).collect()
    };
    let warnings = shown(&check(&file).expect("warnings only").warnings);
    let expected = [
        ("database[0].server.replication_password", "replication.password: No such file"),
        ("receiver[0].url", "the environment has no variable MAINSTAY_TEST_NOT_SET"),
        ("database[0]", "there is no initdb in"),
        ("database[0]", "this machine has no user `nobody-of-that-name`"),
    ];
    for (path, message) in expected {
        assert!(warnings.iter().any(|it| it.0 == path && it.1.contains(message)), "{path} {message}: {warnings:#?}");
    }
    assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");

    fs::create_dir(&nowhere).expect("a folder");
    fs::write(nowhere.join("initdb"), "").expect("written");
    fs::write(folder.path().join("replication.password"), "secret\n").expect("written");
    let text = text.replace("user = \"nobody-of-that-name\"", "user = \"root\"");
    fs::write(&file, text).expect("written");
    assert_eq!(shown(&check(&file).expect("good").warnings), []);
}
