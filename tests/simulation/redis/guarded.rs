//! Lockside's guarded scripts, recognised by their text or SHA1, done by hand as their Lua does it.
//! Whatever else is to be evaluated is a mistake of the simulation.

use lockside::lock::envelope::scripts::{self, Script};
use lockside::resp::encode;

use super::Redis;
use super::commands::{name, number, shown};

/// EVAL and EVALSHA.
pub(super) fn run(redis: &mut Redis, words: &[Vec<u8>], out: &mut Vec<u8>) {
    let by_text = name(words) == "EVAL";
    let all: [&'static Script; 6] = [
        &scripts::PERSIST,
        &scripts::COMPARE_AND_DELETE,
        &scripts::LENGTHEN,
        &scripts::REPLACE,
        &scripts::SET_MISSING,
        &scripts::LOOK,
    ];
    let is_it = |script: &&Script| match by_text {
        true => script.text.as_bytes() == words[1],
        false => script.sha[..] == words[1][..],
    };
    let Some(script) = all.into_iter().find(is_it) else {
        panic!("the simulated Redis does not know the script of {}", shown(words))
    };
    if !redis.knows_script(script, by_text) {
        return encode::error(out, b"NOSCRIPT No matching script. Please use EVAL.");
    }
    let count = usize::try_from(number(&words[2])).unwrap();
    let (keys, args) = words[3..].split_at(count);
    if script.sha == scripts::LOOK.sha {
        return look(redis, keys, out);
    }
    encode::array(out, keys.len());
    for (at, key) in keys.iter().enumerate() {
        let columns: Vec<&[u8]> = args.iter().skip(at).step_by(count).map(Vec::as_slice).collect();
        encode::integer(out, one(redis, script, key, &columns));
    }
}

fn one(redis: &mut Redis, script: &Script, key: &[u8], columns: &[&[u8]]) -> i64 {
    let ttl = |text: &[u8]| (!text.is_empty()).then(|| number(text));
    if script.sha == scripts::SET_MISSING.sha {
        let is_free = !redis.data.contains_key(key);
        if is_free {
            redis.put(key, string(columns[1]), ttl(columns[2]));
        }
        return i64::from(is_free);
    }
    let guard = string(columns[0]);
    let Some(entry) = redis.data.get(key) else { return -1 };
    if entry.value != guard {
        return 0;
    }
    match script {
        script if script.sha == scripts::PERSIST.sha => drop(redis.persist(key)),
        script if script.sha == scripts::COMPARE_AND_DELETE.sha => drop(redis.remove(key)),
        script if script.sha == scripts::REPLACE.sha => {
            redis.put(key, string(columns[1]), ttl(columns[2]));
        }
        _ => {
            let ttl_ms = number(columns[1]);
            if redis.pttl(key) < ttl_ms as i64 {
                redis.pexpire(key, ttl_ms);
            }
        }
    }
    1
}

/// What stands behind the letter of a string.
fn string(guard: &[u8]) -> &[u8] {
    guard.strip_prefix(b"s").expect("the guard of a string")
}

fn look(redis: &Redis, keys: &[Vec<u8>], out: &mut Vec<u8>) {
    encode::array(out, keys.len() * 3);
    for key in keys {
        let entry = redis.data.get(key);
        encode::bulk(out, if entry.is_some() { b"s" } else { b"n" });
        encode::bulk(out, entry.map(|entry| entry.value.as_slice()).unwrap_or_default());
        encode::integer(out, redis.pttl(key));
    }
}
