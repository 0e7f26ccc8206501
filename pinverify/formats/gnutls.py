# SPDX-License-Identifier: Apache-2.0
"""The known hosts of GnuTLS: a line for each key, `|g0|` with the key or `|c0|` with its hash.

    |g0|<host>|<service>|<expiry>|<base64 of the SubjectPublicKeyInfo>
    |c0|<host>|<service>|<expiry>|<number of the hash, 6 is SHA-256>|<its hex digits>

The service is a port, a name, or * for all. The expiry is in seconds from 1970, or 0 for never.
"""

from __future__ import annotations

import base64
import re
from datetime import datetime, timedelta, timezone

from pinverify.errors import InvalidPin, InvalidPolicy, shown
from pinverify.formats.common import Exported, Imported, Source, all_entries, unsaid
from pinverify.hostnames import Match, split_pattern
from pinverify.pins import Kind, Pin, PinSet
from pinverify.policy import Policy

__all__ = ["read", "write"]

_SHA256 = "6"  # GNUTLS_DIG_SHA256
_EXPIRY = re.compile(r"[0-9]{1,12}")
_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_LEAF_ALONE = (
    "GnuTLS looks up the leaf's key, and a CA is up to the program; here OpenSSL verifies the chain,"
    ' and a CA in it may have the key too (trust="pins" goes by the leaf alone)'
)
_EXPIRED = "to GnuTLS a host whose keys have expired is unknown, as on a first visit; here it is refused"
_ANY_PORT = "keys are for a service, as port 443; an entry is for a host, whatever the port"

_Key = tuple[Pin, "datetime | None"]


def read(data: bytes, *, source: str, host: str | None = None) -> Imported:
    """The policy that a known_hosts file makes for the hosts in it; any other is refused.

    Lines that begin with # are passed over. Refused is what one entry cannot say: unlike keys for several
    services of a host, or several dates.
    """
    file = Source(data, source)
    file.host_unwanted(host)
    services: dict[str, dict[str, list[_Key]]] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(file.text.split("\n"), start=1):
        if line.strip() and not line.startswith("#"):
            name, service, key = _read_line(file, line, number)
            services.setdefault(name, {}).setdefault(service, []).append(key)
            lines.setdefault(name, number)
    for name, keys in services.items():
        _enter(file, name, keys, lines[name])
    file.warn(_LEAF_ALONE)
    return file.finish()


def _read_line(file: Source, line: str, number: int) -> tuple[str, str, _Key]:
    fields = line.rstrip().split("|")
    if fields[0] or len(fields) != {"g0": 6, "c0": 7}.get(fields[1] if len(fields) > 1 else ""):
        file.fail(f"{shown(line)} is no line of |g0|, with 5 fields, or |c0|, with 6", line=number)
    version, name, service, expiry = fields[1:5]
    if name.startswith("*"):
        file.fail("keys for hosts of any name; an entry needs one", line=number)
    host = file.pattern(name, line=number)
    if not service:
        file.fail("the service is missing; * stands for all", line=number, entry=host)
    pin = (_of_key if version == "g0" else _of_hash)(file, fields[5:], number, host)
    return host, service, (pin, _expires(file, expiry, number, host))


def _of_key(file: Source, fields: list[str], line: int, entry: str) -> Pin:
    try:
        return Pin.from_public_key(base64.b64decode(fields[0], validate=True))
    except InvalidPin as error:
        file.fail(f"the key is {error}", line=line, entry=entry)
    except ValueError as error:
        file.fail(f"the key is not base64: {error}", line=line, entry=entry)


def _of_hash(file: Source, fields: list[str], line: int, entry: str) -> Pin:
    if fields[0] != _SHA256:
        trouble = f"it is of the hash number {shown(fields[0])}, and only {_SHA256} (SHA-256) is taken"
        file.fail(trouble, line=line, entry=entry)
    pin = file.pin(fields[1], kind=Kind.SPKI, line=line, entry=entry)
    if fields[1] != pin.digest.hex():
        file.fail("GnuTLS finds a hash in lower case without colons alone", line=line, entry=entry)
    return pin


def _expires(file: Source, text: str, line: int, entry: str) -> datetime | None:
    if _EXPIRY.fullmatch(text) is None:
        file.fail(f"the expiry is {shown(text)}, and has to be seconds, or 0", line=line, entry=entry)
    try:
        # A second later: GnuTLS takes a key in that very second, and from `expires` on nothing counts.
        return _EPOCH + timedelta(seconds=int(text)) + _SECOND if int(text) else None
    except OverflowError:
        file.fail(f"the expiry {text} is beyond the year 9999; 0 is never", line=line, entry=entry)


def _enter(file: Source, name: str, services: dict[str, list[_Key]], line: int) -> None:
    keys = next(iter(services.values()))
    if any(set(other) != set(keys) for other in services.values()):
        names = ", ".join(sorted(services))[:80]
        trouble = f"its services {names} have different keys, and an entry is for all of them"
        file.fail(trouble, line=line, entry=name)
    dates = {expires for _, expires in keys}
    if len(dates) > 1:
        file.fail("its keys expire at different times, and an entry has one date", line=line, entry=name)
    expires = dates.pop()
    if expires is not None:
        file.warn(_EXPIRED)
    if set(services) != {"*"}:
        file.warn(_ANY_PORT)
    file.add(name, [pin for pin, _ in keys], expires=expires, line=line)


def write(policy: Policy, *, host: str | None = None) -> Exported:
    """Lines of |c0| for all hosts, since the keys for |g0| are not in their hashes; for all services.

    Raises InvalidPolicy for what they cannot say: wildcards, denied keys, pins of certificates.
    """
    lines: list[str] = []
    warnings = ["GnuTLS compares the leaf's key alone, so that the pin of a CA never matches"]
    for pattern, pins in all_entries(policy, host).items():
        if split_pattern(pattern)[0] is not Match.EXACT:
            raise InvalidPolicy(f"GnuTLS looks hosts up by their whole name, and {pattern!r} is a pattern")
        warnings += unsaid(pattern, pins)
        expiry = _expiry(pattern, pins)
        if expiry:
            warnings.append(f"{pattern}: with its pins expired, it is unknown to GnuTLS, as on a first visit")
        lines += [f"|c0|{pattern}|*|{expiry}|{_SHA256}|{pin.digest.hex()}\n" for pin in pins.allow]
    if policy.unlisted == "pkix":
        warnings.append("hosts without an entry are left to the CAs; to GnuTLS they are unknown")
    return Exported("".join(lines), tuple(warnings))


def _expiry(pattern: str, pins: PinSet) -> int:
    if pins.expires is None:
        return 0
    seconds = (pins.expires - _SECOND - _EPOCH) // _SECOND
    if seconds <= 0:
        raise InvalidPolicy(f"entry {pattern!r} expired before 1970, which GnuTLS takes for never")
    return seconds
