//! Requests about tabs: to add, delete, copy and change them.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Batch, fields, nothing};
use crate::a1::Area;
use crate::error::{ApiError, Result};
use crate::mask::Mask;
use crate::sheet::Sheet;

/// Fields of `SheetProperties` that have a place of their own in [`Sheet`].
const KNOWN: [&str; 6] = ["sheetId", "title", "index", "sheetType", "gridProperties", "hidden"];

impl Batch<'_> {
    pub(super) fn add_sheet(&mut self, body: &Value) -> Result<Value> {
        let properties = &body["properties"];
        let id = self.new_id(properties["sheetId"].as_i64())?;
        let title = match properties["title"].as_str() {
            Some(title) => title.to_owned(),
            None => self.free_title(),
        };
        self.check_title(&title, None)?;
        let grid = &properties["gridProperties"];
        let size = |name: &str, default: usize| match grid[name].as_i64() {
            Some(count) => usize::try_from(count).ok().filter(|count| *count > 0),
            None => Some(default),
        };
        let (Some(rows), Some(columns)) = (size("rowCount", 1000), size("columnCount", 26)) else {
            return Err(ApiError::invalid("gridProperties: the grid must have rows and columns."));
        };
        let mut sheet = Sheet::new(id, &title, rows, columns);
        sheet.hidden = properties["hidden"].as_bool().unwrap_or(false);
        sheet.grid = without(grid, &["rowCount", "columnCount"]);
        sheet.properties = without(properties, &KNOWN);
        let index = self.index(properties["index"].as_i64(), self.book.sheets.len())?;
        self.book.sheets.insert(index, Arc::new(sheet));
        self.book.check_size()?;
        let described = self.book.sheets[index].describe(index);
        Ok(json!({"addSheet": {"properties": described}}))
    }

    pub(super) fn delete_sheet(&mut self, body: &Value) -> Result<Value> {
        let id = body["sheetId"].as_i64().unwrap_or(0);
        let place = self.book.place(id)?;
        self.guard_tab(place)?;
        let sheets = self.book.sheets.iter().enumerate();
        if !sheets.filter(|(at, _)| *at != place).any(|(_, sheet)| !sheet.hidden) {
            return Err(ApiError::invalid(
                "You can't remove all the visible sheets in a document.",
            ));
        }
        self.book.sheets.remove(place);
        Ok(nothing())
    }

    pub(super) fn duplicate_sheet(&mut self, body: &Value) -> Result<Value> {
        let place = self.book.place(body["sourceSheetId"].as_i64().unwrap_or(0))?;
        let id = self.new_id(body["newSheetId"].as_i64())?;
        let mut copy = Sheet::clone(&self.book.sheets[place]);
        copy.title = match body["newSheetName"].as_str() {
            Some(title) => title.to_owned(),
            None => format!("Copy of {}", copy.title),
        };
        self.check_title(&copy.title, None)?;
        copy.id = id;
        // A copied tab has the values and no metadata.
        copy.metadata.clear();
        copy.columns.clear();
        copy.protections.clear();
        for row in &mut copy.rows {
            if !row.metadata.is_empty() {
                Arc::make_mut(row).metadata.clear();
            }
        }
        let index = self.index(body["insertSheetIndex"].as_i64(), place + 1)?;
        self.book.sheets.insert(index, Arc::new(copy));
        self.book.check_size()?;
        let described = self.book.sheets[index].describe(index);
        Ok(json!({"duplicateSheet": {"properties": described}}))
    }

    pub(super) fn update_spreadsheet_properties(&mut self, body: &Value) -> Result<Value> {
        let mask = fields(body, "SpreadsheetProperties")?;
        let new = body["properties"].as_object().cloned().unwrap_or_default();
        mask.write(&mut self.book.properties, &new);
        Ok(nothing())
    }

    pub(super) fn update_sheet_properties(&mut self, body: &Value) -> Result<Value> {
        let mask = fields(body, "SheetProperties")?;
        let new = &body["properties"];
        let place = self.book.place(new["sheetId"].as_i64().unwrap_or(0))?;
        self.guard_tab(place)?;
        if mask.has("title") && (mask.names(&["title"]) || new.get("title").is_some()) {
            let title = new["title"].as_str().unwrap_or_default();
            self.check_title(title, Some(place))?;
            title.clone_into(&mut self.book.sheet_mut(place).title);
        }
        if mask.has("gridProperties") && (!mask.is_all() || new.get("gridProperties").is_some()) {
            self.update_grid(place, &mask.below("gridProperties"), &new["gridProperties"])?;
        }
        if mask.has("hidden") {
            self.hide(place, new["hidden"].as_bool().unwrap_or(false))?;
        }
        let rest = without(new, &KNOWN);
        let mut old = std::mem::take(&mut self.book.sheet_mut(place).properties);
        mask.write(&mut old, &rest);
        for known in KNOWN {
            old.remove(known);
        }
        self.book.sheet_mut(place).properties = old;
        if mask.has("index") && new.get("index").is_some() {
            self.move_tab(place, new["index"].as_i64())?;
        }
        Ok(nothing())
    }

    /// Indexes are those before the move: the tab goes before the one that has this index now.
    fn move_tab(&mut self, place: usize, index: Option<i64>) -> Result<()> {
        let to = self.index(index, self.book.sheets.len())?;
        let sheet = self.book.sheets.remove(place);
        self.book.sheets.insert(if to > place { to - 1 } else { to }, sheet);
        Ok(())
    }

    fn update_grid(&mut self, place: usize, mask: &Mask, grid: &Value) -> Result<()> {
        let sheet = &self.book.sheets[place];
        let size = |name: &str, old: usize| {
            // With the whole of gridProperties in the mask a size that is not given stays.
            if !mask.has(name) || (mask.is_all() && grid.get(name).is_none()) {
                return Ok(old);
            }
            let count = grid[name].as_i64().and_then(|count| usize::try_from(count).ok());
            count.filter(|count| *count > 0).ok_or_else(|| {
                ApiError::invalid(format!("gridProperties.{name} must be greater than 0."))
            })
        };
        let rows = size("rowCount", sheet.row_count)?;
        let columns = size("columnCount", sheet.column_count)?;
        let mut other = sheet.grid.clone();
        mask.write(&mut other, &without(grid, &["rowCount", "columnCount"]));
        let frozen = |name: &str| other.get(name).and_then(Value::as_u64).unwrap_or(0);
        if frozen("frozenRowCount") >= rows as u64 {
            return Err(ApiError::invalid(FROZEN_ROWS));
        }
        if frozen("frozenColumnCount") >= columns as u64 {
            return Err(ApiError::invalid("You can't freeze all visible columns on the sheet."));
        }
        let sheet = self.book.sheet_mut(place);
        sheet.grid = without(&other.into(), &["rowCount", "columnCount"]);
        sheet.resize(rows, columns);
        self.book.check_size()
    }

    fn hide(&mut self, place: usize, hidden: bool) -> Result<()> {
        self.book.sheet_mut(place).hidden = hidden;
        if self.book.sheets.iter().all(|sheet| sheet.hidden) {
            return Err(ApiError::invalid("You can't hide all the sheets in a document."));
        }
        Ok(())
    }

    /// A tab of which the caller may not edit everything is neither changed nor deleted.
    fn guard_tab(&self, place: usize) -> Result<()> {
        let whole = self.book.sheets[place]
            .protections
            .iter()
            .filter(|p| p.area == Area::default() && !self.book.may_edit(self.caller, &p.fields));
        match whole.count() {
            0 => Ok(()),
            _ => self.book.guard(self.caller, place, &Area::default()),
        }
    }

    fn new_id(&mut self, wanted: Option<i64>) -> Result<i64> {
        let Some(id) = wanted else {
            let mut id = self.book.fresh_id();
            while self.book.place(id).is_ok() {
                id = self.book.fresh_id();
            }
            return Ok(id);
        };
        if id < 0 {
            return Err(ApiError::invalid(format!(
                "properties.sheetId[{id}] must not be negative."
            )));
        }
        if self.book.place(id).is_ok() {
            return Err(ApiError::invalid(format!("Sheet with ID {id} already exists.")));
        }
        Ok(id)
    }

    fn check_title(&self, title: &str, own: Option<usize>) -> Result<()> {
        if title.is_empty() {
            return Err(ApiError::invalid("The sheet name cannot be empty."));
        }
        if title.chars().count() > 100 {
            return Err(ApiError::invalid("The sheet name cannot be longer than 100 characters."));
        }
        let lower = title.to_lowercase();
        let sheets = self.book.sheets.iter().enumerate().filter(|(at, _)| Some(*at) != own);
        if sheets.map(|(_, sheet)| sheet).any(|sheet| sheet.title.to_lowercase() == lower) {
            return Err(ApiError::invalid(format!(
                "A sheet with the name \"{title}\" already exists. Please enter another name."
            )));
        }
        Ok(())
    }

    fn free_title(&self) -> String {
        let mut number = self.book.sheets.len() + 1;
        while self.book.titled(&format!("Sheet{number}")).is_some() {
            number += 1;
        }
        format!("Sheet{number}")
    }

    fn index(&self, wanted: Option<i64>, default: usize) -> Result<usize> {
        let Some(index) = wanted else { return Ok(default) };
        usize::try_from(index)
            .ok()
            .filter(|index| *index <= self.book.sheets.len())
            .ok_or_else(|| ApiError::invalid(format!("Sheet index {index} is out of bounds.")))
    }
}

/// Why rows cannot go.
pub(super) const FROZEN_ROWS: &str = "Sorry, it is not possible to delete all non-frozen rows.";

fn without(value: &Value, names: &[&str]) -> Map<String, Value> {
    let mut object = value.as_object().cloned().unwrap_or_default();
    for name in names {
        object.remove(*name);
    }
    object
}
