//! What goes wrong, and what becomes of it.

use std::time::Duration;

use lockside::ledger::Position;
use lockside::ledger::fold::{Fold, Open};
use lockside::ledger::memory;
use lockside::lock::record::LockKey;

use super::{Event, Slot, World};
use crate::redis::Start;

/// How the store behaves towards one sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Fast,
    /// Up to some seconds for an exchange; in a store without order reads that are a little behind
    /// (SQLite reads in one transaction: what was committed before is in it).
    Slow,
    /// Refusals, losses, and writes that arrive although they failed, at once or later.
    Failing,
    /// No answer at all.
    Hanging,
}

/// Where a process ends at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// Redis has set the key, the claim is not written.
    BeforeClaim,
    /// The claim is durable, nobody was told.
    AfterClaim,
    /// The client's OK is on its way.
    AfterAnswer,
    /// Redis has deleted the key, the release is not written.
    BeforeRelease,
    /// The release is durable, nobody was told.
    AfterRelease,
}

/// One thing that goes wrong, or ends to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    KillRedis,
    StartRedis(Start),
    /// Another server takes over at once, with what it had.
    FailOver(Start),
    PauseRedis,
    ResumeRedis,
    RefuseClients(bool),
    SaveRedis,
    Hole(usize),
    Cut(usize),
    Join(usize),
    Mood(usize, Mood),
    Crash(usize),
    CrashAt(usize, Point),
    Start(usize),
    Pause(usize),
    Resume(usize),
    Compact(usize),
    /// All clients that wait come now, for one key.
    Rush,
}

/// Within this time the next background pass undoes what a repair of a sidecar that was behind did.
const UNDONE: Duration = Duration::from_secs(8);

impl Slot {
    /// The ledger does not answer it.
    fn is_in_the_dark(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.desk.books().committer.trouble().is_some())
    }
}

impl World {
    /// True if what a client sees of this lock may be old: a sidecar has not read of the holder
    /// (`poll`), and answers or repairs Redis by what it knows; or one that does not reach Redis, or
    /// is slow, was or will be the only one that knows.
    pub(crate) fn may_be_behind(&self, key: &[u8]) -> bool {
        if self.fleet == crate::process::Fleet::Strict {
            // Who looks at a lock has the ledger read, if it answers; else it shows what it knows.
            return self.slots.iter().any(|slot| slot.mood != Mood::Fast || slot.is_in_the_dark());
        }
        let is_slow = |slot: &Slot| slot.mood != Mood::Fast || slot.is_cut || slot.hole.is_some();
        if self.checks.may_be_lost(key)
            || self.checks.has_returned(key)
            || self.now() < self.behind_until
            || self.slots.iter().any(is_slow)
        {
            return true;
        }
        let key = LockKey::new(0, key);
        let at = |fold: &Fold| fold.holder(&key).map(|holder| holder.at);
        let mut processes = self.slots.iter().filter_map(|slot| slot.process.as_ref());
        processes.any(|process| at(&process.desk.books().fold) != at(&self.checks.fold))
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        self.note(|| format!("FAULT  {fault:?}"));
        let is_partial = matches!(
            fault,
            Fault::Mood(..)
                | Fault::Pause(_)
                | Fault::Resume(_)
                | Fault::Cut(_)
                | Fault::Hole(_)
                | Fault::Join(_)
        );
        if is_partial {
            self.behind_until = self.now() + UNDONE;
        }
        match fault {
            Fault::KillRedis => self.kill_redis(),
            Fault::StartRedis(with) if !self.redis.is_up => self.redis.start(with),
            Fault::StartRedis(_) => {}
            Fault::FailOver(with) => {
                self.kill_redis();
                self.redis.start(with);
            }
            Fault::PauseRedis => self.redis.is_paused = self.redis.is_up,
            Fault::ResumeRedis => self.resume_redis(),
            Fault::RefuseClients(refuses) => self.redis.refuses = refuses,
            Fault::SaveRedis => self.redis.save(),
            Fault::Hole(sidecar) => {
                self.slots[sidecar].hole.get_or_insert_default();
            }
            Fault::Cut(sidecar) => {
                self.slots[sidecar].is_cut = true;
                self.reset_links(sidecar);
            }
            Fault::Join(sidecar) => self.join(sidecar),
            Fault::Mood(sidecar, mood) => self.slots[sidecar].mood = mood,
            Fault::Crash(sidecar) => self.crash(sidecar),
            Fault::CrashAt(sidecar, point) => self.slots[sidecar].crash_at = Some(point),
            Fault::Start(sidecar) => self.start(sidecar),
            Fault::Pause(sidecar) => {
                if let Some(process) = &mut self.slots[sidecar].process {
                    process.is_paused = true;
                }
            }
            Fault::Resume(sidecar) => self.resume(sidecar),
            Fault::Compact(sidecar) => self.compact(sidecar),
            Fault::Rush => self.rush(),
        }
    }

