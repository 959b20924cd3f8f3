"""Locks by hand: every form of `SET NX` and of release that people write without a library."""

import hashlib
import uuid

import redis

import case as t
import outage
from case import PORT, REDIS_PORT, THROUGH, case, cases_of, fresh, held, same

COMPARE_AND_DELETE = (
    "if redis.call('get',KEYS[1]) == ARGV[1] then return redis.call('del',KEYS[1]) "
    "else return 0 end"
)
TOKEN = t.WORKER_TOKEN
here, there = (redis.Redis(host="127.0.0.1", port=PORT) for _ in range(2))

ACQUIRES = {
    "SET NX EX": ["SET", None, TOKEN, "NX", "EX", "20"],
    "SET NX PX": ["SET", None, TOKEN, "NX", "PX", "20000"],
    "SET EX NX": ["SET", None, TOKEN, "EX", "20", "NX"],
    "set px nx in lower case": ["set", None, TOKEN, "px", "20000", "nx"],
    "SET NX EXAT": ["SET", None, TOKEN, "NX", "EXAT", "4102444800"],
    "SET PXAT NX": ["SET", None, TOKEN, "PXAT", "4102444800000", "NX"],
}


@cases_of("acquire by ", ACQUIRES)
def acquire(words):
    key = fresh()
    words = [key if word is None else word for word in words]
    same(bool(here.execute_command(*words)), True, "first")
    held(key, TOKEN)
    same(there.execute_command(*words), None, "second")
    same(here.get(key), TOKEN, "GET")
    same(here.delete(key), 1, "DEL")
    t.free(key)


@cases_of("acquire without a TTL by ", {
    "SET NX": lambda key: here.execute_command("SET", key, TOKEN, "NX"),
    "SETNX": lambda key: here.execute_command("SETNX", key, TOKEN),
    "SET NX KEEPTTL": lambda key: here.execute_command("SET", key, TOKEN, "NX", "KEEPTTL"),
})  # fmt: skip
def acquire_without_ttl(function):
    key = fresh()
    same(bool(function(key)), True, "first")
    held(key, TOKEN, ttl=False)
    same(bool(function(key)), False, "second")
    same(here.get(key), TOKEN, "GET")


@case
def set_nx_get_answers_the_holder():
    key = fresh()
    same(here.set(key, TOKEN, nx=True, ex=20, get=True), None, "first")
    held(key, TOKEN)
    same(there.set(key, b"94:other", nx=True, ex=20, get=True), TOKEN, "second")
    held(key, TOKEN)


@case
def errors_are_those_of_redis():
    key = fresh()
    direct = redis.Redis(host="127.0.0.1", port=REDIS_PORT)
    for words in (
        ["SET", key],
        ["SET", key, "v", "NX", "XX"],
        ["SET", key, "v", "NX", "EX", "0"],
        ["SET", key, "v", "NX", "EX", "abc"],
        ["SET", key, "v", "NX", "EX", "1", "PX", "1"],
        ["SETNX", key],
        ["EXPIRE", key, "abc"],
        ["PEXPIRE", key],
    ):
        text, wanted = (
            str(t.raises(redis.ResponseError, c.execute_command, *words)) for c in (here, direct)
        )
        same(text, wanted, " ".join(words))
    t.free(key)


@cases_of("release by ", {
    "DEL": lambda key: here.delete(key),
    "UNLINK": lambda key: here.unlink(key),
    "GETDEL": lambda key: here.getdel(key) == TOKEN,
    "DEL with other keys": lambda key: here.delete("absent:key", key),
    "EXPIRE 0": lambda key: here.expire(key, 0),
    "PEXPIREAT in the past": lambda key: here.pexpireat(key, 1000),
    "compare-and-delete": lambda key: here.eval(COMPARE_AND_DELETE, 1, key, TOKEN),
})  # fmt: skip
def release(function):
    key = fresh()
    same(here.set(key, TOKEN, nx=True, ex=20), True, "acquire")
    same(bool(function(key)), True, "release")
    t.free(key)
    same(there.set(key, TOKEN, nx=True, ex=20), True, "re-acquire")
    held(key, TOKEN)


