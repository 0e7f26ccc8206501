# SPDX-License-Identifier: Apache-2.0
"""Chromium's preloaded pins: transport_security_state_static.json, and behind it the list of named keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from pinverify.errors import PinverifyError, shown
from pinverify.formats.common import Exported, Imported, Source, all_entries, domains, undated, unsaid
from pinverify.pins import Pin
from pinverify.policy import Policy

__all__ = ["read", "write"]

_COMMENT = re.compile(r"^[ \t]*//[^\n]*", re.MULTILINE)  # of lines that are nothing else, as Chromium has it
_NAME = re.compile(r"[A-Z][A-Za-z0-9_]*")
_PINSET = ("name", "static_spki_hashes", "bad_static_spki_hashes", "report_uri")
_ENTRY = ("name", "policy", "mode", "pins", "include_subdomains", "include_subdomains_for_pinning")
_OF_OTHERS = ("expect_",)  # entries had more of their own, which are not of pins
_UNNAMED = (
    "it is the name of a key that is in another file; put transport_security_state_static.pins behind the"
    " JSON, or sha256/… in its place"
)


def read(data: bytes, *, source: str, host: str | None = None) -> Imported:
    """The policy of the JSON, with keys named in the .pins file behind it or written as sha256/<base64>.

    Other hosts are left to the CAs. Entries without pins (HSTS) are passed over.
    """
    file = Source(data, source)
    file.host_unwanted(host)
    document, end = _parsed(file)
    keys = _named_keys(file, end)
    pinsets: dict[str, dict[str, Any]] = {}
    for pinset in _objects(file, document, "pinsets", _PINSET):
        name = file.typed(pinset.get("name"), str, "the name of a pinset")
        if name in pinsets:
            file.fail(f"the pinset {shown(name)} is there twice", line=file.line_of('"pinsets"', f'"{name}"'))
        pinsets[name] = pinset
    for entry in _objects(file, document, "entries", _ENTRY):
        _read_entry(file, entry, pinsets, keys)
    file.warn("Chromium waives pins for CAs that were added to the machine; here they hold for all")
    return file.finish(unlisted="pkix")


def _read_entry(file: Source, entry: dict[str, Any], pinsets: dict[str, Any], keys: dict[str, Pin]) -> None:
    name = file.typed(entry.get("name"), str, "the name of an entry", line=file.line_of('"entries"'))
    line = file.line_of('"entries"', f'"{name}"')
    below = [entry.get(key, False) for key in ("include_subdomains", "include_subdomains_for_pinning")]
    if not all(isinstance(value, bool) for value in below):
        file.fail("include_subdomains has to be true or false", line=line, entry=name)
    pattern = file.domain(name, below=any(below), line=line)
    if "pins" not in entry:
        file.leave_unpinned(pattern, line=line)
        return
    pinset = pinsets.get(file.typed(entry["pins"], str, "pins", line=line))
    if pinset is None:
        file.fail(f"there is no pinset {shown(entry['pins'])}", line=line, entry=name)
    allow, deny = (
        [
            _pin(file, text, keys, entry["pins"])
            for text in file.typed(pinset.get(key, []), list, key, line=line)
        ]
        for key in ("static_spki_hashes", "bad_static_spki_hashes")
    )
    file.add(pattern, allow, deny=deny, line=line)


def _pin(file: Source, text: Any, keys: dict[str, Pin], entry: str) -> Pin:
    line = file.line_of('"pinsets"', f'"{entry}"', f'"{text}"')
    if isinstance(text, str) and _NAME.fullmatch(text):
        if text not in keys:
            file.fail(f"{shown(text)}: {_UNNAMED}", line=line, entry=entry)
        return keys[text]
    if not (isinstance(text, str) and text.startswith("sha256/")):  # Pin.parse takes more
        file.fail(f"{shown(text)} is no pin; that is sha256/<base64>", line=line, entry=entry)
    return file.pin(text, line=line, entry=entry)


def _objects(
    file: Source, document: dict[str, Any], key: str, known: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    line = file.line_of(f'"{key}"')
    for item in file.typed(document.get(key), list, key, line=line):
        found = file.typed(item, dict, f"each of {key}", line=line)
        for name in found:
            if name not in known and not name.startswith(_OF_OTHERS):
                trouble = f"unknown key {shown(name)}; known are {', '.join(known)}"
                file.fail(trouble, line=file.line_of(f'"{key}"', f'"{name}"'))
        yield found


# -- The JSON, and the list of keys behind it --


def _parsed(file: Source) -> tuple[dict[str, Any], int]:
    """The JSON, and where it ends. Comments are blanked, so that places stay."""
    blanked = _COMMENT.sub(lambda found: " " * len(found[0]), file.text)
    start = len(blanked) - len(blanked.lstrip())
    decoder = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number)
    try:
        found, end = decoder.raw_decode(blanked, start)
    except json.JSONDecodeError as error:
        file.fail(f"it is not JSON: {error.msg}", line=error.lineno)
    except (ValueError, RecursionError) as error:
        file.fail(f"it is not JSON: {error}")
    return file.typed(found, dict, "the JSON"), end


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has the same key twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _named_keys(file: Source, start: int) -> dict[str, Pin]:
    """The keys of a .pins file: a name on a line, then sha256/…, or a public key or certificate in PEM."""
    keys: dict[str, Pin] = {}
    name, pem = "", list[str]()
    for number, line in enumerate(file.text[start:].split("\n"), start=file.line_at(start)):
        text = line.strip()
        if pem or text.startswith("-----BEGIN"):
            pem.append(text)
        if text.startswith("-----END"):
            text, pem = "\n".join(pem), []
        if pem or not text or text.startswith("#"):
            continue
        if not name:
            name = _new_name(file, text, keys, number)
        else:
            if name != "PinsListTimestamp":
                keys[name] = _key(file, text, number, name)
            name = ""
    if name or pem:
        file.fail("the list of keys ends before the last one", line=file.line_at(len(file.text)), entry=name)
    return keys


def _new_name(file: Source, text: str, keys: dict[str, Pin], line: int) -> str:
    if _NAME.fullmatch(text) is None:
        file.fail(
            f"{shown(text)} is no name of a key; that is letters and digits, first a capital", line=line
        )
    if text in keys:
        file.fail(f"the key {text} is there twice", line=line)
    return text


def _key(file: Source, text: str, line: int, name: str) -> Pin:
    try:
        if text.startswith("-----BEGIN CERTIFICATE"):
            return Pin.from_certificate(text.encode())
        if text.startswith("-----BEGIN"):
            return Pin.from_public_key(text.encode())
    except PinverifyError as error:
        file.fail(str(error), line=line, entry=name)
    if not text.startswith("sha256/"):
        file.fail(f"{shown(text)} is no key; that is sha256/<base64> or PEM", line=line, entry=name)
    return file.pin(text, line=line, entry=name)


def write(policy: Policy, *, host: str | None = None) -> Exported:
    """The JSON, and behind it the list of keys that its pinsets name.

    Raises InvalidPolicy for `*.`, addresses, and pins of certificates.
    """
    keys: dict[Pin, str] = {}
    warnings: list[str] = []
    pinsets, entries = [], []
    for name, (pattern, pins) in domains(all_entries(policy, host)).items():
        warnings += unsaid(pattern, pins, deny=True) + undated(pattern, pins)
        allow, deny = (
            [keys.setdefault(pin, f"Key{len(keys) + 1}") for pin in side] for side in (pins.allow, pins.deny)
        )
        bad = {"bad_static_spki_hashes": deny} if deny else {}
        pinsets.append({"name": name, "static_spki_hashes": allow, **bad})
        entries.append({"name": name, "include_subdomains_for_pinning": pattern != name, "pins": name})
    if policy.unlisted == "deny":
        warnings.append("hosts without an entry are refused here; Chromium leaves them to the CAs")
    warnings.append("what stands behind the JSON belongs into transport_security_state_static.pins")
    text = json.dumps({"pinsets": pinsets, "entries": entries}, indent=2)
    return Exported(
        "\n".join([text, *(f"\n{name}\n{pin}" for pin, name in keys.items())]) + "\n", tuple(warnings)
    )
