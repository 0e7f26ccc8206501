# SPDX-License-Identifier: Apache-2.0
"""Text from outside takes time in proportion to its length, however it was made up."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from click import UsageError
from pinned import pinned
from support import leaf

from pinverify import InvalidHost, InvalidPin, Pin, PinSet, PinverifyError
from pinverify.audit import Target
from pinverify.cli.listing import certificates_in
from pinverify.encodings import pem_blocks
from pinverify.formats import NAMES, WITHOUT_HOSTS, format_named
from pinverify.formats.common import Source
from pinverify.hostnames import canonical_host, canonical_pattern, host_and_port

Take = Callable[[str], object]

# Seconds of CPU for a text. The longest one, of a million characters, takes a tenth of it or less; at what
# takes time in the square of its length a text of some ten thousand is over.
LIMIT = 5.0
LENGTHS = [1 << power for power in range(13, 21)]


def assert_linear(take: Take, unit: str, before: str = "", *, lengths: list[int] = LENGTHS) -> None:
    """Checks that no text of that unit, repeated, takes too long. The next one is twice as long, so that what
    does not end is never waited for.
    """
    for length in lengths:
        text = before + unit * (length // len(unit))
        began = time.process_time()
        with suppress(PinverifyError):
            take(text)
        took = time.process_time() - began
        assert took < LIMIT, f"{length:,} characters of {unit!r} take {took:.1f} seconds"


# -- Names --

NAME_UNITS = [":", "[", "]", ".", "%", ":%", "%:", "a", "a.", "*.", "-", "0", "0.", "f:", "@", "/", "//", " "]
NAME_UNITS += [
    "\n",
    ":\n",
    "\\",
    "\0",
    "?",
    "\u00e4",
    "\u00e4.",
    "a\u0301",
    "\u3002",
    "xn--",
    "[::1]",
    "[:",
    "]:",
]
TAKERS: dict[str, Take] = {
    "canonical_host": canonical_host,
    "canonical_host, bytes": lambda text: canonical_host(text.encode()),
    "canonical_pattern": canonical_pattern,
    "canonical_pattern, *.": lambda text: canonical_pattern("*." + text),
    "canonical_pattern, **.": lambda text: canonical_pattern("**." + text),
    "host_and_port": host_and_port,
    "host_and_port, a port": lambda text: host_and_port(text + ":443"),
    "host_and_port, brackets": lambda text: host_and_port(f"[{text}]:443"),
    "Target.parse": Target.parse,
    "context.connection": pinned().connection,
}


@pytest.mark.parametrize("unit", NAME_UNITS)
@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_names(take: Take, unit: str) -> None:
    """A host out of an answer of somebody's takes no time in the square of its length."""
    assert_linear(take, unit)


@pytest.mark.parametrize("host", [":" * 1001, "a" * 1001, "\u00e4" * 1001, "https://" + "a" * 1000])
def test_a_name_that_is_far_too_long_is_not_looked_at(host: str) -> None:
    """The message has its length, and not all of it."""
    for take in (canonical_host, canonical_pattern):
        with pytest.raises(InvalidHost, match=rf"there are {len(host)} characters.* at most 253") as caught:
            take(host)
        assert len(str(caught.value)) < 300


def test_the_zone_of_an_address_is_found_where_it_was() -> None:
    """The first percent sign behind a colon is where the zone begins."""
    for host, place in (("fe80::1%eth0", 8), ("a:%", 3), ("a:b%c%", 4)):
        with pytest.raises(InvalidHost, match=rf"zone of an IPv6 address at character {place};"):
            canonical_host(host)
    with pytest.raises(InvalidHost, match="percent-encoding at character 2"):
        canonical_host("a%3a:")


# -- Pins --

PIN_UNITS = [
    "A",
    "=",
    "/",
    ":",
    "00",
    "00:",
    "0",
    "-",
    " ",
    "\n",
    '"',
    "sha256/",
    "3-",
    "1",
    "-----BEGIN",
    "\u00e4",
]
FORMS = ["", "sha256/", "sha256//", "cert-sha256/", 'pin-sha256="', "sha3-3", "md5", "00:"]