@case
def a_wrong_token_does_not_release():
    key = fresh()
    here.set(key, TOKEN, nx=True, ex=20)
    same(there.eval(COMPARE_AND_DELETE, 1, key, b"94:other"), 0, "compare-and-delete")
    held(key, TOKEN)


@case
def expiries_answer_as_redis_and_leave_no_ttl():
    key = fresh()
    same(here.expire(key, 20), False, "EXPIRE of nothing")
    here.set(key, TOKEN, nx=True, ex=20)
    for words in (["EXPIRE", key, 30], ["PEXPIRE", key, 30000], ["EXPIREAT", key, 4102444800]):
        same(bool(here.execute_command(*words)), True, words[0])
        held(key, TOKEN, words[0])
    same(here.getex(key, ex=30), TOKEN, "GETEX")
    held(key, TOKEN, "GETEX")
    same(here.set(key, TOKEN, xx=True, px=30000), True, "SET XX PX")
    held(key, TOKEN, "SET XX PX")
    same(here.set(key, TOKEN, px=30000), True, "SET PX")
    held(key, TOKEN, "SET PX")


@case
def a_release_in_a_watch_transaction():
    key = fresh()
    here.set(key, TOKEN, nx=True, px=20000)
    with there.pipeline() as pipe:
        pipe.watch(key)
        same(pipe.get(key), TOKEN, "GET after WATCH")
        pipe.multi()
        pipe.delete(key)
        same(pipe.execute(), [1], "EXEC")
    t.free(key)


@case
def an_extend_in_a_watch_transaction():
    key = fresh()
    here.set(key, TOKEN, nx=True, px=20000)
    with here.pipeline() as pipe:
        pipe.watch(key)
        same(pipe.get(key), TOKEN, "GET after WATCH")
        pipe.multi()
        pipe.pexpire(key, 30000)
        same(pipe.execute(), [True], "EXEC")
    held(key, TOKEN)


@case
def a_watched_lock_that_changes_aborts():
    key = fresh()
    here.set(key, TOKEN, nx=True, px=20000)
    with there.pipeline() as pipe:
        pipe.watch(key)
        here.delete(key)
        pipe.multi()
        pipe.delete(key)
        t.raises(redis.WatchError, pipe.execute)


@case
def an_acquire_inside_multi():
    key, plain = fresh(), fresh("plain:")
    with here.pipeline(transaction=True) as pipe:
        pipe.set(plain, "1")
        pipe.set(key, TOKEN, nx=True, ex=20)
        pipe.get(key)
        same(pipe.execute(), [True, True, TOKEN], "EXEC")
    held(key, TOKEN)
    with there.pipeline(transaction=True) as pipe:
        pipe.set(key, b"94:other", nx=True, ex=20)
        pipe.incr(plain)
        same(pipe.execute(), [None, 2], "EXEC of the second")
    held(key, TOKEN)


@case
def a_pipeline_of_acquires_and_other_commands():
    keys = [fresh() for _ in range(20)]
    with here.pipeline(transaction=False) as pipe:
        for number, key in enumerate(keys):
            pipe.set(key, b"93:%d" % number, nx=True, ex=20)
            pipe.get(key)
            pipe.echo(f"e{number}")
        wanted = [r for n in range(20) for r in (True, b"93:%d" % n, b"e%d" % n)]
        same(pipe.execute(), wanted, "replies in order")
    for number, key in enumerate(keys):
        held(key, b"93:%d" % number)


@case
def scripts_by_their_sha():
    key, text = fresh(), COMPARE_AND_DELETE + " -- " + fresh()
    sha = hashlib.sha1(text.encode()).hexdigest()
    same(here.script_exists(sha), [False], "SCRIPT EXISTS before")
    t.raises(redis.exceptions.NoScriptError, here.evalsha, sha, 1, key, TOKEN)
    same(here.script_load(text), sha, "SCRIPT LOAD")
    same(there.script_exists(sha, "0" * 40), [True, False], "SCRIPT EXISTS after")
    here.set(key, TOKEN, nx=True, ex=20)
    same(there.evalsha(sha, 1, key, b"94:other"), 0, "EVALSHA with another token")
    held(key, TOKEN)
    with here.pipeline(transaction=True) as pipe:
        pipe.evalsha(sha, 1, key, TOKEN)
        pipe.get(key)
        same(pipe.execute(), [1, None], "EVALSHA inside MULTI")
    t.free(key)


