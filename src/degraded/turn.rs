//! One turn: a command, a transaction or a script, whose commands see what those before them did.
//!
//! A [`Turn`] runs commands on an overlay over the table and the companions. Nothing outside it
//! changes; what the overlay has at the end becomes the evaluation's changes.

use super::overlay::{Overlay, Unfinished};
use super::reply::Reply;
use super::{
    Caller, Evaluation, World, expiry, hashes, keys, lists, scan, script, served, sets, sorted,
    strings, types,
};
use crate::command::{Class, LockUse, Spec, lookup};
use crate::lock::record::LockKey;
use crate::resp::encode::Protocol;
use crate::resp::{Args, Span};

use super::steps::{BYTES_PER_STEP, Named, Steps};

/// Why a command has no reply of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// An error for the client; the command did nothing.
    Error(String),
    /// Only Redis could tell.
    NotServed,
    /// The whole evaluation is refused with this error, and nothing is applied.
    Refused(String),
    /// It would block.
    Block {
        /// What is waited for.
        keys: Vec<LockKey>,
        /// Milliseconds; 0 is for ever.
        timeout_ms: u64,
    },
}

impl Stop {
    /// An error with this text.
    pub(super) fn error(text: &str) -> Self {
        Self::Error(text.to_owned())
    }
}

/// What a command comes to.
pub(crate) type Outcome = Result<Reply, Stop>;

/// Redis's answer to a command on a value of another type.
pub(super) const WRONG_TYPE: &str =
    "WRONGTYPE Operation against a key holding the wrong kind of value";
/// Redis's answer to options that make no sense.
pub(super) const SYNTAX: &str = "ERR syntax error";
/// Redis's answer to a script that would run a script, or block.
pub(super) const NOT_FROM_SCRIPT: &str = "ERR This Redis command is not allowed from script";
/// Redis's answer to a write of a script that may only read.
const READ_ONLY: &str = "ERR Write commands are not allowed from read-only scripts.";
const DENIED: &str = "NOPERM lockside: upstream is unavailable, and was seen to refuse this user this \
                      command on these locks";
/// What looks at every element of its key.
const WALKS: [&str; 31] = [
    "hgetall",
    "hkeys",
    "hscan",
    "hvals",
    "linsert",
    "lpos",
    "lrange",
    "lrem",
    "ltrim",
    "smembers",
    "sscan",
    "zcount",
    "zlexcount",
    "zmpop",
    "zpopmax",
    "zpopmin",
    "zrange",
    "zrangebylex",
    "zrangebyscore",
    "zrank",
    "zremrangebylex",
    "zremrangebyrank",
    "zremrangebyscore",
    "zrevrange",
    "zrevrangebylex",
    "zrevrangebyscore",
    "zrevrank",
    "zscan",
    "sdiff",
    "sinter",
    "sunion",
];
/// Steps for each of them: a copy, or its place among the others.
const STEPS_PER_ELEMENT: usize = 10;
/// A script gets each element as a value of Lua's, again and again: so many times the steps.
const STEPS_IN_LUA: u64 = 5;
/// What a script's `redis.call` gets for a command that is not served. The client never sees it:
/// the whole evaluation is [`Evaluation::NotServed`].
const NOT_SERVED: &str = "MASTERDOWN lockside: only lock keys are served";

/// The commands of one evaluation.
pub(crate) struct Turn<'a> {
    pub(super) world: &'a World<'a>,
    pub(super) overlay: Overlay<'a>,
    /// The selected database.
    pub(super) db: u32,
    protocol: Protocol,
    /// True while a script runs: a persistent lock then shows its virtual TTL, and no command
    /// blocks.
    pub(super) in_script: bool,
    /// True while the script of a `_RO` form runs: it may only read.
    pub(super) is_read_only: bool,
    /// True inside EXEC: no command blocks.
    pub(super) in_transaction: bool,
    /// A command was met that only Redis can answer.
    unserved: bool,
    /// What the turn may still take; its scripts take from it too.
    pub(super) steps: Steps,
    /// What its commands have named, those of scripts apart: they have steps.
    pub(super) named: Named,
    /// A script's command was refused together with all of the turn.
    pub(super) refusal: Option<String>,
}

