//! An endpoint as its entry in the table says it: who may use it, what it takes and answers, and what carries it out.
//! Routing, authorisation, the audit trail, the OpenAPI document and the tests are all made from these entries.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::role::Least;

/// Bytes of a request's body, at most, unless the entry says otherwise.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// The form of a body.
#[derive(Clone, Debug)]
pub struct Form {
    /// Its JSON schema, or a reference to it.
    pub schema: Value,
    /// Named schemas that it refers to.
    pub named: Vec<(String, Value)>,
}

impl Form {
    /// The form of a type.
    pub fn of<T: ToSchema>() -> Self {
        let mut named = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut named);
        // A schema is a tree of names and numbers, which always has a form in JSON.
        let as_json = |(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default());
        let schema = json!({"$ref": format!("#/components/schemas/{}", T::name())});
        Self { schema, named: named.into_iter().map(as_json).collect() }
    }

    /// The form of a list of them.
    pub fn list<T: ToSchema>() -> Self {
        let Self { schema, named } = Self::of::<T>();
        Self { schema: json!({"type": "array", "items": schema}), named }
    }

    /// Anything that is JSON.
    pub fn any() -> Self {
        Self { schema: json!({}), named: Vec::new() }
    }

    /// Any text.
    pub fn text() -> Self {
        Self { schema: json!({"type": "string"}), named: Vec::new() }
    }
}

/// What an endpoint answers if all goes well.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its media type.
    pub content_type: &'static str,
    /// Others that a client may ask for.
    pub also: Vec<&'static str>,
    /// Its form; of each line or event, if it is a stream of them.
    pub form: Form,
    /// Whether people get a page rather than a problem if it cannot be done.
    pub fails_with_page: bool,
    /// Another status than 200 that says something in the same form.
    pub also_status: Option<u16>,
}

impl Answer {
    fn of(content_type: &'static str, form: Form) -> Self {
        Self { content_type, also: Vec::new(), form, fails_with_page: false, also_status: None }
    }
}

/// Where a request names the service that it is about, for those who may change only some services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// This member of the JSON in the body.
    Body(&'static str),
    /// This part of the path.
    Path(&'static str),
}

/// A part of the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// What it may be.
    pub values: Values,
}

/// What a part of the query may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Any text.
    Text,
    /// Any text that matches this pattern (ECMA-262, as JSON Schema has them).
    Matching(&'static str),
    /// A number from 0 to this one.
    Number(u64),
    /// One of these words.
    Words(&'static [&'static str]),
}

/// What is known of an endpoint without carrying it out.
#[derive(Clone, Debug)]
pub struct About {
    /// The method.
    pub method: Method,
    /// The path, with `{name}` for a part and `{*name}` for the rest.
    pub path: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Who may use it.
    pub least: Least,
    /// Whether it changes something, so that it is audited and guarded against other sites.
    pub changes: bool,
    /// Where the service is named, if it is about one.
    pub service: Option<Named>,
    /// What the query may have.
    pub query: Vec<Query>,
    /// Sets of its parts of which exactly one has to be there, whole; none: all parts may be left out.
    pub either: &'static [&'static [&'static str]],
    /// The request's body.
    pub request: Option<Form>,
    /// Whether an empty body is as good as an empty object.
    pub request_optional: bool,
    /// Bytes of the request's body, at most.
    pub body_bytes_max: usize,
    /// Members of the request that are secrets, which the audit trail leaves out.
    pub secrets: &'static [&'static str],
    /// The command that does the same.
    pub command: Option<&'static str>,
    /// The answer.
    pub answer: Answer,
    /// Whether the answer has a version (`ETag`).
    pub is_tagged: bool,
    /// Whether the change can be limited to a version (`If-Match`); elsewhere it is refused rather than overlooked.
    pub takes_condition: bool,
}

impl About {
    /// Whether a node answers this to other nodes, which ask for their callers: whatever is a part of the interface of one
    /// node, neither begins a session nor answers in steps, and is not passed on itself.
    pub fn is_for_nodes(&self) -> bool {
        let is_below =
            |path: &str| self.path == path || self.path.strip_prefix(path).is_some_and(|it| it.starts_with('/'));
        let in_steps = matches!(self.answer.content_type, "text/event-stream" | "application/x-ndjson");
        self.path.starts_with("/api/v1/") && !is_below("/api/v1/nodes") && !is_below("/api/v1/session") && !in_steps
    }
}

/// An entry of the table, with what carries it out.
#[derive(Clone, Debug)]
pub struct Endpoint<S> {
    /// What is known of it.
    pub about: About,
    handler: MethodRouter<S>,
}

/// An entry that is being written.
#[derive(Clone, Debug)]
#[must_use]
pub struct Draft(About);

/// A question that changes nothing.
pub fn get(path: &'static str, least: Least, summary: &'static str) -> Draft {
    draft(Method::GET, path, least, summary)
}

/// A change.
pub fn post(path: &'static str, least: Least, summary: &'static str) -> Draft {
    draft(Method::POST, path, least, summary)
}

/// A change that says how something is from now on.
pub fn put(path: &'static str, least: Least, summary: &'static str) -> Draft {
    draft(Method::PUT, path, least, summary)
}

/// A change that takes something away.
pub fn delete(path: &'static str, least: Least, summary: &'static str) -> Draft {
    draft(Method::DELETE, path, least, summary)
}

fn draft(method: Method, path: &'static str, least: Least, summary: &'static str) -> Draft {
    Draft(About {
        changes: method != Method::GET,
        method,
        path,
        summary,
        least,
        service: None,
        query: Vec::new(),
        either: &[],
        request: None,
        request_optional: false,
        body_bytes_max: BODY_BYTES_MAX,
        secrets: &[],
        command: None,
        answer: Answer::of("application/json", Form::any()),
        is_tagged: false,
        takes_condition: false,
    })
}

