"""redlock (the other package of that name): `SET NX PX`, a registered script for the release."""

from redlock import ReentrantRedLock, RedLock, RedLockFactory

import case as t
import outage
from case import PORT, THROUGH, case, fresh, held, same

SERVERS = [{"host": "127.0.0.1", "port": PORT}]


def lock(key, milliseconds=20_000, kind=RedLock):
    """A lock object with a connection of its own."""
    return kind(key, connection_details=SERVERS, retry_times=1, ttl=milliseconds)


@case
def the_life_of_a_lock():
    key = fresh()
    mine, other = lock(key), lock(key)
    same(bool(mine.acquire()), True, "acquire")
    held(key, mine.lock_key)
    same(bool(other.acquire()), False, "second acquire, which sends its release script too")
    held(key, mine.lock_key, "after the refused acquire")
    other.release()
    held(key, mine.lock_key, "after the release by a stranger")
    mine.release()
    t.free(key)
    same(bool(other.acquire()), True, "re-acquire")
    held(key, other.lock_key)


@case
def a_reentrant_lock():
    key = fresh()
    mine = lock(key, kind=ReentrantRedLock)
    same([bool(mine.acquire()), bool(mine.acquire())], [True, True], "acquire twice")
    mine.release()
    held(key, mine.lock_key, "after the first release")
    mine.release()
    t.free(key)


@case
def work_past_the_ttl():
    key = fresh()
    mine = lock(key, 1000)
    same(bool(mine.acquire()), True, "acquire")
    t.past(1000)
    if not THROUGH:
        t.free(key, "Redis has expired it")
        return
    held(key, mine.lock_key, "past its TTL")
    same(bool(lock(key).acquire()), False, "second acquire")
    mine.release()
    t.free(key)


class Outage(outage.Library):
    """redlock: a factory shares its connections; there is neither a look nor an extend."""

    def client(self):
        factory = RedLockFactory([dict(SERVERS[0])])
        factory.redis_nodes[0].ping()
        return factory

    def take(self, client, name, tries=1):
        mine = client.create_lock(name, retry_times=tries, retry_delay=20, ttl=20_000)
        return mine if mine.acquire() else None

    def wait(self, client, name):
        return self.take(client, name, tries=1000)

    def release(self, mine):
        mine.release()

    def token(self, mine):
        return mine.lock_key


outage.stories(Outage())


t.run()
