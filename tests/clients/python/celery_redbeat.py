"""celery-redbeat: beat's lock, extended at each tick; an extend that fails stops beat."""

import concurrent.futures

from celery import Celery
from redbeat.schedulers import RedBeatScheduler, acquire_distributed_beat_lock, get_redis
from redis.exceptions import LockNotOwnedError, RedisError

import case as t
from case import PORT, THROUGH, case, held, raises, same

KEY = "redbeat::lock"


class Beat:
    """What the library expects as the sender of its signal."""

    def __init__(self, timeout):
        app = Celery("test", broker="memory://")
        app.conf.redbeat_redis_url = f"redis://127.0.0.1:{PORT}/0"
        app.conf.redbeat_lock_timeout = timeout
        self.scheduler = RedBeatScheduler(app, lazy=True)


def taken(timeout):
    """A scheduler that holds the lock."""
    t.real("DEL", KEY)
    beat = Beat(timeout)
    acquire_distributed_beat_lock(beat)
    return beat.scheduler


@case
def the_lock_lives_through_ticks():
    scheduler = taken(60)
    token = scheduler.lock.local.token
    held(KEY, token)
    for _ in range(3):
        scheduler.tick()
    held(KEY, token, "after three ticks")
    same(scheduler.lock.owned(), True, "owned")
    other = get_redis(Beat(60).scheduler.app).lock(KEY, timeout=60)
    same(other.acquire(blocking=False), False, "second acquire")
    scheduler.close()
    t.free(KEY)


@case
def a_tick_past_the_ttl():
    scheduler = taken(1)
    token = scheduler.lock.local.token
    t.past(1000)
    if not THROUGH:
        t.free(KEY, "Redis has expired it")
        raises(LockNotOwnedError, scheduler.tick)
        return
    scheduler.tick()
    held(KEY, token, "past its TTL")
    scheduler.close()
    t.free(KEY)


@case
def an_outage_between_ticks():
    t.needs_lockside()
    foreign = t.open_connections()
    first, second = taken(60), Beat(60)
    second.scheduler.max_interval = 0.02  # how often a beat that waits asks
    token = first.lock.local.token
    # redis-py keeps the token for its thread: the other beat lives in one thread.
    with concurrent.futures.ThreadPoolExecutor(1) as beat:
        waiting = beat.submit(acquire_distributed_beat_lock, second)
        own = t.open_connections() - foreign
        with t.redis_away():
            extends = t.Count(first.lock, "extend")
            problem = raises(RedisError, first.tick)
            same("only lock keys are served" in str(problem), True, f"a clear error ({problem})")
            same(extends.seen, 1, "the tick has extended the lock, and then asked for its schedule")
            same((first.lock.owned(), waiting.done()), (True, False), "owned, the other has it")
            first.close()
            waiting.result(t.DEADLINE)
            same(beat.submit(second.scheduler.lock.owned).result(), True, "the other owns it")
        same(own - t.open_connections(), set(), "connections that did not outlive it")
        other = beat.submit(lambda: second.scheduler.lock.local.token).result()
        same(other == token, False, "the same token")
        held(KEY, other, "after the outage")
        beat.submit(second.scheduler.tick).result()
        held(KEY, other, "after a tick")
        beat.submit(second.scheduler.close).result()
    t.until(lambda: t.stored(KEY) is None, "the released lock goes from Redis")
    third = taken(60)
    held(KEY, third.lock.local.token)
    third.close()


t.run()
