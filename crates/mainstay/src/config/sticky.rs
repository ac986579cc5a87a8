//! `sticky` of services: sessions stay with an endpoint, by a signed cookie.

use std::time::Duration;

use mainstay_core::balance::Policy;
use mainstay_gateway::spec::{Protocol, SameSite, Sticky};

use super::problem::Fault;
use super::reader::{Item, Reader, Section};
use super::relations::Parts;
use super::{keys, words};

/// A cookie that is older has better be asked for again.
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// The settings, or the defaults for `true`. `service` is the service's name.
pub(super) fn read(section: &Section<'_>, service: &str, balance: Policy) -> Option<Sticky> {
    let item = section.item("sticky")?;
    let mut sticky = Sticky {
        cookie: format!("mainstay_{service}"),
        key_file: None,
        max_age: None,
        path: "/".to_owned(),
        same_site: SameSite::Lax,
        http_only: true,
        secure: None,
    };
    if item.as_flag() == Some(false) {
        return None;
    }
    if item.as_flag().is_none() {
        read_table(&item, &mut sticky)?;
    }
    if balance == Policy::Hash {
        let fault = Fault::new("`sticky` and balance = \"hash\" both say where a session goes");
        item.error(fault.hint("leave one of them out"));
    }
    if sticky.key_file.is_none() {
        let fault = Fault::new(
            "without `key_file` the key is drawn at each start: other nodes, and this one after a restart or an upgrade, do not know its sessions",
        );
        item.reader.warn(&item.place, fault.hint("write key_file = \"sessions.key\" with the same file on every node; `openssl rand -hex 32` makes a key"));
    }
    Some(sticky)
}

fn read_table(item: &Item<'_>, sticky: &mut Sticky) -> Option<()> {
    if !item.is_table() {
        item.wrong_type("true or a table", "write sticky = true or sticky = { key_file = \"sessions.key\" }");
        return None;
    }
    let section = item.section(&keys::STICKY)?;
    // The name of a cookie is a token, as that of a header is, but case counts.
    let name = |item: &Item<'_>| item.parsed(|text| words::header_name(text).map(|_lower| text.to_owned()));
    sticky.cookie = section.field("cookie", std::mem::take(&mut sticky.cookie), name).value;
    sticky.key_file = section.field("key_file", None, |item| item.path().map(Some)).value;
    let bounds = Duration::from_secs(1)..=YEAR;
    sticky.max_age = section.field("max_age", None, |item| item.duration(&bounds).map(Some)).value;
    sticky.path = section.field("path", "/".to_owned(), |item| item.parsed(cookie_path)).value;
    let words = [("strict", SameSite::Strict), ("lax", SameSite::Lax), ("none", SameSite::None)];
    let same_site = section.field("same_site", SameSite::Lax, |item| item.one_of(&words));
    sticky.same_site = same_site.value;
    sticky.http_only = section.flag("http_only", true).value;
    sticky.secure = section.field("secure", None, |item| item.flag().map(Some)).value;
    if same_site.value == SameSite::None && sticky.secure == Some(false) {
        let fault = Fault::new("browsers refuse a cookie with same_site = \"none\" that is not secure");
        section.reader.error(&same_site.place, fault.hint("leave `secure` out"));
    }
    Some(())
}

/// A path that may stand in a cookie's attribute.
fn cookie_path(text: &str) -> Result<String, Fault> {
    let path = words::path(text)?;
    if path.contains([';', ',']) {
        return Err(Fault::new("a cookie's path cannot hold `;` or `,`"));
    }
    Ok(path)
}

/// Connections over TCP have no cookies.
pub(super) fn check_relations(reader: &Reader<'_>, parts: &Parts<'_>) {
    for read in parts.listeners {
        let Protocol::Tcp { service, .. } = &read.listener.protocol else { continue };
        if parts.services.iter().any(|it| it.service.name == *service && it.service.sticky.is_some()) {
            let fault = Fault::new(format!("`sticky` of service `{service}` has no effect on connections over TCP"));
            reader.warn(read.service.as_ref().unwrap_or(&read.place), fault);
        }
    }
}
