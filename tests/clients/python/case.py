"""What every Python client program shares: cases, a direct look into Redis, and what to expect.

A program runs real, unchanged lock libraries against `PORT`, which is Lockside or, with
`THROUGH` false, plain Redis: the same cases hold for both, and what is Lockside's own (no TTL on
a held lock, the stamp) is switched by the functions of this file. It prints one line for each
case for `run.py`. Standard library only: it is imported in every virtual environment.
"""

import contextlib
import os
import pathlib
import re
import sys
import time
import traceback
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))

from servers import Resp  # noqa: E402

PORT = int(os.environ["CLIENTS_PORT"])
REDIS_PORT = int(os.environ["CLIENTS_REDIS_PORT"])
THROUGH = os.environ["CLIENTS_MODE"] == "lockside"

DEADLINE = 15.0
"""Seconds after which a condition that does not come is a failure."""

UUID_TOKEN = "550e8400-e29b-41d4-a716-446655440000"
WORKER_TOKEN = b"93:550e8400-e29b-41d4-a716-446655440000"

TOKENS = {
    "a constant token": b"1",
    "a worker:uuid token": WORKER_TOKEN,
    "a host:pid token": b"web-1:4711",
    "a uuid token": UUID_TOKEN.encode(),
    "a short text token": "é locked by me".encode(),
    "a binary token": bytes(range(0x80, 0x94)),
    "a binary token with CR, LF and NUL": b"\x00\r\n$5\r\n\xff\xfe" + bytes(range(0xE0, 0xF0)),
    "a token that ends in a stamp": b"93:abc:01-02-2026 03:04:05",
    "a token that looks stamped by Lockside": WORKER_TOKEN + b":01-02-2026 03:04:05",
}
"""Tokens of every shape that a library lets its caller choose."""

STAMP = rb"\d\d-\d\d-\d{4} \d\d:\d\d:\d\d"

TCP_TABLE = pathlib.Path("/proc/self/net/tcp")
ESTABLISHED = "01"
"""The kernel's table of TCP connections, and its word for one that is open."""

cases = []
real_link = None


class Failed(Exception):
    """A case that did not go as it should."""


class Skipped(Exception):
    """A case that has no meaning here; says why."""


def case(function):
    """Register a case under its function's name."""
    cases.append((function.__name__.replace("_", " "), function))
    return function


class Count:
    """Counts the calls of an object's method, which goes on as it was."""

    def __init__(self, target, method):
        self.seen, original = 0, getattr(target, method)

        def counted(*args, **kwargs):
            result = original(*args, **kwargs)
            self.seen += 1
            return result

        setattr(target, method, counted)


def cases_of(prefix, table):
    """Register one case for each entry of `table` of a function that takes its value."""

    def register(function):
        for name, value in table.items():
            cases.append((f"{prefix}{name}", lambda value=value: function(value)))
        return function

    return register


def run():
    """Run every case, print its line, and end with 0 if all passed."""
    failed = 0
    for name, function in cases:
        try:
            function()
            print(f"ok {name}", flush=True)
        except Skipped as reason:
            print(f"skip {name}: {reason}", flush=True)
        except BaseException as problem:  # noqa: BLE001 - a library may raise anything
            failed += 1
            where = traceback.extract_tb(problem.__traceback__)[-1]
            place = f"{pathlib.Path(where.filename).name}:{where.lineno}"
            text = " ".join(f"{type(problem).__name__}: {problem}".split())
            print(f"FAIL {name}: {text} ({place})", flush=True)
            traceback.print_exc()
            if isinstance(problem, KeyboardInterrupt):
                break
    sys.exit(1 if failed else 0)


def real(*words):
    """Ask real Redis, past Lockside."""
    global real_link
    if real_link is None:
        real_link = Resp(REDIS_PORT)
    return real_link(*words)


def fresh(prefix="lock:"):
    """A key that no other case uses."""
    return f"{prefix}{uuid.uuid4().hex[:12]}"


def same(actual, wanted, what):
    """The two are equal, else a failure that says what was compared."""
    if actual != wanted:
        raise Failed(f"{what}: expected {wanted!r}, was {actual!r}")


