#!/usr/bin/env python3
"""`make demo`: unchanged Redis clients live through the life of a lock behind Lockside.

Starts a private redis-server and Lockside on free ports, tells each step with the bytes that were
seen, and checks that it went as told. Ends by itself, cleans up, exits non-zero otherwise.
"""

import contextlib
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import redis

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

from relay import REPLY, SECOND, Relay  # noqa: E402
from servers import Directory, Lockside, Redis, RedisError, Resp, ServerFailed  # noqa: E402
from sheet import Workshop  # noqa: E402

KEY = "lock:invoice:42"
TOKEN = b"93:550e8400-e29b-41d4-a716-446655440000"
OTHER_KEY = "lock:invoice:43"
OTHER_TOKEN = b"93:6ba7b810-9dad-41d1-80b4-00c04fd430c8"
STRANGER = b"94:9b2d2c4e-3f0a-4f6e-8d53-0a4c8a1d2e7f"
LOCK_TTL = 2
"""Seconds that the client asks for: short, so that the demo can outlive it."""

SAFETY_TTL = 10
"""Seconds that Lockside's first step gives a key (SPEC section 3)."""

STAMPED = re.compile(re.escape(TOKEN) + rb":\d\d-\d\d-\d{4} \d\d:\d\d:\d\d")
WIDTH = 64
"""Longest argument in a line of MONITOR that is shown whole: a stored value is."""

ROUNDS = 3
"""Rounds of the throughput part; the median counts."""

PROBE = "lockside:probe:"
"""Begin of the key, with a TTL of a second, by which Lockside probes Redis."""

AT_ONCE = 1.0
"""Seconds within which a client hears that ordinary keys are not served; it takes far less."""

RECOVERY = 15
"""Longest wait, in seconds, until Lockside is calm again after an outage."""


class NotAsTold(Exception):
    """A step did not go as the story says."""


class Story:
    """What is printed: numbered steps, who said what, and the checks."""

    def __init__(self, colours):
        self.colours, self.step_number = colours, 0

    def paint(self, code, text):
        return f"\033[{code}m{text}\033[0m" if self.colours else text

    def step(self, title):
        self.step_number += 1
        print("\n" + self.paint("1", f"{self.step_number}. {title}"), flush=True)

    def says(self, who, text):
        print(f"   {self.paint('36', f'{who:<9}')} {text}", flush=True)

    def check(self, holds, claim):
        """Print the claim if it holds; else the demo is over."""
        if not holds:
            raise NotAsTold(claim)
        print(f"   {self.paint('32', 'ok')}        {claim}", flush=True)

    def failure(self, claim):
        """What to raise when it is not so."""
        return NotAsTold(claim)


def shortened(line):
    """A line of MONITOR with its long arguments cut."""
    cut = lambda found: f'"{found[1][:WIDTH]}..."' if len(found[1]) > WIDTH else found[0]  # noqa: E731
    return re.sub(r'"((?:[^"\\]|\\.)*)"', cut, line)


def shortened_value(value):
    """The first characters of a stored value, for a line."""
    text = value.decode(errors="replace")
    return text if len(text) <= 20 else f"{text[:17]}..."


class Monitor:
    """Redis's MONITOR, read up to a mark that is sent by another connection."""

    def __init__(self, port):
        self.link, self.other = Resp(port), Resp(port)
        self.link("MONITOR")

    def about(self, key):
        """What was seen of the key since the last call, without time and address."""
        mark = f"end of step {time.monotonic_ns()}"
        self.other("ECHO", mark)
        lines = []
        while mark not in (line := self.link.read().decode(errors="replace")):
            found = re.match(r"[\d.]+ \[\d+ (\S+)\] (.*)", line)
            if found and key in line:
                lines.append(("lua " if found[1] == "lua" else "") + found[2])
        return lines


