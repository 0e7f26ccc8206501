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
        tag, contents = self._take()
        return tag, Cursor(self._data, contents, self._position), self._data[start : self._position]

    def get(self, tag: int) -> Cursor:
        """A cursor over the contents of the next element, which must have that tag."""
        _, contents = self._take(tag)
        return Cursor(self._data, contents, self._position)

    def skip(self, tag: int) -> None:
        """Leaves the next element behind, which must have that tag."""
        self._take(tag)

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

    def _take(self, wanted: int | None = None) -> tuple[int, int]:
        """Leaves the next element behind, which must have the tag `wanted`, if given.

        Returns its tag, and where its contents start.
        """
        data, at, end = self._data, self._position, self._end
        if end - at < 2:
            raise NotDER
        tag, length = data[at], data[at + 1]
        at += 2
        # The high-tag-number form (8.1.2.4) is never taken.
        if tag & 0x1F == 0x1F or (wanted is not None and tag != wanted):
            raise NotDER
        if length >= 0x80:
            octets = length & 0x7F
            if octets not in (1, 2) or octets > end - at:  # indefinite (8.1.3.6), or over 65,535 octets
                raise NotDER
            length = int.from_bytes(data[at : at + octets], "big")
            at += octets
            if length < (0x80 if octets == 1 else 0x100):  # not minimal, 10.1
                raise NotDER
        if length > end - at:
            raise NotDER
        self._position = at + length
        return tag, at


def _algorithm(cursor: Cursor) -> None:
    """AlgorithmIdentifier, RFC 5280 4.1.1.2: an OID and at most one element of parameters."""
    contents = cursor.get(_SEQUENCE)
    contents.skip(_OID)
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
        contents.skip(inner)
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
        tbs.skip(_INTEGER)
        status = Status.SIGNATURE
        _algorithm(tbs)
        status = Status.ISSUER
        tbs.skip(_SEQUENCE)
        status = Status.VALIDITY
        tbs.skip(_SEQUENCE)
        status = Status.SUBJECT
        tbs.skip(_SEQUENCE)
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
