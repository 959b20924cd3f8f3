//! A spreadsheet: its tabs in order, what it refuses, and how ranges are found in it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::a1::{self, Area};
use crate::error::{ApiError, Result};
use crate::metadata::Entry;
use crate::sheet::Sheet;

/// The most cells of a spreadsheet, empty ones included.
pub(crate) const CELLS_LIMIT: usize = 10_000_000;

/// Somebody who calls: an account, and what it may do with a spreadsheet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Caller {
    /// The e-mail address.
    pub(crate) email: String,
    /// The Cloud project that the calls are of; metadata of visibility PROJECT is its own.
    pub(crate) project: u64,
}

/// A spreadsheet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Book {
    /// Its id, as in its address.
    pub(crate) id: String,
    /// Title, locale, time zone and the rest of `SpreadsheetProperties`.
    pub(crate) properties: Map<String, Value>,
    /// Who owns it; the owner may write what is protected.
    pub(crate) owner: String,
    /// Who else may write.
    pub(crate) editors: Vec<String>,
    /// Who else may read.
    pub(crate) readers: Vec<String>,
    /// The tabs in their order.
    pub(crate) sheets: Vec<Arc<Sheet>>,
    /// Metadata of the spreadsheet itself.
    pub(crate) metadata: Vec<Entry>,
    /// Numbers given out so far: ids of tabs, of metadata and of protected ranges follow from it.
    pub(crate) ids: u64,
}

impl Book {
    /// A new spreadsheet with one empty tab, as the UI makes it.
    pub(crate) fn new(id: &str, title: &str, locale: &str, owner: &str) -> Self {
        let properties = json!({
            "title": title,
            "locale": locale,
            "autoRecalc": "ON_CHANGE",
            "timeZone": "Etc/GMT",
        });
        Self {
            id: id.to_owned(),
            properties: properties.as_object().cloned().unwrap_or_default(),
            owner: owner.to_owned(),
            editors: Vec::new(),
            readers: Vec::new(),
            sheets: vec![Arc::new(Sheet::new(0, "Sheet1", 1000, 26))],
            metadata: Vec::new(),
            ids: 0,
        }
    }

    /// The locale, which says how typed dates are read.
    pub(crate) fn locale(&self) -> String {
        self.properties.get("locale").and_then(Value::as_str).unwrap_or("en_US").to_owned()
    }

    /// Who may read; the owner and editors may too.
    pub(crate) fn may_read(&self, email: &str) -> bool {
        self.may_write(email) || self.readers.iter().any(|reader| reader == email)
    }

    /// Who may write at all.
    pub(crate) fn may_write(&self, email: &str) -> bool {
        self.owner == email || self.editors.iter().any(|editor| editor == email)
    }

    /// A number between 1 and 2^31 that was not given out before.
    pub(crate) fn fresh_id(&mut self) -> i64 {
        self.ids += 1;
        // A bijection on 31 bits, so that ids look like Google's and never repeat.
        let mut bits = (self.ids.wrapping_mul(0x9E37_79B1)) & 0x7FFF_FFFF;
        bits ^= bits >> 15;
        i64::try_from(bits).unwrap_or(1).max(1)
    }

    /// The place of a tab with this id.
    ///
    /// # Errors
    /// 400, as Google says it.
    pub(crate) fn place(&self, id: i64) -> Result<usize> {
        let found = self.sheets.iter().position(|sheet| sheet.id == id);
        found.ok_or_else(|| ApiError::invalid(format!("No grid with id: {id}")))
    }

    /// A tab, to be written.
    pub(crate) fn sheet_mut(&mut self, place: usize) -> &mut Sheet {
        Arc::make_mut(&mut self.sheets[place])
    }

    /// The place of a tab with this title: titles are compared without their case where none is equal.
    pub(crate) fn titled(&self, title: &str) -> Option<usize> {
        let exact = self.sheets.iter().position(|sheet| sheet.title == title);
        let lower = title.to_lowercase();
        exact.or_else(|| self.sheets.iter().position(|s| s.title.to_lowercase() == lower))
    }

    /// The tab and the cells of a range in A1 notation, as they are written: ends beyond the grid
    /// and open ends stay. A range without a title is of the first visible tab.
    ///
    /// # Errors
    /// 400 for what is no range, for an unknown title, and where the range begins outside the grid.
    pub(crate) fn range(&self, text: &str) -> Result<(usize, Area)> {
        let reference = a1::parse(text).ok_or_else(|| ApiError::unparsable(text))?;
        let place = match &reference.title {
            Some(title) => self.titled(title),
            None => self.sheets.iter().position(|sheet| !sheet.hidden),
        };
        let place = place.ok_or_else(|| ApiError::unparsable(text))?;
        let area = reference.area.unwrap_or_default();
        let sheet = &self.sheets[place];
        if area.top >= sheet.row_count || area.left >= sheet.column_count {
            return Err(beyond(sheet, &area));
        }
        Ok((place, area))
    }

    /// The same, ends cut at the grid's, as reading does.
    ///
    /// # Errors
    /// As of [`Book::range`].
    pub(crate) fn range_within(&self, text: &str) -> Result<(usize, Area)> {
        let (place, area) = self.range(text)?;
        let sheet = &self.sheets[place];
        Ok((place, area.within(sheet.row_count, sheet.column_count)))
    }

