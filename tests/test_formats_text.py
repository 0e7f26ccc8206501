# SPDX-License-Identifier: Apache-2.0
"""Pins in the texts of other systems: what they mean there is what the policy means, and comes back."""

from __future__ import annotations

import datetime as dt
import itertools
from types import ModuleType

import hypothesis.strategies as st
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from format_documents import DOCUMENTED
from format_trees import READ_TREES
from hypothesis import example, given, settings
from support import leaf

from pinverify import InvalidPolicy, Kind, Pin, PinSet, Policy
from pinverify.formats import (
    android,
    apple,
    bare,
    chromium,
    curl,
    envoy,
    gnutls,
    hpkp,
    okhttp,
    tlsa,
    trustkit,
)

ONE, TWO, THREE = (Pin(bytes([number]) * 32) for number in range(1, 4))
CERT = Pin(b"\4" * 32, Kind.CERT)
HEX = ONE.digest.hex()
B64 = str(ONE).partition("/")[2]
B64_TWO = str(TWO).partition("/")[2]
HOST = "api.example.com"
NAMES_HOSTS = (okhttp, tlsa, gnutls, android, trustkit, apple, chromium)  # the others have to be told
LEAVES_THE_REST = (okhttp, android, trustkit, apple, chromium)  # to the CAs

KOTLIN = f"""\
// .add("old.example.com", "sha1/x")
val pinner = CertificatePinner.Builder() /* .add( " */
    .add("publicobject.com", "{ONE}")
    .add(
        "**.Example.com",  // in "use" since March
        "{ONE}", /* the backup */ "{TWO}",
    )
    .add("publicobject.com", "{TWO}").build()
val quote = '"'; val url = "https://example.com/\\".add("; val text = \"\"\"add("\"\"\"
"""
JAVA = f'new CertificatePinner.Builder()\n.add("*.example.com", "{ONE}",\r\n "{TWO}")\n.build();'
LINES = f"# pattern and pins\npublicobject.com {ONE}\n\n// more\n  **.example.com\t{ONE} {TWO}  # backup\r\n"
ZONE = f"""\
$TTL 3600
$ORIGIN example.com.
_443._tcp.www.Example.COM. 300 IN TLSA 3 1 1 {HEX}
        TLSA DANE-TA SPKI SHA2-256 ( {TWO.digest.hex()[:30]} ; a CA
                {TWO.digest.hex()[30:].upper()} )
_443._tcp.mail IN 300 TLSA 1 0 1 ( {CERT.digest.hex()[:56]}
        {CERT.digest.hex()[56:]} ) ; the whole certificate
_25._tcp.mail TLSA 0 0 1 {CERT.digest.hex()}
_443._tcp.www.example.com. 300 IN RRSIG TLSA 13 5 300 20270101000000 20261201000000 1 example.com. AAAA
"""
KEYS = f"""\
# known hosts
|c0|www.example.com|443|1811808000|6|{HEX}
|c0|www.example.com|443|1811808000|6|{TWO.digest.hex()}
|c0|mail.example.com|*|0|6|{HEX}
"""
HEADER = f'pin-sha256="{B64}"; pin-sha256="{B64_TWO}"; max-age=5184000'

