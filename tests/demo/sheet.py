"""The second act of `make demo`: a workshop whose business runs on a Google Sheet.

The sheet is the emulator's (`examples/sheets-emulator.rs`), with Google's usual waiting times. Lockside keeps
its ledger in it, and the column that people look at.
"""

import re
import subprocess
import time
import urllib.request

import redis
from servers import TARGET, Lockside, Redis, ServerFailed

HEADERS = ("TAG_SPOOL", "Ocupado_Por", "Fecha_Ocupacion")
FREE = "DISPONIBLE"
ROWS = ("MK-1342", "MK-1343", "MK-1344")
WORKER = "93:550e8400-e29b-41d4-a716-446655440000"
SECOND = "94:6ba7b810-9dad-41d1-80b4-00c04fd430c8"
THIRD = "95:9b2d2c4e-3f0a-4f6e-8d53-0a4c8a1d2e7f"
PATIENCE = 40
"""Longest wait for anything, in seconds: a write takes one, and there are 55 a minute."""

CONFIG = """
namespace = "workshop"
time_zone = "America/Santiago"

[ledger]
kind = "sheets"
spreadsheet = "{spreadsheet}"
credentials = "{key}"
api_url = "{base}"

[projection]
tab = "{tab}"
key_column = "TAG_SPOOL"
holder_column = "Ocupado_Por"
since_column = "Fecha_Ocupacion"
key = "spool_lock:{{key}}"
holder = "MR({{worker_id}})"
free = "DISPONIBLE"

[[rule]]
name = "spools"
keys = ["spool_lock:*"]
"""


def emulator_binary():
    """The emulator, built by `make demo`."""
    binary = TARGET / "debug" / "examples" / "sheets-emulator"
    if not binary.exists():
        raise ServerFailed(f"{binary} is not there: cargo build --example sheets-emulator")
    return binary


