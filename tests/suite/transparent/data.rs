//! Commands on ordinary keys, of every type.

use crate::support::scenario::Pair;

#[test]
fn strings() {
    Pair::start().compare_all(
        r#"
a> SET k v
a> GET k
a> GET nothing

a> SET k v NX
a> SET k w NX
a> SET k w XX GET
a> SET k v EX 100 NX
a> SET k v EX 0
a> SET k v EX 10 PX 10
a> TTL k

a> SET bin "\0\r\n\xff\t\"x"
a> GET bin
a> STRLEN bin
a> GETRANGE bin 1 3
a> APPEND bin tail
a> SETRANGE bin 0 "AB"
a> GETDEL bin
a> GETDEL bin

a> INCR n
a> INCRBY n 41
a> DECR n
a> INCRBYFLOAT n 1.5
a> INCR n
a> GETSET n 7
a> GETEX n EX 100
a> PERSIST n
a> PERSIST n

a> MSET a 1 b 2 c 3
a> MGET a b nothing c
a> MSETNX a 1 z 2
a> DEL a b nothing
a> EXISTS a c c
a> UNLINK c
a> SETNX s v
a> SETNX s w
a> SETEX s 100 v
a> PSETEX s 100000 v
a> EXPIRE s 100 NX
a> EXPIRE s 200 GT
a> TYPE s
a> OBJECT ENCODING s
a> OBJECT REFCOUNT s
a> OBJECT NOPE s

a> SETBIT bits 7 1
a> GETBIT bits 7
a> BITCOUNT bits
a> BITPOS bits 1
a> BITFIELD bits SET u8 8 255 GET u8 8 INCRBY u8 8 1
a> BITOP NOT inverse bits
a> GET inverse
a> PFADD hll a b c
a> PFCOUNT hll
a> LCS bits inverse LEN
"#,
    );
}

#[test]
fn collections() {
    Pair::start().compare_all(
        r#"
a> HSET h f v g w
a> HGET h f
a> HGETALL h
a> HMGET h f nothing
a> HINCRBY h n 5
a> HDEL h f g
a> HLEN h
a> HSETNX h n 1
a> HSCAN h 0
a> LPUSH h x

a> RPUSH l a b c
a> LRANGE l 0 -1
a> LPOP l
a> RPOP l 5
a> LPUSH l x
a> LINSERT l BEFORE x y
a> LMOVE l m LEFT RIGHT
a> LPOS l x
a> LMPOP 2 l m LEFT COUNT 2
a> LLEN l

a> SADD s 1 2 3
a> SMEMBERS s
a> SISMEMBER s 2
a> SMISMEMBER s 2 9
a> SADD t 2 3 4
a> SINTER s t
a> SINTERCARD 2 s t
a> SDIFFSTORE d s t
a> SMOVE s t 1
a> SREM s 2 3
a> EXISTS s

a> ZADD z 1 a 2 b 2.5 c
a> ZRANGE z 0 -1 WITHSCORES
a> ZADD z XX GT CH 3 b
a> ZSCORE z b
a> ZINCRBY z 1.25 a
a> ZRANGEBYSCORE z (1 +inf LIMIT 0 2
a> ZPOPMIN z
a> ZMPOP 1 z MAX
a> ZRANK z nothing
a> ZADD z nan a

a> XADD st 1-1 f v
a> XADD st 1-1 f v
a> XADD st 2-* f w
a> XLEN st
a> XRANGE st - +
a> XGROUP CREATE st g 0
a> XREADGROUP GROUP g me COUNT 1 STREAMS st >
a> XACK st g 1-1
a> XREAD COUNT 2 STREAMS st 0
a> XREAD STREAMS st $
a> XTRIM st MAXLEN 1

a> GEOADD places 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
a> GEODIST places Palermo Catania km
a> GEOSEARCH places FROMLONLAT 15 37 BYRADIUS 200 km ASC
a> GEOPOS places Palermo nothing
a> SORT places BY nosort GET # LIMIT 0 1
a> RENAME places places2
a> RENAMENX nothing x
a> COPY places2 places3
a>^ KEYS places*
a> DBSIZE
a> DUMP nothing
a> SCAN 0 MATCH *2
"#,
    );
}

#[test]
fn the_same_in_resp3() {
    Pair::start().compare_all(
        r#"
a>~ HELLO 3
a> SET k v
a> GET nothing
a> HSET h f v
a> HGETALL h
a> ZADD z 1.5 a
a> ZSCORE z a
a> ZRANGE z 0 -1 WITHSCORES
a> SADD s 1 2
a> SMEMBERS s
a> CONFIG GET maxmemory-samples
a> DEBUG PROTOCOL TRUE
a> XADD st 1-1 f v
a> XREAD STREAMS st 0
a> GETDEL nothing
a> EVAL "return {1,2.5,'x',false,true,{ok='fine'}}" 0
a> EVAL "redis.setresp(3) return redis.call('HGETALL','h')" 0
a> MULTI
a> GET nothing
a> EXEC
a>~ HELLO 2
a> GET nothing
"#,
    );
}

#[test]
fn errors_of_commands() {
    Pair::start().compare_all(
        r#"
a> NOSUCH
a> NOSUCH with "some \r\n arguments" and more
a> GET
a> GET a b
a> SET k
a> SET k v NX XX
a> SET k v NOPE
a> SETNX k
a> set K v
a> gEt K
a> LPUSH K x
a> INCR K
a> OBJECT
a> OBJECT HELP
a> CONFIG
a> CLIENT NOPE
a> COMMAND COUNT
a> COMMAND INFO get nothing
a> COMMAND GETKEYS MSET a 1 b 2
a> ECHO
a> ECHO hi
a> SELECT 99
a> SELECT x
a> SWAPDB 0 x
a> DEBUG
a> EXEC
a> DISCARD
a> FCALL nothing 0
a> bf.add filter x
a> WAIT 0 10
a> WAIT x 1
a> LOLWUT VERSION
"#,
    );
}
