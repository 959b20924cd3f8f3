"""Starts and ends the processes of a benchmark, and reads what they cost from /proc.

Everything listens on free ports of 127.0.0.1, keeps its files in one temporary directory, and is
ended by its process id. Nothing is installed and nothing that runs already is touched.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TICK = 1.0 / os.sysconf("SC_CLK_TCK")
START_LIMIT = 10.0
"""Seconds that a process may take until it answers."""

HAPROXY_CONFIG = """\
global
    nbthread 1
    maxconn 8000
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen redis
    bind 127.0.0.1:{port} maxconn 4000
    server redis 127.0.0.1:{upstream}
"""


class Missing(Exception):
    """A program that the benchmark needs is not there."""


def need(program, package):
    """The path of `program`, or an error that says what to install."""
    # Debian puts haproxy where only root looks.
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        raise Missing(f"{program} is missing: install it (Debian: apt-get install {package})")
    return path


def free_port():
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port, *args, timeout=60.0):
    """One command to a Redis server or proxy; gives the first line or bulk of its reply."""
    with socket.create_connection(("127.0.0.1", port), timeout) as link:
        parts = [str(arg).encode() for arg in args]
        link.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        reader = link.makefile("rb")
        line = reader.readline().rstrip(b"\r\n")
        if line.startswith(b"-"):
            raise RuntimeError(f"{args[0]}: {line.decode()}")
        if line.startswith(b"$") and line != b"$-1":
            return reader.read(int(line[1:])).decode()
        return line[1:].decode()


@dataclass
class Cost:
    """CPU seconds of a process since it began."""

    total: float = 0.0
    user: float = 0.0
    system: float = 0.0

    def since(self, before):
        """What was spent since `before`."""
        return Cost(self.total - before.total, self.user - before.user, self.system - before.system)


class Process:
    """A process that was started here and listens on `port`."""

    def __init__(self, name, command, port, directory, environment=None):
        self.name, self.port, self.command = name, port, command
        self.log = directory / f"{name}.log"
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **(environment or {})})
        try:
            self._await_answer()
        except BaseException:
            self.stop()
            raise

    def _await_answer(self):
        end = time.monotonic() + START_LIMIT
        while time.monotonic() < end:
            if self.child.poll() is not None:
                break
            try:
                if ask(self.port, "PING", timeout=1.0) == "PONG":
                    return
            except (OSError, RuntimeError):
                time.sleep(0.02)
        tail = self.log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{self.name} does not answer ({' '.join(self.command)}):\n{tail}")

    def stop(self):
        """Ends it by its id, kindly first."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(5)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    def _threads(self):
        return [int(tid) for tid in os.listdir(f"/proc/{self.child.pid}/task")]

    def pin(self, cores):
        """Lets all threads run on these cores only."""
        for tid in self._threads():
            os.sched_setaffinity(tid, cores)

    def cost(self):
        """CPU time: user and system from /proc/PID/stat (ticks of 10 ms), the total from
        schedstat of each thread (nanoseconds) where the kernel has it."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        user, system = int(fields[11]) * TICK, int(fields[12]) * TICK
        try:
            tasks = [Path(f"/proc/{self.child.pid}/task/{tid}/schedstat") for tid in self._threads()]
            total = sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
        except OSError:
            total = user + system
        return Cost(total, user, system)

    def memory(self):
        """Resident memory in KiB: all, and the anonymous part."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        found = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return {name: int(found[name].split()[0]) for name in ("VmRSS", "RssAnon")}


class Stack:
    """A private Redis, and the proxies in front of it."""

    def __init__(self, directory, lockside, proxies):
        self.directory, self.processes = Path(directory), {}
        try:
            port = free_port()
            redis = [need("redis-server", "redis-server"), "--port", str(port), "--bind",
                     "127.0.0.1", "--save", "", "--appendonly", "no"]
            self.redis = self._start("direct", redis, port)
            if "haproxy" in proxies:
                self._start_haproxy()
            if "lockside" in proxies:
                self._start_lockside(lockside)
        except BaseException:
            self.stop()
            raise

    def _start(self, name, command, port, environment=None):
        process = Process(name, command, port, self.directory, environment)
        self.processes[name] = process
        return process

    def _start_haproxy(self):
        port, path = free_port(), self.directory / "haproxy.cfg"
        path.write_text(HAPROXY_CONFIG.format(port=port, upstream=self.redis.port))
        self._start("haproxy", [need("haproxy", "haproxy"), "-db", "-f", str(path)], port)

    def _start_lockside(self, binary):
        port = free_port()
        command = [str(binary), "--listen", f"127.0.0.1:{port}",
                   "--upstream", f"redis://127.0.0.1:{self.redis.port}"]
        state = {"LOCKSIDE_STATE_DIR": str(self.directory / "state"), "LOCKSIDE_LOG": "warn"}
        self._start("lockside", command, port, state)

    def pin(self, cores):
        """Lets every process run on these cores only."""
        for process in self.processes.values():
            process.pin(cores)

    def stop(self):
        """Ends all, the proxies first."""
        for process in reversed(list(self.processes.values())):
            process.stop()


def busy_seconds():
    """CPU seconds that the whole machine was busy since it started."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) * TICK
