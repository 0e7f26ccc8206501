# SPDX-License-Identifier: Apache-2.0
"""Android's Network Security Config, and in it what TrustKit for Android adds."""

from __future__ import annotations

import xml.etree.ElementTree as ET  # to write; it is read with defusedxml
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.sax import SAXException, SAXParseException
from xml.sax.handler import ContentHandler

from pinverify.errors import InvalidPolicyFile, shown
from pinverify.formats.common import (
    Exported,
    Imported,
    Source,
    all_entries,
    domains,
    extra,
    unsaid,
    until_day,
)
from pinverify.pins import Pin
from pinverify.policy import Policy

__all__ = ["read", "write"]

_DEPTH = 32  # of elements in each other; Android's own files have five or six
_CHILDREN = {
    "network-security-config": ("base-config", "domain-config", "debug-overrides"),
    "domain-config": ("domain", "pin-set", "trust-anchors", "domain-config", "trustkit-config"),
    "pin-set": ("pin",),
}
# Of the elements that pins hang on. An attribute that is misspelled would say nothing.
_ATTRIBUTES = {
    "domain": ("includeSubdomains",),
    "pin-set": ("expiration",),
    "pin": ("digest",),
    "trustkit-config": ("enforcePinning", "disableDefaultReportUri"),
}


@dataclass(slots=True)
class _Element:
    name: str
    attributes: dict[str, str]
    line: int
    texts: list[str] = field(default_factory=list)
    children: list[_Element] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.texts).strip()

    def each(self, name: str) -> Iterator[_Element]:
        return (child for child in self.children if child.name == name)


def read(data: bytes, *, source: str, host: str | None = None) -> Imported:
    """The policy of a network-security-config; other hosts are left to the CAs, and so are those whose pins
    have expired, as Android does.
    """
    file = Source(data, source)
    file.host_unwanted(host)
    root = _parsed(file)
    if root.name != "network-security-config":
        file.fail(f"it is <{root.name}>, and no <network-security-config>", line=root.line)
    _check_children(file, root)
    for config in root.each("domain-config"):
        _read_config(file, config, None, "enforce")
    return file.finish(unlisted="pkix")


def _read_config(file: Source, config: _Element, inherited: _Element | None, mode: Any) -> None:
    """Enters the domains of a domain-config. What is nested inherits what it does not say itself."""
    _check_children(file, config)
    pin_sets = [*config.each("pin-set")]
    if len(pin_sets) > 1:
        file.fail("a domain-config has one pin-set", line=pin_sets[1].line)
    pin_set = pin_sets[0] if pin_sets else inherited
    for trustkit in config.each("trustkit-config"):
        mode = _mode(file, trustkit)
    for anchors in config.each("trust-anchors"):
        if any(_flag(file, child, "overridePins") for child in anchors.children):
            file.warn("overridePins lets CAs go without pins; here they hold for all", line=anchors.line)
    for domain in config.each("domain"):
        below = _flag(file, domain, "includeSubdomains")
        pattern = file.domain(domain.text, below=below, line=domain.line)
        if pin_set is None:
            file.leave_unpinned(pattern, line=domain.line)
        else:
            expires = pin_set.attributes.get("expiration")
            options = {} if expires is None else {"expires": expires, "on_expiry": "pkix"}
            file.add(pattern, _pins(file, pin_set, pattern), line=domain.line, mode=mode, **options)
    for nested in config.each("domain-config"):
        _read_config(file, nested, pin_set, mode)


def _pins(file: Source, pin_set: _Element, entry: str) -> list[Pin]:
    _check_children(file, pin_set)
    pins: list[Pin] = []
    for pin in pin_set.children:
        digest = pin.attributes.get("digest")
        if digest != "SHA-256":
            file.fail(f"the digest is {shown(digest)}, and has to be SHA-256", line=pin.line, entry=entry)
        pins.append(file.pin(f"sha256/{pin.text}", line=pin.line, entry=entry))
    if not pins:
        file.fail("there is no pin in it, and Android pins nothing then", line=pin_set.line, entry=entry)
    return pins


