"""The Minimal Lower Layer Protocol: messages between marks, each answered on its connection."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from cxr_pacs.errors import ConfigurationError, RefusedMessage, kind_and_place

__all__ = ["LARGEST", "Frames", "MllpListener", "framed"]

logger = logging.getLogger(__name__)

LARGEST: Final = 256 * 1024
"""Bytes of a message; an order has some thousand."""

_BEGIN: Final = b"\x0b"
_END: Final = b"\x1c\r"
_PIECE: Final = 65536
# Seconds in which a message that has begun must be whole, and an answer be taken.
_PATIENCE: Final = 60.0
# Seconds for which what a peer still sends is read after a last answer.
_HANG_UP: Final = 5.0
# Seconds between looks whether to stop, while nothing comes.
_LOOK: Final = 0.5


def framed(content: bytes) -> bytes:
    """Put a message between its marks."""
    return _BEGIN + content + _END


class Frames:
    """Messages out of the bytes of a connection, however they were cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def begun(self) -> bool:
        """Whether a part of a message is there."""
        return bool(self._buffer)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """
        Take what came, and give each message that is whole now.

        Bytes outside the marks are passed over. A begin mark within a message begins it anew: what came
        before it was broken off.

        Raises
        ------
        RefusedMessage
            A message has more than `LARGEST` bytes; nothing more can be read of the connection.
        """
        self._buffer += piece
        while (end := self._buffer.find(_END)) >= 0:
            del self._buffer[: max(0, self._buffer.rfind(_BEGIN, 0, end))]
            content, _, rest = bytes(self._buffer).partition(_END)
            self._check_length(content)
            self._buffer = bytearray(rest)
            if content.startswith(_BEGIN):
                yield content[1:]
        del self._buffer[: max(0, self._buffer.rfind(_BEGIN))]
        if not self._buffer.startswith(_BEGIN):
            self._buffer.clear()
        self._check_length(self._buffer)

    def _check_length(self, content: bytes | bytearray) -> None:
        if len(content) > LARGEST:
            raise RefusedMessage(f"The message has more than {LARGEST} bytes", answer="AR", code=207)

    def rest(self) -> bytes:
        """Give what has begun and has no end."""
        return bytes(self._buffer[1:])


class MllpListener:
    """Listens for connections, each in a thread of its own, from `start` to `stop`.

    Parameters
    ----------
    host : str
    port : int
        0 takes any that is free, see `port`.
    answer : callable
        Gets a message, or a RefusedMessage and what there is of one; returns the answer.
    connections : int
        How many at once; one more is closed.
    """

    def __init__(
        self,
        host: str,
        port: int,
        answer: Callable[[bytes, RefusedMessage | None], bytes],
        connections: int,
    ) -> None:
        self._address = (host, port)
        self._answer = answer
        self._connections = connections
        self._stopped = threading.Event()
        # The first accepts, the others serve.
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        """TCP port that it listens on."""
        return self._address[1]

    def start(self) -> None:
        """Listen; ConfigurationError where it cannot."""
        host, port = self._address
        try:
            listening = socket.create_server((host, port))
        except OSError as error:
            raise ConfigurationError(f"hl7.port: cannot listen on {host}:{port}: {error.strerror}") from error
        listening.settimeout(_LOOK)
        self._address = (host, listening.getsockname()[1])
        self._run("mllp", self._accept, listening)

    def stop(self, grace: float) -> None:
        """Accept no more, answer what came whole, and wait `grace` seconds for that."""
        self._stopped.set()
        until = time.monotonic() + grace
        for thread in tuple(self._threads):
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self, name: str, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name=name, daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listening: socket.socket) -> None:
        with listening:
            while not self._stopped.is_set():
                try:
                    connection, peer = listening.accept()
                except TimeoutError:
                    continue
                except OSError as error:
                    logger.warning("hl7: no connection could be accepted: %s", error.strerror)
                    self._stopped.wait(_LOOK)
                    continue
                if sum(thread.is_alive() for thread in self._threads) > self._connections:
                    logger.warning("hl7: %s: closed, %d connections are open", peer[0], self._connections)
                    connection.close()
                    continue
                _notice_absence(connection)
                self._run("mllp-peer", self._serve, connection, peer[0])

    def _serve(self, connection: socket.socket, peer: str) -> None:
        try:
            with connection:
                self._converse(connection, peer)
        except OSError as error:
            logger.info("hl7: %s: the connection ended: %s", peer, error.strerror or type(error).__name__)
        except Exception as error:  # noqa: BLE001  top of a thread: the other connections go on
            logger.error("hl7: %s: %s", peer, kind_and_place(error))  # noqa: TRY400

    def _converse(self, connection: socket.socket, peer: str) -> None:
        frames = Frames()
        begun_at = 0.0
        while not self._stopped.is_set():
            piece = _received(connection)
            if piece == b"":
                if frames.begun:
                    logger.warning("hl7: %s: the connection ended within a message", peer)
                return
            connection.settimeout(_PATIENCE)
            try:
                for content in frames.feed(piece or b""):
                    begun_at = 0.0
                    connection.sendall(framed(self._answer(content, None)))
            except RefusedMessage as refused:
                connection.sendall(framed(self._answer(frames.rest(), refused)))
                _hang_up(connection)
                return
            begun_at = (begun_at or time.monotonic()) if frames.begun else 0.0
            if begun_at and time.monotonic() - begun_at > _PATIENCE:
                logger.warning("hl7: %s: closed, a message was not whole after %g s", peer, _PATIENCE)
                return


def _notice_absence(connection: socket.socket) -> None:
    """Let the system end the connection of a peer that went away without a word, within two minutes."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


def _hang_up(connection: socket.socket) -> None:
    """Close so that the peer gets the answer: what it still sends is read, and thrown away."""
    connection.shutdown(socket.SHUT_WR)
    until = time.monotonic() + _HANG_UP
    while time.monotonic() < until and _received(connection) != b"":
        pass


def _received(connection: socket.socket) -> bytes | None:
    """Give what came, nothing where the peer has closed, None where nothing came for a while."""
    connection.settimeout(_LOOK)
    try:
        return connection.recv(_PIECE)
    except TimeoutError:
        return None