impl<'a> Turn<'a> {
    /// A turn in which nothing has happened.
    pub(crate) fn new(world: &'a World<'a>, caller: &Caller) -> Self {
        Self {
            world,
            overlay: Overlay::new(*world),
            db: caller.db,
            protocol: caller.protocol,
            in_script: false,
            is_read_only: false,
            in_transaction: false,
            unserved: false,
            steps: Steps::new(),
            named: Named::default(),
            refusal: None,
        }
    }

    /// Runs a command of a script (`redis.call`): its reply, errors included. Once
    /// [`Turn::is_unserved`] the script is to be given up.
    pub(crate) fn call(&mut self, words: &[&[u8]]) -> Reply {
        let words = Words::new(words);
        match self.run(words.args()) {
            Ok(reply) => reply,
            Err(Stop::Error(text)) => Reply::error(text),
            Err(Stop::Refused(text)) => {
                self.refusal = Some(text);
                Reply::error(NOT_SERVED.to_owned())
            }
            Err(Stop::NotServed | Stop::Block { .. }) => {
                self.unserved = true;
                Reply::error(NOT_SERVED.to_owned())
            }
        }
    }

    /// True once a command was met that only Redis can answer.
    pub(crate) fn is_unserved(&self) -> bool {
        self.unserved
    }

    /// The milliseconds since the Unix epoch at which all of the turn happens.
    pub(super) fn now_ms(&self) -> u64 {
        self.world.now_ms
    }

    /// A key of the selected database.
    pub(super) fn key(&self, key: &[u8]) -> LockKey {
        LockKey::new(self.db, key)
    }

    /// Runs one command.
    pub(super) fn run(&mut self, args: Args<'_>) -> Outcome {
        let spec = args.get(0).and_then(lookup).ok_or(Stop::NotServed)?;
        if !spec.takes(args.len()) {
            return Err(self.wrong_arity(spec.name));
        }
        if !self.in_script {
            self.named.add(spec.keys(args).count(), args.len() - 1)?;
        }
        if let Class::Lock(LockUse::Script { .. }) = spec.class {
            if self.in_script {
                return Err(Stop::error(NOT_FROM_SCRIPT));
            }
            return script::run_script(self, args);
        }
        if self.is_read_only && !served::is_read(spec.name) {
            return Err(Stop::error(READ_ONLY));
        }
        let mut has_keys = false;
        for key in spec.keys(args) {
            has_keys = true;
            if (self.world.denied)(spec.name, key) {
                return Err(self.denied());
            }
            let key = self.key(key);
            self.overlay.load(&key)?;
        }
        if !self.in_script {
            self.overlay.present(args.iter());
        }
        if !has_keys {
            return self.without_keys(spec, args);
        }
        let times = if self.in_script { STEPS_IN_LUA } else { 1 };
        self.steps.charge(self.walk(spec, args).saturating_mul(times))?;
        let outcome = self.on_keys(spec, args);
        let reply = types::judged(self, spec.name, args, outcome)?;
        self.steps.charge(reply.weight().saturating_mul(times))?;
        Ok(reply)
    }

    /// Steps for what a command looks at beside its arguments: what its keys hold.
    fn walk(&self, spec: &'static Spec, args: Args<'_>) -> u64 {
        let is_walk = WALKS.contains(&spec.name);
        let weight = |key| {
            let weight = self.overlay.weight(&self.key(key));
            let elements = if is_walk { weight.elements } else { 0 };
            (weight.bytes / BYTES_PER_STEP + elements * STEPS_PER_ELEMENT) as u64
        };
        spec.keys(args).map(weight).sum()
    }

    fn on_keys(&mut self, spec: &'static Spec, args: Args<'_>) -> Outcome {
        let name = spec.name;
        strings::run(self, name, args)
            .or_else(|| expiry::run(self, name, args))
            .or_else(|| keys::run(self, name, args))
            .or_else(|| lists::run(self, name, args))
            .or_else(|| hashes::run(self, name, args))
            .or_else(|| sorted::run(self, name, args))
            .or_else(|| sets::run(self, name, args))
            .or_else(|| scan::run(self, name, args))
            .unwrap_or_else(|| Err(served::refusal(name)))
    }

