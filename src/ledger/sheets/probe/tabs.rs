//! The tabs of a probe: what they are called, and their end.

use std::time::Duration;

use super::pace::Clock;
use crate::ledger::sheets::api::{Api, Ask};
use crate::ledger::sheets::errors::Failure;
use crate::ledger::sheets::meter::Sample;
use crate::ledger::sheets::quota::Gate;
use crate::ledger::sheets::{FIRST_REGISTRY, Settings, requests};
use crate::ledger::store::Applied;

/// Digits of a probe's number.
const DIGITS: usize = 8;
/// How long removing may wait for the quota and after refusals, in all.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often removing is tried: each time looks at what is there first.
const TRIES: usize = 4;

/// Whoever removes tabs. The limit of the probe does not hold for it, and no word stops it.
pub(super) struct Janitor {
    api: Api,
    ledger: String,
    patience: Duration,
}

impl Janitor {
    pub(super) fn new(settings: &Settings, gate: &Gate, clock: &Clock) -> Result<Self, Failure> {
        let mut api = Api::new(settings, Box::new(clock.time))?;
        api.join(gate);
        Ok(Self { api, ledger: settings.ledger.clone(), patience: PATIENCE })
    }

    /// A name for the ledger of a probe. The blanks in it are why no ledger that is configured has it.
    pub(super) fn name(&mut self) -> String {
        // The lower half is random enough for the few that there are.
        let number = self.api.random() & 0xffff_ffff;
        format!("{}{number:0DIGITS$x}", prefix(&self.ledger))
    }

    /// Removes what probes have left; with a name, the tabs of that one alone. How many it were.
    pub(super) fn remove(&mut self, name: Option<&str>) -> Result<usize, Failure> {
        let tabs = self.api.call(&Ask::Tabs, true, &mut self.patience)?;
        let is_meant = |id: i32, title: &str| {
            i64::from(id) >= i64::try_from(FIRST_REGISTRY).unwrap_or(i64::MAX)
                && probe_of(title, &self.ledger)
                    .is_some_and(|probe| name.is_none_or(|name| name == probe))
        };
        let meant = tabs.iter().filter(|(id, tab)| is_meant(**id, &tab.title));
        let batch: Vec<_> = meant.map(|(id, _)| requests::delete(*id)).collect();
        let count = batch.len();
        if count > 0 {
            self.api.call(&Ask::Write(batch, Vec::new()), false, &mut self.patience)?;
        }
        Ok(count)
    }

    /// Removes the tabs of this probe, as often as it takes. What may still be there, in words.
    pub(super) fn clean_up(&mut self, name: &str) -> Vec<String> {
        let mut said = Vec::new();
        for _ in 0..TRIES {
            match self.remove(Some(name)) {
                Ok(0) => return Vec::new(),
                // It was told to Google, and is looked at again.
                Ok(_) => {}
                Err(failure) => {
                    let is_known = failure.applied == Applied::No && failure.is(403);
                    said = vec![failure.text];
                    if is_known {
                        break;
                    }
                }
            }
        }
        said
    }

    /// Calls since the last time.
    pub(super) fn samples(&mut self) -> Vec<Sample> {
        self.api.meter().map(|meter| meter.take()).unwrap_or_default()
    }
}

fn prefix(ledger: &str) -> String {
    format!("{ledger} probe ")
}

/// The name of the probe that has made a tab of this title.
fn probe_of<'a>(title: &'a str, ledger: &str) -> Option<&'a str> {
    let rest = title.strip_prefix(&prefix(ledger))?;
    let (number, what) = rest.split_once(' ')?;
    let is_number = number.len() == DIGITS && number.bytes().all(|b| b.is_ascii_hexdigit());
    let is_log = what.strip_prefix("log ").is_some_and(|id| id.parse::<u32>().is_ok());
    let is_ours = is_log || ["registry", "checkpoint 0"].contains(&what);
    (is_number && is_ours).then(|| &title[..title.len() - what.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tabs_of_a_probe_are_taken_for_one() {
        let probe = |title: &str| probe_of(title, "lockside").map(str::to_owned);
        let name = "lockside probe 00ab34ff";
        for what in ["registry", "checkpoint 0", "log 1234567"] {
            assert_eq!(probe(&format!("{name} {what}")).as_deref(), Some(name), "{what}");
        }
        for title in [
            "lockside registry",
            "lockside log 1234567",
            "lockside probe notes",
            "lockside probe 00ab34ff",
            "lockside probe 00ab34ff notes",
            "lockside probe 00ab34ff log x",
            "other probe 00ab34ff registry",
        ] {
            assert_eq!(probe(title), None, "{title}");
        }
    }
}
