//! Locks as a running Lockside describes them, shown as a table or as JSON.
//!
//! Pure. A lock is a list of named fields; fields of a newer Lockside are kept.

use redis::Value;
use serde_json::{Map, Value as Json};

use crate::lock::record::LockKey;
use crate::telemetry::escape;

/// Fields that the table shows, in its order, with their titles.
const COLUMNS: [(&str, &str); 11] = [
    ("key", "KEY"),
    ("db", "DB"),
    ("owner", "OWNER"),
    ("token", "TOKEN"),
    ("age_seconds", "AGE"),
    ("since", "SINCE"),
    ("state", "STATE"),
    ("fence", "FENCE"),
    ("rule", "RULE"),
    ("origin", "ORIGIN"),
    ("client", "CLIENT"),
];

/// One lock: its fields by name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lock(Vec<(String, Value)>);

impl Lock {
    /// A lock of these fields.
    pub(super) fn new<const N: usize>(fields: [(&str, Value); N]) -> Self {
        Self(fields.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// Which lock it is. None without a key and a database.
    pub(super) fn lock_key(&self) -> Option<LockKey> {
        let field = |name| self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value);
        match (field("key"), field("db")) {
            (Some(Value::BulkString(key)), Some(Value::Int(db))) => {
                Some(LockKey::new(u32::try_from(*db).ok()?, key))
            }
            _ => None,
        }
    }

    /// The ledger's name for the hold, if it has one.
    pub(super) fn claim(&self) -> Option<String> {
        self.0.iter().find(|(own, _)| own == "claim").and_then(|(_, value)| text(value))
    }

    /// Reads a map (RESP3) or a flat array of field and value (RESP2). None for anything else.
    pub(super) fn read(value: Value) -> Option<Self> {
        let pairs: Vec<(Value, Value)> = match value {
            Value::Map(pairs) => pairs,
            Value::Array(flat) if flat.len() % 2 == 0 => {
                let mut flat = flat.into_iter();
                std::iter::from_fn(|| Some((flat.next()?, flat.next()?))).collect()
            }
            _ => return None,
        };
        let named = |(name, value)| Some((text(&name)?, value));
        let fields: Option<Vec<_>> = pairs.into_iter().map(named).collect();
        fields.filter(|fields| fields.iter().any(|(name, _)| name == "key")).map(Self)
    }

    /// The lock as a JSON object; numbers stay numbers.
    pub(super) fn json(&self) -> Json {
        let field = |(name, value): &(String, Value)| (name.clone(), json(value));
        Json::Object(self.0.iter().map(field).collect::<Map<_, _>>())
    }

    /// The fields one a line, for a person.
    pub(super) fn lines(&self) -> String {
        let label = |name: &str| name.trim_end_matches("_seconds").to_owned();
        let width = self.0.iter().map(|(name, _)| label(name).len()).max().unwrap_or(0);
        let line =
            |(name, _): &(String, Value)| format!("{:width$}  {}", label(name), self.cell(name));
        self.0.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn cell(&self, name: &str) -> String {
        let value = self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value);
        match (name, value) {
            ("age_seconds", Some(value)) => {
                let text = text(value).unwrap_or_default();
                text.parse().map_or(text, age)
            }
            (_, value) => {
                value.and_then(text).filter(|text| !text.is_empty()).unwrap_or("-".into())
            }
        }
    }
}

/// All locks as an aligned table, with a line that says how many.
pub(super) fn table(locks: &[Lock]) -> String {
    let titles: Vec<String> = COLUMNS.iter().map(|(_, title)| (*title).to_owned()).collect();
    let row = |lock: &Lock| COLUMNS.iter().map(|(name, _)| lock.cell(name)).collect();
    let rows: Vec<Vec<String>> = std::iter::once(titles).chain(locks.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..COLUMNS.len()).map(|at| width(at).unwrap_or(0)).collect();
    let mut lines: Vec<String> = rows.iter().map(|row| aligned(row, &widths)).collect();
    lines.push(match locks.len() {
        1 => "1 lock".into(),
        count => format!("{count} locks"),
    });
    lines.join("\n")
}

fn aligned(row: &[String], widths: &[usize]) -> String {
    let cell = |(text, width): (&String, &usize)| format!("{text:width$}");
    row.iter().zip(widths).map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// An age in its two largest units: enough to see who forgot to release.
fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// A single value as printable text. None for arrays, maps and nil.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(escape(bytes).to_string()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => {
            Some(escape(text.as_bytes()).to_string())
        }
        Value::Okay => Some("OK".into()),
        Value::Int(number) => Some(number.to_string()),
        Value::Double(number) => Some(number.to_string()),
        Value::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}

fn json(value: &Value) -> Json {
    match value {
        Value::Int(number) => Json::from(*number),
        Value::Double(number) => Json::from(*number),
        Value::Boolean(value) => Json::from(*value),
        // Valid UTF-8 goes out as it is: JSON has escapes of its own.
        Value::BulkString(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Json::from(text),
            Err(_) => Json::from(escape(bytes).to_string()),
        },
        other => text(other).map_or(Json::Null, Json::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn lock(key: &str, age: i64) -> Lock {
        let flat = vec![bulk("key"), bulk(key), bulk("age_seconds"), Value::Int(age)];
        Lock::read(Value::Array(flat)).unwrap()
    }

    #[test]
    fn both_protocols_read_the_same() {
        let pairs = vec![(bulk("key"), bulk("lock:a")), (bulk("age_seconds"), Value::Int(5))];
        assert_eq!(Lock::read(Value::Map(pairs)), Some(lock("lock:a", 5)));
        assert_eq!(Lock::read(Value::Nil), None);
        assert_eq!(Lock::read(Value::Array(vec![bulk("key")])), None);
        assert_eq!(Lock::read(Value::Array(vec![])), None);
    }

    #[test]
    fn table_is_aligned_and_escaped() {
        let shown = table(&[lock("lock:a\x1b", 5), lock("lock:longer key", 90_000)]);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines[0],
            "KEY              DB  OWNER  TOKEN  AGE    SINCE  STATE  FENCE  RULE  ORIGIN  CLIENT"
        );
        assert_eq!(
            lines[1],
            "lock:a\\u{1b}     -   -      -      5s     -      -      -      -     -       -"
        );
        assert_eq!(
            lines[2],
            "lock:longer key  -   -      -      1d01h  -      -      -      -     -       -"
        );
        assert_eq!(lines[3], "2 locks");
    }

    #[test]
    fn json_keeps_numbers_and_raw_text() {
        assert_eq!(lock("a\"\x1b", 7).json().to_string(), r#"{"age_seconds":7,"key":"a\"\u001b"}"#);
    }

    #[test]
    fn ages() {
        assert_eq!([59, 61, 3_660, 90_000].map(age), ["59s", "1m01s", "1h01m", "1d01h"]);
    }
}
