//! Developer metadata: entries, where they hang, and look-ups by data filters.
//!
//! <https://developers.google.com/workspace/sheets/api/guides/metadata>. An entry is kept with its row, column or
//! tab, so it moves with that and is deleted with it.

use serde_json::{Value, json};

use crate::a1::Area;
use crate::book::{Book, Caller};
use crate::error::{ApiError, Result};

/// The most characters of keys and values, on the spreadsheet itself and on each tab.
const BUDGET: usize = 30_000;

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// Its id, unique in the spreadsheet.
    pub(crate) id: i64,
    /// Its key, not unique.
    pub(crate) key: String,
    /// Its value, if it has one.
    pub(crate) value: Option<String>,
    /// True for PROJECT, false for DOCUMENT.
    pub(crate) private: bool,
    /// The project that made it.
    pub(crate) project: u64,
}

/// Where an entry hangs; tabs by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// The spreadsheet.
    Book,
    /// A tab.
    Sheet(usize),
    /// A row of a tab.
    Row(usize, usize),
    /// A column of a tab.
    Column(usize, usize),
}

impl Location {
    /// Its name in the API.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Book => "SPREADSHEET",
            Self::Sheet(_) => "SHEET",
            Self::Row(..) => "ROW",
            Self::Column(..) => "COLUMN",
        }
    }

    /// The tab and the cells of it.
    pub(crate) fn area(self) -> Option<(usize, Area)> {
        match self {
            Self::Book => None,
            Self::Sheet(place) => Some((place, Area::default())),
            Self::Row(place, row) => {
                Some((place, Area { top: row, left: 0, bottom: Some(row + 1), right: None }))
            }
            Self::Column(place, column) => {
                Some((place, Area { top: 0, left: column, bottom: None, right: Some(column + 1) }))
            }
        }
    }

    /// From a `DeveloperMetadataLocation`.
    ///
    /// # Errors
    /// 400 for a location that is none, or more than one row or column.
    pub(crate) fn read(book: &Book, value: &Value) -> Result<Self> {
        if value["spreadsheet"].as_bool() == Some(true) {
            return Ok(Self::Book);
        }
        let Some(range) = value.get("dimensionRange") else {
            let id = value["sheetId"].as_i64();
            let id = id.ok_or_else(|| ApiError::invalid("A location must be specified."))?;
            return Ok(Self::Sheet(book.place(id)?));
        };
        let place = book.place(range["sheetId"].as_i64().unwrap_or(0))?;
        let (start, end) = (range["startIndex"].as_i64().unwrap_or(0), range["endIndex"].as_i64());
        if end != Some(start + 1) || start < 0 {
            let text = "The dimension range must represent a single row or column.";
            return Err(ApiError::invalid(text));
        }
        let line = usize::try_from(start).unwrap_or_default();
        let sheet = &book.sheets[place];
        match range["dimension"].as_str() {
            Some("ROWS") if line < sheet.row_count => Ok(Self::Row(place, line)),
            Some("COLUMNS") if line < sheet.column_count => Ok(Self::Column(place, line)),
            Some("ROWS" | "COLUMNS") => {
                Err(ApiError::invalid("The dimension is outside the grid."))
            }
            _ => Err(ApiError::invalid("A dimension must be specified.")),
        }
    }
}

impl Entry {
    /// As `DeveloperMetadata`.
    pub(crate) fn describe(&self, book: &Book, location: Location) -> Value {
        let mut place = json!({"locationType": location.kind()});
        let range = |sheet: usize, dimension: &str, line: usize| {
            json!({
                "sheetId": book.sheets[sheet].id,
                "dimension": dimension,
                "startIndex": line,
                "endIndex": line + 1,
            })
        };
        match location {
            Location::Book => place["spreadsheet"] = true.into(),
            Location::Sheet(sheet) => place["sheetId"] = book.sheets[sheet].id.into(),
            Location::Row(sheet, row) => place["dimensionRange"] = range(sheet, "ROWS", row),
            Location::Column(sheet, column) => {
                place["dimensionRange"] = range(sheet, "COLUMNS", column);
            }
        }
        let mut entry = json!({
            "metadataId": self.id,
            "metadataKey": self.key,
            "location": place,
            "visibility": if self.private { "PROJECT" } else { "DOCUMENT" },
        });
        if let Some(value) = &self.value {
            entry["metadataValue"] = value.as_str().into();
        }
        entry
    }

    /// True if calls of this project see it.
    pub(crate) fn seen_by(&self, caller: &Caller) -> bool {
        !self.private || self.project == caller.project
    }
}

/// All entries of a spreadsheet with their places.
pub(crate) fn entries(book: &Book) -> Vec<(Location, &Entry)> {
    let mut all: Vec<_> = book.metadata.iter().map(|entry| (Location::Book, entry)).collect();
    for (place, sheet) in book.sheets.iter().enumerate() {
        all.extend(sheet.metadata.iter().map(|entry| (Location::Sheet(place), entry)));
        for (column, list) in &sheet.columns {
            all.extend(list.iter().map(|entry| (Location::Column(place, *column), entry)));
        }
        for (at, row) in sheet.rows.iter().enumerate().filter(|(_, row)| !row.metadata.is_empty()) {
            all.extend(row.metadata.iter().map(|entry| (Location::Row(place, at), entry)));
        }
    }
    all
}

