# SPDX-License-Identifier: Apache-2.0
"""The Python twin of csrc/pv_der.c and csrc/pv_cert.c: strict DER, and the walk to the SubjectPublicKeyInfo.

Both accept the same certificates, and name the same field where one is broken;
tests/test_agreement_walk.py holds them together.
"""

from __future__ import annotations

from pinverify.decision import Status

__all__ = ["Cursor", "NotDER", "spki_of"]

_INTEGER, _BIT_STRING, _OID, _SEQUENCE = 0x02, 0x03, 0x06, 0x30


class NotDER(ValueError):
    """The input is not the DER that was asked for."""


class Cursor:
    """Takes elements off the front of `data[start:end]`, as the getters of csrc/pv_der.h do.

    Accepted are single-byte tags and definite, minimal lengths up to 65,535 octets (X.690 8.1.2, 8.1.3,
    10.1).
    """

    __slots__ = ("_data", "_end", "_position")

    def __init__(self, data: bytes, start: int = 0, end: int | None = None) -> None:
        self._data = data
        self._position = start
        self._end = len(data) if end is None else end

    def any(self) -> tuple[int, Cursor, bytes]:
        """The next element: its tag, a cursor over its contents, and all of its octets."""
        start = self._position
        tag = self._take(1)[0]
        if tag & 0x1F == 0x1F:  # the high-tag-number form, 8.1.2.4
            raise NotDER
        length = self._length()
        contents = Cursor(self._data, self._position, self._position + length)
        self._take(length)
        return tag, contents, self._data[start : self._position]

    def get(self, tag: int) -> Cursor:
        """A cursor over the contents of the next element, which must have that tag."""
        found, contents, _ = self.any()
        if found != tag:
            raise NotDER
        return contents

    def next_is(self, tag: int) -> bool:
        """Whether the next element has that tag."""
        return self._position < self._end and self._data[self._position] == tag

    def finish(self) -> None:
        """Raises NotDER unless everything has been taken."""
        if self._position != self._end:
            raise NotDER

    def rest(self) -> bytes:
        """What has not been taken yet."""
        return self._data[self._position : self._end]

    def _take(self, count: int) -> bytes:
        if count > self._end - self._position:
            raise NotDER
        self._position += count
        return self._data[self._position - count : self._position]

    def _length(self) -> int:
        first = self._take(1)[0]
        if first < 0x80:
            return first
        octets = first & 0x7F
        if octets not in (1, 2):  # indefinite (8.1.3.6), or more than 65,535 octets
            raise NotDER
        length = int.from_bytes(self._take(octets), "big")
        if length < (0x80 if octets == 1 else 0x100):  # not minimal, 10.1
            raise NotDER
        return length


def _algorithm(cursor: Cursor) -> None:
    """AlgorithmIdentifier, RFC 5280 4.1.1.2: an OID and at most one element of parameters."""
    contents = cursor.get(_SEQUENCE)
    contents.get(_OID)
    if contents.rest():
        contents.any()
    contents.finish()


def _bit_string(cursor: Cursor, tag: int = _BIT_STRING) -> None:
    """X.690 8.6.2 and 11.2: 0 to 7 unused bits, each zero and there to be left unused."""
    contents = cursor.get(tag).rest()
    if not contents or contents[0] > 7:
        raise NotDER
    padding = (1 << contents[0]) - 1
    if padding if len(contents) == 1 else contents[-1] & padding:
        raise NotDER


def _optional_bit_string(cursor: Cursor, tag: int) -> None:
    if cursor.next_is(tag):
        _bit_string(cursor, tag)


def _optional_explicit(cursor: Cursor, outer: int, inner: int) -> None:
    if cursor.next_is(outer):
        contents = cursor.get(outer)
        contents.get(inner)
        contents.finish()


def spki_of(der: bytes) -> tuple[Status, bytes]:
    """The status of a DER certificate and, if that is OK, its SubjectPublicKeyInfo element as it stands
    there.

    RFC 5280 4.1. The fields are walked in their order; the first that is not as it should be gives the
    status.
    """
    outer = Cursor(der)
    status = Status.CERTIFICATE
    try:
        fields = outer.get(_SEQUENCE)
        status = Status.TRAILING
        outer.finish()
        status = Status.TBS
        tbs = fields.get(_SEQUENCE)
        status = Status.VERSION
        _optional_explicit(tbs, 0xA0, _INTEGER)
        status = Status.SERIAL
        tbs.get(_INTEGER)
        status = Status.SIGNATURE
        _algorithm(tbs)
        status = Status.ISSUER
        tbs.get(_SEQUENCE)
        status = Status.VALIDITY
        tbs.get(_SEQUENCE)
        status = Status.SUBJECT
        tbs.get(_SEQUENCE)
        status = Status.SPKI
        tag, key, spki = tbs.any()
        if tag != _SEQUENCE:
            raise NotDER
        status = Status.SPKI_ALGORITHM
        _algorithm(key)
        status = Status.SPKI_KEY
        _bit_string(key)
        status = Status.SPKI
        key.finish()
        status = Status.ISSUER_UID
        _optional_bit_string(tbs, 0x81)
        status = Status.SUBJECT_UID
        _optional_bit_string(tbs, 0x82)
        status = Status.EXTENSIONS
        _optional_explicit(tbs, 0xA3, _SEQUENCE)
        status = Status.TBS_TRAILING
        tbs.finish()
        status = Status.SIGNATURE_ALGORITHM
        _algorithm(fields)
        status = Status.SIGNATURE_VALUE
        _bit_string(fields)
        status = Status.CERTIFICATE_TRAILING
        fields.finish()
    except NotDER:
        return status, b""
    return Status.OK, spki
