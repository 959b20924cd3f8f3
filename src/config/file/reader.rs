//! Reads a TOML document table by table, and finds the line of whatever is wrong.
//!
//! A walk by hand and not serde's: it reports every problem of a file in one go, each with its
//! line and its key, and knows the keys that were asked for when one is misspelled.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::problem::Wrong;
use crate::config::text::closest;
use crate::config::{Place, Problems};

/// A parsed file.
pub(super) struct Document<'a> {
    lines: Lines<'a>,
    root: Spanned<DeTable<'a>>,
}

/// Turns offsets of a file into places.
struct Lines<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Lines<'_> {
    fn place(&self, span: &Range<usize>) -> Place {
        let start = span.start.min(self.text.len());
        let line = 1 + memchr::memchr_iter(b'\n', &self.text.as_bytes()[..start]).count();
        Place::File(PathBuf::from(self.path), line)
    }
}

impl<'a> Document<'a> {
    /// Parses TOML. None, with the problems noted, if the text is no TOML.
    pub(super) fn parse(path: &'a Path, text: &'a str, problems: &mut Problems) -> Option<Self> {
        let lines = Lines { path, text };
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let place = lines.place(&error.span().unwrap_or_default());
            problems.push(place, "", format!("not TOML: {}", error.message().replace('\n', ", ")));
        }
        errors.is_empty().then_some(Self { lines, root })
    }

    /// Reads the top table by `read`, which asks for every key it knows.
    pub(super) fn read(&self, problems: &mut Problems, read: impl FnOnce(&mut Table<'_, '_>)) {
        let (lines, entries) = (&self.lines, self.root.get_ref());
        let span = self.root.span();
        Table {
            lines,
            entries,
            span,
            name: String::new(),
            known: vec![],
            failed: vec![],
            problems,
        }
        .read(read);
    }
}

/// A table being read: remembers the keys that were asked for.
pub(super) struct Table<'a, 'p> {
    lines: &'a Lines<'a>,
    entries: &'a DeTable<'a>,
    span: Range<usize>,
    /// The table's own key with those around it; empty for the top.
    name: String,
    known: Vec<&'static str>,
    /// Keys of this table with a problem.
    failed: Vec<&'static str>,
    problems: &'p mut Problems,
}

