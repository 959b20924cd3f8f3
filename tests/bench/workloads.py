"""What is measured: the workloads, one run of one of them, and memory for idle connections."""

import csv
import itertools
import os
import resource
import socket
import subprocess
import time
from dataclasses import dataclass

from processes import ask, busy_seconds, need

RANDOM_KEYS = 100_000
"""Keys that GET and SET choose from."""
RELEASED_KEYS = 40_000
"""Locks that are taken before releases are measured; half as many releases are sent, each for a
random one of them."""
VALUE = "x" * 64
ACQUIRE = ["SET", "lock:bench:__rand_int__", "550e8400-e29b-41d4-a716-__rand_int__", "NX", "PX", "30000"]
HELD_KEY = "lock:bench:held"
IDLE_CONNECTIONS = 1_000
BATCH = 200
"""Commands of the set-up that are sent at once on one connection."""


@dataclass(frozen=True)
class Workload:
    """A load of redis-benchmark."""

    name: str
    title: str
    arguments: tuple
    guess: int
    """Requests a second to begin with; the first run finds the true rate."""
    one_core: bool = False
    """Client, proxy and Redis share one core: the round trip is then the CPU path alone."""
    setup: str = ""
    """What has to be there before: see `prepare`."""
    most: int = 1_000_000
    """No more requests than this in one run."""


def _plain(name, title, test, clients, pipeline, guess, **more):
    arguments = ("-t", test, "-d", "64", "-r", str(RANDOM_KEYS), "-c", str(clients), "-P", str(pipeline))
    return Workload(name, title, arguments, guess, **more)


