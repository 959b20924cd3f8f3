//! A script that finds its own token in a lock that nobody holds: a Redis that hung has carried out an
//! old take late, whose client has long had another answer. Only a claim makes a lock (SPEC 2), so the
//! ledger carries the script out.

use crate::ledger::Guarantee;
use crate::lock::rule::Mode;
use crate::lock::value;
use crate::resp::reply::Reply;
use crate::session::operation::{Flow, Scope, TIMED};

use super::held::says_no;
use super::{Effect, Scripting, Step};

/// How long a token is at most, and among how many arguments it is looked for.
const LONGEST: usize = 4096;
const MOST: usize = 100;
/// What stands there with a TTL, of a string; 1 if that is no string and one of the arguments is in it.
const LOOK: &[u8] = b"local k = KEYS[1] \
    if redis.call('PTTL', k) < 0 then return 0 end \
    local v = redis.pcall('GET', k) \
    if type(v) == 'string' then return v end \
    for i = 1, #ARGV do \
    if redis.pcall('HEXISTS', k, ARGV[i]) == 1 or redis.pcall('SISMEMBER', k, ARGV[i]) == 1 \
    or type(redis.pcall('ZSCORE', k, ARGV[i])) == 'string' then return 1 end end \
    return 0";

impl Scripting {
    /// Of a script that has changed nothing and does not say no: asks Redis what it has found, if the
    /// ledger has no holder of its lock. Else its answer counts.
    pub(super) fn look_for_left(&mut self, effect: Effect, scope: &mut Scope<'_, '_>) -> Flow {
        let shared = scope.shared();
        let is_free = |key: &&Vec<u8>| {
            let rule = shared.rules.find(key);
            rule.is_some_and(|rule| rule.mode == Mode::Persistent && !rule.observe)
                && shared.table.find(&scope.lock_key(key)).is_none()
        };
        let may_be_left = shared.guarantee == Guarantee::Strict
            && !self.call.is_look()
            && !self.call.args.is_empty()
            && effect.releases.is_empty()
            && !says_no(&effect.reply);
        let Some(key) = self.call.keys.iter().find(is_free).filter(|_| may_be_left) else {
            return self.believe(effect, scope);
        };
        let mut words: Vec<&[u8]> = vec![b"EVAL", LOOK, b"1", key];
        let tokens = self.call.args.iter().filter(|arg| arg.len() <= LONGEST).take(MOST);
        words.extend(tokens.map(Vec::as_slice));
        scope.send(&words);
        self.step = Step::Finding(scope.lock_key(key), Box::new(effect));
        TIMED
    }

    /// Redis's answer to that. None: the lock is a take's of this client that nobody counts on.
    pub(super) fn found(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Option<Flow> {
        let Step::Finding(lock, effect) = &mut self.step else { return Some(Flow::Close) };
        let effect = std::mem::take(&mut **effect);
        let stamp = scope.shared().stamp_of(lock.key());
        let is_own = match Reply::parse(frame).map(|(reply, _)| reply) {
            Some(Reply::Integer(found)) => found == 1,
            Some(Reply::Bulk(stored)) => {
                self.call.args.iter().any(|arg| value::matches(stored, arg, stamp))
            }
            _ => false,
        };
        if is_own && scope.names_only_locks(&self.call.words()) {
            return None;
        }
        Some(self.believe(effect, scope))
    }
}
