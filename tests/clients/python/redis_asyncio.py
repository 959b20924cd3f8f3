"""redis-py's asyncio Lock: the same life of a lock, and fifty tasks that want one."""

import asyncio
import functools

import redis.asyncio as redis
from redis.exceptions import LockNotOwnedError

import case as t
import outage
import tasks
from case import PORT, THROUGH, case, cases_of, fresh, held, same


def client():
    """A new client of the library."""
    return redis.Redis(host="127.0.0.1", port=PORT)


within = tasks.within(client, redis.Redis.aclose)
refused = functools.partial(tasks.refused, kind=LockNotOwnedError)


async def taken(client, key, timeout=20):
    """A lock object that holds the key."""
    lock = client.lock(key, timeout=timeout)
    same(await lock.acquire(blocking=False), True, "acquire")
    return lock


@case
@within
async def the_life_of_a_lock(here, there):
    key = fresh()
    lock = await taken(here, key)
    held(key, lock.local.token)
    same(await here.get(key), lock.local.token, "GET")
    other = there.lock(key, timeout=20)
    same(await other.acquire(blocking=False), False, "second acquire")
    same((await lock.owned(), await other.owned()), (True, False), "owned")
    same((await lock.locked(), await other.locked()), (True, True), "locked")
    same(await lock.extend(30), True, "extend")
    same(await lock.reacquire(), True, "reacquire")
    held(key, lock.local.token, "after extend")
    await lock.release()
    t.free(key)
    same(await other.acquire(blocking=False), True, "re-acquire")
    held(key, other.local.token)


@case
@within
async def a_stranger_is_refused(here, there):
    key = fresh()
    lock = await taken(here, key)
    stranger = there.lock(key, timeout=20)
    stranger.local.token = b"stranger"
    await refused(stranger.extend(30))
    await refused(stranger.release())
    held(key, lock.local.token)


@case
@within
async def work_past_the_ttl(here, there):
    key = fresh()
    lock = await taken(here, key, timeout=1)
    await asyncio.to_thread(t.past, 1000)
    if not THROUGH:
        t.free(key, "Redis has expired it")
        await refused(lock.release())
        return
    held(key, lock.local.token, "past its TTL")
    same(await there.lock(key).acquire(blocking=False), False, "second acquire")
    same(await lock.extend(1), True, "extend past the TTL")
    await lock.release()
    t.free(key)


@cases_of("", t.TOKENS)
@within
async def tokens(here, there, token):
    key = fresh()
    lock = here.lock(key, timeout=20)
    same(await lock.acquire(blocking=False, token=token), True, "acquire")
    held(key, token)
    same(await there.get(key), token, "GET")
    other = there.lock(key, timeout=20)
    same(await other.acquire(blocking=False, token=token), False, "second acquire")
    same(await lock.extend(30), True, "extend")
    await lock.release()
    t.free(key)


@case
@within
async def fifty_tasks_never_hold_it_together(here, there):
    key, inside, most, done = fresh(), 0, 0, 0

    async def worker(client):
        nonlocal inside, most, done
        async with client.lock(key, timeout=20, sleep=0.005):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1
            done += 1

    await asyncio.gather(*(worker(here if i % 2 else there) for i in range(50)))
    same((most, done), (1, 50), "most at one time, done")
    t.free(key)


class Outage(outage.Library):
    """The asyncio Lock, in an event loop of its own that runs in a thread."""

    def __init__(self):
        self.run = outage.event_loop()

    def client(self):
        one = client()
        self.run(one.ping())
        return one

    def take(self, client, name):
        lock = client.lock(name, timeout=20, thread_local=False)
        return lock if self.run(lock.acquire(blocking=False)) else None

    def wait(self, client, name):
        lock = client.lock(name, timeout=20, sleep=0.01, thread_local=False)
        return lock if self.run(lock.acquire(blocking_timeout=t.DEADLINE)) else None

    def owns(self, lock):
        return self.run(lock.owned()) and self.run(lock.reacquire())

    def extend(self, lock):
        return self.run(lock.extend(30))

    def release(self, lock):
        self.run(lock.release())

    def token(self, lock):
        return lock.local.token


outage.stories(Outage(), hangs=True)


@cases_of("twenty tasks never hold it together while Redis ", outage.ENDINGS)
@within
async def contention_through_an_outage(here, there, stopped):
    t.needs_lockside()
    key, inside, most, done, over = fresh(), 0, 0, 0, False

    async def worker(client):
        nonlocal inside, most, done
        while not over:
            async with client.lock(key, timeout=20, sleep=0.02):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1
                done += 1

    def turns(count=10):
        wanted = done + count
        t.until(lambda: done >= wanted, f"{count} turns")

    def story():
        turns()
        with t.redis_away(stopped):
            turns()
        turns()

    workers = asyncio.gather(*(worker(here if i % 2 else there) for i in range(20)))
    try:
        await asyncio.to_thread(story)
    finally:
        over = True
        await workers
    same(most, 1, "most at one time")
    # What Redis did late for a client that had its answer from the ledger runs out by itself.
    await asyncio.to_thread(t.until, lambda: t.stored(key) is None, "Redis has no lock in the end")


t.run()
