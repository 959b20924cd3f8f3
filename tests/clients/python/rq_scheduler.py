"""rq's scheduler lock: taken in a script, refreshed by EVALSHA inside MULTI after SCRIPT EXISTS."""

import redis
from rq.scheduler import RQScheduler

import case as t
import outage
from case import PORT, case, fresh, held, same


def scheduler(queue):
    """A scheduler with a connection of its own; its token is 32 hex digits."""
    return RQScheduler([queue], connection=redis.Redis(host="127.0.0.1", port=PORT))


def taken(queue):
    """A scheduler that holds the lock of its queue."""
    mine = scheduler(queue)
    same(mine.acquire_locks(), {queue}, "acquire")
    return mine


def key(queue):
    """The lock's key."""
    return RQScheduler.get_locking_key(queue)


@case
def the_life_of_a_lock():
    queue = fresh("")
    mine, other = taken(queue), scheduler(queue)
    held(key(queue), mine.name)
    same(other.acquire_locks(), set(), "second acquire")
    same(mine.acquire_locks(), {queue}, "acquire again by the owner")
    mine.heartbeat()
    same(mine.acquired_locks, {queue}, "owned after a heartbeat in MULTI")
    held(key(queue), mine.name, "after the heartbeat")
    mine.release_locks()
    t.free(key(queue))
    same(other.acquire_locks(), {queue}, "re-acquire")
    held(key(queue), other.name)


@case
def a_stranger_is_refused():
    queue = fresh("")
    mine, stranger = taken(queue), scheduler(queue)
    stranger._acquired_locks = {queue}
    stranger.heartbeat()
    same(stranger.acquired_locks, set(), "the stranger's heartbeat")
    stranger._acquired_locks = {queue}
    stranger.release_locks()
    held(key(queue), mine.name)


@case
def a_heartbeat_takes_a_free_lock_inside_multi():
    queue = fresh("")
    mine = scheduler(queue)
    mine._acquired_locks = {queue}
    mine.heartbeat()
    held(key(queue), mine.name)
    same(t.real("EXISTS", mine.key), 1, "the scheduler's hash, written in the same MULTI")
    mine.release_locks()
    t.free(key(queue))


@case
def heartbeats_go_on_after_a_restart():
    queue = fresh("")
    mine = taken(queue)
    mine.heartbeat()
    t.restart_lockside()
    mine.connection.connection_pool.disconnect()
    mine.heartbeat()
    same(mine.acquired_locks, {queue}, "owned after the restart")
    held(key(queue), mine.name, "after the restart")
    same(scheduler(queue).acquire_locks(), set(), "second acquire after the restart")
    mine.release_locks()
    t.free(key(queue))


@case
def scripts_unknown_to_one_side_are_loaded_again():
    queue = fresh("")
    mine = taken(queue)
    t.real("SCRIPT", "FLUSH")
    mine.heartbeat()
    same(mine.acquired_locks, {queue}, "owned after Redis forgot its scripts")
    held(key(queue), mine.name)


class Outage(outage.OverRedisPy):
    """rq's scheduler: a token of its own for each scheduler, an acquire that is the extend too.

    Each opens connections of its own, like those of the one that it is given. Its heartbeat also
    writes a hash that is no lock key: what that is in an outage is the next case.
    """

    def __init__(self):
        self.schedulers = []  # kept, so that none of their connections ends by itself

    def name(self):
        return fresh("")

    def key(self, name):
        return key(name)

    def take(self, client, name):
        mine = RQScheduler([name], connection=client)
        self.schedulers.append(mine)
        return mine if mine.acquire_locks() else None

    def extend(self, mine):
        return mine.acquire_locks()

    def release(self, mine):
        mine.release_locks()

    def token(self, mine):
        return mine.name


outage.stories(Outage())


@case
def a_heartbeat_in_an_outage_is_refused_whole():
    t.needs_lockside()
    queue = fresh("")
    mine = taken(queue)
    with t.redis_away():
        problem = t.raises(redis.RedisError, mine.heartbeat)
        same("is unavailable" in str(problem), True, f"a clear error ({problem})")
        same(mine.acquired_locks, {queue}, "owned")
        same(scheduler(queue).acquire_locks(), set(), "second acquire")
    mine.heartbeat()
    same(mine.acquired_locks, {queue}, "owned after the outage")
    held(key(queue), mine.name, "after the outage")
    mine.release_locks()
    t.free(key(queue))


t.run()
