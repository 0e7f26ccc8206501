# SPDX-License-Identifier: Apache-2.0
"""What the formats share: what reading and writing comes to, and a file under import with its errors."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Container, Iterable, Mapping
from datetime import date, time, timedelta
from types import ModuleType
from typing import Any, NamedTuple, NoReturn, TypeAlias, TypeVar

from pinverify.errors import PATH_LIMIT, InvalidPolicy, InvalidPolicyFile, PinverifyError, shown
from pinverify.hostnames import Match, candidate_patterns, canonical_pattern, host_ip, split_pattern
from pinverify.pins import Kind, Pin, PinSet
from pinverify.policy import Policy, Unlisted

__all__ = [
    "SIZE_LIMIT",
    "Exported",
    "Imported",
    "Source",
    "all_entries",
    "domains",
    "extra",
    "read_file",
    "sole_entry",
    "undated",
    "unsaid",
    "until_day",
]

_T = TypeVar("_T")
_TYPES = {dict: "a dictionary", list: "a list", str: "a string", bool: "true or false"}
Line: TypeAlias = "int | Callable[[], int | None] | None"  # called only if there is an error

SIZE_LIMIT = 64 << 20  # octets of a file; a policy of 100,000 hosts has 16 MiB


class Imported(NamedTuple):
    """A policy, and in words what the format says that it does not, or the other way round."""

    policy: Policy
    warnings: tuple[str, ...]


class Exported(NamedTuple):
    """A policy in another format, and in words what is lost in it."""

    text: str
    warnings: tuple[str, ...]


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The contents of a file of at most SIZE_LIMIT octets. Raises InvalidPolicyFile."""
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidPolicyFile(shown(name, limit=PATH_LIMIT), f"cannot be read: {reason}") from error
    return data


class Source:
    """A file under import: its text, the entries that have been found in it, and its errors.

    Whatever is raised by way of it is InvalidPolicyFile, with the name of the file and the line.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        self._hosts: dict[str, PinSet] = {}
        self._lines: dict[str, Line] = {}
        self._unpinned: list[str] = []
        self._warnings: dict[str, None] = {}  # a set that keeps their order
        self._counted = (0, 1)  # an offset of the text, and its line
        if len(data) > SIZE_LIMIT:
            self.fail(f"has more than {SIZE_LIMIT >> 20} MiB, which no list of pins needs")
        try:
            self.text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self.fail(f"byte {error.start} is not UTF-8; is this a text?", line=_line_of(data, error.start))
        if "\0" in self.text:
            self.fail("there is a NUL; is this a text?", line=_line_of(data, data.index(b"\0")))
        if not self.text.strip():
            self.fail("the file is empty")

    def fail(self, trouble: str, *, line: Line = None, entry: str | None = None) -> NoReturn:
        """Raises InvalidPolicyFile."""
        raise InvalidPolicyFile(self.name, trouble, line=line() if callable(line) else line, entry=entry)

    def warn(self, text: str, *, line: int | None = None) -> None:
        """Puts down, once, a difference between what the file says and what the policy does."""
        self._warnings[text if line is None else f"line {line}: {text}"] = None

    def line_at(self, offset: int) -> int:
        """The number, from 1, of the line with the character at `offset` of the text."""
        start, line = self._counted if self._counted[0] <= offset else (0, 1)  # as a rule they only grow
        self._counted = offset, line + self.text.count("\n", start, offset)
        return self._counted[1]

    def line_of(self, *texts: str) -> Callable[[], int | None]:
        """For errors: the line with the last of these texts, each looked for behind the one before it."""

        def search() -> int | None:
            place = 0
            for text in texts:
                place = self.text.find(text, place)
                if place < 0:
                    return None
            return self.line_at(place)

        return search

    def typed(self, value: object, kind: type[_T], what: str, *, line: Line = None) -> _T:
        """The value, which has to be of this type."""
        if not isinstance(value, kind):
            wanted = _TYPES[kind]
            found = "there is none" if value is None else f"it is {shown(value)}"
            self.fail(f"{what} has to be {wanted}, and {found}", line=line)
        return value

    def pin(self, text: object, *, line: Line = None, entry: str | None = None, **options: Any) -> Pin:
        """`Pin.parse` of a text in the file."""
        try:
            return Pin.parse(text, **options)  # type: ignore[arg-type]
        except PinverifyError as error:
            self.fail(str(error), line=line, entry=entry)

    def add(self, pattern: str, allow: Iterable[Pin | str], *, line: Line = None, **options: Any) -> None:
        """Enters a host pattern with its pins; the options are PinSet's."""
        try:
            pins = PinSet(allow, **options)
        except PinverifyError as error:
            self.fail(str(error), line=line, entry=pattern)
        self.enter(pattern, pins, line=line)

    def pattern(self, text: str, *, line: Line = None) -> str:
        """`canonical_pattern` of a text in the file."""
        try:
            return canonical_pattern(text)
        except PinverifyError as error:
            self.fail(str(error), line=line, entry=str(text))

    def domain(self, name: str, *, below: bool, line: Line = None) -> str:
        """The pattern of a domain, alone or with all below it, for a format that has no wildcards."""
        pattern = self.pattern(name, line=line)
        if split_pattern(pattern)[0] is not Match.EXACT:
            self.fail("the format has no wildcards; a domain is named without", line=line, entry=name)
        return f"**.{pattern}" if below else pattern

    def host_wanted(self, host: str | None) -> str:
        """The pattern that a reader of a format without hosts has to be given."""
        if host is None:
            self.fail("the format knows no hosts; say for which host the pins are")
        return self.pattern(host)

    def host_unwanted(self, host: str | None) -> None:
        """Refuses a host for a format that names its own."""
        if host is not None:
            self.fail(f"the file names its hosts; it cannot be read for {shown(host)}")

    def enter(self, pattern: str, pins: PinSet, *, line: Line = None) -> None:
        """Enters a host pattern with its PinSet."""
        name = self.pattern(pattern, line=line)
        if name in self._hosts:
            first = self._lines[name]
            first = first() if callable(first) else first
            where = "" if first is None else f" in line {first}"
            self.fail(f"the same host stands{where} already; name each once", line=line, entry=pattern)
        self._hosts[name], self._lines[name] = pins, line

    def leave_unpinned(self, pattern: str, *, line: Line = None) -> None:
        """Puts down a host without pins, which those of a wider pattern might hold here."""
        self._unpinned.append(self.pattern(pattern, line=line))

    def finish(self, *, unlisted: Unlisted = "deny") -> Imported:
        """The policy of all that was entered."""
        if not self._hosts:
            self.fail("there is no host with pins in it")
        for pattern in self._unpinned:
            wider = [other for other in candidate_patterns(split_pattern(pattern)[1]) if other in self._hosts]
            if wider:
                self.warn(f"{pattern}: the format leaves it without pins; here it has those of {wider[0]}")
        return Imported(Policy.of_entries(self._hosts, unlisted=unlisted), tuple(self._warnings))


