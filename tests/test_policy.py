# SPDX-License-Identifier: Apache-2.0
"""Policies: which entry a host has, what is refused, and what makes two policies the same."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import hashlib
import pickle
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinverify import engine as engines
from pinverify.engine.program import UNLISTED_DENY
from pinverify.errors import InvalidHost, InvalidPin, InvalidPolicy, PinverifyError
from pinverify.hostnames import canonical_pattern
from pinverify.pins import Kind, Pin, PinSet
from pinverify.policy import Policy
from pinverify.verdict import Reason


def a_pin(number: int, kind: Kind = Kind.SPKI) -> Pin:
    return Pin(hashlib.sha256(b"%d" % number).digest(), kind)


ONE, TWO, THREE = (PinSet([a_pin(number)]) for number in range(3))

# Few labels, so that patterns and hosts meet often.
NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join)
PATTERNS = st.tuples(st.sampled_from(["", "*.", "**."]), NAMES).map("".join)


def naive_entry(patterns: list[str], host: str) -> str | None:
    """The entry of a host by trying every pattern: exact, then one label, then the longest of any depth."""
    if host in patterns:
        return host
    one_label = [
        pattern
        for pattern in patterns
        if pattern[:2] == "*." and host.split(".")[1:] == pattern[2:].split(".")
    ]
    any_depth = [p for p in patterns if p[:3] == "**." and ("." + host).endswith("." + p[3:])]
    return next(iter(one_label + sorted(any_depth, key=len, reverse=True)), None)


@given(st.lists(PATTERNS, min_size=1, max_size=12, unique=True), NAMES)
def test_the_most_specific_entry_decides_alone(patterns: list[str], host: str) -> None:
    """For any patterns and any host the entry is the one that trying them all gives, and it is only one."""
    pins = {pattern: PinSet([a_pin(number)]) for number, pattern in enumerate(patterns)}
    wanted = naive_entry(patterns, host)
    policy = Policy(pins)
    assert policy.entry(host) == (None if wanted is None else (wanted, pins[wanted]))
    assert policy.find(host) == ((None, None) if wanted is None else (wanted, pins[wanted]))


@given(st.lists(PATTERNS, min_size=1, max_size=12, unique=True), NAMES)
def test_the_engine_finds_the_same_entry(patterns: list[str], host: str) -> None:
    """The entry that the engine decides by is the one that the policy names."""
    policy = Policy({pattern: PinSet([a_pin(number)]) for number, pattern in enumerate(patterns)})
    wanted = naive_entry(patterns, host)
    found = engines.engine.compile(policy).decide(host, [], 0).entry
    assert found == (UNLISTED_DENY if wanted is None else patterns.index(wanted))


@pytest.mark.parametrize(
    ("host", "pattern"),
    [
        ("api.example.com", "api.example.com"),
        ("API.Example.COM.", "api.example.com"),
        (b"api.example.com", "api.example.com"),
        ("www.example.com", "*.example.com"),
        ("a.www.example.com", "**.example.com"),
        ("example.com", "**.example.com"),
        ("x.api.example.com", "**.example.com"),
        ("badexample.com", None),
        ("com", None),
        ("bücher.example", "xn--bcher-kva.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("192.0.2.2", None),
    ],
)
def test_p08_host_and_pattern_meet_in_canonical_form(host: str, pattern: str | None) -> None:
    """However host and pattern are spelled, they are the same name or they are not."""
    names = [
        "Api.example.com",
        "*.EXAMPLE.com.",
        "**.Example.com",
        "Bücher.example",
        "192.0.2.1",
        "[2001:db8:0::1]",
    ]
    found = Policy(dict.fromkeys(names, ONE)).entry(host)
    assert found == (None if pattern is None else (pattern, ONE))


@pytest.mark.parametrize("host", ["https://example.com", "example.com:443", "*.example.com", ""])
def test_p08_only_a_host_has_an_entry(host: str) -> None:
    """Asking for the entry of a URL or pattern is an error and not 'no entry'."""
    with pytest.raises(InvalidHost):
        Policy({"example.com": ONE}).entry(host)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("https://example.com", "not a URL"),
        ("example.com:443", "port"),
        ("a*.example.com", "wildcard"),
        ("", "empty"),
        (None, "str was expected"),
        (7, "str was expected"),
    ],
)
def test_p08_what_is_no_pattern_is_an_error(name: Any, says: str) -> None:
    """An entry that could never match is InvalidPolicy, and the entry is named."""
    with pytest.raises(InvalidPolicy, match=says) as caught:
        Policy({"good.example": ONE, name: ONE})
    assert f"entry {name!r}" in str(caught.value)


def test_p08_two_spellings_of_one_pattern_are_an_error() -> None:
    """Which of two entries would count is not guessed: both spellings are named."""
    with pytest.raises(InvalidPolicy, match=r"'\*\.Example\.com' and '\*\.example\.com\.' are the same"):
        Policy({"a.example.com": ONE, "*.Example.com": ONE, "**.example.com": ONE, "*.example.com.": TWO})


@pytest.mark.parametrize("hosts", [{}, None, [("a.example", ONE)], "a.example", ONE])
def test_p09_a_policy_without_hosts_is_an_error(hosts: Any) -> None:
    """A policy that names no host is a mistake, and never means that all are accepted."""
    with pytest.raises(InvalidPolicy, match="hosts"):
        Policy(hosts)


@pytest.mark.parametrize(
    ("pins", "says"),
    [
        ([], "no pin is allowed"),
        ("sha256/" + "A" * 43 + "=", "put pins in a list"),
        (a_pin(1), "put pins in a list"),
        (None, "put pins in a list"),
        (["sha256/AAAA"], "3 bytes"),
        ([b""], "not the text of a pin"),
    ],
)
def test_p09_a_bad_pin_names_its_entry(pins: Any, says: str) -> None:
    """Bad pins are InvalidPin, and the message names the entry as it was spelled."""
    with pytest.raises(InvalidPin, match=says) as caught:
        Policy({"good.example": ONE, "Bad.example": pins})
    assert "entry 'Bad.example'" in str(caught.value)
    assert isinstance(caught.value, PinverifyError)


@pytest.mark.parametrize("unlisted", ["allow", "", None, True, ONE])
def test_p09_unlisted_is_explicit(unlisted: Any) -> None:
    """What becomes of hosts without an entry is one of two words."""
    with pytest.raises(InvalidPolicy, match=r"unlisted is .*'deny' or 'pkix'"):
        Policy({"a.example": ONE}, unlisted=unlisted)


def test_pins_come_as_sets_pins_or_texts() -> None:
    """An entry is a PinSet, or any iterable of pins and texts."""
    policy = Policy(
        {"a.example": ONE, "b.example": [a_pin(0)], "c.example": (str(a_pin(0)) for _ in range(2))}
    )
    assert set(policy.hosts.values()) == {ONE}
    assert policy.hosts["a.example"] is ONE
    assert policy.unlisted == "deny"


@pytest.mark.parametrize(
    ("patterns", "host"),
    [
        (["API.example.com"], "api.example.com"),
        (["192.0.2.1"], "192.0.2.1"),
        (["*.example.com"], None),
        (["**.example.com"], None),
        (["a.example", "b.example"], None),
    ],
)
def test_a_policy_may_be_about_one_host(patterns: list[str], host: str | None) -> None:
    """A policy with one exact entry knows its host; no other does."""
    assert Policy(dict.fromkeys(patterns, ONE)).sole_host == host


def test_a_policy_that_leaves_other_hosts_to_openssl_is_about_no_host() -> None:
    """Where other hosts are let in too, a connection that names none could be meant for any."""
    assert Policy({"a.example": ONE}, unlisted="pkix").sole_host is None


def test_a_servers_policy_is_one_set_for_all() -> None:
    """Clients have no names: each has the one PinSet, and no policy of hosts equals that."""
    policy = Policy.of_clients([a_pin(0)])
    assert policy.find(None) == (None, ONE)
    assert not policy.hosts
    assert policy.sole_host is None
    assert policy == Policy.of_clients(ONE) != Policy.of_clients(TWO)
    assert pickle.loads(pickle.dumps(policy)) == policy
    with pytest.raises(InvalidPin, match="no pin"):
        Policy.of_clients([])


# -- Decisions --


def test_p10_a_decision_is_taken_at_a_moment() -> None:
    """Before it expires an entry asks for its pins, and from that second on it does what on_expiry says."""
    policy = Policy({"a.example": PinSet([a_pin(0)], expires="2027-06-01")})
    expiry = dt.datetime(2027, 6, 1, tzinfo=dt.timezone.utc)
    before = policy.decide("A.example.", [b"no certificate"], now=expiry - dt.timedelta(seconds=1))
    assert (before.host, before.pattern, before.reason) == ("a.example", "a.example", Reason.MALFORMED)
    assert policy.decide("a.example", [b"no certificate"], now=expiry).reason is Reason.EXPIRED
    assert policy.decide("b.example", [], now=expiry).reason is Reason.UNLISTED
    assert policy.compiled is policy.compiled


def test_a_decision_needs_a_host_and_an_aware_moment() -> None:
    """What is no host, or a time of no known place, is an error and not a refusal."""
    policy = Policy({"a.example": ONE})
    with pytest.raises(InvalidHost):
        policy.decide("https://a.example", [])
    with pytest.raises(InvalidPolicy, match="offset from UTC"):
        policy.decide("a.example", [], now=dt.datetime(2027, 6, 1))


# -- The fingerprint --

BASE: dict[str, Any] = {"allow": [a_pin(1), a_pin(2)], "deny": [a_pin(3)], "expires": "2027-06-01"}


@pytest.mark.parametrize(
    "change",
    [
        {"allow": [a_pin(1)]},
        {"allow": [a_pin(1), a_pin(2, Kind.CERT)]},
        {"allow": [a_pin(1), a_pin(2), a_pin(4)]},
        {"allow": [a_pin(1)], "deny": [a_pin(2), a_pin(3)]},
        {"allow": [a_pin(1), a_pin(2), a_pin(3)], "deny": []},
        {"deny": []},
        {"mode": "report"},
        {"expires": None},
        {"expires": "2027-06-02"},
        {"on_expiry": "pkix"},
    ],
)
def test_p03_the_fingerprint_shows_any_change_of_an_entry(change: dict[str, Any]) -> None:
    """Whatever changes what an entry decides changes the policy's fingerprint, and so ends its sessions."""
    policy, other = (Policy({"a.example": PinSet(**options)}) for options in (BASE, BASE | change))
    assert policy.fingerprint != other.fingerprint
    assert policy != other


