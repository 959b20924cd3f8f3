"""One outage of Redis, told once for every library: hold, extend, contend, release and acquire.

A suite says in a `Library` how its library is asked, and `stories` makes the cases of it. The
clients are open before the outage and stay open; one more connects in the middle. What is asked of
each library is the same, so that one which needs more of Lockside than others is found.
Through Lockside only: without it there is nobody to answer.
"""

import asyncio
import threading

import case as t
from case import same

ENDINGS = {"is killed and comes back empty": False, "hangs and goes on": True}
"""How Redis goes, and whether it is only stopped."""


class Library:
    """How one library is asked. What it does not have stays `None`, and is left out."""

    db = 0
    """The database of its keys."""

    def name(self):
        """A name for a lock that no other case uses."""
        return t.fresh()

    def key(self, name):
        """The key of that lock in Redis."""
        return name

    def client(self):
        """A client with connections of its own."""
        raise NotImplementedError

    def take(self, client, name):
        """Ask once: the lock, or None when it is refused."""
        raise NotImplementedError

    def release(self, lock):
        """Release; an error if the library tells of one."""
        raise NotImplementedError

    def token(self, lock):
        """The value that the library wrote."""
        raise NotImplementedError

    owns = None
    """`owns(lock)`: whether its holder has it, as far as the library can ask."""

    extend = None
    """`extend(lock)`: whether the library says that it is extended."""

    wait = None
    """`wait(client, name)`: ask until the lock is free, and return it."""

    waiting = None
    """`waiting(name)`: a condition that shows, before the outage, that somebody waits."""


class OverRedisPy(Library):
    """A library that is given a client of redis-py."""

    def client(self):
        import redis  # not in every environment that has stories

        client = redis.Redis(host="127.0.0.1", port=t.PORT)
        client.ping()
        return client


class RedisPyLock(Library):
    """Where `client.lock` is redis-py's Lock, whoever hands it out."""

    def take(self, client, name):
        lock = client.lock(name, timeout=20, thread_local=False)
        return lock if lock.acquire(blocking=False) else None

    def wait(self, client, name):
        lock = client.lock(name, timeout=20, sleep=0.01, thread_local=False)
        return lock if lock.acquire(blocking_timeout=t.DEADLINE) else None

    def owns(self, lock):
        return lock.owned() and lock.locked()

    def extend(self, lock):
        return lock.extend(30)

    def release(self, lock):
        lock.release()

    def token(self, lock):
        return lock.local.token


