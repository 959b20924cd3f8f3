//! Keys that show the fence of a lock (`fence_suffix`, SPEC 5): a client that knows nothing of Lockside
//! reads the fence by GET.
//!
//! While Redis answers it is sent the command as it came: whom it does not let read such a key gets
//! its error. What it says of these keys is no matter otherwise, for nobody writes them. What the
//! command says of other keys (MGET, EXISTS) is Redis's answer, or the lock table's where Redis is
//! not asked about locks.

use crate::degraded::{self, Caller, Evaluation, Words};
use crate::lock::record::Record;
use crate::lock::rule::Rules;
use crate::resp::Args;
use crate::resp::encode;
use crate::resp::reply::Reply;
use crate::session::operation::serve::with_world;
use crate::session::operation::transaction::Queueing;
use crate::session::operation::{Flow, Operation, Scope, view};

use super::{Asking, Question, standing};

/// A look at such keys.
pub(super) struct Fences {
    /// The command.
    words: Vec<Vec<u8>>,
}

/// A command with such a key among its keys.
pub(in crate::session::operation) fn begin_fence(
    args: Args<'_>,
    scope: &mut Scope<'_, '_>,
) -> (Option<Box<Operation>>, Flow) {
    if scope.state.transaction.is_some() {
        return Queueing::refuse(FENCE_IN_TRANSACTION.to_owned(), scope);
    }
    let words = args.iter().map(<[u8]>::to_vec).collect();
    Asking::begin(Question::Fences(Fences { words }), scope)
}

impl Fences {
    /// Asks Redis whether the client may.
    pub(super) fn send(&self, scope: &mut Scope<'_, '_>) {
        let words: Vec<&[u8]> = self.words.iter().map(Vec::as_slice).collect();
        scope.send(&words);
    }

    /// The locks whose fences are asked for, and the other keys.
    pub(super) fn locks(&self, rules: &Rules) -> Vec<&[u8]> {
        let keys = self.keys().iter().map(Vec::as_slice);
        keys.map(|key| rules.fence_of(key).unwrap_or(key)).collect()
    }

    /// Answers. `there`: what Redis says of the whole command, if it was asked.
    pub(super) fn show(
        &self,
        there: Option<&Reply<'_>>,
        scope: &mut Scope<'_, '_>,
        out: &mut Vec<u8>,
    ) {
        let name = self.words[0].to_ascii_lowercase();
        match name.as_slice() {
            b"mget" => self.show_values(there, scope, out),
            b"exists" => self.show_count(there, scope, out),
            name => show_one(name, self.fence(self.words.get(1), scope), scope, out),
        }
    }

    fn show_values(&self, there: Option<&Reply<'_>>, scope: &mut Scope<'_, '_>, out: &mut Vec<u8>) {
        let Some(others) = self.others(there, scope) else { return away(scope, out) };
        let values = Reply::parse(&others).map(|(reply, _)| reply);
        let mut values = values.iter().flat_map(Reply::elements);
        encode::array(out, self.keys().len());
        for key in self.keys() {
            if scope.shared().rules.fence_of(key).is_some() {
                show_one(b"get", self.fence(Some(key), scope), scope, out);
            } else if let Some(value) = values.next() {
                out.extend_from_slice(value);
            } else {
                encode::null(out, scope.state.protocol);
            }
        }
    }

    fn show_count(&self, there: Option<&Reply<'_>>, scope: &mut Scope<'_, '_>, out: &mut Vec<u8>) {
        let is_shown = |key: &&Vec<u8>| self.fence(Some(key), scope).is_some();
        let shown = self.keys().iter().filter(is_shown).count();
        let shown = i64::try_from(shown).unwrap_or(i64::MAX);
        let Some(others) = self.others(there, scope) else { return away(scope, out) };
        match Reply::parse(&others) {
            Some((Reply::Integer(count), _)) => encode::integer(out, count + shown),
            _ => encode::integer(out, shown),
        }
    }

