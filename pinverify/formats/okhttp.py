# SPDX-License-Identifier: Apache-2.0
"""OkHttp's CertificatePinner: its calls `.add("pattern", "sha256/…")` in Kotlin or Java, or plain lines.

OkHttp unites the pins of all patterns that cover a host; here the most specific entry decides alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping

from pinverify.errors import InvalidPolicy, shown
from pinverify.formats.common import Exported, Imported, Source, all_entries, undated, unsaid
from pinverify.hostnames import Match, candidate_patterns, split_pattern
from pinverify.pins import Pin
from pinverify.policy import Policy

__all__ = ["read", "write"]

_ADD = r"(?<![\w$])add\s{0,99}\("  # in Kotlin a receiver need not be there
_START = re.compile(r"/\*|//|'|" + r'"""|"|' + _ADD)  # what counts in code, outside of the rest
_STRING = re.compile(r'"((?:[^"\\\n]|\\[^\n])*)"')
_CHARACTER = re.compile(r"'(?:[^'\\\n]|\\[^\n])*'")
_BETWEEN = re.compile(r"[\s,]+")
_NO_STRING = "an argument of add is no plain string; write it out, or leave calls out that are not of OkHttp"


def read(data: bytes, *, source: str, host: str | None = None) -> Imported:
    """The policy of a CertificatePinner; hosts that no pattern covers are left to the CAs, as OkHttp does.

    In code every `add(…)` has to be of plain strings: what is computed cannot be read. Else each line is
    `pattern sha256/… sha256/…`, and what follows # is a comment. A pattern may come several times.
    """
    file = Source(data, source)
    file.host_unwanted(host)
    is_code = re.search(_ADD, file.text) is not None
    pins: dict[str, list[Pin]] = {}
    lines: dict[str, int] = {}
    for (pattern, *texts), line in _calls(file) if is_code else _plain_lines(file):
        name = file.pattern(pattern, line=line)
        if not texts:
            file.fail("there are no pins with it, and OkHttp pins nothing then", line=line, entry=name)
        pins.setdefault(name, []).extend(_pin(file, text, line, name) for text in texts)
        lines.setdefault(name, line)
    for name, allow in _united(pins, file.warn).items():
        file.add(name, allow, line=lines.get(name))
    return file.finish(unlisted="pkix")


def _pin(file: Source, text: str, line: int, entry: str) -> Pin:
    pin = file.pin(text, line=line, entry=entry)
    if not text.startswith("sha256/") or str(pin) != text:  # Pin.parse takes more
        file.fail(f"{shown(text)} is no pin of OkHttp; that is sha256/<base64>", line=line, entry=entry)
    return pin


def _plain_lines(file: Source) -> Iterator[tuple[list[str], int]]:
    for number, line in enumerate(file.text.split("\n"), start=1):
        words = line.partition("#")[0].split()
        if words and not words[0].startswith("//"):
            yield words, number


def _calls(file: Source) -> Iterator[tuple[list[str], int]]:
    """The strings of each call of add, and its line."""
    text, start, line, counted = file.text, 0, 1, 0
    while (found := _START.search(text, start)) is not None:
        line, counted = line + text.count("\n", counted, found.start()), found.start()
        if found[0].startswith("add"):
            arguments, start = _arguments(file, found.end(), line)
            yield arguments, line
        else:
            start = _behind(file, found.start(), line)


def _behind(file: Source, start: int, line: int) -> int:
    """Where the comment, string or character that begins at `start` is over."""
    text = file.text
    for opening, closing in (("/*", "*/"), ("//", "\n"), ('"""', '"""')):
        if text.startswith(opening, start):
            end = text.find(closing, start + len(opening))
            if end < 0 and opening != "//":
                file.fail(f"what begins with {opening} does not end", line=line)
            if opening == "/*" and text.find("/*", start + 2, end) >= 0:
                file.fail("comments are nested in Kotlin, and not in Java; part them", line=line)
            end = len(text) if end < 0 else end + len(closing)
            while closing == '"""' and text.startswith('"', end):  # the last three of a row close it (Kotlin)
                end += 1
            return end
    found = (_STRING if text[start] == '"' else _CHARACTER).match(text, start)
    if found is None:
        file.fail("a quoted text does not end on its line", line=line)
    return found.end()


