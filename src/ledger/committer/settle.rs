//! What an exchange's result means to those who asked. Pure.

use std::collections::HashMap;

use super::super::entry::{Cause, Claim, Entry, Row};
use super::super::fold::{Fold, LogMode, Token, in_causal_order};
use super::super::store::Seen;
use super::super::{Asker, Outcome};
use super::group::Group;
use super::request::{Fate, Request};
use super::withdraw::Answered;
use super::{Ask, BEATEN_KEPT, Committer, Done, Now, RELEASE_TRIES};
use crate::lock::record::LockKey;

/// For so many `mirror_interval`s the grant of a value is waited for that was released before.
const MIRRORS_AWAITED: u32 = 10;

impl Committer {
    /// Follows what was read, and answers the group if all of it is there; else the group stays.
    pub(super) fn settle(&mut self, seen: Seen, fold: &mut Fold, now: Now) -> Done {
        let mut done = Done { living: self.living(), ..Done::default() };
        let mut group = self.group.take();
        if let Some(snapshot) = seen.snapshot {
            done.reset = true;
            *fold = Fold::from(snapshot);
            if let Some(group) = &mut group {
                group.read_snapshot(self.log, fold);
            }
        }
        let rows = if fold.is_ordered() { seen.rows } else { in_causal_order(seen.rows, self.log) };
        for row in &rows {
            let before = self.disputes.as_ref().and_then(|disputes| disputes.before(row, fold));
            let known = done.changes.len();
            let outcome = fold.follow(row, &mut done.changes);
            if self.is_without_redis(row, fold) {
                done.doubtful.extend(done.changes[known..].iter().map(|c| c.key().clone()));
            }
            if let Some(disputes) = &mut self.disputes {
                disputes.note(row, before, fold, &done.living, now.mono);
            }
            if let Some(group) = &mut group {
                group.read(row, outcome, fold);
            }
            let is_own = Some(row.at.log) == self.log;
            if let Some(release) = self.early.met(row, is_own, fold, now.mono) {
                self.follow_up(release);
            }
        }
        if done.reset {
            done.changes.clear();
            done.doubtful.clear();
        }
        match group {
            Some(group) if !group.is_written(self.log, fold) => self.group = Some(group),
            Some(group) => self.close(group, fold, now, &mut done),
            None => {}
        }
        if self.group.is_none() {
            self.decide(fold, &seen.people, &mut done);
        }
        done
    }

    /// Writes this as soon as it can be; nobody waits.
    fn follow_up(&mut self, ask: Ask) {
        // With too much waiting, or at the end, it is left: the lock is shown as held.
        let _ = self.submit(Asker::Nobody, vec![ask]);
    }

    /// True for an entry of another sidecar that has not said that it serves by Redis, and for what people
    /// have ended in the spreadsheet.
    fn is_without_redis(&self, row: &Row, fold: &Fold) -> bool {
        if let Entry::Release { cause: Cause::Sheet | Cause::Abandoned, .. } = row.entry {
            return true;
        }
        let says = || fold.log(row.at.log).map(|log| &log.mode);
        Some(row.at.log) != self.log && !matches!(says(), Some(LogMode::Healthy(_)))
    }

    /// Answers a group of which every row was read.
    fn close(&mut self, mut group: Group, fold: &Fold, now: Now, done: &mut Done) {
        group.read_end(fold);
        self.has_ended = group.is_last;
        // Backwards, so that those that go on stand in the queue in the order of their tickets.
        for request in group.requests.into_iter().rev() {
            let decided = request.parts.iter().filter(|part| part.outcome.is_some());
            // A part of an earlier try was counted out then: its tries are not those of the rest.
            for part in decided.filter(|part| part.is_news) {
                if let Some(key) = part.releases() {
                    release_is_over(&mut self.releasing, key);
                }
            }
            if let Some(interval) = self.timing.mirror_interval {
                let until = now.mono + interval * MIRRORS_AWAITED;
                let news = request.parts.iter().filter(|part| part.is_news);
                news.for_each(|part| self.early.note(part, until));
            }
            for part in &request.parts {
                if let (Ask::Grant(claim, fence), Some(Outcome::Lost { .. }), Some(at)) =
                    (&part.ask, &part.outcome, part.at)
                {
                    done.over.push((claim.key.clone(), *fence));
                    self.beaten.extend(Token::of(claim).map(|token| (token, at)));
                }
            }
            let mut request = request;
            request.parts.iter_mut().for_each(|part| part.is_news = false);
            if request.awaits_decision() {
                self.deciding.insert(request.ticket, request);
            } else {
                self.finish(request, done);
            }
        }
        done.answers.reverse();
        for ticket in group.withdraws {
            done.answers.extend(self.withdrawn_one(ticket));
        }
        for (ticket, claim) in group.losses {
            self.lost_one(ticket, claim, done);
        }
        while self.beaten.len() > BEATEN_KEPT {
            self.beaten.pop_front();
        }
        self.forget_answers();
    }

