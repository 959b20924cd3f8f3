//! What is written into cells, and what cells mean: keys, holders, times, the free value. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::grid::Cell;
use crate::config::projection::{CLIENT, KEY, MissingRow, NAME, Projection, WORKER};
use crate::ledger::entry::{Claim, IN_SHEET, OBSERVED, OBSERVED_ANEW};
use crate::ledger::sheets::cells;
use crate::lock::record::LockKey;
use crate::lock::value;

/// The database whose locks are shown where a template of keys stands between: one template names one lock.
const DB: u32 = 0;

/// The configured words, ready for use.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    settings: Projection,
    zone: TimeZone,
}

impl Terms {
    /// `zone` is for times where the projection names none.
    pub(super) fn new(settings: Projection, zone: TimeZone) -> Self {
        let zone = settings.time_zone.clone().unwrap_or(zone);
        Self { settings, zone }
    }

    pub(super) fn settings(&self) -> &Projection {
        &self.settings
    }

    /// True where a held lock without a row gets one.
    pub(super) fn adds_rows(&self) -> bool {
        self.settings.is_own_tab() || self.settings.missing_row == MissingRow::Add
    }

    /// What stands in the key's cell of this lock; none for a lock that is not shown.
    pub(super) fn cell_of(&self, key: &LockKey) -> Option<String> {
        if key.db() != DB {
            return None;
        }
        if self.settings.is_own_tab() {
            return Some(cells::shown(key.key()));
        }
        let text = std::str::from_utf8(key.key()).ok()?;
        let (before, after) = self.settings.key.split_once(KEY)?;
        let inner = text.strip_prefix(before)?.strip_suffix(after)?;
        // What a cell would not give back names no row.
        (!inner.is_empty() && inner.trim() == inner && !inner.contains(char::is_control))
            .then(|| inner.to_owned())
    }

    /// The lock of a key's cell.
    pub(super) fn key_of(&self, cell: &str) -> Option<LockKey> {
        if self.settings.is_own_tab() {
            return Some(LockKey::new(DB, &cells::bytes(cell)?));
        }
        Some(LockKey::new(DB, self.settings.key.replace(KEY, cell).as_bytes()))
    }

    /// What stands in the holder's cell.
    pub(super) fn holder(&self, claim: &Claim, names: &BTreeMap<String, String>) -> String {
        self.shown(&who(claim), &claim.client, names)
    }

    /// The same of a claim by this client, with [`who`] it is for.
    pub(super) fn shown(
        &self,
        who: &str,
        client: &str,
        names: &BTreeMap<String, String>,
    ) -> String {
        if client == IN_SHEET {
            // What a person wrote stays as it was written.
            return who.to_owned();
        }
        let name = names.get(who).map_or(who, String::as_str);
        let template = self.settings.holder.replace(WORKER, who);
        let text = template.replace(CLIENT, client).replace(NAME, name);
        let text = kept(&text);
        // An acquire by a client without any name must not look free.
        if self.is_free(&text) { format!("({text})") } else { text }
    }

    /// True for a holder's cell that says that nobody holds the lock: blanks and case don't count.
    pub(super) fn is_free(&self, holder: &str) -> bool {
        let holder = holder.trim();
        holder.is_empty() || holder.to_lowercase() == self.settings.free.to_lowercase()
    }

    pub(super) fn free(&self) -> &str {
        &self.settings.free
    }

    pub(super) fn abandoned_after_ms(&self) -> u64 {
        millis(self.settings.abandoned_after)
    }

    /// A time as text.
    pub(super) fn time(&self, at_ms: u64) -> String {
        let at = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let at = self.zone.to_datetime(at.unwrap_or_default());
        let mut text = String::new();
        for part in self.parts() {
            match part {
                Part::Day => text += &format!("{:02}", at.day()),
                Part::Month => text += &format!("{:02}", at.month()),
                Part::Year => text += &format!("{:04}", at.year()),
                Part::Hour => text += &format!("{:02}", at.hour()),
                Part::Minute => text += &format!("{:02}", at.minute()),
                Part::Second => text += &format!("{:02}", at.second()),
                Part::Other(c) => text.push(c),
            }
        }
        text
    }

