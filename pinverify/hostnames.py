# SPDX-License-Identifier: Apache-2.0
"""The one canonical form of a host name or IP address, and of a pattern.

A canonical name is lower-case ASCII without a last dot: labels of 1 to 63 letters, digits, hyphens and
underscores, 253 octets in all (RFC 1035 2.3.4), the last label not all digits, since others would read that
as an IPv4 address (RFC 1123 2.1). Hyphens and underscores may stand anywhere in a label: real names have them
there, and a simple rule is one that two implementations keep. `csrc/pv_host.c` is the other, for the name
that a connection sends.

A canonical address is the shortest text of RFC 5952: "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1".
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Iterator

from pinverify.errors import InvalidHost, shown

__all__ = [
    "Match",
    "HTTPS",
    "candidate_patterns",
    "canonical_host",
    "canonical_pattern",
    "canonical_sni",
    "host_and_port",
    "host_ip",
    "split_pattern",
]

HTTPS = 443  # the port where none is said

_NAME_MAX = 253
_GIVEN_MAX = 1000  # characters, before anything looks at them: IDNA may drop some (and CVE-2024-3651 is slow)
_NAME = re.compile(rb"(?:[A-Za-z0-9_-]{1,63}\.)*(?![0-9]+\Z)[A-Za-z0-9_-]{1,63}")

_WHOLE_NAME = "a host name alone was expected, such as 'api.example.com'"
_WILDCARD = "a wildcard is the whole first label of a policy's pattern: '*.example.com' or '**.example.com'"
_BARE_IPV6 = "an IPv6 address was expected without zone and port, such as '2001:db8::1'"

# What people give in place of a host name, most telling first: where it shows, what it is, what is right.
# Each search takes time in proportion to the length of the text.
_FOREIGN = (
    (re.compile(r"\x00"), "a NUL", _WHOLE_NAME),
    (re.compile(r"://"), "a URL scheme", _WHOLE_NAME + ", not a URL"),
    (re.compile(r"@"), "a user name", _WHOLE_NAME),
    (re.compile(r"[/\\?#]"), "a path", _WHOLE_NAME),
    (re.compile(r"\*"), "a misplaced wildcard", _WILDCARD),
    (re.compile(r"\s"), "white space", _WHOLE_NAME),
    (re.compile(r"\A[^:]*:[^%]*(%)"), "the zone of an IPv6 address", _BARE_IPV6),
    (re.compile(r"%"), "percent-encoding", _WHOLE_NAME),
    (re.compile(r"\](:)|\A[^:]*(:)[^:]*\Z"), "a port", _WHOLE_NAME + ", without a port"),
    (re.compile(r"[:\[\]]"), "part of an IPv6 address, which the whole is not", _BARE_IPV6),
)


_ADDRESS = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")


class Match(enum.IntEnum):
    """How much of a host name a pattern stands for; `enum pv_match` of the C core."""

    EXACT = 0  # all of it
    ONE_LABEL = 1  # "*.name": all but exactly one label ahead
    ANY_DEPTH = 2  # "**.name": the name itself and whatever lies below


_PREFIX = {Match.EXACT: "", Match.ONE_LABEL: "*.", Match.ANY_DEPTH: "**."}


def canonical_sni(name: bytes) -> str | None:
    """The canonical form of a DNS host name in ASCII, or None if `name` is not one.

    Addresses are not taken, since RFC 6066 3 keeps them out of the server name extension. No IDNA: A-labels
    are what is on the wire. Agrees with `pv_host_from_sni` of the C core for any input.
    """
    name = name[:-1] if name.endswith(b".") else name
    if len(name) > _NAME_MAX or _NAME.fullmatch(name) is None:
        return None
    return name.decode("ascii").lower()


def canonical_host(text: str | bytes) -> str:
    """The canonical form of a host name or IP address; see the module for what that is.

    Internationalised names go through UTS 46 mapping (not transitional) and IDNA 2008 (RFC 5891); labels that
    are ASCII already stay as they are. An IPv6 address may stand in brackets (RFC 3986 3.2.2). bytes must be
    ASCII. Raises InvalidHost for all else: URLs, ports, paths, user names, wildcards, white space, NUL, empty
    labels.
    """
    return _canonical(_decoded(text), text, offset=0)


def canonical_pattern(text: str | bytes) -> str:
    """The canonical form of a pattern: a host as in `canonical_host`, "*.example.com" or "**.example.com".

    A wildcard is the whole first label, and a DNS name follows it. Raises InvalidHost for all else.
    """
    pattern = _decoded(text)
    match, name = split_pattern(pattern)
    if match is Match.EXACT:
        return _canonical(pattern, text, offset=0)
    prefix = _PREFIX[match]
    name = _canonical(name, text, offset=len(prefix))
    if host_ip(name) is not None:
        raise _invalid(text, "an IP address has no labels, so that a wildcard cannot stand ahead of one")
    if match is Match.ONE_LABEL and len(name) > _NAME_MAX - len("x."):
        raise _invalid(text, f"no host fits it: one label more, and there are more than {_NAME_MAX} octets")
    return prefix + name


def host_and_port(text: str) -> tuple[str, int]:
    """The canonical host and the port, by default 443, of HOST[:PORT]. Raises InvalidHost.

    An IPv6 address stands in brackets, as in a URL (RFC 3986 3.2.2).
    """
    found = _ADDRESS.fullmatch(text)
    if found is None:
        if text.count(":") > 1 and "://" not in text:
            raise InvalidHost(f"{shown(text)}: write an IPv6 address in brackets, as '[2001:db8::1]:443'")
        raise InvalidHost(f"{shown(text)} is not HOST[:PORT], as 'api.example.com' or 'api.example.com:8443'")
    port = int(found["port"] or HTTPS)
    if not 0 < port < 1 << 16:
        raise InvalidHost(f"{shown(text)}: there is no port {port}")
    return canonical_host(found["host"]), port


def split_pattern(pattern: str) -> tuple[Match, str]:
    """Take a canonical pattern apart: what it stands for, and the name without the wildcard."""
    for match in (Match.ONE_LABEL, Match.ANY_DEPTH):
        if pattern.startswith(_PREFIX[match]):
            return match, pattern[len(_PREFIX[match]) :]
    return Match.EXACT, pattern


def candidate_patterns(host: str) -> Iterator[str]:
    """Yield all canonical patterns that cover a canonical `host`, the most specific first.

    They are the name itself, `*.` ahead of its parent, `**.` ahead of the name, then of each parent.
    """
    yield host
    parent = host.partition(".")[2]
    if parent:
        yield f"*.{parent}"
    yield f"**.{host}"
    while parent:
        yield f"**.{parent}"
        parent = parent.partition(".")[2]


def host_ip(canonical: str) -> bytes | None:
    """The 4 or 16 octets, in network order, of a canonical host that is an IP address; None for a name."""
    if ":" not in canonical and not canonical[-1:].isdigit():
        return None
    try:
        return ipaddress.ip_address(canonical).packed
    except ValueError:
        return None


def _decoded(text: str | bytes) -> str:
    if isinstance(text, str):
        return text
    if not isinstance(text, bytes):
        raise _invalid(text, "a str was expected")
    try:
        return text.decode("ascii")
    except UnicodeDecodeError as error:
        raise _invalid(text, f"byte {error.start + 1} is not ASCII; give such a name as str") from error


def _canonical(name: str, given: str | bytes, *, offset: int) -> str:
    """Bring `name`, which is `given` from the index `offset` on, to its canonical form."""
    if len(name) > _GIVEN_MAX:
        raise _invalid(given, f"there are {len(name)} characters, and a name has at most {_NAME_MAX} octets")
    ascii_name = name if name.isascii() else _to_ascii(name, given, offset)
    canonical = canonical_sni(ascii_name.encode("ascii"))
    if canonical is None:
        canonical = _canonical_address(name)
    if canonical is None:
        _refuse_foreign(name, given, offset)
        raise _invalid(given, _trouble(ascii_name))
    return canonical


def _canonical_address(text: str) -> str | None:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") and ":" in text else text
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if "%" in bare:  # a zone means something on one machine only (RFC 4007 11)
        return None
    mapped = address.ipv4_mapped  # RFC 5952 5; the module itself writes it so from Python 3.13 on
    return str(address) if mapped is None else f"::ffff:{mapped}"


def _to_ascii(name: str, given: str | bytes, offset: int) -> str:
    import idna  # its tables take longer to load than the rest of this module, and most names are ASCII

    _refuse_foreign(name, given, offset)
    try:
        labels = idna.uts46_remap(name, std3_rules=False).split(".")
        return ".".join(label if label.isascii() else idna.alabel(label).decode("ascii") for label in labels)
    except UnicodeError as error:  # idna.IDNAError is one
        raise _invalid(given, f"it is no internationalised name (IDNA 2008): {error}") from error


def _refuse_foreign(name: str, given: str | bytes, offset: int) -> None:
    """Raise InvalidHost if `name` shows what it is instead of a host name."""
    for regex, what, right in _FOREIGN:
        found = regex.search(name)
        if found is not None:
            position = offset + found.start(found.lastindex or 0) + 1
            raise _invalid(given, f"there is {what} at character {position}; {right}")


def _trouble(name: str) -> str:
    """Say why the ASCII `name` is not a DNS name. Places are labels: IDNA may have moved the characters."""
    if not name or name == ".":
        return "it is empty; " + _WHOLE_NAME
    name = name[:-1] if name.endswith(".") else name
    labels = name.split(".")
    for number, label in enumerate(labels, start=1):
        if not label:
            return f"label {number} is empty"
        if len(label) > 63:
            return f"label {number} has {len(label)} octets, and 63 is the most (RFC 1035 2.3.4)"
        stranger = re.search(r"[^A-Za-z0-9_-]", label)
        if stranger is not None:
            return f"{stranger[0]!r} in label {number} is not of a-z, 0-9, '-' and '_'; {_WHOLE_NAME}"
    if len(name) > _NAME_MAX:
        return f"there are {len(name)} octets, and {_NAME_MAX} is the most (RFC 1035 2.3.4)"
    return f"the last label {labels[-1]!r} is all digits, and the whole no IPv4 address (RFC 1123 2.1)"


def _invalid(given: object, trouble: str) -> InvalidHost:
    return InvalidHost(f"{shown(given)} is not a host name or pattern: {trouble}")
