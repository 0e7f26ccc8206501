# SPDX-License-Identifier: Apache-2.0
"""The two engines are one: same status, same key, same decision, same error and same counters, for any input.

The engines are called side by side here, so that nothing runs "once for each".
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from unittest.mock import patch

import hypothesis.strategies as st
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import example, given, settings
from OpenSSL import SSL
from support import (
    Node,
    accepting,
    exchange,
    intermediate,
    leaf,
    make_node,
    need_extension,
    root,
    server_ssl,
    shake,
)

from pinverify import (
    InvalidHost,
    Kind,
    Pin,
    PinRefused,
    PinSet,
    PinverifyError,
    Policy,
    Reason,
    client_context,
    server_context,
    verdict,
)
from pinverify.decision import Decision, Status
from pinverify.engine import python
from pinverify.hostnames import canonical_host

try:
    from pinverify.engine import native
except ModuleNotFoundError:
    native = None  # type: ignore[assignment]

MINUTE = datetime.timedelta(minutes=1)
NOW = datetime.datetime(2027, 6, 1, 12, 0, 0, tzinfo=datetime.timezone.utc)
UNIX_NOW = int(NOW.timestamp())


@pytest.fixture(autouse=True, scope="module")
def engine() -> None:
    """In place of conftest's: a test here calls both engines itself."""
    need_extension()


