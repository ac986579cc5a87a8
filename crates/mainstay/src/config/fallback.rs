//! `[route] fallback`: what a client gets in place of an error.

use std::path::Path;
use std::time::Duration;

use mainstay_core::fallback::{Fixed, Policy, STATUSES};
use mainstay_gateway::spec::{Answer, CONTENT_BYTES_MAX, Content, Fallback};

use super::problem::Fault;
use super::reader::{Item, Place, Reader, Section};
use super::{keys, units, words};

const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// A fallback, and where its parts are named.
pub(super) struct Read {
    pub(super) fallback: Fallback,
    pub(super) service: Option<Place>,
    file: Option<Place>,
}

pub(super) fn read(item: &Item<'_>, own_service: &str, has_cache: bool) -> Option<Read> {
    let section = item.section(&keys::FALLBACK)?;
    let service = section.item("service");
    let name = service.as_ref().and_then(Item::text);
    if let (Some(service), Some(name)) = (&service, name)
        && name == own_service
    {
        let fault = Fault::new(format!("the route leads to service `{name}` already: it has failed when this is used"));
        service.error(fault.hint("fall back on another service"));
        return None;
    }
    let empty = section.flag("empty", false);
    let (answer, file) = read_answer(&section, empty.value);
    let stale = section.field("stale", None, |item| item.duration(&(SECOND..=YEAR)).map(Some));
    if stale.is_given && !has_cache {
        let fault = Fault::new("`stale` is a copy from the cache, and the route has none");
        section.reader.error(&stale.place, fault.hint("write cache = true on the route"));
    }
    if name.is_none() && answer.is_none() && stale.value.is_none() {
        let fault = Fault::new("there is nothing to fall back on");
        item.error(fault.hint("name a `service`, a `file`, a `body`, or write empty = true"));
        return None;
    }
    let on = section.field("on", STATUSES.to_vec(), read_statuses);
    let methods = section.field("methods", vec!["GET".to_owned(), "HEAD".to_owned()], |item| {
        let methods: Vec<String> = item.list_or_one().iter().filter_map(|it| it.parsed(words::method)).collect();
        (!methods.is_empty()).then_some(methods)
    });
    let fixed = answer.as_ref().map(|_answer| if empty.value { Fixed::Empty } else { Fixed::Static });
    let policy = Policy {
        on: on.value,
        on_limit: section.flag("on_limit", false).value,
        methods: methods.value,
        stale: stale.value,
        service: name.is_some(),
        fixed,
    };
    let fallback = Fallback { policy, service: name.map(str::to_owned), answer };
    Some(Read { fallback, service: service.map(|item| item.place), file })
}

/// Statuses of answers that count as failures: a status, a range, or a list of both.
fn read_statuses(item: &Item<'_>) -> Option<Vec<(u16, u16)>> {
    let read = |item: &Item<'_>| {
        let text = item.number().map(str::to_owned).or_else(|| item.text().map(str::to_owned))?;
        match words::statuses(&text) {
            Ok((from, to)) if from >= 400 => Some((from, to)),
            Ok(_) => {
                item.error(Fault::new("only errors, 400 to 599, are worth a fallback"));
                None
            }
            Err(fault) => {
                item.error(fault);
                None
            }
        }
    };
    Some(item.list_or_one().iter().filter_map(read).collect())
}

fn read_answer(section: &Section<'_>, empty: bool) -> (Option<Answer>, Option<Place>) {
    let body = section.field("body", None, |item| item.text().map(|text| Some(text.to_owned())));
    let file = section.field("file", None, |item| item.path().map(Some));
    let status = section.integer("status", if empty { 204 } else { 200 }, 200..=599);
    let content_type = section.field("content_type", None, |item| item.parsed(words::header_value).map(Some));
    let given: Vec<&Place> =
        [(body.is_given, &body.place), (file.is_given, &file.place)].iter().filter(|it| it.0).map(|it| it.1).collect();
    if empty && let [first, ..] = given.as_slice() {
        section.reader.error(first, Fault::new("an empty answer has no body").hint("leave this or `empty` out"));
    } else if let [_first, second] = given.as_slice() {
        section.reader.error(second, Fault::new("either `body` or `file`, not both"));
    }
    let content = match (body.value, file.value) {
        (_, Some(path)) => Content::File(path),
        (Some(text), None) => Content::Text(text),
        (None, None) if empty => Content::None,
        (None, None) => {
            for (key, is_given, place) in [
                ("status", status.is_given, &status.place),
                ("content_type", content_type.is_given, &content_type.place),
            ] {
                if is_given && !body.is_given && !file.is_given {
                    let fault = Fault::new(format!("`{key}` says nothing without a body"));
                    section.reader.error(place, fault.hint("name a `file` or a `body`, or write empty = true"));
                }
            }
            return (None, None);
        }
    };
    let is_bodiless = matches!(status.value, 204 | 205 | 304);
    if is_bodiless && content != Content::None && status.is_good {
        let fault = Fault::new(format!("an answer with status {} has no body", status.value));
        section.reader.error(&status.place, fault.hint("choose another status, or write empty = true"));
    }
    let content_type = content_type.value.unwrap_or_else(|| guess(&content).to_owned());
    let answer = Answer { status: u16::try_from(status.value).unwrap_or(200), content_type, content };
    (Some(answer), file.is_given.then_some(file.place))
}

/// The media type of a file, by its name.
fn guess(content: &Content) -> &'static str {
    let Content::File(path) = content else { return "text/plain; charset=utf-8" };
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("json") => "application/json",
        Some("xml") => "application/xml",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("txt") => "text/plain; charset=utf-8",
        Some(_) | None => "application/octet-stream",
    }
}

/// Looks at the file that a fixed answer is made of.
pub(super) fn check_file(reader: &Reader<'_>, read: &Read) {
    let (Some(place), Some(Answer { content: Content::File(path), .. })) = (&read.file, &read.fallback.answer) else {
        return;
    };
    if let Err(why) = look(path) {
        let fault = Fault::new(format!("{}: {why}", path.display()));
        reader.error(place, fault.hint("paths are relative to the configuration's folder"));
    }
}

fn look(path: &Path) -> Result<(), String> {
    let about = std::fs::File::open(path).and_then(|file| file.metadata()).map_err(|error| error.to_string())?;
    if !about.is_file() {
        return Err("this is no file".to_owned());
    }
    if about.len() > CONTENT_BYTES_MAX {
        let most = units::show_size(CONTENT_BYTES_MAX);
        return Err(format!("the file is larger than {most}; it would stay in memory"));
    }
    Ok(())
}