@case
def a_lock_taken_by_a_script_without_nx():
    key = fresh()
    text = "return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])"
    same(here.eval(text, 1, key, TOKEN, 20_000), b"OK", "the script's own reply")
    held(key, TOKEN)
    same(there.set(key, b"94:other", nx=True, ex=20), None, "second acquire")
    same(here.delete(key), 1, "DEL")


@case
def a_script_sees_a_ttl_that_its_client_asked_for():
    key, text = fresh(), "return redis.call('PTTL', KEYS[1])"
    here.set(key, TOKEN, nx=True, px=20_000)
    pttl = there.eval(text, 1, key)
    same(0 < pttl <= 20_000, True, f"PTTL in a script ({pttl})")
    same(there.eval_ro(text, 1, key) > 0, True, "PTTL in a script that only reads")


@cases_of("views of ", t.TOKENS)
def views(token):
    key = fresh()
    here.set(key, token, nx=True, px=20000)
    held(key, token)
    same(there.get(key), token, "GET")
    same(there.strlen(key), len(token), "STRLEN")
    same(there.getrange(key, 0, -1), token, "GETRANGE")
    same(there.mget("absent:key", key), [None, token], "MGET")
    same(there.eval("return redis.call('GET', KEYS[1])", 1, key), token, "GET in a script")
    same(here.eval(COMPARE_AND_DELETE, 1, key, token), 1, "compare-and-delete")
    t.free(key)


@case
def work_past_the_ttl():
    key = fresh()
    here.set(key, TOKEN, nx=True, px=1000)
    t.past(1000)
    again = there.set(key, b"94:other", nx=True, px=1000)
    same(again, None if THROUGH else True, "second acquire past the TTL")
    if THROUGH:
        held(key, TOKEN, "past its TTL")
        same(here.pttl(key), -1, "PTTL asked directly tells the truth")


@case
def a_lock_that_is_refused_gets_no_new_ttl():
    key = fresh()
    t.real("SET", key, "put there by another", "PX", 5000)
    same(here.set(key, TOKEN, nx=True, ex=20), None, "acquire")
    pttl = t.real("PTTL", key)
    same(0 < pttl <= 5000, True, f"the other's TTL stays (PTTL {pttl})")


@case
def keys_outside_the_rules_are_untouched():
    key = fresh("plain:")
    same(here.set(key, TOKEN, nx=True, px=20000), True, "SET NX")
    same(t.real("GET", key), TOKEN, "the value in Redis")
    same(0 < t.real("PTTL", key) <= 20000, True, "the TTL in Redis")


class Outage(outage.OverRedisPy):
    """`SET NX PX`, EXPIRE, and compare-and-delete, by hand."""

    def take(self, client, name):
        token = b"93:" + str(uuid.uuid4()).encode()
        taken = client.set(name, token, nx=True, px=20_000)
        same(client.set(name, token, nx=True, px=20_000), None, "the same once more")
        return (client, name, token) if taken else None

    def owns(self, lock):
        client, name, token = lock
        return client.get(name) == token and client.exists(name) == 1

    def extend(self, lock):
        client, name, token = lock
        return client.expire(name, 30) and client.set(name, token, xx=True, px=30_000)

    def release(self, lock):
        client, name, token = lock
        same(client.eval(COMPARE_AND_DELETE, 1, name, b"94:other"), 0, "another's token")
        same(client.eval(COMPARE_AND_DELETE, 1, name, token), 1, "compare-and-delete")

    def token(self, lock):
        return lock[2]


outage.stories(Outage(), hangs=True)



