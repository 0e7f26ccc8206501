# SPDX-License-Identifier: Apache-2.0
"""Public-Key-Pins and Public-Key-Pins-Report-Only, the header fields of RFC 7469."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal

from pinverify.errors import InvalidPolicy, shown
from pinverify.formats.common import Exported, Imported, Source, sole_entry, undated, unsaid
from pinverify.hostnames import Match, host_ip, split_pattern
from pinverify.pins import Pin
from pinverify.policy import Policy

__all__ = ["read", "write"]

_NAMES: Final[dict[str, Literal["enforce", "report"]]] = {
    "public-key-pins": "enforce",
    "public-key-pins-report-only": "report",
}
_NAME = re.compile(r"\s*([A-Za-z0-9-]+)[ \t]*:")
_DIRECTIVE = re.compile(r'[^";]*(?:"[^"]*"[^";]*)*')  # up to the next ; outside of quotes
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 7230 3.2.6
_QUOTED = re.compile(r'"([^"\\\r\n]*)"')  # without escapes, which neither base64 nor a URL has
_SIXTY_DAYS = 5184000  # seconds; what RFC 7469 4.1 calls reasonable
_BACKUP = "there is one pin; RFC 7469 4.3 wants a backup too, and browsers leave a header without one aside"


def read(data: bytes, *, source: str, host: str | None = None) -> Imported:
    """The pins that a header field, or its value alone, has for `host`, which is a name and no pattern.

    A field may be folded: what follows the first line begins with a blank.
    """
    file = Source(data, source)
    name = _host(file, host)
    mode, start = _field_name(file)
    pins: list[Pin] = []
    others: dict[str, str | None] = {}
    for key, value, line in _directives(file, start):
        if key.startswith("pin-"):
            if value is None:
                file.fail(f'{key} has no value; it is {key}="<base64>"', line=line, entry=name)
            pins.append(file.pin(f'{key}="{value}"', line=line, entry=name))
        elif key in others:
            file.fail(f"{shown(key)} is there twice (RFC 7469 2.1)", line=line, entry=name)
        else:
            others[key] = value
    pattern = f"**.{name}" if "includesubdomains" in others else name
    _consider(file, others, name, mode)
    if len(set(pins)) == 1:
        file.warn(f"{name}: {_BACKUP}; the one pin counts here")
    file.add(pattern, pins, mode=mode)
    return file.finish()


def _host(file: Source, host: str | None) -> str:
    name = file.host_wanted(host)
    if split_pattern(name)[0] is not Match.EXACT or host_ip(name) is not None:
        file.fail("a header is for a host name, and says itself whether it includes those below", entry=name)
    return name


def _field_name(file: Source) -> tuple[Literal["enforce", "report"], int]:
    """What the name of the field says, and where its value begins."""
    found = _NAME.match(file.text)
    if found is None:
        return "enforce", 0
    mode = _NAMES.get(found[1].lower())
    if mode is None:
        file.fail(f"the header {shown(found[1])} is not Public-Key-Pins", line=file.line_at(found.start(1)))
    return mode, found.end()


def _directives(file: Source, start: int) -> Iterator[tuple[str, str | None, int]]:
    """The directives, token [ "=" ( token / quoted-string ) ], with names in lower case, and their lines."""
    line = file.line_at(start)
    while start < len(file.text):
        found = _DIRECTIVE.match(file.text, start)
        assert found is not None  # it may be empty
        text = found[0].lstrip()
        line += file.text.count("\n", start, found.end() - len(text))
        if found.end() < len(file.text) and file.text[found.end()] == '"':
            file.fail("a quoted value does not end", line=line)
        key, equals, given = map(str.strip, text.partition("="))
        if text:
            value = _TOKEN.fullmatch(given) or _QUOTED.fullmatch(given)
            if _TOKEN.fullmatch(key) is None or bool(equals) != bool(value):
                file.fail(f"{shown(text)} is no directive (RFC 7469 2.1)", line=line)
            yield key.lower(), value and value[value.lastindex or 0], line
        line += text.count("\n")
        start = found.end() + 1


def _consider(file: Source, directives: dict[str, str | None], name: str, mode: str) -> None:
    """Warns of, or refuses, what an entry does not say."""
    age = directives.pop("max-age", None)
    if mode == "enforce":  # RFC 7469 2.1.2: required there, and without meaning in reports
        if age is None or re.fullmatch(r"[0-9]+", age) is None:
            file.fail("the header needs max-age=<seconds>; browsers leave it aside without", entry=name)
        if not age.strip("0"):
            file.fail("max-age=0 takes pins back (RFC 7469 2.1.2); there is nothing to import", entry=name)
        file.warn(
            f"{name}: max-age={age[:20]} counts from when a browser received the header; here the pins do"
            " not expire unless expires is set"
        )
    if directives.pop("includesubdomains", None) is not None:
        file.fail("includeSubDomains takes no value", entry=name)
    uri = directives.pop("report-uri", None)
    if uri is not None:
        file.warn(f"{name}: violations were reported to {shown(uri)}; here on_violation is called")
    for key in directives:
        file.warn(f"{name}: {shown(key)} is no directive of RFC 7469 and was passed over, as browsers do")


def write(policy: Policy, *, host: str | None = None) -> Exported:
    """The header field for an entry, with its name. Raises InvalidPolicy for what it cannot say: `*.` in the
    name, addresses, denied keys, pins of certificates.
    """
    pattern, pins = sole_entry(policy, host)
    match, name = split_pattern(pattern)
    if match is Match.ONE_LABEL:
        raise InvalidPolicy(f"a header is for a host, or all below it too, and {pattern!r} is for neither")
    if host_ip(name) is not None:
        raise InvalidPolicy(f"{name} is an address, and browsers note pins for names alone (RFC 7469 2.3.3)")
    warnings = unsaid(pattern, pins, report=True) + undated(pattern, pins)
    if len(pins.allow) == 1:
        warnings.append(f"{pattern}: {_BACKUP}")
    parts = [f'pin-sha256="{str(pin).partition("/")[2]}"' for pin in pins.allow]
    if pins.mode == "enforce":
        parts.append(f"max-age={_SIXTY_DAYS}")
        warnings.append(f"{pattern}: max-age is the 60 days of RFC 7469 4.1, counted from each receipt")
    else:
        warnings.append(f"{pattern}: a header that only reports needs a report-uri, which no entry has")
    if match is Match.ANY_DEPTH:
        parts.append("includeSubDomains")
    field = "Public-Key-Pins" if pins.mode == "enforce" else "Public-Key-Pins-Report-Only"
    warnings.append(f"{pattern}: browsers no longer heed the header, and never on a first visit")
    return Exported(f"{field}: {'; '.join(parts)}\n", tuple(warnings))
