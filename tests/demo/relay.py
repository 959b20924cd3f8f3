"""A TCP relay that can hold back the second command that names a key.

The demo puts it between Lockside and Redis to make the moment visible in which Lockside has set
the key and has not made it permanent yet. It forwards bytes as they come and knows no protocol
beyond "these bytes name the key".
"""

import socket
import threading

CHUNK = 1 << 16
"""Bytes of one read; a lock command is far smaller and comes in one read."""


class Relay:
    """Listens on a free port and forwards each connection to `target_port` on 127.0.0.1."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.key = None
        self.seen = 0
        self.held_back = None
        self.holding = threading.Event()
        self.lock = threading.Lock()
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def hold_second(self, key):
        """From now on, let the first message that names `key` pass, and no later one."""
        with self.lock:
            self.key, self.seen = key, 0

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
            for source, sink, filtered in ((near, far, True), (far, near, False)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                args = (source, sink, filtered)
                threading.Thread(target=self._pump, args=args, daemon=True).start()

    def _pump(self, source, sink, filtered):
        try:
            while data := source.recv(CHUNK):
                if filtered and self._holds(data):
                    return
                sink.sendall(data)
        except OSError:
            pass
        finally:
            if not self.holding.is_set():
                sink.close()

    def _holds(self, data):
        with self.lock:
            if self.key is None or self.key not in data:
                return False
            self.seen += 1
            if self.seen == 1:
                return False
            self.held_back = data
            self.holding.set()
            return True