def dialogue(client, key):
    """What a client sees of a lock by every form that people write; the same on plain Redis."""
    ask, answers = client.execute_command, []

    def note(*words):
        try:
            answers.append((words, ask(*words)))
        except redis.ResponseError as problem:
            answers.append((words, str(problem)))

    for words in ACQUIRES.values():
        words = [key if word is None else word for word in words]
        note(*words)
        note(*words)
        note("GET", key)
        note("DEL", key)
    for words in (["SETNX", key, TOKEN], ["SET", key, TOKEN, "NX", "KEEPTTL"]):
        note(*words)
        note(*words)
        note("GETDEL", key)
        note("UNLINK", key)
    for release in (["EXPIRE", key, 0], ["PEXPIREAT", key, 1000], ["DEL", key, key]):
        note("SET", key, TOKEN, "NX", "GET", "EX", 20)
        note("SET", key, b"94:other", "NX", "GET", "EX", 20)
        note(*release)
        note("EXISTS", key)
    note("SET", key, "v", "NX", "XX")
    note("SET", key, "v", "NX", "EX", "0")
    note("SETNX", key)
    note("EXPIRE", key, 20)
    note("SET", key, TOKEN, "NX", "PX", 20_000)
    for words in (
        ["EXPIRE", key, 30], ["EXPIRE", key, "abc"], ["PEXPIREAT", key, 4102444800000],
        ["GETEX", key, "EX", 30], ["SET", key, TOKEN, "XX", "PX", 30_000], ["STRLEN", key],
        ["GETRANGE", key, 0, -1], ["TYPE", key], ["MGET", key, key],
    ):  # fmt: skip
        note(*words)
    text = COMPARE_AND_DELETE + " -- " + key
    sha = hashlib.sha1(text.encode()).hexdigest()
    note("EVALSHA", sha, 1, key, TOKEN)
    note("SCRIPT LOAD", text)
    note("SCRIPT EXISTS", sha, "0" * 40)
    note("EVALSHA", sha, 1, key, b"94:other")
    for words in (["WATCH", key], ["GET", key], ["MULTI"], ["DEL", key], ["EXEC"]):
        note(*words)
    for words in (["MULTI"], ["SET", key, TOKEN, "NX", "EX", 20], ["GET", key], ["EXEC"]):
        note(*words)
    for words in (["MULTI"], ["SET", key], ["EXEC"]):
        note(*words)
    note("EVALSHA", sha, 1, key, TOKEN)
    note("EVAL", "return redis.call('SET', KEYS[1], ARGV[1], 'PX', 20000)", 1, key, TOKEN)
    note("EVAL", "return redis.call('SETNX', KEYS[1], ARGV[1])", 1, key, b"94:other")
    note("GETDEL", key)
    return answers


@case
def every_form_in_an_outage_answers_as_redis():
    t.needs_lockside()
    one = lambda port: redis.Redis(port=port, single_connection_client=True)  # noqa: E731
    keys, mine = [fresh(), fresh()], one(PORT)
    wanted = [dialogue(one(REDIS_PORT), key) for key in keys]
    with t.redis_away():
        seen = [dialogue(mine, keys[0]), dialogue(one(PORT), keys[1])]
    for answers, right in zip(seen, wanted, strict=True):
        pairs = zip(answers, right, strict=True)
        same([pair for pair in pairs if pair[0] != pair[1]], [], "answers and those of Redis")
    for key in keys:
        t.free(key, "released in the outage")


@case
def ordinary_keys_in_an_outage_get_a_clear_error():
    t.needs_lockside()
    key, plain = fresh(), fresh("plain:")
    here.set(plain, "1")
    with t.redis_away():
        for ask in (
            lambda: here.get(plain),
            lambda: here.set(plain, "2", nx=True),
            lambda: here.delete(key, plain),
            lambda: here.eval("return redis.call('SET', KEYS[1], 'v', 'NX')", 2, key, plain),
        ):
            problem = t.raises(redis.ResponseError, ask)
            same("is unavailable" in str(problem), True, f"a clear error ({problem})")
        with here.pipeline(transaction=True) as pipe:
            pipe.set(key, TOKEN, nx=True).set(plain, "2")
            t.raises(redis.ResponseError, pipe.execute)
        same(here.get(key), None, "the lock that such a transaction asked for")
    same((here.get(plain), t.stored(key)), (None, None), "nothing was applied")


t.run()
