//! Judges a history: whether any two clients held one lock at once, and whether anything that a
//! client was told was lost or overturned. Pure; it knows nothing of Lockside.
//!
//! A *hold* lasts from the reply that granted it to the call of the first release that may have
//! ended it. Between the two nobody else may be seen to hold the lock, and the holder is never told
//! that it does not. What an answer left open (an acquire or a release of unknown outcome) may be
//! either way, and is listed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::event::{Acquired, Ending, Event, Moment, Released, Token, What};

/// How long a value may be seen after its release that is no lock: a first step of the acquire
/// that was held up on the way, and its safety TTL.
pub(crate) const PROVISIONAL: Moment = 4_000_000;

/// How many findings of each kind are shown.
const SHOWN: usize = 8;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wrong {
    /// Two holds of one lock overlap.
    DoubleGrant,
    /// Somebody else was seen to hold a lock inside a hold.
    Usurped,
    /// A holder was told, or the end shows, that its lock is gone.
    Lost,
    /// A lock is there again, or was released again, after its release was acknowledged.
    Overturned,
    /// A lock stands at the end that nobody was told about.
    Orphan,
    /// The fence of a later hold is not higher.
    Fence,
    /// A command was not answered, or by what it never answers.
    Answer,
}

/// One finding: which lock, and the events that prove it.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) wrong: Wrong,
    pub(crate) key: usize,
    pub(crate) proof: String,
}

/// The verdict on one history.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) findings: Vec<Finding>,
    /// Tokens that stand in Redis at the end, of which their clients know that they may.
    pub(crate) open: Vec<(usize, Token)>,
    /// How many holds there were.
    pub(crate) holds: usize,
}

impl Verdict {
    pub(crate) fn has(&self, wrong: Wrong) -> bool {
        self.findings.iter().any(|finding| finding.wrong == wrong)
    }

    fn find(&mut self, wrong: Wrong, key: usize, proof: impl fmt::Display) {
        self.findings.push(Finding { wrong, key, proof: proof.to_string() });
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = BTreeMap::new();
        for Finding { wrong, key, proof } in &self.findings {
            let count: &mut usize = counts.entry(wrong).or_default();
            *count += 1;
            if *count <= SHOWN {
                writeln!(out, "{wrong:?} of key {key}:\n{proof}")?;
            }
        }
        write!(out, "{counts:?}, ")?;
        write!(out, "{} findings, {} holds", self.findings.len(), self.holds)
    }
}

/// Judges everything that was said about all locks, and what was there at the end.
pub(crate) fn judge(events: &[Event], endings: &BTreeMap<usize, Ending>) -> Verdict {
    let mut verdict = Verdict::default();
    let keys: BTreeSet<usize> =
        events.iter().map(|event| event.key).chain(endings.keys().copied()).collect();
    for key in keys {
        let events: Vec<&Event> = events.iter().filter(|event| event.key == key).collect();
        let story = Story::of(key, &events);
        story.check_overlaps(&mut verdict);
        events.iter().for_each(|event| story.check_event(event, &mut verdict));
        story.check_fences(&events, &mut verdict);
        if let Some(ending) = endings.get(&key) {
            story.check_end(ending, &mut verdict);
        }
        verdict.holds += story.holds.len();
    }
    verdict
}

/// From a grant's reply to the call of the first release that may have ended it.
#[derive(Debug)]
struct Hold {
    token: Token,
    from: Moment,
    until: Moment,
}

/// What became of one token.
#[derive(Debug, Default)]
struct Fate {
    granted: Option<Moment>,
    /// An acquire of unknown outcome.
    may_be_acquired: bool,
    /// The call of the first release that was or may have been carried out.
    released_from: Option<Moment>,
    /// The call of the first release that found nothing. Who is told that holds no more, right
    /// or wrong.
    denied_from: Option<Moment>,
    /// The first reply that acknowledged its release.
    released_by: Option<Moment>,
}

/// All about one lock.
struct Story {
    key: usize,
    fates: BTreeMap<Token, Fate>,
    /// In the order of their beginnings.
    holds: Vec<Hold>,
}

impl Story {
    fn of(key: usize, events: &[&Event]) -> Self {
        let mut fates: BTreeMap<Token, Fate> = BTreeMap::new();
        for event in events {
            match &event.what {
                What::Acquire(token, told) => {
                    fates.entry(token.clone()).or_default().acquire(*told, event.replied);
                }
                What::Release(token, told) => {
                    fates.entry(token.clone()).or_default().release(*told, event);
                }
                _ => {}
            }
        }
        let hold = |(token, fate): (&Token, &Fate)| {
            let until = fate.ended_from().unwrap_or(Moment::MAX);
            fate.granted.map(|from| Hold { token: token.clone(), from, until })
        };
        let mut holds: Vec<Hold> = fates.iter().filter_map(hold).collect();
        holds.sort_by_key(|hold| hold.from);
        Self { key, fates, holds }
    }

    fn check_overlaps(&self, verdict: &mut Verdict) {
        let mut longest: Option<&Hold> = None;
        for hold in &self.holds {
            if let Some(before) = longest.filter(|before| before.until > hold.from) {
                verdict.find(Wrong::DoubleGrant, self.key, format!("{before:?}\n{hold:?}"));
            }
            if longest.is_none_or(|before| before.until < hold.until) {
                longest = Some(hold);
            }
        }
    }

    /// The hold inside of which this event lies from its call to its reply.
    fn hold_around(&self, event: &Event) -> Option<&Hold> {
        let begun = self.holds.partition_point(|hold| hold.from <= event.called);
        let last = self.holds[..begun].last()?;
        (event.replied <= last.until).then_some(last)
    }