def _mode(file: Source, trustkit: _Element) -> str:
    if any(trustkit.each("report-uris")) or any(trustkit.each("report-uri")):
        file.warn("violations were reported to a server; here on_violation is called", line=trustkit.line)
    if "enforcePinning" not in trustkit.attributes:
        file.warn(
            "TrustKit only reports where enforcePinning is not set; here it enforces", line=trustkit.line
        )
        return "enforce"
    return "enforce" if _flag(file, trustkit, "enforcePinning") else "report"


def _flag(file: Source, element: _Element, name: str) -> bool:
    value = element.attributes.get(name, "false")
    if value not in ("true", "false"):
        file.fail(f"{name} is {shown(value)}, and has to be true or false", line=element.line)
    return value == "true"


def _check_children(file: Source, element: _Element) -> None:
    """Refuses what Android would not know: it would be lost, and pins with it."""
    known = _CHILDREN[element.name]
    for child in element.children:
        if child.name not in known:
            trouble = f"<{child.name}> has no place in <{element.name}>, which has {', '.join(known)}"
            file.fail(trouble, line=child.line)
        for name in child.attributes:
            attributes = _ATTRIBUTES.get(child.name)
            if attributes is not None and name not in attributes and ":" not in name:  # those of tools
                trouble = f"<{child.name}> has no {shown(name)}, but {', '.join(attributes)}"
                file.fail(trouble, line=child.line)


# -- XML --


def _parsed(file: Source) -> _Element:
    sax, common = extra("defusedxml.sax"), extra("defusedxml.common")
    reader = _Reader(file)
    try:
        sax.parseString(file.text.encode(), reader, forbid_dtd=True)
    except common.DefusedXmlException as error:
        file.fail(f"it declares a document type or entities, which no config needs: {error}")
    except SAXParseException as error:
        file.fail(f"it is not XML: {error.getMessage()}", line=error.getLineNumber())
    except InvalidPolicyFile:  # a ValueError too
        raise
    except (SAXException, ValueError, LookupError) as error:  # the last two are of encodings
        file.fail(f"it is not XML: {error}")
    return reader.root


class _Reader(ContentHandler):
    """Keeps elements with their lines, which ElementTree does not have."""

    def __init__(self, file: Source) -> None:
        super().__init__()
        self._file = file
        self._open = [_Element("", {}, 0)]

    @property
    def root(self) -> _Element:
        return self._open[0].children[0]

    def startElement(self, name: str, attrs: Any) -> None:
        line = self._locator.getLineNumber()  # type: ignore[attr-defined]
        if len(self._open) > _DEPTH:
            self._file.fail(f"it is nested more than {_DEPTH} deep", line=line)
        element = _Element(name, dict(attrs.items()), line)
        self._open[-1].children.append(element)
        self._open.append(element)

    def endElement(self, name: str) -> None:
        self._open.pop()

    def characters(self, content: str) -> None:
        self._open[-1].texts.append(content)


def write(policy: Policy, *, host: str | None = None) -> Exported:
    """A network-security-config, with a domain-config for each domain.

    Raises InvalidPolicy for `*.`, addresses, denied keys, and pins of certificates.
    """
    root = ET.Element("network-security-config")
    warnings: list[str] = []
    for name, (pattern, pins) in domains(all_entries(policy, host)).items():
        day, more = until_day(pattern, pins)
        warnings += unsaid(pattern, pins, report=True) + more
        config = ET.SubElement(root, "domain-config")
        ET.SubElement(config, "domain", includeSubdomains="false" if pattern == name else "true").text = name
        pin_set = ET.SubElement(config, "pin-set", {} if day is None else {"expiration": day.isoformat()})
        for pin in pins.allow:
            ET.SubElement(pin_set, "pin", digest="SHA-256").text = str(pin).partition("/")[2]
        if pins.mode == "report":
            ET.SubElement(config, "trustkit-config", enforcePinning="false")
            warnings.append(
                f"{pattern}: it only reports, as TrustKit does; Android without TrustKit enforces"
            )
    if policy.unlisted == "deny":
        warnings.append("hosts without an entry are refused here; Android leaves them to the CAs")
    ET.indent(root, "    ")
    return Exported(ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n", tuple(warnings))