BOTH = PinSet([ONE, TWO])
EXPIRING = PinSet([ONE, TWO], expires="2027-06-01T00:00:01Z")
ANY_DEPTH, REPORTING = {f"**.{HOST}": BOTH}, {HOST: PinSet([ONE, TWO], mode="report")}
FINGERPRINT = CERT.digest.hex(":").upper()
# The format; what is read; and the entries of the policy.
READ: dict[str, tuple[ModuleType, str, dict[str, PinSet]]] = (
    {
        "Kotlin": (okhttp, KOTLIN, {"publicobject.com": BOTH, "**.example.com": BOTH}),
        "Kotlin, apply": (okhttp, f'b.apply {{ add("a.example", "{ONE}") }}', {"a.example": PinSet([ONE])}),
        "Java": (okhttp, JAVA, {"*.example.com": BOTH}),
        "lines": (okhttp, LINES, {"publicobject.com": PinSet([ONE]), "**.example.com": BOTH}),
        "a zone": (tlsa, ZONE, {"www.example.com": BOTH, "mail.example.com": PinSet([CERT])}),
        "known hosts": (gnutls, KEYS, {"www.example.com": EXPIRING, "mail.example.com": PinSet([ONE])}),
        "curl": (curl, f"sha256//{B64};sha256//{B64_TWO}\n", {HOST: BOTH}),
        "a header": (hpkp, f"Public-Key-Pins: {HEADER}", {HOST: BOTH}),
        "a folded header": (hpkp, "public-key-pins:\r\n " + HEADER.replace("; ", ";\r\n  "), {HOST: BOTH}),
        "a header's value": (hpkp, f"{HEADER}; includesubdomains", ANY_DEPTH),
        "blanks and quotes": (hpkp, f' ; Max-Age = "9" ;{HEADER[:-17]};includeSubDomains ;', ANY_DEPTH),
        "a report-only header": (hpkp, f"Public-Key-Pins-Report-Only: {HEADER[:-17]}", REPORTING),
        "openssl's fingerprint": (bare, f"sha256 Fingerprint={FINGERPRINT}\n", {HOST: PinSet([CERT])}),
        "hex": (bare, f"{CERT.digest.hex()}, {FINGERPRINT} # the same\n", {HOST: PinSet([CERT])}),
    }
    | READ_TREES
    | DOCUMENTED
)


def read(module: ModuleType, data: str | bytes, host: str = HOST) -> Policy:
    data = data if isinstance(data, bytes) else data.encode()
    policy: Policy = module.read(data, source="file", host=None if module in NAMES_HOSTS else host).policy
    return policy


@pytest.mark.parametrize(("module", "text", "hosts"), READ.values(), ids=READ)
def test_what_systems_document_is_read(module: ModuleType, text: str, hosts: dict[str, PinSet]) -> None:
    """Each form becomes the entries that mean the same."""
    policy = read(module, text)
    assert policy.hosts == hosts
    assert policy.unlisted == ("pkix" if module in LEAVES_THE_REST else "deny")


def test_whole_keys_and_certificates_are_hashed() -> None:
    """A public key file, a whole key in known hosts, and matching type 0 of TLSA become pins."""
    node = leaf(HOST)
    key, der = node.pin, node.der
    spki = node.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = node.certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    b64 = "".join(pem.decode().splitlines()[1:-1])
    assert read(curl, spki) == read(curl, pem) == Policy({HOST: [key]})
    assert read(gnutls, f"|g0|{HOST}|443|0|{b64}") == Policy({HOST: [key]})
    assert read(tlsa, f"_443._tcp.{HOST}. TLSA 3 1 0 {spki.hex(' ', 20)}") == Policy({HOST: [key]})
    assert read(tlsa, f"_443._tcp.{HOST}. TLSA 1 0 0 {der.hex()}") == Policy({HOST: [node.cert_pin]})


LABELS = st.sampled_from("ab")
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(".".join)
PATTERNS = st.builds("{}{}".format, st.sampled_from(["", "*.", "**."]), NAMES)
PINS = st.sampled_from([ONE, TWO, THREE])


def covers(pattern: str, host: str) -> bool:
    """Whether OkHttp holds the host to the pins of the pattern."""
    if pattern.startswith("**."):
        return f".{host}".endswith(pattern[2:])
    first, _, rest = host.partition(".")
    return pattern in (host, f"*.{rest}") if rest and first else pattern == host


EACH_HOST = [".".join(labels) for depth in range(1, 5) for labels in itertools.product("ab", repeat=depth)]


@settings(max_examples=100)
@given(st.lists(st.tuples(PATTERNS, PINS), min_size=1, max_size=6))
@example([("*.b", ONE), ("**.a.b", TWO)])
@example([("*.b", ONE), ("**.a.b", TWO), ("**.b", THREE)])
def test_overlapping_patterns_of_okhttp_are_united(calls: list[tuple[str, Pin]]) -> None:
    """Whatever overlaps, each host is held to the very pins that OkHttp holds it to."""
    policy = read(okhttp, "".join(f'.add("{pattern}", "{pin}")' for pattern, pin in calls))
    for host in EACH_HOST:
        found = policy.find(host)[1]
        there = {pin for pattern, pin in calls if covers(pattern, host)}
        assert set(found.allow if found else ()) == there