impl<'a> Table<'a, '_> {
    /// Hands the value of `key`, if there is one, to `apply`.
    pub(super) fn apply(
        &mut self,
        key: &'static str,
        apply: impl FnOnce(&str) -> Result<(), Wrong>,
    ) {
        let Some(value) = self.entry(key) else { return };
        if let Err(wrong) = scalar(value.get_ref()).and_then(|text| apply(&text)) {
            self.wrong(&value.span(), key, &wrong);
        }
    }

    /// Reads the value of `key`, if there is one, into `target`.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        target: &mut T,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) {
        self.apply(key, |text| {
            *target = parse(text)?;
            Ok(())
        });
    }

    /// Reads a list into `target`; a single value counts as a list of one.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        target: &mut Vec<T>,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) {
        let Some(value) = self.entry(key) else { return };
        let values: Vec<&Spanned<DeValue<'a>>> = match value.get_ref() {
            DeValue::Array(values) => values.iter().collect(),
            _ => vec![value],
        };
        target.clear();
        for value in values {
            match scalar(value.get_ref()).and_then(|text| parse(&text)) {
                Ok(item) => target.push(item),
                Err(wrong) => self.wrong(&value.span(), key, &wrong),
            }
        }
    }

    /// Reads the table under `key`, if there is one, by `read`.
    pub(super) fn table(&mut self, key: &'static str, read: impl FnOnce(&mut Table<'_, '_>)) {
        let Some(value) = self.entry(key) else { return };
        match value.get_ref() {
            DeValue::Table(entries) => self.inner(key, value.span(), entries).read(read),
            other => {
                let expected = format!("a table: [{}]", self.path(key));
                self.wrong(&value.span(), key, &Wrong::new(kind(other), expected));
            }
        }
    }

    /// Reads each of the tables under `key` by `read`. True if the key is there at all.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        most: usize,
        mut read: impl FnMut(&mut Table<'_, '_>),
    ) -> bool {
        let Some(value) = self.entry(key) else { return false };
        let expected = format!("tables: [[{}]]", self.path(key));
        let DeValue::Array(values) = value.get_ref() else {
            self.wrong(&value.span(), key, &Wrong::new(kind(value.get_ref()), expected));
            return true;
        };
        if values.len() > most {
            let wrong = Wrong::new(format!("{} of them", values.len()), format!("at most {most}"));
            self.wrong(&value.span(), key, &wrong);
        }
        for value in values.iter().take(most) {
            match value.get_ref() {
                DeValue::Table(entries) => self.inner(key, value.span(), entries).read(&mut read),
                other => self.wrong(&value.span(), key, &Wrong::new(kind(other), &*expected)),
            }
        }
        true
    }

    /// True if `key` is there.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.entry(key).is_some()
    }

    /// True if `key` was read with a problem.
    pub(super) fn has_failed(&self, key: &'static str) -> bool {
        self.failed.contains(&key)
    }

    /// Notes a problem if `key` is missing.
    pub(super) fn require(&mut self, key: &'static str, expected: &str) {
        if self.entry(key).is_none() {
            self.wrong(&self.span.clone(), key, &Wrong::new("missing", expected));
        }
    }

    /// If `key` was given and read without a problem: notes what `check` says of it.
    pub(super) fn check(&mut self, key: &'static str, check: impl FnOnce() -> Result<(), Wrong>) {
        let Some(value) = self.entry(key) else { return };
        if self.failed.contains(&key) {
            return;
        }
        if let Err(wrong) = check() {
            self.wrong(&value.span(), key, &wrong);
        }
    }

    fn read(mut self, read: impl FnOnce(&mut Table<'_, '_>)) {
        read(&mut self);
        for key in self.entries.keys() {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                let place = self.lines.place(&key.span());
                self.problems.push(place, self.path(name), unknown(name, &self.known));
            }
        }
    }

    fn inner<'q>(
        &'q mut self,
        key: &str,
        span: Range<usize>,
        entries: &'a DeTable<'a>,
    ) -> Table<'a, 'q> {
        let name = self.path(key);
        let (known, failed) = (Vec::new(), Vec::new());
        let (lines, problems) = (self.lines, &mut *self.problems);
        Table { lines, entries, span, name, known, failed, problems }
    }

    fn entry(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.entries.get(key)
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn wrong(&mut self, span: &Range<usize>, key: &'static str, wrong: &Wrong) {
        self.failed.push(key);
        self.problems.push(self.lines.place(span), self.path(key), wrong);
    }
}

/// The text of a single value: quotes and TOML's spelling of integers taken off.
fn scalar<'v>(value: &'v DeValue<'_>) -> Result<Cow<'v, str>, Wrong> {
    match value {
        DeValue::String(text) => Ok(Cow::Borrowed(text)),
        DeValue::Boolean(value) => Ok(Cow::Owned(value.to_string())),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(|number| Cow::Owned(number.to_string()))
            .map_err(|_| Wrong::new("is too large a number", "fewer digits")),
        other => Err(Wrong::new(kind(other), "a single value: a string, a number, true or false")),
    }
}

fn kind(value: &DeValue<'_>) -> String {
    match value.type_str() {
        kind @ ("array" | "integer") => format!("is an {kind}"),
        kind => format!("is a {kind}"),
    }
}

fn unknown(name: &str, known: &[&str]) -> String {
    match closest(name, known) {
        Some(meant) => format!("unknown key; expected {meant:?}, perhaps"),
        None => format!("unknown key; expected one of {}", known.join(", ")),
    }
}
