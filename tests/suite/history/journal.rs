//! What all clients of one run share: the clock, the events, and the locks that nobody is sure of.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use super::event::{Event, Moment, Token, What};

/// The journal of one run.
pub(crate) struct Journal {
    start: Instant,
    events: Mutex<Vec<Event>>,
    doubtful: Mutex<BTreeSet<Token>>,
    over: AtomicBool,
    /// Nobody notifies it: it is what a pause waits for.
    never: (Mutex<()>, Condvar),
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            events: Mutex::default(),
            doubtful: Mutex::default(),
            over: AtomicBool::new(false),
            never: (Mutex::default(), Condvar::new()),
        }
    }

    /// Microseconds since the run began.
    pub(crate) fn now(&self) -> Moment {
        Moment::try_from(self.start.elapsed().as_micros()).unwrap()
    }

    /// Notes a call that is over now.
    pub(crate) fn note(
        &self,
        client: usize,
        key: usize,
        called: Moment,
        how: &'static str,
        what: What,
    ) {
        let replied = self.now();
        self.events.lock().unwrap().push(Event { client, key, called, replied, how, what });
    }

    /// All events so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// Its client has given this token up and does not know whether it holds.
    pub(crate) fn doubt(&self, token: Token) {
        self.doubtful.lock().unwrap().insert(token);
    }

    /// True for one who may end what such a token holds, as a person would.
    pub(crate) fn takes_over(&self, token: &str) -> bool {
        self.doubtful.lock().unwrap().remove(token)
    }

    /// From now on nobody begins anything.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Work that takes this long: what clients do with a lock, or how long a fault lasts.
    pub(crate) fn pass(&self, time: Duration) {
        let guard = self.never.0.lock().unwrap();
        drop(self.never.1.wait_timeout_while(guard, time, |()| true));
    }
}
