#!/usr/bin/env python3
"""Measures Lockside with a Google Sheet as its ledger, on the emulator. `make bench-sheets` calls it.

The emulator (`examples/sheets-emulator.rs`) has Google's usual waiting times and the default quota
of an account, 60 writes and 60 reads a minute. Redis is killed, and clients take fresh locks from
one to ten sidecars; with Redis well, 10 locks a second come and go, and Google's calls are counted.
All runs go on side by side, each with an emulator, an account and a Redis of its own:
they wait nearly all the time. Everything listens on free ports of 127.0.0.1, keeps its files in a
temporary directory, and ends by itself.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from contextlib import ExitStack
from pathlib import Path

from processes import Missing, Process, ask, busy_seconds, free_port, need
from report import machine

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- sheets:begin -->", "<!-- sheets:end -->"
WINDOW, QUICK_WINDOW = 60.0, 10.0
"""Seconds that each run is measured for."""
PATIENCE = 120.0
"""Seconds until a fleet is healthy, or has granted its first lock without Redis: with ten sidecars
each has a write in 11 s."""
LIMITS = (2.0, 3.0, 5.0)
ROWS = 150
"""Rows of the tab that people look at."""
HELD = 10.0
"""Seconds that a lock is held while Redis is well."""
RATE = 10
"""Grants a second while Redis is well."""

CONFIG = """\
listen = ["127.0.0.1:{port}"]
state_dir = "{place}"
namespace = "bench"
[upstream]
url = "redis://127.0.0.1:{upstream}"
[ledger]
kind = "sheets"
spreadsheet = "{spreadsheet}"
credentials = "{key}"
api_url = "{base}"
[log]
level = "warn"
[[rule]]
name = "locks"
keys = ["spool_lock:*"]
"""
PROJECTION = """\
[projection]
tab = "{tab}"
key_column = "TAG_SPOOL"
holder_column = "Ocupado_Por"
since_column = "Fecha_Ocupacion"
key = "spool_lock:{{key}}"
holder = "MR({{worker_id}})"
free = "DISPONIBLE"
"""


class Google(Process):
    """The emulator: one account, the default quota, the usual waiting times."""

    def __init__(self, binary, directory):
        self.key = directory / "key.json"
        command = [str(binary), "--port", "0", "--key", str(self.key)]
        super().__init__("emulator", command, 0, directory)

    def _await_answer(self):
        end = time.monotonic() + 10
        while time.monotonic() < end and self.child.poll() is None:
            text = self.log.read_text()
            if "ready" in text:
                pairs = (line.partition(" ") for line in text.splitlines() if "http" in line or "1Em" in line)
                said = {name: value.split()[-1] for name, _, value in pairs}
                self.base, self.control = said["base"], said["control"]
                self.spreadsheet = said["spreadsheet"]
                return
            time.sleep(0.02)
        raise RuntimeError(f"the emulator does not start: {self.log.read_text()}")

    def ask(self, path, body=None):
        request = urllib.request.Request(
            self.control + path, data=None if body is None else body.encode(),
            method="GET" if body is None else "PUT")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def calls(self):
        """Reads, writes and refused calls since it began."""
        minutes = json.loads(self.ask("minutes"))
        return {name: sum(minute[name] for minute in minutes)
                for name in ("reads", "writes", "refused")}


class Lockside(Process):
    """One sidecar of a fleet."""

    def __init__(self, binary, directory, redis, google, projection):
        port = free_port()
        place = Path(tempfile.mkdtemp(dir=directory))
        values = {"port": port, "place": place, "upstream": redis.port, "key": google.key,
                  "spreadsheet": google.spreadsheet, "base": google.base}
        text = CONFIG.format(**values)
        if projection:
            tab = json.loads(google.ask("tabs"))[0]["title"]
            text += PROJECTION.format(tab=tab)
        file = place / "lockside.toml"
        file.write_text(text)
        super().__init__(f"lockside-{port}", [str(binary), "--config", str(file)], port, place)

    def writes(self):
        """Exchanges with the sheet that wrote something."""
        name = "lockside_ledger_writes:"
        lines = ask(self.port, "INFO", "lockside").splitlines()
        return next(int(line.removeprefix(name)) for line in lines if line.startswith(name))


class Client:
    """A connection that sends one command at a time."""

    @classmethod
    async def connect(cls, port):
        client = cls()
        client.reader, client.writer = await asyncio.open_connection("127.0.0.1", port)
        return client

    async def call(self, *parts):
        """The first line of the reply."""
        parts = [part.encode() for part in parts]
        bulks = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self.writer.write(b"*%d\r\n%s" % (len(parts), bulks))
        line = await asyncio.wait_for(self.reader.readline(), 60)
        if not line:
            raise RuntimeError("the connection was closed")
        return line.rstrip(b"\r\n").decode()

    async def take(self, key):
        return await self.call("SET", f"spool_lock:{key}", f"93:{uuid.uuid4()}", "NX", "PX", "30000")


class Fleet:
    """A Redis, an emulated Google, and sidecars that share both."""

    def __init__(self, binaries, directory, sidecars, projection=False):
        self.binaries, self.projection = binaries, projection
        self.directory, self.sidecars = Path(tempfile.mkdtemp(dir=directory)), sidecars
        self.ending = ExitStack()

    def _keep(self, process):
        self.ending.callback(process.stop)
        return process

    def start(self):
        lockside, emulator = self.binaries
        self.google = self._keep(Google(emulator, self.directory))
        if self.projection:
            rows = [f"{row}\tDISPONIBLE" for row in range(ROWS)]
            self.google.ask("table?range=A1", "\n".join(["TAG_SPOOL\tOcupado_Por\tFecha_Ocupacion", *rows]))
        port = free_port()
        command = [need("redis-server", "redis-server"), "--port", str(port), "--save", "",
                   "--appendonly", "no", "--bind", "127.0.0.1", "--dir", str(self.directory)]
        self.redis = self._keep(Process(f"redis-{port}", command, port, self.directory))
        self.all = [self._keep(Lockside(lockside, self.directory, self.redis, self.google, self.projection))
                    for _ in range(self.sidecars)]

    async def await_mode(self, word):
        await until(f"all are {word}", lambda: all(
            ask(one.port, "LOCKSIDE", "MODE").startswith(word) for one in self.all))

    async def await_grants(self):
        """Each sidecar has granted a lock."""
        async def first(port):
            client, end = await Client.connect(port), time.monotonic() + PATIENCE
            while (reply := await client.take(f"first-{uuid.uuid4()}")) != "+OK":
                if time.monotonic() > end:
                    raise RuntimeError(f"no lock within {PATIENCE:.0f} s: {reply}")
                await asyncio.sleep(0.2)
            client.writer.close()

        await asyncio.gather(*(first(one.port) for one in self.all))

    def kill_redis(self):
        self.redis.child.kill()
        self.redis.child.wait()

    def counters(self):
        """Google's calls, exchanges, and CPU seconds."""
        return {**self.google.calls(), "exchanges": sum(one.writes() for one in self.all),
                "cpu": sum(one.cost().total for one in self.all), "google": self.google.cost().total}

    def stop(self):
        self.ending.close()


