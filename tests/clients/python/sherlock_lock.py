"""sherlock: the lock is taken inside a script, by SETNX and EXPIRE."""

import redis
import sherlock

import case as t
import outage
from case import PORT, THROUGH, case, fresh, held, raises, same

here, there = (redis.Redis(host="127.0.0.1", port=PORT) for _ in range(2))


def lock(client, key, expire=20):
    """A lock object."""
    return sherlock.RedisLock(key, client=client, expire=expire, timeout=0.1, retry_interval=0.01)


def taken(key, expire=20):
    """A lock object that holds the key."""
    mine = lock(here, key, expire)
    same(mine.acquire(blocking=False), True, "acquire")
    return mine


@case
def the_life_of_a_lock():
    key = fresh()
    mine, other = taken(key), lock(there, key)
    held(key, mine._owner)
    same(here.get(key), mine._owner.encode(), "GET")
    same(other.acquire(blocking=False), False, "second acquire")
    raises(sherlock.LockTimeoutException, other.acquire)
    same((mine.locked(), other.locked()), (True, True), "locked")
    same(mine.renew(), True, "renew")
    held(key, mine._owner, "after renew")
    mine.release()
    t.free(key)
    same(other.locked(), False, "locked after the release")
    same(other.acquire(blocking=False), True, "re-acquire")
    held(key, other._owner)


@case
def a_stranger_is_refused():
    key = fresh()
    mine, stranger = taken(key), lock(there, key)
    stranger._owner = "stranger"
    same(stranger.renew(), False, "renew")
    raises(sherlock.LockException, stranger.release)
    held(key, mine._owner)


@case
def work_past_the_ttl():
    key = fresh()
    mine = taken(key, expire=1)
    t.past(1000)
    if not THROUGH:
        t.free(key, "Redis has expired it")
        raises(sherlock.LockException, mine.release)
        return
    held(key, mine._owner, "past its TTL")
    same(lock(there, key).acquire(blocking=False), False, "second acquire")
    same(mine.renew(), True, "renew past the TTL")
    mine.release()
    t.free(key)


class Outage(outage.OverRedisPy):
    """sherlock: the same object acquires once or waits."""

    def take(self, client, name):
        mine = lock(client, name)
        return mine if mine.acquire(blocking=False) else None

    def wait(self, client, name):
        mine = lock(client, name)
        mine.timeout = t.DEADLINE
        return mine if mine.acquire() else None

    def owns(self, mine):
        return mine.locked()

    def extend(self, mine):
        return mine.renew()

    def release(self, mine):
        mine.release()

    def token(self, mine):
        return mine._owner


outage.stories(Outage())


t.run()
