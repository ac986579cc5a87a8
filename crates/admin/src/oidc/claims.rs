//! Who somebody is, and what they may do, by what the provider says of them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::{Failure, Group, Identity, Settings};
use crate::role::Role;

/// Characters of a name that are kept.
const NAME_CHARS_MAX: usize = 64;

/// The claims of a token whose signature has been checked.
pub(super) fn of_token(token: &str) -> Option<Map<String, Value>> {
    let payload = token.split('.').nth(1)?;
    let bytes = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Who these claims are about.
pub(super) fn identify(settings: &Settings, subject: &str, claims: &Map<String, Value>) -> Result<Identity, Failure> {
    let name = claims.get(&settings.user_claim).and_then(Value::as_str).filter(|name| !name.trim().is_empty());
    let user = shown(name.unwrap_or(subject));
    let said = match claims.get(&settings.groups_claim) {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        // Some providers write one group without a list.
        Some(Value::String(name)) => vec![name.as_str()],
        _none => Vec::new(),
    };
    match granted(&settings.groups, &said) {
        Some((role, services)) => Ok(Identity { user, subject: shown(subject), role, services }),
        None => Err(Failure::NoRole { user, subject: shown(subject) }),
    }
}

/// The highest role of all groups that somebody is in, for the services of all groups that give it.
fn granted(groups: &[Group], said: &[&str]) -> Option<(Role, Option<Vec<String>>)> {
    let own = || groups.iter().filter(|group| said.contains(&group.name.as_str()));
    let role = own().map(|group| group.role).max()?;
    let mut all = Vec::new();
    for group in own().filter(|group| group.role == role) {
        let Some(services) = &group.services else { return Some((role, None)) };
        all.extend(services.iter().filter(|name| !all.contains(*name)).cloned().collect::<Vec<_>>());
    }
    Some((role, Some(all)))
}

/// A name that is safe to write down: others choose it.
pub(super) fn shown(name: &str) -> String {
    name.chars().map(|letter| if letter.is_control() { '?' } else { letter }).take(NAME_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn group(name: &str, role: Role, services: Option<&[&str]>) -> Group {
        let services = services.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        Group { name: name.to_owned(), role, services }
    }

    #[test]
    fn the_highest_role_counts_for_the_services_of_the_groups_that_give_it() {
        let groups = [
            group("all", Role::Viewer, None),
            group("shop", Role::Operator, Some(&["shop", "cart"])),
            group("pay", Role::Operator, Some(&["pay", "cart"])),
            group("sre", Role::Operator, None),
        ];
        let services = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        for (said, expected) in [
            (&["all"][..], Some((Role::Viewer, None))),
            (&["all", "shop"], Some((Role::Operator, services(&["shop", "cart"])))),
            (&["pay", "shop"], Some((Role::Operator, services(&["shop", "cart", "pay"])))),
            (&["shop", "sre"], Some((Role::Operator, None))),
            (&["Shop", "root"], None),
            (&[], None),
        ] {
            assert_eq!(granted(&groups, said), expected, "{said:?}");
        }
    }

    #[test]
    fn who_somebody_is() {
        let settings = Settings { groups: vec![group("a", Role::Viewer, None)], ..Settings::for_tests() };
        let of = |claims: Value| identify(&settings, "s-1", claims.as_object().expect("an object"));
        let user = |claims: Value| of(claims).expect("in a group").user;
        assert_eq!(user(json!({"preferred_username": "jane", "groups": ["a"]})), "jane");
        assert_eq!(user(json!({"preferred_username": 3, "groups": "a"})), "s-1");
        assert_eq!(user(json!({"preferred_username": "j\n\u{1b}[2J", "groups": "a"})), "j??[2J");
        for groups in [json!(null), json!([]), json!(["b"]), json!({"a": true}), json!([["a"]])] {
            assert!(matches!(of(json!({"groups": groups})), Err(Failure::NoRole { .. })));
        }
    }
}
