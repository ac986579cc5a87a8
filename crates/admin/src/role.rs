//! What people and programs may do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What somebody may do; each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees everything that holds no secret.
    Viewer,
    /// Steers traffic: drains, weights, moves, silences.
    Operator,
    /// Changes what is served and who may do what, and sees texts that may hold secrets.
    Admin,
}

impl Role {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Viewer, Self::Operator, Self::Admin];
        let found = all.into_iter().find(|role| role.word() == text);
        found.ok_or_else(|| format!("`{text}` is no role: it is viewer, operator or admin"))
    }
}

/// The least that an endpoint asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Least {
    /// Nothing: whoever reaches the interface.
    Anyone,
    /// This role.
    Role(Role),
}

/// Whoever reaches the interface.
pub const ANYONE: Least = Least::Anyone;
/// Those who may look.
pub const VIEWER: Least = Least::Role(Role::Viewer);
/// Those who may steer.
pub const OPERATOR: Least = Least::Role(Role::Operator);
/// Those who may do everything.
pub const ADMIN: Least = Least::Role(Role::Admin);

impl Least {
    /// Whether somebody with this role, if any, may use the endpoint.
    pub fn admits(self, role: Option<Role>) -> bool {
        match self {
            Self::Anyone => true,
            Self::Role(least) => role.is_some_and(|role| role >= least),
        }
    }
}

impl fmt::Display for Least {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::Role(role) => role.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_what_those_before_it_may() {
        let roles = [None, Some(Role::Viewer), Some(Role::Operator), Some(Role::Admin)];
        for (at, least) in [ANYONE, VIEWER, OPERATOR, ADMIN].into_iter().enumerate() {
            let admitted: Vec<bool> = roles.iter().map(|role| least.admits(*role)).collect();
            let expected: Vec<bool> = (0..roles.len()).map(|role| role >= at).collect();
            assert_eq!(admitted, expected, "{least}");
        }
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for role in [Role::Viewer, Role::Operator, Role::Admin] {
            assert_eq!(role.word().parse(), Ok(role));
        }
        assert!("root".parse::<Role>().is_err());
    }
}
