//! The spreadsheet that is the ledger: which one, who calls, how often (SPEC 8).

use std::path::PathBuf;
use std::time::Duration;

use super::problem::Wrong;
use super::values::Range;
use super::{Ledger, LedgerKind, Secret};

/// How a spreadsheet is named.
const SPREADSHEET: &str = "the spreadsheet's address from the browser, or its id: what stands there between /d/ and /edit";
/// The shortest id that can be one: Google's have 44 characters.
const SHORTEST_ID: usize = 20;
/// The longest.
const LONGEST_ID: usize = 128;

/// Google allows 60 a minute for an account unless it was asked for more.
const CALLS: Range<usize> = Range { min: 6, max: 60_000 };
/// Google ends a call after three minutes.
pub(super) const CALL_TIMEOUT: Range<Duration> =
    Range { min: Duration::from_millis(100), max: Duration::from_secs(180) };

/// A spreadsheet as the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    /// Its id. Empty only where the ledger is another one.
    pub spreadsheet: String,
    /// The ledger's name in the spreadsheet: two ledgers in one spreadsheet have two names. Tabs are
    /// called after it.
    pub name: String,
    /// Who calls.
    pub credentials: Credentials,
    /// The address of the API: Google's, or an emulator's.
    pub api_url: String,
    /// Where the metadata server gives out tokens. None: Google's address.
    pub metadata_url: Option<String>,
    /// Writes a minute of all live sidecars together. Google allows 60 for an account.
    pub writes_a_minute: u32,
    /// Reads a minute of all live sidecars together. Google allows 60 for an account.
    pub reads_a_minute: u32,
    /// Longest wait for one answer of Google.
    pub call_timeout: Duration,
}

/// Where the right to use the spreadsheet comes from. `Debug` shows no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// What the machine or pod has: Google's metadata server.
    Machine,
    /// The key file of a service account.
    File(PathBuf),
    /// The text of such a file.
    Json(Secret),
}

impl Sheet {
    /// Google's own address of the API.
    pub const GOOGLE: &str = "https://sheets.googleapis.com/";
}

impl Default for Sheet {
    fn default() -> Self {
        Self {
            spreadsheet: String::new(),
            name: "lockside".into(),
            credentials: Credentials::Machine,
            api_url: Self::GOOGLE.into(),
            metadata_url: None,
            writes_a_minute: 55,
            reads_a_minute: 55,
            call_timeout: Duration::from_secs(10),
        }
    }
}

