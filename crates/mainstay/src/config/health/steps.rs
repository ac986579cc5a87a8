//! `service.health.steps`: a transaction of several requests.

use mainstay_gateway::spec::script::{Capture, Expected, Pattern, Script, Source, Step, Template, is_name};

use super::super::keys;
use super::super::problem::Fault;
use super::super::reader::{Item, Section, clip};
use super::super::words;
use super::json;

const STEPS_MAX: usize = 16;
const HEADERS_MAX: usize = 32;
const CAPTURES_MAX: usize = 16;
const BODY_MAX: usize = 64 * 1024;
/// Headers that the check writes itself.
const OWN: &[&str] =
    &["host", "connection", "content-length", "transfer-encoding", "upgrade", "expect", "te", "trailer"];

pub(super) fn read(section: &Section<'_>) -> Script {
    let entries = section.sections("steps", &keys::HEALTH_STEP);
    if let Some(item) = section.item("steps").filter(|item| item.is_list())
        && !(1..=STEPS_MAX).contains(&entries.len())
    {
        item.error(Fault::new(format!("{} steps, where 1 to {STEPS_MAX} are allowed", entries.len())));
    }
    let mut known: Vec<String> = Vec::new();
    let mut steps = Vec::new();
    for entry in &entries {
        let step = read_step(entry, &known);
        known.extend(step.captures.iter().map(|capture| capture.name.clone()));
        steps.push(step);
    }
    Script { steps }
}

fn read_step(section: &Section<'_>, known: &[String]) -> Step {
    let path = section.required("path", "write path = \"/orders\"");
    let path = path.and_then(|item| item.parsed(|text| path_of(text, known)));
    let body = section.field("body", String::new(), |item| item.parsed(body_of)).value;
    let expect = section.field("expect", vec![super::EXPECT], super::read_expect).value;
    Step {
        method: section.field("method", "GET".to_owned(), |item| item.parsed(words::method)).value,
        path: path.unwrap_or_else(|| Template::parse("/")),
        headers: section.item("headers").map(|item| read_headers(&item, known)).unwrap_or_default(),
        // Braces are everywhere in JSON: what is no known name stands for itself.
        body: Template::parse(&body),
        expect: Expected(expect),
        json: section.item("json").and_then(|item| json::read(&item)),
        captures: section.item("capture").map(|item| read_captures(&item)).unwrap_or_default(),
    }
}

pub(in crate::config) fn body_of(text: &str) -> Result<String, Fault> {
    if text.len() > BODY_MAX {
        return Err(Fault::new(format!("a body of {} bytes is too long", text.len())).hint("at most 65536 are allowed"));
    }
    Ok(text.to_owned())
}

/// A text whose names have values by then.
pub(in crate::config) fn template(text: &str, known: &[String]) -> Result<Template, Fault> {
    let template = Template::parse(text);
    if let Some(name) = template.names().find(|name| !known.iter().any(|known| known == name)) {
        let fault = Fault::new(format!("no step before this one captures `{}`", clip(name)));
        return Err(fault.hint("write capture = { name = { json = \"/id\" } } at the step whose answer holds it"));
    }
    Ok(template)
}

fn path_of(text: &str, known: &[String]) -> Result<Template, Fault> {
    let template = template(text, known)?;
    // A path may begin with a captured one.
    let mut sample = if text.starts_with('{') { format!("/{text}") } else { text.to_owned() };
    for name in template.names() {
        sample = sample.replace(&format!("{{{name}}}"), "0");
    }
    words::target(&sample)?;
    Ok(template)
}

pub(in crate::config) fn read_headers(item: &Item<'_>, known: &[String]) -> Vec<(String, Template)> {
    let mut headers = Vec::new();
    for (name, _span, value) in Section::free_entries(item, HEADERS_MAX) {
        let name = match words::header_name(name) {
            Ok(name) if OWN.contains(&name.as_str()) => {
                let fault = Fault::new(format!("the check writes `{name}` itself"));
                value.error(if name == "host" { fault.hint("write `host` beside `steps`") } else { fault });
                continue;
            }
            Ok(name) => name,
            Err(fault) => {
                value.error(fault);
                continue;
            }
        };
        if let Some(value) = value.parsed(|text| template(&words::header_value(text)?, known)) {
            headers.push((name, value));
        }
    }
    headers
}

pub(in crate::config) fn read_captures(item: &Item<'_>) -> Vec<Capture> {
    let mut captures = Vec::new();
    for (name, _span, item) in Section::free_entries(item, CAPTURES_MAX) {
        if !is_name(name) {
            let fault = Fault::new(format!("`{}` cannot be the name of a value", clip(name)));
            item.error(fault.hint("letters, digits and _ are allowed, and a digit is not the first"));
            continue;
        }
        if let Some(from) = item.section(&keys::HEALTH_CAPTURE).and_then(|section| read_source(&section)) {
            captures.push(Capture { name: name.to_owned(), from });
        }
    }
    captures
}

fn read_source(section: &Section<'_>) -> Option<Source> {
    let pattern = |item: &Item<'_>| {
        item.parsed(|text| {
            Pattern::new(text).map_err(|error| Fault::new(format!("not a regular expression: {}", clip(&error))))
        })
    };
    match (section.item("json"), section.item("header"), section.item("regex")) {
        (Some(at), None, None) => at.parsed(json::pointer).map(Source::Json),
        (None, Some(name), regex) => {
            let name = name.parsed(words::header_name)?;
            match regex {
                Some(regex) => Some(Source::Header(name, Some(pattern(&regex)?))),
                None => Some(Source::Header(name, None)),
            }
        }
        (None, None, Some(regex)) => pattern(&regex).map(Source::Body),
        (Some(_), _, _) | (None, None, None) => {
            let fault = Fault::new("one of `json`, `header` and `regex` is needed, or `header` with `regex`");
            section.reader.error(&section.place, fault);
            None
        }
    }
}
