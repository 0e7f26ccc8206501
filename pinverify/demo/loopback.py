# SPDX-License-Identifier: Apache-2.0
"""A server in a thread, a client here, TCP on 127.0.0.1 between them, and what either made of the other."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from queue import SimpleQueue
from typing import NamedTuple

from OpenSSL import SSL

from pinverify.connection import verdict as verdict_of
from pinverify.context import PinnedContext
from pinverify.decision import Reason
from pinverify.diagnosis import Diagnosis
from pinverify.errors import PinRefused, PinverifyError
from pinverify.verdict import Verdict, subject_of

__all__ = ["Client", "ForeignSession", "Outcome", "meet", "serving"]

Client = Callable[[socket.socket], SSL.Connection]

_HELLO = b"hello"
_PATIENCE = 30  # seconds until the server gives up waiting for a client, so that nothing hangs for ever


class ForeignSession(Exception):
    """pyOpenSSL, from 26.3 on, does not take a session that was made in another context."""


class Outcome(NamedTuple):
    """What one end made of the other. `reason` is None where pinverify was not asked."""

    accepted: bool
    reason: Reason | None
    why: str


class Server(NamedTuple):
    """A server that runs: its port, and its outcomes, one for each connection."""

    port: int
    outcomes: SimpleQueue[Outcome]


@contextmanager
def serving(context: SSL.Context, connections: int = 1) -> Iterator[Server]:
    """A server that accepts that many connections, one after the other, and then is done."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(_PATIENCE)
        server = Server(listener.getsockname()[1], SimpleQueue())

        def run() -> None:
            for _ in range(connections):
                sock = listener.accept()[0]
                with closing(sock):
                    _prepare(sock)
                    connection = SSL.Connection(context, sock)
                    connection.set_accept_state()
                    server.outcomes.put(_outcome(connection, _greet))
                    with suppress(SSL.Error):  # wait for the client to be done with what it was sent
                        connection.recv(1)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield server
        thread.join(_PATIENCE)


def meet(server: Server, client: Client) -> tuple[Outcome, Outcome]:
    """One connection: the client's outcome, then the server's.

    Accepted means that application data has arrived, not only that no call raised.
    """
    with closing(socket.create_connection(("127.0.0.1", server.port))) as sock:
        _prepare(sock)
        try:
            connection = client(sock)
        except ForeignSession:
            mine = Outcome(False, None, "pyOpenSSL: a foreign session")
        else:
            mine = _outcome(connection, _listen)
            with suppress(SSL.Error):
                connection.shutdown()
    return mine, server.outcomes.get(timeout=_PATIENCE)


def _prepare(sock: socket.socket) -> None:
    sock.setblocking(True)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each connection waits 40 ms for an ACK


def _greet(connection: SSL.Connection) -> None:
    connection.sendall(_HELLO)


def _listen(connection: SSL.Connection) -> None:
    received = b""
    while len(received) < len(_HELLO):
        received += connection.recv(len(_HELLO) - len(received))


def _outcome(connection: SSL.Connection, talk: Callable[[SSL.Connection], None]) -> Outcome:
    try:
        connection.do_handshake()
        talk(connection)
    except PinRefused as refused:
        return _of(refused.verdict)
    except SSL.Error as error:
        return Outcome(False, None, f"OpenSSL: {_text(error)}")
    return _let_in(connection)


def _let_in(connection: SSL.Connection) -> Outcome:
    """The outcome of a connection that data has come over: accepted, whatever the verdict says afterwards."""
    if not isinstance(connection.get_context(), PinnedContext):
        return Outcome(True, None, "no pins: a trusted CA will do")
    try:
        return _of(verdict_of(connection))
    except PinRefused as late:
        return _of(late.verdict)._replace(accepted=True)
    except PinverifyError as error:
        return Outcome(True, None, str(error))


def _text(error: SSL.Error) -> str:
    """The reason of the first of OpenSSL's errors, or what pyOpenSSL says instead."""
    first = error.args[0] if error.args else ""
    return str(first[0][-1]) if isinstance(first, list) and first else str(error) or type(error).__name__


def _of(verdict: Verdict) -> Outcome:
    return Outcome(verdict.accepted, verdict.reason, _short(verdict))


def _short(verdict: Verdict) -> str:
    """Fewer words than `verdict.summary`, for a column of a table."""
    if verdict.reason is Reason.PINNED and verdict.depth is not None:
        return f"depth {verdict.depth}, {subject_of(verdict.chain[verdict.depth])}"
    if verdict.diagnosis in _DIAGNOSES:
        return _DIAGNOSES[verdict.diagnosis]
    if verdict.reason is Reason.OPENSSL:
        return verdict.detail.partition(" (")[0]
    return verdict.detail or _REASONS.get(verdict.reason, verdict.summary)


_DIAGNOSES = {
    Diagnosis.WRONG_KEY: "wrong key",
    Diagnosis.LOCAL_CA: "wrong key",  # all CAs are, here
    Diagnosis.SENT_NOT_VERIFIED: "sent, not verified",
    Diagnosis.CERTIFICATE_HASH: "pin of a certificate, not of a key",
    Diagnosis.KEY_HASH: "pin of a key, not of a certificate",
}
_REASONS = {
    Reason.NO_REFERENCE: "no host is named",
    Reason.RESUMED: "from this very policy",
}
