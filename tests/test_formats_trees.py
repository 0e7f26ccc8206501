# SPDX-License-Identifier: Apache-2.0
"""Pins of Android, TrustKit, Apple, Envoy and Chromium: each host is held to what it is held to there."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from types import ModuleType

import hypothesis.strategies as st
import pytest
from format_trees import (
    B64,
    CERT,
    ENVOY,
    HOST,
    ONE,
    TWO,
    android_of,
    apple_of,
    domain,
    identities,
    key,
    pin_set,
    texts,
    trustkit_of,
)
from hypothesis import given, settings

from pinverify import InvalidPolicy, Pin, PinSet, Policy
from pinverify.formats import android, apple, chromium, envoy, trustkit

NAMES = [".".join(labels) for depth in range(1, 4) for labels in itertools.product("ab", repeat=depth)]
HOSTS = [*NAMES, *(f"a.b.{name}" for name in NAMES)]
PINS = [Pin(bytes([number]) * 32) for number in range(1, 4)]
# By domain: its pin, and whether what is below the domain is with it.
DOMAINS = st.dictionaries(
    st.sampled_from(NAMES), st.tuples(st.sampled_from(PINS), st.booleans()), min_size=1, max_size=5
)
Domains = Mapping[str, tuple[Pin, bool]]


def b64(pin: Pin) -> str:
    return str(pin).partition("/")[2]


def for_android(domains: Domains) -> str:
    return android_of(
        *(
            f'<domain-config><domain includeSubdomains="{str(below).lower()}">{name}</domain>'
            f"{pin_set(b64(pin))}</domain-config>"
            for name, (pin, below) in domains.items()
        )
    )


def for_trustkit(domains: Domains) -> str:
    return trustkit_of(
        *(
            domain(
                name,
                key("kTSKPublicKeyHashes", texts(b64(pin)))
                + key("kTSKIncludeSubdomains", f"<{str(below).lower()}/>"),
            )
            for name, (pin, below) in domains.items()
        )
    )


def for_apple(domains: Domains) -> str:
    return apple_of(
        *(
            domain(
                name,
                key("NSPinnedLeafIdentities", identities(b64(pin)))
                + key("NSIncludesSubdomains", f"<{str(below).lower()}/>"),
            )
            for name, (pin, below) in domains.items()
        )
    )


def for_chromium(domains: Domains) -> str:
    pinsets = [f'{{"name": "{name}", "static_spki_hashes": ["{pin}"]}}' for name, (pin, _) in domains.items()]
    entries = [
        f'{{"name": "{name}", "include_subdomains": {str(below).lower()}, "pins": "{name}"}}'
        for name, (_, below) in domains.items()
    ]
    return f'{{"pinsets": [{", ".join(pinsets)}], "entries": [{", ".join(entries)}]}}'


def pinned_there(domains: Domains, host: str, *, depth: int) -> Pin | None:
    """The pin of the longest domain that the host is, or is below by at most `depth` labels."""
    labels = host.split(".")
    for cut in range(min(depth, len(labels) - 1) + 1):
        pin, below = domains.get(".".join(labels[cut:]), (None, False))
        if pin is not None and (below or cut == 0):
            return pin
    return None


@pytest.mark.parametrize(
    ("module", "text_of", "depth"),
    [
        (android, for_android, 9),
        (trustkit, for_trustkit, 9),
        (chromium, for_chromium, 9),
        (apple, for_apple, 1),
    ],
    ids=["android", "trustkit", "chromium", "apple"],
)
@settings(max_examples=60)
@given(domains=DOMAINS)
def test_the_same_pins_decide(
    module: ModuleType, text_of: Callable[[Domains], str], depth: int, domains: dict[str, tuple[Pin, bool]]
) -> None:
    """For each host it is those of the longest domain; Apple's subdomains are one label deep."""
    policy = module.read(text_of(domains).encode(), source="file").policy
    for host in HOSTS:
        found = policy.find(host)[1]
        expected = pinned_there(domains, host, depth=depth)
        assert (found and found.allow) == (expected and (expected,))


