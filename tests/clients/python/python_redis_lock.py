"""python-redis-lock: `SET NX EX`, a release that pushes to a signal list, waiters in BLPOP."""

import threading

import redis
import redis_lock

import case as t
import outage
from case import PORT, THROUGH, case, cases_of, fresh, held, raises, same

here, there = (redis.Redis(host="127.0.0.1", port=PORT) for _ in range(2))


def lock(client, name, **options):
    """A lock object; its key is `lock:<name>`."""
    return redis_lock.Lock(client, name, **{"expire": 20, **options})


def taken(name, **options):
    """A lock object that holds the key."""
    mine = lock(here, name, **options)
    same(mine.acquire(blocking=False), True, "acquire")
    return mine


@case
def the_life_of_a_lock():
    name = fresh("")
    mine, other = taken(name), lock(there, name)
    held(f"lock:{name}", mine.id)
    same(other.acquire(blocking=False), False, "second acquire")
    same((mine.locked(), other.locked()), (True, True), "locked")
    same((mine.get_owner_id(), other.get_owner_id()), (mine.id, mine.id), "owner's id")
    mine.extend(30)
    held(f"lock:{name}", mine.id, "after extend")
    mine.release()
    t.free(f"lock:{name}")
    same(other.acquire(blocking=False), True, "re-acquire")
    held(f"lock:{name}", other.id)


@case
def a_stranger_is_refused():
    name = fresh("")
    mine, stranger = taken(name), lock(there, name)
    raises(redis_lock.NotAcquired, stranger.extend, 30)
    raises(redis_lock.NotAcquired, stranger.release)
    held(f"lock:{name}", mine.id)


@case
def a_waiter_in_blpop_is_woken_by_the_release():
    name = fresh("")
    mine, other = taken(name), lock(there, name)
    result = []
    waiter = threading.Thread(target=lambda: result.append(other.acquire(timeout=10)))
    waiter.start()
    blocked = lambda: b"cmd=blpop" in t.real("CLIENT", "LIST").lower()  # noqa: E731
    t.until(blocked, "the waiter blocks in BLPOP")
    mine.release()
    waiter.join(t.DEADLINE)
    same(result, [True], "the waiter's acquire")
    held(f"lock:{name}", other.id)
    same(t.real("EXISTS", f"lock-signal:{name}"), 0, "the signal was taken")


@case
def the_signal_key_keeps_its_ttl():
    name = fresh("")
    taken(name).release()
    same(t.real("LRANGE", f"lock-signal:{name}", 0, -1), [b"1"], "the signal")
    pttl = t.real("PTTL", f"lock-signal:{name}")
    same(0 < pttl <= 1000, True, f"the signal's TTL ({pttl})")


@case
def auto_renewal_past_the_ttl():
    name = fresh("")
    mine = taken(name, expire=1, auto_renewal=True)
    t.past(2000)
    held(f"lock:{name}", mine.id, "after two TTLs")
    same(mine._lock_renewal_thread.is_alive(), True, "the renewal thread lives")
    same(mine.get_owner_id(), mine.id, "owner's id")
    mine.release()
    t.free(f"lock:{name}")


@case
def work_past_the_ttl():
    name = fresh("")
    mine = taken(name, expire=1)
    t.past(1000)
    if not THROUGH:
        t.free(f"lock:{name}", "Redis has expired it")
        raises(redis_lock.NotAcquired, mine.release)
        return
    held(f"lock:{name}", mine.id, "past its TTL")
    same(lock(there, name).acquire(blocking=False), False, "second acquire")
    mine.extend(1)
    mine.release()
    t.free(f"lock:{name}")


@cases_of("", t.TOKENS)
def ids(token):
    name = fresh("")
    mine, other = taken(name, id=token), lock(there, name)
    # The library writes ASCII as it is and other bytes in base64: `id` says what it wrote.
    held(f"lock:{name}", mine.id)
    same(there.get(f"lock:{name}"), mine.id.encode(), "GET")
    same(other.acquire(blocking=False), False, "second acquire")
    mine.extend(30)
    raises(redis_lock.NotAcquired, other.release)
    mine.release()
    t.free(f"lock:{name}")


@case
def reset_releases_whoever_holds():
    name = fresh("")
    taken(name)
    lock(there, name).reset()
    t.free(f"lock:{name}")
    taken(name)


@case
def a_lock_without_an_expiry():
    name = fresh("")
    mine = taken(name, expire=None)
    held(f"lock:{name}", mine.id, ttl=False)
    if THROUGH:
        # SPEC 5: the virtual TTL of a lock taken without one is the default.
        mine.extend(30)
    else:
        raises(redis_lock.NotExpirable, mine.extend, 30)
    mine.release()
    t.free(f"lock:{name}")


class Outage(outage.OverRedisPy):
    """python-redis-lock; its waiters block in BLPOP on the signal list."""

    def name(self):
        return fresh("")

    def key(self, name):
        return f"lock:{name}"

    def take(self, client, name):
        mine = lock(client, name)
        return mine if mine.acquire(blocking=False) else None

    def wait(self, client, name):
        mine = lock(client, name)
        return mine if mine.acquire(timeout=10) else None

    def waiting(self, _name):
        return b"cmd=blpop" in t.real("CLIENT", "LIST").lower()

    def owns(self, mine):
        return mine.locked() and mine.get_owner_id() == mine.id

    def extend(self, mine):
        mine.extend(30)
        return True

    def release(self, mine):
        mine.release()

    def token(self, mine):
        return mine.id


outage.stories(Outage())


@case
def auto_renewal_through_an_outage():
    t.needs_lockside()
    name = fresh("")
    mine = taken(name, expire=1, auto_renewal=True)
    with t.redis_away():
        renewals = t.Count(mine, "extend")
        t.until(lambda: renewals.seen >= 2, "two renewals in the outage")
        same(mine._lock_renewal_thread.is_alive(), True, "the renewal thread lives")
        same(lock(there, name).acquire(blocking=False), False, "second acquire")
    held(f"lock:{name}", mine.id, "after the outage")
    same(mine._lock_renewal_thread.is_alive(), True, "the renewal thread lives")
    mine.release()
    t.free(f"lock:{name}")


t.run()