@contextmanager
def using(module: ModuleType) -> Iterator[None]:
    with patch("pinverify.engine.engine", module):
        yield


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a call returns, or the class and the text of what it raises."""
    try:
        return function(*arguments)
    except Exception as error:
        return type(error), str(error)


def agreed(function: Callable[[ModuleType], Any]) -> Any:
    """The one outcome that the function has with either engine."""
    ours, theirs = outcome(function, native), outcome(function, python)
    assert ours == theirs, f"native {ours!r}, python {theirs!r}"
    return theirs


# -- DER, to be broken on purpose --


class Element(NamedTuple):
    """An element of DER with all octets of its tag and length, so that either can be wrong."""

    head: bytes
    tag: int
    body: bytes
    children: tuple[Element, ...]

    @property
    def der(self) -> bytes:
        return self.head + self.body


def length_of(size: int) -> bytes:
    if size < 0x80:
        return bytes([size])
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets


def element(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes([tag]) + length_of(len(body)) + body


def parsed(der: bytes) -> list[Element]:
    """The elements of well-formed DER, one after the other."""
    found = []
    while der:
        octets = der[1] & 0x7F if der[1] & 0x80 else 0
        start = 2 + octets
        size = int.from_bytes(der[2:start], "big") if octets else der[1]
        body = der[start : start + size]
        children = tuple(parsed(body)) if der[0] & 0x20 else ()
        found.append(Element(der[:start], der[0], body, children))
        der = der[start + size :]
    return found


def paths(tree: Element, path: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    yield path
    for index, child in enumerate(tree.children):
        yield from paths(child, (*path, index))


def rewritten(tree: Element, path: tuple[int, ...], change: Callable[[Element], bytes]) -> bytes:
    """The DER of the tree with the element at the path changed, and the lengths of all above it put right."""
    if not path:
        return change(tree)
    parts = [child.der for child in tree.children]
    parts[path[0]] = rewritten(tree.children[path[0]], path[1:], change)
    return element(tree.tag, *parts)


# What can be wrong with one element. Each has a name, and leaves the rest of the certificate in order.
DEFECTS: dict[str, Callable[[Element], bytes]] = {
    "gone": lambda e: b"",
    "twice": lambda e: e.der * 2,
    "emptied": lambda e: element(e.tag),
    "null ahead": lambda e: b"\x05\x00" + e.der,
    "null behind": lambda e: e.der + b"\x05\x00",
    "octet behind": lambda e: e.der + b"\x00",
    "null inside, last": lambda e: element(e.tag, e.body, b"\x05\x00"),
    "null inside, first": lambda e: element(e.tag, b"\x05\x00", e.body),
    "octet inside, last": lambda e: element(e.tag, e.body, b"\x00"),
    "octet inside, first": lambda e: element(e.tag, b"\xff", e.body),
    "cut by an octet": lambda e: element(e.tag, e.body[:-1]),
    "first octet cut": lambda e: element(e.tag, e.body[1:]),
    "length one more": lambda e: bytes([e.tag]) + length_of(len(e.body) + 1) + e.body,
    "length one less": lambda e: bytes([e.tag]) + length_of(max(0, len(e.body) - 1)) + e.body,
    "length 81": lambda e: bytes([e.tag, 0x81, len(e.body) & 0xFF]) + e.body,
    "length 82": lambda e: bytes([e.tag, 0x82]) + len(e.body).to_bytes(2, "big") + e.body,
    "length 83": lambda e: bytes([e.tag, 0x83]) + len(e.body).to_bytes(3, "big") + e.body,
    "length 84": lambda e: bytes([e.tag, 0x84]) + len(e.body).to_bytes(4, "big") + e.body,
    "length ff": lambda e: bytes([e.tag, 0xFF]) + e.body,
    "indefinite": lambda e: bytes([e.tag, 0x80]) + e.body + b"\x00\x00",
    "no length": lambda e: bytes([e.tag]),
    "tag with the class bit": lambda e: element(e.tag ^ 0x80, e.body),
    "tag primitive or constructed": lambda e: element(e.tag ^ 0x20, e.body),
    "tag plus one": lambda e: element((e.tag + 1) & 0xFF, e.body),
    "tag zero": lambda e: element(0, e.body),
    "tag high": lambda e: element(e.tag | 0x1F, e.body),
    "tag high, all of it": lambda e: bytes([e.tag | 0x1F, e.tag & 0x1F]) + length_of(len(e.body)) + e.body,
    "tag high, constructed": lambda e: element(0x3F, e.body),
    "tag high, private": lambda e: element(0xFF, e.body),
    "sequence around": lambda e: element(0x30, e.der),
    "over the cap": lambda e: element(e.tag, e.body, bytes(max(0, 0x10000 - len(e.body)))),
    "as large as can be": lambda e: element(e.tag, e.body, bytes(max(0, 0xFFFF - len(e.body)))),
    "three bits unused": lambda e: element(e.tag, b"\x03", e.body[1:]),
    "eight bits unused": lambda e: element(e.tag, b"\x08", e.body[1:-1], b"\x00"),
    "nothing but unused bits": lambda e: element(e.tag, b"\x01"),
    "unused bits, set": lambda e: element(e.tag, b"\x01", e.body[1:-1] + b"\x01"),
    "unused bits, zero": lambda e: element(e.tag, b"\x01", e.body[1:-1] + b"\x02"),
}


SMALL_DEFECTS = sorted(DEFECTS.keys() - {"over the cap", "as large as can be"})


def as_v1(der: bytes) -> bytes:
    """The certificate without version and extensions, RFC 5280 4.1.2.1."""
    fields = parsed(der)[0].children
    tbs = [field.der for field in fields[0].children if field.tag not in (0xA0, 0xA3)]
    return element(0x30, element(0x30, *tbs), *(field.der for field in fields[1:]))


def with_unique_ids(der: bytes, *ids: bytes) -> bytes:
    """The certificate with these fields ahead of its extensions, RFC 5280 4.1.2.8."""
    fields = parsed(der)[0].children
    tbs = [field.der for field in fields[0].children]
    return element(0x30, element(0x30, *tbs[:-1], *ids, tbs[-1]), *(field.der for field in fields[1:]))


@cache
def certificates() -> tuple[bytes, ...]:
    """Certificates of several kinds, all well-formed."""
    made = [
        leaf("a.example").der,
        intermediate().der,
        root().der,
        *(make_node(kind, kind=kind).der for kind in ("P-384", "Ed25519", "RSA-2048")),
        root().issue("a.example", "192.0.2.1", "2001:db8::1", kind="Ed25519").der,
    ]
    ids = (element(0x81, b"\x00ab"), element(0x82, b"\x04\xf0"))
    odd = [as_v1(made[0]), with_unique_ids(made[0], *ids), with_unique_ids(made[4], ids[0])]
    odd += [with_unique_ids(made[3], ids[1]), as_v1(made[5])]
    files = sorted((Path(__file__).parent / "c" / "vectors").glob("**/*.der"))
    return (*made, *odd, *(path.read_bytes() for path in files))


@cache
def trees() -> tuple[Element, ...]:
    """Of the certificates that this module made, whose DER is in order."""
    return tuple(parsed(der)[0] for der in certificates()[:12])


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A certificate with one to three defects, each at an element of it."""
    tree = draw(st.sampled_from(trees()))
    der = b""
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(paths(tree))))
        defect = DEFECTS[draw(st.sampled_from(SMALL_DEFECTS))]
        der = rewritten(tree, path, defect)
        try:
            tree = parsed(der)[0]
        except IndexError:
            break
    return der


