//! What the thread does: open, then exchange after exchange, until the log has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{Back, Opening, Post, Question, Shared, State, Watcher};
use crate::ledger::committer::{Addressed, Dispute, Done, LAST_RETRY, Step};
use crate::ledger::entry::{Row, Start};
use crate::ledger::fold::Change;
use crate::ledger::store::{OpenError, Seen, Store, StoreError, Truth};
use crate::ledger::{Ask, Asker, Told, Unavailable};

pub(super) struct Runner {
    start: Start,
    store: Box<dyn Store>,
    shared: Arc<Shared>,
    post: Arc<dyn Post>,
    watcher: Arc<dyn Watcher>,
    /// One line of log when it begins to fail, one when it works again.
    is_failing: bool,
    has_read: bool,
    /// Of all sidecars that live this one shows people who holds what.
    is_first: bool,
    living: BTreeSet<u64>,
    /// When what people see is to be looked at again.
    project_at: Option<Duration>,
    /// What stands in the way of that.
    hitch: Option<String>,
    /// Questions were answered last: what is to be written goes before more of them.
    has_answered: bool,
}

/// What the thread finds to do.
enum Job {
    Exchange(Arc<Vec<Row>>),
    Answer(Vec<Question>),
    /// What people see is still behind.
    Project,
    End,
}

/// So long what people see may be behind before it is looked at again though nothing else happens.
const PROJECT_AGAIN: Duration = Duration::from_millis(250);

impl Runner {
    pub(super) fn new(
        start: Start,
        store: Box<dyn Store>,
        shared: Arc<Shared>,
        post: Arc<dyn Post>,
        watcher: Arc<dyn Watcher>,
    ) -> Self {
        Self {
            start,
            store,
            shared,
            post,
            watcher,
            is_failing: false,
            has_read: false,
            is_first: false,
            living: BTreeSet::new(),
            project_at: None,
            hitch: None,
            has_answered: false,
        }
    }

    pub(super) fn run(mut self) {
        if self.open() {
            loop {
                match self.next_job() {
                    Job::Exchange(rows) => self.exchange(&rows),
                    Job::Answer(questions) => self.answer(questions),
                    Job::Project => self.project(false),
                    Job::End => break,
                }
            }
        }
        self.shared.state().has_ended = true;
        self.shared.changed.notify_all();
    }

    /// Opens the log, however often that has to be tried. False if it never will be.
    fn open(&mut self) -> bool {
        let timing = *self.shared.state().committer.timing();
        let mut wait = timing.first_retry;
        loop {
            let opened = self.call(|store, start| store.open(start));
            match opened {
                Ok(log) => {
                    let now = self.shared.now();
                    self.shared.state().committer.opened(log, now);
                    return true;
                }
                Err(error) => {
                    self.note_failure(&error.to_string());
                    let mut state = self.shared.state();
                    state.committer.not_opened(&error.to_string());
                    let is_over = matches!(error, OpenError::Mismatch(_));
                    state.opening =
                        if is_over { Opening::Refused(error) } else { Opening::Failing };
                    drop(state);
                    self.shared.changed.notify_all();
                    if is_over || self.rest(wait) {
                        return false;
                    }
                    wait = (wait * 2).min(timing.last_retry);
                }
            }
        }
    }

    /// Waits before the next try to open; true if there is no use in one: the ledger is being
    /// stopped, and has nothing to write or no time left.
    fn rest(&self, wait: Duration) -> bool {
        let is_over = |state: &State| {
            state.is_given_up || state.committer.is_ending() && state.committer.waiting() == 0
        };
        is_over(&self.shared.wait_while(wait, |state| !is_over(state)))
    }

