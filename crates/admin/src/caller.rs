//! Who asks, and what they may do.

use crate::endpoint::{About, Named};
use crate::openapi;
use crate::role::{ANYONE, Role};

/// How somebody has shown who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Means {
    /// Not at all.
    Nothing,
    /// By opening the admin socket.
    Socket,
    /// By a token.
    Token,
    /// By a session, whose changes need this word.
    Session {
        /// What `x-mainstay-csrf` has to say.
        csrf: String,
    },
    /// Another node of the cluster asks for somebody.
    Node,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// As the audit trail calls them: `uid 0`, `token ci (1a2b3c4d)`, `user jane`, `anybody`.
    pub name: String,
    /// What they may do; none without credentials where those are needed.
    pub role: Option<Role>,
    /// The services that they may change; none: all.
    pub services: Option<Vec<String>>,
    /// How they have shown who they are.
    pub means: Means,
    /// From where.
    pub from: String,
}

/// Why somebody may not use an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// They have to show who they are.
    Unknown,
    /// Their role is too small.
    Role,
    /// They may change only some services, and this is not about one of those.
    Service,
}

impl Caller {
    /// Who is on record for what they write: themselves. Only over the socket, where one user of the system stands for
    /// several people, does the name that is `said` count, beside that user's.
    pub fn author(&self, said: &str) -> String {
        match &self.means {
            Means::Socket if !said.trim().is_empty() && said != self.name => format!("{} ({})", said.trim(), self.name),
            Means::Socket | Means::Nothing | Means::Token | Means::Session { .. } | Means::Node => self.name.clone(),
        }
    }

    /// Whether they may use an endpoint with this path and body.
    ///
    /// # Errors
    /// Why not.
    pub fn may(&self, about: &About, path: &str, body: &[u8]) -> Result<(), Refused> {
        if !about.least.admits(self.role) {
            return Err(if self.role.is_none() { Refused::Unknown } else { Refused::Role });
        }
        // What anyone may do is about themselves: whoever is limited to some services logs out, too.
        let is_limited = about.changes && about.least != ANYONE;
        let Some(services) = self.services.as_ref().filter(|_services| is_limited) else { return Ok(()) };
        let named = match about.service {
            Some(Named::Body(member)) => named_in_body(body, member),
            Some(Named::Path(part)) => named_in_path(about.path, path, part),
            None => None,
        };
        if named.is_some_and(|named| services.contains(&named)) { Ok(()) } else { Err(Refused::Service) }
    }
}

/// The handler reads the same bytes the same way: of two members of one name serde_json refuses or takes the last, and a
/// value takes the last, so that what is checked here is what is changed there.
fn named_in_body(body: &[u8], member: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(value.get(member)?.as_str()?.to_owned())
}

fn named_in_path(pattern: &str, path: &str, part: &str) -> Option<String> {
    let at = pattern.split('/').position(|it| openapi::parts(it).any(|name| name == part))?;
    let named = path.split('/').nth(at)?;
    // A name has no sign that would be written otherwise in a path.
    (!named.contains('%')).then(|| named.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint;
    use crate::role::{ADMIN, ANYONE, OPERATOR, VIEWER};

    fn caller(role: Option<Role>, services: Option<&[&str]>) -> Caller {
        let services = services.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        Caller { name: "x".to_owned(), role, services, means: Means::Token, from: String::new() }
    }

    #[test]
    fn nobody_writes_in_the_name_of_somebody_else() {
        let token = caller(Some(Role::Operator), None);
        assert_eq!((token.author("jane"), token.author("")), ("x".to_owned(), "x".to_owned()));
        let socket = Caller { means: Means::Socket, name: "uid 0".to_owned(), ..token };
        assert_eq!((socket.author("jane "), socket.author(" ")), ("jane (uid 0)".to_owned(), "uid 0".to_owned()));
    }

    #[test]
    fn a_scope_holds_for_changes_only() {
        let about = |draft: endpoint::Draft| draft.by::<_, _, ()>(async || "").about;
        let look = about(endpoint::get("/api/v1/x", VIEWER, "x"));
        let drain = about(endpoint::post("/api/v1/x", OPERATOR, "x").service_in_body("service"));
        let weigh = about(endpoint::put("/api/v1/services/{name}/weight", OPERATOR, "x").service_in_path("name"));
        let purge = about(endpoint::post("/api/v1/purge", OPERATOR, "x"));
        let token = about(endpoint::post("/api/v1/token", ADMIN, "x"));
        let session = about(endpoint::delete("/api/v1/session", ANYONE, "x"));
        let scoped = caller(Some(Role::Operator), Some(&["shop"]));
        assert_eq!(scoped.may(&session, "/api/v1/session", b""), Ok(()));
        assert_eq!(scoped.may(&look, "/api/v1/x", b""), Ok(()));
        assert_eq!(scoped.may(&drain, "/api/v1/x", br#"{"service": "shop"}"#), Ok(()));
        for body in [&br#"{"service": "pay"}"#[..], b"", b"{}", br#"{"service": ["shop"]}"#] {
            assert_eq!(scoped.may(&drain, "/api/v1/x", body), Err(Refused::Service));
        }
        assert_eq!(scoped.may(&weigh, "/api/v1/services/shop/weight", b""), Ok(()));
        assert_eq!(scoped.may(&weigh, "/api/v1/services/pay/weight", b""), Err(Refused::Service));
        assert_eq!(scoped.may(&weigh, "/api/v1/services/sh%6fp/weight", b""), Err(Refused::Service));
        assert_eq!(scoped.may(&purge, "/api/v1/purge", b""), Err(Refused::Service));
        assert_eq!(scoped.may(&token, "/api/v1/token", b""), Err(Refused::Role));
        assert_eq!(caller(Some(Role::Operator), None).may(&purge, "/api/v1/purge", b""), Ok(()));
        assert_eq!(caller(None, None).may(&look, "/api/v1/x", b""), Err(Refused::Unknown));
    }
}