@st.composite
def patched(draw: st.DrawFn) -> bytes:
    """A certificate with octets changed, inserted or cut anywhere."""
    der = bytearray(draw(st.sampled_from(certificates())))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(der)))
        end = draw(st.integers(at, min(len(der), at + draw(st.sampled_from((0, 1, 2, 300))))))
        der[at:end] = draw(st.binary(max_size=4))
    return bytes(der)


@st.composite
def spliced(draw: st.DrawFn) -> bytes:
    """The front of a certificate with the back of another."""
    one, other = draw(st.sampled_from(certificates())), draw(st.sampled_from(certificates()))
    return one[: draw(st.integers(0, len(one)))] + other[draw(st.integers(0, len(other))) :]


anything = st.one_of(
    st.binary(max_size=80), st.sampled_from(certificates()), broken(), broken(), patched(), spliced()
)

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
    for engine in (native, python):
        with pytest.raises(TypeError):
            engine.spki(given)
        with pytest.raises(TypeError):
            engine.sha256(given)


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


# -- Decisions --

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


# -- Handshakes --


@cache
def bulky() -> Node:
    """A certificate of more than 65,535 octets, which OpenSSL takes."""
    plain = leaf("bulky.example")
    oid, now = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(plain.certificate.subject)
    builder = builder.issuer_name(plain.certificate.issuer).public_key(plain.key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - 60 * MINUTE).not_valid_after(now + 60 * MINUTE)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("bulky.example")]), False)
    builder = builder.add_extension(x509.UnrecognizedExtension(oid, bytes(66_000)), False)
    assert plain.issuer is not None
    made = Node(builder.sign(plain.issuer.key, hashes.SHA256()), plain.key, plain.issuer)
    assert len(made.der) > 0xFFFF
    return made


@cache
def far_down() -> Node:
    """A leaf under more CAs than a chain may have."""
    node = root()
    for depth in range(33):
        node = node.issue_ca(f"CA {depth}", key=root().key)
    return node.issue("far.example")


@cache
def self_signed() -> Node:
    return make_node("device", hosts=("device.example",))


@cache
def stranger() -> Node:
    return root("another root").issue("a.example")


def handshake(ctx: Any, server: SSL.Context, host: str | None, sni: bytes | None = None) -> tuple[Any, ...]:
    """What is to be seen of a handshake: the errors of both ends, the verdict, the counters."""
    if host is not None:
        near = ctx.connection(host)
    else:
        near = SSL.Connection(ctx, None)
        near.set_connect_state()
        if sni is not None:
            near.set_tlsext_host_name(sni)
    far = accepting(server)
    mine, other = shake(near, far)
    live = None
    if mine is None:
        live = outcome(verdict, near)
        assert exchange(near, far) == b"ping"
    return seen(mine), seen(other), live, ctx.stats()


