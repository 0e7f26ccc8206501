# SPDX-License-Identifier: Apache-2.0
"""Hostile peers: which certificates they send, in which order, and how many."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest
from hostile import assert_broken_off, assert_outcome, both_roles, judge, nodes, openssl_peer, ours
from hostile_script import meet, sending
from pinned import HOST, both_versions
from support import Node, intermediate, leaf, make_node, root

from pinverify import Reason

PINNED, NOT_PINNED, OPENSSL = Reason.PINNED, Reason.NOT_PINNED, Reason.OPENSSL


class Case(NamedTuple):
    """What a peer sends, and what has to come of it with a CA and without one."""

    pinned: Node
    sent: list[Node]  # with the key of the first
    with_ca: Reason
    pins_only: Reason
    server_with_ca: Reason | None = None  # where a server, which looks at no name, decides otherwise


@cache
def attacker() -> Node:
    """What somebody has who got a certificate for the host from another CA that is trusted."""
    return root().issue_ca("another intermediate").issue(HOST)


@cache
def deep() -> Node:
    """A leaf under three intermediates."""
    return root().issue_ca("CA 1").issue_ca("CA 2").issue_ca("CA 3").issue(HOST)


def honest() -> Case:
    return Case(leaf(HOST), nodes(leaf(HOST))[:-1], PINNED, PINNED)


def with_its_root() -> Case:
    return Case(leaf(HOST), nodes(leaf(HOST)), PINNED, PINNED)


def by_its_root() -> Case:
    return Case(root(), nodes(leaf(HOST)), PINNED, NOT_PINNED)


def without_its_intermediate() -> Case:
    return Case(leaf(HOST), [leaf(HOST)], OPENSSL, PINNED)


def shuffled() -> Case:
    first, *above = nodes(deep())
    return Case(deep(), [first, *reversed(above)], PINNED, PINNED)


def shuffled_by_an_intermediate() -> Case:
    first, *above = nodes(deep())
    return Case(above[1], [first, *reversed(above)], PINNED, NOT_PINNED)


def twice_each() -> Case:
    return Case(deep(), [node for node in nodes(deep()) for _ in range(2)], PINNED, PINNED)


def leaf_twice_and_last() -> Case:
    return Case(leaf(HOST), [*nodes(leaf(HOST)), leaf(HOST)], PINNED, PINNED)


def leaf_not_first() -> Case:
    """The intermediate stands where the leaf should."""
    above = leaf(HOST).issuer
    assert above is not None
    return Case(leaf(HOST), [above, leaf(HOST), root()], OPENSSL, NOT_PINNED, NOT_PINNED)


def amid_a_hundred() -> Case:
    return Case(leaf(HOST), [*nodes(leaf(HOST)), *crowd()], PINNED, PINNED)


def appended() -> Case:
    return Case(leaf(HOST), [*nodes(attacker()), leaf(HOST)], NOT_PINNED, NOT_PINNED)


def put_second() -> Case:
    first, *above = nodes(attacker())
    return Case(leaf(HOST), [first, *nodes(leaf(HOST)), *above], NOT_PINNED, NOT_PINNED)


def appended_a_hundred_times() -> Case:
    return Case(leaf(HOST), [*nodes(attacker()), *[leaf(HOST)] * 97], NOT_PINNED, NOT_PINNED)


def appended_behind_a_hundred() -> Case:
    sent = [*nodes(attacker()), *crowd(), leaf(HOST)]
    return Case(leaf(HOST), sent, NOT_PINNED, NOT_PINNED)


def appended_ca() -> Case:
    return Case(intermediate(), [*nodes(attacker()), intermediate()], NOT_PINNED, NOT_PINNED)


def root_of_the_same_name() -> Case:
    """All names are those of the pinned chain; none of the keys is."""
    twin = make_node("root", is_ca=True).issue_ca("root intermediate").issue(HOST)
    return Case(root(), [*nodes(twin), intermediate(), root()], OPENSSL, NOT_PINNED)


def ca_of_the_same_name() -> Case:
    """Under the very root there is another CA of the pinned one's name."""
    twin = root().issue_ca("root intermediate").issue(HOST)
    return Case(intermediate(), [*nodes(twin), intermediate()], NOT_PINNED, NOT_PINNED)


