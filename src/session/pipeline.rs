//! What a session still expects from Redis, in order. Pure.
//!
//! Commands that need nothing but their reply passed on are counted in runs, so that a pipeline
//! of 100,000 of them is one entry.

use std::collections::VecDeque;

use super::state::Change;

/// How many entries may be outstanding before no more commands are taken from the client.
///
/// Runs make one entry of any number of plain commands, so only a pipeline of tens of thousands
/// of state-changing commands gets here; it then goes on in step with Redis.
const MAX_ENTRIES: usize = 16 * 1024;

/// What the next bytes from Redis answer.
#[derive(Debug)]
pub(crate) enum Expectation {
    /// This many replies that are passed on as they come.
    Plain(u64),
    /// One reply that changes the session's state if it reports success.
    Change(Change),
}

impl Expectation {
    /// True for a command that Redis answers before any other it gets later: on the connection's
    /// state, or an EXEC, which keeps everybody else waiting while it runs.
    pub(crate) fn is_quick(&self) -> bool {
        matches!(self, Self::Change(change) if !matches!(change, Change::Block(_)))
    }
}

/// The outstanding replies of one session.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    entries: VecDeque<Expectation>,
    /// Entries that were answered so far.
    done: u64,
}

impl Pipeline {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_ENTRIES
    }

    pub(crate) fn head(&self) -> Option<&Expectation> {
        self.entries.front()
    }

    pub(crate) fn head_change(&mut self) -> Option<&mut Change> {
        match self.entries.front_mut() {
            Some(Expectation::Change(change)) => Some(change),
            _ => None,
        }
    }

    pub(crate) fn expect_plain(&mut self) {
        if let Some(Expectation::Plain(count)) = self.entries.back_mut() {
            *count += 1;
        } else {
            self.entries.push_back(Expectation::Plain(1));
        }
    }

    pub(crate) fn expect(&mut self, change: Change) {
        self.entries.push_back(Expectation::Change(change));
    }

    /// `count` plain replies have come.
    pub(crate) fn plain_done(&mut self, count: u64) {
        if let Some(Expectation::Plain(left)) = self.entries.front_mut() {
            *left = left.saturating_sub(count);
            if *left == 0 {
                self.pop();
            }
        }
    }

    /// The reply of the change at the head has come.
    pub(crate) fn change_done(&mut self) -> Option<Change> {
        match self.pop() {
            Some(Expectation::Change(change)) => Some(change),
            Some(plain) => {
                self.entries.push_front(plain);
                None
            }
            None => None,
        }
    }

    /// True if all that is outstanding is one command that blocks on companions.
    pub(crate) fn only_blocks_on_companions(&self) -> bool {
        let blocks =
            |entry: &Expectation| matches!(entry, Expectation::Change(Change::Block(Some(_))));
        self.entries.len() == 1 && self.entries.iter().all(blocks)
    }

    /// The changes that are outstanding, in their order.
    pub(crate) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.entries.iter().filter_map(|entry| match entry {
            Expectation::Change(change) => Some(change),
            Expectation::Plain(_) => None,
        })
    }

    /// The place of a MULTI whose EXEC or DISCARD was not sent yet, among the replies that are
    /// outstanding.
    pub(crate) fn open_multi(&self) -> Option<u64> {
        let (mut place, mut open) = (0, None);
        for entry in &self.entries {
            match entry {
                Expectation::Change(Change::Multi) => open = Some(place),
                Expectation::Change(Change::Exec | Change::Discard | Change::Reset) => open = None,
                _ => {}
            }
            place += match entry {
                Expectation::Plain(count) => *count,
                Expectation::Change(_) => 1,
            };
        }
        open
    }

    /// Forgets everything; gives how many replies will never come.
    pub(crate) fn abandon(&mut self) -> u64 {
        let count = self.entries.drain(..).map(|entry| match entry {
            Expectation::Plain(count) => count,
            Expectation::Change(_) => 1,
        });
        let count = count.sum();
        self.entries.shrink_to_fit();
        count
    }

    /// A number that grows with the entries that are answered.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    fn pop(&mut self) -> Option<Expectation> {
        self.done += 1;
        let entry = self.entries.pop_front();
        // An idle client holds no buffer.
        if self.entries.is_empty() && self.entries.capacity() > 8 {
            self.entries.shrink_to_fit();
        }
        entry
    }
}