def _arguments(file: Source, start: int, line: int) -> tuple[list[str], int]:
    """The plain strings from `start` to the closing parenthesis, and where that ends."""
    text = file.text
    strings: list[str] = []
    comma = True  # ahead: there may be a string
    while not (text.startswith(")", start) and strings):
        between = _BETWEEN.match(text, start)
        if between is not None:
            comma, start = comma or "," in between[0], between.end()
        elif text.startswith(("//", "/*"), start):
            start = _behind(file, start, line)
        else:
            found = _STRING.match(text, start)
            if found is None or not comma or text.startswith('"""', start):
                file.fail(_NO_STRING, line=line)
            strings.append(found[1])
            comma, start = False, found.end()
    return strings, start + 1


def _covering(pattern: str, hosts: Collection[str]) -> list[str]:
    """The patterns among `hosts` that cover all that `pattern` does; itself first, if it is among them."""
    match, name = split_pattern(pattern)
    wider = (other for other in candidate_patterns(name) if match is Match.EXACT or other.startswith("**."))
    own = [pattern] if match is Match.ONE_LABEL else []
    return [other for other in (*own, *wider) if other in hosts]


def _straddled(hosts: Collection[str]) -> Iterator[tuple[str, str]]:
    """Pairs of `*.` and `**.` that have a single host in common, which has no entry of its own."""
    for pattern in hosts:
        match, name = split_pattern(pattern)
        sibling = f"*.{name.partition('.')[2]}"
        if match is Match.ANY_DEPTH and name not in hosts and sibling in hosts:
            yield sibling, pattern


def _united(pins: Mapping[str, list[Pin]], warn: Callable[[str], None]) -> dict[str, list[Pin]]:
    """Each pattern with the pins of those that cover it too, so that it can decide alone."""
    united: dict[str, list[Pin]] = {}
    common = [pattern[3:] for _, pattern in _straddled(pins)]
    for pattern in (*pins, *common):
        covering = _covering(pattern, pins)
        united[pattern] = list(dict.fromkeys(pin for other in covering for pin in pins[other]))
        added = [other for other in covering[1:] if not set(pins[other]) <= set(pins[covering[0]])]
        if added and (pattern in pins or set(united[pattern]) != set(united[covering[0]])):
            warn(
                f"{pattern}: OkHttp unites its pins with those of {', '.join(added)}; they were added, since"
                " here the most specific entry decides alone"
            )
        elif pattern not in pins:
            del united[pattern]
    return united


def write(policy: Policy, *, host: str | None = None) -> Exported:
    """A call of add for each entry, for a CertificatePinner.Builder of Kotlin or Java.

    Raises InvalidPolicy for denied keys, pins of certificates, and entries that overlap, if the wider one has
    pins that the other has not: OkHttp would take those too.
    """
    hosts = all_entries(policy, host)
    calls: list[str] = []
    warnings: list[str] = []
    for pattern, pins in hosts.items():
        for other in _covering(pattern, hosts)[1:]:
            _check_overlap(policy, pattern, other)
        warnings += unsaid(pattern, pins) + undated(pattern, pins)
        texts = "".join(f',\n    "{pin}"' for pin in pins.allow)
        calls.append(f'.add("{pattern}"{texts})\n')
    for pattern, other in _straddled(hosts):
        _check_overlap(policy, pattern, other)
    if policy.unlisted == "deny":
        warnings.append("hosts without an entry are refused here; OkHttp leaves them to the CAs")
    return Exported("".join(calls), tuple(warnings))


def _check_overlap(policy: Policy, pattern: str, wider: str) -> None:
    if not set(policy.hosts[wider].allow) <= set(policy.hosts[pattern].allow):
        raise InvalidPolicy(
            f"{pattern!r} and {wider!r} have hosts in common, and OkHttp would take the pins of both; give"
            f" {pattern!r} those of {wider!r} too, or part them"
        )