def event_loop():
    """A function that runs a coroutine to its end, in one event loop for all callers."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(t.DEADLINE)


class Waiter:
    """A client that waits for a lock in a thread of its own."""

    def __init__(self, library, client, name):
        self.locks, self.problems = [], []

        def body():
            try:
                self.locks.append(library.wait(client, name))
            except BaseException as problem:  # noqa: BLE001 - a library may raise anything
                self.problems.append(problem)

        self.thread = threading.Thread(target=body, daemon=True)
        self.thread.start()

    def lock(self, what):
        """The lock that it got, at most `DEADLINE` later."""
        self.thread.join(t.DEADLINE)
        for problem in self.problems:
            raise problem
        same([lock is not None for lock in self.locks], [True], what)
        return self.locks[0]


class Story:
    """The acts of one outage; each lock has a name for what becomes of it."""

    def __init__(self, library):
        self.of, self.locks, self.names = library, {}, {}
        self.foreign = t.open_connections()
        self.here, self.there = library.client(), library.client()
        self.waiter = None

    def tell(self, stopped):
        """All of it."""
        self.before()
        own = t.open_connections() - self.foreign
        with t.redis_away(stopped):
            self.holders_hold()
            self.the_waiter_is_served()
            self.others_take()
        lost = own - t.open_connections()
        same(lost, set(), "connections that did not outlive the outage")
        self.redis_is_in_line()
        self.afterwards()

    def take(self, client, what):
        """Take the lock called `what`, which must be free."""
        name = self.names.setdefault(what, self.of.name())
        lock = self.of.take(client, name)
        same(lock is not None, True, f"acquire of the lock {what!r}")
        self.locks[what] = lock
        return lock

    def is_refused(self, client, what):
        """The lock called `what` is held, and not given to this client."""
        same(self.of.take(client, self.names[what]), None, f"a second acquire of {what!r}")

    def is_owned(self, what):
        """Its holder has the lock, and can extend it, as far as the library can do that."""
        lock = self.locks[what]
        if self.of.owns:
            same(bool(self.of.owns(lock)), True, f"the holder owns {what!r}")
        if self.of.extend:
            same(bool(self.of.extend(lock)), True, f"the holder extends {what!r}")

    def release(self, what):
        """Its holder releases it."""
        self.of.release(self.locks.pop(what))

    def before(self):
        """Every client has an open connection; three locks are held, and one is waited for."""
        for what in ("kept", "given", "awaited"):
            self.take(self.here, what)
        self.is_refused(self.there, "kept")
        self.is_owned("kept")
        if self.of.wait:
            self.waiter = Waiter(self.of, self.of.client(), self.names["awaited"])
            if self.of.waiting:
                t.until(lambda: self.of.waiting(self.names["awaited"]), "the waiter waits")

    def holders_hold(self):
        """What was held is held, and given to nobody, new clients among them."""
        self.is_owned("kept")
        self.is_refused(self.there, "kept")
        self.newcomer = self.of.client()
        self.is_refused(self.newcomer, "kept")
        self.is_refused(self.newcomer, "awaited")

    def the_waiter_is_served(self):
        """Who waited since before the outage gets the lock in it, as does who waits from now on."""
        if not self.waiter:
            return
        self.release("awaited")
        self.locks["awaited"] = self.waiter.lock("who waited has the lock")
        self.is_refused(self.there, "awaited")
        second = Waiter(self.of, self.newcomer, self.names["awaited"])
        self.release("awaited")
        self.locks["awaited"] = second.lock("who began to wait in the outage has the lock")
        self.is_owned("awaited")

    def others_take(self):
        """Releases work, what was released is taken by others, new locks are taken."""
        self.release("given")
        self.take(self.there, "given")
        self.is_owned("given")
        self.is_refused(self.here, "given")
        self.take(self.newcomer, "new")
        self.is_owned("new")
        self.is_refused(self.here, "new")
        self.take(self.here, "passing")
        self.release("passing")

    def redis_is_in_line(self):
        """Redis has what clients were told they hold, and not what they released."""
        for what, lock in self.locks.items():
            key = self.of.key(self.names[what])
            t.held(key, self.of.token(lock), f"{what!r} after the outage", db=self.of.db)
        t.free(self.of.key(self.names["passing"]), "released in the outage", db=self.of.db)

    def is_soon_free(self, what):
        """Redis has not the lock any more.

        A lock that changed without Redis is served from the table until Redis was seen to be right
        about it: its first release after the outage reaches Redis by a repair, a moment later.
        """
        look = lambda: t.stored(self.of.key(self.names[what]), self.of.db) is None  # noqa: E731
        t.until(look, f"{what!r}, which was released, goes from Redis")

    def afterwards(self):
        """The holders of before and of the outage go on, release, and strangers can take it."""
        for what in list(self.locks):
            self.is_owned(what)
            self.is_refused(self.of.client(), what)
            self.release(what)
            self.is_soon_free(what)
            self.take(self.there, what)
            self.release(what)


def stories(library, hangs=False):
    """Register the cases of a library: Redis killed, and with `hangs` also Redis stopped."""

    def story(stopped):
        t.needs_lockside()
        Story(library).tell(stopped)

    endings = {name: stopped for name, stopped in ENDINGS.items() if hangs or not stopped}
    t.cases_of("Redis ", endings)(story)
