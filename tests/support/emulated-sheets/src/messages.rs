//! The messages of the API by name, and JSON against them: names that the API does not have are
//! refused in Google's words, and what is left is in one form (names in camelCase, no nulls).
//!
//! The table is `messages.txt`, made from the API's discovery document.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::error::{ApiError, Result};

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Text; a field mask is text too.
    Text,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits; JSON has it as text.
    Int64,
    /// A floating-point number.
    Double,
    /// True or false.
    Bool,
    /// Whatever JSON has.
    Any,
    /// One of these names.
    Enum(Vec<String>),
    /// Another message.
    Message(String),
    /// Any number of these.
    List(Box<Kind>),
}

/// Messages by name, their fields by name.
type Table = BTreeMap<String, BTreeMap<String, Kind>>;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let lines = include_str!("messages.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(message).collect()
});

fn message(line: &str) -> (String, BTreeMap<String, Kind>) {
    let mut words = line.split(' ');
    let name = words.next().unwrap_or_default().to_owned();
    let fields = words.filter_map(|word| word.split_once(':'));
    (name, fields.map(|(field, text)| (field.to_owned(), kind(text))).collect())
}

fn kind(text: &str) -> Kind {
    if let Some(inner) = text.strip_suffix("[]") {
        return Kind::List(Box::new(kind(inner)));
    }
    match text {
        "string" | "mask" => Kind::Text,
        "int32" => Kind::Int32,
        "int64" => Kind::Int64,
        "double" => Kind::Double,
        "bool" => Kind::Bool,
        "any" => Kind::Any,
        _ if text.contains('|') => Kind::Enum(text.split('|').map(str::to_owned).collect()),
        _ => Kind::Message(text.to_owned()),
    }
}

/// The kind of a field; none where the message has no such field.
pub(crate) fn field(message: &str, name: &str) -> Option<&'static Kind> {
    TABLE.get(message)?.get(name)
}

/// The body of a call as the message `name`, cleaned; all that is wrong with it is told at once.
///
/// # Errors
/// 400 with a violation for each unknown name and each value of a wrong type.
pub(crate) fn read(body: &[u8], name: &str) -> Result<Value> {
    let text = if body.is_empty() { b"{}" } else { body };
    let value: Value = serde_json::from_slice(text).map_err(|_| unparsable())?;
    let mut wrong = Vec::new();
    let clean = Reader { wrong: &mut wrong }.message(&value, name, "");
    if wrong.is_empty() {
        return Ok(clean);
    }
    let lines: Vec<&str> = wrong.iter().map(|(_, text)| text.as_str()).collect();
    Err(ApiError::violations(lines.join("\n"), &wrong))
}

fn unparsable() -> ApiError {
    let text = "Invalid JSON payload received. Unexpected token.".to_owned();
    ApiError::violations(text.clone(), &[(String::new(), text)])
}

/// One of the names of an enumeration, as a query parameter.
pub(crate) fn enumerated(parameter: &str, value: &str, names: &[&str]) -> Result<()> {
    if names.contains(&value) {
        return Ok(());
    }
    let field = snake(parameter);
    let text = format!("Invalid value at '{field}' ({}), \"{value}\"", type_name(&field));
    Err(ApiError::violations(text.clone(), &[(field, text)]))
}

struct Reader<'a> {
    wrong: &'a mut Vec<(String, String)>,
}

