//! `[alerting]` and `[[receiver]]`: who is told of what is wrong, by which way, and how often.

use std::collections::BTreeSet;
use std::time::Duration;

use mainstay_core::alert::{CATALOGUE, DeadMan, Matcher, Receiver, Severity, Times};
use mainstay_observe::alerts::send::is_here;
use mainstay_observe::alerts::settings::{Adjustment, Destination, Mail, MailTls, Settings, Url, Way};
use mainstay_observe::secret::Secret;

use super::problem::Fault;
use super::reader::{Item, Section};
use super::secret::secret;
use super::{WEEK, keys, words};

/// Receivers, at most.
const RECEIVERS_MAX: usize = 32;
/// Matchers of a receiver, and recipients of mail, at most.
const LIST_MAX: usize = 32;
/// Where PagerDuty takes events (Events API v2).
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
/// How often an Alertmanager is told, so that it does not take alerts for resolved.
const TO_ALERTMANAGER: Times = Times { wait: 0, interval: 10_000, repeat: 60_000 };

/// The settings, or the defaults.
pub(super) fn read(root: &Section<'_>) -> Settings {
    let alerting = root.item("alerting").and_then(|item| item.section(&keys::ALERTING));
    let common = alerting.as_ref().map_or_else(Common::default, |section| common(section, &Common::default()));
    let mut settings = Settings::default();
    let mut names = BTreeSet::new();
    let sections = root.sections("receiver", &keys::RECEIVER);
    if let Some(section) = sections.get(RECEIVERS_MAX) {
        section.reader.error(&section.place, Fault::new(format!("there are more than {RECEIVERS_MAX} receivers")));
    }
    for section in &sections {
        let name = super::read_name(section);
        if name.is_good && !names.insert(name.value.clone()) {
            let fault = Fault::new(format!("there is another receiver `{}`", name.value));
            section.reader.error(&name.place, fault.hint("give each its own name"));
        }
        settings.destinations.extend(destination(section, name.value, &common));
    }
    if let Some(section) = alerting {
        let text = |key: &str| section.field(key, String::new(), |item| item.text().map(str::to_owned)).value;
        settings.runbooks = if section.has("runbooks") { text("runbooks") } else { "docs/alerts/".to_owned() };
        settings.dashboard = text("dashboard");
        settings.dead_man = dead_man(&section, &names);
        settings.adjustments = section.sections("rule", &keys::ALERT_RULE).iter().filter_map(adjustment).collect();
    } else {
        settings.runbooks = "docs/alerts/".to_owned();
    }
    settings
}

/// What holds for every receiver that does not say otherwise.
#[derive(Clone)]
struct Common {
    times: Times,
    group_by: Vec<String>,
}

impl Default for Common {
    fn default() -> Self {
        Self { times: Times::default(), group_by: Receiver::GROUP_BY.map(str::to_owned).to_vec() }
    }
}

fn common(section: &Section<'_>, standard: &Common) -> Common {
    let time = |key: &str, default: u64, least: u64| {
        let bounds = Duration::from_millis(least)..=WEEK;
        let duration = section.duration(key, Duration::from_millis(default), bounds).value;
        u64::try_from(duration.as_millis()).unwrap_or(default)
    };
    let group_by = section.field("group_by", standard.group_by.clone(), |item| Some(texts(item)));
    Common {
        times: Times {
            wait: time("group_wait", standard.times.wait, 0),
            interval: time("group_interval", standard.times.interval, 1000),
            repeat: time("repeat_interval", standard.times.repeat, 1000),
        },
        group_by: group_by.value,
    }
}

fn texts(item: &Item<'_>) -> Vec<String> {
    let items = item.list_or_one();
    if items.len() > LIST_MAX {
        item.error(Fault::new(format!("at most {LIST_MAX} can be named here")));
    }
    items.iter().filter_map(|item| item.text().map(str::to_owned)).collect()
}

fn dead_man(section: &Section<'_>, names: &BTreeSet<String>) -> Option<DeadMan> {
    let bounds = Duration::from_secs(1)..=Duration::from_secs(86_400);
    let interval = section.duration("dead_man_interval", Duration::from_secs(60), bounds);
    let Some(item) = section.item("dead_man") else {
        if interval.is_given {
            let fault = Fault::new("`dead_man_interval` has no effect without `dead_man`");
            section.reader.error(&interval.place, fault.hint("name the receiver that expects to hear regularly"));
        }
        return None;
    };
    let receiver = item.text()?.to_owned();
    if !names.contains(&receiver) {
        item.error(Fault::new(format!("there is no receiver `{receiver}`")).hint("add a [[receiver]] of this name"));
    }
    Some(DeadMan { receiver, interval: u64::try_from(interval.value.as_millis()).unwrap_or(60_000) })
}

