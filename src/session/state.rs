//! The state that Redis keeps for a connection, followed on its replies. Pure.
//!
//! Lockside never guesses: a command that changes state is noted as a [`Change`] when it is sent,
//! and takes effect here when Redis's reply says that it did. Lock commands wait until nothing is
//! outstanding, so what they see is exact.

use std::sync::Arc;
use std::time::Duration;

use crate::lock::record::{LockKey, Position};
use crate::resp::encode::{self, Protocol};

/// What a command will have changed once Redis reports success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Select(u32),
    Auth(Credentials),
    Hello(Hello),
    SetName(Vec<u8>),
    /// CLIENT SETINFO, kept as it was sent: LIB-NAME or LIB-VER and its value.
    SetInfo(Vec<u8>, Vec<u8>),
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    Reset,
    Monitor,
    /// CLIENT TRACKING, NO-EVICT and the like: nothing that Lockside follows, but a new link
    /// would not have it.
    Lasting,
    Reply(ReplyMode),
    /// SUBSCRIBE and its kin: confirmations still to come.
    Subscribe(usize),
    /// UNSUBSCRIBE and its kin: confirmations still to come, if they were counted; without
    /// arguments there are as many as there are subscriptions when Redis gets to it.
    Unsubscribe(Topic, Option<u64>),
    ScriptLoad(Vec<u8>),
    ScriptFlush,
    /// BLPOP and its kin, which may have no reply for a long time; kept if all its keys are
    /// companions, to be carried over an outage, with the time when it was sent.
    Block(Option<(Vec<Vec<u8>>, Duration)>),
}

impl Change {
    /// True for what Redis carries out at once inside MULTI, where all else is queued.
    fn is_immediate(&self) -> bool {
        matches!(self, Self::Multi | Self::Exec | Self::Discard | Self::Watch | Self::Reset)
    }

    /// True for what is confirmed by messages, each with a count in it.
    pub(crate) fn is_subscription(&self) -> bool {
        matches!(self, Self::Subscribe(_) | Self::Unsubscribe(..))
    }
}

/// What AUTH or HELLO … AUTH named. Kept to open another link in the client's name.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// None for `AUTH password`, the default user.
    pub(crate) user: Option<Vec<u8>>,
    pub(crate) password: Vec<u8>,
}

impl Credentials {
    /// The user that they name.
    pub(crate) fn user(&self) -> &[u8] {
        self.user.as_deref().unwrap_or(b"default")
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// HELLO's arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    /// None for `HELLO` alone, which only asks.
    pub(crate) protocol: Option<Protocol>,
    pub(crate) auth: Option<Credentials>,
    pub(crate) name: Option<Vec<u8>>,
}

/// CLIENT REPLY's modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ReplyMode {
    #[default]
    On,
    Off,
    /// The next reply is left out.
    Skip,
}

/// The three kinds of subscription, each counted on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic {
    Channel,
    Pattern,
    Shard,
}

/// How many subscriptions a connection has, as Redis's confirmations say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Subscriptions {
    channels: u64,
    patterns: u64,
    shards: u64,
}

impl Subscriptions {
    pub(crate) fn any(&self) -> bool {
        self.channels + self.patterns + self.shards > 0
    }

    /// How many confirmations an UNSUBSCRIBE of everything gives: one at least.
    pub(crate) fn of(&self, topic: Topic) -> u64 {
        match topic {
            Topic::Channel => self.channels.max(1),
            Topic::Pattern => self.patterns.max(1),
            Topic::Shard => self.shards.max(1),
        }
    }

    /// Takes the count in a confirmation: channels and patterns together, or shards alone.
    pub(crate) fn confirm(&mut self, topic: Topic, total: u64) {
        match topic {
            Topic::Channel => self.channels = total.saturating_sub(self.patterns),
            Topic::Pattern => self.patterns = total.saturating_sub(self.channels),
            Topic::Shard => self.shards = total,
        }
    }
}

