//! Reads the tab, has it looked at, and writes what differs: what the store does of the projection.
//!
//! A few rows ride along with the next group's batch while groups follow each other; else, and where rows
//! are added or a person's word is looked at, they have a batch of their own. Writing a row twice, or late,
//! changes nothing, for then it is not as it was read. That is not so of added rows: they are added once, and
//! again only long after.
//!
//! The ledger does not wait for people's cells: a batch that Google refuses is sent again without them,
//! and after a refusal fewer rows go at once, down to one, which then waits.

use std::cell::OnceCell;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use google_sheets4::api as google;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::grid::{self, Cell, Grid};
use super::look::{self, MOST_LOOKS};
use super::past::{Past, Remnants, Trace};
use super::place::{self, Place};
use super::sieve::Sieve;
use super::terms::Terms;
use super::turns::Turns;
use super::watch::{Add, Doubt, Look, MOST_WRITES, Pass, Watch, Write};
use super::{Edit, Mode, RuleOf, Setup, traces};
use crate::ledger::Ask as Request;
use crate::ledger::entry::{Position, Row};
use crate::ledger::fold::{LogMode, Snapshot};
use crate::ledger::sheets::api::{Api, Area, Ask, Part, View};
use crate::ledger::sheets::errors::Failure;
use crate::ledger::sheets::settings::Settings;
use crate::ledger::store::{Applied, StoreError, Truth};
use crate::lock::record::LockKey;

/// Rows that ride along with a group, at most: the group has its own payload.
const RIDERS: usize = 20;
/// The longest wait for the own quota and after refusals: groups wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// After a row was added it is not added again for so long: Google may work on a request for three
/// minutes, and a reading may lag.
const ADDED: Duration = Duration::from_secs(240);
/// A row that Google refuses is tried again after this.
const BARRED: Duration = Duration::from_secs(600);
/// Who stands by reads the tab so many times less often.
const STAND_BY: u32 = 6;
/// Rows that are read between two readings, a second: a large tab is read less often.
const ROWS_A_SECOND: usize = 2_000;

/// What one sidecar knows of the tab.
pub(in crate::ledger::sheets) struct Projector {
    pub(super) terms: Terms,
    zone: TimeZone,
    rule: RuleOf,
    mirror_interval: Duration,
    poll: Duration,
    pub(super) place: Option<Place>,
    columns: Option<grid::Columns>,
    pub(super) grid: Option<Grid>,
    pub(super) names: BTreeMap<String, String>,
    watch: Watch,
    /// Who held what at the last look.
    known: Option<BTreeMap<String, Position>>,
    is_dirty: bool,
    turns: Turns,
    read_at: Option<Duration>,
    written_at: Option<Duration>,
    added: BTreeMap<String, Duration>,
    barred: BTreeMap<String, Duration>,
    /// Rows that go at once.
    limit: usize,
    /// Requests for the next group's batch.
    pub(super) riders: Vec<google::Request>,
    /// The rows that they write.
    riding: Vec<Write>,
    /// Rows ride along from then on.
    rides_after: Option<Duration>,
    /// What holds have left in cells.
    pub(super) past: Past,
    /// As the own log has it. A run begins without Redis.
    pub(super) mode: Mode,
    has_begun: bool,
    /// This run has said that Redis decides, which it does only after all locks were compared.
    pub(super) is_compared: bool,
}