async def until(what, condition):
    end = time.monotonic() + PATIENCE
    while not await asyncio.to_thread(condition):
        if time.monotonic() > end:
            raise RuntimeError(f"not within {PATIENCE:.0f} s: {what}")
        await asyncio.sleep(0.1)


class Run:
    """What was measured of one fleet. `results` are (seconds waited, reply, in the window)."""

    def __init__(self, name, sidecars, clients):
        self.name, self.sidecars, self.clients, self.results = name, sidecars, clients, []
        self.counts, self.window = {}, 0.0

    def granted(self, within=None):
        """Seconds waited by those who were granted a lock."""
        return sorted(waited for waited, reply, _ in self.results
                      if reply == "+OK" and (within is None or waited <= within))

    def share(self, within=None):
        return len(self.granted(within)) / max(1, len(self.results))

    def refusals(self):
        """How often each first word was the reply, other than OK."""
        words = [reply.split()[0] for _, reply, _ in self.results if reply != "+OK"]
        return {word: words.count(word) for word in sorted(set(words))}

    def a_minute(self):
        """Grants that were answered in the window, a minute."""
        return sum(reply == "+OK" and inside for _, reply, inside in self.results) * 60 / self.window

    def percentile(self, part):
        """Of the granted; None if there are none."""
        waits = self.granted()
        return waits[min(len(waits) - 1, int(len(waits) * part))] if waits else None

    def cycle(self):
        """Seconds from one group to the next of the same sidecar."""
        return self.window * self.sidecars / max(1, self.counts["exchanges"])

    def calls(self, name):
        return self.counts[name] * 60 / self.window


async def measured(run, fleet, work):
    """Runs `work(end)`; what was counted in the window, and all replies, also those that came later."""
    before = await asyncio.to_thread(fleet.counters)
    began = time.monotonic()
    task = asyncio.ensure_future(work(began + run.window))
    await asyncio.sleep(run.window)
    after = await asyncio.to_thread(fleet.counters)
    run.counts = {name: after[name] - before[name] for name in before}
    await task


