# SPDX-License-Identifier: Apache-2.0
"""Lint of a policy by asking its hosts, which are real servers on loopback here."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from OpenSSL import SSL
from support import Node, intermediate, make_node, root, server_ssl, serving

from pinverify import Pin, PinSet, Policy
from pinverify.lint import Finding
from pinverify.lint_live import lint_live

HOST = "api.lint.test"
BACKUP = Pin(bytes(32))
NODE = intermediate().issue(HOST, days=(-1, 90))


def ask(pins: Any, server: SSL.Context, host: str = HOST, trust: Any = None) -> dict[str, Finding]:
    """What is found when the host is this server, by code; of "matched" the last one."""
    with serving(server) as running:
        addresses = {host.lstrip("*."): ("127.0.0.1", running.port)}
        findings = lint_live(
            Policy({host: pins}), trust=trust or root().certificate, addresses=addresses, timeout=20
        )
        return {finding.code: finding for finding in findings}


def test_a_good_entry() -> None:
    """It says which pin matches, where and for how long, and that the backup did not show."""
    found = ask([NODE.pin, root().pin, BACKUP], server_ssl(NODE))
    assert found.keys() == {"matched", "backup-unseen"}
    assert found["matched"].why.startswith("depth 2, CN=root: ")
    assert str(root().pin) in found["matched"].why
    assert "29 days left" in found["matched"].why
    assert str(BACKUP) in found["backup-unseen"].why


CASES: dict[str, tuple[list[Pin], Node, set[str]]] = {
    "leaf only": ([NODE.pin, BACKUP], NODE, {"matched", "leaf-only", "backup-unseen"}),
    "intermediate only": (
        [intermediate().pin, BACKUP],
        NODE,
        {"matched", "intermediate-only", "backup-unseen"},
    ),
    "root only": ([root().pin, BACKUP], NODE, {"matched", "backup-unseen"}),
    "backup in the chain": ([NODE.pin, intermediate().pin], NODE, {"matched", "backup-in-chain"}),
    "certificate pin": ([NODE.cert_pin, root().pin, BACKUP], NODE, {"matched", "backup-unseen"}),
    "refused": ([BACKUP], NODE, {"refused"}),
}


@pytest.mark.parametrize(("pins", "node", "expected"), CASES.values(), ids=CASES)
def test_what_is_found(pins: list[Pin], node: Node, expected: set[str]) -> None:
    """Each code comes up where it should, and nowhere else."""
    assert ask(pins, server_ssl(node)).keys() == expected


def test_a_certificate_that_ends_soon() -> None:
    """A pinned leaf in its last days is warned of."""
    node = intermediate().issue(HOST, days=(-1, 5))
    found = ask([node.pin, root().pin, BACKUP], server_ssl(node))
    assert "ends in 4 days" in found["ends-soon"].why


def test_a_root_that_the_trust_store_lacks() -> None:
    """A pinned certificate that is only sent, since the anchors lead another way, is warned of."""
    crossed = make_node("old root", is_ca=True)
    found = ask([NODE.pin, crossed.pin], server_ssl(NODE, extra=(crossed,)))
    assert str(crossed.pin) in found["sent-not-verified"].why
    assert "backup-unseen" not in found


def test_mode_and_expiry_do_not_hide_a_wrong_pin() -> None:
    """An entry that only reports, or whose pins have expired, is asked all the same."""
    pins = PinSet([BACKUP], mode="report", expires="2020-01-01", on_expiry="pkix")
    assert ask(pins, server_ssl(NODE)).keys() == {"refused"}


def test_wildcards() -> None:
    """Of "**.name" the name is asked; "*.name" has no host to ask."""
    assert "matched" in ask([NODE.pin, BACKUP], server_ssl(NODE), host=f"**.{HOST}")
    assert ask([BACKUP], server_ssl(NODE), host=f"*.{HOST}").keys() == {"not-asked"}


def test_a_host_that_does_not_answer() -> None:
    """It is a finding, and the next host is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with serving(server_ssl(NODE)) as running:
        addresses = {"gone.test": ("127.0.0.1", port), HOST: ("127.0.0.1", running.port)}
        policy = Policy({"gone.test": [BACKUP], HOST: [BACKUP]})
        findings = list(lint_live(policy, trust=root().certificate, addresses=addresses, timeout=20))
    assert [(finding.code, finding.entry) for finding in findings] == [
        ("unreachable", "gone.test"),
        ("refused", HOST),
    ]
