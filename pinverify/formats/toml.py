# SPDX-License-Identifier: Apache-2.0
"""The policy file, in TOML. Reading it back gives the policy that was written."""

from __future__ import annotations

import difflib
import re
from functools import cached_property, partial
from typing import Any

import tomli
import tomli_w

from pinverify.errors import InvalidPolicy, PinverifyError, shown
from pinverify.formats.common import Exported, Imported, Source
from pinverify.pins import Pin, PinSet
from pinverify.policy import Policy

__all__ = ["read", "write"]

_KEYS = ("unlisted", "host")
_HOST_KEYS = ("name", "names", "pins", "deny", "mode", "expires", "on_expiry", "note")
_OPTIONS = ("deny", "mode", "expires", "on_expiry", "note")


def read(data: bytes, *, source: str, host: str | None = None) -> Imported:
    """The policy in a TOML document; `host` is not wanted, since the file names its hosts."""
    file = _File(data, source)
    if host is not None:
        file.fail(f"the file names its hosts; it cannot be read for {host!r}")
    return file.read()


def write(policy: Policy, *, host: str | None = None) -> Exported:
    """The policy as a TOML document, with an entry for each PinSet; `host` is not wanted.

    Raises InvalidPolicy for a server's policy, which has no hosts.
    """
    if host is not None:
        raise InvalidPolicy("a policy file is written as a whole")
    if not policy.hosts:
        raise InvalidPolicy("a server's policy has no hosts to write")
    names: dict[int, list[str]] = {}  # by id: hosts that share a PinSet share an entry
    sets: dict[int, PinSet] = {}
    for pattern, pins in policy.hosts.items():
        names.setdefault(id(pins), []).append(pattern)
        sets[id(pins)] = pins
    entries = [_entry(names[key], pins) for key, pins in sets.items()]
    return Exported(tomli_w.dumps({"unlisted": policy.unlisted, "host": entries}), ())


def _entry(names: list[str], pins: PinSet) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": names[0]} if len(names) == 1 else {"names": names}
    entry["pins"] = [str(pin) for pin in pins.allow]
    if pins.deny:
        entry["deny"] = [str(pin) for pin in pins.deny]
    if pins.mode != "enforce":
        entry["mode"] = pins.mode
    if pins.expires is not None:
        midnight = pins.expires.timetz().replace(tzinfo=None).isoformat() == "00:00:00"
        entry["expires"] = pins.expires.date() if midnight else pins.expires
    if pins.on_expiry != "deny":
        entry["on_expiry"] = pins.on_expiry
    if pins.note:
        entry["note"] = pins.note
    return entry


# What has no structure in it: strings, and comments.
_OPAQUE = re.compile(
    r'"""(?:\\.|[^\\])*?"""' r"|'''.*?'''" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'" r"|\#[^\n]*", re.DOTALL
)
_KEY_MAX = 100  # characters of a key whose line is looked for
_HEADER = re.compile(r"^[ \t]*\[\[[ \t]*host[ \t]*\]\]", re.MULTILINE)


class _File(Source):
    """A TOML document under import. Lines are looked for only once something is wrong."""

    def read(self) -> Imported:
        document = self._parsed()
        self._check_keys(document, _KEYS, 0)
        hosts = document.get("host", [])
        if not isinstance(hosts, list) or not all(isinstance(table, dict) for table in hosts):
            self.fail("host has to be tables, each under a line [[host]]", line=self._line(0, "host"))
        unlisted = document.get("unlisted", "deny")
        if unlisted not in ("deny", "pkix"):
            trouble = f"unlisted is {shown(unlisted)}, and has to be 'deny' or 'pkix'"
            self.fail(trouble, line=self._line(0, "unlisted"))
        for number, table in enumerate(hosts, start=1):
            self._read_entry(number, table)
        return self.finish(unlisted=unlisted)

    def _parsed(self) -> dict[str, Any]:
        try:
            return tomli.loads(self.text)
        except tomli.TOMLDecodeError as error:
            at_line = re.search(r"\(at line (\d+), column \d+\)", str(error))
            self.fail(f"it is not TOML: {error}", line=int(at_line[1]) if at_line else None)
        except RecursionError:
            self.fail("it is nested too deeply")
        except ValueError as error:  # of a number with thousands of digits, which int() does not read
            self.fail(f"it is not TOML: {error}")

    def _read_entry(self, number: int, table: dict[str, Any]) -> None:
        self._check_keys(table, _HOST_KEYS, number)
        names = table.get("names", [table["name"]] if "name" in table else None)
        if not isinstance(names, list) or not names or ("name" in table and "names" in table):
            trouble = "an entry has a name, or names in a list; one of the two"
            self.fail(trouble, line=self._line(number, "name"))
        try:
            pins = PinSet(table.get("pins", ()), **{key: table[key] for key in _OPTIONS if key in table})
        except PinverifyError as error:
            self.fail(str(error), line=self._line(number, *_culprit(table)), entry=str(names[0]))
        for key, kept in (("pins", pins.allow), ("deny", pins.deny)):
            if len(kept) < len(table.get(key, ())):
                self.warn(f"{names[0]}: {key} has the same pin twice", line=self._line(number, key))
        for name in names:
            self.enter(name, pins, line=partial(self._line, number, "name", name))

    def _check_keys(self, table: dict[str, Any], known: tuple[str, ...], number: int) -> None:
        for key in table:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                trouble = f"unknown key {shown(key)}; {hint}"
                self.fail(trouble, line=self._line(number, key), entry=table.get("name"))

    @cached_property
    def _starts(self) -> list[int]:
        """Offsets: of the head of the file, of each [[host]], and of the end."""
        bare = _OPAQUE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), self.text)
        return [0, *(found.start() for found in _HEADER.finditer(bare)), len(bare)]

    def _line(self, number: int, key: str, value: object = None) -> int | None:
        """The line of a value, else of its key, else of the [[host]] with that number; 0 is the head."""
        if number + 1 >= len(self._starts):  # host = [{…}, {…}]
            return None
        start, end = self._starts[number : number + 2]
        place = start
        if len(key) <= _KEY_MAX and "\n" not in key:  # else each line may cost as much as the key is long
            pattern = re.compile(rf"^[ \t]*[\"']?{re.escape(key)}[\"']?[ \t]*=", re.MULTILINE)
            found = pattern.search(self.text, start, end)
            place = found.end() if found else start
        if isinstance(value, str) and value:
            place = max(place, self.text.find(value, place, end))
        return self.line_at(place)


def _culprit(table: dict[str, Any]) -> tuple[str, object]:
    """The key, and the value if it is one of a list, that a PinSet does not take."""
    for key in ("pins", "deny"):
        for value in table.get(key, ()) if isinstance(table.get(key), list) else ():
            if _refuses([value]):
                return key, value
    return next(
        (key for key in _OPTIONS if key in table and _refuses([_A_PIN], **{key: table[key]})), "pins"
    ), None


_A_PIN = Pin(b"?" * 32)  # good for seeing what becomes of an option


def _refuses(allow: list[Any], **options: Any) -> bool:
    try:
        PinSet(allow, **options)
    except PinverifyError:
        return True
    return False
