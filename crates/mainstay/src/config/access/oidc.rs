//! `[access.oidc]`: who logs people in beside the node itself, and what their groups may do.

use std::collections::BTreeSet;

use mainstay_admin::oidc::{Group, Settings};
use mainstay_admin::role::Role;
use mainstay_observe::secret::Secret;

use crate::config::keys;
use crate::config::problem::Fault;
use crate::config::reader::{Item, Section};
use crate::config::secret::secret;

/// Groups, at most.
const GROUPS_MAX: usize = 256;
/// Scopes, and services of a group, at most.
const LIST_MAX: usize = 32;
/// Bytes of a name, an address or a claim.
const BYTES_MAX: usize = 256;

/// What `[access.oidc]` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oidc {
    /// The provider and what its groups may do.
    pub settings: Settings,
    /// Where the client's secret is.
    pub client_secret: Secret,
}

pub(super) fn read(item: &Item<'_>) -> Option<Oidc> {
    let section = item.section(&keys::ACCESS_OIDC)?;
    let issuer = section.required("issuer", "write issuer = \"https://id.example.com/realms/ops\"");
    let issuer = issuer.and_then(|item| address(&item));
    let client_id = section.required("client_id", "write client_id = \"mainstay\", as it is registered there");
    let client_id = client_id.and_then(|item| word(&item));
    let external_url = section.required("external_url", "write external_url = \"https://lb1.example.com:7900\"");
    let external_url = external_url.and_then(|item| own_address(&item));
    let hint = "write client_secret = { file = \"oidc.secret\" } or { env = \"NAME\" }";
    let client_secret = section.required("client_secret", hint).and_then(|item| secret(&item));
    let text = |key: &str, default: &str| section.field(key, default.to_owned(), word).value;
    let scopes = section.item("scopes").map_or_else(|| vec!["profile".to_owned()], |item| words(&item, scope));
    let settings = Settings {
        name: text("name", "single sign-on"),
        user_claim: text("user_claim", "preferred_username"),
        groups_claim: text("groups_claim", "groups"),
        scopes,
        groups: groups(&section),
        ca: section.authorities("ca").value,
        issuer: issuer?,
        client_id: client_id?,
        external_url: external_url?,
    };
    Some(Oidc { settings, client_secret: client_secret? })
}

fn groups(section: &Section<'_>) -> Vec<Group> {
    let sections = section.sections("group", &keys::ACCESS_OIDC_GROUP);
    if sections.is_empty() {
        let fault = Fault::new("nobody who logs in this way would have a role");
        let hint = "write [[access.oidc.group]] with name = \"sre\" and role = \"operator\" below it";
        section.reader.error(&section.place, fault.hint(hint));
    }
    if let Some(section) = sections.get(GROUPS_MAX) {
        section.reader.error(&section.place, Fault::new(format!("at most {GROUPS_MAX} groups are allowed")));
    }
    let mut seen = BTreeSet::new();
    let mut groups = Vec::new();
    for section in sections.iter().take(GROUPS_MAX) {
        let name = section.required("name", "write name = \"sre\", as the provider calls the group");
        let role = section.required("role", "write role = \"viewer\", \"operator\" or \"admin\"");
        let role = role.and_then(|item| item.parsed(|text| text.parse::<Role>().map_err(Fault::new)));
        let services = section.item("services").map(|item| words(&item, |text| !text.is_empty()));
        if services.as_ref().is_some_and(Vec::is_empty) {
            section.reader.error(&section.place, Fault::new("a scope without services is none").hint("leave it out"));
        }
        let Some(name) = name.and_then(|item| word(&item)) else { continue };
        if !seen.insert(name.clone()) {
            section.reader.error(&section.place, Fault::new(format!("the group `{name}` is there already")));
        }
        let Some(role) = role else { continue };
        groups.push(Group { name, role, services });
    }
    groups
}

fn word(item: &Item<'_>) -> Option<String> {
    item.parsed(|text| {
        let is_good = (1..=BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        if is_good { Ok(text.to_owned()) } else { Err(Fault::new(format!("this has to have 1 to {BYTES_MAX} bytes"))) }
    })
}

/// RFC 6749, section 3.3.
fn scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

fn words(item: &Item<'_>, is_good: impl Fn(&str) -> bool) -> Vec<String> {
    let entries = item.list();
    if entries.len() > LIST_MAX {
        item.error(Fault::new(format!("at most {LIST_MAX} are allowed")));
    }
    let read = |entry: &Item<'_>| {
        entry.parsed(|text| {
            let fits = text.len() <= BYTES_MAX && is_good(text);
            if fits { Ok(text.to_owned()) } else { Err(Fault::new("this is no name of one")) }
        })
    };
    entries.iter().take(LIST_MAX).filter_map(read).collect()
}

