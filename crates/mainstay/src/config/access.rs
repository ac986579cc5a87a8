//! `[access]`: who may use the admin interface. Users and tokens themselves are not configuration; `mainstay access` keeps them.

mod oidc;

use std::time::Duration;

pub use self::oidc::Oidc;

use super::node::Settings;
use super::problem::Fault;
use super::reader::Section;
use super::{keys, units};

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

/// What `[access]` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// A session of the dashboard ends after this time without a request.
    pub session_idle: Duration,
    /// It ends after this time in any case.
    pub session_max: Duration,
    /// Who logs people in beside the node itself.
    pub oidc: Option<Oidc>,
}

/// The settings; `None` if everybody on the machine may look.
pub(super) fn read(root: &Section<'_>, settings: &Settings, has_cluster: bool) -> Option<Access> {
    let section = root.item("access").and_then(|item| item.section(&keys::ACCESS));
    let access = section.as_ref().map(|section| {
        let idle = section.duration("session_idle", 30 * MINUTE, MINUTE..=24 * HOUR);
        let most = section.duration("session_max", 12 * HOUR, MINUTE..=7 * 24 * HOUR);
        if idle.is_good && most.is_good && idle.value > most.value {
            let shown = units::show_duration(most.value);
            let fault = Fault::new(format!("`session_idle` must not be longer than `session_max` ({shown})"));
            root.reader.error(if idle.is_given { &idle.place } else { &most.place }, fault);
        }
        if settings.node.data_dir.is_none() && !has_cluster {
            let fault = Fault::new("there is no place for users and tokens");
            root.reader.error(&section.place, fault.hint("set `data_dir` under [node], or write [cluster]"));
        }
        let oidc = section.item("oidc").and_then(|item| oidc::read(&item));
        Access { session_idle: idle.value, session_max: most.value, oidc }
    });
    let is_open = settings.admin.is_good && settings.admin.value.is_some_and(|address| !address.ip().is_loopback());
    if is_open && (access.is_none() || settings.admin_tls.is_none()) {
        let fault = Fault::new("off loopback the admin interface needs [access] and `admin_tls`");
        let hint = "write [access], and admin_tls = { cert = \"admin.pem\", key = \"admin.key\" } under [node]; or listen on 127.0.0.1";
        root.reader.error(&settings.admin.place, fault.hint(hint));
    }
    access
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, parse};

    fn read(node: &str, access: &str) -> Result<Config, String> {
        let text = format!(
            "[node]\n{node}\n{access}\n[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:8080\"\n[[service]]\nname = \"app\"\n\
             endpoints = [\"127.0.0.1:3001\"]\n"
        );
        let said = |problems: Vec<crate::config::Problem>| {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
        };
        parse(&text, "x.toml", Path::new("/etc")).map_err(said)
    }

    #[test]
    fn it_is_off_unless_asked_for_and_has_defaults() {
        assert_eq!(read("", "").expect("good").access, None);
        let config = read("data_dir = \"/var/lib/mainstay\"", "[access]").expect("good");
        let access = config.access.expect("asked for");
        assert_eq!((access.session_idle.as_secs(), access.session_max.as_secs()), (1_800, 43_200));
    }

    #[test]
    fn off_loopback_both_are_needed() {
        let tls = "admin_tls = { cert = \"a.pem\", key = \"a.key\" }";
        let open = "admin = \"0.0.0.0:7900\"\ndata_dir = \"/d\"";
        assert!(read(&format!("{open}\n{tls}"), "[access]").is_ok());
        for (node, access) in [(open.to_owned(), "[access]"), (format!("{open}\n{tls}"), ""), (open.to_owned(), "")] {
            let refused = read(&node, access).expect_err("refused");
            assert!(refused.contains("needs [access] and `admin_tls`"), "{refused}");
        }
        let config = read(tls, "").expect("TLS on loopback");
        assert_eq!(config.admin_tls.expect("given").cert, Path::new("/etc/a.pem"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(read("", "[access]").expect_err("no place").contains("no place for users"));
        let kept = "data_dir = \"/d\"";
        assert!(read(kept, "[access]\nsession_idle = \"13h\"").is_err());
        assert!(read(kept, "[access]\nsession_max = \"8d\"").is_err());
        assert!(read(kept, "[access]\nusers = 3").is_err());
        assert!(read("admin_tls = { cert = \"a.pem\" }", "").is_err());
    }
}
