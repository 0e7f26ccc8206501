# SPDX-License-Identifier: Apache-2.0
"""What the systems' own documents show of their formats, as data; each names its source."""

from __future__ import annotations

from types import ModuleType

from format_trees import HOST, apple_of, domain, identities, key, plist, texts

from pinverify import Kind, Pin, PinSet
from pinverify.formats import android, apple, chromium, envoy, trustkit

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


DOCUMENTED: dict[str, tuple[ModuleType, str, dict[str, PinSet]]] = {
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