def seen(error: Exception | None) -> Any:
    return error and (type(error), error.args, str(error), getattr(error, "verdict", None))


Scenario = Callable[[], tuple[Any, ...]]


def client(policy: Any, server: Node, host: str | None, sni: bytes | None = None, **options: Any) -> Scenario:
    extra = {"trust": [root().pem], **options}
    version = extra.pop("version", None)
    return lambda: handshake(
        client_context(policy(), **extra), server_ssl(server, version=version), host, sni
    )


def boom(_: object) -> None:
    raise ZeroDivisionError("no")


def resumed(host: str, again: str, policy: Callable[[], Policy]) -> Scenario:
    """A TLS 1.2 session that is made with one host and offered again with another."""

    def run() -> tuple[Any, ...]:
        ctx = client_context(policy(), trust=[root().pem])
        server = server_ssl(leaf("a.example"), version=SSL.TLS1_2_VERSION)
        server.set_session_id(b"test")
        near, far = ctx.connection(host), accepting(server)
        assert shake(near, far) == (None, None)
        session = near.get_session()
        near.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        far.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        near, far = ctx.connection(again), accepting(server)
        near.set_session(session)
        errors = shake(near, far)
        return seen(errors[0]), seen(errors[1]), outcome(verdict, near), ctx.stats()

    return run


def server_of(pins: Callable[[], Any], device: Node | None) -> Scenario:
    """A pinned server and a client that shows a certificate, or none."""

    def run() -> tuple[Any, ...]:
        ctx = server_context(leaf("a.example").identity, clients=pins())
        plain = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if device is not None:
            plain.use_certificate(device.certificate)
            plain.use_privatekey(device.key)
        near, far = SSL.Connection(plain, None), accepting(ctx)
        near.set_connect_state()
        mine, other = shake(near, far)
        live = outcome(verdict, far) if other is None else None
        return seen(other), seen(mine), live, ctx.stats()

    return run


def one(pins: Callable[[], Any], host: str = "a.example", **options: Any) -> Callable[[], Policy]:
    return lambda: Policy({host: pins()}, **options)


def wrong() -> list[Pin]:
    return [Pin(bytes(32))]


def right() -> list[Pin]:
    return [leaf("a.example").pin]


def two_hosts() -> Policy:
    return Policy({"a.example": right(), "b.example": right()})


def expired(on_expiry: Any) -> Callable[[], Policy]:
    return lambda: Policy({"a.example": PinSet(right(), expires="2020-01-01", on_expiry=on_expiry)})