async def degraded(binaries, directory, window, sidecars, clients):
    """Redis is killed; each client takes fresh locks, one after the other."""
    run, fleet = Run("degraded", sidecars, clients), Fleet(binaries, directory, sidecars)
    run.window = window
    try:
        await asyncio.to_thread(fleet.start)
        await fleet.await_mode("healthy")
        await fleet.await_grants()
        fleet.kill_redis()
        await fleet.await_mode("degraded")
        await fleet.await_grants()
        links = [await Client.connect(fleet.all[n % sidecars].port) for n in range(clients)]

        async def takes(number, link, end):
            count = 0
            while (began := time.monotonic()) < end:
                reply = await link.take(f"{number}-{count}")
                now = time.monotonic()
                run.results.append((now - began, reply, now <= end))
                count += 1
                if reply != "+OK":
                    # Who is refused at once does not ask in a busy loop.
                    await asyncio.sleep(0.1)

        await measured(run, fleet, lambda end: asyncio.gather(
            *(takes(n, link, end) for n, link in enumerate(links))))
        return run
    finally:
        await asyncio.to_thread(fleet.stop)


async def calm(binaries, directory, window, projection):
    """Redis is well; 10 locks a second are taken, and released 10 s later."""
    run = Run("calm, with [projection]" if projection else "calm", 1, RATE)
    run.window = window
    fleet = Fleet(binaries, directory, 1, projection)
    try:
        await asyncio.to_thread(fleet.start)
        await fleet.await_mode("healthy")
        await fleet.await_grants()
        links = asyncio.Queue()
        for _ in range(20):
            links.put_nowait(await Client.connect(fleet.all[0].port))

        async def call(name, *rest):
            link = await links.get()
            try:
                return await getattr(link, name)(*rest)
            finally:
                links.put_nowait(link)

        async def holds(row, end):
            began = time.monotonic()
            reply = await call("take", row)
            run.results.append((time.monotonic() - began, reply, time.monotonic() <= end))
            await asyncio.sleep(HELD)
            await call("call", "DEL", f"spool_lock:{row}")

        async def work(end):
            began, tasks = time.monotonic(), []
            while time.monotonic() < end:
                tasks.append(asyncio.create_task(holds(str(len(tasks) % ROWS), end)))
                await asyncio.sleep(max(0, began + len(tasks) / RATE - time.monotonic()))
            await asyncio.gather(*tasks)

        await measured(run, fleet, work)
        return run
    finally:
        await asyncio.to_thread(fleet.stop)


async def measure(binaries, directory, window):
    """All runs side by side. A run that fails is said, and the others stand."""
    runs = [degraded(binaries, directory, window, 1, clients) for clients in (1, 50, 500)]
    runs += [degraded(binaries, directory, window, sidecars, 20) for sidecars in (1, 4, 10)]
    runs += [calm(binaries, directory, window, projection) for projection in (False, True)]
    done = await asyncio.gather(*runs, return_exceptions=True)
    failed = [run for run in done if isinstance(run, BaseException)]
    for run in failed:
        print(f"bench: a run has failed: {run!r}", file=sys.stderr, flush=True)
    kinds = [[run for run in part if isinstance(run, Run)] for part in (done[:3], done[3:6], done[6:])]
    return kinds, len(failed)


def goals(rates, shares, calms):
    """Each target: what it is, what was measured, and whether it is met."""
    for run in rates:
        if run.clients == 500:
            most = run.a_minute()
            yield ("one sidecar, 500 clients: at least 5,000 acquires a minute",
                   f"{most:,.0f}, {most / 60:.0f} times one lock a second", most >= 5_000)
    for run in [*rates, *shares]:
        p50, twice = run.percentile(0.5), 2 * run.cycle()
        # Of all that asked: who was refused waited longer than anybody.
        met = run.share() > 0.5 and run.percentile(0.5 / run.share()) <= twice
        told = "none" if p50 is None else f"{p50:.2f} s of the granted ({run.share():.0%} of all)"
        yield (f"{sidecars_of(run)}, {run.clients} clients: p50 at most 2 group cycles ({twice:.1f} s)",
               told, met)
    for run in calms:
        yield (f"{run.name}, {RATE} grants a second: at most 30 writes a minute",
               f"{run.calls('writes'):.0f}", run.calls("writes") <= 30)


def sidecars_of(run):
    return "one sidecar" if run.sidecars == 1 else f"{run.sidecars} sidecars"


