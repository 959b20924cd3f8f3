//! How a pass goes through the keys of Redis: SCAN, a step at a time. Pure.

use crate::lock::record::LockKey;

use super::super::command::{Body, Command};
use super::{Pass, UnderWay};

/// A SCAN of one database for one glob.
#[derive(Debug, Clone)]
pub(super) struct Scan {
    pub(super) db: u32,
    pub(super) pattern: Vec<u8>,
    pub(super) cursor: u64,
}

impl Pass {
    /// The next step, if any is left.
    pub(super) fn scan(&mut self) -> Option<Command> {
        self.scan_steps = self.scan_steps.checked_sub(1)?;
        let scan = self.scans.pop_front()?;
        let body = Body::Scan { cursor: scan.cursor, pattern: scan.pattern.clone() };
        let command = Command { db: scan.db, body };
        self.under_way = UnderWay::Scan(scan);
        Some(command)
    }

    /// What a step has found.
    pub(super) fn scanned(&mut self, scan: Scan, cursor: u64, keys: Vec<Vec<u8>>) {
        let rules = &self.policy.rules;
        let locks = keys.iter().filter(|key| rules.find_id(key).is_some());
        let locks = locks.map(|key| LockKey::new(scan.db, key));
        let new = locks.filter(|key| !self.settled.contains_key(key) && !self.later.contains(key));
        self.queue.extend(new);
        if cursor != 0 {
            self.scans.push_front(Scan { cursor, ..scan });
        }
    }
}
