# SPDX-License-Identifier: Apache-2.0
"""The policy file: it comes back as it was, and its errors lead to the line."""

from __future__ import annotations

import datetime as dt
import pickle
from contextlib import suppress
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from pinverify import InvalidPolicy, InvalidPolicyFile, Kind, Pin, PinSet, Policy
from pinverify.formats import NAMES, format_named, toml

ONE, TWO = str(Pin(bytes(32))), str(Pin(b"\1" * 32))
GOOD = f"""\
unlisted = "deny"

[[host]]
name = "api.example.com"
pins = [
    "{ONE}",
    "{TWO}",  # the backup
]
expires = 2027-06-01
note = "rotated every March"

[[host]]
names = ["*.cdn.example", "**.img.example"]
pins = ["{ONE}"]
deny = ["{TWO}"]
mode = "report"
on_expiry = "pkix"
"""


def read(text: str) -> Policy:
    return toml.read(text.encode(), source="policy.toml").policy


def test_a_file_is_read() -> None:
    """Names, pins and options are where the file has them; names in a list share their pins."""
    policy = read(GOOD)
    assert list(policy.hosts) == ["api.example.com", "*.cdn.example", "**.img.example"]
    first, second, third = policy.hosts.values()
    assert first.allow == (Pin.parse(ONE), Pin.parse(TWO))
    assert first.expires == dt.datetime(2027, 6, 1, tzinfo=dt.timezone.utc)
    assert first.note == "rotated every March"
    assert second is third
    assert (second.mode, second.on_expiry, second.deny) == ("report", "pkix", (Pin.parse(TWO),))
    assert read('unlisted = "pkix"\n' + GOOD.partition("\n")[2]).unlisted == "pkix"


LABELS = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
PATTERNS = st.builds(
    "{}{}".format, st.sampled_from(["", "*.", "**."]), st.lists(LABELS, min_size=1, max_size=3).map(".".join)
)
PINS = st.builds(Pin, st.binary(min_size=32, max_size=32), st.sampled_from(Kind))
MOMENTS = st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(9000, 1, 1), timezones=st.just(dt.timezone.utc))