    /// The parts of the format of times. Minutes follow `HH:`.
    fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut rest = &*self.settings.date_format;
        while let Some(letter) = rest.chars().next() {
            let is_minute = parts.ends_with(&[Part::Hour, Part::Other(':')]);
            let month = if is_minute { Part::Minute } else { Part::Month };
            let words = [
                ("YYYY", Part::Year),
                ("DD", Part::Day),
                ("HH", Part::Hour),
                ("SS", Part::Second),
                ("MM", month),
            ];
            let known = words.into_iter().find(|(word, _)| rest.starts_with(word));
            let (length, part) = known
                .map_or((letter.len_utf8(), Part::Other(letter)), |(word, part)| {
                    (word.len(), part)
                });
            parts.push(part);
            rest = &rest[length..];
        }
        parts
    }

    /// The time that a cell says, in milliseconds since the Unix epoch; none if it says none. A person's
    /// date is a number: days since 1899.
    pub(super) fn read_time(&self, cell: &Cell) -> Option<u64> {
        let at = match cell {
            Cell::Text(text) => self.read_text(text.trim())?,
            Cell::Number(days) if (0.0..3_000_000.0).contains(days) => {
                let zero = jiff::civil::date(1899, 12, 30).at(0, 0, 0, 0);
                zero.checked_add(SignedDuration::try_from_secs_f64(days * 86_400.0).ok()?).ok()?
            }
            _ => return None,
        };
        u64::try_from(self.zone.to_timestamp(at).ok()?.as_millisecond()).ok()
    }

    fn read_text(&self, text: &str) -> Option<DateTime> {
        let (mut read, mut rest) = (BTreeMap::new(), text);
        for part in self.parts() {
            let taken = match part {
                Part::Other(c) => c.len_utf8(),
                Part::Year => 4,
                _ => 2,
            };
            let (here, after) = rest.split_at_checked(taken)?;
            match part {
                Part::Other(c) if here.starts_with(c) => {}
                Part::Other(_) => return None,
                _ if here.bytes().all(|byte| byte.is_ascii_digit()) => {
                    read.insert(part.name(), here.parse::<i16>().ok()?);
                }
                _ => return None,
            }
            rest = after;
        }
        let get = |name: &str| read.get(name).copied();
        let small = |name: &str| i8::try_from(get(name)?).ok();
        let time = (small("hour")?, small("minute")?, small("second")?);
        rest.is_empty().then_some(())?;
        DateTime::new(get("year")?, small("month")?, small("day")?, time.0, time.1, time.2, 0).ok()
    }
}

/// A part of a format of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Day,
    Month,
    Year,
    Hour,
    Minute,
    Second,
    Other(char),
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Year => "year",
            Self::Hour => "hour",
            Self::Minute => "minute",
            Self::Second => "second",
            Self::Other(_) => "",
        }
    }
}

/// Where a hold comes from, in the words of `LOCKSIDE OWNER`.
pub(super) fn origin(claim: &Claim) -> &'static str {
    match &*claim.client {
        IN_SHEET => "sheet",
        OBSERVED | OBSERVED_ANEW => "observed",
        _ if claim.marker.is_some() => "degraded",
        _ => "redis",
    }
}

/// What a person wrote; else the worker, which is the a of `a:b`; else the client's name with its address.
pub(super) fn who(claim: &Claim) -> Cow<'_, str> {
    let written = value::strip(&claim.stored, value::Stamp::Auto);
    if *claim.client == *IN_SHEET {
        return String::from_utf8_lossy(written);
    }
    if let Some(worker) = value::worker_id(written) {
        return Cow::Borrowed(worker);
    }
    Cow::Borrowed(&claim.client)
}

/// Text that a cell gives back as it took it, and is short.
fn kept(text: &str) -> String {
    let plain = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(200);
    plain.collect::<String>().trim().to_owned()
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