impl Reader<'_> {
    fn message(&mut self, value: &Value, name: &str, path: &str) -> Value {
        let Some(object) = value.as_object() else {
            self.mistyped(
                path,
                &format!("type.googleapis.com/google.apps.sheets.v4.{name}"),
                value,
            );
            return Value::Null;
        };
        let mut clean = Map::new();
        for (key, inner) in object {
            let camel = camel(key);
            let Some(kind) = field(name, &camel) else {
                self.unknown(key, path);
                continue;
            };
            if inner.is_null() && *kind != Kind::Any {
                continue;
            }
            let place = if path.is_empty() { snake(key) } else { format!("{path}.{}", snake(key)) };
            clean.insert(camel, self.value(inner, kind, &place));
        }
        Value::Object(clean)
    }

    fn value(&mut self, value: &Value, kind: &Kind, path: &str) -> Value {
        match kind {
            Kind::Any => value.clone(),
            Kind::Message(name) => self.message(value, name, path),
            Kind::List(inner) => self.list(value, inner, path),
            Kind::Text if value.is_string() => value.clone(),
            Kind::Bool if value.is_boolean() => value.clone(),
            Kind::Enum(names) if value.as_str().is_some_and(|v| names.iter().any(|n| n == v)) => {
                value.clone()
            }
            Kind::Double => number(value).map_or_else(
                || self.mistyped(path, "TYPE_DOUBLE", value),
                |number| serde_json::json!(number),
            ),
            Kind::Int32 => match whole(value).filter(|n| i32::try_from(*n).is_ok()) {
                Some(number) => number.into(),
                None => self.mistyped(path, "TYPE_INT32", value),
            },
            Kind::Int64 => match whole(value) {
                Some(number) => number.into(),
                None => self.mistyped(path, "TYPE_INT64", value),
            },
            Kind::Text => self.mistyped(path, "TYPE_STRING", value),
            Kind::Bool => self.mistyped(path, "TYPE_BOOL", value),
            Kind::Enum(_) => {
                let last = path.rsplit('.').next().unwrap_or(path);
                self.mistyped(path, &type_name(last), value)
            }
        }
    }

    fn list(&mut self, value: &Value, inner: &Kind, path: &str) -> Value {
        let Some(items) = value.as_array() else {
            // A single value is taken for a list of one, except where lists lie in lists.
            if matches!(inner, Kind::List(_)) {
                return self.mistyped(path, "type.googleapis.com/google.protobuf.ListValue", value);
            }
            return Value::Array(vec![self.value(value, inner, path)]);
        };
        let place = |at: usize| format!("{path}[{at}]");
        let row = |item: &Value| matches!(inner, Kind::List(_)) && !item.is_array();
        let mut list = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            list.push(if row(item) {
                let kind = "type.googleapis.com/google.protobuf.ListValue";
                self.mistyped(&place(at), kind, item)
            } else {
                self.value(item, inner, &place(at))
            });
        }
        Value::Array(list)
    }

    fn unknown(&mut self, name: &str, path: &str) {
        let place = if path.is_empty() { String::new() } else { format!(" at '{path}'") };
        let text = format!(
            "Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field."
        );
        self.wrong.push((path.to_owned(), text));
    }

    fn mistyped(&mut self, path: &str, kind: &str, value: &Value) -> Value {
        self.wrong.push((path.to_owned(), format!("Invalid value at '{path}' ({kind}), {value}")));
        Value::Null
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

fn whole(value: &Value) -> Option<i64> {
    let text = |value: &Value| value.as_str()?.parse().ok();
    let round = |value: &Value| value.as_f64().filter(|n| n.fract() == 0.0).map(|n| n as i64);
    value.as_i64().or_else(|| text(value)).or_else(|| round(value))
}

/// `value_input_option` is of the type `ValueInputOption`; nested types have no better name here.
fn type_name(field: &str) -> String {
    let words = field.split(['_', '[']).filter(|word| !word.ends_with(']'));
    let name: String = words.map(capitalised).collect();
    format!("type.googleapis.com/google.apps.sheets.v4.{name}")
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

/// `sheet_id` becomes `sheetId`: both are names of the same field.
pub(crate) fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    first + &words.map(capitalised).collect::<String>()
}

/// `sheetId` becomes `sheet_id`, as paths in Google's texts have it.
pub(crate) fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(body: &Value, name: &str) -> ApiError {
        read(body.to_string().as_bytes(), name).unwrap_err()
    }

    #[test]
    fn unknown_names_are_refused_with_their_place() {
        let error =
            refused(&json!({"requests": [{"frobnicate": {}}]}), "BatchUpdateSpreadsheetRequest");
        assert_eq!(
            error.message,
            "Invalid JSON payload received. Unknown name \"frobnicate\" at 'requests[0]': Cannot find field."
        );
        assert_eq!(error.details[0]["fieldViolations"][0]["field"], "requests[0]");
        let error = refused(
            &json!({"requests": [{"updateCells": {"bogus": 1, "rows": [{"x": 2}]}}]}),
            "BatchUpdateSpreadsheetRequest",
        );
        assert_eq!(error.message.lines().count(), 2);
        assert!(error.message.contains("Unknown name \"x\" at 'requests[0].update_cells.rows[0]'"));
    }

    #[test]
    fn wrong_types_are_refused_in_googles_words() {
        let error = refused(&json!({"requests": ["repeatCell"]}), "BatchUpdateSpreadsheetRequest");
        assert!(error.message.starts_with("Invalid value at 'requests[0]' (type.googleapis.com/"));
        let error = refused(&json!({"data": {"values": ["x"]}}), "BatchUpdateValuesRequest");
        assert_eq!(
            error.message,
            "Invalid value at 'data.values[0]' (type.googleapis.com/google.protobuf.ListValue), \"x\""
        );
        let error = refused(&json!({"valueInputOption": "Text"}), "BatchUpdateValuesRequest");
        assert_eq!(
            error.message,
            "Invalid value at 'value_input_option' (type.googleapis.com/google.apps.sheets.v4.ValueInputOption), \"Text\""
        );
    }

    #[test]
    fn both_spellings_nulls_and_numbers_in_text_are_taken() {
        let clean =
            read(br#"{"sheet_id": "7", "fields": null, "rows": [{}]}"#, "AppendCellsRequest");
        assert_eq!(clean.unwrap(), json!({"sheetId": 7, "rows": [{}]}));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        assert_eq!(read(b"{", "ValueRange").unwrap_err().code, 400);
        assert_eq!(read(b"", "ClearValuesRequest").unwrap(), json!({}));
    }
}
