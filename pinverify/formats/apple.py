# SPDX-License-Identifier: Apache-2.0
"""NSPinnedDomains of Apple's App Transport Security, in a property list."""

from __future__ import annotations

from typing import Any

from pinverify.errors import InvalidPolicy, shown
from pinverify.formats.common import Exported, Imported, Source, all_entries, undated, unsaid
from pinverify.formats.plists import plist_source, read_plist, write_plist
from pinverify.hostnames import Match, host_ip, split_pattern
from pinverify.pins import Pin, PinSet
from pinverify.policy import Policy

__all__ = ["read", "write"]

_SUBDOMAINS = "NSIncludesSubdomains"
_LISTS = {
    "NSPinnedLeafIdentities": "Apple compares the leaf's key alone; here a CA may have it as well",
    "NSPinnedCAIdentities": "Apple compares the keys of CAs alone; here the leaf may have one as well",
}
_DIGEST = "SPKI-SHA256-BASE64"


def read(data: bytes, *, source: str, host: str | None = None) -> Imported:
    """The policy of an Info.plist, or of the dictionary NSAppTransportSecurity alone; other hosts are left to
    the CAs.

    A domain with both lists is refused: Apple wants a key of each, and here one of either would do.
    """
    file = plist_source(data, source)
    file.host_unwanted(host)
    root = read_plist(file)
    transport = file.typed(root.get("NSAppTransportSecurity", root), dict, "NSAppTransportSecurity")
    domains = file.typed(transport.get("NSPinnedDomains"), dict, "NSPinnedDomains")
    for domain, settings in domains.items():
        _read_domain(file, domain, settings)
    return file.finish(unlisted="pkix")


def _read_domain(file: Source, domain: str, settings: Any) -> None:
    line = file.line_of(f"<key>{domain}</key>")
    settings = file.typed(settings, dict, f"what is said of {shown(domain)}", line=line)
    unknown = settings.keys() - {_SUBDOMAINS, *_LISTS}
    if unknown:
        file.fail(f"unknown key {shown(min(unknown))}", line=line, entry=domain)
    kinds = [kind for kind in _LISTS if kind in settings]
    if len(kinds) != 1:
        both = "Apple wants a key of each, and here one of either would do; keep one"
        trouble = both if kinds else "an empty one closes the domain to all; leave the domain out"
        file.fail(f"{' and '.join(_LISTS)}: {trouble}", line=line, entry=domain)
    pins = [
        _pin(file, identity, domain) for identity in file.typed(settings[kinds[0]], list, kinds[0], line=line)
    ]
    below = file.typed(settings.get(_SUBDOMAINS, False), bool, _SUBDOMAINS, line=line)
    file.warn(f"{domain}: {_LISTS[kinds[0]]}")
    name = file.domain(domain, below=False, line=line)
    for pattern in (name, f"*.{name}") if below else (name,):
        file.add(pattern, pins, line=line)


def _pin(file: Source, identity: Any, domain: str) -> Pin:
    line = file.line_of(f"<key>{domain}</key>")
    identity = file.typed(identity, dict, "an identity", line=line)
    if identity.keys() != {_DIGEST}:
        file.fail(f"an identity has the key {_DIGEST} and no other", line=line, entry=domain)
    text = file.typed(identity[_DIGEST], str, _DIGEST, line=line)
    return file.pin(f"sha256/{text}", line=file.line_of(f"<key>{domain}</key>", text), entry=domain)


def write(policy: Policy, *, host: str | None = None) -> Exported:
    """A property list with NSAppTransportSecurity, for the leaf's keys.

    Raises InvalidPolicy for `**.`, since Apple's subdomains are one label deep; for `*.` without the same
    pins for the domain itself, which Apple includes; for addresses, denied keys, and pins of certificates.
    """
    hosts = all_entries(policy, host)
    domains: dict[str, Any] = {}
    warnings: list[str] = []
    for pattern, pins in hosts.items():
        match, name = split_pattern(pattern)
        _check(pattern, match, name, pins, hosts.get(name))
        warnings += unsaid(pattern, pins) + undated(pattern, pins)
        if match is Match.EXACT:
            warnings.append(
                f"{name}: the list is of leaves' keys; those of CAs belong into NSPinnedCAIdentities instead"
            )
            domains[name] = {_SUBDOMAINS: True} if hosts.get(f"*.{name}") is not None else {}
            domains[name]["NSPinnedLeafIdentities"] = [
                {_DIGEST: str(pin).partition("/")[2]} for pin in pins.allow
            ]
    if policy.unlisted == "deny":
        warnings.append("hosts without an entry are refused here; Apple leaves them to the CAs")
    return Exported(write_plist({"NSAppTransportSecurity": {"NSPinnedDomains": domains}}), tuple(warnings))


def _check(pattern: str, match: Match, name: str, pins: PinSet, of_domain: PinSet | None) -> None:
    if host_ip(name) is not None:
        raise InvalidPolicy(f"Apple pins domains, and {name} is an address")
    if match is Match.ANY_DEPTH:
        raise InvalidPolicy(
            f"{pattern!r} is of any depth, and Apple's subdomains are one label deep; give each level entries"
        )
    if match is Match.ONE_LABEL and pins != of_domain:
        raise InvalidPolicy(f"Apple pins {name!r} along with {pattern!r}; give both the same pins")