impl Draft {
    /// Takes a body of this form.
    pub fn takes<T: ToSchema>(mut self) -> Self {
        self.0.request = Some(Form::of::<T>());
        self
    }

    /// An empty body is as good as an empty object.
    pub fn may_be_empty(mut self) -> Self {
        self.0.request_optional = true;
        self
    }

    /// Takes bodies up to this size.
    pub fn up_to(mut self, bytes: usize) -> Self {
        self.0.body_bytes_max = bytes;
        self
    }

    /// Members of the body that the audit trail leaves out.
    pub fn secrets(mut self, members: &'static [&'static str]) -> Self {
        self.0.secrets = members;
        self
    }

    /// Takes a text in the query.
    pub fn query(mut self, name: &'static str, about: &'static str) -> Self {
        self.0.query.push(Query { name, about, values: Values::Text });
        self
    }

    /// Takes a text of this pattern in the query.
    pub fn matching(mut self, name: &'static str, pattern: &'static str, about: &'static str) -> Self {
        self.0.query.push(Query { name, about, values: Values::Matching(pattern) });
        self
    }

    /// Takes a number in the query.
    pub fn number(self, name: &'static str, about: &'static str) -> Self {
        self.number_to(name, u64::MAX, about)
    }

    /// Takes a number in the query that is not larger than this.
    pub fn number_to(mut self, name: &'static str, largest: u64, about: &'static str) -> Self {
        self.0.query.push(Query { name, about, values: Values::Number(largest) });
        self
    }

    /// Takes one of these words in the query.
    pub fn words(mut self, name: &'static str, words: &'static [&'static str], about: &'static str) -> Self {
        self.0.query.push(Query { name, about, values: Values::Words(words) });
        self
    }

    /// Needs exactly one of these sets of parts of the query.
    pub fn either(mut self, sets: &'static [&'static [&'static str]]) -> Self {
        self.0.either = sets;
        self
    }

    /// Answers a part of a long list at a time.
    pub fn paged(self) -> Self {
        self.number("limit", "At most so many at once").query("cursor", "The `next` of the answer before")
    }

    /// As [`Draft::paged`], where `next` is a number.
    pub fn paged_by_number(self) -> Self {
        self.number("limit", "At most so many at once").number("cursor", "The `next` of the answer before")
    }

    /// The body names the service that it is about in this member.
    pub fn service_in_body(mut self, member: &'static str) -> Self {
        self.0.service = Some(Named::Body(member));
        self
    }

    /// The path names the service that it is about in this part.
    pub fn service_in_path(mut self, part: &'static str) -> Self {
        self.0.service = Some(Named::Path(part));
        self
    }

    /// There is a command that does the same.
    pub fn command(mut self, command: &'static str) -> Self {
        self.0.command = Some(command);
        self
    }

    /// Answers with the version of what it is about.
    pub fn tagged(mut self) -> Self {
        self.0.is_tagged = true;
        self
    }

    /// Can be limited to a version of what it changes.
    pub fn conditional(mut self) -> Self {
        self.0.takes_condition = true;
        self
    }

    /// Changes nothing, although it is not a GET.
    pub fn changes_nothing(mut self) -> Self {
        self.0.changes = false;
        self
    }

    /// Answers JSON of this form.
    pub fn answers<T: ToSchema>(mut self) -> Self {
        self.0.answer.form = Form::of::<T>();
        self
    }

    /// Answers a JSON array of them.
    pub fn answers_list<T: ToSchema>(mut self) -> Self {
        self.0.answer.form = Form::list::<T>();
        self
    }

    /// Answers one line of JSON after another.
    pub fn answers_lines<T: ToSchema>(mut self) -> Self {
        self.0.answer = Answer::of("application/x-ndjson", Form::of::<T>());
        self
    }

    /// Answers something else than JSON.
    pub fn answers_text(mut self, content_type: &'static str) -> Self {
        self.0.answer = Answer::of(content_type, Form::text());
        self
    }

    /// Answers the same as another media type to who asks for that.
    pub fn or_as(mut self, content_type: &'static str) -> Self {
        self.0.answer.also.push(content_type);
        self
    }

    /// Answers with a page if it cannot be done: a browser was led here.
    pub fn fails_with_page(mut self) -> Self {
        self.0.answer.fails_with_page = true;
        self
    }

    /// Answers in the same form with this status as well, which is no error.
    pub fn or_status(mut self, status: u16) -> Self {
        self.0.answer.also_status = Some(status);
        self
    }

    /// The entry, carried out by `handler`.
    pub fn by<H, T, S>(self, handler: H) -> Endpoint<S>
    where
        H: Handler<T, S>,
        T: 'static,
        S: Clone + Send + Sync + 'static,
    {
        let filter = match self.0.method {
            Method::POST => MethodFilter::POST,
            Method::PUT => MethodFilter::PUT,
            Method::DELETE => MethodFilter::DELETE,
            // A draft is made by one of the four functions above.
            ref _get => MethodFilter::GET,
        };
        Endpoint { about: self.0, handler: on(filter, handler) }
    }
}

/// The routes of a table. `guard` puts around each what depends on its entry.
pub fn router<S>(table: Vec<Endpoint<S>>, guard: impl Fn(Arc<About>, MethodRouter<S>) -> MethodRouter<S>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    table.into_iter().fold(Router::new(), |router, Endpoint { about, handler }| {
        let path = about.path;
        router.route(path, guard(Arc::new(about), handler))
    })
}