/// An address that is encrypted, or of this machine.
fn address(item: &Item<'_>) -> Option<String> {
    item.parsed(|text| {
        let hint = "write \"https://host/path\" as the provider writes it, without `?` and `#`";
        let is_odd = |letter: char| letter.is_whitespace() || letter.is_control() || "?#\\@\"<>".contains(letter);
        if text.len() > BYTES_MAX || text.chars().any(is_odd) {
            return Err(Fault::new("this is not an address").hint(hint));
        }
        if text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) {
            return Ok(text.to_owned());
        }
        match text.strip_prefix("http://") {
            Some(rest) if is_this_machine(rest) => Ok(text.to_owned()),
            Some(_rest) => {
                let fault = Fault::new("only an address of this machine may be asked without encryption");
                Err(fault.hint("write https://, and `ca` if the provider's certificate is of an authority of your own"))
            }
            None => Err(Fault::new("this is not an address").hint(hint)),
        }
    })
}

fn is_this_machine(rest: &str) -> bool {
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.parse::<std::net::SocketAddr>() {
        Ok(address) => address.ip().is_loopback(),
        Err(_name) => {
            let host = authority.split(':').next().unwrap_or_default();
            host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

/// Where browsers reach the node: scheme, host and port.
fn own_address(item: &Item<'_>) -> Option<String> {
    let text = address(item)?;
    let bare = text.strip_suffix('/').unwrap_or(&text).to_owned();
    if bare.matches('/').count() > 2 {
        let fault = Fault::new("the node's pages are at the root of an address");
        item.error(fault.hint("leave the path out: \"https://lb1.example.com:7900\""));
        return None;
    }
    Some(bare)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    const GOOD: &str = "issuer = \"https://id.example.com\"\nclient_id = \"mainstay\"\n\
                        client_secret = { file = \"oidc.secret\" }\nexternal_url = \"https://lb1:7900/\"\n";
    const GROUP: &str = "[[access.oidc.group]]\nname = \"sre\"\nrole = \"operator\"\nservices = [\"shop\"]\n";

    fn read(oidc: &str, groups: &str) -> Result<Oidc, String> {
        let text = format!(
            "[node]\ndata_dir = \"/d\"\n[access]\n[access.oidc]\n{oidc}{groups}[[listener]]\nname = \"web\"\n\
             bind = \"127.0.0.1:8080\"\n[[service]]\nname = \"shop\"\nendpoints = [\"127.0.0.1:3001\"]\n"
        );
        let said = |problems: Vec<crate::config::Problem>| {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
        };
        let config = parse(&text, "x.toml", Path::new("/etc")).map_err(said)?;
        config.access.and_then(|access| access.oidc).ok_or_else(|| "nothing".to_owned())
    }

    #[test]
    fn a_provider_with_its_defaults_and_with_everything() {
        let oidc = read(GOOD, GROUP).expect("good");
        assert_eq!(oidc.client_secret, Secret::File("/etc/oidc.secret".into()));
        let settings = oidc.settings;
        assert_eq!((settings.name.as_str(), settings.external_url.as_str()), ("single sign-on", "https://lb1:7900"));
        assert_eq!((settings.user_claim.as_str(), settings.groups_claim.as_str()), ("preferred_username", "groups"));
        let group = Group { name: "sre".to_owned(), role: Role::Operator, services: Some(vec!["shop".to_owned()]) };
        assert_eq!((settings.scopes, settings.groups), (vec!["profile".to_owned()], vec![group]));
        let all = "name = \"Keycloak\"\nscopes = [\"openid\", \"groups\"]\nuser_claim = \"email\"\ngroups_claim = \"roles\"\n\
                   ca = \"ca.pem\"\n";
        let settings = read(&format!("{GOOD}{all}"), GROUP).expect("good").settings;
        assert_eq!((settings.name.as_str(), settings.user_claim.as_str()), ("Keycloak", "email"));
        assert_eq!(settings.ca.as_deref(), Some(Path::new("/etc/ca.pem")));
        for plain in ["http://127.0.0.1:9000", "http://localhost:9000/x", "http://[::1]:9000", "http://127.0.7.1"] {
            assert!(read(&GOOD.replace("https://id.example.com", plain), GROUP).is_ok(), "{plain}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (from, to, why) in [
            ("{ file = \"oidc.secret\" }", "\"hunter2\"", "does not belong into the configuration"),
            ("https://id.example.com", "http://id.example.com", "without encryption"),
            ("https://id.example.com", "http://127.0.0.1.evil.example", "without encryption"),
            ("https://id.example.com", "https://id.example.com?x", "not an address"),
            ("https://id.example.com", "ftp://id.example.com", "not an address"),
            ("https://lb1:7900/", "https://lb1:7900/ops", "at the root"),
            ("issuer =", "isuer =", "isuer"),
            ("client_id = \"mainstay\"", "client_id = \"\"", "1 to 256 bytes"),
        ] {
            let refused = read(&GOOD.replace(from, to), GROUP).expect_err(to);
            assert!(refused.contains(why), "{to}: {refused}");
        }
        for (groups, why) in [
            (String::new(), "would have a role"),
            (GROUP.replace("operator", "root"), "no role"),
            (GROUP.replace("[\"shop\"]", "[]"), "scope without services"),
            (format!("{GROUP}{GROUP}"), "there already"),
        ] {
            let refused = read(GOOD, &groups).expect_err("refused");
            assert!(refused.contains(why), "{groups}: {refused}");
        }
    }
}