fn adjustment(section: &Section<'_>) -> Option<Adjustment> {
    let known: Vec<(&str, &str)> = CATALOGUE.iter().map(|rule| (rule.name, rule.name)).collect();
    let name = section.required("name", "")?.one_of(&known)?;
    let time = |key| section.field(key, None, |item| item.duration(&(Duration::ZERO..=WEEK)).map(Some)).value;
    Some(Adjustment {
        name: name.to_owned(),
        enabled: section.flag("enabled", true).value,
        hold: time("for"),
        keep: time("keep_firing_for"),
        severity: section.field("severity", None, |item| severity(item).map(Some)).value,
    })
}

fn severity(item: &Item<'_>) -> Option<Severity> {
    item.one_of(&Severity::ALL.map(|severity| (severity.word(), severity)))
}

fn destination(section: &Section<'_>, name: String, standard: &Common) -> Option<Destination> {
    let kinds = ["pagerduty", "slack", "smtp", "alertmanager", "webhook"].map(|word| (word, word));
    let kind = section.required("type", "write \"pagerduty\", \"slack\", \"smtp\", \"alertmanager\" or \"webhook\"")?;
    let kind = kind.one_of(&kinds)?;
    let way = match kind {
        "pagerduty" => {
            let url = section.field("url", Url::Plain(PAGERDUTY.to_owned()), url).value;
            let hint = "write routing_key = { file = \"pagerduty.key\" } or { env = \"NAME\" }";
            Way::PagerDuty { url, routing_key: secret(&section.required("routing_key", hint)?)? }
        }
        "slack" => Way::Slack { url: url(&section.required("url", "write url = { file = \"slack.url\" }")?)? },
        "smtp" => Way::Mail(mail(section)?),
        "alertmanager" => {
            let url = url(&section.required("url", "write url = \"http://alertmanager:9093\"")?)?;
            Way::Alertmanager { url, authorization: authorization(section) }
        }
        _webhook => {
            let url = url(&section.required("url", "write url = \"https://...\"")?)?;
            Way::Webhook { url, authorization: authorization(section) }
        }
    };
    refuse_others(section, kind);
    let standard = match &way {
        Way::Alertmanager { .. } => Common { times: TO_ALERTMANAGER, ..standard.clone() },
        Way::PagerDuty { .. } | Way::Slack { .. } | Way::Mail(_) | Way::Webhook { .. } => standard.clone(),
    };
    let common = common(section, &standard);
    let severities = section.field("severities", way.severities().to_vec(), |item| {
        Some(item.list_or_one().iter().filter_map(severity).collect())
    });
    let matchers = section.field("match", Vec::new(), |item| {
        let matcher = |text: &str| Matcher::parse(text).map_err(|why| Fault::new(why.to_string()));
        Some(item.list_or_one().iter().filter_map(|item| item.parsed(matcher)).collect())
    });
    let bounds = Duration::from_millis(100)..=Duration::from_secs(60);
    Some(Destination {
        receiver: Receiver {
            name,
            severities: severities.value,
            matchers: matchers.value,
            group_by: common.group_by,
            times: common.times,
            resolved: section.flag("resolved", true).value,
        },
        way,
        timeout: section.duration("timeout", Duration::from_secs(10), bounds).value,
    })
}

/// A key of another type of receiver would be without effect.
fn refuse_others(section: &Section<'_>, kind: &str) {
    const MAIL: &[&str] = &["host", "port", "tls", "from", "to", "user", "smtp_password"];
    let own: &[&str] = match kind {
        "pagerduty" => &["url", "routing_key"],
        "slack" => &["url"],
        "smtp" => MAIL,
        _ => &["url", "authorization"],
    };
    let all = ["url", "routing_key", "authorization"].iter().chain(MAIL);
    for key in all.filter(|key| !own.contains(key)) {
        if let Some(item) = section.item(key) {
            item.error(Fault::new(format!("`{key}` has no effect with type = \"{kind}\"")).hint("leave it out"));
        }
    }
}

fn url(item: &Item<'_>) -> Option<Url> {
    if item.is_table() {
        return secret(item).map(Url::Secret);
    }
    item.parsed(|text| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        match rest {
            Some(rest) if !rest.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control()) => {
                Ok(Url::Plain(text.to_owned()))
            }
            Some(_) | None => Err(Fault::new("this is not a URL").hint("write \"https://host/path\"")),
        }
    })
}

fn authorization(section: &Section<'_>) -> Option<Secret> {
    section.field("authorization", None, |item| secret(item).map(Some)).value
}

