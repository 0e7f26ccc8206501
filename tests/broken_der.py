# SPDX-License-Identifier: Apache-2.0
"""Real certificates, and what is left of them when they are broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import hypothesis.strategies as st
from support import intermediate, leaf, make_node, root


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
