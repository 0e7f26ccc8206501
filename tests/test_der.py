# SPDX-License-Identifier: Apache-2.0
"""The DER cursor of the Python engine, by itself: what it takes and what it refuses.

tests/c/ has the same for the getters of the C core. test_exhaustive.py holds the two together on each input
of up to three octets, and test_agreement_walk.py on certificates.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from pinverify.engine.der import Cursor, NotDER


@pytest.fixture(autouse=True)
def engine() -> None:
    """In place of conftest's: no engine is chosen here."""


def taken(octets: bytes) -> tuple[int, bytes, bytes, bytes] | None:
    """The next element: tag, contents, all of it, and what is left behind it. None if it is not DER."""
    cursor = Cursor(octets)
    try:
        tag, contents, whole = cursor.any()
    except NotDER:
        return None
    return tag, contents.rest(), whole, cursor.rest()


def tlv(tag: int, size: int) -> bytes:
    """An element of DER with `size` octets of contents."""
    if size < 0x80:
        head = bytes([tag, size])
    elif size < 0x100:
        head = bytes([tag, 0x81, size])
    else:
        head = bytes([tag, 0x82, size >> 8, size & 0xFF])
    return head + bytes(i & 0xFF for i in range(size))


HIGH_TAGS = {tag for tag in range(256) if tag % 32 == 31}


def test_all_inputs_of_up_to_two_octets() -> None:
    """An element of two octets is any low tag with the length zero; nothing shorter is one."""
    for size in (0, 1):
        for octets in itertools.product(range(256), repeat=size):
            assert taken(bytes(octets)) is None
    elements = {bytes(pair) for pair in itertools.product(range(256), repeat=2) if taken(bytes(pair))}
    assert elements == {bytes([tag, 0]) for tag in range(256) if tag not in HIGH_TAGS}


@pytest.mark.parametrize("size", [0, 1, 0x7F, 0x80, 0x81, 0xFF, 0x100, 0x101, 0xFFFE, 0xFFFF])
def test_each_length_has_one_form(size: int) -> None:
    """The shortest form is taken, to the last octet and not past it; each longer one is refused."""
    whole = tlv(0x04, size)
    contents = whole[len(whole) - size :]
    assert taken(whole) == (0x04, contents, whole, b"")
    assert taken(whole + b"\x05\x00") == (0x04, contents, whole, b"\x05\x00")
    assert taken(whole[:-1]) is None
    forms = {bytes([0x80 | octets]) + size.to_bytes(octets, "big") for octets in range(3, 9)}
    forms |= {bytes([0x82]) + size.to_bytes(2, "big")} if size < 0x100 else set()
    forms |= {bytes([0x81, size])} if size < 0x80 else set()
    for form in forms:
        assert taken(b"\x04" + form + contents + bytes(9)) is None, form.hex()


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"\x30\x80\x00\x00", id="indefinite"),
        pytest.param(b"\x30\xff" + bytes(300), id="the reserved length ff"),
        pytest.param(b"\x30\x81", id="length cut short, 81"),
        pytest.param(b"\x30\x82\x01", id="length cut short, 82"),
        pytest.param(b"\x30\x83\x01\x00\x00" + bytes(0x10000), id="65,536 octets"),
        pytest.param(b"\x30\x84\x00\x00\x00\x01\x00", id="four octets of length"),
        pytest.param(b"\x30\x88" + b"\xff" * 8, id="2^64 - 1 octets"),
        pytest.param(b"\x1f\x81\x00\x00", id="high tag"),
        pytest.param(b"\xbf\x1f\x00", id="high tag, context-specific"),
    ],
)
def test_what_is_not_der_here_is_refused(octets: bytes) -> None:
    """Indefinite, overlong, oversized and unfinished lengths, and tags of several octets."""
    assert taken(octets) is None


def test_elements_come_off_the_front_in_order() -> None:
    """Each call takes one element; a cursor over contents ends where they end."""
    cursor = Cursor(tlv(0x02, 1) + tlv(0x30, 200) + tlv(0x05, 0))
    assert cursor.get(0x02).rest() == b"\x00"
    inside = cursor.get(0x30)
    assert (len(inside.rest()), inside.next_is(0x00)) == (200, True)
    assert cursor.next_is(0x05)
    assert not cursor.next_is(0x02)
    with pytest.raises(NotDER):
        cursor.finish()
    assert cursor.any()[2] == b"\x05\x00"
    cursor.finish()
    assert not cursor.next_is(0x00)
    for call in (cursor.any, lambda: cursor.get(0x05)):
        with pytest.raises(NotDER):
            call()


def takes(take: Callable[[Cursor, int], object], octets: bytes, asked: int) -> bool:
    """Whether `get` or `skip` takes all of the octets when it asks for that tag."""
    cursor = Cursor(octets)
    try:
        take(cursor, asked)
    except NotDER:
        return False
    cursor.finish()
    return True


def test_another_tag_is_refused() -> None:
    """The tag that was asked for is taken and no other: not its class, its form, nor any neighbour; and it is
    not taken where there is no element.
    """
    for asked, found in itertools.product(range(256), repeat=2):
        is_next = asked == found
        for octets in (bytes([found]), bytes([found, 0]), bytes([found, 1])):
            assert Cursor(octets).next_is(asked) == is_next
            is_element = octets[1:] == b"\x00" and found not in HIGH_TAGS
            assert takes(Cursor.get, octets, asked) == (is_next and is_element)
            assert takes(Cursor.skip, octets, asked) == (is_next and is_element)


def test_contents_do_not_reach_past_their_end() -> None:
    """An element that is longer than the contents it stands in is refused, though more octets follow."""
    outer = Cursor(b"\x30\x03\x04\x02\xaa" + b"\xbb" * 9)
    inside = outer.get(0x30)
    with pytest.raises(NotDER):
        inside.any()
    window = Cursor(b"\x05\x00\x05\x00", 2, 3)
    with pytest.raises(NotDER):
        window.any()
    assert Cursor(b"\x05\x00\x02\x01\x07", 2).any()[2] == b"\x02\x01\x07"
