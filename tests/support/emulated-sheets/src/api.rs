//! The methods of the API: which address is which, what each takes, and what it does to a spreadsheet.
//!
//! Pure: a call and a spreadsheet give an answer and, for a write, the spreadsheet after it.

mod reads;
mod writes;

use serde_json::Value;

use crate::Rules;
use crate::book::{Book, Caller};
use crate::error::{ApiError, Result};
use crate::mask::Mask;
use crate::messages;

/// A method as the discovery document has it.
#[derive(Debug)]
pub(crate) struct Method {
    /// Its name, such as `spreadsheets.values.get`.
    pub(crate) name: &'static str,
    /// True if it is charged as a write, and changes something.
    pub(crate) write: bool,
    verb: &'static str,
    /// What stands behind `/v4/spreadsheets/{id}`: `{}` is a part of the path.
    path: &'static str,
    request: Option<&'static str>,
    response: &'static str,
    query: &'static [&'static str],
}

/// Query parameters of every method.
const GLOBAL: [&str; 14] = [
    "$.xgafv",
    "access_token",
    "alt",
    "$alt",
    "callback",
    "fields",
    "$fields",
    "key",
    "oauth_token",
    "prettyPrint",
    "$prettyPrint",
    "quotaUser",
    "uploadType",
    "upload_protocol",
];

/// Parameters that are enumerations, with their names.
const ENUMERATIONS: [(&str, &[&str]); 5] = [
    ("valueInputOption", &["INPUT_VALUE_OPTION_UNSPECIFIED", "RAW", "USER_ENTERED"]),
    ("insertDataOption", &["OVERWRITE", "INSERT_ROWS"]),
    ("majorDimension", &["DIMENSION_UNSPECIFIED", "ROWS", "COLUMNS"]),
    ("ValueRenderOption", &["FORMATTED_VALUE", "UNFORMATTED_VALUE", "FORMULA"]),
    ("DateTimeRenderOption", &["SERIAL_NUMBER", "FORMATTED_STRING"]),
];

const fn method(
    name: &'static str,
    write: bool,
    (verb, path): (&'static str, &'static str),
    request: Option<&'static str>,
    response: &'static str,
    query: &'static [&'static str],
) -> Method {
    Method { name, write, verb, path, request, response, query }
}

const WRITING: &[&str] = &[
    "valueInputOption",
    "includeValuesInResponse",
    "responseValueRenderOption",
    "responseDateTimeRenderOption",
    "insertDataOption",
];

