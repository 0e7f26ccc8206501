# SPDX-License-Identifier: Apache-2.0
"""The engines agree on any octets: on the key in them, or on what is wrong with them; and on names."""

from __future__ import annotations

import itertools
from functools import cache
from types import ModuleType
from typing import Any

import hypothesis.strategies as st
import pytest
from agreement import UNIX_NOW, agreed, native, python
from agreement import engine as engine
from broken_der import DEFECTS, anything, certificates, element, paths, rewritten, trees, with_unique_ids
from hypothesis import example, given, settings

from pinverify import InvalidHost, Pin, Policy, Reason
from pinverify.decision import Decision, Status
from pinverify.hostnames import canonical_host

# -- The walk --


@cache
def walker(module: ModuleType) -> Any:
    """A policy that looks at one certificate, for the status that the decision has."""
    return module.compile(Policy({"a.example": [Pin(bytes(32))]}))


def check_walk(der: bytes) -> Status:
    """Both engines say the same of these octets; the status that they give."""
    found = agreed(lambda engine: engine.spki(der))
    decision: Decision = agreed(lambda engine: walker(engine).decide("a.example", [der], UNIX_NOW))
    if decision.status is Status.OK:
        assert found in der
        assert decision.reason is Reason.NOT_PINNED
    else:
        assert found[1].endswith(decision.status.text)
        assert decision.reason is Reason.MALFORMED
    return decision.status


@settings(max_examples=1500)
@given(anything)
@example(b"")
def test_the_walk_agrees_on_any_octets(der: bytes) -> None:
    """Status, key, error class and message are the same for certificates, broken ones, and what is none."""
    check_walk(der)


@pytest.mark.slow
@settings(max_examples=8000)
@given(anything)
def test_the_walk_agrees_on_any_octets_for_longer(der: bytes) -> None:
    """As above, with more examples."""
    check_walk(der)


def test_the_walk_agrees_on_each_defect_of_each_element() -> None:
    """Each defect at each element of each kind of certificate; every status there is comes up."""
    seen = set()
    for tree in trees():
        for path, defect in itertools.product(paths(tree), DEFECTS.values()):
            seen.add(check_walk(rewritten(tree, path, defect)))
    assert seen == set(Status) - {Status.UNSET}


def test_the_walk_agrees_on_each_truncation() -> None:
    """No front of a certificate is taken, nor a certificate with an octet after it."""
    for der in certificates()[:12]:
        assert check_walk(der) is Status.OK
        assert check_walk(der + b"\x00") is Status.TRAILING
        assert {check_walk(der[:size]) for size in range(len(der))} == {Status.CERTIFICATE}


def test_the_walk_agrees_on_the_bits_that_a_key_leaves_unused() -> None:
    """Each count of unused bits, ahead of each last octet: all of them must be zero (X.690 11.2.1)."""
    plain = certificates()[4]
    for unused, last in itertools.product(range(10), (0x00, 0x01, 0x40, 0x80, 0xC0, 0xFE, 0xFF)):
        der = with_unique_ids(plain, element(0x81, bytes([unused, last])), element(0x82, b"\x00"))
        is_good = unused < 8 and last % (1 << unused) == 0
        assert check_walk(der) is (Status.OK if is_good else Status.ISSUER_UID)


@pytest.mark.slow
def test_the_walk_agrees_on_each_single_octet() -> None:
    """Each octet of a certificate, set to each value."""
    der = with_unique_ids(certificates()[4], element(0x81, b"\x00ab"), element(0x82, b"\x04\xf0"))
    statuses = set()
    for at, value in itertools.product(range(len(der)), range(256)):
        statuses.add(check_walk(der[:at] + bytes([value]) + der[at + 1 :]))
    assert len(statuses) > 15


@given(st.binary(max_size=300))
def test_the_hash_agrees(data: bytes) -> None:
    """SHA-256 is SHA-256, over each border of its blocks."""
    assert len(agreed(lambda engine: engine.sha256(data))) == 32


@pytest.mark.parametrize(
    "given", [5, None, "text", [48, 0], object()], ids=lambda value: type(value).__name__
)
def test_what_is_no_bytes_is_refused_alike(given: object) -> None:
    """An argument of another type is a TypeError, whichever engine runs."""
    for module in (native, python):
        with pytest.raises(TypeError):
            module.spki(given)
        with pytest.raises(TypeError):
            module.sha256(given)


def test_a_view_of_wider_items_is_its_octets() -> None:
    """A buffer whose items are wider than an octet is read to its end."""
    view = memoryview(bytes(range(64))).cast("I")
    assert agreed(lambda engine: engine.sha256(view)) == python.sha256(bytes(range(64)))


# -- Names --

label = st.text("abzAZ019-_", min_size=1, max_size=3) | st.integers(60, 66).map(lambda size: "a" * size)
dotted = st.lists(label | st.just(""), min_size=1, max_size=90).map(".".join)
sni = st.one_of(
    st.binary(max_size=12),
    st.text("ab0A.-_\x00*: ", max_size=8).map(lambda text: text.encode("ascii")),
    dotted.map(lambda text: text.encode("ascii")),
    st.tuples(dotted, st.sampled_from([b".", b"..", b".1", b".a1", b"\x00", b".\xff"])).map(
        lambda pair: pair[0].encode("ascii") + pair[1]
    ),
)


@settings(max_examples=1500)
@given(sni)
def test_the_server_name_agrees_on_any_octets(name: bytes) -> None:
    """Both engines read the same name, or none, out of what a connection sends; read again, it stays."""
    canonical = agreed(lambda engine: engine.canonical_sni(name))
    if canonical is not None:
        assert agreed(lambda engine: engine.canonical_sni(canonical.encode("ascii"))) == canonical


@pytest.mark.parametrize("size", [1, 62, 63, 64, 252, 253, 254, 255, 256, 600])
def test_the_server_name_agrees_at_each_limit(size: int) -> None:
    """Names of every critical length, as one label and as many, with and without a last dot."""
    for name in ("a" * size, ("a" * 61 + ".") * (size // 62) + "a" * (size % 62), "a." * (size // 2) + "a"):
        for text in (name, name + ".", "." + name, name + ".1"):
            sent = text.encode("ascii")
            agreed(lambda engine, sent=sent: engine.canonical_sni(sent))


def test_the_server_name_agrees_on_each_octet() -> None:
    """Each octet alone, ahead of, within and behind a label: 64 of the 256 may stand in one."""
    taken = set()
    for octet in range(256):
        for name in (b"%c", b"%ca", b"a%ca", b"a%c", b"a.%ca.a"):
            if agreed(lambda engine, name=name, octet=octet: engine.canonical_sni(name % octet)) is not None:
                taken.add((name, chr(octet)))
    inside = {octet for name, octet in taken if name == b"a%ca"}
    assert inside - {"."} == set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


@settings(max_examples=500)
@given(sni.filter(bytes.isascii))
def test_a_host_name_in_ascii_is_what_the_engines_read(name: bytes) -> None:
    """canonical_host, which policies are written with, and canonical_sni of either engine: one form."""
    canonical = agreed(lambda engine: engine.canonical_sni(name))
    try:
        host = canonical_host(name)
    except InvalidHost:
        host = None
    if canonical is None:
        assert host is None or ":" in host or host.replace(".", "").isdigit()  # an address
    else:
        assert host == canonical
