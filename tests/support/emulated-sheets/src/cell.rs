//! One cell: what was entered, what it comes to, and how it is shown.

use serde_json::{Map, Value, json};

use crate::error::{ApiError, Result};
use crate::mask::Mask;
use crate::{format, formula};

/// The most characters of a cell.
pub(crate) const CELL_LIMIT: usize = 50_000;

/// What was entered into a cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Content {
    /// Nothing.
    #[default]
    Empty,
    /// A number; a date is one too, shown by its format.
    Number(f64),
    /// Text, never parsed.
    Text(String),
    /// TRUE or FALSE.
    Bool(bool),
    /// A formula with its `=`.
    Formula(String),
}

/// A cell: its content, and other fields of `CellData` that were written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cell {
    /// What was entered.
    pub(crate) content: Content,
    /// `userEnteredFormat`, `note` and what else was set, as the API has it.
    pub(crate) extra: Option<Box<Map<String, Value>>>,
}

impl Content {
    /// From an `ExtendedValue`.
    ///
    /// # Errors
    /// 400 for more than one kind of value, an error value, or too long a text.
    pub(crate) fn read(value: &Value) -> Result<Self> {
        let Some(object) = value.as_object() else { return Ok(Self::Empty) };
        if object.len() > 1 {
            let text = "oneof field 'value' is already set. Cannot set 'string_value'";
            return Err(ApiError::invalid(text));
        }
        let Some((kind, inner)) = object.iter().next() else { return Ok(Self::Empty) };
        match (kind.as_str(), inner) {
            ("numberValue", number) => Ok(Self::Number(number.as_f64().unwrap_or_default())),
            ("boolValue", flag) => Ok(Self::Bool(flag.as_bool().unwrap_or_default())),
            ("stringValue", Value::String(text)) => Self::text(text),
            ("formulaValue", Value::String(text)) if text.starts_with('=') => {
                too_long(text)?;
                Ok(Self::Formula(text.clone()))
            }
            ("formulaValue", _) => {
                Err(ApiError::invalid("A formula must start with an equals sign ('=')."))
            }
            _ => Err(ApiError::invalid("Error values cannot be entered.")),
        }
    }

    /// A text as it is; an empty one is an empty cell.
    ///
    /// # Errors
    /// 400 for more than 50,000 characters.
    pub(crate) fn text(text: &str) -> Result<Self> {
        too_long(text)?;
        Ok(if text.is_empty() { Self::Empty } else { Self::Text(text.to_owned()) })
    }

    /// As an `ExtendedValue` of what was entered; none where nothing was.
    pub(crate) fn entered(&self) -> Option<Value> {
        Some(match self {
            Self::Empty => return None,
            Self::Number(number) => json!({"numberValue": format::json_number(*number)}),
            Self::Text(text) => json!({"stringValue": text}),
            Self::Bool(flag) => json!({"boolValue": flag}),
            Self::Formula(text) => json!({"formulaValue": text}),
        })
    }

    /// What the content comes to: formulas are worked out.
    pub(crate) fn effective(&self) -> Self {
        match self {
            Self::Formula(text) => formula::evaluate(text)
                .map_or_else(|| Self::Text(formula::UNKNOWN.to_owned()), Self::Number),
            other => other.clone(),
        }
    }
}

fn too_long(text: &str) -> Result<()> {
    if text.chars().count() > CELL_LIMIT {
        let text =
            "Your input contains more than the maximum of 50000 characters in a single cell.";
        return Err(ApiError::invalid(text));
    }
    Ok(())
}

impl Cell {
    /// A cell with this and nothing else.
    pub(crate) fn new(content: Content) -> Self {
        Self { content, extra: None }
    }

    /// True if nothing was entered.
    pub(crate) fn is_empty(&self) -> bool {
        self.content == Content::Empty
    }

    /// True if the cell is as in a new grid.
    pub(crate) fn is_blank(&self) -> bool {
        self.is_empty() && self.extra.is_none()
    }

    /// `type` and `pattern` of its number format, if it has one.
    pub(crate) fn number_format(&self) -> Option<(&str, &str)> {
        let number = self.extra.as_ref()?.get("userEnteredFormat")?.get("numberFormat")?;
        let pattern = number.get("pattern").and_then(Value::as_str).unwrap_or_default();
        Some((number.get("type")?.as_str()?, pattern))
    }

    /// Sets the number format, as a person's input does that looks like a date.
    pub(crate) fn set_number_format(&mut self, kind: &str, pattern: &str) {
        let extra = self.extra.get_or_insert_default();
        let format = extra.entry("userEnteredFormat").or_insert_with(|| json!({}));
        format["numberFormat"] = json!({"type": kind, "pattern": pattern});
    }

    /// Writes what a mask over `CellData` takes of `data`.
    ///
    /// # Errors
    /// As of [`Content::read`].
    pub(crate) fn write(&mut self, mask: &Mask, data: &Map<String, Value>) -> Result<()> {
        if mask.has("userEnteredValue") {
            self.content = Content::read(data.get("userEnteredValue").unwrap_or(&Value::Null))?;
        }
        let mut new = data.clone();
        for computed in ["userEnteredValue", "effectiveValue", "formattedValue", "effectiveFormat"]
        {
            new.remove(computed);
        }
        let mut old = self.extra.take().map_or_else(Map::new, |extra| *extra);
        mask.write(&mut old, &new);
        old.remove("userEnteredValue");
        self.extra = if old.is_empty() { None } else { Some(Box::new(old)) };
        Ok(())
    }

    /// The text that a person sees.
    pub(crate) fn formatted(&self) -> String {
        match self.content.effective() {
            Content::Empty => String::new(),
            Content::Number(number) => format::number(number, self.number_format()),
            Content::Text(text) | Content::Formula(text) => text,
            Content::Bool(flag) => flag.to_string().to_uppercase(),
        }
    }

    /// As `CellData`, as far as the mask takes it.
    pub(crate) fn data(&self, mask: &Mask) -> Value {
        let mut data = Map::new();
        if let Some(entered) = self.content.entered() {
            if mask.has("userEnteredValue") {
                data.insert("userEnteredValue".into(), entered);
            }
            if mask.has("effectiveValue") {
                data.insert("effectiveValue".into(), self.effective_value());
            }
            if mask.has("formattedValue") {
                data.insert("formattedValue".into(), self.formatted().into());
            }
        }
        for (name, value) in self.extra.iter().flat_map(|extra| extra.iter()) {
            if mask.has(name) {
                data.insert(name.clone(), mask.below(name).filter(value.clone()));
            }
            if name == "userEnteredFormat" && mask.has("effectiveFormat") {
                let below = mask.below("effectiveFormat");
                data.insert("effectiveFormat".into(), below.filter(value.clone()));
            }
        }
        Value::Object(data)
    }

    fn effective_value(&self) -> Value {
        let effective = self.content.effective();
        if matches!(&self.content, Content::Formula(_)) && matches!(effective, Content::Text(_)) {
            let message = "The emulator works out constants only.";
            return json!({"errorValue": {"type": "ERROR", "message": message}});
        }
        effective.entered().unwrap_or(Value::Null)
    }
}