fn mail(section: &Section<'_>) -> Option<Mail> {
    let host = section.required("host", "name the mail server: host = \"mail.example.com\"")?;
    let host_name = host.parsed(|text| match text.parse::<std::net::IpAddr>() {
        Ok(_address) => Ok(text.to_owned()),
        Err(_name) => words::domain(text).map(|()| text.to_owned()),
    })?;
    let ways = [("starttls", MailTls::Starttls), ("tls", MailTls::Wrapped), ("off", MailTls::Plain)];
    let tls = section.field("tls", MailTls::Starttls, |item| item.one_of(&ways));
    if tls.value == MailTls::Plain && !is_here(&host_name) {
        let fault = Fault::new("mail without TLS goes to this machine only");
        section.reader.error(&tls.place, fault.hint("write tls = \"starttls\" or \"tls\""));
    }
    let standard = if tls.value == MailTls::Wrapped { 465 } else { 587 };
    let port = section.integer("port", standard, 1..=65_535).value;
    let address = |item: &Item<'_>| {
        item.parsed(|text| match text.split_once('@') {
            Some((user, domain)) if !user.is_empty() && !domain.is_empty() && !text.contains(char::is_control) => {
                Ok(text.to_owned())
            }
            Some(_) | None => Err(Fault::new("this is not an address of mail").hint("write \"ops@example.com\"")),
        })
    };
    let from = address(&section.required("from", "")?)?;
    let to = section.required("to", "")?;
    let to: Vec<String> = to.list_or_one().iter().filter_map(address).take(LIST_MAX).collect();
    let user = section.field("user", None, |item| item.text().map(|text| Some(text.to_owned())));
    let password = section.field("smtp_password", None, |item| secret(item).map(Some));
    if user.is_given != password.is_given {
        let fault = Fault::new("`user` and `smtp_password` belong together");
        section.reader.error(if user.is_given { &user.place } else { &password.place }, fault);
    }
    let port = u16::try_from(port).unwrap_or(587);
    Some(Mail { host: host_name, port, tls: tls.value, from, to, user: user.value.zip(password.value) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{SMALL, good, shown};

    #[test]
    fn receivers_and_their_defaults() {
        let text = format!(
            "{SMALL}\n[alerting]\ngroup_wait = \"5s\"\ndead_man = \"hook\"\n[[alerting.rule]]\nname = \"CpuHigh\"\nenabled = false\n\
             for = \"1m\"\nkeep_firing_for = \"2m\"\n\
             [[receiver]]\nname = \"pager\"\ntype = \"pagerduty\"\nrouting_key = {{ env = \"KEY\" }}\n\
             [[receiver]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:1/x\"\nmatch = [\"service=~shop|cart\"]\n\
             [[receiver]]\nname = \"mail\"\ntype = \"smtp\"\nhost = \"mail.example.com\"\nfrom = \"a@b.c\"\nto = \"d@e.f\"\n"
        );
        let settings = good(&text).alerting;
        let policy = settings.policy();
        assert_eq!(policy.receivers[0].severities, [Severity::P1]);
        assert_eq!(policy.receivers[1].severities, Severity::ALL);
        assert_eq!(policy.receivers[1].times.wait, 5000);
        assert_eq!(policy.dead_man, Some(DeadMan { receiver: "hook".to_owned(), interval: 60_000 }));
        assert!(!settings.adjustments[0].enabled);
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        assert_eq!((settings.adjustments[0].hold, settings.adjustments[0].keep), (minutes(1), minutes(2)));
        let Way::Mail(mail) = &settings.destinations[2].way else { panic!("it is mail") };
        assert_eq!((mail.port, mail.tls), (587, MailTls::Starttls));
        assert_eq!(good(SMALL).alerting.destinations, []);
    }

    #[test]
    fn what_is_refused() {
        let cases = [
            ("type = \"pagerduty\"\nrouting_key = \"R123\"", "a secret does not belong into the configuration"),
            ("type = \"pagerduty\"", "`routing_key` is missing"),
            ("type = \"carrier-pigeon\"", "is not known here"),
            ("type = \"webhook\"\nurl = \"ftp://x\"", "this is not a URL"),
            ("type = \"webhook\"\nurl = \"http://x\"\nhost = \"y\"", "`host` has no effect"),
            ("type = \"webhook\"\nurl = \"http://x\"\nmatch = \"a=~[b]\"", "`[` in the pattern"),
            ("type = \"smtp\"\nhost = \"m.x\"\nfrom = \"a@b\"\nto = \"c@d\"\ntls = \"off\"", "to this machine only"),
            ("type = \"smtp\"\nhost = \"m.x\"\nfrom = \"a\"\nto = \"c@d\"", "not an address of mail"),
            ("type = \"slack\"\nurl = { file = \"a\", env = \"B\" }", "one of `file` and `env`"),
        ];
        for (lines, expected) in cases {
            let problems = shown(&format!("{SMALL}\n[[receiver]]\nname = \"r\"\n{lines}\n"));
            assert!(problems.iter().any(|it| it.contains(expected)), "{lines}: {problems:#?}");
            assert!(!problems.iter().any(|it| it.contains("R123")), "{problems:#?}");
        }
        let problems = shown(&format!("{SMALL}\n[alerting]\ndead_man = \"nobody\"\n"));
        assert!(problems[0].contains("there is no receiver `nobody`"), "{problems:#?}");
        let problems = shown(&format!("{SMALL}\n[[alerting.rule]]\nname = \"CpuLow\"\n"));
        assert!(problems[0].contains("it is one of \"ServiceDown\""), "{problems:#?}");
    }
}
