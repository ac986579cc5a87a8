//! Entrances for fuzzing. Nothing else may use them.

use super::*;

/// What a provider sends: its document, its keys and an ID token, one on each line. The claims of a token count as well whose
/// signature nobody has checked, since a fuzzer can make no other one.
pub fn said(bytes: &[u8]) {
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let (document, keys) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let text = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let group = Group { name: "operators".to_owned(), role: Role::Operator, services: None };
    let provider = Provider::new(Settings { groups: vec![group], ..Settings::for_tests() });
    if let (Ok(known), Ok(token)) = (discovery::known(document, keys, &provider.settings), text.parse::<CoreIdToken>())
    {
        let checked = provider.check(&known, &token, &Nonce::new("nonce".to_owned()));
        // Nobody has the key that is in the seeds.
        assert!(checked.is_err());
        let _way = auth_type(&known);
    }
    if let Some(claims) = claims::of_token(&text)
        && let Ok(who) = claims::identify(&provider.settings, "subject", &claims)
    {
        assert_eq!(who.role, Role::Operator);
        assert!(!who.user.chars().any(char::is_control) && who.user.chars().count() <= 64);
    }
    if let Some(cookie) = pending::cookie_of(&text) {
        assert!(!cookie.contains(';'));
    }
}
