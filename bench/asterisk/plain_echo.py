"""``plain_echo.c`` for machines without a compiler: ``python plain_echo.py PORT``."""

from __future__ import annotations

import selectors
import socket
import sys

#: The first frame names the call and is not sent back.
UUID_FRAME = 19


def main(port: int) -> None:
    selector = selectors.DefaultSelector()
    listener = socket.create_server(("127.0.0.1", port), backlog=256)
    selector.register(listener, selectors.EVENT_READ)
    left: dict[socket.socket, int] = {}
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            if sock is listener:
                accepted, _ = listener.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                left[accepted] = UUID_FRAME
                selector.register(accepted, selectors.EVENT_READ)
                continue
            try:
                data = sock.recv(65536)
                skip = min(left[sock], len(data))
                left[sock] -= skip
                if data:
                    sock.sendall(data[skip:])
                    continue
            except OSError:
                pass  # Asterisk resets what it has not read to its end
            selector.unregister(sock)
            del left[sock]
            sock.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