A = leaf("a.example")
AHEAD = make_node("later", hosts=("a.example",), issuer=root(), days=(2, 9))
BY_ADDRESS = leaf("192.0.2.1")
# Each with the reason that is expected, and whether the peer is accepted.
SCENARIOS: dict[str, tuple[Scenario, Reason | None, bool]] = {
    "leaf pinned": (client(one(right), A, "a.example"), Reason.PINNED, True),
    "leaf pinned, TLS 1.2": (
        client(one(right), A, "a.example", version=SSL.TLS1_2_VERSION),
        Reason.PINNED,
        True,
    ),
    "root pinned": (client(one(lambda: [root().pin]), A, "a.example"), Reason.PINNED, True),
    "certificate pinned": (client(one(lambda: [A.cert_pin]), A, "a.example"), Reason.PINNED, True),
    "address": (client(one(lambda: [root().pin], "192.0.2.1"), BY_ADDRESS, "192.0.2.1"), Reason.PINNED, True),
    "wrong key": (client(one(wrong), A, "a.example"), Reason.NOT_PINNED, False),
    "wrong key, TLS 1.2": (
        client(one(wrong), A, "a.example", version=SSL.TLS1_2_VERSION),
        Reason.NOT_PINNED,
        False,
    ),
    "wrong key, reported": (
        client(one(lambda: PinSet(wrong(), mode="report")), A, "a.example"),
        Reason.NOT_PINNED,
        True,
    ),
    "reporting fails": (
        client(one(lambda: PinSet(wrong(), mode="report")), A, "a.example", on_violation=boom),
        Reason.NOT_PINNED,
        False,
    ),
    "intermediate denied": (
        client(one(lambda: PinSet(right(), deny=[intermediate().pin])), A, "a.example"),
        Reason.DENIED,
        False,
    ),
    "expired": (client(expired("deny"), A, "a.example"), Reason.EXPIRED, False),
    "expired, left to OpenSSL": (client(expired("pkix"), A, "a.example"), Reason.EXPIRED_OK, True),
    "unlisted": (client(one(right, "b.example"), A, "a.example"), Reason.UNLISTED, False),
    "unlisted, left to OpenSSL": (
        client(one(right, "b.example", unlisted="pkix"), A, "a.example"),
        Reason.UNLISTED_OK,
        True,
    ),
    "no reference": (client(two_hosts, A, None), Reason.NO_REFERENCE, False),
    "sole host as reference": (client(one(right), A, None), Reason.PINNED, True),
    "bad reference": (client(two_hosts, A, None, b"https://a.example"), Reason.BAD_REFERENCE, False),
    "upper case and a dot sent": (client(two_hosts, A, None, b"A.Example."), Reason.PINNED, True),
    "name of another host": (client(two_hosts, A, "b.example"), Reason.OPENSSL, False),
    "unknown CA": (client(one(lambda: [stranger().pin]), stranger(), "a.example"), Reason.OPENSSL, False),
    "not yet valid": (client(one(lambda: [AHEAD.pin]), AHEAD, "a.example"), Reason.OPENSSL, False),
    "malformed": (
        client(one(lambda: [root().pin], "bulky.example"), bulky(), "bulky.example"),
        Reason.MALFORMED,
        False,
    ),
    "chain too long": (
        client(one(wrong, "far.example"), far_down(), "far.example"),
        Reason.CHAIN_LENGTH,
        False,
    ),
    "pins only": (
        client(one(lambda: [self_signed().pin], "any.example"), self_signed(), "any.example", trust="pins"),
        Reason.PINNED,
        True,
    ),
    "pins only, wrong key": (
        client(one(wrong), self_signed(), "a.example", trust="pins"),
        Reason.NOT_PINNED,
        False,
    ),
    "pins only, unlisted": (
        client(one(right, unlisted="pkix"), self_signed(), "c.example", trust="pins"),
        Reason.OPENSSL,
        False,
    ),
    "resumed": (resumed("a.example", "a.example", one(right)), Reason.RESUMED, True),
    "resumed, several hosts": (resumed("a.example", "b.example", two_hosts), Reason.SESSION, False),
    "server": (server_of(lambda: [self_signed().pin], self_signed()), Reason.PINNED, True),
    "server, other key": (server_of(wrong, self_signed()), Reason.NOT_PINNED, False),
    "server, no certificate": (server_of(wrong, None), None, False),
}


@pytest.mark.filterwarnings("ignore::pinverify.PinExpiryWarning")
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_handshake_agrees(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Errors with their texts on both ends, the verdict and the counters are the same in real handshakes."""
    run, reason, accepted = SCENARIOS[name]

    def with_engine(engine: ModuleType) -> tuple[Any, ...]:
        with using(engine):
            return run()

    # Not the outcome of: a scenario that fails is no agreement.
    results = {engine.NAME: with_engine(engine) for engine in (native, python)}
    assert results["native"] == results["python"]
    error, _, _, stats = results["python"]
    assert (error is None) == accepted
    if reason is None:
        assert sum(stats.by_reason.values()) == 0
        assert error[0] is SSL.Error
    else:
        assert stats.by_reason[reason] == 1
        assert issubclass(PinRefused, PinverifyError)
        assert error is None or error[0] is PinRefused
    assert {record.name for record in caplog.records} <= {"pinverify"}
