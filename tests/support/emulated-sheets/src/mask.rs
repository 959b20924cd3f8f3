//! Field masks: `a.b,c(d,e/f)` and `*`, of requests (what to write) and of answers (what to show).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::{ApiError, Result};
use crate::messages::{self, Kind, camel};

/// A tree of names. A mask without names takes everything below it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Mask {
    fields: BTreeMap<String, Mask>,
}

impl Mask {
    /// Takes everything.
    pub(crate) fn all() -> Self {
        Self::default()
    }

    /// Reads a mask and holds it against the message that it is of.
    ///
    /// # Errors
    /// 400 as Google says it, for a name that the message does not have or brackets that do not close.
    pub(crate) fn parse(text: &str, message: &str) -> Result<Self> {
        let mut rest = text.trim();
        let mask =
            list(&mut rest).filter(|_| rest.is_empty()).ok_or_else(|| ApiError::mask(text))?;
        mask.check(message, "")?;
        Ok(mask)
    }

    fn check(&self, message: &str, path: &str) -> Result<()> {
        for (name, inner) in &self.fields {
            let place = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match messages::field(message, name).map(element) {
                None => return Err(ApiError::mask(&place)),
                Some(Kind::Message(below)) => inner.check(below, &place)?,
                Some(Kind::Any) => {}
                Some(_) if inner.fields.is_empty() => {}
                Some(_) => {
                    let first = inner.fields.keys().next().map_or("", String::as_str);
                    return Err(ApiError::mask(&format!("{place}.{first}")));
                }
            }
        }
        Ok(())
    }

    /// True if something of this field is taken.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.is_empty() || self.fields.contains_key(name)
    }

    /// True if the mask takes everything of its message.
    pub(crate) fn is_all(&self) -> bool {
        self.fields.is_empty()
    }

    /// What is taken of this field; call it only where `has` says so.
    pub(crate) fn below(&self, name: &str) -> Self {
        self.fields.get(name).cloned().unwrap_or_default()
    }

    /// True if a path of names is taken.
    pub(crate) fn takes(&self, path: &[&str]) -> bool {
        match path.split_first() {
            None => true,
            Some((first, rest)) => self.has(first) && self.below(first).takes(rest),
        }
    }

    /// True if the names of this path all stand in the mask: not when they are only meant by a name above.
    pub(crate) fn names(&self, path: &[&str]) -> bool {
        match path.split_first() {
            None => true,
            Some((first, rest)) => self.fields.get(*first).is_some_and(|inner| inner.names(rest)),
        }
    }

    /// What of `value` is shown.
    pub(crate) fn filter(&self, value: Value) -> Value {
        if self.fields.is_empty() {
            return value;
        }
        match value {
            Value::Array(items) => items.into_iter().map(|item| self.filter(item)).collect(),
            Value::Object(object) => Value::Object(self.filter_object(object)),
            other => other,
        }
    }

    fn filter_object(&self, object: Map<String, Value>) -> Map<String, Value> {
        let kept = object.into_iter().filter(|(name, _)| self.has(name));
        kept.map(|(name, inner)| {
            let below = self.below(&name);
            (name, below.filter(inner))
        })
        .filter(|(_, inner)| *inner != Value::Object(Map::new()))
        .collect()
    }

    /// Writes into `old` what the mask takes of `new`: what `new` does not have is cleared.
    pub(crate) fn write(&self, old: &mut Map<String, Value>, new: &Map<String, Value>) {
        if self.fields.is_empty() {
            old.clone_from(new);
            return;
        }
        for (name, inner) in &self.fields {
            match new.get(name) {
                None if inner.fields.is_empty() => drop(old.remove(name)),
                Some(value) if inner.fields.is_empty() || !value.is_object() => {
                    old.insert(name.clone(), value.clone());
                }
                value => {
                    let empty = Map::new();
                    let value = value.and_then(Value::as_object).unwrap_or(&empty);
                    let entry = old.entry(name.clone()).or_insert_with(|| Map::new().into());
                    if let Some(object) = entry.as_object_mut() {
                        inner.write(object, value);
                    }
                    if old.get(name) == Some(&Value::Object(Map::new())) {
                        old.remove(name);
                    }
                }
            }
        }
    }

    fn join(&mut self, other: Self) {
        for (name, inner) in other.fields {
            match self.fields.get_mut(&name) {
                // All of it was asked for already, or is now.
                Some(old) if old.fields.is_empty() || inner.fields.is_empty() => {
                    *old = Self::default();
                }
                Some(old) => old.join(inner),
                None => drop(self.fields.insert(name, inner)),
            }
        }
    }
}

