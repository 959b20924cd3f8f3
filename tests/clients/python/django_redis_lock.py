"""django-redis's `cache.lock`: redis-py's Lock in database 1 under a key prefix of Django's."""

import django
from django.conf import settings

import case as t
import outage
from case import PORT, THROUGH, case, fresh, held, raises, same

BACKEND = {
    "BACKEND": "django_redis.cache.RedisCache",
    "LOCATION": f"redis://127.0.0.1:{PORT}/1",
}
settings.configure(CACHES={"default": BACKEND, "other": BACKEND})
django.setup()

from django.core.cache import caches  # noqa: E402
from redis.exceptions import LockNotOwnedError  # noqa: E402

here, there = caches["default"], caches["other"]


@case
def the_life_of_a_lock():
    name = fresh()
    key = f":1:{name}"
    lock, other = here.lock(name, timeout=20), there.lock(name, timeout=20)
    same(lock.acquire(blocking=False), True, "acquire")
    held(key, lock.local.token, db=1)
    same(other.acquire(blocking=False), False, "second acquire")
    same((lock.owned(), other.owned(), other.locked()), (True, False, True), "owned, locked")
    same(lock.extend(30), True, "extend")
    other.local.token = b"stranger"
    raises(LockNotOwnedError, other.release)
    held(key, lock.local.token, db=1)
    lock.release()
    t.free(key, db=1)
    same(other.acquire(blocking=False), True, "re-acquire")


@case
def work_past_the_ttl():
    name = fresh()
    lock = here.lock(name, timeout=1)
    same(lock.acquire(blocking=False), True, "acquire")
    t.past(1000)
    if not THROUGH:
        t.free(f":1:{name}", "Redis has expired it", db=1)
        raises(LockNotOwnedError, lock.release)
        return
    held(f":1:{name}", lock.local.token, "past its TTL", db=1)
    lock.release()
    t.free(f":1:{name}", db=1)


@case
def cache_add_outside_the_rules_keeps_its_ttl():
    same(here.add("throttle", {"n": 1}, timeout=20), True, "add")
    same(there.add("throttle", {"n": 2}, timeout=20), False, "second add")
    same(there.get("throttle"), {"n": 1}, "get")
    same(0 < there.ttl("throttle") <= 20, True, "ttl")


class Outage(outage.RedisPyLock):
    """`cache.lock` of a cache object, of which Django makes one for each thread and name."""

    db = 1

    def key(self, name):
        return f":1:{name}"

    def client(self):
        cache = caches.create_connection("default")
        cache.client.get_client().ping()
        return cache


outage.stories(Outage())


t.run()
