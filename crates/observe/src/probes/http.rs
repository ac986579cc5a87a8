//! A step over HTTP.

use mainstay_probe::json::Finding;
use mainstay_probe::script::Form;
use reqwest::header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Method, StatusCode, Url};

use super::Request;
use super::journey::Journey;
use crate::alerts::send::chain;

/// What came.
struct Answer {
    status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Sends the request, follows where that is wanted, and judges the last answer.
pub(super) async fn ask(journey: &mut Journey<'_>, request: &Request) -> Result<(), String> {
    let client = journey.client()?;
    let mut url = target(journey, request)?;
    let first = url.origin();
    let mut method: Method = request.method.parse().map_err(|_unknown| "the method cannot be sent".to_owned())?;
    let headers: Vec<(String, String)> =
        request.headers.iter().map(|(name, value)| (name.clone(), journey.fill(value, Form::Plain))).collect();
    let is_json = headers.iter().any(|(name, value)| name == "content-type" && value.contains("json"));
    let is_form = headers.iter().any(|(name, value)| name == "content-type" && value.contains("urlencoded"));
    // Values stay values: in JSON and in forms they are written so.
    let form = match (is_json, is_form) {
        (true, _) => Form::Json,
        (false, true) => Form::Path,
        (false, false) => Form::Plain,
    };
    let mut body = journey.fill(&request.body, form);
    let mut left = request.follow;
    loop {
        let mut sent = client.request(method.clone(), url.clone());
        for (name, value) in &headers {
            // What was meant for one host is no other's business.
            if url.origin() == first || !matches!(name.as_str(), "authorization" | "cookie" | "proxy-authorization") {
                sent = sent.header(name, value);
            }
        }
        if let Some(cookies) = journey.cookies.header(&url) {
            sent = sent.header(COOKIE, cookies);
        }
        if !body.is_empty() {
            sent = sent.body(body.clone());
        }
        let mut response = sent.send().await.map_err(|error| chain(&error.without_url()))?;
        for header in response.headers().get_all(SET_COOKIE) {
            journey.cookies.take(&url, &String::from_utf8_lossy(header.as_bytes()));
        }
        journey.at = Some(url.clone());
        let status = response.status();
        if let Some(to) = next(status, response.headers(), &url)?
            && request.follow > 0
        {
            left = left.checked_sub(1).ok_or_else(|| format!("more than {} redirections", request.follow))?;
            // RFC 9110, section 15.4: what most browsers do, and 303 asks for.
            let becomes_get = status == StatusCode::SEE_OTHER || matches!(status.as_u16(), 301 | 302);
            if becomes_get && method != Method::HEAD {
                (method, body) = (Method::GET, String::new());
            }
            url = to;
            continue;
        }
        let body = read(&mut response, request.body_max).await?;
        let header = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let headers = response.headers().iter().map(header).collect();
        return judge(journey, request, &Answer { status: status.as_u16(), headers, body });
    }
}

fn target(journey: &Journey<'_>, request: &Request) -> Result<Url, String> {
    // What begins with a captured value is that URL, or path, as the server wrote it.
    let is_captured = request.url.starts_with_name();
    let text = journey.fill(&request.url, if is_captured { Form::Plain } else { Form::Path });
    let url = match &journey.at {
        Some(at) => at.join(&text),
        None => Url::parse(&text),
    };
    let url = url.map_err(|_what_it_is_may_be_secret| "with its values, this is no URL".to_owned())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("this is no URL of HTTP".to_owned());
    }
    if is_captured && journey.at.as_ref().is_some_and(|at| at.origin() != url.origin()) {
        return Err("the captured URL leads to another host".to_owned());
    }
    Ok(url)
}

fn next(status: StatusCode, headers: &HeaderMap, at: &Url) -> Result<Option<Url>, String> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = headers.get(LOCATION).and_then(|value| value.to_str().ok()) else { return Ok(None) };
    match at.join(location) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Some(url)),
        Ok(_) | Err(_) => Err("it is redirected to what is no URL of HTTP".to_owned()),
    }
}

async fn read(response: &mut reqwest::Response, most: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error.without_url()))? {
        if body.len() + chunk.len() > most {
            return Err(format!("the body is longer than {most} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn judge(journey: &mut Journey<'_>, request: &Request, answer: &Answer) -> Result<(), String> {
    if !request.expect.accepts(answer.status) {
        return Err(format!("status {}, expected {}", answer.status, request.expect));
    }
    for (name, pattern) in &request.expect_headers {
        let mut values = answer.headers.iter().filter(|(given, _value)| given == name).peekable();
        if values.peek().is_none() {
            return Err(format!("there is no header `{name}`"));
        }
        if !values.any(|(_name, value)| pattern.find(value).is_some()) {
            return Err(format!("the header `{name}` is not as expected"));
        }
    }
    let text = String::from_utf8_lossy(&answer.body);
    for (index, pattern) in request.expect_body.iter().enumerate() {
        if pattern.find(&text).is_none() {
            return Err(format!("the body does not have what `expect_text` asks for (pattern {})", index + 1));
        }
    }
    match request.json.as_ref().map(|rules| rules.judge(&answer.body)) {
        // What serves users in part is no failure of theirs.
        None | Some(Finding::Well | Finding::Degraded(_)) => {}
        Some(Finding::Failed(reason)) => return Err(reason),
    }
    for capture in &request.captures {
        let value = capture.take(&answer.headers, &answer.body);
        let value = value.ok_or_else(|| format!("there is nothing to capture as `{}`", capture.name))?;
        journey.values.push((capture.name.clone(), value));
    }
    Ok(())
}
