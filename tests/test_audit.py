# SPDX-License-Identifier: Apache-2.0
"""The audit of many hosts: right outcomes, on threads, on processes and on a dask cluster."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pytest
from OpenSSL import SSL
from support import intermediate, leaf, root, server_ssl, serving

from pinverify import InvalidHost, Pin, Policy
from pinverify.audit import Audit, Outcome, Target, targets

GOOD, BAD, UNLISTED = "good.audit.test", "bad.audit.test", "elsewhere.test"
ABSENT = Pin(bytes(32))
POLICY = Policy({GOOD: [leaf(GOOD).pin], BAD: [ABSENT], "*.many.test": [intermediate().pin]})
MANY = intermediate().issue("*.many.test")


def by_name(connection: SSL.Connection) -> None:
    name = (connection.get_servername() or b"").decode()
    node = MANY if name.endswith(".many.test") else leaf(name or GOOD)
    connection.set_context(server_ssl(node))


@contextmanager
def server() -> Iterator[int]:
    """The port of a server that has a certificate for each name."""
    context = server_ssl(leaf(GOOD))
    context.set_tlsext_servername_callback(by_name)
    with serving(context) as running:
        yield running.port


def outcomes(executor: Executor, hosts: list[Target], **options: Any) -> dict[str, Outcome]:
    audit = Audit(POLICY, trust=root().pem, timeout=30)
    return {outcome.target: outcome for outcome in audit.run(hosts, executor, **options)}


def hosts_at(port: int) -> list[Target]:
    at = ("127.0.0.1", port)
    return [Target(host, 443, at) for host in (GOOD, BAD, UNLISTED)] + [
        Target("gone.audit.test", 443, ("127.0.0.1", 1)),
        *(Target(f"h{number}.many.test", 443, at) for number in range(20)),
    ]


def check(found: dict[str, Outcome]) -> None:
    """Checks the outcomes of `hosts_at`."""
    assert len(found) == 24
    good = found[f"{GOOD}:443"]
    assert (good.accepted, good.reason, good.diagnosis) == (True, "PINNED", None)
    assert good.pins[0] == str(leaf(GOOD).pin)
    assert good.days_left == 29
    bad = found[f"{BAD}:443"]
    assert (bad.accepted, bad.reason, bad.diagnosis) == (False, "NOT_PINNED", "LOCAL_CA")
    assert found[f"{UNLISTED}:443"].reason == "UNLISTED"
    gone = found["gone.audit.test:443"]
    assert (gone.accepted, gone.reason, gone.pins) == (None, None, ())
    assert "ConnectionRefusedError" in gone.detail
    assert all(found[f"h{number}.many.test:443"].accepted for number in range(20))
    for outcome in found.values():
        assert json.loads(json.dumps(outcome.as_json))["target"] == outcome.target


def test_on_threads() -> None:
    """Each host has its own outcome, whatever becomes of the others."""
    with server() as port, ThreadPoolExecutor(8) as executor:
        check(outcomes(executor, hosts_at(port)))


def test_in_batches() -> None:
    """Several hosts to a task come to the same."""
    with server() as port, ThreadPoolExecutor(4) as executor:
        check(outcomes(executor, hosts_at(port), jobs=3, batch=5))


@pytest.mark.slow
def test_on_processes() -> None:
    """The audit and its outcomes cross processes, that are not forked from this one."""
    with server() as port, ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
        check(outcomes(executor, hosts_at(port), jobs=2, batch=8))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_on_a_dask_cluster() -> None:
    """A cluster of dask.distributed, with processes of its own, runs it too."""
    import distributed  # slow to import

    with (
        server() as port,
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        check(outcomes(client.get_executor(), hosts_at(port), jobs=2, batch=8))


class Counting(ThreadPoolExecutor):
    """Keeps how many tasks were under way at most."""

    most = 0

    def submit(self, *arguments: Any, **options: Any) -> Future[Any]:
        self.most = max(self.most, self._work_queue.qsize() + 1)
        return super().submit(*arguments, **options)


def test_no_more_is_under_way_than_asked_for() -> None:
    """However many hosts there are, they are handed out a few at a time; and stopping cancels the rest."""
    asked = 0

    def endless(port: int) -> Iterator[Target]:
        nonlocal asked
        while True:
            asked += 1
            yield Target(GOOD, 443, ("127.0.0.1", port))

    with server() as port, Counting(2) as executor:
        running = Audit(POLICY, trust=root().pem).run(endless(port), executor, jobs=4)
        assert len(list(islice(running, 10))) == 10
        running.close()  # type: ignore[attr-defined]
        assert executor.most <= 4
    assert asked <= 10 + 4


def test_nothing_to_do() -> None:
    """No hosts, no outcomes."""
    with ThreadPoolExecutor(1) as executor:
        assert outcomes(executor, []) == {}


LINES = {
    "a.test": Target("a.test", 443, ("a.test", 443)),
    "A.Test:8443  # old": Target("a.test", 8443, ("a.test", 8443)),
    "a.test 192.0.2.1": Target("a.test", 443, ("192.0.2.1", 443)),
    "a.test:8443 192.0.2.1": Target("a.test", 8443, ("192.0.2.1", 8443)),
    "a.test:8443 192.0.2.1:9": Target("a.test", 8443, ("192.0.2.1", 9)),
    "[::1]:8443": Target("::1", 8443, ("::1", 8443)),
    "a.test [::1]": Target("a.test", 443, ("::1", 443)),
    "a.test [::1]:9": Target("a.test", 443, ("::1", 9)),
}


@pytest.mark.parametrize(("line", "expected"), LINES.items())
def test_a_line_is_a_target(line: str, expected: Target) -> None:
    """A host, its port, and where it is; and back to text."""
    [target] = targets(["", "# nothing", line])
    assert target == expected
    assert Target.parse(str(target))[:2] == target[:2]


@pytest.mark.parametrize("line", ["https://a.test", "a.test b c", "a b:c", "a.test:0", "::1", "*.a.test"])
def test_a_line_that_is_none(line: str) -> None:
    """The error has the number of the line."""
    with pytest.raises(InvalidHost, match="line 2: "):
        list(targets(["a.test", line]))