def test_p03_the_fingerprint_shows_any_change_of_hosts() -> None:
    """Hosts, patterns, which host has which pins, and what becomes of others are all in the fingerprint."""
    policies = [
        Policy({"a.example": ONE, "b.example": TWO}),
        Policy({"a.example": TWO, "b.example": ONE}),
        Policy({"a.example": ONE, "b.example": ONE}),
        Policy({"a.example": ONE, "*.b.example": TWO}),
        Policy({"a.example": ONE, "**.b.example": TWO}),
        Policy({"a.example": ONE}),
        Policy({"a.example": ONE}, unlisted="pkix"),
        Policy.of_clients(ONE),
    ]
    assert len({policy.fingerprint for policy in policies}) == len(set(policies)) == len(policies)


@given(st.dictionaries(PATTERNS, st.lists(st.integers(0, 5), min_size=1), min_size=1), st.randoms())
def test_the_fingerprint_knows_no_order(hosts: dict[str, list[int]], rng: random.Random) -> None:
    """Order of hosts, order of pins, repetitions and spelling change nothing."""
    policy = Policy({name: [a_pin(number) for number in numbers] for name, numbers in hosts.items()})
    names = rng.sample(sorted(hosts), len(hosts))
    shuffled = {name.upper() + ".": rng.choices(hosts[name]) + hosts[name][::-1] for name in names}
    other = Policy({name: [str(a_pin(number)) for number in numbers] for name, numbers in shuffled.items()})
    assert policy.fingerprint == other.fingerprint
    assert policy == other
    assert hash(policy) == hash(other)


