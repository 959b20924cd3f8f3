//! Time: the machine's, or one that a test moves. Nothing else here asks for the time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// The emulator's clock; clones show the same time.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    started: Instant,
    epoch: Duration,
    manual: Option<watch::Sender<Duration>>,
}

impl Clock {
    /// A clock that starts now; with `manual` it stands still until it is moved.
    pub(crate) fn new(manual: bool) -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let manual = manual.then(|| watch::Sender::new(Duration::ZERO));
        Self { started: Instant::now(), epoch, manual }
    }

    /// Time since the start.
    pub(crate) fn now(&self) -> Duration {
        match &self.manual {
            Some(time) => *time.borrow(),
            None => self.started.elapsed(),
        }
    }

    /// Seconds since 1970.
    pub(crate) fn wall(&self) -> u64 {
        (self.epoch + self.now()).as_secs()
    }

    /// Moves a manual clock; another goes its own way.
    pub(crate) fn advance(&self, by: Duration) {
        if let Some(time) = &self.manual {
            time.send_modify(|now| *now += by);
        }
    }

    /// Waits until this much time has passed.
    pub(crate) async fn wait(&self, by: Duration) {
        if by.is_zero() {
            return;
        }
        match &self.manual {
            None => tokio::time::sleep(by).await,
            Some(time) => {
                let due = *time.borrow() + by;
                // The sender lives as long as this clock, so waiting does not fail.
                let _ = time.subscribe().wait_for(|now| *now >= due).await;
            }
        }
    }
}