/// An open MULTI.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    /// Commands queued so far: the place of the next one in EXEC's reply.
    pub(crate) queued: usize,
    /// Changes that take effect when EXEC succeeds, each with its place in EXEC's reply.
    changes: Vec<(usize, Change)>,
}

/// A transaction that Lockside holds back until EXEC, because Redis can't queue it.
#[derive(Debug, Default)]
pub(crate) struct HeldBack {
    pub(crate) commands: Vec<Vec<Vec<u8>>>,
    /// Of all arguments together.
    pub(crate) bytes: usize,
    /// EXEC will apply nothing: a command was refused, or the link that queued was lost.
    pub(crate) aborted: bool,
}

/// What is watched without Redis.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// Keys, each with what it was.
    pub(crate) keys: Vec<(LockKey, u64)>,
    /// Redis watched too, and its link was lost: nobody knows what has changed.
    pub(crate) lost: bool,
}

/// What a client was shown of a lock while it watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) lock: LockKey,
    /// The stored value.
    pub(crate) stored: Arc<[u8]>,
    /// By which claim it held the lock; none of a value that the ledger did not know.
    pub(crate) claim: Option<Position>,
    /// `fast`: the counter of fences at that time, where it was asked for.
    pub(crate) fence: Option<u64>,
}

/// Locks of which is remembered what a client that watches was shown: no client looks at more before
/// its EXEC; of further ones EXEC deletes what it meets.
const SEEN_KEPT: usize = 64;

/// The state of one connection to Redis, as far as Lockside has to know it.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) db: u32,
    pub(crate) protocol: Protocol,
    /// The ACL user.
    pub(crate) user: Arc<[u8]>,
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) transaction: Option<Transaction>,
    pub(crate) reply_mode: ReplyMode,
    pub(crate) monitor: bool,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) held_back: Option<Box<HeldBack>>,
    pub(crate) watched: Option<Watched>,
    /// The activity of repairs when the operation under way began.
    pub(crate) repairs_before: u64,
    /// `fast`: the counter of fences, as Redis told it with what is being shown.
    pub(crate) counter: Option<u64>,
    watching: bool,
    /// What was shown since.
    seen: Vec<Seen>,
    lasting: bool,
    credentials: Option<Credentials>,
    info: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            db: 0,
            protocol: Protocol::Resp2,
            user: Arc::from(&b"default"[..]),
            name: None,
            transaction: None,
            reply_mode: ReplyMode::On,
            monitor: false,
            subscriptions: Subscriptions::default(),
            held_back: None,
            watched: None,
            repairs_before: 0,
            counter: None,
            watching: false,
            seen: Vec::new(),
            lasting: false,
            credentials: None,
            info: Vec::new(),
        }
    }
}

impl State {
    /// The database that the next command will work in: inside MULTI, that of the last SELECT
    /// that was queued.
    pub(crate) fn next_db(&self) -> u32 {
        let queued = self.transaction.iter().flat_map(|open| open.changes.iter().rev());
        let selected = queued.filter_map(|(_, change)| match change {
            Change::Select(db) => Some(*db),
            _ => None,
        });
        selected.into_iter().next().unwrap_or(self.db)
    }

    /// Takes the reply to `change`. `ok` is false for an error, and for the nil of an EXEC that
    /// a WATCH stopped.
    pub(crate) fn replied(&mut self, change: Change, ok: bool) {
        if let Some(transaction) = &mut self.transaction
            && !change.is_immediate()
        {
            if ok {
                transaction.changes.push((transaction.queued, change));
                transaction.queued += 1;
            }
            return;
        }
        match change {
            // Whatever EXEC says, the transaction is over.
            Change::Exec => self.end_transaction(ok),
            change if ok => self.apply(change),
            _ => {}
        }
    }

