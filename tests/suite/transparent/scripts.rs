//! Scripts and functions that have nothing to do with locks.

use crate::support::scenario::Pair;

#[test]
fn scripts_on_ordinary_keys() {
    Pair::start().compare_all(
        r##"
a> EVAL "return redis.call('SET', KEYS[1], ARGV[1])" 1 k v
a> EVAL "return {KEYS[1], ARGV[1], #ARGV}" 1 k v
a> EVAL "return redis.call('NOSUCH')" 0
a> EVAL "return redis.call('LPUSH', KEYS[1], 'x')" 1 k
a> EVAL "error('thrown')" 0
a> EVAL "error({err='MINE table'})" 0
a> EVAL "return redis.error_reply('MINE text')" 0
a> EVAL "this is no lua" 0
a> EVAL "return 1" x
a> EVAL "return 1" -1
a> EVAL "return 1" 2 k
a> EVAL "return 1"
a> EVAL_RO "return redis.call('SET', KEYS[1], 'x')" 1 k
a> EVAL_RO "return redis.call('GET', KEYS[1])" 1 k
a> EVAL "return redis.pcall('NOSUCH')" 0
a> EVAL "return tostring(redis.pcall('NOSUCH').err)" 0
a> EVAL "undefined_global = 1" 0
a> EVAL "return undefined_global" 0

a> SCRIPT LOAD "return ARGV[1]"
a> SCRIPT EXISTS 098e0f0d1448c0a81dafe820f66d460eb09263da 0000000000000000000000000000000000000000
a> EVALSHA 098e0f0d1448c0a81dafe820f66d460eb09263da 0 x
a> EVALSHA 0000000000000000000000000000000000000000 0
a> EVALSHA short 0
a> SCRIPT FLUSH
a> EVALSHA 098e0f0d1448c0a81dafe820f66d460eb09263da 0 x
a> SCRIPT LOAD "not lua at all"
a> SCRIPT NOPE
a> SCRIPT
a> SCRIPT KILL

a> MULTI
a> EVAL "return redis.call('INCR', KEYS[1])" 1 n
a> EVALSHA 0000000000000000000000000000000000000000 0
a> EVAL "return 1"
a> EXEC

a> MULTI
a> EVAL "return redis.call('INCR', KEYS[1])" 1 n
a> EVALSHA 0000000000000000000000000000000000000000 0
a> EXEC

a> FUNCTION LOAD "#!lua name=mylib\nredis.register_function('f', function(keys, args) return redis.call('SET', keys[1], args[1]) end)"
a> FCALL f 1 k v
a> FCALL f 1
a> FCALL g 0
a> FCALL_RO f 1 k v
a> GET k
a> FUNCTION LIST
a> FUNCTION LOAD "#!lua name=mylib\nredis.register_function('f', function() return 1 end)"
a> FUNCTION DELETE mylib
a> FCALL f 1 k v
a>~ FUNCTION STATS
"##,
    );
}
