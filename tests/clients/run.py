#!/usr/bin/env python3
"""Runs real lock libraries against Lockside, or against plain Redis with `--direct`.

Each suite is one program under `python/`, `node/` or `rust/` with a private redis-server and a
private Lockside; some run at the same time. A program prints `ok NAME` or `FAIL NAME: REASON` for
each case, `skip NAME: REASON` for one that has no meaning without Lockside, and a word of
`DIRECTIVES` when it wants something done to its servers; it gets `done`, or what went wrong. A suite
also fails when Lockside died, or does not end with 0 after SIGTERM, or when no case was seen.

    run.py [--direct] [--list] [--verbose] [FILTER ...]

FILTER is a part of a suite's name. The last line is `N passed, N failed`, and `, N skipped` if any
were; exit code 1 if any failed, 2 if nothing could be run.
"""

import argparse
import concurrent.futures
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

from servers import (  # noqa: E402
    ROOT, TARGET, Directory, Lockside, Redis, RedisError, Resp, ServerFailed,
    lockside_binary,
)  # fmt: skip

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
OLD_PYTHON = VENV / "redis-5.0" / "bin" / "python"
RSLOCK = TARGET / "clients" / "debug" / "rslock-client"
"""Built by `make test-clients` in a target directory of its own."""

TOGETHER = 3
"""Suites at the same time: most of a suite's time is waiting for a TTL to run out."""

SUITE_DEADLINE = 90
"""Seconds for one suite; it is killed after that."""

MODE_DEADLINE = 20.0
"""Seconds until Lockside must have seen that its Redis is gone, or have it in line again."""

KEYS = [
    "lock:*", "redlock:*", "mutex:*",
    "{redlock}*",           # @sesamecare-oss/redlock puts a hash tag before its resources
    "rq:scheduler-lock:*", "redbeat::lock", ":1:lock:*",
]  # fmt: skip

CONFIG = f"""\
[[rule]]
name = "clients"
keys = [{", ".join(f'"{key}"' for key in KEYS)}]
"""

SUITES = {
    "redis-py": [PYTHON, "python/redis_py.py", "redis"],
    "redis-py-5.0": [OLD_PYTHON, "python/redis_py.py", "redis"],
    "valkey-py": [PYTHON, "python/redis_py.py", "valkey"],
    "redis-py-asyncio": [PYTHON, "python/redis_asyncio.py"],
    "raw-commands": [PYTHON, "python/raw_commands.py"],
    "python-redis-lock": [PYTHON, "python/python_redis_lock.py"],
    "pottery": [PYTHON, "python/pottery_redlock.py"],
    "redlock-py": [PYTHON, "python/redlock_py.py"],
    "redlock": [OLD_PYTHON, "python/redlock_lock.py"],
    "aioredlock": [OLD_PYTHON, "python/aioredlock_lock.py"],
    "sherlock": [PYTHON, "python/sherlock_lock.py"],
    "rq-scheduler": [PYTHON, "python/rq_scheduler.py"],
    "django-redis": [PYTHON, "python/django_redis_lock.py"],
    "celery-redbeat": [PYTHON, "python/celery_redbeat.py"],
    "redis-cli": [PYTHON, "python/redis_cli.py"],
    "redis-benchmark": [PYTHON, "python/redis_benchmark.py"],
    "ioredis-4": ["node", "node/ioredis.js", "ioredis4"],
    "ioredis-5": ["node", "node/ioredis.js", "ioredis5"],
    "ioredis-6": ["node", "node/ioredis.js", "ioredis"],
    "node-redis-4": ["node", "node/node_redis.js", "redis4"],
    "node-redis-5": ["node", "node/node_redis.js", "redis5"],
    "node-redis-6": ["node", "node/node_redis.js", "redis"],
    "node-redlock-4": ["node", "node/redlock4.js"],
    "node-redlock-5": ["node", "node/redlock5.js", "redlock5"],
    "sesamecare-redlock": ["node", "node/redlock5.js", "@sesamecare-oss/redlock"],
    "redlock-universal": ["node", "node/redlock_universal.js"],
    "redis-semaphore": ["node", "node/redis_semaphore.js"],
    "rslock": [RSLOCK],
}

printing = threading.Lock()


def await_mode(lockside, wanted):
    """Return when `LOCKSIDE MODE` says `wanted`; ServerFailed if it does not in time."""
    link, end = Resp(lockside.port), time.monotonic() + MODE_DEADLINE
    try:
        while (mode := link("LOCKSIDE", "MODE").decode()).partition(":")[0] != wanted:
            if time.monotonic() > end:
                raise ServerFailed(f"not {wanted} within {MODE_DEADLINE:.0f} s but {mode}")
            time.sleep(0.02)
    finally:
        link.close()


def restart(redis, lockside):
    """kill -9 of Lockside and a new start; without Lockside: Redis forgets its scripts."""
    if lockside:
        lockside.kill()
        lockside.start()
    else:
        redis.connect()("SCRIPT", "FLUSH")


def redis_down(redis, lockside):
    """kill -9 of Redis, until Lockside serves the locks without it."""
    redis.kill()
    await_mode(lockside, "degraded")