    /// The tab and cells of a `GridRange`; a missing `sheetId` is 0.
    ///
    /// # Errors
    /// 400 for an unknown tab, negative or crossed indexes.
    pub(crate) fn grid_range(&self, range: &Value) -> Result<(usize, Area)> {
        let place = self.place(range["sheetId"].as_i64().unwrap_or(0))?;
        let index = |name: &str| match range[name].as_i64() {
            Some(number) => usize::try_from(number).map(Some).map_err(|_| {
                ApiError::invalid(format!("range.{name}[{number}] must not be negative."))
            }),
            None => Ok(None),
        };
        let (top, bottom) = (index("startRowIndex")?.unwrap_or(0), index("endRowIndex")?);
        let (left, right) = (index("startColumnIndex")?.unwrap_or(0), index("endColumnIndex")?);
        let crossed = |start: usize, end: Option<usize>| end.is_some_and(|end| end <= start);
        if crossed(top, bottom) || crossed(left, right) {
            let text = "range: the end index must be greater than the start index.";
            return Err(ApiError::invalid(text));
        }
        Ok((place, Area { top, left, bottom, right }))
    }

    /// A range of this spreadsheet in A1 notation, as answers have it.
    pub(crate) fn name(&self, place: usize, area: &Area) -> String {
        let sheet = &self.sheets[place];
        let within = area.within(sheet.row_count, sheet.column_count);
        format!("{}!{}", a1::quoted(&sheet.title), within.name())
    }

    /// Refuses where the caller may not edit all of an area.
    ///
    /// # Errors
    /// 400 in Google's words.
    pub(crate) fn guard(&self, caller: &Caller, place: usize, area: &Area) -> Result<()> {
        let closed = self.sheets[place].protections.iter().any(|protection| {
            protection.area.meets(area)
                && !protection.open.iter().any(|open| open.holds(area))
                && !self.may_edit(caller, &protection.fields)
        });
        if closed {
            let text = "You are trying to edit a protected cell or object. Please contact the \
                        spreadsheet owner to remove protection if you need to edit.";
            return Err(ApiError::invalid(text));
        }
        Ok(())
    }

    /// True if a protection with these fields lets the caller write.
    pub(crate) fn may_edit(&self, caller: &Caller, fields: &Map<String, Value>) -> bool {
        let warning = fields.get("warningOnly").and_then(Value::as_bool).unwrap_or(false);
        let users = fields.get("editors").and_then(|editors| editors["users"].as_array());
        let listed =
            users.is_some_and(|users| users.iter().any(|u| u.as_str() == Some(&caller.email)));
        warning || listed || self.owner == caller.email
    }

    /// Refuses a spreadsheet that has grown too large.
    ///
    /// # Errors
    /// 400 in Google's words.
    pub(crate) fn check_size(&self) -> Result<()> {
        self.check_growth(0)
    }

    /// Refuses what would make a spreadsheet too large, before it is done.
    ///
    /// # Errors
    /// 400 in Google's words.
    pub(crate) fn check_growth(&self, cells: usize) -> Result<()> {
        let own: usize = self.sheets.iter().map(|sheet| sheet.cells()).sum();
        if own.saturating_add(cells) > CELLS_LIMIT {
            return Err(ApiError::invalid(format!(
                "This action would increase the number of cells in the workbook above the limit of \
                 {CELLS_LIMIT} cells."
            )));
        }
        Ok(())
    }
}

/// The refusal of a range outside the grid.
pub(crate) fn beyond(sheet: &Sheet, area: &Area) -> ApiError {
    let name = match (area.bottom, area.right) {
        (Some(_), Some(_)) => area.name(),
        (None, Some(right)) => {
            format!("{}{}:{}", a1::column_name(area.left), area.top + 1, a1::column_name(right - 1))
        }
        (bottom, None) => format!("{}:{}", area.top + 1, bottom.unwrap_or(sheet.row_count)),
    };
    ApiError::invalid(format!(
        "Range ({}!{name}) exceeds grid limits. Max rows: {}, max columns: {}",
        a1::quoted(&sheet.title),
        sheet.row_count,
        sheet.column_count
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> Book {
        let mut book = Book::new("id", "t", "en_US", "o@x");
        let mut hidden = Sheet::new(5, "Hidden", 10, 3);
        hidden.hidden = true;
        book.sheets.insert(0, Arc::new(hidden));
        book
    }

    #[test]
    fn a_bare_range_is_of_the_first_visible_tab() {
        assert_eq!(book().range("A1:B2").unwrap().0, 1);
        assert_eq!(book().range("Hidden").unwrap().0, 0);
        assert_eq!(
            book().range("NOPE!A5:F15").unwrap_err().message,
            "Unable to parse range: NOPE!A5:F15"
        );
    }

    #[test]
    fn a_range_that_begins_outside_the_grid_is_refused_and_its_end_is_cut() {
        let error = book().range("Hidden!A11").unwrap_err();
        assert_eq!(
            error.message,
            "Range (Hidden!A11) exceeds grid limits. Max rows: 10, max columns: 3"
        );
        let (place, area) = book().range_within("Hidden!A10:Z99").unwrap();
        assert_eq!(book().name(place, &area), "Hidden!A10:C10");
        let error = book().range("Hidden!151:160").unwrap_err();
        assert!(error.message.starts_with("Range (Hidden!151:160) exceeds"), "{}", error.message);
    }

    #[test]
    fn ids_do_not_repeat() {
        let mut book = book();
        let ids: std::collections::BTreeSet<i64> = (0..10_000).map(|_| book.fresh_id()).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