fn element(kind: &Kind) -> &Kind {
    match kind {
        Kind::List(inner) => element(inner),
        other => other,
    }
}

/// `path,path,…` up to the end or a closing bracket. A `*` beside other names takes everything.
fn list(rest: &mut &str) -> Option<Mask> {
    let (mut mask, mut all) = (Mask::default(), false);
    loop {
        match path(rest)? {
            None => all = true,
            Some(part) => mask.join(part),
        }
        match rest.strip_prefix(',') {
            Some(more) => *rest = more,
            None => return Some(if all { Mask::default() } else { mask }),
        }
    }
}

/// One path; `Some(None)` for `*`.
fn path(rest: &mut &str) -> Option<Option<Mask>> {
    *rest = rest.trim_start();
    if let Some(more) = rest.strip_prefix('*') {
        *rest = more.trim_start();
        return Some(None);
    }
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    let (name, more) = rest.split_at(end);
    if name.is_empty() {
        return None;
    }
    *rest = more.trim_start();
    let inner = if let Some(more) = rest.strip_prefix(['.', '/']) {
        *rest = more;
        path(rest)?.unwrap_or_default()
    } else if let Some(more) = rest.strip_prefix('(') {
        *rest = more;
        let inner = list(rest)?;
        *rest = rest.strip_prefix(')')?.trim_start();
        inner
    } else {
        Mask::default()
    };
    Some(Some(Mask { fields: BTreeMap::from([(camel(name), inner)]) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mask(text: &str) -> Mask {
        Mask::parse(text, "Spreadsheet").unwrap()
    }

    #[test]
    fn points_strokes_and_brackets_say_the_same() {
        let wanted = mask("sheets.properties.title,sheets.properties.sheetId");
        assert_eq!(mask("sheets/properties(title,sheetId)"), wanted);
        assert_eq!(mask("sheets(properties(title, sheet_id))"), wanted);
        assert_eq!(mask("sheets.properties.title,sheets.properties.sheetId,*"), Mask::all());
        assert_eq!(mask("sheets.properties,sheets.properties.title"), mask("sheets.properties"));
    }

    #[test]
    fn an_unknown_path_is_refused_as_google_does() {
        let error = Mask::parse("sheets.sheetProperties", "Spreadsheet").unwrap_err();
        assert_eq!(error.message, "Request contains an invalid argument.");
        assert_eq!(
            error.details[0]["fieldViolations"][0]["description"],
            "Error expanding 'fields' parameter. Cannot find matching fields for path 'sheets.sheetProperties'."
        );
        for wrong in ["", "sheets(", "sheets)", "sheets..data", "sheets.properties.title.x"] {
            assert!(Mask::parse(wrong, "Spreadsheet").is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_keeps_what_is_named() {
        let value = json!({"sheets": [{"properties": {"title": "a", "index": 0}}, {"data": []}]});
        let shown = mask("sheets.properties.title").filter(value);
        assert_eq!(shown, json!({"sheets": [{"properties": {"title": "a"}}, {}]}));
    }

    #[test]
    fn writing_clears_what_is_named_and_not_given() {
        let mut old = json!({"note": "n", "userEnteredFormat": {"a": 1, "b": 2}});
        let new = json!({"userEnteredFormat": {"b": 3}});
        let mask = Mask::parse("note", "CellData").unwrap();
        mask.write(old.as_object_mut().unwrap(), new.as_object().unwrap());
        assert_eq!(old, json!({"userEnteredFormat": {"a": 1, "b": 2}}));
    }
}
