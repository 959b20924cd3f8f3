//! What the store must be told: which spreadsheet, who calls, how long to wait. Plain data.

use std::path::PathBuf;
use std::time::Duration;

use super::quota::Quota;

/// Google's address of the API.
pub const GOOGLE: &str = "https://sheets.googleapis.com/";

/// Where the ledger is, and how it is reached.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The spreadsheet's id: what stands between `/d/` and `/edit` in its address.
    pub spreadsheet: String,
    /// The ledger's name in the spreadsheet: two ledgers in one spreadsheet have two names. All
    /// sidecars of one ledger have the same; letters, digits, `-` and `_` are safe.
    pub ledger: String,
    /// Who calls.
    pub credentials: Credentials,
    /// The API's address. `https`, or `http` to the own machine; a `/` at its end may be missing.
    pub base_url: String,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for an answer. A call that takes longer has an unknown outcome.
    pub call_timeout: Duration,
    /// How long one exchange may wait for the own quota and after refusals (429, 503), over all its
    /// calls; then it is an error. Clients wait meanwhile.
    pub patience: Duration,
    /// Calls that this sidecar may make.
    pub quota: Quota,
}

impl Settings {
    /// With Google's address and times that suit its usual latency (about a second for a write).
    pub fn new(spreadsheet: impl Into<String>, credentials: Credentials) -> Self {
        Self {
            spreadsheet: spreadsheet.into(),
            ledger: "lockside".into(),
            credentials,
            base_url: GOOGLE.into(),
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(20),
            patience: Duration::from_secs(10),
            quota: Quota::default(),
        }
    }
}

/// Who calls. Debug output shows no secret.
#[derive(Clone)]
pub enum Credentials {
    /// A service account's key file.
    KeyFile(PathBuf),
    /// The same as JSON, as from an environment variable.
    KeyJson(String),
    /// Application Default Credentials: the key file that `GOOGLE_APPLICATION_CREDENTIALS` names, or
    /// else the metadata server of a virtual machine or a pod (GKE workload identity).
    Default {
        /// Where the metadata server gives out tokens, in place of Google's address: for tests.
        metadata_url: Option<String>,
    },
    /// This access token, for as long as it lasts: for tests.
    Token(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::KeyFile(path) => f.debug_tuple("KeyFile").field(path).finish(),
            Self::KeyJson(_) => f.write_str("KeyJson(…)"),
            Self::Default { metadata_url } => {
                f.debug_struct("Default").field("metadata_url", metadata_url).finish()
            }
            Self::Token(_) => f.write_str("Token(…)"),
        }
    }
}

/// The address with a `/` at its end: the client's library panics without.
///
/// # Errors
/// For plain `http` to another machine: tokens would be readable on the way.
pub fn checked_url(url: &str) -> Result<String, String> {
    let host = |rest: &str| {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let host = &rest[..end];
        match host.strip_prefix('[') {
            Some(inner) => inner.split(']').next().unwrap_or_default().to_owned(),
            None => host.split(':').next().unwrap_or_default().to_owned(),
        }
    };
    let is_right = match url.split_once("://") {
        Some(("https", rest)) => !host(rest).is_empty(),
        Some(("http", rest)) => is_own_machine(&host(rest)),
        _ => false,
    };
    if !is_right || url.contains(['@', ' ']) {
        return Err(format!(
            "the address {url:?} of the Sheets API is not usable: give https://…, or http:// with an \
             address of this machine"
        ));
    }
    Ok(if url.ends_with('/') { url.into() } else { format!("{url}/") })
}

fn is_own_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_the_own_machine() {
        let url = |text: &str| checked_url(text).ok();
        assert_eq!(url("https://a.example").as_deref(), Some("https://a.example/"));
        assert_eq!(url("http://127.0.0.1:80").as_deref(), Some("http://127.0.0.1:80/"));
        assert_eq!(url("http://[::1]:80/").as_deref(), Some("http://[::1]:80/"));
        assert!(url("http://localhost:1/").is_some());
        for wrong in [
            "http://a.example/",
            "http://127.0.0.1@a.example/",
            "a.example",
            "https:///",
            "ftp://a/",
        ] {
            assert_eq!(url(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let all = [Credentials::Token("ya29".into()), Credentials::KeyJson("PRIVATE".into())];
        let text = format!("{all:?}");
        assert!(!text.contains("ya29") && !text.contains("PRIVATE"), "{text}");
    }
}