    /// The reply to the same command on the other keys alone; none where nobody can tell.
    fn others(&self, there: Option<&Reply<'_>>, scope: &mut Scope<'_, '_>) -> Option<Vec<u8>> {
        let shared = scope.cx.shared;
        let is_other = |key: &&Vec<u8>| shared.rules.fence_of(key).is_none();
        let others: Vec<&Vec<u8>> = self.keys().iter().filter(is_other).collect();
        if others.is_empty() {
            return Some(Vec::new());
        }
        let words = Words::new(&self.words);
        match there {
            Some(reply) if scope.asks_redis(words.args()) => Some(self.redis_says(reply, scope)),
            _ => {
                let words: Vec<&[u8]> =
                    self.words.iter().take(1).chain(others).map(Vec::as_slice).collect();
                let caller = Caller { db: scope.state.db, protocol: scope.state.protocol };
                let words = Words::new(&words);
                let told =
                    with_world(shared, |world| degraded::evaluate(words.args(), &caller, world));
                match told {
                    Evaluation::Done { reply, .. } => Some(reply),
                    _ => None,
                }
            }
        }
    }

    /// Redis's reply without what it says of keys that it does not have.
    fn redis_says(&self, reply: &Reply<'_>, scope: &Scope<'_, '_>) -> Vec<u8> {
        let (mut out, shared) = (Vec::new(), scope.shared());
        let is_other = |key: &Vec<u8>| shared.rules.fence_of(key).is_none();
        if let Reply::Integer(count) = reply {
            // What may stand there in Redis is no fence.
            encode::integer(&mut out, *count);
            return out;
        }
        let others = self.keys().iter().zip(reply.elements()).filter(|(key, _)| is_other(key));
        let others: Vec<(&Vec<u8>, &[u8])> = others.collect();
        encode::array(&mut out, others.len());
        for (key, value) in others {
            let lock = shared.rules.find(key).is_some().then(|| key.clone());
            view::show(value, &[lock], shared, &mut out);
        }
        out
    }

    fn keys(&self) -> &[Vec<u8>] {
        &self.words[1..]
    }

    /// What the key shows, if it is such a key and somebody holds its lock: the holder's record.
    fn fence(&self, key: Option<&Vec<u8>>, scope: &Scope<'_, '_>) -> Option<Record> {
        let lock = scope.shared().rules.fence_of(key?)?;
        standing(&scope.lock_key(lock), scope.shared()).filter(|record| record.fence.is_some())
    }
}

/// One key, by a command of Redis's: a string of digits that lives as long as the hold.
fn show_one(name: &[u8], holder: Option<Record>, scope: &Scope<'_, '_>, out: &mut Vec<u8>) {
    let now_ms = scope.shared().clock.unix_ms();
    let held = holder.and_then(|record| Some((record.fence?.to_string(), record.expires_at_ms)));
    let time = |of: &dyn Fn(u64) -> u64| match &held {
        None => -2,
        Some((_, None)) => -1,
        Some((_, Some(at_ms))) => i64::try_from(of(*at_ms)).unwrap_or(i64::MAX),
    };
    let number = match (name, &held) {
        (b"type", Some(_)) => return encode::simple(out, b"string"),
        (b"type", None) => return encode::simple(out, b"none"),
        (b"strlen", held) => {
            held.as_ref().map_or(0, |(fence, _)| i64::try_from(fence.len()).unwrap_or(0))
        }
        (b"ttl", _) => time(&|at_ms| (at_ms.saturating_sub(now_ms) + 500) / 1000),
        (b"pttl", _) => time(&|at_ms| at_ms.saturating_sub(now_ms)),
        (b"expiretime", _) => time(&|at_ms| (at_ms + 500) / 1000),
        (b"pexpiretime", _) => time(&|at_ms| at_ms),
        (_, Some((fence, _))) => return encode::bulk(out, fence.as_bytes()),
        (_, None) => return encode::null(out, scope.state.protocol),
    };
    encode::integer(out, number);
}

fn away(scope: &Scope<'_, '_>, out: &mut Vec<u8>) {
    let text = scope.shared().only_locks();
    encode::error(out, text.as_bytes());
}

/// What a look at a fence gets between MULTI and EXEC: the fence of a lock that the transaction takes is
/// not known before its end.
pub(in crate::session) const FENCE_IN_TRANSACTION: &str =
    "ERR lockside: a fence can't be read inside MULTI; read it by GET after EXEC";
