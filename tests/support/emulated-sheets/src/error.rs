//! Refusals with Google's statuses, texts and details; it decides nothing.
//!
//! Texts that Google's answers are known to have (its documentation, or answers that people published)
//! are kept to the letter. Where no answer is known the words are the emulator's and only code and
//! status are Google's: clients must not depend on the words.

use serde_json::{Value, json};

/// What is answered in place of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// The HTTP status.
    pub code: u16,
    /// Google's name of it, such as `INVALID_ARGUMENT`.
    pub status: &'static str,
    /// What stands in `error.message`.
    pub message: String,
    /// What stands in `error.details`.
    pub details: Vec<Value>,
    /// The `WWW-Authenticate` header, where one belongs.
    pub authenticate: Option<String>,
}

/// The result of a call.
pub(crate) type Result<T> = std::result::Result<T, ApiError>;

const REALM: &str = "Bearer realm=\"https://accounts.google.com/\"";

impl ApiError {
    fn new(code: u16, status: &'static str, message: impl Into<String>) -> Self {
        Self { code, status, message: message.into(), details: Vec::new(), authenticate: None }
    }

    /// A 400 with this text.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "INVALID_ARGUMENT", message)
    }

    /// A 400 about fields: one violation for each `(field, description)`.
    pub(crate) fn violations(message: impl Into<String>, violations: &[(String, String)]) -> Self {
        let list: Vec<Value> = violations
            .iter()
            .map(|(field, text)| {
                if field.is_empty() {
                    json!({"description": text})
                } else {
                    json!({"field": field, "description": text})
                }
            })
            .collect();
        let detail =
            json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": list});
        Self { details: vec![detail], ..Self::invalid(message) }
    }

    /// `fields` names something that the message does not have.
    pub(crate) fn mask(path: &str) -> Self {
        let text = format!(
            "Error expanding 'fields' parameter. Cannot find matching fields for path '{path}'."
        );
        Self::violations("Request contains an invalid argument.", &[(path.to_owned(), text)])
    }

    /// A range that is no A1 notation, or of a tab that is not there.
    pub(crate) fn unparsable(range: &str) -> Self {
        Self::invalid(format!("Unable to parse range: {range}"))
    }

    /// A token that is unknown, expired or revoked.
    pub(crate) fn unauthenticated() -> Self {
        let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, \
                       login cookie or other valid authentication credential. See \
                       https://developers.google.com/identity/sign-in/web/devconsole-project.";
        let detail = info("ACCESS_TOKEN_EXPIRED", "googleapis.com", &json!({"service": SERVICE}));
        Self {
            details: vec![detail],
            authenticate: Some(format!("{REALM}, error=\"invalid_token\"")),
            ..Self::new(401, "UNAUTHENTICATED", message)
        }
    }

    /// No credential at all.
    pub(crate) fn unregistered() -> Self {
        let message = "Method doesn't allow unregistered callers (callers without established \
                       identity). Please use API Key or other form of API consumer identity to call \
                       this API.";
        Self::new(403, "PERMISSION_DENIED", message)
    }

    /// The token was not minted for a scope that this call takes.
    pub(crate) fn scope(method: &str, scopes: &[&str]) -> Self {
        let metadata = json!({"service": SERVICE, "method": method});
        Self {
            details: vec![info("ACCESS_TOKEN_SCOPE_INSUFFICIENT", "googleapis.com", &metadata)],
            authenticate: Some(format!(
                "{REALM}, error=\"insufficient_scope\", scope=\"{}\"",
                scopes.join(" ")
            )),
            ..Self::new(403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.")
        }
    }

    /// The spreadsheet is not shared with the caller, or not for writing.
    pub(crate) fn forbidden() -> Self {
        Self::new(403, "PERMISSION_DENIED", "The caller does not have permission")
    }

    /// The API is not enabled in the caller's project.
    pub(crate) fn disabled(project: u64) -> Self {
        let url = format!(
            "https://console.developers.google.com/apis/api/{SERVICE}/overview?project={project}"
        );
        let message = format!(
            "Google Sheets API has not been used in project {project} before or it is disabled. \
             Enable it by visiting {url} then retry. If you enabled this API recently, wait a few \
             minutes for the action to propagate to our systems and retry."
        );
        let help = json!({
            "@type": "type.googleapis.com/google.rpc.Help",
            "links": [{"description": "Google developers console API activation", "url": url}],
        });
        let metadata = json!({"consumer": format!("projects/{project}"), "service": SERVICE});
        let details = vec![help, info("SERVICE_DISABLED", "googleapis.com", &metadata)];
        Self { details, ..Self::new(403, "PERMISSION_DENIED", message) }
    }

    /// There is no such spreadsheet.
    pub(crate) fn not_found() -> Self {
        Self::new(404, "NOT_FOUND", "Requested entity was not found.")
    }

    /// There is no developer metadata with this id.
    pub(crate) fn no_metadata(id: i64) -> Self {
        Self::new(404, "NOT_FOUND", format!("No developer metadata with ID {id}."))
    }

    /// What Google has and the emulator has not.
    pub(crate) fn not_emulated(what: &str) -> Self {
        Self::new(501, "UNIMPLEMENTED", format!("The emulator does not have {what}."))
    }

    /// A minute's quota is used up. `kind` is `Read` or `Write`; `per_user` or for the whole project.
    pub(crate) fn quota(kind: &str, per_user: bool, limit: u32, project: u64) -> Self {
        let (of, suffix, unit) = if per_user {
            (" per user", "PerUser", "1/min/{project}/{user}")
        } else {
            ("", "PerProject", "1/min/{project}")
        };
        let message = format!(
            "Quota exceeded for quota metric '{kind} requests' and limit '{kind} requests per \
             minute{of}' of service '{SERVICE}' for consumer 'project_number:{project}'."
        );
        let metadata = json!({
            "consumer": format!("projects/{project}"),
            "service": SERVICE,
            "quota_location": "global",
            "quota_metric": format!("{SERVICE}/{}_requests", kind.to_lowercase()),
            "quota_limit": format!("{kind}RequestsPerMinute{suffix}"),
            "quota_limit_value": limit.to_string(),
            "quota_unit": unit,
        });
        let help = json!({
            "@type": "type.googleapis.com/google.rpc.Help",
            "links": [{
                "description": "Request a higher quota limit.",
                "url": "https://cloud.google.com/docs/quotas/help/request_increase",
            }],
        });
        let details = vec![info("RATE_LIMIT_EXCEEDED", "googleapis.com", &metadata), help];
        Self { details, ..Self::new(429, "RESOURCE_EXHAUSTED", message) }
    }

    /// What Google's servers say of themselves, by the status of an injected fault.
    pub(crate) fn injected(code: u16) -> Self {
        let (status, message) = match code {
            400 => ("INVALID_ARGUMENT", "Request contains an invalid argument."),
            401 => return Self::unauthenticated(),
            403 => return Self::forbidden(),
            404 => return Self::not_found(),
            409 => ("ABORTED", "The operation was aborted."),
            429 => ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
            500 => ("INTERNAL", "Internal error encountered."),
            502 => ("UNAVAILABLE", "Bad Gateway"),
            503 => ("UNAVAILABLE", "The service is currently unavailable."),
            504 => ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
            _ => ("UNKNOWN", "Unknown Error."),
        };
        Self::new(code, status, message)
    }

    /// The same, said of one request of a batch: `Invalid requests[2].addSheet: …`.
    #[must_use]
    pub(crate) fn within(mut self, place: &str) -> Self {
        if self.code == 400 && !self.message.starts_with("Invalid JSON payload") {
            self.message = format!("Invalid {place}: {}", self.message);
        }
        self
    }

    /// The body of the answer.
    pub(crate) fn body(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message, "status": self.status});
        if !self.details.is_empty() {
            error["details"] = self.details.clone().into();
        }
        json!({ "error": error })
    }
}