class Emulator:
    """The emulated Google, with what a person sees and does there."""

    def __init__(self, directory):
        self.key = directory / "google-key.json"
        command = [str(emulator_binary()), "--port", "0", "--key", str(self.key)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, cwd=directory
        )
        said = {}
        while "control" not in said:
            line = self.process.stdout.readline()
            if not line:
                raise ServerFailed("the emulator has ended")
            name, _, value = line.partition(" ")
            said[name] = value.split()[-1]
        self.base, self.spreadsheet, self.control = said["base"], said["spreadsheet"], said["control"]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def _ask(self, path, body=None):
        data = None if body is None else body.encode()
        request = urllib.request.Request(
            self.control + path, data=data, method="GET" if body is None else "PUT"
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def tab(self):
        """The title of the first tab."""
        return re.search(r'"title"\s*:\s*"([^"]+)"', self._ask("tabs"))[1]

    def types(self, cell, text):
        """A person types."""
        self._ask(f"table?range={cell}", text)

    def table(self):
        """What people see: a row for each line, three cells each."""
        lines = self._ask(f"table?range=A1:C{len(ROWS) + 1}").splitlines()
        return [(line.split("\t") + ["", "", ""])[:3] for line in lines]

    def holder(self, spool):
        """The cell `Ocupado_Por` of this row."""
        return next((row[1] for row in self.table() if row[0] == spool), None)


class Workshop:
    """The steps, in their order."""

    def __init__(self, story, directory, ending):
        self.story = story
        self.google = Emulator(directory)
        ending.callback(self.google.kill)
        rows = ["\t".join(HEADERS), *("\t".join((spool, FREE)) for spool in ROWS)]
        self.google.types("A1", "\n".join(rows))
        self.redis = Redis("workshop-redis", directory)
        ending.callback(self.redis.kill)
        self.redis.start()
        config = CONFIG.format(
            spreadsheet=self.google.spreadsheet, key=self.google.key, base=self.google.base,
            tab=self.google.tab(),
        )  # fmt: skip
        self.lockside = Lockside("workshop", directory, self.redis.port, config)
        ending.callback(self.lockside.kill)
        self.lockside.start()
        self.client = redis.Redis(host="127.0.0.1", port=self.lockside.port, decode_responses=True)

    def run(self):
        """Tell the story."""
        self.before()
        self.outage()
        self.person()
        self.back()
        self.cleared()

    def before(self):
        self.story.step("Act two, on a Google Sheet: who takes a work piece is shown to everybody")
        self.wait_mode("healthy")
        self.show("before")
        self.takes(ROWS[0], WORKER)
        self.wait_cell(ROWS[0], "MR(93)")
        self.show("a moment later")
        self.story.check(True, "the column says who holds MK-1342, and since when")

    def outage(self):
        self.story.step("Redis is killed with -9: the sheet decides")
        self.redis.kill()
        self.wait_mode("degraded")
        taken = self.client.set(name_of(ROWS[0]), SECOND, nx=True)
        self.story.check(not taken, "MK-1342 is still held: a stranger is refused")
        seconds = self.takes(ROWS[1], SECOND)
        self.story.check(True, f"MK-1343 was free: the sheet granted it in {seconds:.1f} s")
        self.wait_cell(ROWS[1], "MR(94)")
        released = self.client.delete(name_of(ROWS[0]))
        self.story.check(released == 1, "MK-1342 is released")
        self.wait_cell(ROWS[0], FREE)
        self.show("during")

    def person(self):
        self.story.step("A person writes a name into the sheet, with Redis still down")
        self.google.types(self.cell(ROWS[2]), "Ana")
        self.show("as Ana left it")
        taken = self.client.set(name_of(ROWS[2]), THIRD, nx=True)
        self.story.check(not taken, "she is obeyed: MK-1344 is hers, a client is refused")

    def back(self):
        self.story.step("Redis comes back, empty")
        self.redis.start()
        self.wait_mode("healthy")
        direct = self.redis.connect()
        wanted = {name_of(ROWS[1]), name_of(ROWS[2])}
        self.wait(lambda: wanted == locks_of(direct), "Redis has the locks that the sheet has, no others")
        self.story.check(True, "Redis has the locks that the sheet has, and no others")
        self.show("after")

    def cleared(self):
        self.story.step("A person frees a work piece by clearing its cell")
        self.google.types(self.cell(ROWS[1]), FREE)
        key = name_of(ROWS[1])
        self.wait(lambda: self.client.get(key) is None, "the lock is released")
        self.story.check(True, "the lock of MK-1343 is released, also in Redis")
        self.show("at the end")
        self.story.check(self.lockside.stop() == 0, "SIGTERM ends it with exit code 0")

    def takes(self, spool, token):
        """SET NX by an unchanged client; how many seconds it took."""
        began = time.monotonic()
        if not self.client.set(name_of(spool), token, nx=True, px=30000):
            raise self.not_as_told(f"{spool} is granted")
        self.story.says("redis-py", f"SET {name_of(spool)} {token[:11]}... NX PX 30000   OK")
        return time.monotonic() - began

    def cell(self, spool):
        """Where a person finds the holder's cell."""
        return f"B{[row[0] for row in self.google.table()].index(spool) + 1}"

    def show(self, when):
        """The tab as people see it."""
        widths = (12, 14, 20)
        line = lambda cells: "  ".join(f"{c:<{w}}" for c, w in zip(cells, widths)).rstrip()  # noqa: E731
        header, *rows = self.google.table()
        self.story.says("sheet", f"{line(header)}   ({when})")
        for row in rows:
            self.story.says("", line(row))

    def wait_cell(self, spool, text):
        self.wait(lambda: self.google.holder(spool) == text, f"the cell of {spool} says {text}")

    def wait_mode(self, word):
        ask = lambda: str(self.client.execute_command("LOCKSIDE", "MODE")).startswith(word)  # noqa: E731
        self.wait(ask, f"Lockside is {word}")

    def wait(self, condition, claim):
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise self.not_as_told(f"{claim} within {PATIENCE} s")
            time.sleep(0.05)

    def not_as_told(self, claim):
        return self.story.failure(claim)


def name_of(spool):
    """The key of a row's lock."""
    return f"spool_lock:{spool}"


def locks_of(direct):
    """The locks that stand in Redis."""
    return {key.decode() for key in direct("KEYS", "spool_lock:*")}
