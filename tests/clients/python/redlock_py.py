"""redlock-py: `SET NX PX` on each server, and its own compare-and-delete sent as EVAL."""

import redis
from redlock import Lock, Redlock

import case as t
import outage
from case import PORT, THROUGH, case, cases_of, fresh, held, same

SERVERS = [{"host": "127.0.0.1", "port": PORT}]
here, there = (Redlock(SERVERS, retry_count=1, retry_delay=0.01) for _ in range(2))


def taken(key, ttl=20_000):
    """A held lock."""
    lock = here.lock(key, ttl)
    same(isinstance(lock, Lock), True, "acquire")
    return lock


@case
def the_life_of_a_lock():
    key = fresh()
    lock = taken(key)
    held(key, lock.key)
    same(there.lock(key, 20_000), False, "second acquire, which sends its release script too")
    held(key, lock.key, "after the refused acquire")
    here.unlock(lock)
    t.free(key)
    other = there.lock(key, 20_000)
    held(key, other.key, "re-acquire")


@case
def a_stranger_is_refused():
    key = fresh()
    lock = taken(key)
    there.unlock(Lock(0, key, b"stranger"))
    held(key, lock.key)


@case
def work_past_the_ttl():
    key = fresh()
    lock = taken(key, 1000)
    t.past(1000)
    if not THROUGH:
        t.free(key, "Redis has expired it")
        return
    held(key, lock.key, "past its TTL")
    same(there.lock(key, 1000), False, "second acquire")
    here.unlock(lock)
    t.free(key)


@cases_of("", t.TOKENS)
def tokens(token):
    key = fresh()
    here.get_unique_id = lambda: token
    lock = taken(key)
    held(key, token)
    same(redis.Redis(port=PORT).get(key), token, "GET")
    same(there.lock(key, 20_000), False, "second acquire")
    here.unlock(lock)
    t.free(key)


class Outage(outage.Library):
    """redlock-py: it has neither a look nor an extend, and its release hides errors."""

    def client(self):
        manager = Redlock(SERVERS, retry_count=1, retry_delay=0.01)
        manager.servers[0].ping()
        return manager

    def take(self, client, name):
        lock = client.lock(name, 20_000)
        return (client, lock) if lock else None

    def wait(self, client, name):
        client.retry_count = 1000
        return self.take(client, name)

    def release(self, held):
        client, lock = held
        client.unlock(lock)

    def token(self, held):
        return held[1].key


outage.stories(Outage())


t.run()
