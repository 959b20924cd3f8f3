//! Requests about what hangs on a spreadsheet: protected ranges and developer metadata.

use serde_json::{Map, Value, json};

use super::{Batch, fields, nothing};
use crate::a1::Area;
use crate::error::{ApiError, Result};
use crate::metadata::{self, Entry, Location};
use crate::sheet::Protection;

impl Batch<'_> {
    pub(super) fn add_protected_range(&mut self, body: &Value) -> Result<Value> {
        let wanted = &body["protectedRange"];
        let (place, area) = self.book.grid_range(&wanted["range"])?;
        if wanted.get("namedRangeId").is_some() || wanted.get("tableId").is_some() {
            return Err(ApiError::not_emulated("protection of named ranges and tables"));
        }
        let id = match wanted["protectedRangeId"].as_i64() {
            Some(id) if self.protection(id).is_ok() => {
                let text = format!("protectedRangeId {id} is in use.");
                return Err(ApiError::invalid(text));
            }
            Some(id) => id,
            None => self.book.fresh_id(),
        };
        let mut protection = Protection { id, area, open: Vec::new(), fields: Map::new() };
        protection.open = self.open_ranges(wanted)?;
        protection.fields = self.protection_fields(wanted);
        self.book.sheet_mut(place).protections.push(protection);
        let described = self.describe_protection(place, id);
        Ok(json!({"addProtectedRange": {"protectedRange": described}}))
    }

    /// Who makes a protection is among its editors, and so is the owner.
    fn protection_fields(&self, wanted: &Value) -> Map<String, Value> {
        let mut kept = wanted.as_object().cloned().unwrap_or_default();
        for known in ["protectedRangeId", "range", "unprotectedRanges", "requestingUserCanEdit"] {
            kept.remove(known);
        }
        if kept.get("warningOnly").and_then(Value::as_bool) != Some(true) {
            let editors = kept.entry("editors").or_insert_with(|| json!({}));
            let mut users: Vec<Value> = editors["users"].as_array().cloned().unwrap_or_default();
            for user in [&self.book.owner, &self.caller.email] {
                if !users.iter().any(|known| known.as_str() == Some(user)) {
                    users.push(user.as_str().into());
                }
            }
            editors["users"] = users.into();
        }
        kept
    }

    fn open_ranges(&self, wanted: &Value) -> Result<Vec<Area>> {
        let ranges = wanted["unprotectedRanges"].as_array().into_iter().flatten();
        ranges.map(|range| self.book.grid_range(range).map(|(_, area)| area)).collect()
    }

    fn protection(&self, id: i64) -> Result<(usize, usize)> {
        for (place, sheet) in self.book.sheets.iter().enumerate() {
            if let Some(at) = sheet.protections.iter().position(|p| p.id == id) {
                return Ok((place, at));
            }
        }
        Err(ApiError::invalid(format!("No protected range with id: {id}")))
    }

    fn describe_protection(&self, place: usize, id: i64) -> Value {
        let found = self.book.sheets[place].protections.iter().find(|p| p.id == id);
        found.map_or(Value::Null, |p| crate::render::protection(self.book, self.caller, place, p))
    }

    pub(super) fn update_protected_range(&mut self, body: &Value) -> Result<Value> {
        let mask = fields(body, "ProtectedRange")?;
        let wanted = &body["protectedRange"];
        let (place, at) = self.protection(wanted["protectedRangeId"].as_i64().unwrap_or(0))?;
        let old = self.book.sheets[place].protections[at].clone();
        self.check_protection(&old)?;
        let mut new = old;
        if mask.has("range") && wanted.get("range").is_some() {
            let (to, area) = self.book.grid_range(&wanted["range"])?;
            if to != place {
                return Err(ApiError::invalid("A protected range cannot change its sheet."));
            }
            new.area = area;
        }
        if mask.has("unprotectedRanges") {
            new.open = self.open_ranges(wanted)?;
        }
        mask.write(&mut new.fields, &wanted.as_object().cloned().unwrap_or_default());
        new.fields = self.protection_fields(&new.fields.into());
        self.book.sheet_mut(place).protections[at] = new;
        Ok(nothing())
    }

    pub(super) fn delete_protected_range(&mut self, body: &Value) -> Result<Value> {
        let (place, at) = self.protection(body["protectedRangeId"].as_i64().unwrap_or(0))?;
        self.check_protection(&self.book.sheets[place].protections[at].clone())?;
        self.book.sheet_mut(place).protections.remove(at);
        Ok(nothing())
    }

    fn check_protection(&self, protection: &Protection) -> Result<()> {
        if self.book.may_edit(self.caller, &protection.fields) {
            return Ok(());
        }
        let text = "You are trying to edit a protected cell or object. Please contact the spreadsheet \
                    owner to remove protection if you need to edit.";
        Err(ApiError::invalid(text))
    }

    pub(super) fn create_metadata(&mut self, body: &Value) -> Result<Value> {
        let wanted = &body["developerMetadata"];
        let location = Location::read(self.book, &wanted["location"])?;
        let key = wanted["metadataKey"].as_str().unwrap_or_default();
        if key.is_empty() {
            return Err(ApiError::invalid("developerMetadata.metadataKey must be specified."));
        }
        let private = match wanted["visibility"].as_str() {
            Some("DOCUMENT") => false,
            Some("PROJECT") => true,
            _ => return Err(ApiError::invalid("developerMetadata.visibility must be specified.")),
        };
        let entry = Entry {
            id: self.metadata_id(wanted["metadataId"].as_i64())?,
            key: key.to_owned(),
            value: wanted["metadataValue"].as_str().map(str::to_owned),
            private,
            project: self.caller.project,
        };
        let described = entry.describe(self.book, location);
        metadata::list_mut(self.book, location).push(entry);
        metadata::check_budget(self.book)?;
        Ok(json!({"createDeveloperMetadata": {"developerMetadata": described}}))
    }

    /// Ids are distinct in a spreadsheet: one that is in use is refused (that is documented; its text is not).
    fn metadata_id(&mut self, wanted: Option<i64>) -> Result<i64> {
        let used = |book: &crate::book::Book, id: i64| {
            metadata::entries(book).iter().any(|(_, entry)| entry.id == id)
        };
        match wanted {
            Some(id) if id <= 0 => {
                Err(ApiError::invalid("developerMetadata.metadataId must be positive."))
            }
            Some(id) if used(self.book, id) => {
                Err(ApiError::invalid(format!("Developer metadata with ID {id} already exists.")))
            }
            Some(id) => Ok(id),
            None => {
                let mut id = self.book.fresh_id();
                while used(self.book, id) {
                    id = self.book.fresh_id();
                }
                Ok(id)
            }
        }
    }

    pub(super) fn update_metadata(&mut self, body: &Value) -> Result<Value> {
        let mask = fields(body, "DeveloperMetadata")?;
        let wanted = &body["developerMetadata"];
        let mut described = Vec::new();
        for (old, mut entry) in self.selected(body["dataFilters"].as_array())? {
            metadata::list_mut(self.book, old).retain(|known| known.id != entry.id);
            if mask.has("metadataKey") && (!mask.is_all() || wanted.get("metadataKey").is_some()) {
                wanted["metadataKey"].as_str().unwrap_or_default().clone_into(&mut entry.key);
            }
            if mask.has("metadataValue") {
                entry.value = wanted["metadataValue"].as_str().map(str::to_owned);
            }
            if mask.has("visibility") && wanted.get("visibility").is_some() {
                entry.private = wanted["visibility"].as_str() == Some("PROJECT");
            }
            let location = if mask.has("location") && wanted.get("location").is_some() {
                Location::read(self.book, &wanted["location"])?
            } else {
                old
            };
            described.push(entry.describe(self.book, location));
            metadata::list_mut(self.book, location).push(entry);
        }
        metadata::check_budget(self.book)?;
        Ok(json!({"updateDeveloperMetadata": {"developerMetadata": described}}))
    }

    pub(super) fn delete_metadata(&mut self, body: &Value) -> Result<Value> {
        let filter = body.get("dataFilter").cloned().map(|filter| vec![filter]);
        let mut described = Vec::new();
        for (location, entry) in self.selected(filter.as_ref())? {
            described.push(entry.describe(self.book, location));
            metadata::list_mut(self.book, location).retain(|known| known.id != entry.id);
        }
        Ok(json!({"deleteDeveloperMetadata": {"deletedDeveloperMetadata": described}}))
    }

    /// Entries that any of the filters selects, each once.
    fn selected(&self, filters: Option<&Vec<Value>>) -> Result<Vec<(Location, Entry)>> {
        let filters = filters.filter(|filters| !filters.is_empty());
        let filters =
            filters.ok_or_else(|| ApiError::invalid("A data filter must be specified."))?;
        let mut all: Vec<(Location, Entry)> = Vec::new();
        for filter in filters {
            for found in metadata::select(self.book, self.caller, filter)? {
                if !all.iter().any(|(_, entry)| entry.id == found.1.id) {
                    all.push(found);
                }
            }
        }
        Ok(all)
    }
}
