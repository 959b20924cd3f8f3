//! Scripts of lock libraries that are recognised by their text, and what they do.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::normal::normalise;
use crate::degraded::reply::Reply;
use crate::degraded::turn::Turn;

/// What a script does with KEYS and ARGV.
pub(super) type Run = fn(&mut Turn<'_>, &[&[u8]], &[&[u8]]) -> Reply;

struct Known {
    text: &'static str,
    keys: usize,
    args: usize,
    run: Run,
}

const fn known(text: &'static str, keys: usize, args: usize, run: Run) -> Known {
    Known { text, keys, args, run }
}

/// One text of each shape, with the KEYS and ARGV that it needs.
const KNOWN: [Known; 13] = [
    known(
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) \
         else return 0 end",
        1,
        1,
        compare_and_delete,
    ),
    known(
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end \
         return 0",
        1,
        1,
        compare_and_delete,
    ),
    known(
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], \
         ARGV[2]) else return 0 end",
        1,
        2,
        compare_and_pexpire,
    ),
    known(
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('expire', KEYS[1], \
         ARGV[2]) else return 0 end",
        1,
        2,
        compare_and_expire,
    ),
    // redis-py, valkey-py: release, reacquire, extend.
    known(
        "local token = redis.call('get', KEYS[1]) if not token or token ~= ARGV[1] then return 0 \
         end redis.call('del', KEYS[1]) return 1",
        1,
        1,
        compare_and_delete,
    ),
    known(
        "local token = redis.call('get', KEYS[1]) if not token or token ~= ARGV[1] then return 0 \
         end redis.call('pexpire', KEYS[1], ARGV[2]) return 1",
        1,
        2,
        reacquire,
    ),
    known(
        "local token = redis.call('get', KEYS[1]) if not token or token ~= ARGV[1] then return 0 \
         end local expiration = redis.call('pttl', KEYS[1]) if not expiration then expiration = 0 \
         end if expiration < 0 then return 0 end local newttl = ARGV[2] if ARGV[3] == \"0\" then \
         newttl = ARGV[2] + expiration end redis.call('pexpire', KEYS[1], newttl) return 1",
        1,
        3,
        extend,
    ),
    // python-redis-lock: release, extend, reset.
    known(
        "if redis.call('get', KEYS[1]) ~= ARGV[1] then return 1 else redis.call('del', KEYS[2]) \
         redis.call('lpush', KEYS[2], 1) redis.call('pexpire', KEYS[2], ARGV[2]) \
         redis.call('del', KEYS[1]) return 0 end",
        2,
        2,
        release_and_signal,
    ),
    known(
        "if redis.call('get', KEYS[1]) ~= ARGV[1] then return 1 elseif \
         redis.call('ttl', KEYS[1]) < 0 then return 2 else \
         redis.call('expire', KEYS[1], ARGV[2]) return 0 end",
        1,
        2,
        extend_signalled,
    ),
    known(
        "redis.call('del', KEYS[2]) redis.call('lpush', KEYS[2], 1) \
         redis.call('pexpire', KEYS[2], ARGV[2]) return redis.call('del', KEYS[1])",
        2,
        2,
        reset,
    ),
    // node-redlock: acquire, release, extend of several keys.
    known(
        "for i, key in ipairs(KEYS) do if redis.call('exists', key) == 1 then return 0 end end \
         for i, key in ipairs(KEYS) do redis.call('set', key, ARGV[1], 'PX', ARGV[2]) end \
         return #KEYS",
        1,
        2,
        take_all,
    ),
    known(
        "local count = 0 for i, key in ipairs(KEYS) do if redis.call('get', key) == ARGV[1] then \
         redis.pcall('del', key) count = count + 1 end end return count",
        1,
        1,
        release_all,
    ),
    known(
        "for i, key in ipairs(KEYS) do if redis.call('get', key) ~= ARGV[1] then return 0 end end \
         for i, key in ipairs(KEYS) do redis.call('set', key, ARGV[1], 'PX', ARGV[2]) end \
         return #KEYS",
        1,
        2,
        extend_all,
    ),
];

static BY_TEXT: LazyLock<HashMap<String, &'static Known>> =
    LazyLock::new(|| KNOWN.iter().map(|known| (normalise(known.text.as_bytes()), known)).collect());

/// What a normalised text does, if it is known and has the keys and arguments that it needs.
pub(super) fn find(text: &str, keys: usize, args: usize) -> Option<Run> {
    let known = BY_TEXT.get(text)?;
    (keys >= known.keys && args >= known.args).then_some(known.run)
}

const NO: Reply = Reply::Integer(0);
const YES: Reply = Reply::Integer(1);

/// `redis.call`: an error ends the script.
macro_rules! call {
    ($turn:expr, $($word:expr),+) => {
        match $turn.call(&[$($word.as_ref()),+]) {
            error @ Reply::Error(_) => return error,
            reply => reply,
        }
    };
}

