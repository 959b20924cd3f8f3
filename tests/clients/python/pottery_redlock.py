"""pottery's Redlock: threads of its own, `locked()` that asks for the remaining PTTL."""

import redis
from pottery import ExtendUnlockedLock, Redlock, ReleaseUnlockedLock

import case as t
import outage
from case import PORT, THROUGH, case, fresh, held, raises, same

here, there = (redis.Redis(host="127.0.0.1", port=PORT) for _ in range(2))


def lock(client, name, seconds=20):
    """A lock object; its key is `redlock:<name>`."""
    return Redlock(key=name, masters={client}, auto_release_time=seconds)


def taken(name, seconds=20):
    """A lock object that holds the key."""
    mine = lock(here, name, seconds)
    same(mine.acquire(blocking=False), True, "acquire")
    return mine


@case
def the_life_of_a_lock():
    name = fresh("")
    mine, other = taken(name), lock(there, name)
    held(f"redlock:{name}", mine._uuid)
    same(other.acquire(blocking=False), False, "second acquire")
    same(10 < mine.locked() <= 20, True, f"locked() is the rest of 20 s ({mine.locked()})")
    same(other.locked(), 0, "locked() of the other")
    mine.extend()
    held(f"redlock:{name}", mine._uuid, "after extend")
    same(10 < mine.locked() <= 20, True, "locked() after extend")
    mine.release()
    t.free(f"redlock:{name}")
    same(mine.locked(), 0, "locked() after the release")
    same(other.acquire(blocking=False), True, "re-acquire")
    held(f"redlock:{name}", other._uuid)


@case
def a_stranger_is_refused():
    name = fresh("")
    mine, stranger = taken(name), lock(there, name)
    stranger._uuid = "stranger"
    raises(ExtendUnlockedLock, stranger.extend)
    raises(ReleaseUnlockedLock, stranger.release)
    held(f"redlock:{name}", mine._uuid)


@case
def the_context_manager():
    name = fresh("")
    with lock(here, name) as mine:
        held(f"redlock:{name}", mine._uuid)
    t.free(f"redlock:{name}")


@case
def work_past_the_ttl():
    name = fresh("")
    mine = taken(name, seconds=1)
    t.past(1000)
    if not THROUGH:
        t.free(f"redlock:{name}", "Redis has expired it")
        raises(ReleaseUnlockedLock, mine.release)
        return
    held(f"redlock:{name}", mine._uuid, "past its TTL")
    same(lock(there, name).acquire(blocking=False), False, "second acquire")
    mine.extend()
    mine.release()
    t.free(f"redlock:{name}")


class Outage(outage.OverRedisPy):
    """pottery: `locked()` is the rest of its time, 0 for whoever does not hold it."""

    def name(self):
        return fresh("")

    def key(self, name):
        return f"redlock:{name}"

    def take(self, client, name):
        mine = lock(client, name)
        return mine if mine.acquire(blocking=False) else None

    def wait(self, client, name):
        mine = lock(client, name)
        return mine if mine.acquire(timeout=t.DEADLINE) else None

    def owns(self, mine):
        return mine.locked() > 0

    def extend(self, mine):
        # A lock of pottery refuses the fourth extend of its life.
        mine._extension_num = 0
        mine.extend()
        return True

    def release(self, mine):
        mine.release()

    def token(self, mine):
        return mine._uuid


outage.stories(Outage())


t.run()
