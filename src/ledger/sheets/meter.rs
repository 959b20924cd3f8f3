//! What calls have cost: how long each took, and how Google has refused it. Only for measurements; the
//! ledger itself keeps nothing of it.

use std::time::Duration;

use google_sheets4::common::{self, Retry};

use super::errors::Failure;
use super::quota::Kind;

/// One call, as it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) kind: Kind,
    /// When it was sent, by the caller's pace.
    pub(super) at: Duration,
    pub(super) took: Duration,
    pub(super) end: End,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    /// 429: what Google said, and its Retry-After if it has sent one.
    Refused(String, Option<String>),
    Failed,
}

/// Calls, in their order.
#[derive(Debug, Default)]
pub(super) struct Meter(Vec<Sample>);

impl Meter {
    /// A call has ended now.
    pub(super) fn note(
        &mut self,
        kind: Kind,
        at: Duration,
        now: Duration,
        failure: Option<&Failure>,
        watch: Watch,
    ) {
        let end = match failure {
            None => End::Answered,
            Some(failure) if failure.is(429) => {
                End::Refused(failure.text.clone(), watch.retry_after)
            }
            Some(_) => End::Failed,
        };
        self.0.push(Sample { kind, at, took: now.saturating_sub(at), end });
    }

    /// All calls since the last time.
    pub(super) fn take(&mut self) -> Vec<Sample> {
        std::mem::take(&mut self.0)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn last(&self) -> Option<&Sample> {
        self.0.last()
    }
}

/// Reads what the library's errors have lost. It never lets the library try again.
#[derive(Debug, Default)]
pub(super) struct Watch {
    retry_after: Option<String>,
}

/// The longest Retry-After that is kept, in characters.
const LONGEST: usize = 64;

impl common::Delegate for Watch {
    fn http_failure(
        &mut self,
        response: &common::Response,
        _: Option<&serde_json::Value>,
    ) -> Retry {
        let header = response.headers().get("retry-after");
        let text = header.and_then(|value| value.to_str().ok());
        self.retry_after = text.map(|text| text.chars().take(LONGEST).collect());
        Retry::Abort
    }
}
