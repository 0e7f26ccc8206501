# SPDX-License-Identifier: Apache-2.0
"""Hostile peers: two paths to a trust anchor, and chains that are too long or too large."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest
from hostile import assert_broken_off, assert_outcome, both_roles, judge, nodes, openssl_peer, ours
from pinned import ABSENT, HOST, both_versions
from support import Node, intermediate, leaf, make_node, new_key, root

from pinverify import Diagnosis, Pin, PinRefused, PinSet, Reason, Verdict

PINNED, NOT_PINNED = Reason.PINNED, Reason.NOT_PINNED


class Crossed:
    """A CA with a certificate of each of two roots, and a leaf of its own."""

    def __init__(self) -> None:
        self.roots = {name: root(f"{name} root") for name in ("old", "new")}
        key = new_key()
        self.issuing = {
            name: make_node("issuing", issuer=above, key=key, is_ca=True)
            for name, above in self.roots.items()
        }
        self.leaf = self.issuing["old"].issue(HOST)

    def judge(
        self, pinned: str, sent: Sequence[str], trusted: Sequence[str], version: int, is_server: bool
    ) -> Verdict | Exception:
        """What is said of the leaf, sent with those certificates of its CA and with both roots."""
        context = ours(
            [self.roots[pinned].pin], [self.roots[name].certificate for name in trusted], is_server
        )
        nodes = [self.leaf, *(self.issuing[name] for name in sent), *self.roots.values()]
        return judge(context, openssl_peer(nodes, version, is_server=not is_server), is_server=is_server)


@pytest.fixture(scope="module")
def crossed() -> Crossed:
    return Crossed()


@both_versions
@both_roles
@pytest.mark.parametrize(("pinned", "other"), [("old", "new"), ("new", "old")])
def test_a_root_counts_where_it_ends_the_path_that_was_verified(
    crossed: Crossed, version: int, is_server: bool, pinned: str, other: str
) -> None:
    """A pinned root that is only sent along is none, though the same CA has a certificate of its too."""
    assert_outcome(crossed.judge(pinned, [pinned], [pinned], version, is_server), PINNED)
    refused = crossed.judge(pinned, [other], [other], version, is_server)
    assert_outcome(refused, NOT_PINNED)
    assert isinstance(refused, PinRefused)
    if not is_server:  # whom OpenSSL tells what was sent
        assert refused.verdict.diagnosis is Diagnosis.SENT_NOT_VERIFIED


@both_versions
@both_roles
@pytest.mark.parametrize("sent", [("old", "new"), ("new", "old")], ids=" then ".join)
def test_of_two_paths_the_one_that_openssl_takes_decides(
    crossed: Crossed, version: int, is_server: bool, sent: tuple[str, str]
) -> None:
    """Where two roots are trusted and both ways are sent, the pin of one root lets in and that of the other
    does not.
    """
    outcomes = {pinned: crossed.judge(pinned, sent, sent, version, is_server) for pinned in sent}
    (taken,) = (name for name, outcome in outcomes.items() if isinstance(outcome, Verdict))
    (missed,) = outcomes.keys() - {taken}
    assert outcomes[taken].chain[-1] == crossed.roots[taken].der
    assert_outcome(outcomes[missed], NOT_PINNED)
    assert outcomes[missed].verdict.chain[-1] == crossed.roots[taken].der


@both_versions
@both_roles
def test_a_cross_signed_root_is_pinned_by_its_key_and_not_by_its_own_certificate(
    version: int, is_server: bool
) -> None:
    """Below the old root the new one is there with another certificate, and with the same key."""
    old, new = root("old root"), root("new root")
    bridge = make_node("new root", issuer=old, key=new.key, is_ca=True)
    node = new.issue_ca("issuing").issue(HOST)
    peer = openssl_peer([node, node.issuer, bridge, new], version, is_server=not is_server)
    for pin, expected in ((new.pin, PINNED), (new.cert_pin, NOT_PINNED), (bridge.cert_pin, PINNED)):
        outcome = judge(ours([pin], old.certificate, is_server), peer, is_server=is_server)
        assert_outcome(outcome, expected)


# -- Too many, and too large --


@cache
def far_down(depth: int) -> Node:
    """A leaf under a root and as many CAs."""
    node = root()
    for number in range(depth):
        node = node.issue_ca(f"CA {number}", key=intermediate().key)
    return node.issue(HOST)


@both_versions
@both_roles
def test_a_verified_chain_of_more_than_32_is_not_looked_through(version: int, is_server: bool) -> None:
    """Behind the 32nd certificate a pinned key is no longer found, and a denied one is feared."""
    node = far_down(40)
    peer = openssl_peer(nodes(node)[:-1], version, is_server=not is_server)
    limit = Reason.CHAIN_LENGTH
    cases = [([node.pin], PINNED), ([root().pin], limit), (PinSet([node.pin], deny=[ABSENT]), limit)]
    for pins, expected in cases:
        context = ours(pins, root().certificate, is_server)
        outcome = judge(context, peer, is_server=is_server)
        assert_outcome(outcome, expected)
        assert context.stats().by_reason[expected] == 1
    honest = openssl_peer(nodes(far_down(20))[:-1], version, is_server=not is_server)
    assert_outcome(
        judge(ours([root().pin], root().certificate, is_server), honest, is_server=is_server), PINNED
    )


@both_versions
@both_roles
def test_a_chain_that_openssl_finds_too_long_is_refused_by_it(version: int, is_server: bool) -> None:
    """OpenSSL builds no chain of more than a hundred CAs. In pins-only mode no chain is needed."""
    node = far_down(104)
    peer = openssl_peer(nodes(node)[:-1], version, is_server=not is_server)
    for trust, expected in ((root().certificate, Reason.OPENSSL), ("pins", PINNED)):
        assert_outcome(judge(ours([node.pin], trust, is_server), peer, is_server=is_server), expected)


@both_versions
@both_roles
@pytest.mark.parametrize(("size", "is_read"), [(80_000, True), (1_000_000, False)], ids=str)
def test_a_large_certificate_sent_along_is_no_matter_as_long_as_it_is_read(
    version: int, is_server: bool, size: int, is_read: bool
) -> None:
    """OpenSSL reads Certificate messages of 100 KB, and ends the handshake for one of a megabyte."""
    ballast = make_node("ballast", padding=size)
    peer = openssl_peer([*nodes(leaf(HOST)), ballast], version, is_server=not is_server)
    for trust in (root().certificate, "pins"):
        context = ours([leaf(HOST).pin], trust, is_server)
        outcome = judge(context, peer, is_server=is_server)
        if is_read:
            assert_outcome(outcome, PINNED)
        else:
            assert_broken_off(outcome, "excessive message size")
            assert (context.stats().accepted, context.stats().refused) == (0, 0)


@both_versions
@both_roles
def test_a_large_certificate_in_the_verified_chain_is_malformed(version: int, is_server: bool) -> None:
    """More than 65,535 octets are no certificate, at whatever depth they are looked at."""
    bulky = root().issue_ca("bulky CA", padding=70_000)
    node, large = bulky.issue(HOST), root().issue(HOST, padding=70_000)
    key_pin = Pin.from_public_key(large.key.public_key())
    cases = [
        (node, node.pin, PINNED),
        (node, root().pin, Reason.MALFORMED),
        (large, key_pin, Reason.MALFORMED),
    ]
    for sender, pin, expected in cases:
        peer = openssl_peer(nodes(sender)[:-1], version, is_server=not is_server)
        outcome = judge(ours([pin], root().certificate, is_server), peer, is_server=is_server)
        assert_outcome(outcome, expected)