/// The id, also out of an address.
pub(super) fn spreadsheet(text: &str) -> Result<String, Wrong> {
    let id = match text.split_once("/d/") {
        Some((_, rest)) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
        None => text,
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    match (SHORTEST_ID..=LONGEST_ID).contains(&id.len()) && id.bytes().all(is_plain) {
        true => Ok(id.to_owned()),
        false => Err(Wrong::new(format!("{text:?} is no spreadsheet"), SPREADSHEET)),
    }
}

/// The path of a key file.
pub(super) fn key_file(text: &str) -> Result<Credentials, Wrong> {
    let expected = "the path of a service account's key file";
    if text.trim_start().starts_with('{') {
        // Not shown: it is the key itself.
        let what = "is a key itself, which belongs into GOOGLE_APPLICATION_CREDENTIALS_JSON";
        return Err(Wrong::new(what, expected));
    }
    match text.is_empty() || text.ends_with('/') || text.contains('\0') {
        true => Err(Wrong::new(format!("{text:?} is no file"), expected)),
        false => Ok(Credentials::File(PathBuf::from(text))),
    }
}

/// A key as JSON. What is wrong with it is said without a piece of it.
pub(super) fn key_json(text: &str) -> Result<Credentials, Wrong> {
    let wrong = |what: &str| {
        let expected = "the JSON key of a service account, as the Google Cloud console makes it";
        Err(Wrong::new(what, expected))
    };
    let Ok(key) = serde_json::from_str::<serde_json::Value>(text) else {
        return wrong("is no JSON");
    };
    let has = |name: &str| key[name].as_str().is_some_and(|text| !text.is_empty());
    match ["client_email", "private_key", "token_uri"].into_iter().find(|name| !has(name)) {
        Some(missing) => wrong(&format!("has no {missing}")),
        None => Ok(Credentials::Json(Secret::new(text))),
    }
}

/// Calls a minute.
pub(super) fn calls(text: &str) -> Result<u32, Wrong> {
    // In range, so it fits.
    CALLS.parse(text).map(|calls| u32::try_from(calls).unwrap_or(u32::MAX))
}

/// An address: `https`, or `http` to where tokens can't be read on the way.
pub(super) fn api_url(text: &str) -> Result<String, Wrong> {
    let expected = r#""https://..." or "http://" with an address of this machine"#;
    match is_safe(text) {
        true => Ok(text.to_owned()),
        false => Err(Wrong::new(format!("{text:?} is no address of the API"), expected)),
    }
}

/// The metadata server's address: plain HTTP, since the real one has nothing else.
pub(super) fn metadata_url(text: &str) -> Result<Option<String>, Wrong> {
    let expected = r#""http://host/path""#;
    let is_right = text.starts_with("http://") && !text.contains([' ', '@', '?', '#']);
    match is_right && text.len() > "http://".len() {
        true => Ok(Some(text.to_owned())),
        false => Err(Wrong::new(format!("{text:?} is no metadata server"), expected)),
    }
}

#[cfg(feature = "sheets")]
fn is_safe(url: &str) -> bool {
    crate::ledger::sheets::checked_url(url).is_ok()
}

#[cfg(not(feature = "sheets"))]
fn is_safe(url: &str) -> bool {
    url.starts_with("https://")
}

/// A ledger of kind `sheets` needs a spreadsheet...
pub(super) fn check_missing(ledger: &Ledger) -> Result<(), Wrong> {
    match ledger.kind == LedgerKind::Sheets && ledger.sheet.spreadsheet.is_empty() {
        true => {
            let what = r#""sheets" without a spreadsheet"#;
            Err(Wrong::new(what, "ledger.spreadsheet, or GOOGLE_SHEET_ID"))
        }
        false => Ok(()),
    }
}

/// ... and who names one expects it to be used.
pub(super) fn check_unused(ledger: &Ledger) -> Result<(), Wrong> {
    match ledger.kind {
        LedgerKind::Sheets => Ok(()),
        LedgerKind::Sqlite => {
            let what = r#"a spreadsheet does not go with kind = "sqlite""#;
            Err(Wrong::new(what, r#"kind = "sheets", or no spreadsheet"#))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms";

    #[test]
    fn an_id_or_the_address_of_the_browser() {
        let addresses = [
            ID.to_owned(),
            format!("https://docs.google.com/spreadsheets/d/{ID}/edit#gid=0"),
            format!("https://docs.google.com/spreadsheets/u/1/d/{ID}/edit?usp=sharing"),
            format!("https://docs.google.com/spreadsheets/d/{ID}"),
        ];
        for address in addresses {
            assert_eq!(spreadsheet(&address).as_deref(), Ok(ID), "{address}");
        }
        let published = "https://docs.google.com/spreadsheets/d/e/2PACX-1v/pubhtml";
        for wrong in ["", "My sheet", "https://docs.google.com/spreadsheets/", published] {
            let text = spreadsheet(wrong).unwrap_err().to_string();
            assert!(text.contains("between /d/ and /edit"), "{text}");
        }
    }

    #[test]
    fn no_piece_of_a_key_is_shown() {
        let keys = [
            r#"{"client_email": "a@b", "private_key": "hunter2"#,
            r#"{"client_email": "a@b", "private_key": "hunter2"}"#,
            r#"{"client_email": "a@b", "private_key": "hunter2", "token_uri": ""}"#,
        ];
        for key in keys {
            let text = key_json(key).unwrap_err().to_string();
            assert!(!text.contains("hunter2") && text.contains("service account"), "{text}");
            let text = key_file(key).unwrap_err().to_string();
            assert!(!text.contains("hunter2") && text.contains("_JSON"), "{text}");
        }
        let whole = r#"{"client_email": "a@b", "private_key": "hunter2", "token_uri": "x"}"#;
        let read = key_json(whole).unwrap();
        assert!(!format!("{read:?}").contains("hunter2"));
    }
}