def leaf_of_the_same_name() -> Case:
    twin = intermediate().issue(HOST)
    return Case(leaf(HOST), [twin, *nodes(leaf(HOST))], NOT_PINNED, NOT_PINNED)


def leaf_of_another_name() -> Case:
    """The pinned key in a certificate of another host's; without a CA, the key is the name."""
    twin = intermediate().issue("other.test", key=leaf(HOST).key)
    return Case(leaf(HOST), [twin, *nodes(leaf(HOST))], OPENSSL, PINNED, PINNED)


def renewed() -> Case:
    """The pinned key in a new certificate."""
    twin = intermediate().issue(HOST, key=leaf(HOST).key)
    return Case(leaf(HOST), nodes(twin), PINNED, PINNED)


def expired() -> Case:
    node = intermediate().issue(HOST, days=(-20, -10))
    return Case(node, nodes(node), OPENSSL, PINNED)


def under_an_expired_ca() -> Case:
    node = root().issue_ca("expired CA", days=(-20, -10)).issue(HOST)
    return Case(node, nodes(node), OPENSSL, PINNED)


def expired_beside_a_renewed_one() -> Case:
    """The renewed certificate, which is in order, is only sent along."""
    node = intermediate().issue(HOST, days=(-20, -10))
    fresh = intermediate().issue(HOST, key=node.key)
    return Case(node, [node, fresh, *nodes(fresh)], OPENSSL, PINNED)


def expired_and_foreign() -> Case:
    node = make_node("attacker", hosts=(HOST,), days=(-20, -10))
    return Case(leaf(HOST), [node, *nodes(leaf(HOST))], OPENSSL, NOT_PINNED)


def issued_by_a_leaf() -> Case:
    """A customer of the pinned CA signs with his leaf's key, as if he were a CA."""
    customer = intermediate().issue("customer.test")
    node = customer.issue(HOST)
    return Case(intermediate(), nodes(node), OPENSSL, NOT_PINNED)


@cache
def crowd() -> list[Node]:
    """As many as make a message of a hundred, with the three of a chain."""
    return [make_node(f"extra {number}") for number in range(97)]


CASES = [
    *(honest, with_its_root, by_its_root, without_its_intermediate, shuffled, shuffled_by_an_intermediate),
    *(twice_each, leaf_twice_and_last, leaf_not_first, amid_a_hundred),
    *(appended, put_second, appended_a_hundred_times, appended_behind_a_hundred, appended_ca),
    *(root_of_the_same_name, ca_of_the_same_name, leaf_of_the_same_name, leaf_of_another_name, renewed),
    *(expired, under_an_expired_ca, expired_beside_a_renewed_one, expired_and_foreign, issued_by_a_leaf),
]
each_case = pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)


@each_case
@both_versions
@both_roles
def test_a_peer_is_judged_by_the_chain_that_is_verified(
    make: Callable[[], Case], version: int, is_server: bool
) -> None:
    """Whatever a peer sends along, and in whatever order, decides nothing."""
    case = make()
    with_ca = case.server_with_ca if is_server and case.server_with_ca else case.with_ca
    for trust, expected in ((root().certificate, with_ca), ("pins", case.pins_only)):
        context = ours([case.pinned.pin], trust, is_server)
        peer = openssl_peer(case.sent, version, is_server=not is_server)
        outcome = judge(context, peer, is_server=is_server)
        assert_outcome(outcome, expected)
        stats = context.stats()
        assert (stats.accepted, stats.refused, stats.by_reason[expected]) == (
            expected.accepts,
            not expected.accepts,
            1,
        )


@both_versions
@both_roles
@pytest.mark.parametrize("trust", ["CA", "pins"])
def test_a_pinned_certificate_without_its_key_is_of_no_use(version: int, is_server: bool, trust: str) -> None:
    """Who sends the pinned chain and signs with another key is refused by OpenSSL, for the signature."""
    anchors = {"pins": "pins", "CA": root().certificate}[trust]
    ders = [node.der for node in nodes(leaf(HOST))]
    outcome = meet(
        ours([leaf(HOST).pin], anchors, is_server), sending(attacker(), version, ders), is_server=is_server
    )
    assert_broken_off(outcome, "signature")
