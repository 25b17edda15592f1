"""The proxy cuts as it says, and heals."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.faults.proxy import Cut, Proxy


@pytest.fixture
def echo() -> Iterator[Proxy]:
    """A proxy before a server that gives back a hundredfold what it is sent; `heard` is what reached it."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1000):
                    heard.append(data)
                    connection.sendall(data * 100)
            except OSError:
                pass

    heard.clear()
    threading.Thread(target=serve, daemon=True).start()
    proxy = Proxy((server.getsockname()[1],), seed=1)
    proxy.start()
    yield proxy
    proxy.stop()
    server.shutdown(socket.SHUT_RDWR)
    server.close()


heard: list[bytes] = []


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.ports[0]), timeout=5)


def ask(connection: socket.socket, text: bytes = b"0123456789") -> bytes:
    """The whole answer, or what came of it before the connection broke."""
    found = b""
    try:
        connection.sendall(text)
        while len(found) < 100 * len(text) and (data := connection.recv(10_000)):
            found += data
    except ConnectionError:
        pass
    return found


def test_an_open_proxy_passes_everything_on(echo: Proxy) -> None:
    with connect(echo) as connection:
        assert len(ask(connection)) == 1_000
        assert len(ask(connection)) == 1_000


def test_a_refused_connection_is_reset_and_so_are_those_that_are_there(echo: Proxy) -> None:
    with connect(echo) as old:
        assert ask(old)
        echo.cut(Cut.REFUSED)
        assert ask(old) == b""
        try:
            with connect(echo) as new:
                assert ask(new) == b""
        except ConnectionResetError:
            pass
    echo.open()
    with connect(echo) as healed:
        assert len(ask(healed)) == 1_000


def test_in_silence_nothing_arrives_and_nobody_is_told_not_even_after_the_cut(echo: Proxy) -> None:
    with connect(echo) as connection:
        assert ask(connection)
        echo.cut(Cut.SILENT)
        connection.sendall(b"lost")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        echo.open()
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert b"lost" not in heard


def test_what_was_stalled_arrives_after_the_cut(echo: Proxy) -> None:
    with connect(echo) as connection:
        echo.cut(Cut.STALLED)
        connection.sendall(b"late")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        echo.open()
        connection.settimeout(5)
        assert connection.recv(4) == b"late"


def test_a_truncated_answer_breaks_off(echo: Proxy) -> None:
    echo.cut(Cut.TRUNCATED)
    with connect(echo) as connection:
        assert len(ask(connection)) < 1_000


def test_an_unanswered_request_has_reached_the_server(echo: Proxy) -> None:
    echo.cut(Cut.UNANSWERED)
    with connect(echo) as connection:
        assert ask(connection, b"do it") == b""
    assert b"do it" in heard