@settings(max_examples=100)
@given(st.dictionaries(PATTERNS, st.lists(PINS, min_size=1, max_size=3), min_size=1, max_size=4))
@example({"*.b": [ONE, TWO], "**.a.b": [TWO]})
def test_what_is_written_for_okhttp_lets_in_no_more(hosts: dict[str, list[Pin]]) -> None:
    """A policy comes back as it was, and is refused if OkHttp would take another pin for any host."""
    policy = Policy(hosts, unlisted="pkix")
    same = True
    for host in EACH_HOST:
        found = policy.find(host)[1]
        there = {pin for pattern, pins in hosts.items() if covers(pattern, host) for pin in pins}
        same = same and there == set(found.allow if found else ())
    if same:
        assert read(okhttp, okhttp.write(policy).text) == policy
    else:
        with pytest.raises(InvalidPolicy, match="OkHttp would take the pins of both"):
            okhttp.write(policy)


MOMENTS = st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(9000, 1, 1), timezones=st.just(dt.timezone.utc))
HOSTS = st.lists(st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True), min_size=1, max_size=3).map(".".join)
# The format; the wildcards and the kinds of pins that it has; and what else of an entry it keeps.
KEEPS: dict[str, tuple[ModuleType, list[str], list[Kind], set[str]]] = {
    "okhttp": (okhttp, ["", "*.", "**."], [Kind.SPKI], set()),
    "curl": (curl, ["", "*.", "**."], [Kind.SPKI], set()),
    "hpkp": (hpkp, ["", "**."], [Kind.SPKI], {"mode"}),
    "tlsa": (tlsa, [""], list(Kind), set()),
    "gnutls": (gnutls, [""], [Kind.SPKI], {"expires"}),
    "bare": (bare, ["", "*.", "**."], [Kind.CERT], set()),
    "android": (android, ["", "**."], [Kind.SPKI], {"mode"}),
    "trustkit": (trustkit, ["", "**."], [Kind.SPKI], {"mode"}),
    "apple": (apple, [""], [Kind.SPKI], set()),
    "envoy": (envoy, ["", "*.", "**."], [Kind.SPKI], set()),
    "chromium": (chromium, ["", "**."], [Kind.SPKI], set()),
}


@pytest.mark.parametrize(("module", "wildcards", "kinds", "kept"), KEEPS.values(), ids=KEEPS)
@settings(max_examples=50)
@given(data=st.data())
def test_what_is_written_is_read_as_it_was(
    module: ModuleType, wildcards: list[str], kinds: list[Kind], kept: set[str], data: st.DataObject
) -> None:
    """Hosts and pins come back in their order; what else is lost, is lost with a warning."""
    digests = st.binary(min_size=32, max_size=32)
    allow = data.draw(
        st.lists(st.builds(Pin, digests, st.sampled_from(kinds)), min_size=2, max_size=3, unique=True)
    )
    options = {
        "mode": data.draw(st.sampled_from(["enforce", "report"])),
        "expires": data.draw(st.none() | MOMENTS),
    }
    names = data.draw(st.lists(HOSTS, min_size=1, max_size=3, unique=True))
    names = names if module in NAMES_HOSTS else names[:1]
    patterns = [data.draw(st.sampled_from(wildcards)) + name for name in names]
    policy = Policy({pattern: PinSet(allow, **options) for pattern in patterns})
    exported = module.write(policy)
    told = patterns[0].removeprefix("**.") if module is hpkp else patterns[0]
    again = read(module, exported.text, told).hosts
    expected = PinSet(allow, **{key: value for key, value in options.items() if key in kept})
    assert list(again) == list(policy.hosts)
    assert [(pins, pins.allow) for pins in again.values()] == [(expected, expected.allow)] * len(again)
    lost = {key for key, value in options.items() if key not in kept and value not in ("enforce", None)}
    words = {"mode": "only reports", "expires": "go on to count"}
    for pattern in patterns:
        for key in lost:
            assert any(pattern in text and words[key] in text for text in exported.warnings)
