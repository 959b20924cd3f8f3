//! Quotas: calls a minute, for each account and for the project, reads and writes by themselves.
//!
//! <https://developers.google.com/workspace/sheets/api/limits>: "refilled every minute".

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{ApiError, Result};

/// Calls that are allowed in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Reads of one account.
    pub reads_per_user: u32,
    /// Writes of one account.
    pub writes_per_user: u32,
    /// Reads of the project.
    pub reads_per_project: u32,
    /// Writes of the project.
    pub writes_per_project: u32,
}

impl Default for Quota {
    /// Google's defaults.
    fn default() -> Self {
        Self {
            reads_per_user: 60,
            writes_per_user: 60,
            reads_per_project: 300,
            writes_per_project: 300,
        }
    }
}

impl Quota {
    /// No limit that a test would meet.
    pub fn unlimited() -> Self {
        Self {
            reads_per_user: u32::MAX,
            writes_per_user: u32::MAX,
            reads_per_project: u32::MAX,
            writes_per_project: u32::MAX,
        }
    }
}

/// What was used in the minute that runs.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    minute: u64,
    used: BTreeMap<(bool, Option<String>), u32>,
}

impl Meter {
    /// Charges one call.
    ///
    /// # Errors
    /// 429 where a limit is reached; the call is not charged then.
    pub(crate) fn charge(
        &mut self,
        quota: &Quota,
        now: Duration,
        write: bool,
        account: &str,
        project: u64,
    ) -> Result<()> {
        let minute = now.as_secs() / 60;
        if minute != self.minute {
            (self.minute, self.used) = (minute, BTreeMap::new());
        }
        let (kind, user_limit, project_limit) = if write {
            ("Write", quota.writes_per_user, quota.writes_per_project)
        } else {
            ("Read", quota.reads_per_user, quota.reads_per_project)
        };
        let user = (write, Some(account.to_owned()));
        let used = |key: &(bool, Option<String>)| self.used.get(key).copied().unwrap_or(0);
        if used(&user) >= user_limit {
            return Err(ApiError::quota(kind, true, user_limit, project));
        }
        if used(&(write, None)) >= project_limit {
            return Err(ApiError::quota(kind, false, project_limit, project));
        }
        *self.used.entry(user).or_default() += 1;
        *self.used.entry((write, None)).or_default() += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_is_full_again_with_the_minute() {
        let (quota, mut meter) = (Quota::default(), Meter::default());
        let mut charge =
            |second, write, who| meter.charge(&quota, Duration::from_secs(second), write, who, 7);
        assert!((0..60).all(|_| charge(1, true, "a").is_ok()));
        let refused = charge(59, true, "a").unwrap_err();
        assert_eq!((refused.code, refused.status), (429, "RESOURCE_EXHAUSTED"));
        assert_eq!(
            refused.message,
            "Quota exceeded for quota metric 'Write requests' and limit 'Write requests per minute per \
             user' of service 'sheets.googleapis.com' for consumer 'project_number:7'."
        );
        let metadata = &refused.details[0]["metadata"];
        assert_eq!(metadata["quota_limit"], "WriteRequestsPerMinutePerUser");
        assert_eq!(metadata["quota_unit"], "1/min/{project}/{user}");
        assert!(charge(59, false, "a").is_ok() && charge(59, true, "b").is_ok());
        assert!(charge(60, true, "a").is_ok());
    }

    #[test]
    fn the_project_has_a_limit_of_its_own() {
        let (quota, mut meter) = (Quota::default(), Meter::default());
        let accounts = ["a", "b", "c", "d", "e"];
        for who in accounts {
            assert!((0..60).all(|_| meter.charge(&quota, Duration::ZERO, false, who, 7).is_ok()));
        }
        let refused = meter.charge(&quota, Duration::ZERO, false, "f", 7).unwrap_err();
        assert!(
            refused.message.contains("limit 'Read requests per minute' of"),
            "{}",
            refused.message
        );
        assert_eq!(
            refused.details[0]["metadata"]["quota_limit"],
            "ReadRequestsPerMinutePerProject"
        );
    }
}