/// All methods that are emulated; getByDataFilter and search are reads though they are posted.
static METHODS: [Method; 16] = [
    method(
        "spreadsheets.get",
        false,
        ("GET", ""),
        None,
        "Spreadsheet",
        &["ranges", "includeGridData", "excludeTablesInBandedRanges", "commentsViewMode"],
    ),
    method(
        "spreadsheets.getByDataFilter",
        false,
        ("POST", ":getByDataFilter"),
        Some("GetSpreadsheetByDataFilterRequest"),
        "Spreadsheet",
        &[],
    ),
    method(
        "spreadsheets.batchUpdate",
        true,
        ("POST", ":batchUpdate"),
        Some("BatchUpdateSpreadsheetRequest"),
        "BatchUpdateSpreadsheetResponse",
        &[],
    ),
    method(
        "spreadsheets.developerMetadata.get",
        false,
        ("GET", "/developerMetadata/{}"),
        None,
        "DeveloperMetadata",
        &[],
    ),
    method(
        "spreadsheets.developerMetadata.search",
        false,
        ("POST", "/developerMetadata:search"),
        Some("SearchDeveloperMetadataRequest"),
        "SearchDeveloperMetadataResponse",
        &[],
    ),
    method(
        "spreadsheets.values.batchGet",
        false,
        ("GET", "/values:batchGet"),
        None,
        "BatchGetValuesResponse",
        &["ranges", "majorDimension", "valueRenderOption", "dateTimeRenderOption"],
    ),
    method(
        "spreadsheets.values.batchGetByDataFilter",
        false,
        ("POST", "/values:batchGetByDataFilter"),
        Some("BatchGetValuesByDataFilterRequest"),
        "BatchGetValuesByDataFilterResponse",
        &[],
    ),
    method(
        "spreadsheets.values.batchUpdate",
        true,
        ("POST", "/values:batchUpdate"),
        Some("BatchUpdateValuesRequest"),
        "BatchUpdateValuesResponse",
        &[],
    ),
    method(
        "spreadsheets.values.batchUpdateByDataFilter",
        true,
        ("POST", "/values:batchUpdateByDataFilter"),
        Some("BatchUpdateValuesByDataFilterRequest"),
        "BatchUpdateValuesByDataFilterResponse",
        &[],
    ),
    method(
        "spreadsheets.values.batchClear",
        true,
        ("POST", "/values:batchClear"),
        Some("BatchClearValuesRequest"),
        "BatchClearValuesResponse",
        &[],
    ),
    method(
        "spreadsheets.values.append",
        true,
        ("POST", "/values/{}:append"),
        Some("ValueRange"),
        "AppendValuesResponse",
        WRITING,
    ),
    method(
        "spreadsheets.values.clear",
        true,
        ("POST", "/values/{}:clear"),
        Some("ClearValuesRequest"),
        "ClearValuesResponse",
        &[],
    ),
    method(
        "spreadsheets.values.update",
        true,
        ("PUT", "/values/{}"),
        Some("ValueRange"),
        "UpdateValuesResponse",
        WRITING,
    ),
    method(
        "spreadsheets.values.get",
        false,
        ("GET", "/values/{}"),
        None,
        "ValueRange",
        &["majorDimension", "valueRenderOption", "dateTimeRenderOption"],
    ),
    method(
        "spreadsheets.sheets.copyTo",
        true,
        ("POST", "/sheets/{}:copyTo"),
        None,
        "SheetProperties",
        &[],
    ),
    method("spreadsheets.create", true, ("POST", "-"), Some("Spreadsheet"), "Spreadsheet", &[]),
];

/// A method with all that was given to it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The method.
    pub(crate) method: &'static Method,
    /// The spreadsheet's id.
    pub(crate) id: String,
    /// The range or id that is part of the path.
    pub(crate) part: String,
    /// Query parameters in their order.
    pub(crate) query: Vec<(String, String)>,
    /// The body, read and cleaned; null where there is none.
    pub(crate) body: Value,
    /// What of the answer is shown.
    pub(crate) mask: Mask,
}

/// Finds the method of an address; none where Google's front end would show its 404 page.
pub(crate) fn find(verb: &str, path: &str) -> Option<(&'static Method, String, String)> {
    let rest = path.strip_prefix("/v4/spreadsheets")?;
    if rest.is_empty() && verb == "POST" {
        return METHODS.last().map(|method| (method, String::new(), String::new()));
    }
    let rest = rest.strip_prefix('/')?;
    let end = rest.find(['/', ':']).unwrap_or(rest.len());
    let (id, rest) = rest.split_at(end);
    let fitting = METHODS.iter().filter(|method| method.verb == verb);
    let (method, part) =
        fitting.filter_map(|method| part(method.path, rest).map(|part| (method, part))).next()?;
    Some((method, decode(id, false), decode(part, false)))
}

/// What stands in the place of `{}`; empty for a path without one.
fn part<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    match pattern.split_once("{}") {
        None => (pattern == path).then_some(""),
        Some((before, after)) => {
            let part = path.strip_prefix(before)?.strip_suffix(after)?;
            // A method behind the range would be another method.
            let other = after.is_empty() && [":append", ":clear"].iter().any(|m| part.ends_with(m));
            (!part.is_empty() && !part.contains('/') && !other).then_some(part)
        }
    }
}

/// Takes `%41` for `A`, and in a query `+` for a blank.
pub(crate) fn decode(text: &str, query: bool) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match (bytes[at], pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 2;
            }
            (b'+', _) if query => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The pairs of a query string.
pub(crate) fn pairs(query: &str) -> Vec<(String, String)> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(name, value)| (decode(name, true), decode(value, true)))
        .collect()
}