/// The name of the service in details.
const SERVICE: &str = "sheets.googleapis.com";

fn info(reason: &str, domain: &str, metadata: &Value) -> Value {
    json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": domain,
        "metadata": metadata,
    })
}

/// A page of the front end, as it comes in place of JSON: for a wrong path and some overloads.
pub(crate) fn page(code: u16, path: &str) -> String {
    let (title, text) = match code {
        404 => (
            "Not Found",
            format!("The requested URL <code>{}</code> was not found on this server.", escape(path)),
        ),
        408 => ("Request Timeout", "Your client has taken too long to issue its request.".to_owned()),
        429 => (
            "Too Many Requests",
            "We're sorry, but you have sent too many requests to us recently. Please try again later."
                .to_owned(),
        ),
        502 | 503 => (
            "Server Error",
            "The server encountered a temporary error and could not complete your request.<p>Please \
             try again in 30 seconds."
                .to_owned(),
        ),
        _ => ("Server Error", "The server encountered an error.".to_owned()),
    };
    format!(
        "<!DOCTYPE html>\n<html lang=en>\n  <meta charset=utf-8>\n  <title>Error {code} ({title})!!1\
         </title>\n  <p><b>{code}.</b> <ins>That’s an error.</ins>\n  <p>{text}  <ins>That’s all we \
         know.</ins>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