    fn next_job(&mut self) -> Job {
        let mut state = self.shared.state();
        loop {
            if state.is_given_up {
                return Job::End;
            }
            let has_questions = !state.questions.is_empty();
            if has_questions && !std::mem::replace(&mut self.has_answered, true) {
                return Job::Answer(std::mem::take(&mut state.questions));
            }
            self.has_answered = false;
            let now = self.shared.now();
            let rest = self.store.rest(state.committer.writes_next(now));
            if rest > Duration::ZERO && !has_questions {
                // What comes meanwhile goes into the same group.
                let waited = self.shared.changed.wait_timeout(state, rest);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let fold = self.shared.fold.read().unwrap_or_else(PoisonError::into_inner);
            let step = state.committer.next(&fold, now);
            drop(fold);
            let wait = match step {
                Step::Exchange(rows) => return Job::Exchange(rows),
                Step::Ended => return Job::End,
                Step::Until(_) if self.project_at.is_some_and(|at| now.mono >= at) => {
                    return Job::Project;
                }
                Step::Until(at) => {
                    at.min(self.project_at.unwrap_or(Duration::MAX)).saturating_sub(now.mono)
                }
                // Only this thread has exchanges under way, so there is nothing to wait for.
                Step::Wait => LAST_RETRY,
            };
            if has_questions {
                continue;
            }
            let waited = self.shared.changed.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn exchange(&mut self, rows: &[Row]) {
        match self.call(|store, _| store.exchange(rows)) {
            Ok(seen) => {
                self.shared.writes.fetch_add(u64::from(!rows.is_empty()), Ordering::Relaxed);
                self.seen(seen);
            }
            Err(error) => self.failed(&error),
        }
    }

    fn seen(&mut self, seen: Seen) {
        let shared = self.shared.clone();
        let mut state = shared.state();
        let mut fold = shared.fold.write().unwrap_or_else(PoisonError::into_inner);
        let now = shared.now();
        let done = state.committer.seen(seen, &mut fold, now);
        shared.outlook.show(&state.committer, &fold, now);
        drop(fold);
        let trouble = state.committer.trouble().cloned();
        let log = state.committer.log();
        let sidecars = state.committer.sidecars();
        let is_snapshot_due = {
            let fold = shared.fold.read().unwrap_or_else(PoisonError::into_inner);
            state.committer.is_snapshot_due(&fold)
        };
        drop(state);
        self.store.share(sidecars);
        match trouble {
            Some(trouble) => self.note_failure(&trouble),
            None => self.note_success(),
        }
        self.is_first = log.is_some() && done.living.first().copied() == log;
        self.living.clone_from(&done.living);
        let is_changed = done.reset || !done.changes.is_empty();
        self.tell(done);
        if is_snapshot_due {
            self.compact();
        }
        self.project(is_changed);
    }

    /// Shows people who holds what, and asks for what they say.
    fn project(&mut self, is_changed: bool) {
        let shared = self.shared.clone();
        let state = shared.state();
        let is_idle = state.committer.waiting() == 0;
        let Some(log) = state.committer.log().filter(|_| !state.is_given_up) else { return };
        drop(state);
        // Nobody else writes to the fold, so those who read it need not wait.
        let fold = shared.fold.read().unwrap_or_else(PoisonError::into_inner);
        let now_ms = shared.now().unix_ms;
        let is_first = self.is_first;
        let living = std::mem::take(&mut self.living);
        let truth =
            Truth { fold: &fold, log, is_first, living: &living, is_changed, is_idle, now_ms };
        let asked = self.call(|store, _| store.project(&truth));
        self.living = living;
        drop(fold);
        let hitch = asked.as_ref().err().map(|error| error.text.clone());
        if let Some(why) = hitch.as_ref().filter(|why| self.hitch.as_ref() != Some(why)) {
            tracing::warn!(why, "people are not shown who holds what; locks are not concerned");
        }
        if hitch.is_none() && self.hitch.is_some() {
            tracing::info!("people are shown who holds what again");
        }
        self.hitch = hitch;
        let has_more = self.hitch.is_none() && self.store.has_more_to_project();
        self.project_at = has_more.then(|| shared.now().mono + PROJECT_AGAIN);
        for ask in asked.unwrap_or_default() {
            tracing::info!(key = %key_of_ask(&ask), "a person's word in the spreadsheet is obeyed");
            if let Err(error) = shared.state().committer.submit(Asker::Nobody, vec![ask]) {
                tracing::warn!(%error, "a person's word in the spreadsheet must wait");
            }
        }
    }

    /// Tells the watcher, and then those who asked.
    fn tell(&mut self, done: Done) {
        for Dispute { key, lost, by, .. } in &done.disputes {
            self.shared.outlook.conflicts.fetch_add(1, Ordering::Relaxed);
            let name = String::from_utf8_lossy(key.key());
            tracing::warn!(
                key = %name,
                db = key.db(),
                holder = %by,
                other = %lost,
                "conflict: two clients were told that they hold this lock; the higher fence has it"
            );
        }
        if done.reset || !self.has_read {
            self.has_read = true;
            let fold = self.shared.fold.read().unwrap_or_else(PoisonError::into_inner);
            let mut holders = fold.holders();
            drop(fold);
            holders.extend(done.undecided);
            self.watcher.reset(&holders, &done.living);
            self.shared.outlook.was_read.store(true, Ordering::Release);
            self.shared.state().opening = Opening::Done;
            self.shared.changed.notify_all();
        } else {
            done.doubtful.iter().for_each(|key| self.watcher.doubted(key));
            let over = over_at_once(&done.changes);
            for (place, change) in done.changes.iter().enumerate() {
                match change {
                    // Nobody is shown a hold that is known to be over.
                    Change::Held(holder) if over.contains(&place) => self.watcher.passed(holder),
                    Change::Held(holder) => {
                        self.watcher.held(holder, done.living.contains(&holder.at.log));
                    }
                    Change::Freed(key, claim) => self.watcher.freed(key, *claim),
                }
            }
            done.over.iter().for_each(|(key, fence)| self.watcher.over(key, *fence));
            done.left.iter().for_each(|holder| self.watcher.turned(holder, false));
            done.found.iter().for_each(|holder| self.watcher.turned(holder, true));
        }
        self.deliver(done.answers);
    }

    fn deliver(&self, answers: Vec<Addressed>) {
        let mut by_worker = BTreeMap::<_, Vec<_>>::new();
        for (worker, session, answer) in answers {
            by_worker.entry(worker).or_default().push((session, answer));
        }
        for (worker, answers) in by_worker {
            self.post.deliver(worker, answers);
        }
    }

    fn failed(&mut self, error: &StoreError) {
        let now = self.shared.now();
        let mut state = self.shared.state();
        let answers = state.committer.failed(error, now);
        if matches!(state.opening, Opening::Trying) {
            state.opening = Opening::Failing;
        }
        drop(state);
        self.shared.changed.notify_all();
        self.deliver(answers);
        self.note_failure(&error.text);
    }

    fn compact(&mut self) {
        let fold = self.shared.fold.read().unwrap_or_else(PoisonError::into_inner);
        let snapshot = fold.snapshot();
        drop(fold);
        if let Err(error) = self.call(|store, _| store.compact(&snapshot)) {
            tracing::warn!(%error, "the ledger could not be made smaller; it goes on as it is");
        }
        self.shared.state().committer.snapshot_tried();
    }

    fn answer(&mut self, questions: Vec<Question>) {
        for Question { key, count, back } in questions {
            let rows = self.call(|store, _| store.history(&key, count));
            match back {
                // Who asked may have given up: then there is nobody to answer.
                Back::Here(answer) => drop(answer.try_send(rows)),
                Back::Session(worker, session, query) => {
                    let rows = rows.map_err(|error| Unavailable::NotAnswering(error.text.into()));
                    self.post.tell(worker, session, Told { query, rows });
                }
            }
        }
    }

    /// Calls the store, which may hang: whoever asks can see since when.
    fn call<T>(&mut self, work: impl FnOnce(&mut dyn Store, &Start) -> T) -> T {
        self.shared.set_busy(true);
        let result = work(&mut *self.store, &self.start);
        self.shared.set_busy(false);
        result
    }

    fn note_failure(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(why, "the ledger does not answer");
        }
    }

    fn note_success(&mut self) {
        if std::mem::replace(&mut self.is_failing, false) {
            tracing::info!("the ledger answers again");
        }
    }
}

/// The lock's key, for people.
fn key_of_ask(ask: &Ask) -> String {
    match ask {
        Ask::Claim(claim) => String::from_utf8_lossy(claim.key.key()).into_owned(),
        Ask::Release(key, ..) => String::from_utf8_lossy(key.key()).into_owned(),
        _ => String::new(),
    }
}

/// Where among these changes holds begin that end among them.
fn over_at_once(changes: &[Change]) -> BTreeSet<usize> {
    let (mut freed, mut over) = (BTreeSet::new(), BTreeSet::new());
    for (place, change) in changes.iter().enumerate().rev() {
        match change {
            Change::Freed(_, claim) => drop(freed.insert(*claim)),
            Change::Held(holder) if freed.contains(&holder.at) => drop(over.insert(place)),
            Change::Held(_) => {}
        }
    }
    over
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::entry::Position;
    use crate::ledger::fold::Holder;
    use crate::ledger::testing::claim;

    #[test]
    fn what_is_over_in_the_same_reading_is_shown_to_nobody() {
        let held = |seq| {
            let claim = claim("a", "v");
            Change::Held(Arc::new(Holder {
                at: Position { log: 1, seq },
                claim,
                fence: seq,
                heard: false,
            }))
        };
        let freed = |seq| Change::Freed(claim("a", "v").key, Position { log: 1, seq });
        let over = |changes: &[Change]| over_at_once(changes).into_iter().collect::<Vec<_>>();
        assert_eq!(over(&[held(1), freed(1), held(2)]), [0]);
        assert_eq!(over(&[freed(1), held(1)]), [0; 0]);
        assert_eq!(over(&[held(1), held(1), freed(1), held(3), freed(2)]), [0, 1]);
    }
}
