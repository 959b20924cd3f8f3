"""redis-py's Lock, and valkey-py's, which is the same code under another name.

    redis_py.py redis|valkey

With redis-py 8 the default is RESP3, with 5.0 and valkey-py it is RESP2; the run with the other
protocol is a case of its own where the client has it.
"""

import importlib
import sys
import threading

import case as t
import outage
from case import PORT, case, cases_of, fresh, held, raises, same

LIBRARY = importlib.import_module(sys.argv[1])
CLIENT = LIBRARY.Redis
NOT_OWNED = LIBRARY.exceptions.LockNotOwnedError
LOCK_ERROR = LIBRARY.exceptions.LockError


def client(**options):
    """A new client of the library."""
    return CLIENT(host="127.0.0.1", port=PORT, **options)


here, there = client(), client()


def taken(key, **options):
    """A lock object that holds the key."""
    lock = here.lock(key, **{"timeout": 20, **options})
    same(lock.acquire(blocking=False), True, "acquire")
    return lock


@case
def acquire_holds_and_reads_back_its_token():
    key = fresh()
    lock = taken(key)
    held(key, lock.local.token)
    same((lock.owned(), lock.locked()), (True, True), "owned, locked")
    same(here.get(key), lock.local.token, "GET by the client")
    same(there.get(key), lock.local.token, "GET by another client")


@case
def a_second_client_is_refused():
    key = fresh()
    lock = taken(key)
    other = there.lock(key, timeout=20)
    same(other.acquire(blocking=False), False, "second acquire")
    same((other.owned(), other.locked()), (False, True), "owned, locked")
    held(key, lock.local.token)


@case
def a_waiting_client_gets_the_lock_after_the_release():
    key = fresh()
    lock = taken(key)
    other = there.lock(key, timeout=20, sleep=0.01, thread_local=False)
    refused = threading.Event()
    original = other.do_acquire

    def tried(token):
        won = original(token)
        if not won:
            refused.set()
        return won

    other.do_acquire = tried
    result = []
    waiter = threading.Thread(target=lambda: result.append(other.acquire(blocking_timeout=10)))
    waiter.start()
    same(refused.wait(t.DEADLINE), True, "the waiter was refused at first")
    lock.release()
    waiter.join(t.DEADLINE)
    same(result, [True], "the waiter's acquire")
    held(key, other.local.token)


@case
def the_owner_releases_and_another_takes_it():
    key = fresh()
    taken(key).release()
    t.free(key)
    other = there.lock(key, timeout=20)
    same(other.locked(), False, "locked")
    same(other.acquire(blocking=False), True, "re-acquire")
    held(key, other.local.token)
    other.release()
    t.free(key)


@case
def a_stranger_cannot_release():
    key = fresh()
    lock = taken(key)
    stranger = there.lock(key, timeout=20)
    stranger.local.token = b"stranger"
    raises(NOT_OWNED, stranger.release)
    held(key, lock.local.token)
    same(lock.owned(), True, "owned")
    lock.release()


@case
def a_second_release_is_refused():
    lock = taken(fresh())
    token = lock.local.token
    lock.release()
    lock.local.token = token
    raises(NOT_OWNED, lock.release)


@case
def the_owner_extends():
    key = fresh()
    lock = taken(key)
    same(lock.extend(30), True, "extend")
    held(key, lock.local.token, "after extend")
    same(lock.extend(30, replace_ttl=True), True, "extend, replace_ttl")
    same(lock.reacquire(), True, "reacquire")
    held(key, lock.local.token, "after reacquire")
    if not t.THROUGH:
        same(t.real("PTTL", key) <= 20_000, True, "reacquire sets the TTL back")
    lock.release()


@case
def a_stranger_cannot_extend():
    key = fresh()
    lock = taken(key)
    stranger = there.lock(key, timeout=20)
    stranger.local.token = b"stranger"
    raises(NOT_OWNED, stranger.extend, 30)
    raises(NOT_OWNED, stranger.reacquire)
    held(key, lock.local.token)


@case
def work_past_the_ttl():
    key = fresh()
    lock = taken(key, timeout=1)
    t.past(1000)
    if not t.THROUGH:
        t.free(key, "Redis has expired it")
        same(lock.owned(), False, "owned")
        raises(NOT_OWNED, lock.release)
        return
    held(key, lock.local.token, "past its TTL")
    same(lock.owned(), True, "owned")
    same(there.lock(key, timeout=1).acquire(blocking=False), False, "second acquire")
    same(lock.extend(1), True, "extend past the TTL")
    lock.release()
    t.free(key)


@case
def a_lock_without_a_timeout():
    key = fresh()
    lock = taken(key, timeout=None)
    held(key, lock.local.token, ttl=False)
    raises(LOCK_ERROR, lock.extend, 5)
    lock.release()
    t.free(key)


@case
def the_context_manager():
    key = fresh()
    with here.lock(key, timeout=20) as lock:
        held(key, lock.local.token)
        same(there.lock(key).acquire(blocking=False), False, "second acquire")
    t.free(key)


@cases_of("", t.TOKENS)
def tokens(token):
    key = fresh()
    lock, other = here.lock(key, timeout=20), there.lock(key, timeout=20)
    same(lock.acquire(blocking=False, token=token), True, "acquire")
    held(key, token)
    same(here.get(key), token, "GET")
    same(lock.owned(), True, "owned")
    same(other.acquire(blocking=False, token=token), False, "the same token by another client")
    same(lock.extend(30), True, "extend")
    held(key, token, "after extend")
    lock.release()
    t.free(key)


@case
def a_lock_in_database_5():
    key = fresh()
    one, two = client(db=5), client(db=5)
    lock = one.lock(key, timeout=20)
    same(lock.acquire(blocking=False), True, "acquire in 5")
    held(key, lock.local.token, db=5)
    same(two.lock(key).acquire(blocking=False), False, "second acquire in 5")
    same(here.lock(key, timeout=20).acquire(blocking=False), True, "acquire in 0")
    same(lock.extend(30), True, "extend in 5")
    lock.release()
    t.free(key, db=5)


@cases_of("a client with ", {
    "RESP2": {"protocol": 2},
    "RESP3": {"protocol": 3},
    "decoded responses": {"decode_responses": True},
    "health checks and a name": {"health_check_interval": 1, "client_name": "worker-93"},
    "one connection": {"single_connection_client": True},
})  # fmt: skip
def options(extra):
    one, two, key = client(**extra), client(**extra), fresh()
    lock = one.lock(key, timeout=20)
    same(lock.acquire(blocking=False), True, "acquire")
    token = lock.local.token
    held(key, token)
    same(two.lock(key).acquire(blocking=False), False, "second acquire")
    same((lock.owned(), lock.extend(30)), (True, True), "owned, extend")
    shown = token.decode() if extra.get("decode_responses") else token
    same(one.mget(key, "absent:key"), [shown, None], "MGET")
    lock.release()
    t.free(key)


@case
def scripts_are_forgotten_and_loaded_again():
    key = fresh()
    taken(fresh()).release()
    lock = taken(key)
    t.restart_lockside()
    here.connection_pool.disconnect()
    same(lock.owned(), True, "owned after the restart")
    same(lock.extend(30), True, "extend after the restart")
    held(key, lock.local.token, "after the restart")
    lock.release()
    t.free(key)


class Outage(outage.RedisPyLock):
    """redis-py's Lock: `acquire` once or waiting, `owned`, `extend`."""

    def client(self):
        one = client()
        one.ping()
        return one

    def owns(self, lock):
        return super().owns(lock) and lock.reacquire()


outage.stories(Outage(), hangs=True)


t.run()