    fn check_event(&self, event: &Event, verdict: &mut Verdict) {
        let (shown, lost) = match &event.what {
            What::Saw(Some(token)) | What::Release(token, Released::Done) => (Some(token), false),
            What::Saw(None) => (None, true),
            What::NotMine(token) => (None, self.holds_all_along(token, event)),
            What::Release(token, Released::NotHeld) => (None, self.holds_at(token, event)),
            What::Hung(_) | What::Odd(_) => {
                return verdict.find(Wrong::Answer, self.key, event);
            }
            What::Acquire(..) | What::Release(..) | What::Fence(..) => return,
        };
        let around = self.hold_around(event);
        let proof = |hold: &Hold| format!("{event}\n{hold:?}");
        match (shown, around) {
            (Some(token), Some(hold)) if *token != hold.token => {
                verdict.find(Wrong::Usurped, self.key, proof(hold));
            }
            (None, Some(hold)) if lost => verdict.find(Wrong::Lost, self.key, proof(hold)),
            (None, None) if lost && !matches!(event.what, What::Saw(_)) => {
                verdict.find(Wrong::Lost, self.key, event);
            }
            _ => {}
        }
        let since = match event.what {
            What::Saw(_) => event.called.saturating_sub(PROVISIONAL),
            _ => event.called,
        };
        if shown.is_some_and(|token| self.was_released(token, since)) {
            verdict.find(Wrong::Overturned, self.key, event);
        }
    }

    fn holds_all_along(&self, token: &Token, event: &Event) -> bool {
        let Some(fate) = self.fates.get(token) else { return false };
        let begun = fate.granted.is_some_and(|from| from <= event.called);
        begun && fate.released_from.is_none_or(|until| event.replied <= until)
    }

    /// A release that finds nothing: nothing before it may have released.
    fn holds_at(&self, token: &Token, event: &Event) -> bool {
        let Some(fate) = self.fates.get(token) else { return false };
        let begun = fate.granted.is_some_and(|from| from <= event.called);
        begun && fate.released_from.is_none_or(|until| event.called <= until)
    }

    fn was_released(&self, token: &Token, before: Moment) -> bool {
        let replied = self.fates.get(token).and_then(|fate| fate.released_by);
        replied.is_some_and(|replied| replied < before)
    }

    /// Later holds have higher fences.
    fn check_fences(&self, events: &[&Event], verdict: &mut Verdict) {
        let mut fences = BTreeMap::new();
        for event in events {
            if let What::Fence(token, fence) = &event.what {
                fences.insert(token, *fence);
            }
        }
        let mut highest = None;
        for hold in &self.holds {
            let Some(&fence) = fences.get(&hold.token) else { continue };
            if highest.is_some_and(|highest| fence <= highest) {
                let proof = format!("{fence} after {highest:?}: {hold:?}");
                verdict.find(Wrong::Fence, self.key, proof);
            }
            highest = highest.max(Some(fence));
        }
    }

    fn check_end(&self, ending: &Ending, verdict: &mut Verdict) {
        let held: Vec<&Hold> = self.holds.iter().filter(|hold| hold.until == Moment::MAX).collect();
        for hold in &held {
            let stands = ending.redis.as_ref() == Some(&(hold.token.clone(), -1));
            let known = ending.shown.as_ref() == Some(&hold.token) && ending.listed != Some(false);
            if !stands || !known {
                verdict.find(Wrong::Lost, self.key, format!("at the end {ending:?}\n{hold:?}"));
            }
        }
        let seen = ending.redis.as_ref().map(|(token, _)| token).or(ending.shown.as_ref());
        if let Some(token) = seen
            && held.is_empty()
        {
            self.check_left_over(token, ending, verdict);
        } else if seen.is_none() && held.is_empty() && ending.listed == Some(true) {
            verdict.find(Wrong::Orphan, self.key, "listed, and neither in Redis nor shown");
        }
    }

    /// Something stands at the end that nobody holds for certain.
    fn check_left_over(&self, token: &Token, ending: &Ending, verdict: &mut Verdict) {
        let proof = || format!("at the end {ending:?}, {:?}", self.fates.get(token));
        match self.fates.get(token) {
            Some(fate) if fate.released_by.is_some() => {
                verdict.find(Wrong::Overturned, self.key, proof());
            }
            Some(fate) if fate.is_open() => verdict.open.push((self.key, token.clone())),
            _ => verdict.find(Wrong::Orphan, self.key, proof()),
        }
    }
}

impl Fate {
    fn acquire(&mut self, told: Acquired, replied: Moment) {
        match told {
            Acquired::Granted => self.granted = Some(self.granted.unwrap_or(replied)),
            Acquired::Refused | Acquired::Failed => {}
            Acquired::Unknown => self.may_be_acquired = true,
        }
    }

    fn release(&mut self, told: Released, event: &Event) {
        if matches!(told, Released::Done | Released::Unknown) {
            let first = self.released_from.unwrap_or(event.called).min(event.called);
            self.released_from = Some(first);
        }
        if told == Released::NotHeld {
            let first = self.denied_from.unwrap_or(event.called).min(event.called);
            self.denied_from = Some(first);
        }
        if told == Released::Done {
            let first = self.released_by.unwrap_or(event.replied).min(event.replied);
            self.released_by = Some(first);
        }
    }

    /// From when on its client does not take it for its own.
    fn ended_from(&self) -> Option<Moment> {
        self.released_from.into_iter().chain(self.denied_from).min()
    }

    /// Its client knows that it may hold the lock or not.
    fn is_open(&self) -> bool {
        self.may_be_acquired || (self.granted.is_some() && self.released_from.is_some())
    }
}

mod tests;
