//! Redis up for 300 ms and down for 300 ms, again and again: the mode does not follow each of them
//! (SPEC 2).

use std::time::{Duration, Instant};

use super::{A, Stage, answer, bulk};
use crate::support::{Client, Trouble};

const LASTS: Duration = Duration::from_secs(20);
const HALF: Duration = Duration::from_millis(300);
/// Far below the 33 outages; above one outage with a look at recovery.
const MOST_CHANGES: usize = 8;

#[test]
fn flapping_changes_the_mode_a_few_times_only() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    let mut watcher = stage.subject.client();
    let (mut last, mut changes) = (watcher.ask("LOCKSIDE MODE"), Vec::new());
    let end = Instant::now() + LASTS;
    while Instant::now() < end {
        for trouble in [Trouble::Refuse, Trouble::None] {
            stage.relay.set(trouble);
            stage.relay.reset();
            let until = Instant::now() + HALF;
            while Instant::now() < until {
                note_change(&mut watcher, &mut last, &mut changes);
                assert_eq!(answer(&mut stage.holder, "GET lock:a"), bulk(A));
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
    }
    assert!(changes.len() <= MOST_CHANGES, "{changes:?}");
    stage.assert_recovers_with(&[("lock:a", A)]);
}

fn note_change(watcher: &mut Client, last: &mut String, changes: &mut Vec<String>) {
    let mode = watcher.ask("LOCKSIDE MODE");
    let word = |text: &str| {
        ["healthy", "degraded", "recovering", "blocked"]
            .iter()
            .find(|word| text.contains(**word))
            .map_or_else(|| text.to_owned(), |word| (*word).to_owned())
    };
    if word(&mode) != word(last) {
        changes.push(word(&mode));
    }
    *last = mode;
}