    /// All of a request was read: it is answered, taken back, or goes on with what is left of it.
    pub(super) fn finish(&mut self, request: Request, done: &mut Done) {
        if request.fate == Fate::Withdraw {
            for key in request.open_releases() {
                release_is_over(&mut self.releasing, key);
            }
            done.answers.extend(self.take_back(request));
        } else if !request.is_complete() {
            self.queue.put_back(request);
        } else {
            let (ticket, answered) = (request.ticket, Answered::of(&request));
            if let Some(answer) = request.into_answer() {
                done.answers.push(answer);
                self.answered.extend(answered.map(|answered| (ticket, answered)));
            }
        }
    }
}

impl Group {
    /// True if the whole group is in what was read.
    fn is_written(&self, log: Option<u64>, fold: &Fold) -> bool {
        let Some(last) = self.rows.last() else { return true };
        let read = log.and_then(|log| fold.log(log)).map_or(0, |log| log.last_seq);
        read >= last.at.seq
    }

    /// Takes the outcome of a row, if it is one of this group's.
    fn read(&mut self, row: &Row, outcome: Outcome, fold: &Fold) {
        let Some(index) = self.index_of(row.at) else { return };
        if fold.is_undecided(row.at) {
            return;
        }
        let Some((request, part)) = self.parts[index] else { return };
        let part = &mut self.requests[request].parts[part];
        part.decide(outcome, fold);
    }

    /// The own rows may be in a snapshot: then the state after all of it says what became of them.
    fn read_snapshot(&mut self, log: Option<u64>, fold: &Fold) {
        let covered = log.and_then(|log| fold.log(log)).map_or(0, |log| log.last_seq);
        for (row, part) in self.rows.iter().zip(&self.parts) {
            let Some((request, part)) = *part else { continue };
            if row.at.seq <= covered && !fold.is_undecided(row.at) {
                let outcome = outcome_after(row, fold);
                self.requests[request].parts[part].decide(outcome, fold);
            }
        }
    }

    /// Releases for which no entry was written, for nobody held the lock: true at the end?
    fn read_end(&mut self, fold: &Fold) {
        let parts = self.requests.iter_mut().flat_map(|request| &mut request.parts);
        for part in parts {
            if part.at.is_none() && part.outcome.is_none() {
                part.decide(Outcome::NotHeld, fold);
            }
            // Another entry of the value was written before the release, and read with it.
            let value = part.value.take();
            if value.is_some_and(|value| fold.stands(&value)) && part.tries < RELEASE_TRIES {
                part.has_ended |= part.outcome.take() == Some(Outcome::Released);
            }
        }
    }
}

impl super::request::Part {
    fn decide(&mut self, outcome: Outcome, fold: &Fold) {
        let ended = self.has_ended && outcome == Outcome::NotHeld;
        let outcome = if ended { Outcome::Released } else { outcome };
        let is_held = match &self.ask {
            Ask::ReleaseAny(key, _) => fold.holder(key).is_some(),
            Ask::ReleaseValue { key, stored, .. } => {
                let is_it = |claim: &Claim| claim.stored == *stored;
                fold.holder(key).is_some_and(|holder| is_it(&holder.claim))
                    || fold.undecided_of(is_it, key).is_some()
            }
            _ => false,
        };
        if is_held && outcome == Outcome::NotHeld && self.tries < RELEASE_TRIES {
            // Another claim holds it at this place: that one is released in the next group.
            return;
        }
        // Of several rows for one release one that has ended something is enough.
        if self.outcome != Some(Outcome::Released) {
            (self.outcome, self.is_news) = (Some(outcome), true);
        }
    }
}

/// What became of an entry, from the state at some later place: a claim that has won and was ended
/// since has lost, as far as its client can tell.
fn outcome_after(row: &Row, fold: &Fold) -> Outcome {
    match &row.entry {
        Entry::Claim(claim)
        | Entry::Observe(claim)
        | Entry::Prefer(claim, _)
        | Entry::Grant(claim, _) => match fold.holder_named(&claim.key, row.at) {
            Some(holder) => Outcome::Won { claim: holder.at, fence: holder.fence },
            None => Outcome::Lost { holder: fold.holder(&claim.key).cloned() },
        },
        Entry::Content { key, claim, change } => {
            let holder = fold.holder_named(key, *claim);
            let mark = holder.and_then(|holder| holder.claim.other.as_deref());
            if mark.is_some() && change.is_done(mark) { Outcome::Noted } else { Outcome::NotHeld }
        }
        Entry::Gone { key, stored, fence, .. } => match fold.holder(key) {
            Some(held) if held.claim.stored == *stored && held.fence <= *fence => Outcome::NotHeld,
            _ => Outcome::Released,
        },
        Entry::Release { key, claim, .. } | Entry::Withdraw { key, claim } => {
            match fold.holder_named(key, *claim) {
                Some(_) => Outcome::NotHeld,
                None => Outcome::Released,
            }
        }
        _ => Outcome::Noted,
    }
}

pub(super) fn release_is_over(releasing: &mut HashMap<LockKey, usize>, key: &LockKey) {
    if let Some(count) = releasing.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            releasing.remove(key);
        }
    }
}