/// The list that entries of a place are in.
pub(crate) fn list_mut(book: &mut Book, location: Location) -> &mut Vec<Entry> {
    match location {
        Location::Book => &mut book.metadata,
        Location::Sheet(place) => &mut book.sheet_mut(place).metadata,
        Location::Row(place, row) => &mut book.sheet_mut(place).row_mut(row).metadata,
        Location::Column(place, column) => book.sheet_mut(place).columns.entry(column).or_default(),
    }
}

/// Refuses a spreadsheet with too much metadata. The text is the emulator's own.
///
/// # Errors
/// 400 where a budget is exceeded.
pub(crate) fn check_budget(book: &Book) -> Result<()> {
    let mut used = vec![0; book.sheets.len() + 1];
    for (location, entry) in entries(book) {
        let place = location.area().map_or(book.sheets.len(), |(place, _)| place);
        used[place] += entry.key.chars().count()
            + entry.value.as_ref().map_or(0, |value| value.chars().count());
    }
    if used.iter().any(|characters| *characters > BUDGET) {
        let text = format!("Developer metadata is limited to {BUDGET} characters.");
        return Err(ApiError::invalid(text));
    }
    Ok(())
}

/// Entries that a `DataFilter` selects: those that its look-up matches, or those on what its range names.
///
/// # Errors
/// 400 for a filter that selects by nothing, or by what is not there.
pub(crate) fn select(
    book: &Book,
    caller: &Caller,
    filter: &Value,
) -> Result<Vec<(Location, Entry)>> {
    let seen = entries(book).into_iter().filter(|(_, entry)| entry.seen_by(caller));
    if let Some(lookup) = filter.get("developerMetadataLookup") {
        let matcher = Lookup::read(book, lookup)?;
        let found = seen.filter(|(location, entry)| matcher.matches(*location, entry));
        return Ok(found.map(|(location, entry)| (location, entry.clone())).collect());
    }
    let (place, area) = area_of(book, filter)?;
    let inside = |location: Location| {
        location.area().is_some_and(|(sheet, own)| sheet == place && own.meets(&area))
    };
    let found = seen.filter(|(location, _)| inside(*location));
    Ok(found.map(|(location, entry)| (location, entry.clone())).collect())
}

/// Ranges that a `DataFilter` selects; none where a look-up matches nothing, which is no error.
///
/// # Errors
/// As of [`select`].
pub(crate) fn ranges(book: &Book, caller: &Caller, filter: &Value) -> Result<Vec<(usize, Area)>> {
    if filter.get("developerMetadataLookup").is_none() {
        return Ok(vec![area_of(book, filter)?]);
    }
    let found = select(book, caller, filter)?;
    let mut areas: Vec<(usize, Area)> = Vec::new();
    for area in found.into_iter().filter_map(|(location, _)| location.area()) {
        if !areas.contains(&area) {
            areas.push(area);
        }
    }
    Ok(areas)
}

fn area_of(book: &Book, filter: &Value) -> Result<(usize, Area)> {
    if let Some(text) = filter["a1Range"].as_str() {
        return book.range(text);
    }
    match filter.get("gridRange") {
        Some(range) => {
            let (place, area) = book.grid_range(range)?;
            let sheet = &book.sheets[place];
            if area.top >= sheet.row_count || area.left >= sheet.column_count {
                return Err(crate::book::beyond(sheet, &area));
            }
            Ok((place, area))
        }
        None => Err(ApiError::invalid("Must specify at least one filter criterion.")),
    }
}

struct Lookup<'a> {
    value: &'a Value,
    location: Option<(Location, bool)>,
}

impl<'a> Lookup<'a> {
    fn read(book: &Book, value: &'a Value) -> Result<Self> {
        let strategy = value["locationMatchingStrategy"].as_str();
        let exact = strategy == Some("EXACT_LOCATION");
        let location = match value.get("metadataLocation") {
            Some(location) => Some((Location::read(book, location)?, exact)),
            None if strategy.is_some() => {
                let text = "A metadataLocation must be specified with a locationMatchingStrategy.";
                return Err(ApiError::invalid(text));
            }
            None => None,
        };
        if value.as_object().is_none_or(serde_json::Map::is_empty) {
            return Err(ApiError::invalid("Must specify at least one lookup criterion."));
        }
        Ok(Self { value, location })
    }

    fn matches(&self, location: Location, entry: &Entry) -> bool {
        let value = self.value;
        let text = |name: &str, own: Option<&str>| {
            value[name].as_str().is_none_or(|wanted| own == Some(wanted))
        };
        let visibility = if entry.private { "PROJECT" } else { "DOCUMENT" };
        value["metadataId"].as_i64().is_none_or(|id| id == entry.id)
            && text("metadataKey", Some(&entry.key))
            && text("metadataValue", entry.value.as_deref())
            && text("visibility", Some(visibility))
            && text("locationType", Some(location.kind()))
            && self.location.is_none_or(|(wanted, exact)| near(location, wanted, exact))
    }
}

/// Intersecting: a tab's look-up finds what is on its rows and columns too, a row's what is on its tab.
fn near(own: Location, wanted: Location, exact: bool) -> bool {
    if exact || own == wanted {
        return own == wanted;
    }
    match (own.area(), wanted.area()) {
        (Some((a, own)), Some((b, wanted))) => a == b && own.meets(&wanted),
        _ => wanted == Location::Book,
    }
}
