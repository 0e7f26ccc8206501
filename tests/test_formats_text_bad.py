# SPDX-License-Identifier: Apache-2.0
"""Pins in the texts of other systems: what is refused, and where."""

from __future__ import annotations

from contextlib import suppress
from types import ModuleType

import hypothesis.strategies as st
import pytest
from format_trees import TREES
from format_trees_bad import REFUSED_TREES
from hypothesis import given, settings
from test_formats_text import B64, CERT, HEADER, HEX, HOST, NAMES_HOSTS, ONE, READ

from pinverify import InvalidPolicyFile
from pinverify.formats import Imported, bare, curl, gnutls, hpkp, okhttp, tlsa

TEXTS = {"okhttp": okhttp, "curl": curl, "hpkp": hpkp, "tlsa": tlsa, "gnutls": gnutls, "bare": bare}
MODULES = TEXTS | TREES
OWNER = "_443._tcp.example.com."
ADD = f'.add("a.example", "{ONE}")\n'


def read(module: ModuleType, data: str | bytes, host: str = HOST) -> Imported:
    data = data if isinstance(data, bytes) else data.encode()
    imported: Imported = module.read(data, source="file", host=None if module in NAMES_HOSTS else host)
    return imported


# The format, its text, the line of the error, and words of it.
REFUSED: dict[str, tuple[ModuleType, str, int | None, str]] = {
    "okhttp, sha1": (
        okhttp,
        f'{ADD}.add("b.example", "sha1/AAAA")',
        2,
        "'b.example': 'sha1/AAAA' is a pin of SHA1",
    ),
    "okhttp, short": (okhttp, f'.add("a.example",\n"{str(ONE)[:-5]}=")', 1, "a SHA-256 has 32"),
    "okhttp, curl's": (okhttp, f'.add("a.example", "sha256//{B64}")', 1, "is no pin of OkHttp"),
    "okhttp, certificate": (okhttp, f"a.example {CERT}", 1, "is no pin of OkHttp"),
    "okhttp, no pins": (okhttp, f'{ADD}\n.add("b.example")', 3, "entry 'b.example': there are no pins"),
    "okhttp, no pins in a line": (okhttp, "a.example", 1, "there are no pins"),
    "okhttp, name": (okhttp, f'{ADD}.add(HOST, "{ONE}")', 2, "no plain string"),
    "okhttp, sum": (okhttp, f'.add("a" + ".example", "{ONE}")', 1, "no plain string"),
    "okhttp, no comma": (okhttp, f'.add("a.example" "{ONE}")', 1, "no plain string"),
    "okhttp, raw string": (okhttp, f'.add("""a.example""", "{ONE}")', 1, "no plain string"),
    "okhttp, template": (okhttp, f'.add("$HOST", "{ONE}")', 1, "'$' in label 1"),
    "okhttp, escape": (okhttp, f'.add("\\u0061.example", "{ONE}")', 1, "a path"),
    "okhttp, another add": (okhttp, f"{ADD}names.add(name)", 2, "not of OkHttp"),
    "okhttp, half a call": (okhttp, '\n.add("a.example",', 2, "no plain string"),
    "okhttp, wildcard": (okhttp, f'.add("a.*.example", "{ONE}")', 1, "a misplaced wildcard"),
    "okhttp, comment": (okhttp, f"{ADD}\n/* {ADD}", 3, "begins with /* does not end"),
    "okhttp, nested": (okhttp, f"{ADD}/* /* */ {ADD} */", 2, "comments are nested in Kotlin"),
    "okhttp, quote": (okhttp, f'{ADD}val x = "a\n', 2, "does not end on its line"),
    "okhttp, all in comments": (okhttp, f"// {ADD}", None, "no host with pins"),
    "curl, one slash": (curl, str(ONE), 1, "begins with sha256//"),
    "curl, blank": (curl, f"\n sha256//{B64}; sha256//{B64}", 2, "is not a pin"),
    "curl, last semicolon": (curl, f"sha256//{B64};", 1, "'' is not a pin"),
    "curl, MD5": (curl, "md5//AAAA", 1, "only SHA-256 is taken"),
    "curl, short": (curl, f"sha256//{B64[4:]}", 1, "holds 29 bytes"),
    "curl, file name": (curl, "/etc/key.pem", 1, "is not a pin"),
    "curl, certificate": (
        curl,
        "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----",
        None,
        "no public key file",
    ),
    "curl, half a key": (curl, "-----BEGIN PUBLIC KEY-----\nMFkw", None, "no public key file"),
    "hpkp, another": (hpkp, "\nStrict-Transport-Security: max-age=1", 2, "is not Public-Key-Pins"),
    "hpkp, no age": (hpkp, HEADER[:-17], None, "needs max-age"),
    "hpkp, bad age": (hpkp, HEADER + "x", None, "needs max-age"),
    "hpkp, taken back": (hpkp, HEADER[:-7] + "00", None, "takes pins back"),
    "hpkp, twice": (hpkp, f"{HEADER};\n Max-Age=5", 2, "'max-age' is there twice"),
    "hpkp, two headers": (hpkp, f"{HEADER}\nPublic-Key-Pins: {HEADER}", 1, "is no directive"),
    "hpkp, sha1": (hpkp, f'{HEADER};\n\n pin-sha1="AAAA"', 3, "is a pin of SHA1"),
    "hpkp, unknown": (hpkp, f'{HEADER}; pin-foo="AAAA"', 1, "is not a pin"),
    "hpkp, no value": (hpkp, f"{HEADER}; pin-sha256", 1, 'it is pin-sha256="<base64>"'),
    "hpkp, a value": (hpkp, f"{HEADER}; includeSubDomains=1", None, "takes no value"),
    "hpkp, open quote": (hpkp, f'{HEADER};\n report-uri="x', 2, "a quoted value does not end"),
    "hpkp, no name": (hpkp, f'{HEADER};="x"', 1, "is no directive"),
    "hpkp, two values": (hpkp, f"{HEADER}; x=1 2", 1, "is no directive"),
    "hpkp, no pins": (hpkp, "max-age=5", None, "never means that all are"),
    "tlsa, SHA-512": (tlsa, f"{OWNER} TLSA 3 1 2 {HEX}{HEX}", 1, "'example.com': matching type 2 is SHA-512"),
    "tlsa, usage": (tlsa, f"\n{OWNER} IN TLSA 4 1 1 {HEX}", 2, "the usage is '4'; there are 0 (PKIX-TA)"),
    "tlsa, selector": (tlsa, f"{OWNER} TLSA 3 KEY 1 {HEX}", 1, "the selector is 'KEY'; there are 0 (CERT)"),
    "tlsa, matching type": (tlsa, f"{OWNER} TLSA 3 1 255 {HEX}", 1, "the matching type is '255'"),
    "tlsa, short": (tlsa, f"{OWNER} TLSA 3 1 1 {HEX[:40]}", 1, "a digest of SHA-1"),
    "tlsa, odd": (tlsa, f"{OWNER} TLSA 3 1 1 {HEX[:-1]}", 1, "not in pairs"),
    "tlsa, no digits": (tlsa, f"{OWNER} TLSA 3 1 1", 1, "as 3 1 1 <hex>"),
    "tlsa, no key": (tlsa, f"{OWNER} TLSA 3 1 0 {HEX}", 1, "matching type 0 has all of it"),
    "tlsa, no certificate": (tlsa, f"{OWNER} TLSA 1 0 0 {HEX}", 1, "matching type 0 has all of it"),
    "tlsa, relative": (tlsa, f"{OWNER[:-1]} TLSA 3 1 1 {HEX}", 1, "no dot at its end"),
    "tlsa, no port": (tlsa, f"example.com. TLSA 3 1 1 {HEX}", 1, "is no owner of TLSA"),
    "tlsa, wildcard": (tlsa, f"_443._tcp.*.example. TLSA 3 1 1 {HEX}", 1, "wildcards for whole names"),
    "tlsa, another record": (tlsa, "example.com. 300 IN A 192.0.2.1", 1, "'A' begins no TLSA record"),
    "tlsa, no end": (tlsa, f"\n{OWNER} TLSA 3 1 1 ( {HEX}\n", 2, "does not end"),
    "tlsa, nested": (tlsa, f"{OWNER} TLSA 3 1 1 (\n( {HEX} ))", 2, "a parenthesis too many"),
    "tlsa, ports": (
        tlsa,
        f"{OWNER} TLSA 3 1 1 {HEX}\n_25._tcp.example.com. TLSA 3 0 1 {HEX}",
        1,
        "different pins for _443._tcp, _25._tcp",
    ),
    "gnutls, version": (gnutls, "|g1|a.example|443|0|AAAA", 1, "is no line of |g0|"),
    "gnutls, OpenSSH's": (gnutls, "a.example ssh-ed25519 AAAA", 1, "is no line of |g0|"),
    "gnutls, half a line": (gnutls, "\n|c0|a.example|443|0|6", 2, "is no line of |g0|"),
    "gnutls, any host": (gnutls, f"|c0|*|443|0|6|{HEX}", 1, "hosts of any name"),
    "gnutls, host": (gnutls, f"|c0|a b|443|0|6|{HEX}", 1, "white space"),
    "gnutls, service": (gnutls, f"|c0|a.example||0|6|{HEX}", 1, "the service is missing"),
    "gnutls, SHA-1": (gnutls, f"|c0|a.example|443|0|3|{HEX[:40]}", 1, "hash number '3', and only 6"),
    "gnutls, short": (gnutls, f"|c0|a.example|443|0|6|{HEX[:40]}", 1, "a SHA-256 has 32"),
    "gnutls, upper case": (
        gnutls,
        f"|c0|a.example|443|0|6|{CERT.digest.hex(':')}",
        1,
        "lower case without colons",
    ),
    "gnutls, no base64": (gnutls, "|g0|a.example|443|0|A=A", 1, "the key is not base64"),
    "gnutls, no key": (gnutls, "|g0|a.example|443|0|AAAA", 1, "'a.example': the key is not a"),
    "gnutls, expiry": (gnutls, f"|c0|a.example|443|-1|6|{HEX}", 1, "the expiry is '-1'"),
    "gnutls, late": (gnutls, f"|c0|a.example|443|999999999999|6|{HEX}", 1, "beyond the year 9999"),
    "gnutls, dates": (
        gnutls,
        f"|c0|a.example|443|0|6|{HEX}\n|c0|a.example|443|5|6|{CERT.digest.hex()}",
        1,
        "at different times",
    ),
    "gnutls, services": (
        gnutls,
        f"|c0|a.example|443|0|6|{HEX}\n|c0|a.example|*|0|6|{CERT.digest.hex()}",
        1,
        "its services *, 443 have different keys",
    ),
    "bare, MD5": (
        bare,
        f"\n{HEX[:32]}",
        2,
        "'api.example.com': '01010101010101010101010101010101' holds 16 bytes, as a digest of MD5",
    ),
    "bare, SHA-1": (bare, f"{HEX}\n{CERT.digest.hex(':')[:59]}", 2, "as a digest of SHA-1"),
    "bare, a key's": (bare, str(ONE), 1, "is of a key"),
    "bare, prefixed": (bare, str(CERT), 1, "hex digits and colons alone"),
    "bare, PEM": (bare, "-----BEGIN CERTIFICATE-----", 1, "a PEM block is not a pin"),
    "bare, nothing": (bare, "# none", None, "never means that all are"),
} | REFUSED_TREES


