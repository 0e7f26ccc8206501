# SPDX-License-Identifier: Apache-2.0
"""Examples of the formats that are trees (XML, property lists, YAML, JSON), and what may be wrong."""

from __future__ import annotations

from types import ModuleType

from support import leaf

from pinverify import Kind, Pin, PinSet
from pinverify.formats import android, apple, chromium, envoy, trustkit

TREES = {"android": android, "trustkit": trustkit, "apple": apple, "envoy": envoy, "chromium": chromium}
ONE, TWO = Pin(b"\1" * 32), Pin(b"\2" * 32)
CERT = Pin(b"\4" * 32, Kind.CERT)
HOST = "api.example.com"
B64, B64_TWO = (str(pin).partition("/")[2] for pin in (ONE, TWO))
FINGERPRINT = CERT.digest.hex(":").upper()

PLIST = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
"""


def plist(body: str) -> str:
    return f"{PLIST}<dict>\n{body}\n</dict>\n</plist>\n"


def domain(name: str, body: str) -> str:
    return f"<key>{name}</key>\n<dict>\n{body}\n</dict>"


def key(name: str, value: str) -> str:
    return f"<key>{name}</key>\n{value}\n"


def texts(*values: str) -> str:
    return f"<array>{''.join(f'<string>{value}</string>' for value in values)}</array>"


def identities(*values: str) -> str:
    digests = "".join(
        f"<dict>{key('SPKI-SHA256-BASE64', f'<string>{value}</string>')}</dict>" for value in values
    )
    return f"<array>{digests}</array>"


HASHES = key("kTSKPublicKeyHashes", texts(B64, B64_TWO))
LEAVES = key("NSPinnedLeafIdentities", identities(B64))
CAS = key("NSPinnedCAIdentities", identities(B64_TWO))


def trustkit_of(*domains: str) -> str:
    pinned = key("kTSKPinnedDomains", f"<dict>{''.join(domains)}</dict>")
    return plist(key("TSKConfiguration", f"<dict>{pinned}</dict>"))


def apple_of(*domains: str) -> str:
    pinned = key("NSPinnedDomains", f"<dict>{''.join(domains)}</dict>")
    return plist(key("NSAppTransportSecurity", f"<dict>{pinned}</dict>"))


def pin_set(*digests: str, expiration: str = "") -> str:
    pins = "".join(f'<pin digest="SHA-256">{digest}</pin>\n' for digest in digests)
    return f"<pin-set{expiration}>\n{pins}</pin-set>"


def android_of(*configs: str) -> str:
    return f"""\
<?xml version="1.0" encoding="utf-8"?>
<network-security-config>
    {"".join(configs)}
</network-security-config>
"""


ANDROID = android_of(
    f"""<base-config cleartextTrafficPermitted="false"/>
    <domain-config>  <!-- the main one -->
        <domain includeSubdomains="true">Example.com</domain>
        <domain>other.example</domain>
        {pin_set(f" {B64} ", B64_TWO, expiration=' expiration="2027-01-01"')}
        <domain-config>
            <domain>report.example.com</domain>
            <trustkit-config enforcePinning="false"/>
        </domain-config>
    </domain-config>"""
)
EXPIRING = PinSet([ONE, TWO], expires="2027-01-01", on_expiry="pkix")
TRUSTKIT = trustkit_of(
    domain("Example.com", key("kTSKIncludeSubdomains", "<true/>") + HASHES),
    domain(
        "report.example.com",
        HASHES
        + key("kTSKEnforcePinning", "<false/>")
        + key("kTSKExpirationDate", "<string>2027-01-01</string>"),
    ),
)
REPORTING = {"expires": "2027-01-01", "on_expiry": "pkix", "mode": "report"}
ENVOY = f"""\
static_resources:
  clusters:
  - name: backend
    transport_socket:
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context:
          validation_context:
            trusted_ca: {{filename: /etc/ca.pem}}
            verify_certificate_spki: ["{B64}"]
            verify_certificate_hash:
            - {FINGERPRINT}
            - {CERT.digest.hex()}
"""
ENVOY_JSON = f'{{"validationContext": {{"verifyCertificateSpki": ["{B64}", "{B64_TWO}"]}}}}'
CHROMIUM = f"""\
// What is pinned, and by what.
{{
  "pinsets": [
    // "pins": comments are lines of their own
    {{"name": "ours", "static_spki_hashes": ["GoodKey", "sha256/{B64}"],
      "bad_static_spki_hashes": ["BadKey"], "report_uri": "https://r.example//"}}
  ],
  "entries": [
    {{"name": "hsts.example.org", "policy": "custom", "mode": "force-https"}},
    {{"name": "example.com", "include_subdomains": true, "pins": "ours"}},
    {{"name": "other.example", "pins": "ours"}}
  ]
}}
# Keys
PinsListTimestamp
1790000000

GoodKey
{TWO}

