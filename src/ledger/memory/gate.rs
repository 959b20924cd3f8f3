//! What a store hangs on, until a test opens it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Closed when made. Clones are the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug, Default)]
struct State {
    is_open: bool,
    waiting: usize,
}

impl Gate {
    /// Lets everyone through, now and later.
    pub fn open(&self) {
        let (state, changed) = &*self.0;
        state.lock().unwrap_or_else(PoisonError::into_inner).is_open = true;
        changed.notify_all();
    }

    /// Waits until somebody hangs on the closed gate.
    pub fn wait_for_a_visitor(&self) {
        let (state, changed) = &*self.0;
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_while(state, |state| state.waiting == 0));
    }

    pub(super) fn wait(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting += 1;
        changed.notify_all();
        let waited = changed.wait_while(state, |state| !state.is_open);
        waited.unwrap_or_else(PoisonError::into_inner).waiting -= 1;
    }
}
