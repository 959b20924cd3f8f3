#!/usr/bin/env python3
"""Measures the ledger, an outage and the recovery. `make bench-ledger` calls it.

Acquires of free locks by Redis itself, and by Lockside in fast, strict and degraded mode, in
interleaved rounds; how many locks share one write to the disk; reads from the table; how soon an
outage is noticed; how long the recovery of many locks takes; what a held lock costs in memory.
Everything runs on free ports of 127.0.0.1 in a temporary directory, and ends by itself.
"""

import argparse
import csv
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from processes import Missing, Process, ask, free_port, need

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "550e8400-e29b-41d4-a716-__rand_int__"
MODES = ("direct", "fast", "strict", "degraded")
ROUNDS = 5


class Redis(Process):
    """A Redis that keeps nothing on disk, on a port of its own choice or a given one."""

    def __init__(self, directory, port=None):
        port = port or free_port()
        command = [need("redis-server", "redis-server"), "--port", str(port), "--save", "",
                   "--appendonly", "no", "--bind", "127.0.0.1", "--dir", str(directory)]
        super().__init__(f"redis-{port}", command, port, directory)

    def kill(self):
        self.child.kill()
        self.child.wait()


class Lockside(Process):
    """A Lockside before the Redis at `upstream`, with a ledger of its own."""

    def __init__(self, binary, directory, upstream, guarantee):
        port = free_port()
        place = Path(tempfile.mkdtemp(dir=directory))
        file = place / "lockside.toml"
        file.write_text(f'listen = ["127.0.0.1:{port}"]\nstate_dir = "{place}"\n'
                        f'guarantee = "{guarantee}"\n[upstream]\n'
                        f'url = "redis://127.0.0.1:{upstream}"\n[log]\nlevel = "warn"\n')
        super().__init__(f"lockside-{port}", [binary, "--config", str(file)], port, place)

    def info(self, name):
        for line in ask(self.port, "INFO", "lockside").splitlines():
            if line.startswith(f"lockside_{name}:"):
                return int(line.partition(":")[2])
        raise RuntimeError(f"INFO has no lockside_{name}")

    def await_mode(self, word, limit=30.0):
        end = time.monotonic() + limit
        while not ask(self.port, "LOCKSIDE", "MODE").startswith(word):
            if time.monotonic() > end:
                raise RuntimeError(f"{self.name} is not {word}")
            time.sleep(0.001)


def benchmark(port, clients, requests, *command):
    """redis-benchmark; gives requests a second, p50 and p99 in milliseconds."""
    call = [need("redis-benchmark", "redis-tools"), "-p", str(port), "-n", str(requests), "--csv",
            "-c", str(clients), "-r", "1000000000", *command]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120)
    if done.returncode or "rror" in done.stderr:
        raise RuntimeError(f"{' '.join(call)}: {done.stdout}{done.stderr}")
    row = list(csv.DictReader(done.stdout.splitlines()))[-1]
    return float(row["rps"]), float(row["p50_latency_ms"]), float(row["p99_latency_ms"])


def fresh(binary, directory, mode):
    """A Redis and what clients of this mode connect to."""
    redis = Redis(directory)
    if mode == "direct":
        return redis, None, redis.port
    lockside = Lockside(binary, directory, redis.port, "fast" if mode == "fast" else "strict")
    lockside.await_mode("healthy")
    if mode == "degraded":
        # Redis has let in a client that takes locks, before it goes.
        ask(lockside.port, "SET", "lock:warm", "w", "NX")
        redis.kill()
        lockside.await_mode("degraded")
    return redis, lockside, lockside.port


def acquires(binary, directory, rounds):
    """Rate, p50 and p99 of an acquire of a free lock, by mode and number of clients; and how many
    locks one write to the ledger had."""
    rates = {(mode, clients): [] for mode in MODES for clients in (1, 50)}
    groups = {mode: [] for mode in ("strict", "degraded")}
    for _ in range(rounds):
        for mode, clients in rates:
            redis, lockside, port = fresh(binary, directory, mode)
            try:
                number = {"direct": 20_000, "fast": 10_000}.get(mode, 5_000 if clients > 1 else 500)
                before = lockside.info("ledger_writes") if lockside else 0
                rates[mode, clients].append(benchmark(
                    port, clients, number, "SET", "lock:__rand_int__", TOKEN, "NX"))
                if mode in groups and clients > 1:
                    writes = lockside.info("ledger_writes") - before
                    groups[mode].append(number / max(1, writes))
            finally:
                for process in (lockside, redis):
                    if process:
                        process.stop()
    return rates, groups


