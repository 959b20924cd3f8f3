//! What the control thread ends: holds that are older than their rule's `max_hold` (SPEC 7), and
//! holds of `ttl` rules that have run out for longer than clocks may differ (SPEC 3).
//!
//! Both go by the ledger, like any release; Redis follows by a repair. A few at a time, so that a
//! rule that was just made shorter does not fill the ledger's queue.

use std::time::Duration;

use crate::ledger::{Ask, Asker, Cause};
use crate::lock::record::{LockKey, Record};
use crate::lock::rule::{Mode, Rules};
use crate::session::Shared;

/// Between two sweeps where a rule gives locks an end...
const OFTEN: Duration = Duration::from_secs(1);
/// ...and where none does: what is found then is from another configuration.
const SELDOM: Duration = Duration::from_secs(5);
/// Holds that one sweep ends at most.
const MOST: usize = 100;

/// Ends what is over.
pub(super) struct Sweeper {
    /// The shortest `max_hold` of all rules, in milliseconds.
    shortest_ms: Option<u64>,
    has_ttl: bool,
    /// How far clocks may be apart, in milliseconds.
    skew_ms: u64,
}

impl Sweeper {
    pub(super) fn new(rules: &Rules, max_clock_skew: Duration) -> Self {
        Self {
            shortest_ms: rules.iter().filter_map(|(_, rule)| rule.max_hold).min().map(millis),
            has_ttl: rules.iter().any(|(_, rule)| rule.mode == Mode::Ttl),
            skew_ms: millis(max_clock_skew),
        }
    }

    /// Between two sweeps.
    pub(super) fn period(&self) -> Duration {
        if self.has_ttl || self.shortest_ms.is_some() { OFTEN } else { SELDOM }
    }

    /// One sweep. The ledger writes it when it can; what waits there is not asked for again.
    pub(super) fn sweep(&self, shared: &Shared) {
        let now_ms = shared.clock.unix_ms();
        let has_run_out = |_: &LockKey, record: &Record| has_run_out(record, now_ms, self.skew_ms);
        self.end(Cause::Expired, has_run_out, shared, now_ms);
        if let Some(shortest_ms) = self.shortest_ms {
            let is_overdue = |key: &LockKey, record: &Record| {
                // Before the rule is looked for: most locks are young.
                now_ms.saturating_sub(record.granted_at_ms) > shortest_ms
                    && is_overdue(key, record, &shared.rules, now_ms)
            };
            self.end(Cause::MaxHold, is_overdue, shared, now_ms);
        }
    }

    fn end(
        &self,
        cause: Cause,
        is_over: impl Fn(&LockKey, &Record) -> bool,
        shared: &Shared,
        now_ms: u64,
    ) {
        for (key, record) in shared.table.some_where(MOST, is_over) {
            let Some(claim) = record.claim.filter(|_| !shared.door.is_releasing(&key)) else {
                continue;
            };
            let ask = Ask::Release(key.clone(), claim, cause);
            if shared.door.submit(Asker::Nobody, vec![ask]).is_err() {
                // Too much waits already; there is another sweep.
                return;
            }
            if cause == Cause::MaxHold {
                tracing::warn!(
                    key = %String::from_utf8_lossy(key.key()),
                    db = key.db(),
                    rule = %record.rule,
                    holder = %record.client,
                    held_seconds = now_ms.saturating_sub(record.granted_at_ms) / 1000,
                    "a lock was held for longer than max_hold and is released"
                );
            }
            match record.other {
                Some(guard) => shared.repairs.touch_ended(&key, guard),
                None => shared.repairs.touch(&key),
            }
        }
    }
}

/// A hold of a `ttl` rule that every clock says is over.
fn has_run_out(record: &Record, now_ms: u64, skew_ms: u64) -> bool {
    record.claim.is_some()
        && record.expires_at_ms.is_some_and(|at| at.saturating_add(skew_ms) < now_ms)
}

/// A hold that is older than its rule allows.
fn is_overdue(key: &LockKey, record: &Record, rules: &Rules, now_ms: u64) -> bool {
    let longest = rules.find(key.key()).and_then(|rule| rule.max_hold);
    record.claim.is_some()
        && longest.is_some_and(|max| now_ms.saturating_sub(record.granted_at_ms) > millis(max))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Position;
    use crate::lock::record::Confidence;
    use crate::lock::rule::{Glob, Rule};

    fn record(granted_at_ms: u64, expires_at_ms: Option<u64>) -> Record {
        Record {
            stored: b"v"[..].into(),
            rule: "r".into(),
            granted_at_ms,
            asked_ttl_ms: None,
            confidence: Confidence::Held,
            client: "c".into(),
            expires_at_ms,
            claim: Some(Position { log: 1, seq: 2 }),
            fence: Some(1),
            other: None,
            marker: None,
        }
    }

    #[test]
    fn only_what_is_older_than_its_own_rule_allows() {
        let short = Rule {
            max_hold: Some(Duration::from_secs(1)),
            ..Rule::new("short", vec![Glob::new(b"lock:s*")])
        };
        let rules = Rules::new(vec![short, Rule::new("none", vec![Glob::new(b"lock:*")])]);
        let over = |key: &str, granted, now| {
            is_overdue(&LockKey::new(0, key.as_bytes()), &record(granted, None), &rules, now)
        };
        assert!(over("lock:s", 0, 1001) && !over("lock:s", 0, 1000));
        assert!(!over("lock:n", 0, 1_000_000) && !over("none", 0, 1_000_000));
        // A clock that went back.
        assert!(!over("lock:s", 5000, 1000));
    }

    #[test]
    fn what_ran_out_is_over_when_all_clocks_say_so() {
        let over = |expires, now| has_run_out(&record(0, expires), now, 100);
        assert!(over(Some(1000), 1101) && !over(Some(1000), 1100) && !over(None, u64::MAX));
    }
}
