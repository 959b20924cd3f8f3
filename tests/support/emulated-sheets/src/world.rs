//! Everything that the emulator knows, behind one lock: spreadsheets and their last versions, credentials,
//! quotas, faults, the journal, writes that are still to come, and the person.
//!
//! Nothing here waits. What is due (a late write, an edit of the person) is done before each look.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::api::{Call, Method};
use crate::book::{Book, Caller};
use crate::error::{ApiError, Result};
use crate::fault::Faults;
use crate::journal::Journal;
use crate::person::{self, Person};
use crate::quota::{Meter, Quota};
use crate::random::{Latency, Random};
use crate::tokens::{self, PROJECT, Tokens};
use crate::{Options, Rules};

/// How long old versions are kept, for reads that are behind.
const VERSIONS_KEPT: Duration = Duration::from_secs(60);

/// The most old versions of a spreadsheet.
const VERSIONS_LIMIT: usize = 500;

/// The most writes that are still to come.
const LATE_LIMIT: usize = 1_000;

/// The owner of every spreadsheet: no account of the API.
pub(crate) const OWNER: &str = "owner@example.com";

/// A spreadsheet and how it was.
#[derive(Debug)]
pub(crate) struct Shelf {
    /// As it is.
    pub(crate) book: Arc<Book>,
    /// As it was after each write, oldest first.
    versions: VecDeque<(Duration, Arc<Book>)>,
}

impl Shelf {
    /// A spreadsheet that nobody has written yet.
    pub(crate) fn new(book: Book) -> Self {
        let book = Arc::new(book);
        Self { versions: VecDeque::from([(Duration::ZERO, Arc::clone(&book))]), book }
    }

    fn put(&mut self, book: Book, now: Duration) {
        self.book = Arc::new(book);
        self.versions.push_back((now, Arc::clone(&self.book)));
        let old = |next: &(Duration, Arc<Book>)| next.0 + VERSIONS_KEPT < now;
        // The version that was in force at the beginning of the time that is kept stays.
        while self.versions.len() > VERSIONS_LIMIT || self.versions.get(1).is_some_and(old) {
            self.versions.pop_front();
        }
    }

    /// As it was at this time; as old as it is known for times before that.
    fn at(&self, time: Duration) -> &Arc<Book> {
        let known = self.versions.iter().rev().find(|(written, _)| *written <= time);
        known.or(self.versions.front()).map_or(&self.book, |(_, book)| book)
    }
}

/// A write whose time comes after its caller has given up.
#[derive(Debug)]
struct Late {
    due: Duration,
    call: Call,
    caller: Caller,
}

/// All state.
#[derive(Debug)]
pub(crate) struct World {
    /// Spreadsheets by their ids.
    pub(crate) shelves: BTreeMap<String, Shelf>,
    /// Credentials.
    pub(crate) tokens: Tokens,
    /// Limits.
    pub(crate) quota: Quota,
    meter: Meter,
    /// How long calls take; none for not at all.
    pub(crate) latency: Option<Latency>,
    /// Faults that wait.
    pub(crate) faults: Faults,
    /// Calls so far.
    pub(crate) journal: Journal,
    /// The person at the spreadsheet, if there is one.
    pub(crate) person: Option<Person>,
    /// True if the project has not enabled the API.
    pub(crate) disabled: bool,
    /// What a test may want either way.
    pub(crate) rules: Rules,
    /// All randomness but the person's.
    pub(crate) random: Random,
    late: Vec<Late>,
    /// Writes so far, of whoever.
    pub(crate) changes: u64,
}

impl World {
    /// As the options say, with `books` or one empty spreadsheet.
    pub(crate) fn new(options: &Options, books: Vec<Book>) -> Self {
        let mut shelves: BTreeMap<String, Shelf> =
            books.into_iter().map(|book| (book.id.clone(), Shelf::new(book))).collect();
        let made = || Book::new(&options.spreadsheet, &options.title, &options.locale, OWNER);
        let saved = shelves.remove(&options.spreadsheet).map(|shelf| Book::clone(&shelf.book));
        let mut book = saved.unwrap_or_else(made);
        let accounts = (1..=options.accounts).map(tokens::account);
        for email in accounts.chain([person::EMAIL.to_owned()]) {
            if !book.may_read(&email) {
                book.editors.push(email);
            }
        }
        shelves.insert(book.id.clone(), Shelf::new(book));
        Self {
            shelves,
            tokens: Tokens::new(options.accounts, options.token_lifetime),
            quota: options.quota,
            meter: Meter::default(),
            latency: options.latency,
            faults: Faults::default(),
            journal: Journal::default(),
            person: None,
            disabled: false,
            rules: options.rules.clone(),
            random: Random::new(options.seed),
            late: Vec::new(),
            changes: 0,
        }
    }

