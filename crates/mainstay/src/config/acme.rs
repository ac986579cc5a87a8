//! `[[acme]]`: certificates that an authority issues over ACME.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mainstay_gateway::spec::{self, Challenge, ClientAuth, Protocol};
use mainstay_observe::acme::settings::{Binding, Settings};

use super::problem::{Fault, near};
use super::reader::{Item, Section};
use super::{keys, listener, secret, words};

/// Certificates, at most.
const CERTIFICATES_MAX: usize = 100;
/// Names of one certificate, at most: what Let's Encrypt allows.
const DOMAINS_MAX: usize = 100;
/// Whom the authority may write to, at most.
const CONTACTS_MAX: usize = 8;
/// Let's Encrypt, for certificates that everybody trusts.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// All of them, and what has to hold between them and listeners. `keeps`: there is a folder for what outlives the process.
pub(super) fn read_all(root: &Section<'_>, keeps: bool, listeners: &[listener::Read]) -> Vec<Settings> {
    let sections = root.sections("acme", &keys::ACME);
    if let Some(section) = sections.get(CERTIFICATES_MAX) {
        let fault = Fault::new(format!("there are more than {CERTIFICATES_MAX} certificates"));
        section.reader.error(&section.place, fault);
    }
    if let Some(section) = sections.first().filter(|_section| !keeps) {
        let fault = Fault::new("`[[acme]]` needs a folder for accounts, certificates and their keys");
        section.reader.error_if_whole(&section.place, fault.hint("set `data_dir` under [node]"));
    }
    let (mut names, mut domains) = (BTreeSet::new(), BTreeMap::new());
    let mut all = Vec::new();
    for section in &sections {
        let name = super::read_name(section);
        if name.is_good && !names.insert(name.value.clone()) {
            let fault = Fault::new(format!("there is another [[acme]] `{}`", name.value));
            section.reader.error(&name.place, fault.hint("give each its own name"));
        }
        let Some(read) = read(section, name.value.clone()) else { continue };
        for domain in &read.domains {
            if let Some(other) = domains.insert(domain.clone(), name.value.clone()) {
                let fault = Fault::new(format!("`{domain}` is in the certificate `{other}` already"));
                section.reader.error(&section.place, fault.hint("a name belongs to one [[acme]]"));
            }
        }
        check_ways(section, &read, listeners);
        all.push(read);
    }
    for read in listeners {
        let (Some(tls), Some(place)) = (&read.listener.tls, &read.tls) else { continue };
        for missing in tls.acme.iter().filter(|name| !names.contains(*name)) {
            let fault = Fault::new(format!("there is no [[acme]] `{missing}`"));

            let hint = match near(missing, names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "add an [[acme]] of this name".to_owned(),
            };
            root.reader.error_if_whole(place, fault.hint(hint));
        }
    }
    all
}

/// What the gateway has to know of it.
pub(super) fn of_the_gateway(settings: &Settings) -> spec::Acme {
    spec::Acme { name: settings.name.clone(), domains: settings.domains.clone(), challenge: settings.challenge }
}

fn read(section: &Section<'_>, name: String) -> Option<Settings> {
    let terms = section.flag("accept_terms", false);
    if !terms.value {
        let fault = Fault::new("an authority issues nothing to who does not accept its terms");
        section.reader.error_if_whole(&terms.place, fault.hint("read them, and write accept_terms = true"));
    }
    let challenges = [("http-01", Challenge::Http01), ("tls-alpn-01", Challenge::TlsAlpn01)];
    let directory = section.field("directory", LETS_ENCRYPT.to_owned(), |item| item.parsed(directory)).value;
    let contact = section.field("contact", Vec::new(), |item| Some(contacts(item))).value;
    let challenge = section.field("challenge", Challenge::Http01, |item| item.one_of(&challenges)).value;
    let ca = section.authorities("ca").value;
    let binding = section.item("binding").and_then(|item| binding(&item));
    let domains = section.required("domains", "write domains = [\"shop.example.com\"]")?;
    let items = domains.list_or_one();
    if items.is_empty() || items.len() > DOMAINS_MAX {
        domains.error(Fault::new(format!("a certificate is for 1 to {DOMAINS_MAX} names")));
        return None;
    }
    let mut read: Vec<String> = items.iter().filter_map(|item| item.parsed(domain)).collect();
    let mut seen = BTreeSet::new();
    read.retain(|domain| seen.insert(domain.clone()));
    Some(Settings { name, directory, contact, domains: read, challenge, ca, binding })
}