WORKLOADS = [
    _plain("get-c50", "GET 64 B, 50 clients", "get", 50, 1, 40_000),
    _plain("set-c50", "SET 64 B, 50 clients", "set", 50, 1, 40_000),
    _plain("get-p16", "GET 64 B, 50 clients x pipeline 16", "get", 50, 16, 250_000),
    _plain("set-p16", "SET 64 B, 50 clients x pipeline 16", "set", 50, 16, 250_000),
    _plain("get-one", "GET 64 B, 1 client, all on one core", "get", 1, 1, 20_000, one_core=True),
    _plain("set-one", "SET 64 B, 1 client, all on one core", "set", 1, 1, 20_000, one_core=True),
    Workload("acquire", "acquire: SET lock:... NX PX 30000, free key, 50 clients",
             ("-r", "1000000000", "-c", "50", *ACQUIRE), 20_000, setup="empty", most=200_000),
    Workload("release", "release: DEL lock:..., 50 clients",
             ("-r", str(RELEASED_KEYS), "-c", "50", "DEL", "lock:bench:__rand_int__"), 40_000,
             setup="locks", most=RELEASED_KEYS // 2),
    Workload("contended", "contended acquire: SET NX PX of a held lock, 50 clients",
             ("-r", "1000000000", "-c", "50", "SET", HELD_KEY, *ACQUIRE[2:]), 40_000, setup="held"),
    Workload("acquire-one", "acquire, 1 client, all on one core",
             ("-r", "1000000000", "-c", "1", *ACQUIRE), 8_000, one_core=True, setup="empty",
             most=200_000),
]
"""In the order of the tables."""


def prepare(workload, port):
    """Brings Redis, and a proxy's own knowledge of it, to where the workload begins."""
    if workload.setup:
        ask(port, "FLUSHALL")
    if workload.setup == "held":
        ask(port, "SET", HELD_KEY, "somebody", "NX", "PX", "600000")
    if workload.setup == "locks":
        take_locks(port)


def fill(port):
    """The keys that GET reads."""
    names = (f"key:{index:012d}" for index in range(RANDOM_KEYS))
    _stream([port], (("SET", name, VALUE) for name in names))


def take_locks(port):
    """Acquires `RELEASED_KEYS` locks through `port`, on 50 connections."""
    names = (f"lock:bench:{index:012d}" for index in range(RELEASED_KEYS))
    _stream([port] * 50, (("SET", name, "owner", "NX", "PX", "30000") for name in names))


def _stream(ports, commands):
    """Sends the commands over one connection for each of `ports`, a few hundred at a time, and
    awaits an +OK for each."""
    links = [socket.create_connection(("127.0.0.1", port), 60) for port in ports]
    commands = iter(commands)
    try:
        more = True
        while more:
            sent = []
            for link in links:
                batch = list(itertools.islice(commands, BATCH))
                link.sendall(b"".join(map(_encode, batch)))
                sent.append((link, 5 * len(batch)))
                more = len(batch) == BATCH
            for link, expected in sent:
                replies = link.makefile("rb").read(expected) if expected else b""
                if replies.count(b"+OK\r\n") * 5 != expected:
                    raise RuntimeError(f"a command of the set-up was refused: {replies[:200]!r}")
    finally:
        for link in links:
            link.close()


def _encode(command):
    parts = b"".join(b"$%d\r\n%s\r\n" % (len(part), part.encode()) for part in command)
    return b"*%d\r\n%s" % (len(command), parts)


@dataclass
class Result:
    """One run of one workload against one target."""

    requests: int
    rps: float
    p50: float
    p99: float
    """Milliseconds."""
    proxy: float
    """CPU microseconds per request of the proxy process, all threads; 0 for Redis itself."""
    proxy_user: float
    proxy_system: float
    redis: float
    client: float
    foreign: float
    """Cores that others kept busy meanwhile."""
    upstream: dict
    """Commands that Redis was sent or ran, for each request."""


def run(workload, stack, name, requests, core):
    """Runs `workload` against the target `name` with so many requests."""
    target, redis = stack.processes[name], stack.redis
    prepare(workload, target.port)
    ask(redis.port, "CONFIG", "RESETSTAT")
    command = [need("redis-benchmark", "redis-tools"), "-p", str(target.port), "-n", str(requests),
               "--csv", *workload.arguments]
    pin = (lambda: os.sched_setaffinity(0, {core})) if workload.one_core else None
    before = (target.cost(), redis.cost(), _client_seconds(), busy_seconds(), time.monotonic())
    done = subprocess.run(command, preexec_fn=pin, capture_output=True, text=True, timeout=120)
    after = (target.cost(), redis.cost(), _client_seconds(), busy_seconds(), time.monotonic())
    if done.returncode or "rror" in done.stderr:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    row = list(csv.DictReader(done.stdout.splitlines()))[-1]
    each = 1e6 / requests
    proxy, server = after[0].since(before[0]), after[1].since(before[1])
    client = after[2] - before[2]
    ours = server.total + client + (0 if target is redis else proxy.total)
    direct = target is redis
    return Result(
        requests, float(row["rps"]), float(row["p50_latency_ms"]), float(row["p99_latency_ms"]),
        0 if direct else proxy.total * each, 0 if direct else proxy.user * each,
        0 if direct else proxy.system * each, server.total * each, client * each,
        max(0.0, (after[3] - before[3] - ours) / (after[4] - before[4])),
        _commands(redis.port, requests))


def _client_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _commands(port, requests):
    """How often Redis carried out each command, for each request of the run. What a script calls
    is counted too, so `set` + `evalsha` are the round trips of an acquire."""
    counts = {}
    for line in ask(port, "INFO", "commandstats").splitlines():
        if line.startswith("cmdstat_") and "calls=" in line:
            name, _, rest = line.removeprefix("cmdstat_").partition(":")
            share = int(rest.split("calls=")[1].split(",")[0]) / requests
            if share >= 0.001:
                counts[name] = round(share, 3)
    return counts


def idle_memory(process):
    """Memory of a process that has just started, and what each of `IDLE_CONNECTIONS` adds to it
    after one GET. KiB."""
    empty = process.memory()
    links = []
    try:
        for _ in range(IDLE_CONNECTIONS):
            link = socket.create_connection(("127.0.0.1", process.port), 30)
            links.append(link)
            link.sendall(b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000001\r\n")
            if not link.recv(4096).startswith(b"$"):
                raise RuntimeError("a GET was not answered")
        full = process.memory()
    finally:
        for link in links:
            link.close()
    each = {name: (full[name] - empty[name]) / IDLE_CONNECTIONS for name in empty}
    return {"idle": empty, "each": each}
