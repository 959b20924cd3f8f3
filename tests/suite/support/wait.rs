//! Waiting for a condition, with a deadline. No test sleeps for a fixed time.

use std::time::{Duration, Instant};

/// How long a test waits for what should be there in milliseconds, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(2);

/// Waits until `condition` holds; panics with `what` after `PATIENCE`.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    poll_for(what, PATIENCE, || condition().then_some(()));
}

/// Waits until `probe` has a value; panics with `what` after `patience`.
pub(crate) fn poll_for<T>(
    what: &str,
    patience: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain for: {what}");
        std::thread::park_timeout(STEP);
    }
}
