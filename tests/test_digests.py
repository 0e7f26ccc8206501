# SPDX-License-Identifier: Apache-2.0
"""The sets of digests of the Python engine, by themselves: what is in one is found, and nothing near it.

tests/c/test_pinset.c has the same for the C core.
"""

from __future__ import annotations

import hashlib

import pytest

from pinverify.engine.python import _Digests


@pytest.fixture(autouse=True)
def engine() -> None:
    """In place of conftest's: no engine is chosen here."""


def digest(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(4, "big")).digest()


def holds(digests: _Digests, wanted: bytes) -> bool:
    """Whether the set finds a digest; none that differs from it in one bit may be found."""
    number = int.from_bytes(wanted, "big")
    assert not [bit for bit in range(256) if (number ^ 1 << bit).to_bytes(32, "big") in digests]
    return wanted in digests


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 1000])
def test_what_is_in_a_set_is_found_and_nothing_near_it(size: int) -> None:
    """Each digest of a set is found, and none that differs in one bit, in any of its 32 bytes."""
    digests = _Digests([digest(number) for number in range(size)])
    assert all(holds(digests, digest(number)) for number in range(0, size, size // 50 + 1))
    assert not holds(digests, digest(size))


def test_digests_in_one_bucket_are_told_apart() -> None:
    """Digests that share the eight bytes that choose a bucket are all found, wherever they stand in it."""
    alike = [b"\x5a" * 28 + number.to_bytes(4, "big") for number in range(100)]
    digests = _Digests(alike[:-1])
    assert all(one in digests for one in alike[:-1])
    assert alike[-1] not in digests


def test_the_empty_set_holds_nothing() -> None:
    """There is nothing in it, and it says so."""
    digests = _Digests([])
    assert len(digests) == 0
    assert not holds(digests, digest(0))


def test_the_buckets_of_a_set_are_as_many_as_its_digests() -> None:
    """A bucket is the top bits of a product with an odd number, so that a look-up reads few digests."""
    for size in (1, 2, 3, 4, 5, 1000, 1024):
        digests = _Digests([digest(number) for number in range(size)])
        assert size <= 1 << 64 - digests._shift < 2 * size
        assert digests._key % 2 == 1
        assert max(map(len, digests._buckets.values())) < 20
