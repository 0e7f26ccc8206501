# SPDX-License-Identifier: Apache-2.0
"""What a decision costs beside a handshake, on this machine and now."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

from OpenSSL import SSL

from pinverify.context import client_context
from pinverify.demo.loopback import meet, serving
from pinverify.demo.pki import HOST, Pki
from pinverify.policy import Policy

__all__ = ["Cost", "measure"]


class Cost(NamedTuple):
    """Medians of elapsed time, in seconds."""

    decision: float  # over a chain of three with the leaf pinned, called from Python
    handshake: float  # over loopback, both ends in this process, TCP's connect not counted

    @property
    def ratio(self) -> float:
        """The decision's part of a handshake."""
        return self.decision / self.handshake


def measure(pki: Pki, *, handshakes: int = 100, rounds: int = 100, calls: int = 200) -> Cost:
    """Medians of `handshakes` handshakes, and of `rounds` rounds of `calls` decisions each."""
    return Cost(_decision(pki, rounds, calls), _handshake(pki, handshakes))


def _decision(pki: Pki, rounds: int, calls: int) -> float:
    decide, chain = Policy({HOST: [pki.server.pin]}).compiled.decide, pki.server.ders
    now = int(time.time())

    def some() -> None:
        for _ in range(calls):
            decide(HOST, chain, now)

    return median(_elapsed(some) for _ in range(rounds)) / calls


def _handshake(pki: Pki, count: int) -> float:
    context = client_context({HOST: [pki.server.pin]}, trust=pki.trusted)
    times: list[float] = []

    def client(sock: socket.socket) -> SSL.Connection:
        connection = context.connection(HOST, sock)
        times.append(_elapsed(connection.do_handshake))
        return connection

    with serving(pki.server.context(), connections=count) as server:
        for _ in range(count):
            meet(server, client)
    return median(times)


def _elapsed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