    /// `count` plain commands were answered.
    pub(crate) fn plain_replied(&mut self, count: u64) {
        if let Some(transaction) = &mut self.transaction {
            transaction.queued += usize::try_from(count).unwrap_or(usize::MAX);
        }
    }

    /// True while messages and replies share the stream and look alike: a RESP2 subscriber.
    pub(crate) fn mixes_messages(&self) -> bool {
        self.protocol == Protocol::Resp2 && self.subscriptions.any()
    }

    /// True for a change whose reply has to be read, not only counted: what it did can't be told
    /// from its first byte.
    pub(crate) fn has_to_see(&self, change: &Change) -> bool {
        match change {
            Change::Subscribe(_) | Change::Unsubscribe(..) => true,
            Change::ScriptLoad(_) | Change::ScriptFlush => true,
            Change::Auth(_) | Change::Hello(_) => true,
            Change::Exec => self.transaction.as_ref().is_some_and(|open| !open.changes.is_empty()),
            _ => false,
        }
    }

    /// True while the connection takes no commands on keys.
    pub(crate) fn only_listens(&self) -> bool {
        self.monitor || self.mixes_messages()
    }

    /// The link is lost, and with it what it had queued or watched: EXEC will say so.
    pub(crate) fn lose_link(&mut self) {
        if self.transaction.take().is_some() {
            self.held_back = Some(Box::new(HeldBack { aborted: true, ..HeldBack::default() }));
        }
        self.lose_watch();
    }

    /// What Redis watches for the client can't be asked of it: nobody knows what has changed.
    pub(crate) fn lose_watch(&mut self) {
        self.seen.clear();
        if std::mem::take(&mut self.watching) {
            self.watched.get_or_insert_with(Watched::default).lost = true;
        }
    }

    /// True when the loss of the link can't be hidden: messages may have been lost with it.
    pub(crate) fn ends_with_link(&self) -> bool {
        self.lasting || self.monitor || self.subscriptions.any()
    }

    /// A transaction that was held back has ended, and with it what was watched.
    pub(crate) fn end_held_back(&mut self) -> Option<(Box<HeldBack>, Option<Watched>)> {
        let held_back = self.held_back.take()?;
        if std::mem::take(&mut self.watching) {
            // Only Redis could tell whether that has changed, and it is not asked.
            self.watched.get_or_insert_with(Watched::default).lost = true;
        }
        Some((held_back, self.watched.take()))
    }

    /// True if the client wants the next reply of Lockside's own.
    pub(crate) fn takes_reply(&mut self) -> bool {
        match self.reply_mode {
            ReplyMode::On => true,
            ReplyMode::Off => false,
            ReplyMode::Skip => {
                self.reply_mode = ReplyMode::On;
                false
            }
        }
    }

    /// What the client has proved who it is by.
    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// True while Redis watches keys for the client.
    pub(crate) fn is_watching(&self) -> bool {
        self.watching
    }

    /// Redis has shown this value of a lock. EXEC fails if it was changed since then, so it is what a
    /// DEL in it deletes.
    pub(crate) fn saw(&mut self, seen: Seen) {
        let seen = Seen { fence: self.counter, ..seen };
        if self.watching && self.seen.len() < SEEN_KEPT {
            self.seen.retain(|earlier| earlier.lock != seen.lock);
            self.seen.push(seen);
        }
    }

