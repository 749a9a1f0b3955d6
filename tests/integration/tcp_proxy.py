"""A cable that can be pulled: passes TCP on to a server, any server, until told to stop."""

import socket
import threading
from contextlib import suppress


class TcpProxy:
    """Listens at `port`; while stopped, connections are refused and those there were are cut."""

    def __init__(
        self, upstream: int, host: str = "127.0.0.1", *, at: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._upstream = (host, upstream)
        self._at = at
        self._guard = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.port = port
        self.start()

    def start(self) -> None:
        listener = socket.create_server((self._at, self.port))
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self) -> None:
        with self._guard:
            sockets = [self._listener, *self._sockets]
            self._listener, self._sockets = None, set()
        for one in sockets:
            if one is not None:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()

    def start_after(self, seconds: float) -> None:
        """Start again in a moment, from another thread."""
        timer = threading.Timer(seconds, self.start)
        timer.daemon = True
        timer.start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                try:
                    server = socket.create_connection(self._upstream, timeout=5)
                    server.settimeout(None)
                except OSError:
                    client.close()
                    continue
                with self._guard:
                    if self._listener is not listener:
                        client.close()
                        server.close()
                        return
                    self._sockets |= {client, server}
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
            with self._guard:
                self._sockets.discard(one)