impl std::fmt::Debug for Projector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Projector").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Projector {
    pub(in crate::ledger::sheets) fn new(setup: Setup) -> Self {
        let zone = setup.time_zone;
        Self {
            terms: Terms::new(setup.projection, zone.clone()),
            zone,
            rule: setup.rule,
            mirror_interval: setup.mirror_interval,
            poll: setup.poll,
            place: None,
            columns: None,
            grid: None,
            names: BTreeMap::new(),
            watch: Watch::default(),
            known: None,
            is_dirty: false,
            turns: Turns::default(),
            read_at: None,
            written_at: None,
            added: BTreeMap::new(),
            barred: BTreeMap::new(),
            limit: MOST_WRITES,
            riders: Vec::new(),
            riding: Vec::new(),
            rides_after: None,
            past: Past::default(),
            mode: Mode::Degraded,
            has_begun: false,
            is_compared: false,
        }
    }

    /// As [`crate::ledger::store::Store::project`].
    pub(in crate::ledger::sheets) fn project(
        &mut self,
        api: &mut Api,
        settings: &Settings,
        recent: &VecDeque<Row>,
        truth: &Truth<'_>,
    ) -> Result<Vec<Request>, StoreError> {
        if truth.is_changed {
            self.past.note(&truth.fold.holders());
        }
        let mode = match truth.fold.log(truth.log).map(|log| &log.mode) {
            Some(LogMode::Healthy(_)) => Mode::Healthy,
            Some(LogMode::Degraded) => Mode::Degraded,
            // Redis and the ledger were not compared yet.
            Some(LogMode::Unsaid) | None => return Ok(Vec::new()),
        };
        self.mode = mode;
        let now = api.now();
        if !truth.is_first {
            return self.stand_by(api, settings, now);
        }
        self.is_dirty |= truth.is_changed;
        // The ledger goes first.
        let may_call = self.turns.is_now(api.has_calls(), api.pace_of_writes(), now);
        let is_new = may_call && self.is_reading_due(now);
        let is_due =
            self.is_dirty && self.written_at.is_none_or(|at| now >= at + self.mirror_interval);
        if !is_new && !is_due && (self.riders.is_empty() || !truth.is_idle) {
            return Ok(Vec::new());
        }
        let mut patience = PATIENCE.min(settings.patience);
        if is_new {
            self.read_at = Some(now);
            self.turns.taken(now);
            self.read(api, &settings.ledger, &mut patience)?;
        }
        let mut pass = self.look((mode, is_new), recent, truth, now);
        let is_cut = !may_call && pass.keep(RIDERS);
        let edits = match may_call || !truth.is_idle && self.may_ride(now) {
            true => self.write(api, pass, truth.is_idle, &mut patience)?,
            false => Vec::new(),
        };
        self.is_dirty |= is_cut;
        Ok(edits.iter().filter_map(|edit| self.request(edit)).collect())
    }

    /// This run starts from a checkpoint, which has told what holds before it have left in cells.
    pub(in crate::ledger::sheets) fn start_from(
        &mut self,
        snapshot: &Snapshot,
        told: Vec<(LockKey, Trace)>,
    ) {
        self.past.start_from(snapshot, told);
    }

    /// These rows are kept no longer; `after` are those behind them.
    pub(in crate::ledger::sheets) fn read_past(&mut self, rows: &[Row], after: &VecDeque<Row>) {
        self.past.read(rows, after);
    }

    /// What a checkpoint is to say of what holds have left in cells.
    pub(in crate::ledger::sheets) fn traces(&mut self, recent: &VecDeque<Row>) -> Vec<Vec<String>> {
        let rows: Vec<_> = recent.iter().cloned().collect();
        self.past.read(&rows, &VecDeque::new());
        traces::rows(&self.past.carried())
    }

    /// Reads the tab if that was not tried yet.
    pub(super) fn begin(&mut self, api: &mut Api, settings: &Settings) {
        if self.grid.is_none() && !std::mem::replace(&mut self.has_begun, true) {
            let mut patience = PATIENCE.min(settings.patience);
            // What stands in the way is told by the first call that is made for people.
            let _ = self.read(api, &settings.ledger, &mut patience);
        }
    }

    /// Another writes and listens. This one only looks, now and then while Redis is away, where rows are: its own
    /// claims ask them.
    fn stand_by(
        &mut self,
        api: &mut Api,
        settings: &Settings,
        now: Duration,
    ) -> Result<Vec<Request>, StoreError> {
        // What another has done meanwhile was not seen.
        (self.watch, self.known) = (Watch::default(), None);
        self.riders.clear();
        let is_due = self.read_at.is_none_or(|at| now >= at + self.poll * STAND_BY);
        if self.mode == Mode::Degraded && is_due {
            self.read_at = Some(now);
            self.read(api, &settings.ledger, &mut PATIENCE.min(settings.patience))?;
        }
        Ok(Vec::new())
    }

    fn may_ride(&self, now: Duration) -> bool {
        self.rides_after.is_none_or(|at| now >= at)
    }

    /// Something differs, or waits for a group that may not come.
    pub(in crate::ledger::sheets) fn has_more(&self) -> bool {
        self.is_dirty && self.grid.is_some() || !self.riders.is_empty()
    }

    fn is_reading_due(&self, now: Duration) -> bool {
        let rows = self.grid.as_ref().map_or(0, |grid| grid.lines.len());
        let every = self.poll.max(Duration::from_secs((rows / ROWS_A_SECOND) as u64));
        self.read_at.is_none_or(|at| now >= at + every)
    }

    /// Reads headers, columns and names at once. The columns may not be where they were: then again.
    fn read(
        &mut self,
        api: &mut Api,
        ledger: &str,
        patience: &mut Duration,
    ) -> Result<(), StoreError> {
        let read = self.read_once(api, ledger, patience);
        if read.is_err() {
            // Tabs and columns may be others now.
            (self.place, self.columns, self.grid) = (None, None, None);
        }
        read.map_err(StoreError::from)
    }

    pub(super) fn read_once(
        &mut self,
        api: &mut Api,
        ledger: &str,
        patience: &mut Duration,
    ) -> Result<(), Failure> {
        let place = match &self.place {
            Some(place) => place.clone(),
            None => place::find(api, &self.terms, ledger, patience)?,
        };
        self.place = Some(place.clone());
        for _ in 0..3 {
            let view = api.call(&Ask::Values(self.parts(&place)), true, patience)?;
            let header = header(&view, place.tab);
            let columns = grid::columns(&header, &self.terms, &place.title).map_err(Failure::no)?;
            if self.columns.replace(columns) == Some(columns) {
                let shown =
                    columns.all().map(|(is, at)| (is, column(&view, place.tab, at))).collect();
                self.grid = Some(Grid::new(columns, &header, shown));
                return self.read_names(&place, &view);
            }
        }
        Err(Failure::no(format!("the columns of the tab {:?} change too fast", place.title)))
    }

    fn parts(&self, place: &Place) -> Vec<Part> {
        let header = |tab| Part { tab, rows: (0, Some(1)), columns: (0, None) };
        let column =
            |at: usize| Part { tab: place.tab, rows: (1, None), columns: (at, Some(at + 1)) };
        let columns =
            self.columns.iter().flat_map(|columns| columns.all()).map(|(_, at)| column(at));
        // Few workers: all of that tab.
        let lookup = place.lookup.iter().map(|(tab, _)| Part {
            tab: *tab,
            rows: (0, None),
            columns: (0, None),
        });
        [header(place.tab)].into_iter().chain(columns).chain(lookup).collect()
    }

    fn read_names(&mut self, place: &Place, view: &View) -> Result<(), Failure> {
        let Some((tab, title)) = &place.lookup else { return Ok(()) };
        let header = header(view, *tab);
        let settings = self.terms.settings();
        let find = |name: &str| grid::find(&header, name, title).map_err(Failure::no);
        let (worker, name) = (find(&settings.lookup_worker)?, find(&settings.lookup_name)?);
        let rows = area(view, *tab, (0, 0)).map(|area| area.rows.as_slice()).unwrap_or_default();
        let cell = |row: &Vec<serde_json::Value>, at: usize| {
            row.get(at).map(Cell::of).unwrap_or_default().text().filter(|text| !text.is_empty())
        };
        let pair = |row| Some((cell(row, worker)?, cell(row, name)?));
        // The first row of a worker counts.
        self.names = rows.iter().skip(1).rev().filter_map(pair).collect();
        Ok(())
    }

    fn look(
        &mut self,
        (mode, is_new): (Mode, bool),
        recent: &VecDeque<Row>,
        truth: &Truth<'_>,
        now: Duration,
    ) -> Pass {
        let wants = self.wants(truth);
        let Some(grid) = &self.grid else { return Pass::default() };
        let claims: BTreeMap<_, _> =
            wants.iter().map(|(key, want)| (key.clone(), want.claim)).collect();
        let acquires = self.known.as_ref().map_or(0, |known| {
            claims.iter().filter(|(key, claim)| known.get(*key) != Some(*claim)).count()
        });
        self.known = Some(claims);
        let (past, terms, names) = (&self.past, &self.terms, &self.names);
        let remnants = Remnants { past, recent, terms, names, index: OnceCell::new() };
        let mut pass = self.watch.look(&Look {
            terms: &self.terms,
            grid,
            is_new,
            wants: &wants,
            is_over: &|key, holder, since| remnants.has(key, holder, since),
            is_past: &|key, since| remnants.has_time(key, since),
            mode,
            is_compared: self.is_compared,
            now_ms: truth.now_ms,
            acquires,
        });
        self.added.retain(|_, at| now < *at + ADDED);
        self.barred.retain(|_, at| now < *at + BARRED);
        pass.adds.retain(|add| !self.added.contains_key(&add.key));
        let is_barred =
            |write: &Write| write.line.key.text().is_some_and(|key| self.barred.contains_key(&key));
        pass.writes.retain(|write| !is_barred(write));
        pass
    }

    /// Writes what differs, and gives the words of people that their rows still say.
    fn write(
        &mut self,
        api: &mut Api,
        pass: Pass,
        is_idle: bool,
        patience: &mut Duration,
    ) -> Result<Vec<Edit>, StoreError> {
        let (Some(place), Some(grid)) = (&self.place, &self.grid) else { return Ok(Vec::new()) };
        let Pass { mut writes, mut adds, mut doubts, unfit: _ } = pass;
        writes.truncate(self.limit);
        adds.truncate(self.limit);
        doubts.truncate(MOST_LOOKS);
        self.is_dirty = writes.len() + adds.len() >= self.limit;
        self.riders.clear();
        if writes.is_empty() && adds.is_empty() && doubts.is_empty() {
            return Ok(Vec::new());
        }
        let mark = format!("lockside {:016x}", api.random());
        let sieve = Sieve { tab: place.tab, sieve: place.sieve, grid, mark };
        let batch = sieve.requests(&writes, &adds);
        self.written_at = Some(api.now());
        if !is_idle
            && self.may_ride(api.now())
            && adds.is_empty()
            && doubts.is_empty()
            && writes.len() <= RIDERS
        {
            (self.riders, self.riding) = (batch, writes);
            // Until they have gone.
            self.is_dirty = true;
            return Ok(Vec::new());
        }
        let columns = grid.columns;
        let range = |doubt: &Doubt| look::range(&place.title, columns, doubt.line.row);
        let ranges = doubts.iter().map(range).collect();
        let tab = place.tab;
        for add in &adds {
            self.added.insert(add.key.clone(), api.now());
        }
        match api.call(&Ask::Look(batch, ranges), adds.is_empty(), patience) {
            Ok(view) => {
                self.wrote(&writes);
                self.limit = (self.limit * 2).min(MOST_WRITES);
                // New rows have moved what is below them, and are to be seen first.
                self.read_at = if adds.is_empty() { self.read_at } else { None };
                let areas = view.get(&tab).map_or(&[][..], |tab| &tab.areas);
                Ok(look::said(doubts, columns, areas))
            }
            Err(failure) => Err(self.failed(failure, &writes, &adds, api.now())),
        }
    }

    /// The rows as they should be now. If they are not, the next reading shows it.
    fn wrote(&mut self, writes: &[Write]) {
        let Some(grid) = &mut self.grid else { return };
        for write in writes {
            let cell = |text: &str| match text {
                "" => Cell::Empty,
                text => Cell::Text(text.to_owned()),
            };
            if let Some(line) = grid.lines.iter_mut().find(|line| line.row == write.line.row) {
                (line.holder, line.since) = (cell(&write.holder), cell(&write.since));
                line.origin = cell(write.origin);
            }
            if write.key.is_some() {
                // Its key is another now: read first.
                self.read_at = None;
            }
        }
    }

    fn failed(
        &mut self,
        failure: Failure,
        writes: &[Write],
        adds: &[Add],
        now: Duration,
    ) -> StoreError {
        self.is_dirty = true;
        if failure.applied == Applied::No {
            self.added.retain(|key, _| !adds.iter().any(|add| add.key == *key));
        }
        if failure.is(400) {
            if let (1, [write]) = (self.limit, writes) {
                self.barred.insert(write.line.key.text().unwrap_or_default(), now);
            }
            self.refused(writes.len().max(adds.len()));
        }
        failure.into()
    }

    /// A group's batch has written what rode along.
    pub(super) fn rode(&mut self) {
        let riding = std::mem::take(&mut self.riding);
        self.wrote(&riding);
    }

    /// Google refuses a group's batch with rows of this: from now on they have batches of their own.
    pub(super) fn refused_beside_a_group(&mut self, now: Duration) {
        self.rides_after = Some(now + BARRED);
        self.refused(RIDERS);
    }

    /// Google refuses a batch of so many rows: a tab or a column has gone, or one row can't be written.
    fn refused(&mut self, rows: usize) {
        self.limit = (self.limit.min(rows) / 2).max(1);
        (self.place, self.columns, self.grid, self.read_at) = (None, None, None, None);
        self.is_dirty = true;
    }

    /// What a person's word asks of the ledger; nothing for a key that is no lock.
    fn request(&self, edit: &Edit) -> Option<Request> {
        let rule = (self.rule)(edit.key().key())?;
        let at_ms = match edit {
            Edit::Filled { at_ms, .. } => *at_ms,
            Edit::Cleared { .. } | Edit::Abandoned { .. } => 0,
        };
        let at = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let at = self.zone.to_datetime(at.unwrap_or_default());
        Some(edit.ask(rule, &at.strftime("%d-%m-%Y %H:%M:%S").to_string()))
    }
}

fn area(view: &View, tab: i32, from: (usize, usize)) -> Option<&Area> {
    view.get(&tab)?.areas.iter().find(|area| area.from == from)
}

fn header(view: &View, tab: i32) -> Vec<Cell> {
    let first = area(view, tab, (0, 0)).and_then(|area| area.rows.first());
    first.into_iter().flatten().map(Cell::of).collect()
}

/// A column below its header.
fn column(view: &View, tab: i32, at: usize) -> Vec<Cell> {
    let rows = area(view, tab, (1, at)).map(|area| area.rows.as_slice()).unwrap_or_default();
    rows.iter().map(|row| row.first().map(Cell::of).unwrap_or_default()).collect()
}
