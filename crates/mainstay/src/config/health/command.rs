//! `service.health.command`: a program as a check.

use mainstay_gateway::spec::Probe;

use super::super::problem::Fault;
use super::super::reader::{Item, Section};

const ARGUMENTS_MAX: usize = 64;

pub(super) fn read(section: &Section<'_>, item: &Item<'_>) -> Probe {
    let items = item.list();
    if item.is_list() && (items.is_empty() || items.len() > ARGUMENTS_MAX) {
        let fault = Fault::new("a program and its arguments are needed here, 64 at most");
        item.error(fault.hint("write command = [\"/usr/local/bin/check\", \"{host}\", \"{port}\"]"));
    }
    let mut argv: Vec<String> = items.iter().filter_map(|item| item.parsed(argument)).collect();
    if let Some(program) = argv.first_mut()
        && program.contains('/')
    {
        // As every other file that a configuration names.
        *program = item.reader.resolve(program).display().to_string();
    }
    if argv.first().is_some_and(String::is_empty)
        && let Some(first) = items.first()
    {
        first.error(Fault::new("the program's name is empty"));
    }
    let degraded = section.field("degraded_code", Vec::new(), read_codes).value;
    let user = section.field("user", None, |item| item.parsed(user).map(Some)).value;
    Probe::Command { argv, degraded, user }
}

fn argument(text: &str) -> Result<String, Fault> {
    if text.contains('\0') {
        return Err(Fault::new("an argument cannot hold a NUL"));
    }
    Ok(text.to_owned())
}

fn read_codes(item: &Item<'_>) -> Option<Vec<u8>> {
    let items = item.list_or_one();
    let code = |item: &Item<'_>| item.integer(&(1..=255)).and_then(|code| u8::try_from(code).ok());
    let codes: Vec<u8> = items.iter().filter_map(code).collect();
    (codes.len() == items.len()).then_some(codes)
}

/// A name, or `UID:GID`.
fn user(text: &str) -> Result<String, Fault> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(is_name) {
        return Err(Fault::new("a user is needed here").hint("write \"nobody\", or numbers: \"65534:65534\""));
    }
    Ok(text.to_owned())
}
