"""celery-redbeat: beat's lock, extended at each tick; an extend that fails stops beat."""

from celery import Celery
from redbeat.schedulers import RedBeatScheduler, acquire_distributed_beat_lock, get_redis
from redis.exceptions import LockNotOwnedError

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


t.run()
