# SPDX-License-Identifier: Apache-2.0
"""Files of the formats that are trees: XML, property lists, YAML, JSON."""

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
