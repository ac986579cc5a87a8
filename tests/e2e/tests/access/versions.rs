//! Two operators who change the same thing: versions (`ETag`), and changes that hold for one of them only (`If-Match`).

use serde_json::{Value, json};

use super::{ask, bearer, get, node, said, token, with_line};

#[test]
fn a_change_of_what_somebody_else_has_changed_is_refused_with_the_present_version() {
    let (gateway, origin) = node();
    let (at, admin) = (gateway.admin_address(), token(&gateway, &["a", "--role", "admin"]));
    let service = json!({"service": "app", "endpoint": origin.address().to_string()});
    let change = |path: &str, version: &str, more: Value| {
        let mut body = service.clone();
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let condition = if version.is_empty() { String::new() } else { format!("If-Match: {version}\r\n") };
        ask(at, "POST", path, &(bearer(&admin) + &condition), &body.to_string())
    };
    let endpoint = || get(&gateway, "/api/v1/status", &admin).json()["services"][0]["endpoints"][0].clone();
    let seen = endpoint()["etag"].as_str().expect("a version").to_owned();
    let first = change("/api/v1/weight", &seen, json!({"weight": 5}));
    let present = first.header("etag").expect("its version").to_owned();
    assert_eq!((first.status, &first.json()["etag"]), (200, &json!(present)), "{}", first.text());
    assert_ne!(present, seen);
    assert_eq!(endpoint()["etag"], present, "and nothing but a change changes it");

    let second = change("/api/v1/weight", &seen, json!({"weight": 7}));
    assert_eq!((second.status, second.header("content-type")), (412, Some("application/problem+json")));
    assert_eq!((second.header("etag"), &second.json()["etag"]), (Some(&*present), &json!(present)));
    assert_eq!(change("/api/v1/drain", &seen, json!({"drain": true})).status, 412);
    assert_eq!((&endpoint()["weight"], &endpoint()["draining"]), (&json!(5), &json!(false)), "nothing was done");
    assert_eq!(change("/api/v1/drain", &present, json!({"drain": true})).status, 200);
    assert_eq!(change("/api/v1/drain", "*", json!({"drain": false})).status, 200);
    assert_eq!(change("/api/v1/weight", "", json!({"weight": null})).status, 200, "who asks for no version takes any");
    assert_eq!(endpoint()["etag"], seen, "it is as it was");

    // What is asked for again is sent again only if it is another one by now.
    let again = |path: &str, tag: &str| {
        let headers = bearer(&admin) + &format!("If-None-Match: {tag}\r\n");
        let answer = ask(at, "GET", path, &headers, "");
        (answer.status, answer.header("etag").map(str::to_owned), answer.text().is_empty())
    };
    let of = |path: &str| get(&gateway, path, &admin).header("etag").expect("a version").to_owned();
    let document = "/api/v1/openapi.json";
    let tag = of(document);
    assert_eq!(again(document, &tag), (304, Some(tag.clone()), true));
    assert_eq!(again(document, "\"another\""), (200, Some(tag), false));
    let untold = of("/api/v1/log");
    let level = |version: &str, level: &str| {
        let headers = bearer(&admin) + &format!("If-Match: {version}\r\n");
        ask(at, "POST", "/api/v1/log/level", &headers, &json!({"component": "health", "level": level}).to_string())
    };
    assert_eq!(level(&untold, "debug").status, 200);
    let late = level(&untold, "trace");
    assert_eq!((late.status, late.header("etag")), (412, Some(&*of("/api/v1/log"))));

    // Where there are no versions nobody is left to believe in one; what is none is no version.
    assert_eq!(change("/api/v1/reset", &seen, json!({})).status, 400);
    assert_eq!(change("/api/v1/weight", "5", json!({"weight": 5})).status, 400);
    // Through another node it is the same.
    let name = get(&gateway, "/api/v1/status", &admin).json()["node"]["name"].as_str().expect("a name").to_owned();
    let passed = change(&format!("/api/v1/nodes/{name}/weight"), "\"other\"", json!({"weight": 5}));
    assert_eq!((passed.status, passed.header("etag")), (412, Some(&*seen)), "{}", passed.text());
}