@st.composite
def pin_sets(draw: st.DrawFn) -> PinSet:
    allow = draw(st.lists(PINS, min_size=1, max_size=3))
    return PinSet(
        allow,
        deny=[pin for pin in draw(st.lists(PINS, max_size=2)) if pin not in allow],
        mode=draw(st.sampled_from(["enforce", "report"])),
        expires=draw(st.none() | MOMENTS | st.dates(dt.date(1970, 1, 2))),
        on_expiry=draw(st.sampled_from(["deny", "pkix"])),
        note=draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    sets = st.sampled_from(draw(st.lists(pin_sets(), min_size=1, max_size=3)))
    hosts = draw(st.dictionaries(PATTERNS, sets, min_size=1, max_size=6))
    return Policy(hosts, unlisted=draw(st.sampled_from(["deny", "pkix"])))


@given(policies())
def test_what_is_written_is_read_as_it_was(policy: Policy) -> None:
    """Loading what was dumped gives the same policy, with its notes and the order of its pins."""
    again = read(toml.write(policy).text)
    assert again == policy
    assert again.hosts.keys() == policy.hosts.keys()
    for pattern, pins in policy.hosts.items():
        twin = again.hosts[pattern]
        assert (twin.note, twin.allow, twin.deny) == (pins.note, pins.allow, pins.deny)
    assert toml.write(again).text == toml.write(read(toml.write(again).text)).text


def test_load_and_dump(tmp_path: Path) -> None:
    """By path, and in UTF-8 whatever the locale."""
    path = tmp_path / "policy.toml"
    policy = Policy({"bücher.example": PinSet([ONE], note="für Bücher")})
    policy.dump(path)
    assert Policy.load(path) == Policy.load(str(path)) == policy
    assert Policy.load(path).hosts["xn--bcher-kva.example"].note == "für Bücher"
    with pytest.raises(InvalidPolicy, match="no hosts to write"):
        Policy.of_clients([ONE]).dump(path)
    with pytest.raises(InvalidPolicyFile, match="No such file"):
        Policy.load(tmp_path / "missing.toml")


# What is changed in the good file; the line of the error; and words of it.
ERRORS = {
    "unknown key": ("unlisted", "unlistd", 1, "unknown key 'unlistd'; did you mean 'unlisted'?"),
    "unknown key of an entry": ("pins = [\n", "pin = [\n", 5, "entry 'api.example.com': unknown key 'pin'"),
    "unknown key without a likeness": ("note", "qqq", 10, "known are name, names, pins"),
    "unlisted": ('"deny"', '"allow"', 1, "unlisted is 'allow', and has to be 'deny' or 'pkix'"),
    "a short pin": (TWO, TWO[:-5] + "=", 7, "entry 'api.example.com': "),
    "a pin of another hash": (TWO, "sha1/AAAA", 7, "only SHA-256 is taken"),
    "a denied pin": (f'deny = ["{TWO}"]', 'deny = ["x"]', 15, "'x' is not a pin"),
    "both allowed and denied": (f'deny = ["{TWO}"]', f'deny = ["{ONE}"]', 14, "both allowed and denied"),
    "no pins": (f'pins = ["{ONE}"]', "pins = []", 14, "never means that all are"),
    "pins not in a list": (f'pins = ["{ONE}"]', f'pins = "{ONE}"', 14, "put pins in a list"),
    "a host": ("api.example.com", "api.example.com:443", 4, "without a port"),
    "a host twice": ("*.cdn.example", "API.example.com.", 13, "in line 4 already"),
    "no name": ('name = "api.example.com"', "", 3, "a name, or names in a list"),
    "two names": ('name = "api.example.com"', 'name = "a"\nnames = ["b"]', 4, "one of the two"),
    "a name that is none": ('"api.example.com"', "5", 4, "a str was expected"),
    "mode": ('"report"', '"warn"', 16, "mode is 'warn', and has to be 'enforce' or 'report'"),
    "on_expiry": ('"pkix"', "true", 17, "on_expiry is True"),
    "a moment without offset": ("2027-06-01", "2027-06-01T00:00:00", 9, "offset from UTC"),
    "a moment that is none": ("2027-06-01", "true", 9, "a date such as '2027-06-01'"),
    "note": ('"rotated every March"', "[]", 10, "note is []"),
    "syntax": ("note =", "note", 10, "it is not TOML"),
    "not ended": ("every March", 'every March"', 10, "it is not TOML"),
    "one table for many": ("[[host]]\nname ", "[host]\nname ", 12, "it is not TOML"),
}


@pytest.mark.parametrize(("old", "new", "line", "words"), ERRORS.values(), ids=ERRORS)
def test_an_error_names_file_line_entry_and_remedy(old: str, new: str, line: int, words: str) -> None:
    """What is wrong in a file is found where it is."""
    assert old in GOOD
    with pytest.raises(InvalidPolicyFile) as caught:
        read(GOOD.replace(old, new, 1))
    error = caught.value
    assert str(error).startswith(f"policy.toml:{line}: ")
    assert words in str(error)
    assert (error.source, error.line) == ("policy.toml", line)
    twin = pickle.loads(pickle.dumps(error))
    assert (str(twin), twin.line, twin.entry) == (str(error), error.line, error.entry)


def test_lines_are_counted_past_strings_and_comments() -> None:
    """What looks like an entry inside of a text, or behind a #, is none."""
    text = GOOD.replace('"rotated every March"', '"""\n[[host]]\nmode = 5\n"""\n# [[host]]')
    with pytest.raises(InvalidPolicyFile) as caught:
        read(text.replace('"report"', '"warn"'))
    assert caught.value.line == 20


NO_POLICIES = {
    "empty": (b"", "the file is empty"),
    "blank": (b" \n\n", "the file is empty"),
    "a comment": (b"# nothing\n", "no host with pins"),
    "binary": (bytes(range(256)), "is this a text?"),
    "UTF-16": (GOOD.encode("utf-16"), "not UTF-8"),
    "deep": (b"a = " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
    "a megabyte line": (b"x" * (1 << 20), "it is not TOML"),
    "JSON": (b'{"host": []}', "it is not TOML"),
    "half a file": (GOOD[: len(GOOD) // 2].encode(), "it is not TOML"),
    "host is no table": (b"host = [1, 2]", "each under a line [[host]]"),
    "host inline": (b'host = [{name = "a", pins = ["x"]}]', "'x' is not a pin"),
    "too large": (b"#" * ((64 << 20) + 1), "more than 64 MiB"),
}


@pytest.mark.parametrize(("data", "words"), NO_POLICIES.values(), ids=NO_POLICIES)
def test_what_is_no_policy(data: bytes, words: str) -> None:
    """It is refused as a whole, with what it looks like."""
    with pytest.raises(InvalidPolicyFile) as caught:
        toml.read(data, source="policy.toml")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 500


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_nothing_but_its_own_error_comes_out(data: bytes) -> None:
    """Whatever is in a file, reading it gives a policy or InvalidPolicyFile."""
    with suppress(InvalidPolicyFile):
        toml.read(data, source="policy.toml")


KEYS = st.sampled_from(["name", "names", "pins", "deny", "mode", "expires", "on_expiry", "note", "other"])
VALUES = st.sampled_from(
    [
        '"a"',
        "5",
        "[]",
        f'["{ONE}"]',
        "true",
        "2027-01-01",
        "1979-05-27T07:32:00",
        '"report"',
        "{}",
        "[[]]",
        "nan",
    ]
)


@given(st.lists(st.tuples(KEYS, VALUES), max_size=5))
def test_no_entry_brings_out_another_error(pairs: list[tuple[str, str]]) -> None:
    """Neither does an entry of the right keys with the wrong values."""
    lines = [f"{key} = {value}" for key, value in dict(pairs).items()]
    with suppress(InvalidPolicyFile):
        read("\n".join(["[[host]]", *lines]))


def test_each_format_can_be_had() -> None:
    """Each has the same two functions; another name is an error that names them all."""
    for name in NAMES:
        module = format_named(name)
        assert callable(module.read)
        assert callable(module.write)
    with pytest.raises(InvalidPolicy, match="toml"):
        format_named("yaml")
