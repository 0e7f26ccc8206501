# SPDX-License-Identifier: Apache-2.0
"""Many hosts held to one policy, on whatever runs things in parallel."""

from __future__ import annotations

import queue
import time
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple, cast

from OpenSSL import SSL

from pinverify.connection import connect, verdict
from pinverify.context import PinnedContext, client_context
from pinverify.errors import InvalidHost, PinRefused, shown
from pinverify.hostnames import host_and_port
from pinverify.policy import Policy
from pinverify.reading import days_left
from pinverify.trust import TrustSource
from pinverify.verdict import Verdict

__all__ = ["Audit", "Outcome", "Target", "targets"]


class Target(NamedTuple):
    """A host to connect to by its name, and where to find it."""

    host: str
    port: int
    address: tuple[str, int]

    @classmethod
    def parse(cls, text: str) -> Target:
        """HOST[:PORT], and as a second word where to find it, if elsewhere. Raises InvalidHost."""
        words = text.split()
        if len(words) not in (1, 2):
            raise InvalidHost(f"{shown(text)} is not HOST[:PORT] [ADDRESS[:PORT]]")
        host, port = host_and_port(words[0])
        address, at_port = host_and_port(words[-1])
        if len(words) == 2 and ":" not in words[1].rpartition("]")[2]:
            at_port = port
        return cls(host, port, (address, at_port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def targets(lines: Iterable[str]) -> Iterator[Target]:
    """The targets in a text, one a line, with comments behind "#". Raises InvalidHost with the line."""
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if text:
            try:
                yield Target.parse(text)
            except InvalidHost as error:
                raise InvalidHost(f"line {number}: {error}") from error


class Outcome(NamedTuple):
    """What came of a target. `accepted` is None where there was no verdict, and `detail` says why."""

    target: str
    accepted: bool | None
    reason: str | None
    diagnosis: str | None
    detail: str
    pins: tuple[str, ...]
    days_left: int | None
    seconds: float
    at: str

    @property
    def as_json(self) -> dict[str, Any]:
        """The outcome in JSON's types."""
        return self._asdict()


@dataclass(frozen=True)
class Audit:
    """A policy that hosts are held to. It can be pickled, and so sent to other processes and machines.

    `trust` is as for `client_context`; a path is read where the work is done. `timeout` in seconds is that of
    one connection.
    """

    policy: Policy
    trust: TrustSource = "system"
    timeout: float = 10.0

    def context(self) -> PinnedContext:
        """The context of this process for the policy. Raises InvalidPolicy or InvalidTrust."""
        trust = tuple(self.trust) if isinstance(self.trust, list) else self.trust
        return _context(self.policy, cast(Hashable, trust))

    def check(self, target: Target) -> Outcome:
        """Connects to one target; errors of the network are an outcome, and not raised."""
        began, at = time.perf_counter(), datetime.now(timezone.utc)
        context, found, detail = self.context(), None, ""
        try:
            connection = connect(target.address, context, host=target.host, timeout=self.timeout)
            with closing(connection):
                found = verdict(connection)
                with suppress(SSL.Error):
                    connection.shutdown()
        except PinRefused as refused:
            found = refused.verdict
        except (OSError, SSL.Error) as error:
            detail = f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
        return _outcome(target, found, detail, time.perf_counter() - began, at)

    def check_each(self, batch: Sequence[Target]) -> list[Outcome]:
        """`check` for one target after the other."""
        return list(map(self.check, batch))

    def run(
        self, hosts: Iterable[Target], executor: Executor, *, jobs: int = 32, batch: int = 1
    ) -> Iterator[Outcome]:
        """The outcomes of all hosts as they come in, with at most `jobs` tasks of `batch` hosts under way.

        The executor, which stays the caller's, may be of threads, of processes, or dask's
        (`client.get_executor()`). The last two are sent the policy with each task: make their batches larger.
        Whoever stops half-way loses what is under way, and nothing else.
        """
        waiting = iter(hosts)
        done: queue.SimpleQueue[Future[list[Outcome]]] = queue.SimpleQueue()
        pending: set[Future[list[Outcome]]] = set()

        def submit() -> None:
            if targets := tuple(islice(waiting, batch)):
                future = executor.submit(self.check_each, targets)
                pending.add(future)
                future.add_done_callback(done.put)

        try:
            for _ in range(jobs):
                submit()
            while pending:
                future = done.get()
                pending.discard(future)
                submit()
                yield from future.result()
        finally:
            for future in pending:
                future.cancel()


@lru_cache(maxsize=4)
def _context(policy: Policy, trust: Hashable) -> PinnedContext:
    """The context of this process for a policy: made once, where the work is done."""
    return client_context(policy, trust=cast(TrustSource, trust))


def _outcome(target: Target, found: Verdict | None, detail: str, seconds: float, at: datetime) -> Outcome:
    return Outcome(
        target=str(target),
        accepted=None if found is None else found.accepted,
        reason=None if found is None else found.reason.name,
        diagnosis=found.diagnosis.name if found is not None and found.diagnosis is not None else None,
        detail=detail if found is None else found.summary,
        pins=() if found is None else tuple(str(pin) for pin in found.pins if pin is not None),
        days_left=days_left(found.chain[0], at) if found is not None and found.chain else None,
        seconds=round(seconds, 6),
        at=at.isoformat(timespec="seconds"),
    )