def raises(kind, function, *args, **kwargs):
    """The call raises `kind`; returns what it raised."""
    try:
        result = function(*args, **kwargs)
    except kind as problem:
        return problem
    raise Failed(f"expected {kind}, returned {result!r}")


def until(condition, what):
    """Wait for a condition, at most `DEADLINE` seconds."""
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"did not happen within {DEADLINE:.0f} s: {what}")
        time.sleep(0.01)


def past(milliseconds):
    """Return when Redis itself has expired a key that was given this TTL just now.

    What was given the same TTL before is then over in Redis's own time: no sleep that hopes.
    """
    clock = fresh("test-clock:")
    real("SET", clock, "x", "PX", milliseconds)
    until(lambda: real("EXISTS", clock) == 0, f"{milliseconds} ms in Redis")


def unique(value):
    """SPEC 4: a UUID, 16 bytes or more of hex or base64 with a digit, or 16 bytes not UTF-8.

    Of base64 the standard alphabet, not that of URLs.
    """
    if len(value) < 16:
        return False
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return True
    if re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
        return True
    return bool(re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", text) and re.search(r"\d", text))


def stored_pattern(value):
    """The stored form that SPEC 4 gives a client value under `stamp = "auto"`."""
    worker, colon, token = value.partition(b":")
    if colon and worker and token and b":" not in token and unique(token):
        return re.compile(re.escape(value) + b":" + STAMP, re.DOTALL)
    if unique(value):
        return re.compile(re.escape(value), re.DOTALL)
    return re.compile(re.escape(value) + rb":~[0-9a-f]{16}:" + STAMP, re.DOTALL)


def held(key, value, what="the lock", db=0, ttl=True):
    """Real Redis has the lock, with the stored form of `value` and no TTL.

    In direct mode: the value as it is, and a TTL unless `ttl` is false.
    """
    value = value if isinstance(value, bytes) else str(value).encode()
    found = stored(key, db)
    if found is None:
        raise Failed(f"{what}: {key} is not in Redis")
    real("SELECT", db)
    pttl = real("PTTL", key)
    real("SELECT", 0)
    if not THROUGH:
        same(found, value, f"{what}: the value in Redis")
        same(pttl > 0, ttl, f"{what}: has a TTL (PTTL {pttl})")
        return
    if not stored_pattern(value).fullmatch(found):
        raise Failed(f"{what}: {found!r} is not the stored form of {value!r}")
    same(pttl, -1, f"{what}: PTTL in Redis")


def stored(key, db=0):
    """What real Redis has at the key."""
    real("SELECT", db)
    value = real("GET", key)
    real("SELECT", 0)
    return value


def free(key, what="the lock", db=0):
    """Real Redis does not have the key."""
    same(stored(key, db), None, f"{what}: {key} in Redis")


def asked(directive):
    """Have the runner do something to the servers, and wait until it is done."""
    print(directive, flush=True)
    same(sys.stdin.readline().strip(), "done", "the runner's answer")


def needs_lockside():
    """Leave out the case in direct mode."""
    if not THROUGH:
        raise Skipped("plain Redis has nobody who answers while it is away")


def restart_lockside():
    """kill -9 and a new start on the same port; in direct mode: Redis forgets its scripts."""
    asked("@restart")


@contextlib.contextmanager
def redis_away(stopped=False):
    """Redis is gone within the `with`, and Lockside knows; after it Redis is back and in line.

    It is killed with -9 and comes back empty; with `stopped` it hangs and comes back as it was.
    Also after a failure it is brought back, for the cases that follow.
    """
    global real_link
    down, up = ("@redis-stop", "@redis-continue") if stopped else ("@redis-down", "@redis-up")
    try:
        asked(down)
        yield
    finally:
        if real_link is not None:
            real_link.close()
            real_link = None
        asked(up)


def open_connections():
    """The local ports of all TCP connections to `PORT` that are open.

    Those of earlier cases, which nobody closes, end whenever their objects are collected.
    """
    rows = [line.split() for line in TCP_TABLE.read_text().splitlines()[1:]]
    port = lambda address: int(address.rpartition(":")[2], 16)  # noqa: E731
    return {port(row[1]) for row in rows if row[3] == ESTABLISHED and port(row[2]) == PORT}
