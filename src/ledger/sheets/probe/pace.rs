//! The time that a probe has: until it is told to stop, or its limit is reached.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::ledger::sheets::{Pace, RealPace};

/// Tells a probe to stop: no call is made from then on but those that remove its tabs.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Now. Whoever waits goes on at once.
    pub fn stop(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// True once it was told.
    pub fn is_told(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, time: Duration) {
        let told = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Woken or not: whoever waits looks for himself.
        drop(self.0.1.wait_timeout_while(told, time, |told| !*told));
    }
}

/// One clock for all who take part.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    pub(super) time: RealPace,
    end: Duration,
    pub(super) stop: Stop,
}

impl Clock {
    pub(super) fn new(stop: &Stop, limit: Duration) -> Self {
        let time = RealPace::default();
        Self { end: time.now() + limit, time, stop: stop.clone() }
    }
}

impl Pace for Clock {
    fn now(&self) -> Duration {
        self.time.now()
    }

    fn wait(&mut self, time: Duration) {
        self.stop.wait(time.min(self.end.saturating_sub(self.now())));
    }

    fn is_over(&self) -> bool {
        self.stop.is_told() || self.now() >= self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_ends_waits_and_so_does_a_word() {
        let stop = Stop::default();
        let mut short = Clock::new(&stop, Duration::ZERO);
        short.wait(Duration::from_secs(3_600));
        assert!(short.is_over() && !stop.is_told());
        let mut long = Clock::new(&stop, Duration::from_secs(3_600));
        assert!(!long.is_over());
        stop.stop();
        long.wait(Duration::from_secs(3_600));
        assert!(long.is_over());
    }
}
