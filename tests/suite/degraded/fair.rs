//! A fair lock as Redisson's, in the engine and in Redis: a hash for the owner, a list of who waits, a
//! sorted set of when each has waited too long. The scripts are this test's own; they ask the same of Redis
//! in the same order.
//!
//! Queue and timeouts are companions: `redisson_lock_queue:*` and `redisson_lock_timeout:*` have to be
//! among a rule's `companions`. Here they have names that are so by default.

use lockside::lock::rule::Mode;
use lockside::resp::encode::Protocol;

use super::scripts::{Pair, is_same};
use crate::support::Redis;

const KEYS: [&str; 4] =
    ["lock:a", "lock-signal:queue", "lock-signal:timeout", "redisson_lock__channel:{lock:a}"];

/// Whoever has waited too long is put out of the queue. Arguments of all: lease, who, wait, now.
const STALE: &str = "
local lock, queue, limits = KEYS[1], KEYS[2], KEYS[3]
local who, wait, now = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local function first() return redis.call('lindex', queue, 0) end
while first() do
  local waiter = first()
  if tonumber(redis.call('zscore', limits, waiter)) > now then break end
  redis.call('zrem', limits, waiter)
  redis.call('lpop', queue)
end
";

/// Free, and nobody waits before this one; or locked once more.
const TAKE: &str = "
if redis.call('exists', lock) == 0 and (redis.call('exists', queue) == 0 or first() == who) then
  redis.call('lpop', queue)
  redis.call('zrem', limits, who)
  for _, waiter in ipairs(redis.call('zrange', limits, 0, -1)) do
    redis.call('zincrby', limits, -wait, waiter)
  end
  redis.call('hset', lock, who, 1)
  redis.call('pexpire', lock, ARGV[1])
  return nil
end
if redis.call('hexists', lock, who) == 1 then
  redis.call('hincrby', lock, who, 1)
  redis.call('pexpire', lock, ARGV[1])
  return nil
end
";

const TRY: &str = "return 1";

/// Who does not get it waits behind the last.
const WAIT: &str = "
local limit = redis.call('zscore', limits, who)
if limit then return limit - wait - now end
local last, left = redis.call('lindex', queue, -1), nil
if last and last ~= who then
  left = tonumber(redis.call('zscore', limits, last)) - now
else
  left = redis.call('pttl', lock)
end
if redis.call('zadd', limits, left + wait + now, who) == 1 then redis.call('rpush', queue, who) end
return left
";

const UNLOCK: &str = "
local function tell()
  if first() then redis.call('publish', KEYS[4] .. ':' .. first(), '0') end
  return 1
end
if redis.call('exists', lock) == 0 then return tell() end
if redis.call('hexists', lock, who) == 0 then return nil end
if redis.call('hincrby', lock, who, -1) > 0 then
  redis.call('pexpire', lock, ARGV[1])
  return 0
end
redis.call('del', lock)
return tell()
";

/// Who gives up leaves the queue, and those behind wait for less.
const GIVE_UP: &str = "
local is_behind = false
for _, waiter in ipairs(redis.call('lrange', queue, 0, -1)) do
  if is_behind then redis.call('zincrby', limits, -wait, waiter) end
  is_behind = is_behind or waiter == who
end
redis.call('zrem', limits, who)
return redis.call('lrem', queue, 0, who)
";

/// What stands there: the owner, the queue and how many limits there are. The limits are times.
const SEEN: &[&str] = &[
    "HGETALL lock:a",
    "TYPE lock:a",
    "LRANGE lock-signal:queue 0 -1",
    "ZRANGE lock-signal:timeout 0 -1",
    "ZCARD lock-signal:timeout",
];

fn step(pair: &mut Pair, what: &str, who: &str, now: u64) -> String {
    let text = match what {
        "try" => [STALE, TAKE, TRY].concat(),
        "lock" => [STALE, TAKE, WAIT].concat(),
        "unlock" => [STALE, UNLOCK].concat(),
        "leave" => [STALE, GIVE_UP].concat(),
        other => panic!("{other}"),
    };
    let (ours, theirs) = pair.script(&text, &KEYS, &["30000", who, "5000", &now.to_string()]);
    let ours = ours.unwrap_or_else(|| panic!("not served: {what} {who}"));
    assert!(is_same(&ours, &theirs), "{what} {who} at {now}\n{ours}\n{theirs}");
    for line in SEEN {
        let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.into()).collect();
        let (seen, theirs) = pair.both(&words);
        assert_eq!(seen, Some(theirs), "{line} behind {what} {who} at {now}");
    }
    ours
}

#[test]
fn a_fair_lock_goes_from_one_to_the_next() {
    const NIL: &str = "$-1\\r\\n";
    let redis = Redis::start();
    for mode in [Mode::Persistent, Mode::Ttl] {
        let mut pair = Pair::new(&redis, mode, Protocol::Resp2);
        pair.reset("");
        let now = 1_700_000_000_000;
        let mut ask = |what: &str, who: &str, after: u64| step(&mut pair, what, who, now + after);
        assert_eq!(ask("lock", "a:1", 0), NIL);
        assert_eq!(ask("lock", "a:1", 1), NIL, "once more");
        assert_eq!(ask("try", "b:1", 2), ":1\\r\\n", "who only tries does not wait");
        for who in ["b:1", "c:1", "d:1", "e:1"] {
            assert_ne!(ask("lock", who, 3), NIL);
        }
        assert_ne!(ask("lock", "c:1", 4), NIL, "it waits already");
        assert_eq!(ask("unlock", "b:1", 5), NIL, "it is not its owner");
        assert_eq!(ask("leave", "c:1", 6), ":1\\r\\n");
        assert_eq!(ask("leave", "c:1", 7), ":0\\r\\n");
        assert_eq!(ask("unlock", "a:1", 8), ":0\\r\\n", "it had it twice");
        assert_eq!(ask("unlock", "a:1", 9), ":1\\r\\n");
        assert_eq!(ask("unlock", "a:1", 10), ":1\\r\\n", "nobody has it: the next is told again");
        assert_ne!(ask("lock", "d:1", 11), NIL, "it is not the next");
        assert_eq!(ask("try", "d:1", 12), ":1\\r\\n");
        assert_eq!(ask("lock", "b:1", 13), NIL, "it is the next");
        assert_eq!(ask("unlock", "b:1", 14), ":1\\r\\n");
        // d has waited too long when e comes, and e has not.
        assert_eq!(ask("try", "e:1", 38_000), NIL);
        assert_eq!(ask("unlock", "e:1", 38_001), ":1\\r\\n");
        assert_eq!(ask("lock", "f:1", 900_000), NIL, "nobody waits");
    }
}