@pytest.mark.parametrize(("module", "text", "line", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused_where_it_stands(
    module: ModuleType, text: str, line: int | None, words: str
) -> None:
    """An error has the line and what is wrong with it."""
    with pytest.raises(InvalidPolicyFile) as caught:
        read(module, text)
    assert words in str(caught.value)
    assert (caught.value.source, caught.value.line) == ("file", line)


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_a_host_is_given_where_the_text_has_none(module: ModuleType) -> None:
    """A text without hosts needs one, which is checked; one with hosts takes none."""
    text = next(text for other, text, _ in READ.values() if other is module).encode()
    if module in NAMES_HOSTS:
        with pytest.raises(InvalidPolicyFile, match="names its hosts"):
            module.read(text, source="file", host=HOST)
        return
    with pytest.raises(InvalidPolicyFile, match="knows no hosts"):
        module.read(text, source="file")
    with pytest.raises(InvalidPolicyFile, match="is not a host name"):
        read(module, text, "https://example.com")


@pytest.mark.parametrize("host", ["*.example.com", "**.example.com", "192.0.2.1", "2001:db8::1"])
def test_a_header_is_for_a_name(host: str) -> None:
    """It says itself whether it is for those below, and browsers keep none for addresses."""
    with pytest.raises(InvalidPolicyFile, match="a header is for a host name"):
        read(hpkp, HEADER, host)


LINE = b"x" * (1 << 20)
NO_FILES = {
    "empty": b"",
    "blank": b" \n\n",
    "binary": bytes(range(256)),
    "NUL": b"|\0|",
    "UTF-16": ADD.encode("utf-16"),
    "a megabyte": LINE,
    "digits": b"1" * (1 << 20) + b"x",
    "blanks": b"a" + b" " * (1 << 20) + b'"',
    "blanks in a call": b".add(" + b" " * (1 << 20),
    "comments": b"/*" * (1 << 19),
    "quotes": b'"' * ((1 << 20) + 1),
    "escapes": b'"' + b"\\" * (1 << 20),
    "calls": b"add(" * (1 << 18),
    "parentheses": b"(" * (1 << 20),
    "words": b"1 " * (1 << 19),
    "semicolons": b";" * (1 << 20),
    "bars": b"|" * (1 << 20),
    "commas": b"," * (1 << 20),
    "JSON": b'{"pins": ["sha256/x"]}',
    "TOML": b'[[host]]\nname = "a.example"\n',
}


@pytest.mark.parametrize("data", NO_FILES.values(), ids=NO_FILES)
@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_what_is_nothing_of_the_kind(module: ModuleType, data: bytes) -> None:
    """It is refused at once, in few words, however long it is."""
    with pytest.raises(InvalidPolicyFile) as caught:
        read(module, data)
    assert len(str(caught.value)) < 600


WORDS = """.add( add("a.example", sha256/ sha256// ; pin-sha256=" max-age=5 includeSubDomains Public-Key-Pins:
    |g0| |c0| a.example |443|0|6| |99999999999| TLSA IN RRSIG $ORIGIN _443._tcp.a.example. 3 1 0 ( )
    /* */ // # " ' : = \\ -----BEGIN 0 \u2028 é , ** *. <?xml <network-security-config> <domain-config>
    <domain> </domain> <pin-set> <plist> </plist> <dict> </dict> <key> </key> <array> <string> </string>
    <true/> <integer> kTSKPinnedDomains NSPinnedDomains { } [ ] - & ! %YAML --- "pinsets" "entries" "name" NaN
    1e9 \t"""
PIECES = st.sampled_from([*WORDS.split(), HEX, B64, str(ONE), " ", "\n", "\r\n", "\x1c"])


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
@settings(max_examples=60)
@given(
    data=st.binary(max_size=100)
    | st.lists(PIECES, max_size=20).map(lambda texts: "".join(texts).encode())
    | st.lists(PIECES, max_size=10).map(lambda texts: " ".join(texts).encode())
)
def test_nothing_but_its_own_error_comes_out(module: ModuleType, data: bytes) -> None:
    """Whatever is in a file, reading it gives a policy or InvalidPolicyFile."""
    with suppress(InvalidPolicyFile):
        read(module, data)


@pytest.mark.parametrize(("module", "text", "_hosts"), READ.values(), ids=READ)
@settings(max_examples=20)
@given(data=st.data())
def test_neither_does_it_of_a_file_that_was_changed(
    module: ModuleType, text: str, _hosts: object, data: st.DataObject
) -> None:
    """A good file with a part cut out, or put in, is read or refused as well."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 30)))
    with suppress(InvalidPolicyFile):
        read(module, text[:start] + data.draw(st.just("") | PIECES | st.text(max_size=3)) + text[end:])
