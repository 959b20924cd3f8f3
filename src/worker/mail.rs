//! What other threads have to tell a worker: answers of the ledger, and that the mode has changed.
//!
//! The only place where a worker meets another thread. Nothing of it is on the path of a command
//! that is no lock's.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mio::Waker;

use crate::ledger::{Answer, Told};
use crate::session::flights::SessionId;

/// What a session is told.
#[derive(Debug)]
pub enum Letter {
    /// The ledger's answer.
    Answer(Answer),
    /// The ledger's answer to a question about a lock.
    Told(Told),
    /// A companion key that it may block on has changed.
    Bell,
}

/// One worker's mailbox. It holds no more letters than its sessions have asked questions, which
/// is at most a few for each connection.
#[derive(Debug, Default)]
pub struct Mailbox {
    letters: Mutex<Vec<(SessionId, Letter)>>,
    waker: OnceLock<Waker>,
}

impl Mailbox {
    /// Who is to be woken.
    pub(super) fn belongs_to(&self, waker: Waker) {
        // A mailbox has one worker.
        drop(self.waker.set(waker));
    }

    /// Puts these in, and wakes the worker.
    pub fn put(&self, letters: impl IntoIterator<Item = (SessionId, Letter)>) {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).extend(letters);
        self.wake();
    }

    /// Has the worker look around.
    pub fn wake(&self) {
        // Before the worker stands, it will look by itself.
        if let Some(waker) = self.waker.get()
            && let Err(error) = waker.wake()
        {
            tracing::error!(%error, "can't wake a worker");
        }
    }

    pub(super) fn take(&self) -> Vec<(SessionId, Letter)> {
        std::mem::take(&mut *self.letters.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The mailboxes of all workers, by their number.
pub type Mailboxes = Arc<[Mailbox]>;