    /// Commands that a transaction or a script may have beside those on its locks; and malformed
    /// ones, whose keys are not known.
    fn without_keys(&mut self, spec: &'static Spec, args: Args<'_>) -> Outcome {
        match spec.name {
            "lmpop" | "zmpop" => self.on_keys(spec, args),
            "mset" | "msetnx" => Err(self.wrong_arity(spec.name)),
            "ping" if args.len() == 1 => Ok(Reply::Status(b"PONG".into())),
            "ping" if args.len() > 2 => Err(self.wrong_arity(spec.name)),
            "ping" | "echo" => Ok(Reply::Bulk(arg(args, 1).to_vec())),
            "time" => Ok(self.time()),
            "select" if self.in_script || self.in_transaction => self.select(arg(args, 1)),
            // Nobody can be subscribed to the channel of a Redis that is down.
            "publish" | "spublish" if self.in_script => Ok(Reply::Integer(0)),
            _ => Err(Stop::NotServed),
        }
    }

    fn time(&self) -> Reply {
        let now_ms = self.now_ms();
        let part = |number: u64| Reply::Bulk(number.to_string().into_bytes());
        Reply::Array(vec![part(now_ms / 1000), part(now_ms % 1000 * 1000)])
    }

    fn select(&mut self, db: &[u8]) -> Outcome {
        let db = super::number::int(db)?;
        let known = self.world.limits.databases;
        let db = u32::try_from(db).ok().filter(|db| *db < known);
        self.db = db.ok_or_else(|| Stop::error("ERR DB index is out of range"))?;
        Ok(Reply::OK)
    }

    /// What is said to a client that Redis was seen to refuse this command.
    pub(super) fn denied(&self) -> Stop {
        match self.in_script {
            // In Redis's own words, which a script may catch.
            true => Stop::error(
                "ERR The user executing the script can't run this command or subcommand",
            ),
            false => Stop::Refused(DENIED.to_owned()),
        }
    }

    /// Redis's answer to a wrong number of arguments.
    pub(super) fn wrong_arity(&self, name: &str) -> Stop {
        Stop::Error(if self.in_script {
            "ERR Wrong number of args calling Redis command from script".to_owned()
        } else {
            format!("ERR wrong number of arguments for '{name}' command")
        })
    }

    /// Ends the turn with this reply.
    pub(super) fn done(self, reply: Reply) -> Evaluation {
        let (protocol, unserved) = (self.protocol, self.unserved);
        let mut bytes = Vec::new();
        match self.overlay.finish() {
            _ if unserved => Evaluation::NotServed,
            Ok((changes, companions)) => {
                reply.write(protocol, &mut bytes);
                Evaluation::Done { reply: bytes, changes, companions }
            }
            Err(Unfinished::NotServed) => Evaluation::NotServed,
            Err(Unfinished::Full(text)) => {
                Reply::error(text.to_owned()).write(protocol, &mut bytes);
                let companions = super::CompanionEffects::default();
                Evaluation::Done { reply: bytes, changes: Vec::new(), companions }
            }
        }
    }
}

/// An argument that the command's arity says is there.
pub(super) fn arg<'a>(args: Args<'a>, at: usize) -> &'a [u8] {
    args.get(at).unwrap_or_default()
}

/// Arguments that did not come in a frame.
pub struct Words {
    frame: Vec<u8>,
    spans: Vec<Span>,
}

impl Words {
    /// Copies the words into one frame. A frame is below 4 GiB, as the parser's are.
    pub fn new<T: AsRef<[u8]>>(words: &[T]) -> Self {
        let (mut frame, mut spans) = (Vec::new(), Vec::with_capacity(words.len()));
        for word in words {
            let start = frame.len() as u32;
            frame.extend_from_slice(word.as_ref());
            spans.push(Span { start, end: frame.len() as u32 });
        }
        Self { frame, spans }
    }

    /// The words as a command's arguments.
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.frame, &self.spans)
    }
}
