//! The registry: which tabs the ledger has. Pure.
//!
//! A row is never changed. New ones are inserted under the header, so two writers can't write over each
//! other's; order and repetition mean nothing, so people may sort the tab. A row has three cells: what
//! it says, the tab's id, and the rest as JSON.
//!
//! | what | says |
//! |---|---|
//! | `log` | this tab has entries of a log, from a number on, under these terms |
//! | `removed` | this tab is gone: a checkpoint stands for what it had |
//! | `checkpoint` | this tab has the state after these entries of each log |

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::cells::{Cell, Details, of_start, texts};
use crate::ledger::entry::Start;

/// The first row.
pub(super) const HEADER: [&str; 3] = ["lockside registry 1", "tab", "details"];

/// Entries of a log in one tab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) tab: i32,
    pub(super) log: u64,
    /// The number of the last entry before this tab.
    pub(super) base: u64,
    pub(super) start: Start,
}

/// A tab that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Removal {
    pub(super) tab: i32,
    pub(super) log: u64,
    /// The number of its last entry; 0 for a log that was given up at its start.
    pub(super) last: u64,
}

/// A state that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) tab: i32,
    /// Higher than that of those that its writer knew.
    pub(super) number: u64,
    /// Rows behind the tab's header.
    pub(super) rows: u64,
    /// Of each log the last entry that is in it.
    pub(super) covers: BTreeMap<u64, u64>,
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    Log(Segment),
    Removed(Removal),
    Checkpoint(Mark),
}

impl Note {
    /// The cells.
    pub(super) fn cells(&self) -> Vec<String> {
        let (what, tab, details) = match self {
            Self::Log(segment) => {
                let mut details = of_start(&segment.start);
                details.insert("log".into(), segment.log.into());
                details.insert("base".into(), segment.base.into());
                ("log", segment.tab, Value::from(details))
            }
            Self::Removed(gone) => {
                ("removed", gone.tab, json!({"log": gone.log, "last": gone.last}))
            }
            Self::Checkpoint(mark) => {
                let covers: BTreeMap<String, u64> =
                    mark.covers.iter().map(|(log, last)| (log.to_string(), *last)).collect();
                let details = json!({"number": mark.number, "rows": mark.rows, "covers": covers});
                ("checkpoint", mark.tab, details)
            }
        };
        vec![what.into(), tab.to_string(), details.to_string()]
    }

    fn read(cells: &[String]) -> Option<Self> {
        let [what, tab, details] = cells else { return None };
        let tab = tab.parse().ok()?;
        let details_of = Details::read(details)?;
        let number = |name: &str| details_of.number(name);
        Some(match what.as_str() {
            "log" => Self::Log(Segment {
                tab,
                log: number("log")?,
                base: number("base")?,
                start: details_of.start()?,
            }),
            "removed" => Self::Removed(Removal { tab, log: number("log")?, last: number("last")? }),
            "checkpoint" => Self::Checkpoint(Mark {
                tab,
                number: number("number")?,
                rows: number("rows")?,
                covers: details_of.numbers("covers")?,
            }),
            _ => return None,
        })
    }
}

/// All that is registered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Registry {
    /// The rows as they stand there.
    pub(super) rows: BTreeSet<Vec<String>>,
    pub(super) segments: BTreeMap<i32, Segment>,
    pub(super) removed: BTreeMap<i32, Removal>,
    pub(super) marks: BTreeMap<i32, Mark>,
}

impl Registry {
    /// From the rows of its tab, wherever people have moved them.
    pub(super) fn read(shown: &[Vec<Cell>]) -> Result<Self, String> {
        let mut registry = Self::default();
        let mut has_header = false;
        for (at, row) in shown.iter().enumerate() {
            let cells = texts(row);
            if cells.as_ref().is_some_and(Vec::is_empty) {
                continue;
            }
            if cells.as_ref().is_some_and(|cells| *cells == HEADER) {
                has_header = true;
                continue;
            }
            let note = cells.as_deref().and_then(Note::read);
            let (Some(cells), Some(note)) = (cells, note) else {
                return Err(format!(
                    "row {} of it is none that this version of Lockside writes: remove that row if a \
                     person has written it, undo the change if one has changed it, or upgrade Lockside",
                    at + 1
                ));
            };
            registry.rows.insert(cells);
            match note {
                Note::Log(segment) => drop(registry.segments.insert(segment.tab, segment)),
                Note::Removed(gone) => drop(registry.removed.insert(gone.tab, gone)),
                Note::Checkpoint(mark) => drop(registry.marks.insert(mark.tab, mark)),
            }
        }
        if !has_header {
            return Err("its first row is not there: undo what a person has changed".into());
        }
        Ok(registry)
    }