def sole_entry(policy: Policy, host: str | None) -> tuple[str, PinSet]:
    """The entry that a format without hosts is to have: the pattern `host`, or the only one there is. Raises
    InvalidPolicy.
    """
    if host is None:
        if len(policy.hosts) != 1:
            raise InvalidPolicy(
                f"the format knows no hosts, and the policy has {len(policy.hosts)}; name the one to write"
            )
        return next(iter(policy.hosts.items()))
    pattern = canonical_pattern(host)
    if pattern not in policy.hosts:
        raise InvalidPolicy(f"the policy has no entry {shown(pattern)}")
    return pattern, policy.hosts[pattern]


def all_entries(policy: Policy, host: str | None) -> Mapping[str, PinSet]:
    """The entries that a format which names its hosts is to have: all. Raises InvalidPolicy."""
    if host is not None:
        raise InvalidPolicy("the format names its hosts, and is written as a whole")
    if not policy.hosts:
        raise InvalidPolicy("a server's policy has no hosts to write")
    return policy.hosts


def undated(pattern: str, pins: PinSet) -> list[str]:
    """The expiry of an entry as a warning, for a format that knows no dates."""
    if pins.expires is None:
        return []
    then = "refused" if pins.on_expiry == "deny" else "left to the CAs alone"
    return [
        f"{pattern}: its pins expire at {pins.expires.isoformat()}, when hosts are {then}; the format knows"
        " no dates, and they go on to count"
    ]


def until_day(pattern: str, pins: PinSet) -> tuple[date | None, list[str]]:
    """The expiry of an entry, for a format in which pins cease to count on a day: that day, if there is one,
    and warnings.
    """
    if pins.expires is None:
        return None, []
    day = pins.expires.date()
    if pins.on_expiry == "deny" or day == date.max:
        return None, [
            f"{pattern}: its pins expire at {pins.expires.isoformat()}; the format would leave the host to"
            " the CAs from then on, and so is given no date: they go on to count"
        ]
    if pins.expires.time() == time():
        return day, []
    return day + timedelta(days=1), [
        f"{pattern}: its pins expire within a day, and the format knows whole ones"
    ]


def domains(hosts: Mapping[str, PinSet]) -> dict[str, tuple[str, PinSet]]:
    """The entries for a format that has domains, each with or without all below it: by domain the pattern,
    which is `**.` or the domain itself, and the pins.

    Raises InvalidPolicy for `*.`, and for a domain that has other pins than what is below it.
    """
    found: dict[str, tuple[str, PinSet]] = {}
    for pattern, pins in hosts.items():
        match, name = split_pattern(pattern)
        if match is Match.ONE_LABEL:
            raise InvalidPolicy(f"the format has no subdomains of one label alone, as {pattern!r} is")
        if host_ip(name) is not None:
            raise InvalidPolicy(f"the format has domains, and {name} is an address")
        if name in found and found[name][1] != pins:
            raise InvalidPolicy(
                f"{name!r} and '**.{name}' have other pins, and the format knows one set for both"
            )
        if match is Match.ANY_DEPTH or name not in found:
            found[name] = (pattern, pins)
    return found


def extra(module: str) -> ModuleType:
    """A library of the extra `formats`. Raises InvalidPolicy if it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InvalidPolicy(
            f"the format needs {error.name}, which is not installed; pip install 'pinverify[formats]'"
        ) from error


def unsaid(
    pattern: str,
    pins: PinSet,
    *,
    kinds: Container[Kind] = (Kind.SPKI,),
    report: bool = False,
    deny: bool = False,
) -> list[str]:
    """What of an entry, its expiry aside, a format cannot say, as warnings: `kinds`, `report` and `deny` are
    what it can.

    Raises InvalidPolicy for what would let in more than before: denied keys that are left out, and pins of a
    kind that would be taken for another.
    """
    if pins.deny and not deny:
        raise InvalidPolicy(
            f"entry {pattern!r} denies keys, and the format cannot; without them it lets in more"
        )
    for pin in pins.allow + pins.deny:
        if pin.kind not in kinds:
            raise InvalidPolicy(f"entry {pattern!r} has {pin}, and the format has no pins of that kind")
    if pins.mode == "report" and not report:
        return [f"{pattern}: it only reports, and the format enforces"]
    return []


def _line_of(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1