@pytest.mark.parametrize("module", [android, trustkit, chromium, apple], ids=lambda module: module.__name__)
@settings(max_examples=60)
@given(
    hosts=st.dictionaries(
        st.builds("{}{}".format, st.sampled_from(["", "*.", "**."]), st.sampled_from(NAMES[:6])),
        st.sampled_from([PinSet(PINS), PinSet(PINS[:2])]),
        min_size=1,
        max_size=4,
    )
)
def test_what_is_written_means_the_same(module: ModuleType, hosts: dict[str, PinSet]) -> None:
    """Each host has the pins that it had, or the format is refused the policy."""
    policy = Policy(hosts, unlisted="pkix")
    try:
        text = module.write(policy).text
    except InvalidPolicy:
        return
    again = module.read(text.encode(), source="file").policy
    for host in HOSTS:
        assert again.find(host)[1] == policy.find(host)[1]


def test_pins_that_expire_leave_the_host_to_the_cas() -> None:
    """As on Android and in TrustKit; what is nested in a domain-config inherits the pins and the date."""
    nested = "<domain-config><domain>b.example</domain></domain-config>"
    dated = pin_set(b64(ONE), expiration=' expiration="2027-01-01"')
    text = android_of(f"<domain-config><domain>a.example</domain>{dated}{nested}</domain-config>")
    expected = PinSet([ONE], expires=datetime(2027, 1, 1, tzinfo=timezone.utc), on_expiry="pkix")
    policy = android.read(text.encode(), source="file").policy
    assert policy == Policy({"a.example": expected, "b.example": expected}, unlisted="pkix")
    for module in (android, trustkit):
        kept = Policy(
            {"a.example": PinSet([ONE, TWO], expires="2027-01-01", on_expiry="pkix")}, unlisted="pkix"
        )
        assert module.read(module.write(kept).text.encode(), source="file").policy == kept


def test_a_day_is_rounded_up() -> None:
    """The pins count until the end of the day on which they expire, and not from its start on no more."""
    pins = PinSet([ONE, TWO], expires="2027-01-01T12:00:00Z", on_expiry="pkix")
    assert 'expiration="2027-01-02"' in android.write(Policy({"a.example": pins})).text


def test_denied_keys_of_chromium_come_back() -> None:
    """Its bad hashes are denied keys."""
    policy = Policy({"**.a.example": PinSet([ONE], deny=[TWO])}, unlisted="pkix")
    assert chromium.read(chromium.write(policy).text.encode(), source="file").policy == policy


def test_both_lists_of_envoy_come_back() -> None:
    """Hashes of keys and of certificates, of which one is enough."""
    policy = Policy({HOST: PinSet([ONE, CERT])})
    assert envoy.read(envoy.write(policy).text.encode(), source="file", host=HOST).policy == policy


def test_envoy_takes_no_more_than_it_can_read_soon() -> None:
    """A YAML parser is slow: what is larger than any configuration is refused before."""
    with pytest.raises(InvalidPolicy, match="more than 4 MiB"):
        envoy.read(ENVOY.encode() + b"#" * (4 << 20), source="file", host=HOST)


@pytest.mark.parametrize(
    ("module", "library", "text"),
    [
        (android, "defusedxml", for_android({"a": (ONE, True)})),
        (envoy, "yaml", f"verify_certificate_spki: [{B64}]"),
    ],
    ids=["android", "envoy"],
)
def test_a_library_that_is_missing_is_named(
    module: ModuleType, library: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to install; nothing is read in its stead."""
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    host = HOST if module is envoy else None
    with pytest.raises(InvalidPolicy, match=r"pip install 'pinverify\[formats\]'"):
        module.read(text.encode(), source="file", host=host)
