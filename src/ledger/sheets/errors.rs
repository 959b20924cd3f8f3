//! What went wrong with a call: whether it may have had an effect, and words that say what to do.
//! Nothing here has a token or a key in it.

use google_sheets4::common::Error;
use google_sheets4::yup_oauth2;

use crate::ledger::store::{Applied, StoreError};

/// The longest part of Google's own words that is handed on, in characters.
const LONGEST: usize = 400;

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The HTTP status, or that of Google's JSON.
    pub(super) code: Option<u16>,
    /// Whether it may have had an effect.
    pub(super) applied: Applied,
    /// For people.
    pub(super) text: String,
}

impl Failure {
    pub(super) fn no(text: impl Into<String>) -> Self {
        Self { code: None, applied: Applied::No, text: text.into() }
    }

    pub(super) fn unknown(text: impl Into<String>) -> Self {
        Self { applied: Applied::Unknown, ..Self::no(text) }
    }

    pub(super) fn is(&self, code: u16) -> bool {
        self.code == Some(code)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        Self { applied: failure.applied, text: failure.text }
    }
}

/// Who calls what, for words.
#[derive(Debug, Clone)]
pub(super) struct Context {
    /// The spreadsheet's id.
    pub(super) spreadsheet: String,
    /// The account's address, if it is known.
    pub(super) account: Option<String>,
}

impl Context {
    fn account(&self) -> &str {
        self.account.as_deref().unwrap_or("the account that Lockside runs as")
    }

    /// What an answer or its absence means.
    pub(super) fn explain(&self, error: &Error) -> Failure {
        match error {
            Error::BadRequest(body) => self.refused(body),
            Error::Failure(response) => {
                let code = response.status().as_u16();
                self.status(code, &format!("a page with status {code} and no reason"))
            }
            Error::HttpError(error) if error.is_connect() => {
                Failure::no(format!("Google Sheets can't be reached: {}", chain(error)))
            }
            Error::HttpError(error) => Failure::unknown(format!(
                "the connection to Google Sheets broke before an answer came: {}",
                chain(error)
            )),
            Error::JsonDecodeError(..) | Error::Io(_) => Failure::unknown(
                "Google Sheets answered with something that broke off or is no JSON",
            ),
            Error::MissingToken(_) => Failure::no("there is no access token for Google Sheets"),
            _ => Failure::unknown("the call to Google Sheets failed in an unexpected way"),
        }
    }

    fn refused(&self, body: &serde_json::Value) -> Failure {
        let error = &body["error"];
        let text: String =
            error["message"].as_str().unwrap_or("no reason given").chars().take(LONGEST).collect();
        let Some(code) = error["code"].as_u64().and_then(|code| u16::try_from(code).ok()) else {
            return Failure::unknown(format!("Google Sheets failed: {text}"));
        };
        self.status(code, &text)
    }

    fn status(&self, code: u16, said: &str) -> Failure {
        // What Google refuses before it looks at the spreadsheet is not applied. 408 and 5xx say
        // nothing: people have found rows written in spite of a 503.
        let is_refused = matches!(code, 400..=404 | 429);
        let applied = if is_refused { Applied::No } else { Applied::Unknown };
        let (spreadsheet, account) = (&self.spreadsheet, self.account());
        let text = match code {
            401 => format!(
                "Google does not accept the access token of {account} ({said}): check that its key was \
                 not deleted and that this machine's clock is right"
            ),
            403 if said.contains("has not been used in project") => {
                format!(
                    "the Google Sheets API is off for this account's project. Google says: {said}"
                )
            }
            403 if said.contains("authentication scopes") => format!(
                "the access token of {account} is not for spreadsheets: give the machine or pod the \
                 scope https://www.googleapis.com/auth/spreadsheets, or use a key file"
            ),
            403 => format!(
                "{account} may not use the spreadsheet {spreadsheet} ({said}): share it with {account} \
                 as an editor"
            ),
            404 => format!(
                "there is no spreadsheet {spreadsheet} ({said}): its id is what stands between /d/ and \
                 /edit in its address"
            ),
            429 => format!("Google's quota is used up, and is full again within a minute ({said})"),
            400 => format!("Google Sheets refuses a call: {said}"),
            code => format!("Google Sheets fails with status {code}: {said}"),
        };
        Failure { code: Some(code), applied, text }
    }

    /// What it means that no token was given out. Nothing was sent to the spreadsheet.
    pub(super) fn no_token(&self, error: &yup_oauth2::Error) -> Failure {
        use yup_oauth2::Error as E;
        let why = match error {
            E::HttpError(error) => chain(error),
            E::HttpClientError(error) => chain(error),
            E::AuthError(error) => error.to_string(),
            // The text of a JSON error may have a piece of the answer in it.
            E::JSONError(_) => "its answer is no token".into(),
            E::MissingAccessToken => "its answer has no token in it".into(),
            _ => "the credentials can't be used".into(),
        };
        Failure::no(format!(
            "Google gives no access token to {} ({why}): check the credentials, and whether the account \
             or its key was deleted",
            self.account()
        ))
    }
}

/// An error with those behind it, without repeating.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn explained(code: u16, said: &str) -> Failure {
        let context =
            Context { spreadsheet: "1abc".into(), account: Some("robot@p.example".into()) };
        context.explain(&Error::BadRequest(json!({"error": {"code": code, "message": said}})))
    }

    #[test]
    fn what_was_refused_is_not_applied_and_the_rest_is_unknown() {
        for code in [400, 401, 403, 404, 429] {
            assert_eq!(explained(code, "no").applied, Applied::No, "{code}");
        }
        for code in [408, 409, 500, 502, 503, 504] {
            assert_eq!(explained(code, "no").applied, Applied::Unknown, "{code}");
        }
    }

    #[test]
    fn texts_say_what_to_do() {
        let text = explained(403, "The caller does not have permission").text;
        assert!(text.contains("share it with robot@p.example"), "{text}");
        let off = "Google Sheets API has not been used in project 7 before or it is disabled. Enable it \
                   by visiting https://console.example then retry.";
        assert!(explained(403, off).text.contains("https://console.example"));
        assert!(explained(404, "Requested entity was not found.").text.contains("between /d/ and"));
    }
}