@pytest.mark.parametrize("unit", PIN_UNITS)
@pytest.mark.parametrize("form", FORMS)
def test_pins(form: str, unit: str) -> None:
    """The text of a pin takes no time in the square of its length, and neither does its error."""
    for kind in (None, "spki"):
        assert_linear(partial(Pin.parse, kind=kind), unit, before=form)


def test_a_pin_that_is_far_too_long_is_not_looked_at() -> None:
    """It is an InvalidPin that says how long it may be, and shows what is wanted."""
    for text in ("A" * 1001, "sha256/" + "A" * 1000, "00" * 501):
        with pytest.raises(
            InvalidPin, match=r"none has more than 1000 characters.*sha256/<base64>"
        ) as caught:
            Pin.parse(text, kind="spki")
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("unit", ["0", "1-", ":", ".", " ", "Z"])
def test_moments(unit: str) -> None:
    """Nor does the text of a moment."""
    pins = [Pin(bytes(32))]
    for before in ("", "2027-01-01T00:00:00."):
        assert_linear(lambda text: PinSet(pins, expires=text), unit, before)


# -- PEM --

BLOCK = "-----BEGIN A-----\n-----END A-----\n"
PEM_UNITS = [
    "-----BEGIN CERTIFICATE-----\n",
    "-----BEGIN A-----\n-----END B-----\n",
    "-----BEGIN ",
    "-",
    BLOCK,
]
PEM_UNITS += ["-----END CERTIFICATE-----\n", "-----BEGIN A-----", "A", "-----BEGIN PUBLIC KEY-----\nAAAA\n"]


@pytest.mark.parametrize("unit", PEM_UNITS)
def test_pem(unit: str, tmp_path: Path) -> None:
    """A file of blocks that do not end is read once, and not once a block."""
    file = tmp_path / "some.pem"

    def listed(text: str) -> None:
        file.write_text(text, encoding="ascii")
        with suppress(UsageError):
            certificates_in(str(file))

    takers = (
        listed,
        lambda text: Pin.from_certificate(text.encode()),
        lambda text: Pin.from_public_key(text.encode()),
    )
    for take in takers:
        assert_linear(take, unit)


def test_pem_of_many_labels() -> None:
    """Nor does it help that each block has a label of its own."""
    for count in (1000, 2000, 4000, 8000, 16000, 32000):
        began = time.process_time()
        assert not list(pem_blocks(b"".join(b"-----BEGIN A%d-----\n" % number for number in range(count))))
        assert time.process_time() - began < LIMIT


def test_pem_blocks() -> None:
    """A block ends at the next boundary, if that is its own; what is around it does not matter."""
    pem = leaf("a.example").pem
    body = base64.b64encode(leaf("a.example").der)
    [(label, found)] = pem_blocks(b"subject: x\n" + pem + b"rest")
    assert (label, b"".join(found.split())) == ("CERTIFICATE", body)
    assert [label for label, _ in pem_blocks(pem * 3 + leaf("b.example").key_pem)] == [
        *["CERTIFICATE"] * 3,
        "PRIVATE KEY",
    ]
    broken = {
        "no end": pem[:-10],
        "no beginning": pem[10:],
        "an end of another": pem.replace(b"END CERTIFICATE", b"END PUBLIC KEY"),
        "text behind the boundary": pem.replace(b"-----\n", b"-----AAAA\n", 1),
        "in lower case": pem.lower(),
    }
    for damaged in broken.values():
        assert list(pem_blocks(damaged)) == []
        assert len(list(pem_blocks(damaged + b"\n" + pem))) == 1


# -- Files of pins --