# by its certificate
BadKey
{leaf(HOST).pem.decode()}
"""
PRELOADED = PinSet([TWO, ONE], deny=[leaf(HOST).pin])

# The format, a text of it, and the entries that are read.
READ_TREES: dict[str, tuple[ModuleType, str, dict[str, PinSet]]] = {
    "a network security config": (
        android,
        ANDROID,
        {
            "**.example.com": EXPIRING,
            "other.example": EXPIRING,
            "report.example.com": PinSet([ONE, TWO], **REPORTING),
        },
    ),
    "TrustKit in an Info.plist": (
        trustkit,
        TRUSTKIT,
        {
            "**.example.com": PinSet([ONE, TWO]),
            "report.example.com": PinSet([ONE, TWO], **REPORTING),
        },
    ),
    "NSPinnedDomains": (
        apple,
        apple_of(
            domain("example.com", key("NSIncludesSubdomains", "<true/>") + CAS),
            domain("other.example", LEAVES),
        ),
        {"example.com": PinSet([TWO]), "*.example.com": PinSet([TWO]), "other.example": PinSet([ONE])},
    ),
    "a bootstrap of Envoy": (envoy, ENVOY, {HOST: PinSet([ONE, CERT])}),
    "a context of Envoy in JSON": (envoy, ENVOY_JSON, {HOST: PinSet([ONE, TWO])}),
    "a list of Chromium": (chromium, CHROMIUM, {"**.example.com": PRELOADED, "other.example": PRELOADED}),
}


# -- What the systems' own documents show --

# developer.android.com, "Network security configuration", the example of certificate pinning.
ANDROIDS = """\
<?xml version="1.0" encoding="utf-8"?>
<network-security-config>
    <domain-config>
        <domain includeSubdomains="true">example.com</domain>
        <pin-set expiration="2018-01-01">
            <pin digest="SHA-256">7HIpactkIAq2Y49orFOOQKurWxmmSFZhBCoQYcRhJ3Y=</pin>
            <!-- backup pin -->
            <pin digest="SHA-256">fwza0LRMXouZHRC8Ei+4PyuldPDcf3UKgO/04cDM1oE=</pin>
        </pin-set>
    </domain-config>
</network-security-config>
"""
# TrustKit, the example of a policy in its README.
THEOREM = ("HXXQgxueCIU5TTLHob/bPbwcKOKw6DkfsTWYHbxbqTY=", "0SDf3cRToyZJaMsoS17oF72VMavLxj/N7WBNasNuiR8=")
YAHOO = ("TQEtdMbmwFgYUifM4LDF+xgEtd0z69mPGmkp014d6ZY=", "rFjc3wG7lTZe43zeYTvPq8k4xdDEutCmIhI5dn4oCeE=")
TRUSTKITS = plist(
    key("kTSKSwizzleNetworkDelegates", "<false/>")
    + key(
        "kTSKPinnedDomains",
        "<dict>"
        + domain(
            "www.datatheorem.com",
            key("kTSKExpirationDate", "<string>2017-12-01</string>")
            + key("kTSKPublicKeyHashes", texts(*THEOREM))
            + key("kTSKEnforcePinning", "<false/>")
            + key("kTSKReportUris", texts("http://report.datatheorem.com/log_report")),
        )
        + domain(
            "yahoo.com", key("kTSKPublicKeyHashes", texts(*YAHOO)) + key("kTSKIncludeSubdomains", "<true/>")
        )
        + "</dict>",
    )
)
# Apple's Security framework, the test file NSPinnedDomains_ca.plist.
DIGICERT = "r/mIkG3eEpVdm+u/ko/cwxzOMo1bk4TyHIlByibiA5E="
APPLES = apple_of(
    domain(
        "example.org",
        key("NSIncludesSubdomains", "<true/>") + key("NSPinnedCAIdentities", identities(DIGICERT)),
    )
)
# Envoy's documentation of CertificateValidationContext.
ENVOYS_KEY = "NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A="
ENVOYS_HASH = "df6ff72fe9116521268f6f2dd4966f51df479883fe7037b39f75916ac3049d1a"
ENVOYS = f'{{"verify_certificate_spki": ["{ENVOYS_KEY}"], "verify_certificate_hash": ["{ENVOYS_HASH}"]}}'
# A key of Chromium's transport_security_state_static.pins, in the form of its JSON.
GOOGLES = "IPMbDAjLVSGntGO3WP53X/zilCVndez5YJ2+vJvhJsA="
CHROMIUMS = f"""\
{{
  "pinsets": [{{"name": "google", "static_spki_hashes": ["GoogleBackup2048"]}}],
  "entries": [{{"name": "pinningtest.example", "policy": "google", "mode": "force-https",
               "include_subdomains": true, "pins": "google"}}]
}}
# This file contains the keys that are pinned.
PinsListTimestamp
1649894400
GoogleBackup2048
sha256/{GOOGLES}
"""


def hashes(*digests: str) -> list[str]:
    return [f"sha256/{digest}" for digest in digests]


READ_TREES |= {
    "Android's example": (
        android,
        ANDROIDS,
        {
            "**.example.com": PinSet(
                hashes(
                    "7HIpactkIAq2Y49orFOOQKurWxmmSFZhBCoQYcRhJ3Y=",
                    "fwza0LRMXouZHRC8Ei+4PyuldPDcf3UKgO/04cDM1oE=",
                ),
                expires="2018-01-01",
                on_expiry="pkix",
            )
        },
    ),
    "TrustKit's example": (
        trustkit,
        TRUSTKITS,
        {
            "www.datatheorem.com": PinSet(
                hashes(*THEOREM), mode="report", expires="2017-12-01", on_expiry="pkix"
            ),
            "**.yahoo.com": PinSet(hashes(*YAHOO)),
        },
    ),
    "Apple's example": (
        apple,
        APPLES,
        {"example.org": PinSet(hashes(DIGICERT)), "*.example.org": PinSet(hashes(DIGICERT))},
    ),
    "Envoy's example": (
        envoy,
        ENVOYS,
        {HOST: PinSet([*hashes(ENVOYS_KEY), Pin(bytes.fromhex(ENVOYS_HASH), Kind.CERT)])},
    ),
    "Chromium's keys": (chromium, CHROMIUMS, {"**.pinningtest.example": PinSet(hashes(GOOGLES))}),
}

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
