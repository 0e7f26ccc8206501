# SPDX-License-Identifier: Apache-2.0
"""The engines agree on any policy, host and chain."""

from __future__ import annotations

import datetime
from functools import cache
from types import ModuleType
from typing import Any

import hypothesis.strategies as st
import pytest
from agreement import MINUTE, NOW, UNIX_NOW, agreed, using
from agreement import engine as engine
from broken_der import broken, certificates, patched
from hypothesis import given, settings

from pinverify import Kind, Pin, PinSet, Policy, Reason
from pinverify.decision import Decision, Status

HOSTS = (
    "a",
    "b.a",
    "c.b.a",
    "d.c.b.a",
    "x.a",
    "a.b.a",
    "example",
    "192.0.2.1",
    "2001:db8::1",
    "::ffff:1.2.3.4",
)
NAMES = HOSTS[:7]


@cache
def known_pins() -> tuple[Pin, ...]:
    """Of the first certificates, of both kinds; among strangers that share a bucket or a front with them."""
    pins = [Pin.from_certificate(der, kind) for der in certificates()[:8] for kind in Kind]
    strangers = [Pin(pin.digest[:31] + bytes([pin.digest[31] ^ 1]), pin.kind) for pin in pins[:4]]
    return (*pins, *strangers, Pin(bytes(32)), Pin(b"\xff" * 32, Kind.CERT))


@st.composite
def pin_sets(draw: st.DrawFn) -> PinSet:
    pins = draw(st.lists(st.sampled_from(known_pins()), min_size=1, max_size=8, unique=True))
    allowed = draw(st.integers(1, len(pins)))
    moment = st.sampled_from([-1_000_000_000, -60, -1, 0, 1, 60, 1_000_000_000])
    expires = draw(st.none() | moment.map(lambda seconds: NOW + datetime.timedelta(seconds=seconds)))
    return PinSet(
        pins[:allowed],
        deny=pins[allowed:],
        mode=draw(st.sampled_from(["enforce", "report"])),
        expires=expires,
        on_expiry=draw(st.sampled_from(["deny", "pkix"])),
    )


patterns = st.one_of(
    st.sampled_from(HOSTS),
    st.sampled_from(NAMES).map("*.{}".format),
    st.sampled_from(NAMES).map("**.{}".format),
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    entries = draw(st.lists(pin_sets(), min_size=1, max_size=4))
    if draw(st.integers(0, 5)) == 0:
        return Policy.of_clients(entries[0])
    hosts = draw(st.dictionaries(patterns, st.sampled_from(entries), min_size=1, max_size=6))
    return Policy(hosts, unlisted=draw(st.sampled_from(["deny", "pkix"])))


good = st.sampled_from(certificates())
chains = st.one_of(
    st.lists(good, max_size=4),
    st.lists(st.one_of(good, good, good, broken(), patched(), st.binary(max_size=9)), max_size=6),
    st.tuples(good, st.integers(30, 34), st.lists(good, max_size=3)).map(
        lambda parts: ([parts[0]] * parts[1] + parts[2])[:34]
    ),
)
subdomains = st.sampled_from(["", "y.", "y.z.", "a.", "b.", "xn--a."])
asked = st.none() | st.sampled_from(HOSTS) | st.tuples(subdomains, st.sampled_from(NAMES)).map("".join)


def check_decision(policy: Policy, host: str | None, chain: list[bytes]) -> Decision:
    """The one decision of both engines, by themselves and by way of the policy."""
    decision: Decision = agreed(lambda engine: engine.compile(policy).decide(host, chain, UNIX_NOW))
    assert isinstance(decision, Decision)
    assert (decision.accepted, decision.reason.accepts) in [(True, True), (False, False), (True, False)]

    def judge(engine: ModuleType) -> tuple[Any, ...]:
        with using(engine):
            twin = Policy(policy.hosts, unlisted=policy.unlisted)  # not compiled by the other engine yet
            result = twin.decide(host, chain, now=NOW)
            return result, result.pins, result.diagnosis, result.summary

    if host is not None and policy.hosts:
        assert agreed(judge)[0].reason is decision.reason
    return decision


@settings(max_examples=400)
@given(policies(), asked, chains)
def test_the_decision_agrees(policy: Policy, host: str | None, chain: list[bytes]) -> None:
    """Reason, acceptance, entry, depth and status, and the Verdict that is made of them, are the same for any
    policy, host and chain.
    """
    check_decision(policy, host, chain)


@pytest.mark.slow
@settings(max_examples=3000)
@given(policies(), asked, chains)
def test_the_decision_agrees_for_longer(policy: Policy, host: str | None, chain: list[bytes]) -> None:
    """As above, with more examples."""
    check_decision(policy, host, chain)


def test_each_reason_that_a_policy_can_have_comes_up() -> None:
    """What is compared above is not the same few decisions over and over."""
    pins = known_pins()
    past, ders = NOW - MINUTE, list(certificates())
    pinned, other = PinSet([pins[0]]), PinSet([Pin(bytes(32))], deny=[pins[0]])
    policy = Policy(
        {
            "a": pinned,
            "*.a": other,
            "**.a": PinSet([pins[2]], mode="report"),
            "b": PinSet(pins[:1], expires=past),
            "c": PinSet(pins[:1], expires=past, on_expiry="pkix"),
            "d": PinSet([pins[5]], deny=[pins[6]]),
        }
    )
    table = [
        ("a", ders[:3], Decision(Reason.PINNED, True, 0, 0, Status.OK)),
        ("a", ders[1:3], Decision(Reason.NOT_PINNED, False, 0, -1, Status.OK)),
        ("a", [ders[1]] * 31 + [ders[0]], Decision(Reason.PINNED, True, 0, 31, Status.OK)),
        ("a", [ders[1]] * 32 + [ders[0]], Decision(Reason.CHAIN_LENGTH, False, 0, 32, Status.OK)),
        ("a", [], Decision(Reason.CHAIN_LENGTH, False, 0, -1, Status.UNSET)),
        ("a", [ders[1], b"0"], Decision(Reason.MALFORMED, False, 0, 1, Status.CERTIFICATE)),
        ("a", [ders[0], b"0"], Decision(Reason.PINNED, True, 0, 0, Status.OK)),
        ("y.a", ders[:1], Decision(Reason.DENIED, False, 1, 0, Status.OK)),
        ("z.y.a", ders[:1], Decision(Reason.NOT_PINNED, True, 2, -1, Status.OK)),
        ("b", ders[:1], Decision(Reason.EXPIRED, False, 3, -1, Status.UNSET)),
        ("c", [], Decision(Reason.EXPIRED_OK, True, 4, -1, Status.UNSET)),
        ("d", [ders[2], ders[3]], Decision(Reason.DENIED, False, 5, 1, Status.OK)),
        ("e", ders[:1], Decision(Reason.UNLISTED, False, -1, -1, Status.UNSET)),
        ("", ders[:1], Decision(Reason.UNLISTED, False, -1, -1, Status.UNSET)),
        (None, ders[:1], Decision(Reason.UNLISTED, False, -1, -1, Status.UNSET)),
    ]
    for host, chain, expected in table:
        if host:
            assert check_decision(policy, host, chain) == expected
        else:
            assert agreed(lambda e, h=host, c=chain: e.compile(policy).decide(h, c, UNIX_NOW)) == expected
    lax = Policy({"a": pinned}, unlisted="pkix")
    assert check_decision(lax, "b", []) == Decision(Reason.UNLISTED_OK, True, -2, -1, Status.UNSET)
