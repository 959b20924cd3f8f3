"""aioredlock on aioredis 1: the lock is taken in a script, a refusal is the error `ERROR`."""

import asyncio
import functools

from aioredlock import Aioredlock, LockError

import case as t
import outage
import tasks
from case import PORT, THROUGH, case, fresh, held, same

SERVERS = [{"host": "127.0.0.1", "port": PORT}]


def manager():
    """A new lock manager of the library."""
    return Aioredlock(SERVERS, retry_count=1, retry_delay_max=0.1)


within = tasks.within(manager, Aioredlock.destroy)
refused = functools.partial(tasks.refused, kind=LockError)


@case
@within
async def the_life_of_a_lock(here, there):
    key = fresh()
    lock = await here.lock(key, lock_timeout=20)
    held(key, lock.id)
    await refused(there.lock(key, lock_timeout=20))
    held(key, lock.id, "after the refused acquire")
    same(await there.is_locked(key), True, "is_locked")
    await here.extend(lock, lock_timeout=30)
    held(key, lock.id, "after extend")
    await here.unlock(lock)
    t.free(key)
    same(await there.is_locked(key), False, "is_locked after the release")
    again = await there.lock(key, lock_timeout=20)
    held(key, again.id, "re-acquire")


@case
@within
async def a_stranger_is_refused(here, there):
    key = fresh()
    lock = await here.lock(key, lock_timeout=20)
    stranger = await there.lock(fresh(), lock_timeout=20)
    stranger.resource = key
    await refused(there.extend(stranger, lock_timeout=20))
    await refused(there.unlock(stranger))
    held(key, lock.id)


@case
@within
async def a_lock_from_another_process(here, there):
    key = fresh()
    lock = await here.lock(key, lock_timeout=20)
    known = await there.get_lock(key, lock.id)
    same(known.id, lock.id, "get_lock, which reads the TTL")
    await refused(there.get_lock(key, "stranger"))


@case
@within
async def constant_and_worker_tokens(here, there):
    for token in ("1", "93:550e8400-e29b-41d4-a716-446655440000"):
        key = fresh()
        lock = await here.lock(key, lock_timeout=20, lock_identifier=token)
        held(key, token)
        await here.unlock(lock)
        t.free(key)


@case
@within
async def the_library_renews_past_the_ttl(here, there):
    key = fresh()
    here.internal_lock_timeout = 1
    lock = await here.lock(key)
    await asyncio.to_thread(t.past, 2500)
    held(key, lock.id, "after two TTLs")
    await refused(there.lock(key, lock_timeout=1))
    await here.unlock(lock)
    t.free(key)


@case
@within
async def work_past_the_ttl(here, there):
    key = fresh()
    # With a time-out of its own a lock is not renewed by the library.
    lock = await here.lock(key, lock_timeout=1)
    await asyncio.to_thread(t.past, 1000)
    if not THROUGH:
        t.free(key, "Redis has expired it")
        return
    held(key, lock.id, "past its TTL")
    await refused(there.lock(key, lock_timeout=1))
    await here.unlock(lock)
    t.free(key)


class Outage(outage.Library):
    """aioredlock, in an event loop of its own that runs in a thread."""

    def __init__(self):
        self.run = outage.event_loop()

    def client(self):
        manager = Aioredlock(SERVERS, retry_count=1, retry_delay_min=0.01, retry_delay_max=0.02)
        same(self.run(manager.is_locked(fresh())), False, "is_locked of nothing")
        return manager

    def take(self, client, name):
        try:
            return client, self.run(client.lock(name, lock_timeout=20))
        except LockError:
            return None

    def wait(self, client, name):
        client.retry_count = 1000
        return self.take(client, name)

    def owns(self, held):
        client, lock = held
        known = self.run(client.get_lock(lock.resource, lock.id))
        return self.run(client.is_locked(lock)) and known.id == lock.id

    def extend(self, held):
        client, lock = held
        self.run(client.extend(lock, lock_timeout=30))
        return True

    def release(self, held):
        client, lock = held
        self.run(client.unlock(lock))

    def token(self, held):
        return held[1].id


outage.stories(Outage())


t.run()
