# SPDX-License-Identifier: Apache-2.0
"""How pinning failed elsewhere: in many threads at once (P05); and what many connections leave behind."""

from __future__ import annotations

import gc
import os
import random
import selectors
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from OpenSSL import SSL
from pinned import ABSENT, HOST, pinned, raw
from support import PATIENCE, Background, Node, accepting, intermediate, leaf, root, server_ssl, shake

from pinverify import Pin, PinRefused, PinSet, Reason, client_context


class Job:
    """A server to connect to, and what has to come of it."""

    def __init__(self, host: str, server: Node, reason: Reason | None) -> None:
        self.host, self.server, self.reason = host, server, reason

    def check(self, error: BaseException | None) -> None:
        """Checks that a handshake raised this server's own refusal, or nothing if there is none."""
        if self.reason is None:
            assert error is None
            return
        assert isinstance(error, PinRefused)
        verdict = error.verdict
        assert (verdict.reason, verdict.host) == (self.reason, self.host)
        assert (verdict.chain[0], verdict.sent[0]) == (self.server.der, self.server.der)
        assert error.args[0] == [("pinverify", self.reason.name.lower(), verdict.summary)]


class Pool:
    """Servers that one context connects to: good ones, and bad ones of each sort with a certificate each."""

    ca = root().issue_ca("pool")
    denied = ca.issue_ca("denied")

    @classmethod
    def policy(cls) -> dict[str, PinSet]:
        return {"**.pool.test": PinSet([cls.ca.pin], deny=[cls.denied.pin])}

    def __init__(self) -> None:
        self._good = [self.ca.issue(f"good{number}.pool.test") for number in range(4)]
        self._rogue = make_rogue_ca()

    def good(self, number: int) -> Job:
        host = f"good{number % 4}.pool.test"
        return Job(host, self._good[number % 4], None)

    def bad(self, number: int) -> Job:
        host = f"bad{number}.pool.test"
        issuers = {
            0: (intermediate(), host, host, Reason.NOT_PINNED),
            1: (self.ca, host, "elsewhere.test", Reason.OPENSSL),  # another name
            2: (self._rogue, host, host, Reason.OPENSSL),  # an unknown CA
            3: (self.ca, f"bad{number}.unlisted.test", f"bad{number}.unlisted.test", Reason.UNLISTED),
            4: (self.denied, host, host, Reason.DENIED),
        }
        issuer, asked, certified, reason = issuers[number % len(issuers)]
        return Job(asked, issuer.issue(certified), reason)


def make_rogue_ca() -> Node:
    return root("rogue").issue_ca("rogue intermediate")


def test_p05_connections_interleaved_in_one_thread() -> None:
    """In an event loop each refused connection raises its own refusal, and no other connection does."""
    pool, policy = Pool(), client_context(Pool.policy(), trust=root().certificate)
    jobs = [pool.good(0), pool.bad(0), pool.good(1), pool.bad(1), pool.bad(2), pool.bad(3), pool.good(2)] * 3
    jobs += [pool.bad(4), pool.good(3)]
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        results: dict[Any, BaseException | None] = {}
        for number, job in enumerate(jobs):
            near, far = (stack.enter_context(sock) for sock in socket.socketpair())
            near.setblocking(False)
            server = SSL.Connection(server_ssl(job.server), far)
            server.set_accept_state()
            Background(server.do_handshake)
            selector.register(near, selectors.EVENT_WRITE, (number, raw(policy, near, job.host)))
        while len(results) < len(jobs):
            ready = selector.select(PATIENCE)
            assert ready
            for key, _ in ready:
                number, connection = key.data
                try:
                    connection.do_handshake()
                except SSL.WantReadError:
                    selector.modify(key.fileobj, selectors.EVENT_READ, key.data)
                    continue
                except Exception as error:
                    results[number] = error
                else:
                    results[number] = None
                selector.unregister(key.fileobj)
    for number, job in enumerate(jobs):
        job.check(results[number])


THREADS = 16
EACH = int(os.environ.get("PINVERIFY_TEST_HANDSHAKES") or 100)  # handshakes of each thread


@pytest.fixture
def _restless_threads() -> Iterator[None]:
    """Lets the interpreter change threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.slow
@pytest.mark.usefixtures("_restless_threads")
@pytest.mark.parametrize(("each", "bad_every"), [(EACH, 100), (20, 2)], ids=["1 % bad", "half bad"])
def test_p05_each_thread_hears_of_its_own_refusals_alone(each: int, bad_every: int) -> None:
    """With 16 threads on one context each bad server is refused with its own error, and no good one is."""
    count = THREADS * each
    pool, context = Pool(), client_context(Pool.policy(), trust=root().certificate)
    jobs = [pool.good(n) if n % bad_every else pool.bad(n // bad_every) for n in range(count)]
    random.Random(5).shuffle(jobs)
    contexts = {
        key: server_ssl(server) for key, server in {id(job.server): job.server for job in jobs}.items()
    }
    start = threading.Barrier(THREADS)

    def work(number: int) -> list[tuple[Job, Exception | None]]:
        start.wait(PATIENCE)
        return [
            (job, shake(raw(context, host=job.host), accepting(contexts[id(job.server)]))[0])
            for job in jobs[number::THREADS]
        ]

    workers = [Background(partial(work, number)) for number in range(THREADS)]
    for worker in workers:
        for job, error in worker.result(4 * PATIENCE + each):
            job.check(error)
    bad = len(range(0, count, bad_every))
    assert (context.stats().refused, context.stats().accepted) == (bad, count - bad)


def resident_bytes() -> int:
    """How much memory of this process is in use, without what waits for the collector."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def live_objects() -> int:
    """How many connections and refusals there are."""
    return sum(type(thing) in (SSL.Connection, PinRefused) for thing in gc.get_objects())


def handshake(client: SSL.Connection, server: SSL.Connection) -> Exception | None:
    """What the client raises in a handshake to the end of both, with no more calls than it takes."""
    ends = [(client, server), (server, client)] * 2
    for near, far in ends:
        try:
            near.do_handshake()
        except SSL.WantReadError:
            pass
        except PinRefused as error:
            return error.with_traceback(None)
        far.bio_write(near.bio_read(1 << 16))
    assert client.get_peer_finished()
    assert server.get_peer_finished()
    return None


# A certificate, an OpenSSL object or an exception that each connection left behind would come to more, over
# thousands of them. What the allocators keep for themselves comes to less.
BOUND = 1 << 20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize(
    ("pin", "connections"), [(None, 10_000), (ABSENT, 4_000)], ids=["accepted", "refused"]
)
def test_connections_leave_nothing_behind(engine: ModuleType, pin: Pin | None, connections: int) -> None:
    """After thousands of connections, accepted or refused, the process has not grown."""
    connections //= 1 if engine.NAME == "native" else 3  # the other one is slower
    context, server = pinned(pin=pin), server_ssl(leaf(HOST))
    for number in range(connections):
        if number == connections // 8:  # warmed up
            bytes_before, objects_before = resident_bytes(), live_objects()
        assert (handshake(raw(context), accepting(server)) is None) == (pin is None)
    assert resident_bytes() - bytes_before < BOUND
    assert live_objects() <= objects_before
