//! Users and tokens: one document, so that a change of it is one comparison and one write.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::precondition::{Changed, Condition, Tag};
use crate::role::Role;
use crate::{password, secret};

/// Users, at most.
const USERS_MAX: usize = 500;
/// Tokens, at most; expired ones make room.
const TOKENS_MAX: usize = 1_000;
/// Services that a user or token is limited to, at most.
const SERVICES_MAX: usize = 32;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 64;

/// Who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    #[serde(default)]
    users: BTreeMap<String, User>,
    /// By id.
    #[serde(default)]
    tokens: BTreeMap<String, Token>,
}

/// Somebody with a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// What they may do.
    pub role: Role,
    /// The services that they may change; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<String>>,
    /// Seconds since 1970.
    pub created_unix_s: u64,
    /// The hash of the password.
    pub password: String,
}

impl User {
    /// Its version. It says nothing of the password: that is in it as a hash with a salt, which is hashed once more.
    pub fn tag(&self) -> Tag {
        Tag::of(self)
    }
}

/// A program's right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The services that it may change; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<String>>,
    /// Seconds since 1970.
    pub created_unix_s: u64,
    /// Seconds since 1970; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_unix_s: Option<u64>,
    /// Who made it.
    pub by: String,
    /// SHA-256 of the token.
    pub digest: String,
}

impl Token {
    /// Its version.
    pub fn tag(&self) -> Tag {
        Tag::of(self)
    }
}

/// Somebody or something new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The services that it may change; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<String>>,
}