def seconds(value):
    return "-" if value is None else f"{value:.2f}"


def markdown(runs, head):
    rates, shares, calms = runs
    lines = [head, "", "| | target | measured |", "|:--|:--|:--|"]
    lines += [f"| {'PASS' if met else 'MISS'} | {what} | {found} |" for what, found, met in goals(*runs)]
    columns = ["sidecars", "clients", "granted a minute", "asked", "granted within 2 s", "3 s", "5 s",
               "at all", "p50 s", "p99 s", "group cycle s", "p50 / cycle", "writes + reads a minute",
               "refused by Google", "other replies"]
    lines += ["", f"| {' | '.join(columns)} |", "|" + "--:|" * len(columns)]
    for run in [*rates, *shares]:
        p50 = run.percentile(0.5)
        cells = [run.sidecars, run.clients, f"{run.a_minute():,.0f}", f"{len(run.results):,}",
                 *(f"{run.share(limit):.1%}" for limit in LIMITS), f"{run.share():.1%}", seconds(p50),
                 seconds(run.percentile(0.99)), f"{run.cycle():.2f}",
                 seconds(p50 and p50 / run.cycle()),
                 f"{run.calls('writes'):.0f} + {run.calls('reads'):.0f}", run.counts["refused"],
                 ", ".join(f"{word} {count}" for word, count in run.refusals().items()) or "none"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "| Redis is well | grants a second | p50 ms | p99 ms | writes a minute | reads a minute | "
              "refused by Google | other replies |", "|:--|" + "--:|" * 7]
    for run in calms:
        p50, p99 = run.percentile(0.5), run.percentile(0.99)
        lines.append(
            f"| {run.name} | {run.a_minute() / 60:.1f} | {p50 * 1000:.2f} | {p99 * 1000:.2f} | "
            f"{run.calls('writes'):.0f} | {run.calls('reads'):.0f} | {run.counts['refused']} | "
            f"{', '.join(f'{word} {count}' for word, count in run.refusals().items()) or 'none'} |")
    lines += ["", *(cpu(run) for run in rates if run.clients == 500)]
    return "\n".join(lines)


def cpu(run):
    """What an entry costs, in the run with the most of them."""
    entries = sum(reply == "+OK" and inside for _, reply, inside in run.results)
    each = entries / max(1, run.counts["exchanges"])
    return (f"CPU of Lockside for 1,000 entries, everything included (clients, JSON, HTTP, polls): "
            f"{run.counts['cpu'] / max(1, entries) * 1e6:.0f} ms ({entries:,} entries, {each:.0f} to an "
            f"exchange, {run.counts['cpu']:.2f} s of CPU; the emulator {run.counts['google']:.1f} s).")


def report(options, binaries):
    window = QUICK_WINDOW if options.quick else WINDOW
    began, busy = time.monotonic(), busy_seconds()
    with tempfile.TemporaryDirectory(prefix="lockside-bench-") as name:
        runs, failed = asyncio.run(measure(binaries, Path(name), window))
    took = time.monotonic() - began
    cores = (busy_seconds() - busy) / took
    version = subprocess.run([binaries[0], "--version"], capture_output=True, text=True).stdout.split("\n")[0]
    head = (f"Measured {time.strftime('%Y-%m-%d')} on {machine()}, with {version}; {window:.0f} s for each "
            f"run, {took / 60:.1f} minutes in all. {cores:.1f} cores were busy on average, this benchmark's "
            f"own processes and all others together.")
    if failed:
        head += f" **{failed} runs failed and are missing.**"
    text = markdown(runs, head)
    print(text)
    if options.write:
        before, mark, rest = options.write.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        if not mark or not end:
            raise RuntimeError(f"{options.write} has no {BEGIN} and {END}: nowhere to put the tables")
        options.write.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
    if failed:
        sys.exit(1)


def main():
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="10 s for each run: does it run at all")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables into this file")
    parser.add_argument("--binary", type=Path,
                        default=os.environ.get("LOCKSIDE_BIN") or target / "release" / "lockside")
    parser.add_argument("--emulator", type=Path, default=target / "debug" / "examples" / "sheets-emulator")
    options = parser.parse_args()
    binaries = (options.binary.resolve(), options.emulator.resolve())
    try:
        for binary in binaries:
            if not binary.is_file():
                raise Missing(f"{binary.name} is not built: make bench-sheets builds it")
        report(options, binaries)
    except Missing as missing:
        sys.exit(f"bench: {missing}")


if __name__ == "__main__":
    main()
