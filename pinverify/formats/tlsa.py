# SPDX-License-Identifier: Apache-2.0
"""TLSA records (RFC 6698) as in a zone file or in the output of dig, one or many hosts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pinverify.errors import InvalidPolicy, PinverifyError, shown
from pinverify.formats.common import Exported, Imported, Source, all_entries, undated, unsaid
from pinverify.hostnames import Match, host_ip, split_pattern
from pinverify.pins import Kind, Pin
from pinverify.policy import Policy

__all__ = ["read", "write"]

_TOKEN = re.compile(r"\n|[()]|;[^\n]*|[ \t\r]+|[^\s();]+|\s")
_OWNER = re.compile(r"(_[0-9]{1,5}\._(?:tcp|udp|sctp))\.(.+)", re.IGNORECASE | re.DOTALL)
_TTL_OR_CLASS = re.compile(r"IN|[0-9][0-9SMHDW]*", re.IGNORECASE)
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")

# The acronyms are those of RFC 7218.
_USAGES = {"PKIX-TA": 0, "PKIX-EE": 1, "DANE-TA": 2, "DANE-EE": 3}
_SELECTORS = {"CERT": 0, "SPKI": 1}
_MATCHING = {"FULL": 0, "SHA2-256": 1, "SHA2-512": 2}
_KINDS = (Kind.CERT, Kind.SPKI)  # by selector

_EITHER = "here a leaf or a CA of the verified chain may have the key"
_MEANT = (  # by usage, RFC 6698 2.1.1
    f"usage 0 (PKIX-TA) is of a CA in the chain; {_EITHER}",
    f"usage 1 (PKIX-EE) is of the leaf; {_EITHER}",
    f'usage 2 (DANE-TA) makes the CA a trust anchor; give that CA as "trust"; {_EITHER}',
    'usage 3 (DANE-EE) is of the leaf, and asks for no CA, name or date; here trust="pins" does just that,'
    " and else OpenSSL verifies all of these",
)
_ANY_PORT = "TLSA records are for one port, as _443._tcp; an entry is for a host, whatever the port"


def read(data: bytes, *, source: str, host: str | None = None) -> Imported:
    """The policy that TLSA records make for the hosts that own them; any other is refused.

    Owners end with a dot, or an $ORIGIN stands ahead. Matching type 1, SHA-256, is taken, and 0, whole
    certificates and keys, which are hashed. RRSIG and $TTL are passed over. Refused is whatever else there
    is, and a host with unlike pins on several ports.
    """
    file = Source(data, source)
    file.host_unwanted(host)
    ports: dict[str, dict[str, list[Pin]]] = {}
    lines: dict[str, int] = {}
    for owner, rdata, line in _records(file):
        found = _OWNER.fullmatch(owner)
        if found is None:
            file.fail(f"{shown(owner)} is no owner of TLSA; it is _port._protocol.host", line=line)
        name = file.pattern(found[2], line=line)
        if split_pattern(name)[0] is not Match.EXACT:
            file.fail("DNS has wildcards for whole names alone, not behind a port", line=line, entry=name)
        ports.setdefault(name, {}).setdefault(found[1].lower(), []).append(_pin(file, rdata, line, name))
        lines.setdefault(name, line)
    for name, pins in ports.items():
        first = next(iter(pins.values()))
        if any(set(other) != set(first) for other in pins.values()):
            trouble = f"there are different pins for {', '.join(pins)[:80]}, and an entry is for every port"
            file.fail(trouble, line=lines[name], entry=name)
        file.warn(_ANY_PORT)
        file.add(name, first, line=lines[name])
    return file.finish()


def _logical_lines(file: Source) -> Iterator[tuple[list[str], bool, int]]:
    """Lines as RFC 1035 5.1 has them, where parentheses hold several together: their words, whether the first
    one is at the very start, and the number.
    """
    words: list[str] = []
    number = first = 1
    depth, flush = 0, True
    for found in _TOKEN.finditer(file.text + "\n"):
        token = found[0]
        if token == "\n":
            if words and not depth:
                yield words, flush, first
                words = []
            number += 1
            if not depth:
                flush, first = True, number
        elif token in "()":
            depth += 1 if token == "(" else -1
            if not 0 <= depth <= 1:
                file.fail("a parenthesis too many", line=number)
        elif token.isspace():
            flush = flush and bool(words)
        elif not token.startswith(";"):
            words.append(token)
    if depth:
        file.fail("a parenthesis does not end", line=first)


def _records(file: Source) -> Iterator[tuple[str, list[str], int]]:
    """Owners without their last dot, data, and lines, of all TLSA records."""
    origin = owner = ""
    for words, flush, line in _logical_lines(file):
        if words[0].upper() == "$ORIGIN" and len(words) == 2 and words[1].endswith("."):
            origin = words[1]
        elif words[0].upper() != "$TTL":
            owner = words.pop(0) if flush else owner
            for _ in range(2):  # a TTL and a class, either may be first
                if words and _TTL_OR_CLASS.fullmatch(words[0]):
                    words.pop(0)
            kind = words.pop(0).upper() if words else ""
            if kind == "RRSIG":
                continue
            if kind != "TLSA":
                file.fail(f"{shown(kind or owner)} begins no TLSA record, and only those are read", line=line)
            if not owner.endswith(".") and not origin:
                file.fail(f"{shown(owner)} has no dot at its end, and there is no $ORIGIN for it", line=line)
            yield (owner if owner.endswith(".") else f"{owner}.{origin}")[:-1], words, line


def _number(file: Source, text: str, names: dict[str, int], what: str, line: int, entry: str) -> int:
    number = names.get(text.upper())
    if number is None and re.fullmatch(r"[0-9]{1,3}", text):
        number = int(text)
    if number not in names.values():
        known = ", ".join(f"{value} ({name})" for name, value in names.items())
        file.fail(f"the {what} is {shown(text)}; there are {known}", line=line, entry=entry)
    assert number is not None
    return number


def _pin(file: Source, rdata: list[str], line: int, entry: str) -> Pin:
    if len(rdata) < 4:
        trouble = "a TLSA record has a usage, a selector, a matching type and hex digits, as 3 1 1 <hex>"
        file.fail(trouble, line=line, entry=entry)
    usage = _number(file, rdata[0], _USAGES, "usage", line, entry)
    kind = _KINDS[_number(file, rdata[1], _SELECTORS, "selector", line, entry)]
    matching = _number(file, rdata[2], _MATCHING, "matching type", line, entry)
    digits = "".join(rdata[3:])
    if matching == _MATCHING["SHA2-512"]:
        file.fail("matching type 2 is SHA-512; publish SHA-256, type 1, as well", line=line, entry=entry)
    if _HEX.fullmatch(digits) is None:
        file.fail(f"{shown(digits)} is not in pairs of hex digits", line=line, entry=entry)
    file.warn(_MEANT[usage])
    if matching == _MATCHING["SHA2-256"]:
        return file.pin(digits, kind=kind, line=line, entry=entry)
    try:
        der = bytes.fromhex(digits)
        return Pin.from_public_key(der) if kind is Kind.SPKI else Pin.from_certificate(der, kind)
    except PinverifyError as error:
        file.fail(f"matching type 0 has all of it, and that is {error}", line=line, entry=entry)


def write(policy: Policy, *, host: str | None = None) -> Exported:
    """Records for port 443 of all hosts: each pin as PKIX-TA (0) and as PKIX-EE (1).

    An entry says neither whether a pin is of a CA or of a leaf, and wants the chain verified; the two
    together say just that. Raises InvalidPolicy for what TLSA cannot say: wildcards, addresses, denied keys.
    """
    lines: list[str] = []
    warnings = [
        "each pin stands twice, as PKIX-TA (0, of a CA) and PKIX-EE (1, a leaf), since an entry says neither",
        "mail servers heed usages 2 and 3 alone (RFC 7672 3.1.3), and RFC 7671 5.1 advises 3 1 1 for a leaf's"
        " key; that asks for no CA any more, so change the usage by hand if it is meant",
        "the records are for port 443 over TCP, and count only where the zone is signed (RFC 6698 4.1)",
    ]
    for pattern, pins in all_entries(policy, host).items():
        if split_pattern(pattern)[0] is not Match.EXACT or host_ip(pattern) is not None:
            raise InvalidPolicy(f"a TLSA record is for one host by name, and {pattern!r} is not")
        owner = f"_443._tcp.{pattern}."
        if len(owner) > 254:
            raise InvalidPolicy(f"{pattern!r} is too long for a name with _443._tcp ahead (RFC 1035 2.3.4)")
        warnings += unsaid(pattern, pins, kinds=_KINDS) + undated(pattern, pins)
        lines += [
            f"{owner} IN TLSA {usage} {_KINDS.index(pin.kind)} 1 {pin.digest.hex()}\n"
            for pin in pins.allow
            for usage in (0, 1)
        ]
    return Exported("".join(lines), tuple(warnings))
