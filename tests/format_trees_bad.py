# SPDX-License-Identifier: Apache-2.0
"""What may be wrong with files of the formats that are trees; for test_formats_text_bad.py."""

from __future__ import annotations

from types import ModuleType

from format_trees import (
    ANDROID,
    B64,
    CAS,
    CERT,
    CHROMIUM,
    ENVOY,
    ENVOY_JSON,
    HASHES,
    LEAVES,
    ONE,
    PLIST,
    TRUSTKIT,
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

from pinverify.formats import android, apple, chromium, envoy, trustkit

CONFIG = "<domain-config><domain>a.example</domain>\n"
BOMB = "<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;&a;&a;'>]>\n"
SETS = '"pinsets": [{"name": "p", "static_spki_hashes": ["sha256/' + B64 + '"]}]'

# The format, its text, the line of the error, and words of it.
REFUSED_TREES: dict[str, tuple[ModuleType, str, int | None, str]] = {
    "android, another root": (android, "<x/>", 1, "it is <x>, and no <network-security-config>"),
    "android, half": (android, ANDROID[:-30], 15, "it is not XML"),
    "android, entities": (android, BOMB + "<x>&b;</x>", None, "declares a document type or entities"),
    "android, document type": (
        android,
        f'<!DOCTYPE x SYSTEM "x">\n{ANDROID[39:]}',
        None,
        "declares a document type",
    ),
    "android, attribute": (
        android,
        android_of('<domain-config><domain includesubdomains="true">a.example</domain></domain-config>'),
        3,
        "<domain> has no 'includesubdomains', but includeSubdomains",
    ),
    "android, wildcard": (
        android,
        android_of("<domain-config><domain>*.a.example</domain></domain-config>"),
        3,
        "the format has no wildcards",
    ),
    "android, deep": (android, "<x>\n" * 100, 33, "nested more than 32 deep"),
    "android, sha1": (
        android,
        android_of(CONFIG, '<pin-set><pin digest="SHA-1">AAAA</pin></pin-set></domain-config>'),
        4,
        "the digest is 'SHA-1', and has to be SHA-256",
    ),
    "android, short": (android, android_of(CONFIG, pin_set("AAAA"), "</domain-config>"), 5, "holds 3 bytes"),
    "android, no pin": (
        android,
        android_of(CONFIG, pin_set(), "</domain-config>"),
        4,
        "Android pins nothing then",
    ),
    "android, two sets": (
        android,
        android_of(CONFIG, pin_set(B64), "\n", pin_set(B64), "</domain-config>"),
        7,
        "a domain-config has one pin-set",
    ),
    "android, twice": (
        android,
        android_of(CONFIG, pin_set(B64), "</domain-config>\n", CONFIG, pin_set(B64), "</domain-config>"),
        7,
        "the same host stands in line 3 already",
    ),
    "android, date": (
        android,
        android_of(CONFIG, pin_set(B64, expiration=' expiration="soon"'), "</domain-config>"),
        3,
        "expires is 'soon'",
    ),
    "android, flag": (
        android,
        android_of('<domain-config><domain includeSubdomains="yes">a.example</domain></domain-config>'),
        3,
        "includeSubdomains is 'yes'",
    ),
    "android, place": (
        android,
        android_of(pin_set(B64)),
        3,
        "<pin-set> has no place in <network-security-config>",
    ),
    "android, nothing pinned": (android, android_of(CONFIG, "</domain-config>"), None, "no host with pins"),
    "trustkit, binary": (trustkit, "bplist00", None, "plutil -convert xml1"),
    "trustkit, half": (trustkit, TRUSTKIT[:-30], 23, "it is not XML"),
    "trustkit, entities": (trustkit, BOMB + TRUSTKIT[39:], None, "entity declarations are not supported"),
    "trustkit, no dictionary": (
        trustkit,
        plist(""),
        None,
        "kTSKPinnedDomains has to be",
    ),
    "trustkit, a list": (trustkit, f"{PLIST}<array/></plist>", None, "has to be a dictionary, and it is []"),
    "trustkit, twice": (
        trustkit,
        trustkit_of(domain("a.example", HASHES) * 2),
        None,
        "'a.example' is there twice",
    ),
    "trustkit, unknown": (
        trustkit,
        trustkit_of(domain("a.example", HASHES + key("kTSKIncludeSubdomain", "<true/>"))),
        7,
        "unknown key 'kTSKIncludeSubdomain'",
    ),
    "trustkit, flag": (
        trustkit,
        trustkit_of(domain("a.example", HASHES + key("kTSKEnforcePinning", "<string>NO</string>"))),
        7,
        "kTSKEnforcePinning has to be true or false, and it is 'NO'",
    ),
    "trustkit, no hashes": (trustkit, trustkit_of(domain("a.example", "")), 7, "and there is none"),
    "trustkit, short": (
        trustkit,
        trustkit_of(domain("a.example", key("kTSKPublicKeyHashes", texts(B64, "AAAA")))),
        10,
        "holds 3 bytes",
    ),
    "trustkit, date": (
        trustkit,
        trustkit_of(
            domain("a.example", HASHES + key("kTSKExpirationDate", "<date>2027-01-01T00:00:00Z</date>"))
        ),
        7,
        "kTSKExpirationDate has to be a string",
    ),
    "apple, both lists": (
        apple,
        apple_of(domain("a.example", LEAVES + CAS)),
        7,
        "a key of each, and here one of either would do",
    ),
    "apple, neither": (apple, apple_of(domain("a.example", "")), 7, "closes the domain to all"),
    "apple, one of both is empty": (
        apple,
        apple_of(domain("a.example", LEAVES + key("NSPinnedCAIdentities", "<array/>"))),
        7,
        "a key of each",
    ),
    "apple, empty": (
        apple,
        apple_of(domain("a.example", key("NSPinnedCAIdentities", "<array/>"))),
        7,
        "never means that all are",
    ),
    "apple, wildcard": (apple, apple_of(domain("*.a.example", LEAVES)), 7, "the format has no wildcards"),
    "apple, unknown": (
        apple,
        apple_of(domain("a.example", LEAVES + key("NSIncludeSubdomains", "<true/>"))),
        7,
        "unknown key 'NSIncludeSubdomains'",
    ),
    "apple, digest": (
        apple,
        apple_of(domain("a.example", LEAVES.replace("SHA256", "SHA1"))),
        7,
        "an identity has the key SPKI-SHA256-BASE64",
    ),
    "apple, identity": (
        apple,
        apple_of(domain("a.example", key("NSPinnedLeafIdentities", texts(B64)))),
        7,
        "an identity has to be a dictionary",
    ),
    "apple, no domains": (
        apple,
        plist(key("NSAppTransportSecurity", "<dict/>")),
        None,
        "NSPinnedDomains has to be",
    ),
    "envoy, none": (envoy, "validation_context: {trusted_ca: x}", None, "is wanted, and there is none"),
    "envoy, two": (envoy, f"- {ENVOY_JSON}\n- {ENVOY_JSON}", None, "several, in lines 1, 2"),
    "envoy, alias": (envoy, "a: &x [1]\nb: *x", 2, "aliases are not taken"),
    "envoy, documents": (envoy, "a: 1\n---\nb: 1", 2, "a second document"),
    "envoy, twice": (envoy, f"{ENVOY}            verify_certificate_spki: []", 14, "is there twice"),
    "envoy, deep": (envoy, "[" * 100 + "]" * 100, 1, "nested more than 64 deep"),
    "envoy, tab": (envoy, "a:\n\t- b", 2, "it is not YAML"),
    "envoy, a text": (
        envoy,
        f"verify_certificate_spki: {B64}",
        1,
        "verify_certificate_spki has to be a list",
    ),
    "envoy, a list": (envoy, "verify_certificate_spki:\n- [a]", 2, "a pin has to be a text"),
    "envoy, short": (envoy, "verify_certificate_spki:\n- AAAA", 2, "holds 3 bytes"),
    "envoy, no hex": (envoy, f"verify_certificate_hash: [{CERT}]", 1, "is no fingerprint in hex"),
    "envoy, empty": (envoy, "verify_certificate_spki: []", 1, "never means that all are"),
    "chromium, half": (chromium, CHROMIUM[:300], 8, "it is not JSON"),
    "chromium, twice": (chromium, '{"entries": 1,\n"entries": 2}', None, "the same key twice"),
    "chromium, deep": (chromium, '{"a":' + "[" * 100_000, None, "it is not JSON"),
    "chromium, NaN": (chromium, '{"a": NaN}', None, "NaN is no number"),
    "chromium, no entries": (chromium, f"{{{SETS}}}", None, "entries has to be a list, and there is none"),
    "chromium, no pinset": (
        chromium,
        f'{{{SETS},\n"entries": [{{"name": "a.example", "pins": "q"}}]}}',
        2,
        "there is no pinset 'q'",
    ),
    "chromium, same pinset": (
        chromium,
        '{"entries": [],\n"pinsets": [{"name": "p"},\n{"name": "p"}]}',
        2,
        "the pinset 'p' is there twice",
    ),
    "chromium, no key": (
        chromium,
        f'{{{SETS.replace("sha256/" + B64, "Key")},\n"entries": [{{"name": "a.example", "pins": "p"}}]}}',
        1,
        "put transport_security_state_static.pins behind the JSON",
    ),
    "chromium, sha1": (
        chromium,
        f'{{{SETS.replace("sha256", "sha1")},\n"entries": [{{"name": "a.example", "pins": "p"}}]}}',
        1,
        "is no pin; that is sha256/<base64>",
    ),
    "chromium, unknown": (
        chromium,
        '{"entries": [],\n"pinsets": [{"name": "p", "bad_spki_hashes": []}]}',
        2,
        "unknown key 'bad_spki_hashes'",
    ),
    "chromium, unknown in an entry": (
        chromium,
        f'{{{SETS},\n"entries": [{{"name": "a.example", "include_subdomain": true, "pins": "p"}}]}}',
        2,
        "unknown key 'include_subdomain'",
    ),
    "chromium, flag": (
        chromium,
        f'{{{SETS},\n"entries": [{{"name": "a.example", "include_subdomains": 1}}]}}',
        2,
        "include_subdomains has to be true or false",
    ),
    "chromium, last key": (chromium, f'{{{SETS}, "entries": []}}\nKey\n', 3, "ends before the last one"),
    "chromium, same key": (
        chromium,
        f'{{{SETS}, "entries": []}}\nKey\n{ONE}\nKey\n{TWO}',
        4,
        "the key Key is there twice",
    ),
    "chromium, certificate": (
        chromium,
        f'{{{SETS}, "entries": []}}\nKey\n-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n',
        5,
        "entry 'Key'",
    ),
    "chromium, only bad keys": (
        chromium,
        f'{{{SETS.replace("static", "bad_static")},\n"entries": [{{"name": "a.example", "pins": "p"}}]}}',
        2,
        "never means that all are",
    ),
}
