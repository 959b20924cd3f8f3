//! What a client did and was told, with times from one clock: the input of the checker.
//!
//! It only names things. `checker` judges them, `player` makes them.

use std::fmt;
use std::sync::Arc;

/// Microseconds since the run began, by one monotonic clock for all clients.
pub(crate) type Moment = u64;

/// The unique client value of one acquire.
pub(crate) type Token = Arc<str>;

/// One call and its reply.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// Number of the client.
    pub(crate) client: usize,
    /// Number of the lock.
    pub(crate) key: usize,
    /// Before the first byte was sent.
    pub(crate) called: Moment,
    /// After the reply was read, or the connection was seen to have gone.
    pub(crate) replied: Moment,
    /// How it was asked, for people.
    pub(crate) how: &'static str,
    pub(crate) what: What,
}

/// What was asked, and what was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// An acquire with this token.
    Acquire(Token, Acquired),
    /// A release of what this token holds.
    Release(Token, Released),
    /// The key was read: its client value, or none.
    Saw(Option<Token>),
    /// The holder asked by its token and was told that the lock is not its own.
    NotMine(Token),
    /// The holder asked for its fence.
    Fence(Token, u64),
    /// No answer came in all the time that a client waits.
    Hung(String),
    /// An answer that the command never has.
    Odd(String),
}

/// What an acquire was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acquired {
    Granted,
    /// Another holds it.
    Refused,
    /// An error that says that nothing was acquired.
    Failed,
    /// An error that says no more, or no reply at all.
    Unknown,
}

/// What a release was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Released {
    Done,
    /// Nothing was held by it.
    NotHeld,
    /// An error that says that nothing was done.
    Failed,
    /// An error that says no more, or no reply at all.
    Unknown,
}

/// One lock after the run, with all faults undone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending {
    /// What Redis has: the stored value as a client sees it, and `PTTL`.
    pub(crate) redis: Option<(Token, i64)>,
    /// What `GET` through the subject says.
    pub(crate) shown: Option<Token>,
    /// Whether `LOCKSIDE LOCKS` lists it; none where nobody keeps a list.
    pub(crate) listed: Option<bool>,
}

impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, key, called, replied, how, what } = self;
        write!(out, "{called:>9} .. {replied:>9} us  client {client}  key {key}  {how}: {what:?}")
    }
}