def reads(binary, directory):
    """Reads of held locks from the table, while Redis is away."""
    redis, lockside, port = fresh(binary, directory, "degraded")
    try:
        ask(port, "SET", "lock:held", "550e8400-e29b-41d4-a716-446655440000", "NX")
        return benchmark(port, 50, 100_000, "GET", "lock:held")
    finally:
        lockside.stop()
        redis.stop()


def take_by_many(port, count, clients=50):
    """Takes so many locks over several connections, so that they share writes."""
    benchmark(port, clients, count, "SET", "lock:__rand_int__", TOKEN, "NX")


def outage(binary, directory, trouble):
    """Milliseconds until an outage is noticed, with a client that asks all the time."""
    redis = Redis(directory)
    lockside = Lockside(binary, directory, redis.port, "strict")
    try:
        lockside.await_mode("healthy")
        ask(lockside.port, "SET", "lock:warm", "w", "NX")
        began = time.monotonic()
        redis.child.send_signal(trouble)
        lockside.await_mode("degraded")
        return (time.monotonic() - began) * 1000
    finally:
        redis.child.send_signal(signal.SIGCONT)
        lockside.stop()
        redis.stop()


def recovery(binary, directory, count):
    """Locks held, memory for each in KiB, and seconds from an empty Redis that answers to healthy,
    without the second of good probes that is waited for in any case."""
    redis = Redis(directory)
    lockside = Lockside(binary, directory, redis.port, "strict")
    try:
        lockside.await_mode("healthy")
        before = lockside.memory()["VmRSS"]
        take_by_many(lockside.port, count)
        held = lockside.info("locks_held")
        memory = (lockside.memory()["VmRSS"] - before) / held
        port = redis.port
        redis.kill()
        lockside.await_mode("degraded")
        redis = Redis(directory, port)
        lockside.await_mode("recovering")
        began = time.monotonic()
        lockside.await_mode("healthy")
        seconds = time.monotonic() - began
        there = int(ask(port, "DBSIZE"))
        if there < held:
            raise RuntimeError(f"Redis has {there} of {held} locks")
        return held, memory, seconds
    finally:
        lockside.stop()
        redis.stop()


def spread(values, form="{:.3g}"):
    middle = form.format(statistics.median(values))
    return f"{middle} ({form.format(min(values))}–{form.format(max(values))})"


def report(binary, rounds):
    with tempfile.TemporaryDirectory(prefix="lockside-bench-") as name:
        directory = Path(name)
        print(f"Median of {rounds} interleaved rounds, with the range.\n", flush=True)
        rates, groups = acquires(binary, directory, rounds)
        print("| acquire of a free lock | clients | a second | p50 ms | p99 ms | rate / direct |")
        print("|:--|--:|--:|--:|--:|--:|")
        for (mode, clients), runs in rates.items():
            direct = rates["direct", clients]
            ratio = [run[0] / base[0] for run, base in zip(runs, direct)]
            columns = [spread([run[column] for run in runs], form)
                       for column, form in ((0, "{:,.0f}"), (1, "{:.3f}"), (2, "{:.3f}"))]
            print(f"| {mode} | {clients} | {' | '.join(columns)} | {spread(ratio, '{:.2f}')} |")
        for mode, runs in groups.items():
            print(f"\n{mode}, 50 clients: {spread(runs)} grants share one write to the disk.")
        rate, p50, p99 = reads(binary, directory)
        print(f"\nGET of a held lock while Redis is away, 50 clients: {rate:,.0f}/s, "
              f"p50 {p50:.3f} ms, p99 {p99:.3f} ms.")
        for trouble in (signal.SIGKILL, signal.SIGSTOP):
            found = [outage(binary, directory, trouble) for _ in range(rounds)]
            print(f"\nAn outage by {trouble.name} is noticed after {spread(found, '{:.0f}')} ms.")
        for count in (1_000, 10_000):
            held, memory, seconds = recovery(binary, directory, count)
            print(f"\n{held:,} locks: an empty Redis has them all {seconds * 1000:.0f} ms after it "
                  f"is usable; {memory:.2f} KiB of memory for each held lock.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--binary", default=os.environ.get("LOCKSIDE_BIN"))
    options = parser.parse_args()
    target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
    binary = options.binary or str(Path(target) / "release" / "lockside")
    try:
        report(binary, options.rounds)
    except Missing as missing:
        sys.exit(f"bench: {missing}")


if __name__ == "__main__":
    main()
