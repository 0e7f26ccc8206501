# SPDX-License-Identifier: Apache-2.0
"""The canonical form of host names, addresses and patterns."""

from __future__ import annotations

import ipaddress
import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pinverify.errors import InvalidHost, PinverifyError
from pinverify.hostnames import (
    Match,
    candidate_patterns,
    canonical_host,
    canonical_pattern,
    canonical_sni,
    host_ip,
    split_pattern,
)

LABEL = st.from_regex(r"[a-z0-9_-]{0,8}[a-z_-]", fullmatch=True)
NAME = st.lists(LABEL, min_size=1, max_size=6).map(".".join)
NEAR_NAMES = st.text(st.sampled_from("aZ09-_.:*/[]%@ \0\nü。\uff0a\uff11ß\u00ad"), max_size=20)


@pytest.mark.parametrize(
    ("given_name", "canonical"),
    [
        ("example.com", "example.com"),
        ("localhost", "localhost"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("-a-.b--c.example", "-a-.b--c.example"),
        ("1.2.3.4a", "1.2.3.4a"),
        ("a" * 63 + ".com", "a" * 63 + ".com"),
        ("a." * 126 + "b", "a." * 126 + "b"),
        ("a." * 126 + "b.", "a." * 126 + "b"),
        (b"example.com", "example.com"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("_x.bücher.example", "_x.xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45.com", "example.com"),
    ],
)
def test_a_name_has_one_canonical_form(given_name: str | bytes, canonical: str) -> None:
    """Case, a last dot and the way an international name is written make no difference."""
    assert canonical_host(given_name) == canonical


@pytest.mark.parametrize(
    ("given_name", "canonical", "packed"),
    [
        ("192.0.2.1", "192.0.2.1", bytes([192, 0, 2, 1])),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1", bytes.fromhex("20010db8000000000000000000000001")),
        ("[::1]", "::1", bytes(15) + b"\1"),
        ("::", "::", bytes(16)),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1", bytes(10) + b"\xff\xff\xc0\0\2\1"),
        ("::FFFF:c000:201", "::ffff:192.0.2.1", bytes(10) + b"\xff\xff\xc0\0\2\1"),
    ],
)
def test_an_address_has_one_canonical_form(given_name: str, canonical: str, packed: bytes) -> None:
    """Addresses come in their shortest text, a mapped one stays IPv6, and the octets are at hand."""
    assert canonical_host(given_name) == canonical
    assert host_ip(canonical) == packed


def test_a_name_has_no_octets() -> None:
    """A name is not an address, whatever digits and letters it ends in."""
    assert [host_ip(name) for name in ("a.b", "a.b1", "dead.beef", "1.2.3.4a")] == [None] * 4


@pytest.mark.parametrize(
    ("given_name", "says"),
    [
        ("https://example.com", "URL scheme at character 6; .*not a URL"),
        ("https://bücher.example/", "URL scheme at character 6"),
        ("example.com:443", "port at character 12"),
        ("example.com:", "port at character 12"),
        ("[::1]:443", "port at character 6"),
        ("user@example.com", "user name at character 5"),
        ("example.com/path", "path at character 12"),
        ("example.com?q", "path at character 12"),
        ("*.example.com", r"misplaced wildcard at character 1; .*'\*\.example\.com'"),
        ("\uff0a.example.com", r"'\*' in label 1"),
        (" example.com", "white space at character 1;"),
        ("example.com\n", "white space at character 12"),
        ("exam\0ple.com", "NUL at character 5"),
        ("fe80::1%eth0", "zone of an IPv6 address at character 8"),
        ("a%2eb.com", "percent-encoding at character 2"),
        ("1::2::3", "part of an IPv6 address"),
        ("[192.0.2.1]", "part of an IPv6 address"),
        ("", "empty"),
        (".", "empty"),
        ("a..b", "label 2 is empty"),
        (".example.com", "label 1 is empty"),
        ("example.com..", "label 3 is empty"),
        ("\u00ad.com", "label 1 is empty"),
        ("a.b!c", "'!' in label 2"),
        ("x" * 64 + ".com", "label 1 has 64 octets"),
        ("a." * 127 + "bc", "256 octets"),
        ("192.0.2.1.", "all digits"),
        ("192.0.2", "all digits"),
        ("192.0.02.1", "all digits"),
        ("example.1", "all digits"),
        ("\uff1192.0.2.1", "all digits"),
        ("a_ü.example", "IDNA 2008"),
        ("xn--ü.example", "IDNA 2008"),
        ("\ud800.example", "IDNA 2008"),
        ("ü" * 1001, "1001 characters"),
        (b"b\xc3\xbccher.example", "byte 2 is not ASCII"),
        (None, "str was expected"),
        (ipaddress.ip_address("192.0.2.1"), "str was expected"),
    ],
)
def test_p08_what_is_no_host_name_is_an_error(given_name: str, says: str) -> None:
    """What is not a host name is an error that says what and where, never a name that matches nothing."""
    with pytest.raises(InvalidHost, match=says):
        canonical_host(given_name)


def test_the_error_is_a_value_error_and_not_endless() -> None:
    """A bad host is caught as ValueError or PinverifyError, and a huge one makes no huge message."""
    with pytest.raises(ValueError, match="1000001 in all") as caught:
        canonical_host("a/" + "b" * 999_999)
    assert isinstance(caught.value, PinverifyError)
    assert len(str(caught.value)) < 400


@given(st.one_of(st.text(), NAME, NEAR_NAMES, st.ip_addresses().map(str)))
@example("\uff11.2.3.4")
@example("::ffff:1.2.3.4")
def test_p08_canonicalising_twice_changes_nothing(text: str) -> None:
    """A canonical host is its own canonical form; all else is InvalidHost and no other exception."""
    try:
        canonical = canonical_host(text)
    except InvalidHost:
        return
    assert canonical_host(canonical) == canonical
    assert canonical_host(canonical.upper()) == canonical
    assert canonical_pattern(canonical) == canonical
    assert canonical.isascii()


@given(NAME)
def test_p08_case_and_last_dot_are_spelling(name: str) -> None:
    """All spellings of one name meet in one canonical form."""
    assert canonical_host(name.upper() + ".") == canonical_host(name) == name


def naive_sni(name: bytes) -> str | None:
    """The rule of csrc/pv_host.h, octet by octet."""
    if name.endswith(b"."):
        name = name[:-1]
    labels = name.split(b".")
    allowed = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
    good = all(1 <= len(label) <= 63 and all(octet in allowed for octet in label) for label in labels)
    if not good or len(name) > 253 or all(octet in b"0123456789" for octet in labels[-1]):
        return None
    return name.lower().decode()


@given(st.one_of(st.binary(), NEAR_NAMES.map(str.encode), NAME.map(str.encode), st.ip_addresses().map(str)))
@example(b"")
@example(b".")
@example(b"a..")
@example(b"a\n")
@example(b"a.1")
@example(b"a.1.")
@example(b"a" * 63 + b".b")
@example(b"a" * 64 + b".b")
@example(b"a." * 126 + b"b.")
@example(b"a." * 126 + b"bc")
@example("é.com".encode())
def test_a_server_name_follows_the_rule_of_the_core(name: bytes | str) -> None:
    """canonical_sni accepts what the header of the C core says, and no address."""
    raw = name.encode() if isinstance(name, str) else name
    assert canonical_sni(raw) == naive_sni(raw)
    if isinstance(name, str):
        assert canonical_sni(raw) is None


@given(st.one_of(NAME.map(str.encode), NEAR_NAMES.map(str.encode), st.binary(max_size=8)))
def test_a_server_name_and_a_host_agree(name: bytes) -> None:
    """Whatever a connection may send is, as a host, the same name."""
    sni = canonical_sni(name)
    if sni is not None:
        assert canonical_host(name) == sni


@pytest.mark.parametrize(
    ("pattern", "canonical", "parts"),
    [
        ("API.example.com.", "api.example.com", (Match.EXACT, "api.example.com")),
        ("*.Example.com.", "*.example.com", (Match.ONE_LABEL, "example.com")),
        ("**.Bücher.example", "**.xn--bcher-kva.example", (Match.ANY_DEPTH, "xn--bcher-kva.example")),
        (b"*.com", "*.com", (Match.ONE_LABEL, "com")),
        ("[::1]", "::1", (Match.EXACT, "::1")),
        ("**." + "a." * 126 + "b", "**." + "a." * 126 + "b", (Match.ANY_DEPTH, "a." * 126 + "b")),
        ("*." + "a." * 125 + "b", "*." + "a." * 125 + "b", (Match.ONE_LABEL, "a." * 125 + "b")),
    ],
)
def test_a_pattern_has_one_canonical_form(
    pattern: str | bytes, canonical: str, parts: tuple[Match, str]
) -> None:
    """A pattern is spelled as freely as a host, and taken apart again."""
    assert canonical_pattern(pattern) == canonical == canonical_pattern(canonical)
    assert split_pattern(canonical) == parts


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("*", "wildcard at character 1"),
        ("**", "wildcard at character 1"),
        ("*.", "empty"),
        ("**..", "empty"),
        ("***.example.com", "wildcard at character 1"),
        ("a*.example.com", "wildcard at character 2"),
        ("*a.example.com", "wildcard at character 1"),
        ("www.*.com", "wildcard at character 5"),
        ("*.*.example.com", "wildcard at character 3"),
        ("**.*.example.com", "wildcard at character 4"),
        ("*.192.0.2.1", "IP address"),
        ("**.[::1]", "IP address"),
        ("*.0.2.1", "all digits"),
        ("*.example.com:443", "port at character 14"),
        ("https://*.example.com", "URL scheme"),
        ("*." + "a." * 126 + "b", "no host fits"),
    ],
)
def test_p08_what_is_no_pattern_is_an_error(pattern: str, says: str) -> None:
    """A wildcard anywhere but as the whole first label, or one that nothing fits, is an error."""
    with pytest.raises(InvalidHost, match=says):
        canonical_pattern(pattern)


@given(NAME, NAME)
def test_candidates_are_all_patterns_that_cover_a_host(host: str, other: str) -> None:
    """A pattern is a candidate of a host exactly if it means it, and they come most specific first."""
    found = list(candidate_patterns(host))
    assert found == sorted(set(found), key=lambda pattern: (split_pattern(pattern)[0], -len(pattern)))
    suffixes = [host[i:] for i in range(len(host)) if i == 0 or host[i - 1] == "."]
    for prefix, name in itertools.product(("", "*.", "**."), {other, *suffixes}):
        assert (prefix + name in found) is covers(prefix + name, host)


def covers(pattern: str, host: str) -> bool:
    """What the documentation says that a pattern means."""
    match, name = split_pattern(pattern)
    above = host.removesuffix("." + name) if host.endswith("." + name) else None
    if match is Match.EXACT:
        return host == name
    if match is Match.ONE_LABEL:
        return above is not None and "." not in above
    return host == name or above is not None
