//! What one reader and writer knows of the spreadsheet, and what an answer adds to it. Pure.
//!
//! An exchange works on a copy, which takes the old one's place only when all of it went well: after an
//! error nothing counts as seen.

use std::collections::{BTreeMap, BTreeSet};

use super::api::View;
use super::logs::Tail;
use super::registry::{Mark, Registry};
use crate::ledger::entry::Row;
use crate::ledger::fold::Snapshot;

/// What is known.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) registry_tab: i32,
    pub(super) registry_title: String,
    /// The spreadsheet has no registry any more.
    pub(super) is_registry_missing: bool,
    /// What was read of the registry last.
    pub(super) registry: Registry,
    /// Rows of the registry that were seen, and are not there.
    pub(super) missing: BTreeSet<Vec<String>>,
    pub(super) tails: BTreeMap<u64, Tail>,
    /// Of logs that are gone, the last entry that is known.
    pub(super) gone: BTreeMap<u64, u64>,
}

/// What an answer came to.
#[derive(Debug)]
pub(super) enum Look {
    /// It shows every registered log. These rows are new.
    Whole(Vec<Row>),
    /// Something is registered, or has moved, that was not asked for: ask again.
    Again,
    /// Tabs have other names than was thought: ask for the names.
    Renamed,
    /// Something that was not read is gone: start from one of these, the best first.
    LeftBehind(Vec<Mark>),
}

/// What an answer may leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Of a call that writes: it is as things stand.
    Now,
    /// Of a call that reads: it may be behind what was shown before.
    Lagging,
}

impl State {
    /// Logs whose tabs are to be read: an ended one has no more to say.
    pub(super) fn read_tails(&self) -> impl Iterator<Item = &Tail> {
        self.tails.values().filter(|tail| !tail.ended && !tail.is_missing)
    }

    /// Takes an answer.
    ///
    /// # Errors
    /// What is wrong with the spreadsheet, for a person.
    pub(super) fn look(
        &mut self,
        view: &View,
        freshness: Freshness,
        title: impl Fn(i32) -> String,
    ) -> Result<Look, String> {
        let Some(tab) = view.get(&self.registry_tab) else { return Ok(Look::Renamed) };
        if freshness == Freshness::Now && !self.has_names_of(view) {
            return Ok(Look::Renamed);
        }
        self.registry_title.clone_from(&tab.title);
        let shown = tab.shown.as_ref().map_or(&[][..], |(_, rows)| rows);
        let registry = Registry::read(shown).map_err(|what| {
            format!("Lockside's registry, the tab {:?} (hidden), is damaged: {what}", tab.title)
        })?;
        let missing: BTreeSet<_> = self.registry.rows.difference(&registry.rows).cloned().collect();
        if !missing.is_empty() {
            // What a person took away is written again; what a read does not show yet will come.
            self.missing = missing;
            return match freshness {
                Freshness::Now => Ok(Look::Again),
                Freshness::Lagging => self.look_at_tails(view, title),
            };
        }
        self.missing.clear();
        self.registry = registry;
        self.look_at_tails(view, title)
    }

    /// A write names ranges by the tabs' titles: with another tab's title it has shown other rows.
    fn has_names_of(&self, view: &View) -> bool {
        let is_known = |id: &i32, title: &str| view.get(id).is_none_or(|tab| tab.title == title);
        is_known(&self.registry_tab, &self.registry_title)
            && self.tails.values().all(|tail| is_known(&tail.tab, &tail.title))
    }

    fn look_at_tails(
        &mut self,
        view: &View,
        title: impl Fn(i32) -> String,
    ) -> Result<Look, String> {
        let mut is_whole = true;
        for log in self.registry.logs() {
            match self.settle(log, &title)? {
                Settled::As => {}
                Settled::Anew => is_whole = false,
                Settled::LeftBehind => {
                    let marks = self.registry.whole_marks().into_iter().cloned().collect();
                    return Ok(Look::LeftBehind(marks));
                }
            }
        }
        if !is_whole {
            return Ok(Look::Again);
        }
        let mut rows = Vec::new();
        for tail in self.tails.values_mut().filter(|tail| !tail.ended) {
            match view.get(&tail.tab) {
                Some(tab) => rows.extend(tail.read(tab)?),
                None => return Ok(Look::Renamed),
            }
        }
        Ok(Look::Whole(rows))
    }

    /// Holds what is known of a log against the registry.
    fn settle(&mut self, log: u64, title: impl Fn(i32) -> String) -> Result<Settled, String> {
        let gone = self.registry.gone_up_to(log);
        let known = self.tails.get(&log).map(|tail| tail.last);
        let known = known.max(self.gone.get(&log).copied()).unwrap_or_default();
        let Some(segment) = self.registry.current(log) else {
            self.tails.remove(&log);
            self.gone.insert(log, known);
            return Ok(if known < gone { Settled::LeftBehind } else { Settled::As });
        };
        if known < segment.base {
            return Ok(Settled::LeftBehind);
        }
        match self.tails.get(&log) {
            Some(tail) if tail.tab == segment.tab && tail.is_missing => Err(format!(
                "the tab {:?} (hidden, #gid={}) of Lockside's ledger was deleted: restore a version of \
                 the spreadsheet from before (File, Version history)",
                tail.title, tail.tab
            )),
            Some(tail) if tail.tab == segment.tab => Ok(Settled::As),
            _ => {
                let tail = Tail::new(segment, title(segment.tab)).known_up_to(known);
                self.tails.insert(log, tail);
                Ok(Settled::Anew)
            }
        }
    }

    /// Takes the tabs' names and sizes as they are.
    pub(super) fn rename(&mut self, tabs: &View) {
        self.is_registry_missing = !tabs.contains_key(&self.registry_tab);
        if let Some(tab) = tabs.get(&self.registry_tab) {
            self.registry_title.clone_from(&tab.title);
        }
        for tail in self.tails.values_mut() {
            tail.is_missing = !tabs.contains_key(&tail.tab);
            if let Some(tab) = tabs.get(&tail.tab) {
                tail.title.clone_from(&tab.title);
                tail.rows = tab.rows;
            }
        }
    }

    /// Goes on from a checkpoint.
    pub(super) fn start_from(
        &mut self,
        mark: &Mark,
        snapshot: &Snapshot,
        title: impl Fn(i32) -> String,
    ) {
        self.tails.clear();
        self.gone.clear();
        let ended = snapshot.logs.iter().filter(|(_, log)| log.ended);
        let ended: BTreeSet<u64> = ended.map(|(number, _)| *number).collect();
        for log in self.registry.logs() {
            let covered = mark.covers.get(&log).copied().unwrap_or_default();
            match self.registry.current(log) {
                Some(segment) => {
                    let mut tail = Tail::new(segment, title(segment.tab)).known_up_to(covered);
                    tail.ended = ended.contains(&log);
                    self.tails.insert(log, tail);
                }
                None => drop(self.gone.insert(log, covered)),
            }
        }
    }

    /// Of each log the last entry that was read.
    pub(super) fn covers(&self) -> BTreeMap<u64, u64> {
        let gone = self.gone.iter().map(|(log, last)| (*log, *last));
        gone.chain(self.tails.iter().map(|(log, tail)| (*log, tail.last))).collect()
    }
}

/// What is to be done about a log.
enum Settled {
    As,
    Anew,
    LeftBehind,
}
