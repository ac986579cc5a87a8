//! `[cluster] etcd`, `etcd_tls` and `etcd_user`: an etcd cluster, and how to be let in there.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::problem::Fault;
use super::reader::{Item, Section, clip};
use super::{keys, words};

/// Addresses of etcd, at most.
const ADDRESSES_MAX: usize = 16;

/// How to reach etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Etcd {
    /// Where its members are: URLs, all of the same scheme.
    pub endpoints: Vec<String>,
    /// Certificates, for `https`.
    pub tls: Option<Tls>,
    /// Who this node is to etcd, if etcd asks.
    pub user: Option<User>,
}

/// Files with certificates, as PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The authorities that a member's certificate must come from.
    pub ca: PathBuf,
    /// The certificate that this node shows, and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A user of etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name.
    pub name: String,
    /// A file with the password.
    pub password_file: PathBuf,
}

/// Reads the three keys; `None` without `etcd`.
pub(super) fn read(section: &Section<'_>) -> Option<Etcd> {
    let endpoints = section.field("etcd", None, |item| Some(Some(read_endpoints(item))));
    let tls = section.field("etcd_tls", None, |item| read_tls(item).map(Some));
    let user = section.field("etcd_user", None, |item| read_user(item).map(Some));
    let Some(addresses) = endpoints.value else {
        for (field, key) in
            [(tls.is_given.then_some(&tls.place), "etcd_tls"), (user.is_given.then_some(&user.place), "etcd_user")]
        {
            if let Some(place) = field {
                let fault = Fault::new(format!("`{key}` has no effect without `etcd`"));
                section.reader.error(place, fault.hint("name the members of etcd, or leave it out"));
            }
        }
        return None;
    };
    let encrypted = addresses.iter().filter(|address| address.starts_with("https://")).count();
    if encrypted > 0 && encrypted < addresses.len() {
        let fault = Fault::new("some of these addresses are https and some are http");
        section.reader.error(&endpoints.place, fault.hint("write https:// for all of them"));
    } else if encrypted > 0 && !tls.is_given {
        let fault = Fault::new("it is not said whom to trust at these https addresses");
        section.reader.error(&endpoints.place, fault.hint("write etcd_tls = { ca = \"etcd-ca.pem\" }"));
    } else if encrypted == 0 && tls.is_given && !addresses.is_empty() {
        let fault = Fault::new("these certificates are of no use at http addresses");
        section.reader.error(&tls.place, fault.hint("write https:// for all addresses of `etcd`"));
    }
    Some(Etcd { endpoints: addresses, tls: tls.value, user: user.value })
}

fn read_endpoints(list: &Item<'_>) -> Vec<String> {
    let items = list.list();
    if list.is_list() && !(1..=ADDRESSES_MAX).contains(&items.len()) {
        let fault = Fault::new(format!("1 to {ADDRESSES_MAX} addresses of etcd can be named here"));
        list.error(fault.hint("write etcd = [\"http://10.0.0.1:2379\"]"));
    }
    items.iter().filter_map(|item| item.parsed(parse_url)).collect()
}

fn parse_url(text: &str) -> Result<String, Fault> {
    let hint = "write \"http://10.0.0.1:2379\", or https";
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let Some(rest) = rest else {
        return Err(Fault::new(format!("`{}` is not an address of etcd", clip(text))).hint(hint));
    };
    words::endpoint(rest.strip_suffix('/').unwrap_or(rest)).map_err(|fault| fault.or_hint(hint))?;
    Ok(text.strip_suffix('/').unwrap_or(text).to_owned())
}

fn read_tls(item: &Item<'_>) -> Option<Tls> {
    let section = item.section(&keys::ETCD_TLS)?;
    let path = |key: &str| section.field(key, None, |item| item.path().map(Some));
    let (certificate, key) = (path("cert"), path("key"));
    let ca = section.required("ca", "name the file of the authority that etcd's certificates come from")?.path()?;
    if certificate.is_given != key.is_given {
        let fault = Fault::new("a certificate and its private key belong together");
        item.error(fault.hint("write both `cert` and `key`, or neither"));
    }
    Some(Tls { ca, identity: certificate.value.zip(key.value) })
}

fn read_user(item: &Item<'_>) -> Option<User> {
    let section = item.section(&keys::ETCD_USER)?;
    let name = section.required("name", "")?.text()?.to_owned();
    let password_file = section.required("password_file", "name a file that has the password alone")?.path()?;
    Some(User { name, password_file })
}