    /// What was shown since the client watches.
    pub(crate) fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// What was shown while the client watched; the transaction that depends on it has ended.
    pub(crate) fn take_seen(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.seen)
    }

    /// True when a new link can take this one's place: nothing is lost that cannot be replayed.
    pub(crate) fn is_replayable(&self) -> bool {
        self.transaction.is_none()
            && !self.watching
            && !self.lasting
            && !self.monitor
            && !self.subscriptions.any()
    }

    /// The commands that bring a new link to this state; gives how many replies they have.
    pub(crate) fn replay(&self, out: &mut Vec<u8>) -> usize {
        let mut commands: Vec<Vec<&[u8]>> = Vec::new();
        if let Some(credentials) = &self.credentials {
            let mut auth: Vec<&[u8]> = vec![b"AUTH"];
            auth.extend(credentials.user.as_deref());
            auth.push(&credentials.password);
            commands.push(auth);
        }
        if self.protocol == Protocol::Resp3 {
            commands.push(vec![b"HELLO", b"3"]);
        }
        let db = self.db.to_string();
        if self.db != 0 {
            commands.push(vec![b"SELECT", db.as_bytes()]);
        }
        if let Some(name) = &self.name {
            commands.push(vec![b"CLIENT", b"SETNAME", name]);
        }
        for (attribute, value) in &self.info {
            commands.push(vec![b"CLIENT", b"SETINFO", attribute, value]);
        }
        for command in &commands {
            encode::command(out, command);
        }
        commands.len()
    }

    /// How many commands at the end of a replay only say which library the client uses.
    pub(crate) fn library_facts(&self) -> usize {
        self.info.len()
    }

    /// Takes the elements of EXEC's reply: what Redis refused changes nothing.
    pub(crate) fn forget_refused<'a>(&mut self, elements: impl Iterator<Item = &'a [u8]>) {
        let Some(open) = &mut self.transaction else { return };
        if open.changes.is_empty() {
            return;
        }
        let refused: Vec<bool> = elements.map(|element| element.starts_with(b"-")).collect();
        open.changes.retain(|(place, _)| !refused.get(*place).copied().unwrap_or(false));
    }

    /// EXEC of a transaction with lock commands was answered.
    pub(crate) fn executed(&mut self, executed: bool) {
        self.end_transaction(executed);
    }

    fn end_transaction(&mut self, executed: bool) {
        // EXEC or DISCARD without MULTI is an error that ends no WATCH.
        let Some(transaction) = self.transaction.take() else { return };
        self.watching = false;
        self.seen.clear();
        if executed {
            transaction.changes.into_iter().for_each(|(_, change)| self.apply(change));
        }
    }

    /// Makes the change: Redis has, or Lockside has in its place.
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Select(db) => self.db = db,
            Change::Auth(credentials) => self.authenticate(credentials),
            Change::Hello(hello) => self.greet(hello),
            Change::SetName(name) => self.name = (!name.is_empty()).then_some(name),
            Change::SetInfo(attribute, value) => self.set_info(attribute, value),
            Change::Multi => self.transaction = Some(Transaction::default()),
            Change::Discard => self.end_transaction(false),
            Change::Watch => self.watching = true,
            Change::Unwatch => {
                self.watching = false;
                self.seen.clear();
                self.watched = None;
            }
            Change::Reset => *self = Self::default(),
            Change::Monitor => self.monitor = true,
            Change::Lasting => self.lasting = true,
            // SKIP while replies are off changes nothing, as in Redis.
            Change::Reply(ReplyMode::Skip) if self.reply_mode == ReplyMode::Off => {}
            Change::Reply(mode) => self.reply_mode = mode,
            Change::Exec
            | Change::Subscribe(_)
            | Change::Unsubscribe(..)
            | Change::ScriptLoad(_)
            | Change::ScriptFlush
            | Change::Block(_) => {}
        }
    }

    fn authenticate(&mut self, credentials: Credentials) {
        self.user = Arc::from(credentials.user());
        self.credentials = Some(credentials);
    }

    fn greet(&mut self, hello: Hello) {
        if let Some(protocol) = hello.protocol {
            self.protocol = protocol;
        }
        if let Some(credentials) = hello.auth {
            self.authenticate(credentials);
        }
        if let Some(name) = hello.name {
            self.name = (!name.is_empty()).then_some(name);
        }
    }

    fn set_info(&mut self, attribute: Vec<u8>, value: Vec<u8>) {
        self.info.retain(|(known, _)| !known.eq_ignore_ascii_case(&attribute));
        self.info.push((attribute, value));
    }
}
