# SPDX-License-Identifier: Apache-2.0
"""What the formats that are trees cannot say, or say differently; for test_formats_text_lost.py."""

from __future__ import annotations

from types import ModuleType

from format_trees import (
    B64,
    CAS,
    CERT,
    CHROMIUM,
    ENVOY,
    HASHES,
    HOST,
    LEAVES,
    ONE,
    TWO,
    android_of,
    apple_of,
    domain,
    key,
    pin_set,
    plist,
    texts,
    trustkit_of,
)

from pinverify import PinSet
from pinverify.formats import android, apple, chromium, envoy, trustkit

ANCHORS = '<trust-anchors><certificates src="user" overridePins="true"/></trust-anchors>'
BELOW = key("kTSKIncludeSubdomains", "<true/>")
EXCLUDED = domain("a.example.com", key("kTSKExcludeSubdomainFromParentPolicy", "<true/>"))
ONE_HASH = key("kTSKPublicKeyHashes", texts(B64))
USERS_CAS = key("kTSKIgnorePinningForUserDefinedTrustAnchors", "<true/>")
REPORTS = key("kTSKReportUris", texts("https://r.example/"))


def config(domains: str, *more: str) -> str:
    return f"<domain-config>{domains}{''.join(more)}</domain-config>\n"


WIDE = '<domain includeSubdomains="true">example.com</domain>'
NARROW = "<domain>a.example.com</domain>"

# The format, its text, and words of each warning.
WARNED_TREES: dict[str, tuple[ModuleType, str, list[str]]] = {
    "android": (android, android_of(config(WIDE, pin_set(B64))), []),
    "android, anchors": (
        android,
        android_of(config(WIDE, pin_set(B64), ANCHORS)),
        ["overridePins lets CAs go without pins"],
    ),
    "android, TrustKit": (
        android,
        android_of(
            config(WIDE, pin_set(B64), "<trustkit-config><report-uri>x</report-uri></trustkit-config>")
        ),
        ["violations were reported to a server", "TrustKit only reports where enforcePinning is not set"],
    ),
    "android, a hole": (
        android,
        android_of(config(WIDE, pin_set(B64)), config(NARROW), config("<domain>b.example</domain>")),
        ["a.example.com: the format leaves it without pins; here it has those of **.example.com"],
    ),
    "trustkit": (trustkit, trustkit_of(domain("a.example", HASHES)), []),
    "trustkit, one pin": (
        trustkit,
        trustkit_of(domain("a.example", ONE_HASH)),
        ["does not start with one; the one pin counts"],
    ),
    "trustkit, a hole": (
        trustkit,
        trustkit_of(domain("example.com", BELOW + HASHES), EXCLUDED),
        ["a.example.com: the format leaves it without pins"],
    ),
    "trustkit, reports": (
        trustkit,
        trustkit_of(domain("a.example", HASHES + REPORTS)),
        ["kTSKReportUris is passed over; here on_violation is called"],
    ),
    "trustkit, users' CAs": (
        trustkit,
        plist(USERS_CAS + key("kTSKPinnedDomains", f"<dict>{domain('a.example', HASHES)}</dict>")),
        ["ignores the pins for CAs that the user has added"],
    ),
    "apple": (
        apple,
        apple_of(domain("a.example", LEAVES), domain("b.example", CAS)),
        ["a.example: Apple compares the leaf's key alone", "b.example: Apple compares the keys of CAs alone"],
    ),
    "envoy": (envoy, ENVOY, ["not carried over: 'trusted_ca'", "Envoy compares the leaf alone"]),
    "chromium": (chromium, CHROMIUM, ["waives pins for CAs that were added"]),
    "chromium, a hole": (
        chromium,
        CHROMIUM.replace("hsts.example.org", "hsts.example.com"),
        [
            "waives pins",
            "hsts.example.com: the format leaves it without pins; here it has those of **.example.com",
        ],
    ),
}

SPKI, PAIR, WHOLE = PinSet([ONE]), PinSet([ONE, TWO]), PinSet([CERT])

# The format, the entries, and words of the refusal.
UNWRITTEN_TREES: dict[str, tuple[ModuleType, dict[str, PinSet], str]] = {
    "android, one label": (android, {"*.a.b": SPKI}, "no subdomains of one label alone"),
    "android, address": (android, {"192.0.2.1": SPKI}, "192.0.2.1 is an address"),
    "android, certificate": (android, {HOST: WHOLE}, "no pins of that kind"),
    "android, two sets": (android, {"a.b": SPKI, "**.a.b": PAIR}, "have other pins"),
    "trustkit, one label": (trustkit, {"*.a.b": PAIR}, "no subdomains of one label alone"),
    "trustkit, one pin": (trustkit, {HOST: SPKI}, "has one pin; TrustKit wants two"),
    "trustkit, certificate": (trustkit, {HOST: PinSet([CERT, ONE])}, "no pins of that kind"),
    "apple, any depth": (apple, {"**.a.b": SPKI}, "one label deep"),
    "apple, one label": (apple, {"*.a.b": SPKI}, "give both the same pins"),
    "apple, other pins": (apple, {"a.b": SPKI, "*.a.b": PAIR}, "give both the same pins"),
    "apple, address": (apple, {"::1": SPKI}, "::1 is an address"),
    "apple, certificate": (apple, {HOST: WHOLE}, "no pins of that kind"),
    "envoy, several": (envoy, {HOST: SPKI, "a.b": SPKI}, "name the one to write"),
    "chromium, one label": (chromium, {"*.a.b": SPKI}, "no subdomains of one label alone"),
    "chromium, certificate": (chromium, {HOST: WHOLE}, "no pins of that kind"),
}

REPORTING = PinSet([ONE, TWO], mode="report")
# The format, an entry, and words of a warning.
WRITTEN_TREES: dict[str, tuple[ModuleType, PinSet, str]] = {
    "android": (android, SPKI, "Android leaves them to the CAs"),
    "android, report": (android, REPORTING, "Android without TrustKit enforces"),
    "android, expiry": (android, PinSet([ONE], expires="2027-01-01"), "they go on to count"),
    "android, an hour": (
        android,
        PinSet([ONE], expires="2027-01-01T12:00:00Z", on_expiry="pkix"),
        "the format knows whole ones",
    ),
    "trustkit": (trustkit, PAIR, "TrustKit leaves them to the CAs"),
    "trustkit, the last day": (
        trustkit,
        PinSet([ONE, TWO], expires="9999-12-31T12:00:00Z", on_expiry="pkix"),
        "they go on to count",
    ),
    "apple": (apple, SPKI, "Apple leaves them to the CAs"),
    "apple, leaves": (apple, SPKI, "those of CAs belong into NSPinnedCAIdentities instead"),
    "apple, expiry": (apple, PinSet([ONE], expires="2027-01-01", on_expiry="pkix"), "knows no dates"),
    "envoy": (envoy, SPKI, "Envoy compares the leaf alone"),
    "envoy, name": (envoy, SPKI, "neither CA nor name is asked for"),
    "chromium": (chromium, SPKI, "Chromium leaves them to the CAs"),
    "chromium, two files": (chromium, SPKI, "belongs into transport_security_state_static.pins"),
    "chromium, report": (chromium, REPORTING, "the format enforces"),
}
