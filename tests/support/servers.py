"""Starts and ends the processes that a test or the demo needs: redis-server and Lockside.

Everything listens on 127.0.0.1 at a free port, lives in a private temporary directory, and is
ended by its own process id. Nothing here touches a server that was running before. Standard
library only, so that every virtual environment can import it.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]

TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
"""Where cargo builds; an absolute CARGO_TARGET_DIR stands for itself."""

START_DEADLINE = 15.0
"""Seconds that a server may take until it answers PING."""

STOP_DEADLINE = 10.0
"""Seconds that a server may take to end after SIGTERM."""

START_ATTEMPTS = 5
"""A free port can be taken by another process before the server binds it: then try the next."""


class ServerFailed(Exception):
    """A server did not start, died, or did not end as it should; carries the end of its log."""


class RedisError(Exception):
    """An error reply."""


class Resp:
    """A minimal RESP2 client: what looks into real Redis without any library under test."""

    def __init__(self, port, timeout=10.0):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")

    def send(self, *words):
        """Write one command without waiting for its reply."""
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            word = word if isinstance(word, bytes) else str(word).encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
        self.socket.sendall(b"".join(parts))

    def read(self):
        """Read one reply: bytes, int, None, list, or RedisError (raised only at the top)."""
        reply = self._read()
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def __call__(self, *words):
        self.send(*words)
        return self.read()

    def _read(self):
        line = self.stream.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the connection was closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            return RedisError(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self.stream.read(size + 2)[:-2]
        if kind == b"*":
            size = int(rest)
            return None if size < 0 else [self._read() for _ in range(size)]
        raise ConnectionError(f"not RESP2: {line!r}")

    def close(self):
        """Close both halves."""
        self.stream.close()
        self.socket.close()


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def lockside_binary():
    """The binary under test: LOCKSIDE_BIN, else the release build of this tree."""
    default = TARGET / "release" / "lockside"
    return pathlib.Path(os.environ.get("LOCKSIDE_BIN", default)).resolve()


class Server:
    """One child process that speaks RESP on a port, with its log in a file."""

    def __init__(self, name, directory, port=None):
        self.name = name
        self.directory = pathlib.Path(directory)
        self.port = port
        self.process = None
        self.log = self.directory / f"{name}.log"

    def command(self):
        """The words that start it; a subclass's."""
        raise NotImplementedError

    def environment(self):
        """The environment that it gets."""
        return dict(os.environ)

    def start(self):
        """Start, and return when it answers PING. Tries other ports unless one was given."""
        fixed = self.port
        for _ in range(START_ATTEMPTS):
            self.port = fixed or free_port()
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(
                    self.command(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.directory,
                    env=self.environment(),
                    start_new_session=True,
                )
            if self._answers():
                return self
            self.kill()
        raise ServerFailed(f"{self.name} did not start:\n{self.log_tail()}")

    def _answers(self):
        deadline = time.monotonic() + START_DEADLINE
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                link = Resp(self.port, timeout=1.0)
                pong = link("PING")
                link.close()
                # Another process may have taken the port: then ours is dead or dying.
                return pong == b"PONG" and self.process.poll() is None
            except (OSError, ConnectionError, RedisError):
                time.sleep(0.02)
        return False

    def kill(self):
        """kill -9, and wait until it is gone."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        if self.process:
            self.process.wait()

    def stop(self):
        """SIGTERM, and the exit code; ServerFailed if it does not end in time."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(f"{self.name} ignored SIGTERM for {STOP_DEADLINE:.0f} s") from None

    def alive(self):
        """Whether the process still runs."""
        return self.process is not None and self.process.poll() is None

    def log_tail(self, lines=15):
        """The last lines that it wrote."""
        try:
            text = self.log.read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


class Redis(Server):
    """A private redis-server without persistence."""

    def command(self):
        return [
            "redis-server", "--port", str(self.port), "--bind", "127.0.0.1",
            "--save", "", "--appendonly", "no", "--dir", str(self.directory),
            "--daemonize", "no", "--enable-debug-command", "yes",
        ]  # fmt: skip

    def connect(self):
        """A direct connection."""
        return Resp(self.port)


class Lockside(Server):
    """Lockside in front of `upstream_port`, with a private state directory."""

    def __init__(self, name, directory, upstream_port, config=None, port=None):
        super().__init__(name, directory, port)
        self.upstream_port = upstream_port
        self.config = config

    def command(self):
        words = [str(lockside_binary())]
        if self.config is not None:
            path = self.directory / f"{self.name}.toml"
            path.write_text(self.config)
            words += ["--config", str(path)]
        upstream = f"redis://127.0.0.1:{self.upstream_port}"
        return words + ["--listen", f"127.0.0.1:{self.port}", "--upstream", upstream]

    def environment(self):
        # What the caller's shell says of Redis must not reach a test.
        foreign = ("REDIS_", "LOCKSIDE_", "GOOGLE_")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        state = self.directory / f"{self.name}.state"
        state.mkdir(exist_ok=True)
        return clean | {"LOCKSIDE_STATE_DIR": str(state)}


class Directory:
    """A private temporary directory, removed at the end of the `with`."""

    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="lockside-"))
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)