#[test]
fn users_tokens_and_silences_have_versions() {
    let (gateway, _origin) = node();
    let (at, admin) = (gateway.admin_address(), token(&gateway, &["a", "--role", "admin"]));
    let with = |version: &str| bearer(&admin) + &format!("If-Match: {version}\r\n");
    let (users, jane) = ("/api/v1/access/users", "/api/v1/access/users/jane");
    let none = get(&gateway, users, &admin).header("etag").expect("a version").to_owned();
    let user = |name: &str| json!({"name": name, "role": "viewer", "password": "correct horse battery"}).to_string();
    assert_eq!(ask(at, "POST", users, &with(&none), &user("jane")).status, 200);
    assert_eq!(ask(at, "POST", users, &with(&none), &user("joe")).status, 412, "there is one more by now");
    let first = get(&gateway, jane, &admin);
    let seen = first.header("etag").expect("a version").to_owned();
    assert_eq!(get(&gateway, users, &admin).json()[0]["etag"], seen);
    assert!(!first.text().contains("argon2"), "{}", first.text());

    // The command asks for the version before it asks for the password.
    let changed = with_line(&gateway, &["access", "user", "password", "jane"], "another long password");
    assert!(changed.status.success(), "{}", said(&changed));
    let password = json!({"password": "a third long password"}).to_string();
    let late = ask(at, "PUT", &format!("{jane}/password"), &with(&seen), &password);
    assert_eq!(late.status, 412, "{}", late.text());
    assert_eq!(ask(at, "DELETE", jane, &with(&seen), "").status, 412);
    let present = late.json()["etag"].as_str().expect("the present version").to_owned();
    assert_eq!(ask(at, "DELETE", jane, &with(&present), "").status, 200);
    assert_eq!(ask(at, "DELETE", jane, &with(&present), "").status, 404);

    let tokens = get(&gateway, "/api/v1/access/tokens", &admin).json();
    let (id, version) = (tokens[0]["id"].as_str().expect("an id"), tokens[0]["etag"].as_str().expect("a version"));
    let path = format!("/api/v1/access/tokens/{id}");
    assert_eq!(get(&gateway, &path, &admin).header("etag"), Some(version), "although it was used since");
    assert_eq!(ask(at, "DELETE", &path, &with("\"other\""), "").status, 412);

    let silence = json!({"matchers": [{"name": "service", "value": "x"}], "seconds": 60, "comment": "c"}).to_string();
    let made = ask(at, "POST", "/api/v1/silences", &bearer(&admin), &silence).json();
    let path = format!("/api/v1/silences/{}", made["id"].as_str().expect("an id"));
    assert_eq!(ask(at, "DELETE", &path, &with("\"other\""), "").status, 412);
    let done = ask(at, "DELETE", &path, &with(made["etag"].as_str().expect("a version")), "");
    assert_eq!((done.status, &done.json()["state"]), (200, &json!("expired")), "{}", done.text());
}

#[test]
fn what_cannot_be_read_is_a_problem_and_what_can_is_described() {
    let (gateway, _origin) = node();
    let viewer = token(&gateway, &["v", "--role", "viewer"]);
    for path in [
        "/api/v1/history?span=x&series=node/a",
        "/api/v1/events?limit=-1",
        "/api/v1/ledger?x=y",
        "/api/v1/incidents/%ff",
    ] {
        let refused = get(&gateway, path, &viewer);
        let problem = refused.json();
        assert_eq!((refused.status, refused.header("content-type")), (400, Some("application/problem+json")), "{path}");
        assert!(problem["detail"].as_str().is_some_and(|it| !it.is_empty()), "{path}: {problem}");
    }
    let document = gateway.admin("/api/v1/openapi.json").json();
    let types = document["paths"]["/metrics"]["get"]["responses"]["200"]["content"].as_object().expect("types").clone();
    for accept in ["application/openmetrics-text", "text/plain"] {
        let headers = bearer(&viewer) + &format!("Accept: {accept}\r\n");
        let answered = ask(gateway.admin_address(), "GET", "/metrics", &headers, "");
        let said = answered.header("content-type").and_then(|it| it.split(';').next()).expect("a type").to_owned();
        assert!(said == accept && types.contains_key(&said), "{said}: {types:?}");
    }
    let ledger = document["paths"]["/api/v1/ledger"]["get"]["parameters"].to_string();
    assert!(ledger.contains(r#""required":["service"]"#) && ledger.contains(r#""required":["probe"]"#), "{ledger}");
    for (path, operation) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operation.as_object().expect("operations") {
            let takes = operation["parameters"].as_array().expect("a list").iter().any(|it| it["name"] == "If-Match");
            assert_eq!(takes, operation["responses"]["412"].is_object(), "{method} {path}");
        }
    }
}