impl Call {
    /// Reads what was given to a method.
    ///
    /// # Errors
    /// 400 for unknown parameters and names, wrong types, a mask that fits nothing.
    pub(crate) fn read(
        (method, id, part): (&'static Method, String, String),
        query: Vec<(String, String)>,
        body: &[u8],
    ) -> Result<Self> {
        for (name, value) in &query {
            let name = name.as_str();
            let own = messages::camel(name);
            if !GLOBAL.contains(&name) && !method.query.contains(&own.as_str()) {
                let text = format!(
                    "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query \
                     parameter. Field '{name}' could not be found in request message."
                );
                return Err(ApiError::violations(text.clone(), &[(String::new(), text)]));
            }
            let fits = |suffix: &str| {
                own == suffix || own.to_lowercase().ends_with(&suffix.to_lowercase())
            };
            if let Some((_, names)) = ENUMERATIONS.iter().find(|(suffix, _)| fits(suffix)) {
                messages::enumerated(&own, value, names)?;
            }
        }
        let body = method.request.map_or(Ok(Value::Null), |name| messages::read(body, name))?;
        let mut call = Self { method, id, part, query, body, mask: Mask::all() };
        if let Some(text) = call.parameter("fields").or(call.parameter("$fields")) {
            call.mask = Mask::parse(text, method.response)?;
        }
        Ok(call)
    }

    /// A query parameter, in either spelling.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(own, _)| own == name || messages::camel(own) == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a repeated parameter.
    pub(crate) fn parameters<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    fn flag(&self, name: &str) -> bool {
        self.parameter(name).is_some_and(|value| value == "true" || value == "True")
    }

    /// Answers a call that reads.
    ///
    /// # Errors
    /// As the method does.
    pub(crate) fn read_from(&self, book: &Book, caller: &Caller) -> Result<Value> {
        Ok(self.mask.filter(reads::answer(self, book, caller)?))
    }

    /// Applies a call that writes: the answer, and the spreadsheet after it. `book` stays as it is.
    ///
    /// # Errors
    /// As the method does; nothing has been applied then.
    pub(crate) fn write_to(
        &self,
        book: &Book,
        caller: &Caller,
        rules: &Rules,
    ) -> Result<(Value, Book)> {
        let mut next = book.clone();
        let answer = writes::answer(self, &mut next, caller, rules)?;
        Ok((self.mask.filter(answer), next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(verb: &str, path: &str) -> Option<(&'static str, String, String)> {
        find(verb, path).map(|(method, id, part)| (method.name, id, part))
    }

    #[test]
    fn addresses_are_methods() {
        let is = |name, part: &str| Some((name, "ID".to_owned(), part.to_owned()));
        assert_eq!(found("GET", "/v4/spreadsheets/ID"), is("spreadsheets.get", ""));
        assert_eq!(
            found("POST", "/v4/spreadsheets/ID:batchUpdate"),
            is("spreadsheets.batchUpdate", "")
        );
        let range = "/v4/spreadsheets/ID/values/%27Op%20%231%27!A1%3AB2";
        assert_eq!(found("GET", range), is("spreadsheets.values.get", "'Op #1'!A1:B2"));
        let append = format!("{range}:append");
        assert_eq!(found("POST", &append), is("spreadsheets.values.append", "'Op #1'!A1:B2"));
        assert_eq!(
            found("GET", "/v4/spreadsheets/ID/values:batchGet"),
            is("spreadsheets.values.batchGet", "")
        );
        for wrong in
            ["/v4/spreadsheets/ID/nothing", "/v3/spreadsheets/ID", "/v4/spreadsheets/ID/values/"]
        {
            assert_eq!(found("GET", wrong), None, "{wrong}");
        }
        assert_eq!(found("DELETE", "/v4/spreadsheets/ID"), None);
    }

    #[test]
    fn unknown_parameters_are_refused_as_google_does() {
        let get = || find("GET", "/v4/spreadsheets/ID").unwrap();
        let error = Call::read(get(), pairs("bogus=1"), b"").unwrap_err();
        assert!(error.message.ends_with("Field 'bogus' could not be found in request message."));
        assert!(Call::read(get(), pairs("alt=json&prettyPrint=false&ranges=A1"), b"").is_ok());
        let values = find("GET", "/v4/spreadsheets/ID/values/A1").unwrap();
        let error = Call::read(values, pairs("valueRenderOption=X"), b"").unwrap_err();
        assert!(
            error
                .message
                .starts_with("Invalid value at 'value_render_option' (type.googleapis.com/")
        );
    }
}
