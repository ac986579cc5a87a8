//! Asks an authority when it would have a certificate renewed (ACME Renewal Information, RFC 9773).

use bytes::Bytes;
use instant_acme::CertificateIdentifier;
use mainstay_core::renewal::advice::{Answer, Window};
use mainstay_core::timestamp;
use serde::Deserialize;

use super::http::{Http, chain, retry_after};
use super::settings::Settings;

/// A page that explains is not worth a longer address.
const EXPLANATION_CHARS_MAX: usize = 500;

/// What of an authority's directory is needed here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory {
    renewal_info: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RenewalInfo {
    suggested_window: SuggestedWindow,
    #[serde(rename = "explanationURL")]
    explanation: Option<String>,
}

#[derive(Deserialize)]
struct SuggestedWindow {
    start: String,
    end: String,
}

/// Asks. Whatever goes wrong is an answer as well, and the own rule counts then.
pub(super) async fn ask(settings: &Settings, certificate: &CertificateIdentifier<'_>) -> Answer {
    let answer = match Http::new(settings) {
        Ok(http) => said(&http, &settings.directory, certificate).await,
        Err(error) => Err(Missed { answer: Answer::Unreachable { ask_at: None }, why: error }),
    };
    answer.unwrap_or_else(|missed| {
        tracing::debug!(certificate = settings.name, why = missed.why, "acme: nothing is known of a renewal's time");
        missed.answer
    })
}

struct Missed {
    answer: Answer,
    why: String,
}

async fn said(http: &Http, directory: &str, certificate: &CertificateIdentifier<'_>) -> Result<Answer, Missed> {
    let refused = |why: &str| Missed { answer: Answer::Refused, why: why.to_owned() };
    let found = get(http, directory).await?;
    let found: Directory =
        serde_json::from_slice(found.body()).map_err(|_damaged| refused("the directory cannot be read"))?;
    let Some(renewal_info) = found.renewal_info else {
        return Ok(Answer::Unsupported);
    };
    let found = get(http, &format!("{renewal_info}/{certificate}")).await?;
    let ask_at = found.headers().get(http::header::RETRY_AFTER).and_then(retry_after);
    let (window, explanation) = read(found.body()).ok_or_else(|| refused("no window is in what the authority says"))?;
    Ok(Answer::Window { window, explanation, ask_at })
}

async fn get(http: &Http, url: &str) -> Result<http::Response<Bytes>, Missed> {
    let unreachable = |ask_at, why| Missed { answer: Answer::Unreachable { ask_at }, why };
    let found = http.get(url).await.map_err(|error| unreachable(None, chain(&error)))?;
    let (status, why) = (found.status(), format!("{url}: {}", found.status()));
    if status.is_success() {
        Ok(found)
    } else if status.is_server_error() || status == http::StatusCode::TOO_MANY_REQUESTS {
        Err(unreachable(http.take_wait(), why))
    } else {
        Err(Missed { answer: Answer::Refused, why })
    }
}

/// The window, and the page that explains it, of what an authority says.
fn read(body: &[u8]) -> Option<(Window, Option<String>)> {
    let info: RenewalInfo = serde_json::from_slice(body).ok()?;
    let (start, end) = (timestamp::parse(&info.suggested_window.start)?, timestamp::parse(&info.suggested_window.end)?);
    // It is shown to people, who may follow it.
    let is_shown = |url: &String| {
        url.len() <= EXPLANATION_CHARS_MAX && url.starts_with("https://") && url.bytes().all(|it| it.is_ascii_graphic())
    };
    Some((Window::new(start, end)?, info.explanation.filter(is_shown)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_authorities_say() {
        let window = r#""suggestedWindow": { "start": "2026-01-02T04:00:00Z", "end": "2026-01-03T04:00:00+01:00" }"#;
        let page = |url: &str| read(format!(r#"{{ {window}, "explanationURL": "{url}" }}"#).as_bytes()).unwrap().1;
        let (found, explanation) = read(format!("{{ {window} }}").as_bytes()).unwrap();
        assert_eq!((found.start(), found.end(), explanation), (1_767_326_400_000, 1_767_409_200_000, None));
        assert_eq!(page("https://ca.test/why").as_deref(), Some("https://ca.test/why"));
        for wrong in ["javascript:alert(1)", "http://ca.test/", "https://ca.test/ a", &format!("https://{:0600}", 1)] {
            assert_eq!(page(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_window() {
        let turned = r#"{"suggestedWindow":{"start":"2026-01-03T04:00:00Z","end":"2026-01-02T04:00:00Z"}}"#;
        let undated = r#"{"suggestedWindow":{"start":"soon","end":"later"}}"#;
        for wrong in ["", "{}", "[]", turned, undated, r#"{"suggestedWindow":{"start":1,"end":2}}"#] {
            assert_eq!(read(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