/// Why a directory is not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// The name is not one.
    #[error("`{0}` is no name: 1 to {NAME_BYTES_MAX} letters, digits and . _ - @")]
    Name(String),
    /// The list of services is empty or too long.
    #[error("a scope names 1 to {SERVICES_MAX} services")]
    Services,
    /// There is one of that name.
    #[error("there is a user `{0}` already")]
    Taken(String),
    /// There is none of that name.
    #[error("there is no {0} `{1}`")]
    Unknown(&'static str, String),
    /// There are too many.
    #[error("there are {1} {0} already, which is the most")]
    Full(&'static str, usize),
    /// The password.
    #[error(transparent)]
    Password(#[from] password::PasswordError),
    /// There is no randomness.
    #[error(transparent)]
    Random(#[from] secret::NoRandomness),
    /// It is not as it was seen.
    #[error(transparent)]
    Changed(#[from] Changed),
}

impl Directory {
    /// All users, by name.
    pub fn users(&self) -> &BTreeMap<String, User> {
        &self.users
    }

    /// All tokens, by id.
    pub fn tokens(&self) -> &BTreeMap<String, Token> {
        &self.tokens
    }

    /// The version of all users together.
    pub fn users_tag(&self) -> Tag {
        Tag::of(&self.users)
    }

    /// The version of all tokens together.
    pub fn tokens_tag(&self) -> Tag {
        Tag::of(&self.tokens)
    }

    /// Refuses to go on unless a user is of one of these versions.
    ///
    /// # Errors
    /// If there is none of that name, or it is of another version.
    pub fn check_user(&self, name: &str, condition: &Condition) -> Result<(), DirectoryError> {
        let user = self.users.get(name).ok_or_else(|| DirectoryError::Unknown("user", name.to_owned()))?;
        Ok(condition.check(Some(&user.tag()))?)
    }

    /// As [`Directory::check_user`], for a token.
    ///
    /// # Errors
    /// If there is none of that id, or it is of another version.
    pub fn check_token(&self, id: &str, condition: &Condition) -> Result<(), DirectoryError> {
        let token = self.tokens.get(id).ok_or_else(|| DirectoryError::Unknown("token", id.to_owned()))?;
        Ok(condition.check(Some(&token.tag()))?)
    }

    /// Adds a user with the hash of their password ([`password::hash`], which takes a while).
    ///
    /// # Errors
    /// If the name is taken or none, or there are too many.
    pub fn add_user(&mut self, grant: Grant, password: String, now_unix_s: u64) -> Result<(), DirectoryError> {
        check(&grant)?;
        if self.users.contains_key(&grant.name) {
            return Err(DirectoryError::Taken(grant.name));
        }
        if self.users.len() >= USERS_MAX {
            return Err(DirectoryError::Full("users", USERS_MAX));
        }
        let user = User { role: grant.role, services: grant.services, created_unix_s: now_unix_s, password };
        self.users.insert(grant.name, user);
        Ok(())
    }

    /// Gives a user the hash of another password, which ends all their sessions.
    ///
    /// # Errors
    /// If there is no such user.
    pub fn set_password(&mut self, name: &str, password: String) -> Result<(), DirectoryError> {
        let unknown = || DirectoryError::Unknown("user", name.to_owned());
        self.users.get_mut(name).ok_or_else(unknown)?.password = password;
        Ok(())
    }

    /// Removes a user, which ends all their sessions.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn remove_user(&mut self, name: &str) -> Result<(), DirectoryError> {
        self.users.remove(name).map(drop).ok_or_else(|| DirectoryError::Unknown("user", name.to_owned()))
    }

    /// Makes a token, and answers its id and itself, which is not kept.
    ///
    /// # Errors
    /// If the name is none, there are too many, or there is no randomness.
    pub fn add_token(
        &mut self,
        grant: Grant,
        expires_unix_s: Option<u64>,
        by: &str,
        now_unix_s: u64,
    ) -> Result<(String, String), DirectoryError> {
        check(&grant)?;
        if self.tokens.len() >= TOKENS_MAX {
            self.tokens.retain(|_id, token| token.expires_unix_s.is_none_or(|end| end > now_unix_s));
        }
        if self.tokens.len() >= TOKENS_MAX {
            return Err(DirectoryError::Full("tokens", TOKENS_MAX));
        }
        let secret = secret::make(secret::TOKEN_PREFIX)?;
        let digest = secret::digest(secret.as_bytes());
        let Grant { name, role, services } = grant;
        // The id is the digest's beginning: it says nothing of the token, and finds it.
        let id = id_of(&digest);
        let token =
            Token { name, role, services, created_unix_s: now_unix_s, expires_unix_s, by: by.to_owned(), digest };
        self.tokens.insert(id.clone(), token);
        Ok((id, secret))
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// If there is none of that id.
    pub fn remove_token(&mut self, id: &str) -> Result<Token, DirectoryError> {
        self.tokens.remove(id).ok_or_else(|| DirectoryError::Unknown("token", id.to_owned()))
    }

    /// The token that is shown, unless it is unknown or expired.
    pub fn token(&self, shown: &str, now_unix_s: u64) -> Option<(&str, &Token)> {
        if !shown.starts_with(secret::TOKEN_PREFIX) || shown.len() > 128 {
            return None;
        }
        let digest = secret::digest(shown.as_bytes());
        let (id, token) = self.tokens.get_key_value(&id_of(&digest))?;
        let is_right = secret::same(&token.digest, &digest);
        let lives = token.expires_unix_s.is_none_or(|end| end > now_unix_s);
        (is_right && lives).then_some((id.as_str(), token))
    }

    /// The user with this name and password. Takes the same time whether there is such a user or not.
    pub fn user(&self, name: &str, password: &str) -> Option<&User> {
        let user = self.users.get(name);
        let is_right = password::is_right(password, user.map(|user| user.password.as_str()));
        user.filter(|_user| is_right)
    }
}

fn id_of(digest: &str) -> String {
    digest.chars().take(12).collect()
}

fn check(grant: &Grant) -> Result<(), DirectoryError> {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    if !(1..=NAME_BYTES_MAX).contains(&grant.name.len()) || !grant.name.bytes().all(is_sign) {
        return Err(DirectoryError::Name(grant.name.chars().take(NAME_BYTES_MAX).collect()));
    }
    let is_too_much =
        |names: &Vec<String>| !(1..=SERVICES_MAX).contains(&names.len()) || names.iter().any(|name| name.len() > 256);
    if grant.services.as_ref().is_some_and(is_too_much) { Err(DirectoryError::Services) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(name: &str) -> Grant {
        Grant { name: name.to_owned(), role: Role::Operator, services: None }
    }

    fn hash(password: &str) -> String {
        password::hash(password).expect("long enough")
    }

    #[test]
    fn a_token_is_shown_once_and_found_until_it_expires_or_is_revoked() {
        let mut directory = Directory::default();
        let (id, token) = directory.add_token(grant("ci"), Some(200), "uid 0", 100).expect("made");
        let kept = serde_json::to_string(&directory).expect("JSON");
        assert!(!kept.contains(&token), "{kept}");
        assert_eq!(directory.token(&token, 199).map(|(id, token)| (id, token.role)), Some((&*id, Role::Operator)));
        assert_eq!(directory.token(&token, 200), None, "expired");
        for wrong in ["", "mst_", &token[..token.len() - 1], &token.replace("mst_", "mst-"), &format!("{token}A")] {
            assert_eq!(directory.token(wrong, 150), None, "{wrong}");
        }
        assert_eq!(serde_json::from_str::<Directory>(&kept).expect("the same"), directory);
        directory.remove_token(&id).expect("there");
        assert_eq!(directory.token(&token, 150), None, "revoked");
    }

    #[test]
    fn users_have_passwords_and_names() {
        let mut directory = Directory::default();
        directory.add_user(grant("jane"), hash("a long password"), 1).expect("added");
        assert_eq!(
            directory.add_user(grant("jane"), hash("a long password"), 1),
            Err(DirectoryError::Taken("jane".to_owned()))
        );
        assert!(directory.add_user(grant("jane doe"), hash("a long password"), 1).is_err());
        assert!(directory.user("jane", "a long password").is_some());
        assert!(directory.user("jane", "another password").is_none());
        assert!(directory.user("joe", "a long password").is_none());
        directory.set_password("jane", hash("another password")).expect("set");
        assert!(directory.user("jane", "a long password").is_none());
        directory.remove_user("jane").expect("there");
        assert!(directory.user("jane", "another password").is_none());
        assert!(serde_json::to_string(&directory).is_ok_and(|text| !text.contains("password\":\"a")));
    }

    #[test]
    fn expired_tokens_make_room_and_others_do_not() {
        let mut directory = Directory::default();
        for _each in 0..TOKENS_MAX {
            directory.add_token(grant("t"), Some(10), "x", 0).expect("room");
        }
        assert!(matches!(directory.add_token(grant("t"), None, "x", 9), Err(DirectoryError::Full("tokens", _))));
        directory.add_token(grant("t"), None, "x", 10).expect("all others have expired");
        assert_eq!(directory.tokens().len(), 1);
    }
}
