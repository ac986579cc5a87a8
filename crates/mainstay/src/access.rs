//! `mainstay access`: users and tokens.

use std::io::{BufRead, IsTerminal, Read};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use mainstay_admin::role::Role;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde::Serialize;

use crate::admin::identities::{Done, MadeToken, NewPassword, NewToken, NewUser, TokenStatus, UserStatus};
use crate::client::{self, AdminArgs, Place};
use crate::config;
use crate::failure::Failure;
use crate::output;

const TOKENS: &str = "/api/v1/access/tokens";
const USERS: &str = "/api/v1/access/users";

/// Arguments of `mainstay access`.
#[derive(Debug, Args)]
pub struct AccessArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What programs show
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// People with passwords
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make one; it is printed once
    Create {
        /// What it is for
        name: String,
        #[command(flatten)]
        grant: GrantArgs,
        /// How long it can be used, such as 90d [default: for ever]
        #[arg(long = "for", value_name = "TIME")]
        lasts: Option<String>,
    },
    /// All of them, without themselves
    List,
    /// End one
    Revoke {
        /// Its id, as `list` shows it
        id: String,
    },
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Add one; the password is asked for, or read from standard input
    Add {
        /// The name
        name: String,
        #[command(flatten)]
        grant: GrantArgs,
    },
    /// All of them
    List,
    /// Remove one, and end their sessions
    Remove {
        /// The name
        name: String,
    },
    /// Give one another password, and end their sessions
    Password {
        /// The name
        name: String,
    },
}

#[derive(Debug, Args)]
struct GrantArgs {
    /// viewer, operator or admin
    #[arg(long)]
    role: Role,
    /// A service that may be changed; may be repeated [default: all]
    #[arg(long = "service", value_name = "SERVICE")]
    services: Vec<String>,
}

impl GrantArgs {
    fn services(&self) -> Option<Vec<String>> {
        (!self.services.is_empty()).then(|| self.services.clone())
    }
}

/// Carries the command out.
///
/// # Errors
/// If no node answers, or it refuses.
pub fn access(args: &AccessArgs) -> Result<ExitCode, Failure> {
    let places = [args.admin.place_for_changes()];
    match &args.command {
        Command::Token { command } => token(args, &places, command)?,
        Command::User { command } => user(args, &places, command)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn token(args: &AccessArgs, places: &[Place], command: &TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Create { name, grant, lasts } => {
            let lasts = lasts.as_deref().map(config::parse_duration).transpose();
            let seconds = lasts.map_err(|why| Failure::usage(format!("--for: {why}")))?.map(|time| time.as_secs());
            let request = NewToken { name: name.clone(), role: grant.role, services: grant.services(), seconds };
            let made: MadeToken = client::ask(places, Method::POST, TOKENS, Some(sent(&request)?))?;
            if args.admin.json {
                return output::json(&made);
            }
            let until = made.expires_at.map(|at| format!(" until {at}")).unwrap_or_default();
            eprintln!("token {}{until}; it is shown only now:", made.id);
            output::text(&format!("{}\n", made.token))
        }
        TokenCommand::List => {
            let tokens: Vec<TokenStatus> = client::ask(places, Method::GET, TOKENS, None)?;
            if args.admin.json {
                return output::json(&tokens);
            }
            let line = |it: &TokenStatus| {
                let until = it.expires_at.as_ref().map(|at| format!("  until {at}")).unwrap_or_default();
                let used = it.last_used_at.as_deref().unwrap_or("-");
                let over = if it.expired { " (expired)" } else { "" };
                let services = scope(&it.services);
                format!("{}  {}  {}{services}{until}{over}  last used {used}\n", it.id, it.name, it.role)
            };
            output::text(&all(tokens.iter().map(line), "there are no tokens\n"))
        }
        TokenCommand::Revoke { id } => {
            let done: Done = client::ask(places, Method::DELETE, &format!("{TOKENS}/{}", plain(id)?), None)?;
            if args.admin.json { output::json(&done) } else { output::text(&format!("{} is revoked\n", done.name)) }
        }
    }
}

fn user(args: &AccessArgs, places: &[Place], command: &UserCommand) -> Result<(), Failure> {
    let (done, what) = match command {
        UserCommand::List => {
            let users: Vec<UserStatus> = client::ask(places, Method::GET, USERS, None)?;
            if args.admin.json {
                return output::json(&users);
            }
            let line = |it: &UserStatus| format!("{}  {}{}\n", it.name, it.role, scope(&it.services));
            return output::text(&all(users.iter().map(line), "there are no users\n"));
        }
        UserCommand::Add { name, grant } => {
            let (role, services) = (grant.role, grant.services());
            let request = NewUser { name: name.clone(), role, services, password: password()? };
            (client::ask::<Done>(places, Method::POST, USERS, Some(sent(&request)?))?, "is added")
        }
        UserCommand::Remove { name } => {
            let path = format!("{USERS}/{}", plain(name)?);
            (client::ask::<Done>(places, Method::DELETE, &path, None)?, "is removed")
        }
        UserCommand::Password { name } => {
            let user = format!("{USERS}/{}", plain(name)?);
            // While somebody types, somebody else may change the same user.
            let UserStatus { etag, .. } = client::ask(places, Method::GET, &user, None)?;
            let request = sent(&NewPassword { password: password()? })?;
            let path = format!("{user}/password");
            (client::ask_if::<Done>(places, Method::PUT, &path, Some(request), &etag)?, "has another password")
        }
    };
    if args.admin.json { output::json(&done) } else { output::text(&format!("{} {what}\n", done.name)) }
}

fn sent<T: Serialize>(request: &T) -> Result<String, Failure> {
    serde_json::to_string(request).map_err(|error| Failure::new(error.to_string()))
}

/// What can stand in a path as it is.
fn plain(name: &str) -> Result<&str, Failure> {
    let is_plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte));
    if is_plain { Ok(name) } else { Err(Failure::usage(format!("`{name}` is no name"))) }
}

fn scope(services: &Option<Vec<String>>) -> String {
    services.as_ref().map(|services| format!(" of {}", services.join(", "))).unwrap_or_default()
}

fn all(lines: impl Iterator<Item = String>, none: &str) -> String {
    let text: String = lines.collect();
    if text.is_empty() { none.to_owned() } else { text }
}

/// Twice from a terminal, which does not show it; else the first line of standard input.
fn password() -> Result<String, Failure> {
    let stdin = std::io::stdin();
    let unread = |error: std::io::Error| Failure::new(format!("the password cannot be read: {error}"));
    if !stdin.is_terminal() {
        let mut text = String::new();
        stdin.lock().take(4_096).read_line(&mut text).map_err(unread)?;
        return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
    }
    let ask = |what: &str| {
        eprint!("{what}: ");
        let before = tcgetattr(&stdin).map_err(|error| unread(error.into()))?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &hidden).map_err(|error| unread(error.into()))?;
        let mut text = String::new();
        let read = stdin.lock().read_line(&mut text);
        // Whatever came of it, the terminal shows again what is typed.
        let _shown_again = tcsetattr(&stdin, OptionalActions::Flush, &before);
        eprintln!();
        read.map_err(unread)?;
        Ok::<_, Failure>(text.trim_end_matches(['\r', '\n']).to_owned())
    };
    let password = ask("password")?;
    if password != ask("once more")? {
        return Err(Failure::new("the passwords differ".to_owned()));
    }
    Ok(password)
}
