//! Errors of syntax. The parser goes on after each, but what it makes of the rest is not always worth reading.

use toml::de::Error;

use super::problem::Fault;
use super::reader::{Place, Reader};

/// Marks of messages that mean that a bracket or quote is open and everything after it is misunderstood.
const DERAILED: &[&str] = &["unclosed", "missing comma", "inline table", "array", "multi-line"];

/// Reports the first error of each line. Answers the last line of which anything can be said.
pub(super) fn report(reader: &Reader<'_>, errors: &[Error]) -> usize {
    let mut found: Vec<(usize, Place, &Error)> = errors
        .iter()
        .map(|error| Place { path: String::new(), span: error.span().unwrap_or(0..0) })
        .zip(errors)
        .map(|(place, error)| (reader.line(&place), place, error))
        .collect();
    found.sort_by_key(|(line, place, _error)| (*line, place.span.start));
    found.dedup_by_key(|(line, _place, _error)| *line);
    for (line, place, error) in found {
        let fault = Fault::new(sentence(error.message()));
        if DERAILED.iter().any(|mark| error.message().contains(mark)) {
            reader.error(
                &place,
                fault.hint("a bracket or quote before this may not be closed; what follows was not checked"),
            );
            return line;
        }
        reader.error(&place, fault);
    }
    usize::MAX
}

/// What is expected after an unquoted word is beside the point.
fn sentence(message: &str) -> String {
    match message.split_once(", expected literal string") {
        Some((before, _rest)) => before.to_owned(),
        None => message.to_owned(),
    }
}