def test_the_fingerprint_is_the_same_tomorrow() -> None:
    """The encoding is fixed: 32 bytes that depend on nothing but the policy."""
    policy = Policy({"a.example": PinSet(**BASE), "*.b.example": ONE}, unlisted="pkix")
    encoded = field(b"V", b"pinverify policy 1") + field(b"u", b"pkix")
    for name, pins in (
        ("*.b.example", encoded_set([a_pin(0)], [], b"")),
        ("a.example", encoded_set(BASE["allow"], BASE["deny"], b"2027-06-01T00:00:00+00:00")),
    ):
        encoded += field(b"h", name.encode()) + field(b"p", hashlib.sha256(pins).digest())
    assert policy.fingerprint == hashlib.sha256(encoded).digest()


def field(tag: bytes, value: bytes) -> bytes:
    return tag + len(value).to_bytes(8, "big") + value


def encoded_set(allow: list[Pin], deny: list[Pin], expires: bytes) -> bytes:
    allowed, denied = (b"".join(sorted(b"\0" + pin.digest for pin in pins)) for pins in (allow, deny))
    options = field(b"m", b"enforce") + field(b"e", expires) + field(b"o", b"deny")
    return field(b"a", allowed) + field(b"d", denied) + options


# -- A value --


def test_a_policy_is_immutable() -> None:
    """Neither the policy nor its mapping can be changed, not even by way of the mapping it was made of."""
    hosts = {"a.example": ONE}
    policy = Policy(hosts)
    hosts["b.example"] = TWO
    assert dict(policy.hosts) == {"a.example": ONE}
    with pytest.raises(TypeError):
        policy.hosts["b.example"] = TWO  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.unlisted = "pkix"  # type: ignore[misc]


