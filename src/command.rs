//! Which command, which keys, which class: one table, and the parsers of the lock forms.
//!
//! Pure. It sits between `resp`, which cuts bytes into arguments, and the router, which knows
//! the lock rules: nothing here knows which keys are locks, what mode Lockside is in, or a clock.

pub mod keys;
pub mod number;
pub mod script;
pub mod set;
pub mod subcommand;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;

pub use keys::{KeyIter, Keys};
pub use table::lookup;

use crate::resp::Args;

/// One command of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// The name in lower case.
    pub name: &'static str,
    /// Where its keys are.
    pub keys: Keys,
    /// What Lockside does with it.
    pub class: Class,
    /// How many arguments, the name included; negative: at least so many. Redis's own number.
    pub arity: i16,
}

/// What the session does with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Forwarded as it came, also on a lock key.
    Plain,
    /// Matters if one of [`Spec::lock_keys`] is a lock key; else forwarded as it came.
    Lock(LockUse),
    /// Has no keys and touches every lock of one or more databases.
    Keyspace(KeyspaceUse),
    /// Changes or asks the connection's state; the session follows it by the reply.
    State(StateUse),
}

/// What is done with a command on a lock key. The table's page says why for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockUse {
    /// `GET`: the reply is shown as the client value.
    Get,
    /// `MGET`: each value of a lock key is shown as the client value.
    Mget,
    /// `EXISTS`: a lock that Redis has lost exists all the same.
    Exists,
    /// `TTL`, `TYPE` and their kin: that of a lock that Redis has lost is the ledger's.
    Look,
    /// `SET`: see [`set::SetForm::parse`]; an acquire with NX, else an overwrite.
    Set,
    /// `SETNX`: an acquire; see [`set::SetForm::parse_setnx`].
    Setnx,
    /// `DEL`, `UNLINK`: a release of each lock key among the keys.
    Delete,
    /// `GETDEL`: a release that shows the client value.
    Getdel,
    /// Answered by running it inside Lockside's envelope, which translates values and expiries.
    Computed,
    /// Writes what is no string: [`LockUse::Computed`] on a held lock that is none, so that the ledger
    /// hears of it; else forwarded as it came.
    Content,
    /// Reads what is no string (`HGETALL`, `ZSCORE`): that of a lock that Redis has lost is the ledger's.
    /// Forwarded as it came where no lock that is no string is held.
    Inside,
    /// `EVAL` and its kin; see [`script::ScriptCall::parse`].
    Script {
        /// The script is named by its SHA1 and not given as text.
        by_sha: bool,
        /// A `_RO` form.
        read_only: bool,
    },
    /// An error reply with this advice, if any key is a lock key; nothing goes upstream.
    Refused(&'static str),
    /// As `Refused`, but only the destination counts: [`Spec::lock_keys`] gives that one alone.
    StoreRefused(&'static str),
}

/// Commands on whole databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyspaceUse {
    /// `FLUSHDB`: releases all locks of the selected database.
    FlushDb,
    /// `FLUSHALL`: releases all locks.
    FlushAll,
    /// `SWAPDB a b`: exchanges the locks of two databases.
    SwapDb,
}

/// Commands on the connection's own state, and the few that Lockside answers or adds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateUse {
    /// Begins a transaction.
    Multi,
    /// Ends a transaction and runs it.
    Exec,
    /// Ends a transaction without running it.
    Discard,
    /// Watches its keys.
    Watch,
    /// Forgets the watched keys.
    Unwatch,
    /// Chooses the database.
    Select,
    /// Authenticates.
    Auth,
    /// Protocol version, with optional AUTH and SETNAME.
    Hello,
    /// Puts the connection back to how it began.
    Reset,
    /// Closes the connection after a reply.
    Quit,
    /// `SUBSCRIBE`: one reply for each channel.
    Subscribe,
    /// `PSUBSCRIBE`: one reply for each pattern.
    Psubscribe,
    /// `SSUBSCRIBE`: one reply for each shard channel (channels, not keys).
    Ssubscribe,
    /// `UNSUBSCRIBE`: one reply for each channel left, one when there was none.
    Unsubscribe,
    /// `PUNSUBSCRIBE`, likewise.
    Punsubscribe,
    /// `SUNSUBSCRIBE`, likewise.
    Sunsubscribe,
    /// From here on the server streams commands.
    Monitor,
    /// `SYNC`, `PSYNC`: from here on the bytes are a replication stream, no replies.
    Sync,
    /// `REPLCONF`: some of its forms (`ACK`) have no reply at all.
    Replconf,
    /// `CLIENT`: see [`subcommand::client`].
    Client,
    /// `SCRIPT`: see [`subcommand::script`].
    Script,
    /// `INFO`: Lockside adds its section.
    Info,
    /// `LOCKSIDE`: answered here, never sent upstream.
    Lockside,
}

impl Spec {
    /// Whether Redis accepts a command of `count` arguments, the name included.
    pub fn takes(&self, count: usize) -> bool {
        let least = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { count >= least } else { count == least }
    }

    /// The keys of `args` in Redis's order; none when the command is malformed, so that it is
    /// forwarded and Redis's own error comes out.
    pub fn keys<'a>(&'static self, args: Args<'a>) -> KeyIter<'a> {
        if self.takes(args.len()) { self.keys.of(args) } else { KeyIter::none(args) }
    }

    /// The keys that make [`Spec::class`] matter when they are lock keys: all keys, but only the
    /// destination for [`LockUse::StoreRefused`], whose sources may be lock keys.
    pub fn lock_keys<'a>(&'static self, args: Args<'a>) -> KeyIter<'a> {
        let keys = self.keys(args);
        let stores = matches!(self.class, Class::Lock(LockUse::StoreRefused(_)));
        let well_formed = keys.clone().next().is_some();
        if stores && well_formed { self.keys.destination_of(args) } else { keys }
    }

    /// True when argument 1 is the only key, or there are none: a frame can then be classified,
    /// and streamed, before it is complete.
    pub fn first_key_decides(&self) -> bool {
        matches!(self.keys, Keys::None | Keys::Range { first: 1, last: 1, .. })
    }
}

/// Every command of the table.
pub fn all() -> &'static [Spec] {
    table::TABLE
}

#[cfg(test)]
mod tests;