class Demo:
    """The steps, in their order; each uses what the one before left."""

    def __init__(self, story, directory, ending):
        self.story, self.directory, self.ending = story, directory, ending
        self.redis = self.started(Redis("redis", directory))
        self.lockside = self.started(Lockside("lockside", directory, self.redis.port))
        self.direct = self.redis.connect()
        self.worker, self.rival = self.client(), self.client()

    def started(self, server):
        """Start a server that ends with the demo, whatever happens."""
        self.ending.callback(server.kill)
        return server.start()

    def client(self):
        """A redis-py client, pointed at Lockside and otherwise as it comes."""
        return redis.Redis(host="127.0.0.1", port=self.lockside.port)

    def run(self):
        """Tell the story."""
        version = re.search(rb"redis_version:(\S+)", self.direct("INFO", "server"))[1].decode()
        print(f"Redis {version} listens on 127.0.0.1:{self.redis.port}, Lockside on "
              f"127.0.0.1:{self.lockside.port}.")  # fmt: skip
        print(f"The clients are redis-py {redis.__version__}, unchanged, and know only Lockside.")
        self.acquire()
        self.two_views()
        self.refused()
        self.past_the_ttl()
        self.extend_and_release()
        self.crash()
        self.redis_dies()
        self.lockside_dies_too()
        self.redis_is_back()
        self.calm_again()
        self.throughput()

    def acquire(self):
        self.story.step(f"A worker takes a lock for {LOCK_TTL} seconds")
        monitor = Monitor(self.redis.port)
        self.lock = self.worker.lock(KEY, timeout=LOCK_TTL)
        won = self.lock.acquire(blocking=False, token=TOKEN)
        self.clock = self.start_clock()
        self.story.says("worker", f'lock("{KEY}", timeout={LOCK_TTL}).acquire() -> {won}')
        lines = monitor.about(KEY)
        for line in lines:
            self.story.says("MONITOR", shortened(line))
        self.story.check(won, "the client was told that it has the lock")
        first = next((i for i, line in enumerate(lines) if re.match(r'"SET"', line, re.I)), None)
        ttl = rf'"(EX" "{SAFETY_TTL}|PX" "{SAFETY_TTL}000)"'
        safe = first is not None and re.search(rf'{ttl} "NX"|"NX" {ttl}', lines[first], re.I)
        self.story.check(
            safe, f"first: SET NX with a safety TTL of {SAFETY_TTL} s, not the client's"
        )
        rest = lines[first + 1 :]
        self.story.check(
            any(re.match(r'lua "persist"', line, re.I) for line in rest),
            "then, in a script that compares the value: PERSIST",
        )
        pttl = self.direct("PTTL", KEY)
        self.story.says("Redis", f"PTTL {KEY} -> {pttl}")
        self.story.check(pttl == -1, "no TTL is left: the lock stays until it is released")

    def two_views(self):
        self.story.step("The stamp is in Redis, and no client sees it")
        stored, seen = self.direct("GET", KEY), self.rival.get(KEY)
        self.story.says("Redis", f"GET {KEY} -> {stored.decode()}")
        self.story.says("client", f"GET {KEY} -> {seen.decode()}")
        self.story.check(
            STAMPED.fullmatch(stored), "Redis has the token with the time of the acquire"
        )
        self.story.check(seen == TOKEN, "the client reads back its own bytes")

    def refused(self):
        self.story.step("A second client, and a wrong token, are refused")
        stored = self.direct("GET", KEY)
        other = self.rival.lock(KEY, timeout=LOCK_TTL)
        won = other.acquire(blocking=False)
        self.story.says("rival", f'lock("{KEY}").acquire(blocking=False) -> {won}')
        self.story.check(won is False, "the second acquire is refused")
        other.local.token = b"94:not-the-owner"
        try:
            other.release()
            answer = "released"
        except redis.exceptions.LockNotOwnedError as problem:
            answer = f"LockNotOwnedError: {problem}"
        self.story.says("rival", f"release() with a wrong token -> {answer}")
        self.story.check(answer != "released", "the wrong token is refused")
        self.story.check(self.direct("GET", KEY) == stored, "the lock is as it was")

    def past_the_ttl(self):
        self.story.step(f"The work takes longer than {LOCK_TTL} seconds")
        self.wait_until(lambda: self.direct("EXISTS", self.clock) == 0, LOCK_TTL + 5)
        self.story.says("Redis", "a plain key with the same TTL, set at the same time, is gone")
        self.story.check(self.lock.owned(), "the worker still owns the lock")
        won = self.rival.lock(KEY, timeout=LOCK_TTL).acquire(blocking=False)
        self.story.check(won is False, "a rival is still refused")

    def extend_and_release(self):
        self.story.step("The worker extends, and releases")
        extended = self.lock.extend(LOCK_TTL)
        pttl = self.direct("PTTL", KEY)
        self.story.says("worker", f"extend({LOCK_TTL}) -> {extended}")
        self.story.says("Redis", f"PTTL {KEY} -> {pttl}")
        self.story.check(extended and pttl == -1, "extend answers as in Redis, and leaves no TTL")
        self.lock.release()
        self.story.says("worker", "release()")
        self.story.check(self.direct("EXISTS", KEY) == 0, "the key is gone from Redis")
        won = self.rival.set(KEY, b"94:raw", nx=True, ex=LOCK_TTL)
        self.story.says("rival", f"SET {KEY} 94:raw NX EX {LOCK_TTL} -> {won}")
        self.story.check(won, "a raw SET NX takes it at once")
        self.story.check(self.rival.delete(KEY) == 1, "DEL releases it")

    def crash(self):
        self.story.step("kill -9 of Lockside in the middle of an acquire")
        self.story.check(self.lockside.stop() == 0, "SIGTERM ends Lockside with exit code 0")
        first, self.relay = self.lockside, Relay(self.redis.port)
        self.ending.callback(self.relay.close)
        behind = Lockside("behind-relay", self.directory, self.relay.port)
        self.lockside = self.started(behind)
        self.story.says("demo", "another Lockside, with a relay before Redis that can hold back")
        self.lose_an_acquire(REPLY, KEY, TOKEN)
        self.story.check(self.direct("EXISTS", KEY) == 1, "Redis had set the key")
        pttl = self.direct("PTTL", KEY)
        self.story.says("Redis", f"PTTL {KEY} -> {pttl}")
        self.story.check(0 < pttl <= SAFETY_TTL * 1000, "what is left has the safety TTL")
        self.behind_the_claim()
        start = time.monotonic()
        self.wait_until(lambda: self.direct("EXISTS", KEY) == 0, SAFETY_TTL + 1)
        waited = time.monotonic() - start
        self.story.check(True, f"Redis cleared the first key by itself after {waited:.1f} s more")
        lock = self.client().lock(KEY, timeout=LOCK_TTL)
        self.story.check(lock.acquire(blocking=False), "the next client gets that lock")
        self.story.check(self.direct("PTTL", KEY) == -1, "and it has no TTL")
        lock.release()
        self.story.check(self.lockside.stop() == 0, "SIGTERM ends it with exit code 0")
        self.lockside = first.start()

    def behind_the_claim(self):
        """The same a step later: the ledger has the lock, and its client does not know."""
        self.lockside.start()
        self.lose_an_acquire(SECOND, OTHER_KEY, OTHER_TOKEN)
        self.lockside.start()
        self.story.says("demo", "Lockside is started again")
        words = {key: state for key, (_, state) in self.known().items()}
        self.story.says("Lockside", f"LOCKS -> {words}")
        self.story.check(
            words == {OTHER_KEY: "undecided"},
            "the ledger has the second lock alone, and says that its client may not know",
        )
        self.story.check(self.direct("PTTL", OTHER_KEY) == -1, "the safety TTL is off: it is taken")
        client = self.client()
        won = client.set(OTHER_KEY, STRANGER, nx=True)
        self.story.check(not won, "a stranger is refused")
        won = client.set(OTHER_KEY, OTHER_TOKEN, nx=True, ex=LOCK_TTL)
        self.story.check(won, "who asks again with the same token has it: it is the same grant")
        self.story.check(client.delete(OTHER_KEY) == 1, "and releases it")

    def lose_an_acquire(self, what, key, token):
        """Start an acquire, and kill Lockside while it waits at the relay."""
        answers = []
        self.relay.hold(what, key.encode())

        def attempt():
            # No retries: what the caller of the lost acquire sees is the lost connection.
            alone = Resp(self.lockside.port)
            try:
                answers.append(alone("SET", key, token, "NX", "EX", LOCK_TTL))
            except (ConnectionError, OSError) as problem:
                answers.append(problem)

        thread = threading.Thread(target=attempt)
        thread.start()
        if not self.relay.holding.wait(5):
            raise NotAsTold(f"Lockside asks Redis about {key}")
        self.story.says("relay", f"holds back {what} that names {key}")
        self.story.check(not answers, "the client has no answer yet")
        self.lockside.kill()
        thread.join(5)
        self.story.says("demo", "kill -9 of Lockside")
        self.story.check(isinstance(answers[0], Exception), "nobody was told OK")

    def redis_dies(self):
        self.story.step("kill -9 of Redis, while three locks are held")
        self.held = {}
        for name in ("lock:kept", "lock:given", "lock:also-kept"):
            self.hold(self.worker, name)
        self.worker.set("page:7", "hello")
        self.redis.kill()
        self.died = time.monotonic()
        self.tell("demo", "kill -9 of Redis")
        kept, given = self.held["lock:kept"], self.held.pop("lock:given")
        self.did("worker", "owned()", kept.owned(), "the holder still holds")
        self.did("worker", f"extend({LOCK_TTL})", kept.extend(LOCK_TTL), "and extends")
        self.refuse_a_stranger("lock:kept")
        given.release()
        self.tell("worker", "release() of lock:given")
        self.story.check(self.worker.get("lock:given") is None, "a release works")
        self.hold(self.rival, "lock:given")
        self.tell("rival", "acquire() of lock:given -> True")
        self.story.check(self.held["lock:given"].owned(), "who comes next gets what was released")
        self.hold(self.rival, "lock:new")
        self.tell("rival", "acquire() of lock:new -> True")
        self.story.check(self.held["lock:new"].owned(), "a new acquire works")
        start = time.monotonic()
        try:
            answer = self.worker.get("page:7")
        except redis.exceptions.RedisError as problem:
            answer = problem
        took = time.monotonic() - start
        self.tell("worker", f"GET page:7 -> {answer}")
        clear = isinstance(answer, Exception) and "is unavailable" in str(answer)
        self.story.check(
            clear and took < AT_ONCE, f"ordinary keys: a clear error, after {took * 1000:.0f} ms"
        )

    def lockside_dies_too(self):
        self.story.step("kill -9 of Lockside, while Redis is down")
        self.lockside.kill()
        self.tell("demo", "kill -9 of Lockside")
        self.lockside.start()
        self.tell("demo", "Lockside is started again, still without Redis")
        known = self.known()
        self.tell("Lockside", f"LOCKS -> {', '.join(sorted(known))}")
        self.story.check(set(known) == set(self.held), "it knows every lock, and no other")
        owned = [lock.owned() for lock in self.held.values()]
        self.did("clients", "owned()", all(owned), "each holder still holds")
        for name in self.held:
            self.refuse_a_stranger(name)
        self.held.pop("lock:also-kept").release()
        self.tell("worker", "release() of lock:also-kept")
        self.story.check(self.worker.get("lock:also-kept") is None, "a release works here too")

    def redis_is_back(self):
        self.story.step("Redis comes back, empty")
        self.redis.start()
        self.direct = self.redis.connect()
        back = time.monotonic()
        self.tell("demo", "Redis is started again; it has kept nothing")
        tries = []
        self.wait_until(lambda: self.is_healthy_and_refused(tries), RECOVERY)
        took = time.monotonic() - back
        stored = {key: self.direct("GET", key) for key in self.in_redis()}
        for key in sorted(stored):
            self.tell("Redis", f"{key} = {shortened_value(stored[key])}, "
                               f"PTTL {self.direct('PTTL', key)}")  # fmt: skip
        self.story.check(True, f"Lockside is healthy {took:.1f} s after Redis is back")
        self.story.check(
            not any(tries), f"meanwhile a stranger asked {len(tries)} times for lock:kept, in vain"
        )
        tokens = {name: lock.local.token for name, lock in self.held.items()}
        same = set(stored) == set(tokens) and all(
            stored[name].startswith(token) for name, token in tokens.items()
        )
        self.story.check(same, "Redis has what clients were told they hold, and nothing else")
        ttls = {self.direct("PTTL", key) for key in stored}
        self.story.check(ttls == {-1}, "each without a TTL")

    def calm_again(self):
        self.story.step("Calm again")
        for name, lock in self.held.items():
            self.story.check(lock.owned(), f"the holder of {name} still holds")
            self.refuse_a_stranger(name)
            lock.release()
        self.story.check(not self.in_redis(), "all released: Redis is empty")
        self.story.check(not self.known(), "and Lockside knows of no lock")
        self.worker.set("page:7", "hello again")
        self.story.check(self.rival.get("page:7") == b"hello again", "ordinary keys are served")

    def hold(self, client, name):
        """Take a lock that must be free, and keep it in `held`."""
        lock = client.lock(name, timeout=LOCK_TTL)
        if not lock.acquire(blocking=False):
            raise NotAsTold(f"{name} is free")
        self.held[name] = lock

    def refuse_a_stranger(self, name):
        """Neither the lock nor its release is for somebody else."""
        other = self.client().lock(name, timeout=LOCK_TTL)
        won = other.acquire(blocking=False)
        other.local.token = STRANGER
        try:
            other.release()
            refused = False
        except redis.exceptions.LockNotOwnedError:
            refused = True
        self.story.check(not won and refused, f"a stranger neither gets nor releases {name}")

    def tell(self, who, text):
        """A line with the time since Redis died."""
        self.story.says(who, f"{time.monotonic() - self.died:5.2f} s  {text}")

    def did(self, who, what, answer, claim):
        self.tell(who, f"{what} -> {bool(answer)}")
        self.story.check(answer, claim)

    def in_redis(self):
        """All keys in Redis, but for the one by which Lockside finds out that it takes writes."""
        keys = (key.decode() for key in self.direct("KEYS", "*"))
        return [key for key in keys if not key.startswith(PROBE)]

    def ask(self, *words):
        """An answer of Lockside's own; maps come as dicts."""
        link = Resp(self.lockside.port)
        try:
            return link("LOCKSIDE", *words)
        finally:
            link.close()

    def known(self):
        """The locks that Lockside knows: key to owner and state."""
        found = (dict(zip(each[::2], each[1::2])) for each in self.ask("LOCKS"))
        return {
            each[b"key"].decode(): (each[b"owner"].decode(), each[b"state"].decode())
            for each in found
        }

    def is_healthy_and_refused(self, tries):
        """Whether Lockside is healthy; notes whether a stranger was given a held lock before."""
        try:
            tries.append(bool(self.rival.set("lock:kept", STRANGER, nx=True)))
        except redis.exceptions.ResponseError:
            tries.append(False)
        return self.mode() == "healthy"

    def mode(self):
        """The mode's word."""
        try:
            return self.ask("MODE").decode().partition(":")[0]
        except (RedisError, ConnectionError, OSError) as problem:
            raise NotAsTold(f"LOCKSIDE MODE is answered ({problem})") from None

    def throughput(self):
        self.story.step("Throughput beside plain Redis (redis-benchmark, 50 clients, 64 bytes)")
        print("   requests per second, median of", ROUNDS, "short rounds; this shows the order of")
        print("   magnitude on this machine, `make bench` measures")
        tests = {
            "GET": ["-n", "20000", "-t", "get"],
            "SET": ["-n", "20000", "-t", "set"],
            "GET, pipeline of 16": ["-n", "100000", "-P", "16", "-t", "get"],
            "SET NX of a free lock": [
                "-n", "5000", "-r", "1000000000", "SET", "lock:bench:__rand_int__",
                "93:__rand_int__", "NX", "EX", "60",
            ],
        }  # fmt: skip
        for name, words in tests.items():
            plain, through = [], []
            for _ in range(ROUNDS):
                plain.append(self.benchmark(self.redis.port, words))
                through.append(self.benchmark(self.lockside.port, words))
                # Through Lockside: what vanished behind its back would be put back.
                self.worker.flushall()
            one, two = (sorted(rates)[ROUNDS // 2] for rates in (plain, through))
            self.story.says("", f"{name:<22} Redis {one:>9,.0f}   Lockside {two:>9,.0f}   "
                                f"ratio {two / one:.2f}")  # fmt: skip
        self.story.check(self.lockside.alive(), "Lockside has served them all")
        self.story.check(self.lockside.stop() == 0, "SIGTERM ends it with exit code 0")

    def benchmark(self, port, words):
        """Requests per second of one run."""
        done = subprocess.run(
            ["redis-benchmark", "-p", str(port), "-c", "50", "-d", "64", "--csv", *words],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        rate = re.search(r'^"(?!test)[^\n]*?","([\d.]+)"', done.stdout, re.MULTILINE)
        if done.returncode or not rate or "error" in done.stderr.lower():
            raise NotAsTold(f"redis-benchmark ran through: {done.stderr or done.stdout}")
        return float(rate[1])

    def start_clock(self):
        """A plain key that Redis expires when a plain lock would have expired."""
        self.direct("SET", "demo-clock", "x", "EX", LOCK_TTL)
        return "demo-clock"

    def wait_until(self, condition, seconds):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise NotAsTold(f"it happens within {seconds} s")
            time.sleep(0.02)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    story, demo = Story(sys.stdout.isatty()), None
    with Directory() as directory, contextlib.ExitStack() as ending:
        try:
            demo = Demo(story, directory, ending)
            demo.run()
            demo = Workshop(story, directory, ending)
            demo.run()
        except NotAsTold as problem:
            print(f"   {story.paint('31', 'NOT SO')}    {problem}", flush=True)
            for line in demo.lockside.log_tail().splitlines():
                print(f"   | {line}")
            return 1
        except (ServerFailed, redis.RedisError, OSError) as problem:
            print(f"   {story.paint('31', 'FAILED')}    {problem}", flush=True)
            return 1
    print("\nAll as told.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