# What begins something in a format, and what it is repeated behind.
FILE_UNITS: dict[str, dict[str, list[str]]] = {
    "toml": {
        "": ["'''", '"""', "a.", "[a]\n", "[[host]]\n", "#", " ", "\n"],
        "a = ": ["[", "{", "9"],
        "a = '": ["\t"],
        'a = """': ['\\"'],
    },
    "okhttp": {
        "": ['"', "/*", "//\n", "add(", "add ", "add\n", "'", "a.example\n"],
        "add(": [" ", ",", '"",'],
        'add("': ["\\\\"],
        "/*": ["*"],
    },
    "curl": {"": [";", "\n", "-----BEGIN PUBLIC KEY-----\n"], "sha256//": ["A"]},
    "hpkp": {
        "": ['"', '""', ";", '";', "a", "a ", " ", "a=b;", "\n"],
        'pin-sha256="': [";"],
        "max-age=": ["9"],
        "Public-Key-Pins": [" "],
    },
    "android": {
        "": ["<", " "],
        "<network-security-config>": ["<a>"],
        "<a b='": ["&amp;"],
        "<!--": ["-"],
    },
    "trustkit": {"": ["<"], "<plist><dict>": ["<key>a</key>"], "<plist>": ["<array>"], "<!--": ["-"]},
    "apple": {"": ["<"], "<plist><dict>": ["<key>a</key>"], "<plist><integer>": ["9"]},
    "envoy": {"": ["a", "- ", "[", "a: b\n", " "], "a: ": ["'"], "a: |\n": [" a\n"]},
    "tlsa": {
        "": ["(", ";", "a ", "\n", " ", "_1._tcp.", "$ORIGIN a.\n", "()"],
        "_443._tcp.a. TLSA 3 1 1 ": ["00 "],
        "a. ": ["9"],
    },
    "gnutls": {"": ["|", "|g0|", "#\n", " "], "|g0|": ["a."], "|c0|a|*|": ["9"]},
    "chromium": {
        "": ["//\n", "{", " ", "["],
        "{}": ["A\n", "-----BEGIN A\n", "\n"],
        '{"a": ': ["9"],
        '{"a": "': ["\\\\"],
    },
    "bare": {"": [":", "00", ",", " ", "sha256 fingerprint=", "#", "\n"]},
}
CASES = [
    (name, before, unit)
    for name, parts in FILE_UNITS.items()
    for before, units in parts.items()
    for unit in units
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "before", "unit"), CASES)
def test_files(name: str, before: str, unit: str) -> None:
    """A file of pins takes no time in the square of its length; all that is raised is InvalidPolicyFile."""
    host = "a.example" if name in WITHOUT_HOSTS else None
    reader = format_named(name)
    read = partial(reader.read, source="file", host=host)
    assert_linear(lambda text: read(text.encode()), unit, before, lengths=LENGTHS[:-2])


def test_all_formats_are_tried() -> None:
    """A new format has its units above."""
    assert set(FILE_UNITS) == set(NAMES)


def test_lines_are_counted_once() -> None:
    """A policy file with something to say of each of its entries is gone through once."""
    pin = f'"{Pin(bytes(32))}"'

    def entries(text: str) -> str:
        count = len(text) // 64
        return "".join(f'[[host]]\nname = "h{n}.test"\npins = [{pin}, {pin}]\n' for n in range(count))

    def read(text: str) -> None:
        _, warnings = format_named("toml").read(entries(text).encode(), source="file")
        assert warnings[-1].startswith(f"line {len(text) // 64 * 3}: ")

    assert_linear(read, "x" * 64)


def test_a_line_is_right_in_any_order() -> None:
    """`line_at` counts on from the last place, and anew for one that is ahead of it."""
    file = Source(b"a\nb\n\nc", "file")
    assert [file.line_at(place) for place in (0, 1, 2, 6, 3, 4, 0, 5, 5)] == [1, 1, 2, 4, 2, 3, 1, 4, 4]


@pytest.mark.parametrize("key", ["\\n", "a", " "])
def test_a_key_of_any_length_is_looked_for_once(key: str) -> None:
    """An unknown key as long as the file does not make each of its lines as long to compare."""

    def read(text: str) -> None:
        format_named("toml").read(text.encode(), source="file")

    for length in LENGTHS[:-3]:
        text = f'"{key * length}" = 1\n' + "\n" * (4 * length)
        began = time.process_time()
        with pytest.raises(PinverifyError, match="unknown key"):
            read(text)
        assert time.process_time() - began < LIMIT