fn directory(text: &str) -> Result<String, Fault> {
    match text.strip_prefix("https://") {
        Some(rest) if !rest.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '@') => {
            Ok(text.to_owned())
        }
        Some(_) | None => {
            Err(Fault::new("this is not the address of a directory").hint(format!("write \"{LETS_ENCRYPT}\"")))
        }
    }
}

fn contacts(item: &Item<'_>) -> Vec<String> {
    let items = item.list_or_one();
    if items.len() > CONTACTS_MAX {
        item.error(Fault::new(format!("at most {CONTACTS_MAX} can be named here")));
    }
    let contact = |text: &str| match text.strip_prefix("mailto:").unwrap_or(text).split_once('@') {
        Some((user, host)) if !user.is_empty() && !host.is_empty() && text.chars().all(|c| c.is_ascii_graphic()) => {
            Ok(if text.starts_with("mailto:") { text.to_owned() } else { format!("mailto:{text}") })
        }
        Some(_) | None => Err(Fault::new("this is not an address of mail").hint("write \"ops@example.com\"")),
    };
    items.iter().filter_map(|item| item.parsed(contact)).collect()
}

fn domain(text: &str) -> Result<String, Fault> {
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("*.") {
        let fault =
            Fault::new("a certificate for all names below one needs a challenge over DNS, which is not supported");
        return Err(fault.hint("name each host"));
    }
    if lower.parse::<IpAddr>().is_ok() {
        return Err(Fault::new("a certificate is for host names, not for an address"));
    }
    words::domain(&lower).map(|()| lower)
}

fn binding(item: &Item<'_>) -> Option<Binding> {
    if !item.is_table() {
        item.wrong_type("a table", "write binding = { id = \"KEY-ID\", secret = { file = \"eab.key\" } }");
        return None;
    }
    let section = item.section(&keys::ACME_BINDING)?;
    let id = section.required("id", "the authority tells it together with the key")?.text()?.to_owned();
    let secret = section.required("secret", "write secret = { file = \"eab.key\" } or { env = \"NAME\" }")?;
    Some(Binding { id, key: secret::secret(&secret)? })
}

/// An authority must find somebody who answers.
fn check_ways(section: &Section<'_>, settings: &Settings, listeners: &[listener::Read]) {
    let answers = |read: &&listener::Read| {
        let is_http = matches!(read.listener.protocol, Protocol::Http(_));
        is_http
            && match (settings.challenge, &read.listener.tls) {
                (Challenge::Http01, tls) => tls.is_none(),
                (Challenge::TlsAlpn01, Some(tls)) => !matches!(tls.client_auth, ClientAuth::Required { .. }),
                (Challenge::TlsAlpn01, None) => false,
            }
    };
    if listeners.iter().any(|read| answers(&read)) {
        return;
    }
    let (message, hint) = match settings.challenge {
        Challenge::Http01 => (
            "no listener could answer the authority: it asks without TLS, on port 80",
            "add [[listener]] with bind = \"0.0.0.0:80\" and redirect_https = true, or write challenge = \"tls-alpn-01\"",
        ),
        Challenge::TlsAlpn01 => (
            "no listener could answer the authority: it asks over TLS, on port 443, and shows no certificate",
            "give an HTTP listener `tls` without client_auth = \"required\", or write challenge = \"http-01\"",
        ),
    };
    section.reader.error_if_whole(&section.place, Fault::new(message).hint(hint));
}

#[cfg(test)]
mod tests;
