//! The table of endpoints as an OpenAPI 3.1 document.

use std::collections::BTreeMap;

use axum::http::Method;
use serde_json::{Map, Value, json};

use crate::endpoint::{About, Form, Query, Values};
use crate::problem::{self, Problem};
use crate::role::Least;

/// Describes a table. `version` is the program's.
pub fn describe<'a>(table: impl Iterator<Item = &'a About>, version: &str) -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut schemas = BTreeMap::new();
    add_schemas(&mut schemas, &Form::of::<Problem>());
    for about in table {
        if let Some(form) = &about.request {
            add_schemas(&mut schemas, form);
        }
        add_schemas(&mut schemas, &about.answer.form);
        let method = about.method.as_str().to_ascii_lowercase();
        paths.entry(plain(about.path)).or_default().insert(method, operation(about));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Mainstay",
            "version": version,
            "description": "The admin interface of a node. Changes need a role; errors are problem details (RFC 9457).",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "`mainstay access token create`"},
                "session": {"type": "apiKey", "in": "cookie", "name": "mainstay_session"},
            },
        },
    })
}

/// The path without the sign that a part is the rest of it.
fn plain(path: &str) -> String {
    path.replace("{*", "{")
}

fn operation(about: &About) -> Value {
    let mut operation = json!({
        "operationId": identifier(about),
        "summary": about.summary,
        "tags": [tag(about.path)],
        "x-role": about.least.to_string(),
        "x-changes": about.changes,
        "parameters": parameters(about),
        "responses": responses(about),
        "security": match about.least {
            Least::Anyone => json!([]),
            Least::Role(_) => json!([{"token": []}, {"session": []}]),
        },
    });
    if let Some(command) = about.command {
        operation["x-command"] = json!(command);
    }
    if let Some(form) = &about.request {
        operation["requestBody"] = json!({
            "required": !about.request_optional,
            "content": {"application/json": {"schema": form.schema}},
        });
    }
    operation
}

fn responses(about: &About) -> Value {
    let problem = |description: &str| {
        let schema = json!({"schema": {"$ref": "#/components/schemas/Problem"}});
        json!({"description": description, "content": {problem::CONTENT_TYPE: schema}})
    };
    let answer = &about.answer;
    let types = [answer.content_type].into_iter().chain(answer.also.iter().copied());
    let forms: Map<String, Value> = types.map(|it| (it.to_owned(), json!({"schema": answer.form.schema}))).collect();
    let mut well = json!({"description": about.summary, "content": forms});
    let version = json!({"description": "The version of what is answered.", "schema": {"type": "string"}});
    if about.is_tagged {
        well["headers"] = json!({"ETag": version});
    }
    let mut responses = json!({"default": problem("It was not done, or not found; the status says which.")});
    if answer.fails_with_page {
        responses["default"]["content"]["text/html"] = json!({"schema": {"type": "string"}});
    }
    if let Some(status) = answer.also_status {
        responses[status.to_string()] = well.clone();
    }
    responses["200"] = well;
    if about.method == Method::GET && answer.content_type == "application/json" {
        responses["304"] = json!({"description": "It is what the asker has: a tag of `If-None-Match`.",
            "headers": {"ETag": version}});
    }
    if about.takes_condition {
        responses["412"] = problem("It was not done: there is another version by now, `etag`.");
        responses["412"]["headers"] = json!({"ETag": version});
    }
    responses
}

fn parameters(about: &About) -> Vec<Value> {
    let in_path = parts(about.path).map(
        |name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}),
    );
    let is_alternative = |query: &&Query| about.either.iter().any(|set| set.contains(&query.name));
    let alone = about.query.iter().filter(|query| !is_alternative(query)).map(|query| {
        let Query { name, about, values } = query;
        json!({"name": name, "in": "query", "required": false, "description": about, "schema": values_of(*values)})
    });
    let alternatives = (!about.either.is_empty()).then(|| either(about));
    let condition = about.takes_condition.then(|| {
        let why = "Only if this is the present version: an ETag as it was answered, or * for any.";
        let schema = json!({"type": "string", "minLength": 1, "pattern": "^(\\*|\"[!#-~]{0,64}\")$"});
        json!({"name": "If-Match", "in": "header", "required": false, "description": why, "schema": schema})
    });
    in_path.chain(alone).chain(alternatives).chain(condition).collect()
}

fn values_of(values: Values) -> Value {
    match values {
        Values::Text => json!({"type": "string"}),
        Values::Matching(pattern) => json!({"type": "string", "pattern": pattern}),
        Values::Number(largest) => json!({"type": "integer", "minimum": 0, "maximum": largest}),
        Values::Words(words) => json!({"type": "string", "enum": words}),
    }
}

/// Parts of a query that belong together, as an object whose members stand in the query (`explode`): the only form in which
/// OpenAPI 3.1 can say that one of several is required.
fn either(about: &About) -> Value {
    let member = |name: &&str| {
        let found = about.query.iter().find(|query| query.name == *name);
        let schema = found.map(|query| {
            let mut schema = values_of(query.values);
            schema["description"] = json!(query.about);
            schema
        });
        ((*name).to_owned(), schema.unwrap_or_default())
    };
    let set = |names: &&[&str]| {
        let members: Map<String, Value> = names.iter().map(member).collect();
        json!({"type": "object", "properties": members, "required": names, "additionalProperties": false})
    };
    let sets: Vec<Value> = about.either.iter().map(set).collect();
    json!({
        "name": "subject", "in": "query", "required": true, "style": "form", "explode": true,
        "description": "One of these sets of parts of the query.",
        "schema": {"type": "object", "oneOf": sets},
    })
}

/// The names of a path's parts.
pub fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| name.trim_start_matches('*'))
}

fn identifier(about: &About) -> String {
    let words = about.path.split('/').filter(|part| !matches!(*part, "" | "api" | "v1"));
    let words: Vec<&str> = words.map(|part| part.trim_matches(['{', '}', '*'])).collect();
    let words = if words.is_empty() { "index".to_owned() } else { words.join("-") };
    let folder = if about.path.len() > 1 && about.path.ends_with('/') { "-folder" } else { "" };
    // A page for people may have the name of what it shows.
    let page = if about.answer.content_type.starts_with("text/html") { "-page" } else { "" };
    format!("{}-{words}{folder}{page}", about.method.as_str().to_ascii_lowercase())
}

fn tag(path: &str) -> &str {
    path.split('/').find(|part| !matches!(*part, "" | "api" | "v1")).unwrap_or("index")
}

fn add_schemas(all: &mut BTreeMap<String, Value>, form: &Form) {
    for (name, schema) in &form.named {
        all.entry(name.clone()).or_insert_with(|| schema.clone());
    }
}

/// Names that two different schemas of a table have; the document would be wrong about one of them.
pub fn clashes<'a>(table: impl Iterator<Item = &'a About>) -> Vec<String> {
    let mut seen: BTreeMap<&str, &Value> = BTreeMap::new();
    let mut clashes = Vec::new();
    let table: Vec<&About> = table.collect();
    for form in table.iter().flat_map(|about| about.request.iter().chain([&about.answer.form])) {
        for (name, schema) in &form.named {
            if seen.insert(name, schema).is_some_and(|before| before != schema) {
                clashes.push(name.clone());
            }
        }
    }
    clashes
}