    /// Does what is due by now: late writes in the order of their times, then the person's edits.
    pub(crate) fn settle(&mut self, now: Duration) {
        self.late.sort_by_key(|late| late.due);
        let due = self.late.partition_point(|late| late.due <= now);
        for late in self.late.drain(..due).collect::<Vec<_>>() {
            // Nobody is told if it is refused.
            let _ = self.perform(&late.call, &late.caller, None, late.due.min(now));
        }
        let Some(mut person) = self.person.take() else { return };
        for at in person.due(now) {
            self.act(&mut person, at);
        }
        self.person = Some(person);
    }

    /// One act of the person.
    pub(crate) fn act(&mut self, person: &mut Person, now: Duration) {
        let Some(shelf) = self.shelves.get_mut(&person.spreadsheet) else { return };
        let caller = Caller { email: person::EMAIL.to_owned(), project: 0 };
        if let Some(next) = person.act(&shelf.book, &caller, &self.rules) {
            shelf.put(next, now);
            self.changes += 1;
        }
    }

    /// A write for later.
    pub(crate) fn postpone(&mut self, due: Duration, call: Call, caller: Caller) {
        if self.late.len() < LATE_LIMIT {
            self.late.push(Late { due, call, caller });
        }
    }

    /// Who calls, and whether the call may be made at all.
    ///
    /// # Errors
    /// 401 or 403.
    pub(crate) fn admit(
        &self,
        method: &Method,
        token: Option<&str>,
        now: Duration,
    ) -> Result<Caller> {
        let token = token.ok_or_else(ApiError::unregistered)?;
        let (email, scopes) =
            self.tokens.holder(token, now).ok_or_else(ApiError::unauthenticated)?;
        let wanted = tokens::scopes(method.write);
        if !scopes.iter().any(|scope| wanted.contains(&scope.as_str())) {
            return Err(ApiError::scope(method.name, &wanted));
        }
        if self.disabled {
            return Err(ApiError::disabled(PROJECT.1));
        }
        Ok(Caller { email, project: PROJECT.1 })
    }

    /// Charges a call.
    ///
    /// # Errors
    /// 429.
    pub(crate) fn charge(&mut self, method: &Method, caller: &Caller, now: Duration) -> Result<()> {
        self.meter.charge(&self.quota, now, method.write, &caller.email, caller.project)
    }

    /// Applies a call. With `behind` a read sees the spreadsheet as it was so long ago, and a write answers
    /// as if it had been applied to that; what it writes is right all the same.
    ///
    /// # Errors
    /// As the method does; nothing has changed then.
    pub(crate) fn perform(
        &mut self,
        call: &Call,
        caller: &Caller,
        behind: Option<Duration>,
        now: Duration,
    ) -> Result<Value> {
        let shelf = self.shelves.get_mut(&call.id).ok_or_else(ApiError::not_found)?;
        let may = if call.method.write { Book::may_write } else { Book::may_read };
        if !may(&shelf.book, &caller.email) {
            return Err(ApiError::forbidden());
        }
        let old = behind.map(|by| Arc::clone(shelf.at(now.saturating_sub(by))));
        if !call.method.write {
            return call.read_from(old.as_ref().unwrap_or(&shelf.book), caller);
        }
        let (mut answer, next) = call.write_to(&shelf.book, caller, &self.rules)?;
        let seen = old.and_then(|old| call.write_to(&old, caller, &self.rules).ok());
        if let Some(spreadsheet) =
            seen.and_then(|(seen, _)| seen.get("updatedSpreadsheet").cloned())
        {
            answer["updatedSpreadsheet"] = spreadsheet;
        }
        shelf.put(next, now);
        self.changes += 1;
        Ok(answer)
    }

    /// Changes a spreadsheet directly, as its owner would.
    ///
    /// # Errors
    /// What `change` says; nothing has changed then.
    pub(crate) fn change<T>(
        &mut self,
        id: &str,
        now: Duration,
        change: impl FnOnce(&mut Book, &Rules) -> Result<T>,
    ) -> Result<T> {
        let shelf = self.shelves.get_mut(id).ok_or_else(ApiError::not_found)?;
        let mut next = Book::clone(&shelf.book);
        let result = change(&mut next, &self.rules)?;
        shelf.put(next, now);
        self.changes += 1;
        Ok(result)
    }
}