def redis_up(redis, lockside):
    """An empty Redis on the same port, until Lockside has put the locks into it."""
    redis.start()
    await_mode(lockside, "healthy")


def redis_stop(redis, lockside):
    """Redis hangs: its connections stay, nothing answers."""
    redis.process.send_signal(signal.SIGSTOP)
    await_mode(lockside, "degraded")


def redis_continue(redis, lockside):
    """It goes on, with the data and the requests that it had."""
    redis.process.send_signal(signal.SIGCONT)
    await_mode(lockside, "healthy")


DIRECTIVES = {
    "@restart": restart,
    "@redis-down": redis_down,
    "@redis-up": redis_up,
    "@redis-stop": redis_stop,
    "@redis-continue": redis_continue,
}
"""What a program can ask for; those about Redis have no meaning without Lockside."""


class Suite:
    """One program with its servers; counts its cases."""

    def __init__(self, name, direct, verbose):
        self.name, self.direct, self.verbose = name, direct, verbose
        self.passed = self.failed = self.skipped = 0
        self.lines, self.noise = [], []

    def ok(self, text):
        self.passed += 1
        self.lines.append(f"ok   {self.name}: {text}")

    def fail(self, text):
        self.failed += 1
        self.lines.append(f"FAIL {self.name}: {text}")

    def skip(self, text):
        self.skipped += 1
        self.lines.append(f"skip {self.name}: {text}")

    def run(self):
        """Run to the end, print all lines at once, and return self."""
        try:
            with Directory() as directory:
                self._serve(directory)
        except ServerFailed as problem:
            self.fail(str(problem))
        if self.failed or self.verbose:
            self.lines += [f"     | {line}" for line in self.noise[-60:]]
        with printing:
            print("\n".join(self.lines), flush=True)
        return self

    def _serve(self, directory):
        redis = Redis("redis", directory).start()
        lockside = None
        try:
            if not self.direct:
                lockside = Lockside("lockside", directory, redis.port, CONFIG).start()
            self._program(redis, lockside)
            if lockside:
                self._end(lockside)
        finally:
            for server in (lockside, redis):
                if server:
                    server.kill()

    def _program(self, redis, lockside):
        interpreter, *words = SUITES[self.name]
        if not shutil.which(interpreter):
            self.fail(f"there is no {interpreter}: make test-clients installs or builds it")
            return
        environment = dict(os.environ) | {
            "CLIENTS_PORT": str((lockside or redis).port),
            "CLIENTS_REDIS_PORT": str(redis.port),
            "CLIENTS_MODE": "direct" if self.direct else "lockside",
            "PYTHONUNBUFFERED": "1",
        }
        child = subprocess.Popen(
            [str(interpreter), *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", env=environment, cwd=HERE,
        )  # fmt: skip
        guard = threading.Timer(SUITE_DEADLINE, child.kill)
        guard.start()
        try:
            for line in child.stdout:
                self._line(line.rstrip("\n"), child, redis, lockside)
            code = child.wait()
        finally:
            guard.cancel()
            child.kill()
        if code != 0 and not self.failed:
            self.fail(f"the program ended with {code}")
        if not self.passed and not self.failed:
            self.fail("no case was run")

    def _line(self, line, child, redis, lockside):
        if line.startswith("ok "):
            self.ok(line[3:])
        elif line.startswith("FAIL "):
            self.fail(line[5:])
        elif line.startswith("skip "):
            self.skip(line[5:])
        elif line in DIRECTIVES:
            child.stdin.write(self._obey(line, redis, lockside) + "\n")
            child.stdin.flush()
        elif line:
            self.noise.append(line)

    def _obey(self, directive, redis, lockside):
        try:
            DIRECTIVES[directive](redis, lockside)
        except (ServerFailed, RedisError, OSError) as problem:
            return " ".join(f"{directive}: {problem}".split())
        return "done"

    def _end(self, lockside):
        if not lockside.alive():
            self.fail(f"Lockside died:\n{lockside.log_tail()}")
        elif (code := lockside.stop()) != 0:
            self.fail(f"Lockside ended with {code} after SIGTERM:\n{lockside.log_tail()}")


def chosen(filters):
    """The suites whose name contains one of the filters; all without filters."""
    return [name for name in SUITES if not filters or any(part in name for part in filters)]


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("filters", nargs="*", metavar="FILTER")
    parser.add_argument("--direct", action="store_true", help="plain Redis, without Lockside")
    parser.add_argument("--list", action="store_true", help="print the suites and end")
    parser.add_argument("--verbose", action="store_true", help="show what the programs print")
    options = parser.parse_args()
    names = chosen(options.filters)
    if options.list:
        print("\n".join(names))
        return 0
    if not names:
        print(f"no suite is called like {options.filters}", file=sys.stderr)
        return 2
    if not options.direct and not os.access(lockside_binary(), os.X_OK):
        print(f"no binary at {lockside_binary()}: cargo build --release", file=sys.stderr)
        return 2
    with concurrent.futures.ThreadPoolExecutor(TOGETHER) as pool:
        run = lambda name: Suite(name, options.direct, options.verbose).run()  # noqa: E731
        done = list(pool.map(run, names))
    passed, failed = sum(s.passed for s in done), sum(s.failed for s in done)
    skipped = sum(s.skipped for s in done)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
