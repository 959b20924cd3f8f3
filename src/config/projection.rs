//! The column in a spreadsheet that shows people who holds what (SPEC 8, "Projection").
//!
//! Plain data and what each key may be; what is done with it stands in `ledger::sheets::projection`.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::problem::Wrong;
use super::values::Range;

/// Longest name of a tab or a column, template or value, in bytes.
const MAX_TEXT: usize = 200;
/// Where a template has a part of the key, or of the holder.
pub const KEY: &str = "{key}";
/// The a of a client value `a:b`, else the client's name.
pub const WORKER: &str = "{worker_id}";
/// What the look-up tab says of the worker; the worker itself where it says nothing.
pub const NAME: &str = "{name}";
/// The client's name or address.
pub const CLIENT: &str = "{client}";

/// What is shown to people in the ledger's spreadsheet, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    /// The business tab's title when Lockside starts. Empty: a tab `Locks` that Lockside makes.
    pub tab: String,
    /// Header of the column with keys.
    pub key_column: String,
    /// Header of the column with holders.
    pub holder_column: String,
    /// Header of the column with the time of the acquire; empty: none.
    pub since_column: String,
    /// The lock's key by the key's cell: one [`KEY`] in it. Without a tab all keys are shown as
    /// they are.
    pub key: String,
    /// The holder's cell: [`WORKER`], [`NAME`], [`CLIENT`] in it.
    pub holder: String,
    /// A tab that says how a worker is called; empty: none.
    pub lookup_tab: String,
    /// Header of its column with workers.
    pub lookup_worker: String,
    /// Header of its column with names.
    pub lookup_name: String,
    /// What the holder's cell has when nobody holds the lock.
    pub free: String,
    /// How times are written: `DD`, `MM`, `YYYY`, `HH`, `MM` (minutes after `HH`), `SS`.
    pub date_format: String,
    /// Zone of those times; none: the top level's `time_zone`.
    pub time_zone: Option<TimeZone>,
    /// What becomes of a held lock whose key is not in the tab.
    pub missing_row: MissingRow,
    /// A lock that is older, and whose cell says free, is released; a holder in a cell that is
    /// older is not believed (SPEC 7).
    pub abandoned_after: Duration,
}

/// What becomes of a held lock whose key is not in the tab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingRow {
    /// A row is inserted behind the last one with a key.
    Add,
    /// Nothing: the tab lists what the business has.
    #[default]
    Ignore,
}

impl Projection {
    /// The tab that Lockside makes where none is configured.
    pub const OWN_TAB: &str = "Locks";

    /// True where Lockside keeps a tab of its own.
    pub fn is_own_tab(&self) -> bool {
        self.tab.is_empty()
    }
}

impl Default for Projection {
    /// A tab `Locks` of Lockside's own.
    fn default() -> Self {
        Self {
            tab: String::new(),
            key_column: "Key".into(),
            holder_column: "Holder".into(),
            since_column: "Since".into(),
            key: KEY.into(),
            holder: NAME.into(),
            lookup_tab: String::new(),
            lookup_worker: "Id".into(),
            lookup_name: "Name".into(),
            free: "free".into(),
            date_format: "DD-MM-YYYY HH:MM:SS".into(),
            time_zone: None,
            missing_row: MissingRow::default(),
            abandoned_after: Duration::from_secs(86_400),
        }
    }
}

/// Shorter than an hour, and a lock in everyday use would count as forgotten.
pub(super) const ABANDONED: Range<Duration> =
    Range { min: Duration::from_secs(3600), max: Duration::from_secs(3650 * 86_400) };

/// A name or a value that a cell gives back as it took it.
pub(super) fn text(text: &str) -> Result<String, Wrong> {
    let is_kept = !text.is_empty() && text.trim() == text && !text.contains(char::is_control);
    if is_kept && text.len() <= MAX_TEXT {
        return Ok(text.to_owned());
    }
    let expected = format!("1 to {MAX_TEXT} bytes without blanks at the ends");
    Err(Wrong::new(format!("{text:?} is no text for a cell"), expected))
}

/// As [`text`], or nothing.
pub(super) fn optional(given: &str) -> Result<String, Wrong> {
    if given.is_empty() { Ok(String::new()) } else { text(given) }
}

/// A key's template.
pub(super) fn key(template: &str) -> Result<String, Wrong> {
    if template.matches(KEY).count() == 1 {
        return text(template);
    }
    let expected = r#"one {key} in it, as in "spool_lock:{key}""#;
    Err(Wrong::new(format!("{template:?} is no template of keys"), expected))
}

/// A holder's template.
pub(super) fn holder(template: &str) -> Result<String, Wrong> {
    let mut rest = template.to_owned();
    for known in [WORKER, NAME, CLIENT] {
        rest = rest.replace(known, "");
    }
    if rest != template && !rest.contains(['{', '}']) {
        return text(template);
    }
    let expected = "at least one of {name}, {worker_id} and {client}, and no other braces";
    Err(Wrong::new(format!("{template:?} is no template of holders"), expected))
}

/// A format of times: each part once, so that a time can be read back.
pub(super) fn date_format(format: &str) -> Result<String, Wrong> {
    let has = |part: &str, count: usize| format.matches(part).count() == count;
    let is_whole = has("DD", 1) && has("YYYY", 1) && has("MM", 2) && has("SS", 1);
    if is_whole && has("HH:MM", 1) && format.len() <= 40 {
        return text(format);
    }
    let expected = r#"DD, MM, YYYY, HH:MM and SS, each once, as in "DD-MM-YYYY HH:MM:SS""#;
    Err(Wrong::new(format!("{format:?} is no format of times"), expected))
}

/// What becomes of missing rows.
pub(super) fn missing_row(word: &str) -> Result<MissingRow, Wrong> {
    match word {
        "add" => Ok(MissingRow::Add),
        "ignore" => Ok(MissingRow::Ignore),
        _ => Err(Wrong::new(format!("{word:?} is no choice"), r#""add" or "ignore""#)),
    }
}

/// What must hold for all of it together: columns are told apart by their headers.
pub(super) fn check(projection: &Projection) -> Result<(), Wrong> {
    let all = [&projection.key_column, &projection.holder_column, &projection.since_column];
    let folded = all.map(|name| name.to_lowercase());
    let is_twice = |at: usize| folded[..at].contains(&folded[at]);
    if (1..all.len()).any(|at| !all[at].is_empty() && is_twice(at)) {
        let what = "two columns have one header";
        return Err(Wrong::new(what, "three headers that differ in more than case"));
    }
    Ok(())
}

/// A look-up tab must be another one than the business tab.
pub(super) fn check_lookup(projection: &Projection) -> Result<(), Wrong> {
    let is_same = !projection.lookup_tab.is_empty() && projection.lookup_tab == projection.tab;
    if is_same {
        return Err(Wrong::new("the look-up tab is the business tab", "another tab"));
    }
    Ok(())
}