def test_a_policy_can_be_pickled_and_copied() -> None:
    """Copies are equal, and keep the order and the sharing of sets."""
    policy = Policy({"b.example": ONE, "a.example": ONE, "**.c.example": TWO}, unlisted="pkix")
    policy.fingerprint  # noqa: B018  # filled in, and not to be carried along
    for twin in (pickle.loads(pickle.dumps(policy)), copy.copy(policy), copy.deepcopy(policy)):
        assert twin == policy
        assert list(twin.hosts) == list(policy.hosts)
        assert twin.unlisted == "pkix"
        assert twin.hosts["a.example"] is twin.hosts["b.example"]
    assert policy != "policy"


def test_the_repr_of_a_policy_is_short() -> None:
    """A repr names some hosts and counts the rest."""
    policy = Policy({f"h{number}.example": ONE for number in range(2000)})
    assert "1,997 more" in repr(policy)
    assert len(repr(policy)) < 200


@given(st.text(max_size=12))
def test_policy_and_pattern_agree(name: str) -> None:
    """A policy takes exactly the keys that are patterns, under their canonical form."""
    try:
        pattern = canonical_pattern(name)
    except InvalidHost:
        with pytest.raises(InvalidPolicy):
            Policy({name: ONE})
    else:
        assert list(Policy({name: ONE}).hosts) == [pattern]


@pytest.mark.slow
def test_many_hosts_and_pins_are_no_trouble() -> None:
    """A hundred thousand hosts and a million pins make a policy that finds them."""
    digests = [hashlib.sha256(b"%d" % number).digest() for number in range(1_000_000)]
    crowd = PinSet.from_digests(digests)
    policy = Policy({f"h{number}.example": crowd for number in range(100_000)})
    assert policy.entry("H99999.example.") == ("h99999.example", crowd)
    assert len(crowd.allow) == 1_000_000