fn has_token(turn: &mut Turn<'_>, key: &[u8], token: &[u8]) -> Result<bool, Reply> {
    match turn.call(&[b"get", key]) {
        error @ Reply::Error(_) => Err(error),
        Reply::Bulk(value) => Ok(value == token),
        _ => Ok(false),
    }
}

fn compare_and(turn: &mut Turn<'_>, keys: &[&[u8]], argv: &[&[u8]], then: &[&[u8]]) -> Reply {
    match has_token(turn, keys[0], argv[0]) {
        Ok(true) => turn.call(then),
        Ok(false) => NO,
        Err(error) => error,
    }
}

fn compare_and_delete(turn: &mut Turn<'_>, keys: &[&[u8]], argv: &[&[u8]]) -> Reply {
    compare_and(turn, keys, argv, &[b"del", keys[0]])
}

fn compare_and_pexpire(turn: &mut Turn<'_>, keys: &[&[u8]], argv: &[&[u8]]) -> Reply {
    compare_and(turn, keys, argv, &[b"pexpire", keys[0], argv[1]])
}

fn compare_and_expire(turn: &mut Turn<'_>, keys: &[&[u8]], argv: &[&[u8]]) -> Reply {
    compare_and(turn, keys, argv, &[b"expire", keys[0], argv[1]])
}

fn reacquire(turn: &mut Turn<'_>, keys: &[&[u8]], argv: &[&[u8]]) -> Reply {
    match compare_and_pexpire(turn, keys, argv) {
        Reply::Integer(1) => YES,
        other => other,
    }
}

fn extend(turn: &mut Turn<'_>, keys: &[&[u8]], argv: &[&[u8]]) -> Reply {
    match has_token(turn, keys[0], argv[0]) {
        Ok(true) => {}
        Ok(false) => return NO,
        Err(error) => return error,
    }
    let Reply::Integer(left) = call!(turn, "pttl", keys[0]) else { return NO };
    if left < 0 {
        return NO;
    }
    let mut amount = argv[1].to_vec();
    if argv[2] == b"0" {
        let more = crate::command::number::integer(argv[1]).and_then(|more| more.checked_add(left));
        let Some(more) = more else {
            return Reply::error("ERR value is not an integer or out of range".to_owned());
        };
        amount = more.to_string().into_bytes();
    }
    call!(turn, "pexpire", keys[0], amount);
    YES
}

fn signal(turn: &mut Turn<'_>, keys: &[&[u8]], argv: &[&[u8]]) -> Reply {
    call!(turn, "del", keys[1]);
    call!(turn, "lpush", keys[1], "1");
    call!(turn, "pexpire", keys[1], argv[1]);
    call!(turn, "del", keys[0])
}

fn release_and_signal(turn: &mut Turn<'_>, keys: &[&[u8]], argv: &[&[u8]]) -> Reply {
    match has_token(turn, keys[0], argv[0]) {
        Ok(true) => match signal(turn, keys, argv) {
            error @ Reply::Error(_) => error,
            _ => NO,
        },
        Ok(false) => YES,
        Err(error) => error,
    }
}

fn extend_signalled(turn: &mut Turn<'_>, keys: &[&[u8]], argv: &[&[u8]]) -> Reply {
    match has_token(turn, keys[0], argv[0]) {
        Ok(true) => {}
        Ok(false) => return YES,
        Err(error) => return error,
    }
    if matches!(call!(turn, "ttl", keys[0]), Reply::Integer(..0)) {
        return Reply::Integer(2);
    }
    call!(turn, "expire", keys[0], argv[1]);
    NO
}

fn reset(turn: &mut Turn<'_>, keys: &[&[u8]], argv: &[&[u8]]) -> Reply {
    signal(turn, keys, argv)
}

fn set_all(turn: &mut Turn<'_>, keys: &[&[u8]], argv: &[&[u8]]) -> Reply {
    for key in keys {
        call!(turn, "set", key, argv[0], "PX", argv[1]);
    }
    Reply::count(keys.len())
}

fn take_all(turn: &mut Turn<'_>, keys: &[&[u8]], argv: &[&[u8]]) -> Reply {
    for key in keys {
        if call!(turn, "exists", key) == YES {
            return NO;
        }
    }
    set_all(turn, keys, argv)
}

fn release_all(turn: &mut Turn<'_>, keys: &[&[u8]], argv: &[&[u8]]) -> Reply {
    let mut count = 0;
    for key in keys {
        match has_token(turn, key, argv[0]) {
            Ok(true) => {
                turn.call(&[b"del", key]);
                count += 1;
            }
            Ok(false) => {}
            Err(error) => return error,
        }
    }
    Reply::count(count)
}

fn extend_all(turn: &mut Turn<'_>, keys: &[&[u8]], argv: &[&[u8]]) -> Reply {
    for key in keys {
        match has_token(turn, key, argv[0]) {
            Ok(true) => {}
            Ok(false) => return NO,
            Err(error) => return error,
        }
    }
    set_all(turn, keys, argv)
}
