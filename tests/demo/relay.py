"""A TCP relay that can stop a lock command at a chosen moment.

The demo puts it between Lockside and Redis to make two moments visible: Redis has set the key and
Lockside has not heard of it, and the ledger has the lock and its client has not heard of it. It
forwards bytes as they come and knows no protocol beyond "these bytes name the key".
"""

import socket
import threading

CHUNK = 1 << 16
"""Bytes of one read; a lock command is far smaller and comes in one read."""

REPLY, SECOND = "the reply to the first command", "the second command"
"""What can be held back, of those that name the key."""


class Relay:
    """Listens on a free port and forwards each connection to `target_port` on 127.0.0.1."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.key, self.what, self.seen = None, None, 0
        self.holding = threading.Event()
        self.lock = threading.Lock()
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self, what, key):
        """From now on, hold back `REPLY` or `SECOND` for this key; `holding` is set then."""
        with self.lock:
            self.key, self.what, self.seen = key, what, 0
            self.holding.clear()

    def close(self):
        """Close everything."""
        for each in [self.listener, *self.sockets]:
            each.close()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                return
            self.sockets += [near, far]
            asked = threading.Event()
            ways = [(near, far, self._holds_command), (far, near, self._holds_reply)]
            for source, sink, holds in ways:
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                args = (source, sink, holds, asked)
                threading.Thread(target=self._pump, args=args, daemon=True).start()

    def _pump(self, source, sink, holds, asked):
        try:
            while data := source.recv(CHUNK):
                if holds(data, asked):
                    self.holding.set()
                    return
                sink.sendall(data)
        except OSError:
            pass
        # Not after what was held back: an end of the connection would say something too.
        sink.close()

    def _holds_command(self, data, asked):
        with self.lock:
            if self.key is None or self.key not in data:
                return False
            self.seen += 1
            if self.what == REPLY and self.seen == 1:
                asked.set()
            return self.what == SECOND and self.seen == 2

    def _holds_reply(self, _data, asked):
        return asked.is_set()