    /// The logs' numbers.
    pub(super) fn logs(&self) -> BTreeSet<u64> {
        self.segments.values().map(|segment| segment.log).collect()
    }

    /// Where a log goes on; none if all of it is gone.
    pub(super) fn current(&self, log: u64) -> Option<&Segment> {
        let of_log = self.segments.values().filter(|segment| segment.log == log);
        let kept = of_log.filter(|segment| !self.removed.contains_key(&segment.tab));
        kept.max_by_key(|segment| segment.base)
    }

    /// The last entry of a log that is in no tab any more.
    pub(super) fn gone_up_to(&self, log: u64) -> u64 {
        let of_log = self.removed.values().filter(|gone| gone.log == log);
        of_log.map(|gone| gone.last).max().unwrap_or_default()
    }

    /// Checkpoints that stand for everything that is gone, the best first.
    pub(super) fn whole_marks(&self) -> Vec<&Mark> {
        let stands = |mark: &&Mark| {
            let mut gone = self.removed.values();
            let covered = |log| mark.covers.get(&log).copied().unwrap_or_default();
            !self.removed.contains_key(&mark.tab) && gone.all(|gone| covered(gone.log) >= gone.last)
        };
        let mut marks: Vec<_> = self.marks.values().filter(stands).collect();
        marks.sort_by_key(|mark| std::cmp::Reverse((mark.number, mark.tab)));
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::testing::start;

    fn shown(rows: &[Vec<String>]) -> Vec<Vec<Cell>> {
        let cell = |text: &String| Cell::Text(text.clone());
        rows.iter().map(|row| row.iter().map(cell).collect()).collect()
    }

    fn log(tab: i32, log: u64, base: u64) -> Note {
        Note::Log(Segment { tab, log, base, start: start() })
    }

    fn checkpoint(tab: i32, number: u64, covers: &[(u64, u64)]) -> Note {
        let covers = covers.iter().copied().collect();
        Note::Checkpoint(Mark { tab, number, rows: 3, covers })
    }

    fn registry(notes: &[Note]) -> Registry {
        let header = HEADER.map(String::from).to_vec();
        let mut rows: Vec<_> = notes.iter().map(Note::cells).collect();
        // Order is nothing, nor are blank rows and repetitions.
        rows.push(header);
        rows.extend(notes.iter().map(Note::cells));
        rows.push(Vec::new());
        Registry::read(&shown(&rows)).unwrap()
    }

    #[test]
    fn a_log_goes_on_in_its_last_tab() {
        let gone = Note::Removed(Removal { tab: 7, log: 7, last: 20 });
        let read = registry(&[log(7, 7, 0), log(8, 7, 20), gone, log(9, 9, 0)]);
        assert_eq!(read.current(7).unwrap().tab, 8);
        assert_eq!((read.gone_up_to(7), read.gone_up_to(9)), (20, 0));
        assert_eq!(read.logs(), BTreeSet::from([7, 9]));
        assert_eq!(read.rows.len(), 4);
    }

    #[test]
    fn a_checkpoint_stands_only_if_it_has_all_that_is_gone() {
        let gone = Note::Removed(Removal { tab: 7, log: 7, last: 20 });
        let read = registry(&[
            gone,
            checkpoint(1, 4, &[(7, 19)]),
            checkpoint(2, 2, &[(7, 20)]),
            checkpoint(3, 3, &[(7, 21)]),
        ]);
        let tabs: Vec<_> = read.whole_marks().iter().map(|mark| mark.tab).collect();
        assert_eq!(tabs, [3, 2]);
    }

    #[test]
    fn what_a_person_writes_is_told_with_its_row() {
        let header = HEADER.map(String::from).to_vec();
        let foreign = vec!["hello".to_owned()];
        let told = Registry::read(&shown(&[header.clone(), foreign])).unwrap_err();
        assert!(told.starts_with("row 2 "), "{told}");
        let number = vec![Cell::Other];
        assert!(Registry::read(&[shown(&[header]).remove(0), number]).is_err());
        assert!(Registry::read(&[]).is_err(), "no header");
    }
}