    fn kill_redis(&mut self) {
        for link in self.redis.kill() {
            // What Redis wrote before it ended arrives before the end does.
            let delay = self.rng.micros(100, 500);
            self.after(delay, Event::LinkDown(link, "connection reset by Redis"));
        }
    }

    fn resume_redis(&mut self) {
        self.redis.is_paused = false;
        while let Some((link, bytes)) = self.redis.backlog.pop_front() {
            self.redis_reads(link, bytes);
        }
    }

    /// The way between a sidecar and Redis is open again. What was kept back arrives late, or its
    /// link is reset.
    fn join(&mut self, sidecar: usize) {
        self.slots[sidecar].is_cut = false;
        let held = self.slots[sidecar].hole.take().unwrap_or_default();
        let seed = self.rng.bits();
        for event in held {
            let (Event::OpenAtRedis(link)
            | Event::AtRedis(link, _)
            | Event::LinkUp(link)
            | Event::FromRedis(link, _)
            | Event::LinkDown(link, _)) = &event
            else {
                continue;
            };
            let is_lost = (seed >> (link % 61)) & 1 == 0;
            match (is_lost, &event) {
                (true, Event::AtRedis(_, None)) | (false, _) => self.at(self.now(), event),
                (true, Event::LinkDown(..)) => self.at(self.now(), event),
                (true, _) => self.at(self.now(), Event::LinkDown(*link, "connection reset")),
            }
        }
    }

    /// A claim that its own run, which lives, does not decide (a store without order).
    pub(crate) fn undecided_by_the_living(&self) -> Option<(Position, Open)> {
        let processes = self.slots.iter().filter_map(|slot| slot.process.as_ref());
        let living: Vec<_> =
            processes.filter_map(|process| process.desk.books().committer.log()).collect();
        let all = self.checks.fold.undecided();
        all.into_iter().find(|(at, _)| living.contains(&at.log))
    }

    /// What becomes of one call to the store: a fault, how long until it takes effect, and how long
    /// from there to its answer.
    pub(super) fn draw(
        &mut self,
        sidecar: usize,
        only_reads: bool,
    ) -> (memory::Fault, [Duration; 2]) {
        let rng = &mut self.rng;
        let quick = [rng.micros(100, 800), rng.micros(50, 300)];
        match self.slots[sidecar].mood {
            Mood::Fast | Mood::Hanging => (memory::Fault::None, quick),
            Mood::Slow => {
                let hidden = usize::try_from(rng.below(4)).unwrap();
                let is_stale = only_reads && rng.percent(30);
                let fault = match is_stale && !self.fleet.is_ordered() {
                    true => memory::Fault::Stale(hidden),
                    false => memory::Fault::None,
                };
                (fault, [rng.millis(1, 900), rng.millis(1, 900)])
            }
            Mood::Failing => {
                let fault = match rng.below(8) {
                    0 | 1 => memory::Fault::None,
                    2 => memory::Fault::Refused,
                    3 => memory::Fault::Lost,
                    4 | 5 => memory::Fault::Ambiguous,
                    _ => memory::Fault::Late,
                };
                (fault, [quick[0], rng.millis(1, 20)])
            }
        }
    }
}
