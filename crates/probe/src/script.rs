//! Transactions of several requests, where later ones use what earlier ones were answered.

use std::time::Instant;

use tokio::io::AsyncWriteExt;

use crate::http::{Incoming, Request};
use crate::json::{Finding, Pointer, Rules};
use crate::{Failed, Passed, Place, Progress, Stage, Tls, open};

pub use crate::Expected;
pub use crate::template::{Form, Template, is_name};

/// A captured value that is longer is no value to send on.
const VALUE_MAX: usize = 4 * 1024;
/// Room for the body of a step's answer, if it is looked at and says nothing about that itself.
const BODY_MAX: usize = 64 * 1024;

/// Requests that are sent one after another, each on a connection of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// The requests.
    pub steps: Vec<Step>,
}

/// One request, and what is asked of its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: Template,
    /// Headers, whose names and fixed parts have been checked.
    pub headers: Vec<(String, Template)>,
    /// The body; empty for none.
    pub body: Template,
    /// Which answers pass.
    pub expect: Expected,
    /// What their body must say.
    pub json: Option<Rules>,
    /// What is taken from them for later steps. A value that is not there fails the step.
    pub captures: Vec<Capture>,
}

/// A value that is kept under a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Capture {
    /// The name, as in `{name}`.
    pub name: String,
    /// Where the value is.
    pub from: Source,
}

/// Where a captured value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A string, number or flag of the JSON body.
    Json(Pointer),
    /// The header of this name, in lower case: all of it, or what the pattern finds there.
    Header(String, Option<Pattern>),
    /// What the pattern finds in the body.
    Body(Pattern),
}

/// A regular expression; what is found is its first group, or all of it if it has none.
#[derive(Clone, Debug)]
pub struct Pattern(regex_lite::Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        regex_lite::Regex::new(text).map(Self).map_err(|error| error.to_string())
    }

    /// What is found in `text`, if anything is.
    pub fn find(&self, text: &str) -> Option<String> {
        let found = self.0.captures(text)?;
        found.get(1).or_else(|| found.get(0)).map(|part| part.as_str().to_owned())
    }
}

/// Where and how a script is run.
pub(crate) struct Around<'a> {
    pub(crate) host: &'a str,
    pub(crate) tls: Option<&'a Tls>,
    pub(crate) place: &'a Place,
    pub(crate) header: &'a [u8],
}

/// Runs every step, up to the first that fails.
pub(crate) async fn run(
    script: &Script,
    around: &Around<'_>,
    started: Instant,
    progress: &mut Progress,
) -> Result<Passed, Failed> {
    let mut values: Vec<(String, String)> = Vec::new();
    let mut worst = Finding::Well;
    for (index, step) in script.steps.iter().enumerate() {
        let name = format!("step {} ({} {})", index + 1, step.method, step.shown_path());
        progress.step = Some(name.clone());
        let found = step.run(around, &mut values, &mut progress.stage).await;
        let found = found.map_err(|failed| Failed::Step { step: name.clone(), failed: Box::new(failed) })?;
        worst = worst.and(match found {
            Finding::Degraded(reason) => Finding::Degraded(format!("{name}: {reason}")),
            other => other,
        });
    }
    let latency = started.elapsed();
    match worst {
        Finding::Degraded(reason) => Ok(Passed { latency, degraded: Some(reason) }),
        Finding::Well | Finding::Failed(_) => Ok(Passed { latency, degraded: None }),
    }
}

impl Step {
    async fn run(
        &self,
        around: &Around<'_>,
        values: &mut Vec<(String, String)>,
        stage: &mut Stage,
    ) -> Result<Finding, Failed> {
        let request = self.request(around.host, values)?;
        let mut stream = open(around.place, around.header, around.tls, stage).await?;
        stream.write_all(&request).await.map_err(Failed::Closed)?;
        stream.flush().await.map_err(Failed::Closed)?;
        let mut answer = Incoming::head(&mut stream, self.method == "HEAD").await?;
        if !self.expect.accepts(answer.status) {
            return Err(Failed::Status { status: answer.status, expected: self.expect.clone() });
        }
        if self.looks_at_body() {
            *stage = Stage::Body;
            answer.body(&mut stream, self.json.as_ref().map_or(BODY_MAX, |rules| rules.body_max)).await?;
        } else {
            answer.skip(&mut stream).await;
        }
        let found = self.json.as_ref().map_or(Finding::Well, |rules| rules.judge(&answer.body));
        if let Finding::Failed(reason) = found {
            return Err(Failed::Body(reason));
        }
        for capture in &self.captures {
            // The value may be a secret: a reason names it and does not show it.
            let value = capture.take(&answer.headers, &answer.body);
            let value =
                value.ok_or_else(|| Failed::Body(format!("there is nothing to capture as `{}`", capture.name)))?;
            values.push((capture.name.clone(), value));
        }
        Ok(found)
    }

    fn looks_at_body(&self) -> bool {
        let from_body = |capture: &Capture| !matches!(capture.from, Source::Header(..));
        self.json.is_some() || self.captures.iter().any(from_body)
    }

    /// As it is configured, without a query, which may hold what is not for everybody.
    fn shown_path(&self) -> String {
        let path = self.path.fill(&[], Form::Plain);
        path.split('?').next().unwrap_or_default().to_owned()
    }

    fn request(&self, host: &str, values: &[(String, String)]) -> Result<Vec<u8>, Failed> {
        let path = self.path.fill(values, Form::Path);
        let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        let headers: Vec<(String, String)> =
            self.headers.iter().map(|(name, value)| (name.clone(), value.fill(values, Form::Plain))).collect();
        let is_value = |value: &str| value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
        if !is_path || !headers.iter().all(|(_name, value)| is_value(value)) {
            return Err(Failed::Body("a captured value cannot stand where it is used".to_owned()));
        }
        let is_json = headers.iter().any(|(name, value)| name == "content-type" && value.contains("json"));
        let body = self.body.fill(values, if is_json { Form::Json } else { Form::Plain });
        Ok(Request { method: &self.method, target: &path, host, headers: &headers, body: body.as_bytes() }.bytes())
    }
}

impl Capture {
    /// Takes the value from an answer, whose headers' names are in lower case; none is taken that is longer than 4 KiB.
    pub fn take(&self, headers: &[(String, String)], body: &[u8]) -> Option<String> {
        self.found(headers, body).filter(|value| value.len() <= VALUE_MAX)
    }

    fn found(&self, headers: &[(String, String)], body: &[u8]) -> Option<String> {
        match &self.from {
            Source::Json(at) => {
                let document: serde_json::Value = serde_json::from_slice(body).ok()?;
                match at.find(&document)? {
                    serde_json::Value::String(text) => Some(text.clone()),
                    scalar @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => Some(scalar.to_string()),
                    serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => None,
                }
            }
            Source::Header(name, pattern) => {
                let mut values = headers.iter().filter(|(given, _value)| given == name).map(|(_name, value)| value);
                match pattern {
                    None => values.next().cloned(),
                    Some(pattern) => values.find_map(|value| pattern.find(value)),
                }
            }
            Source::Body(pattern) => pattern.find(&String::from_utf8_lossy(body)),
        }
    }
}
