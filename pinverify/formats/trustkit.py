# SPDX-License-Identifier: Apache-2.0
"""TrustKit's configuration for iOS and macOS, in a property list."""

from __future__ import annotations

from typing import Any

from pinverify.errors import InvalidPolicy, shown
from pinverify.formats.common import Exported, Imported, Source, all_entries, domains, unsaid, until_day
from pinverify.formats.plists import plist_source, read_plist, write_plist
from pinverify.policy import Policy

__all__ = ["read", "write"]

_HASHES, _SUBDOMAINS, _ENFORCE = "kTSKPublicKeyHashes", "kTSKIncludeSubdomains", "kTSKEnforcePinning"
_EXPIRES, _EXCLUDE = "kTSKExpirationDate", "kTSKExcludeSubdomainFromParentPolicy"
_DIFFERENT = {
    "kTSKPublicKeyAlgorithms": "keys of every kind are hashed here",
    "kTSKReportUris": "here on_violation is called",
    "kTSKDisableDefaultReportUri": "here nothing is sent to anybody",
    "kTSKAdditionalTrustAnchors": "here trust says which CAs there are",
}
_TWO = "TrustKit wants two pins where it enforces, one of them a backup"


def read(data: bytes, *, source: str, host: str | None = None) -> Imported:
    """The policy of TrustKit's dictionary, or of an Info.plist with it under TSKConfiguration.

    Other hosts are left to the CAs, and so are those whose pins have expired, as TrustKit does.
    """
    file = plist_source(data, source)
    file.host_unwanted(host)
    root = read_plist(file)
    settings = file.typed(root.get("TSKConfiguration", root), dict, "TSKConfiguration")
    if settings.get("kTSKIgnorePinningForUserDefinedTrustAnchors"):
        file.warn("TrustKit ignores the pins for CAs that the user has added; here they hold for all")
    pinned = file.typed(settings.get("kTSKPinnedDomains"), dict, "kTSKPinnedDomains")
    for domain, said in pinned.items():
        line = file.line_of(f"<key>{domain}</key>")
        _read_domain(file, domain, file.typed(said, dict, f"what is said of {shown(domain)}", line=line))
    return file.finish(unlisted="pkix")


def _read_domain(file: Source, domain: str, said: dict[str, Any]) -> None:
    line = file.line_of(f"<key>{domain}</key>")
    unknown = said.keys() - {_HASHES, _SUBDOMAINS, _ENFORCE, _EXPIRES, _EXCLUDE, *_DIFFERENT}
    if unknown:
        file.fail(f"unknown key {shown(min(unknown))}", line=line, entry=domain)
    for key in _DIFFERENT.keys() & said.keys():
        file.warn(f"{domain}: {key} is passed over; {_DIFFERENT[key]}")
    below, enforce, exclude = (
        file.typed(said.get(key, default), bool, key, line=line)
        for key, default in ((_SUBDOMAINS, False), (_ENFORCE, True), (_EXCLUDE, False))
    )
    pattern = file.domain(domain, below=below, line=line)
    if exclude:
        file.leave_unpinned(pattern, line=line)
        return
    hashes = file.typed(said.get(_HASHES), list, _HASHES, line=line)
    pins = [
        file.pin(f"sha256/{text}", line=file.line_of(f"<key>{domain}</key>", str(text)), entry=domain)
        for text in hashes
    ]
    if enforce and len(set(pins)) == 1:
        file.warn(f"{domain}: {_TWO}, and does not start with one; the one pin counts here")
    options = {"mode": "enforce" if enforce else "report"}
    if _EXPIRES in said:
        options |= {"expires": file.typed(said[_EXPIRES], str, _EXPIRES, line=line), "on_expiry": "pkix"}
    file.add(pattern, pins, line=line, **options)


def write(policy: Policy, *, host: str | None = None) -> Exported:
    """A property list with TrustKit's dictionary.

    Raises InvalidPolicy for `*.`, addresses, denied keys, pins of certificates, and a single pin that is
    enforced.
    """
    hosts = all_entries(policy, host)
    pinned: dict[str, Any] = {}
    warnings: list[str] = []
    for domain, (pattern, pins) in domains(hosts).items():
        if pins.mode == "enforce" and len(pins.allow) < 2:
            raise InvalidPolicy(f"{domain!r} has one pin; {_TWO}")
        day, more = until_day(pattern, pins)
        warnings += unsaid(pattern, pins, report=True) + more
        pinned[domain] = {
            _SUBDOMAINS: pattern != domain,
            _ENFORCE: pins.mode == "enforce",
            _HASHES: [str(pin).partition("/")[2] for pin in pins.allow],
            **({} if day is None else {_EXPIRES: day.isoformat()}),
        }
    if policy.unlisted == "deny":
        warnings.append("hosts without an entry are refused here; TrustKit leaves them to the CAs")
    return Exported(write_plist({"kTSKPinnedDomains": pinned}), tuple(warnings))
