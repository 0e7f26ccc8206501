# SPDX-License-Identifier: Apache-2.0
"""Envoy's CertificateValidationContext with pins, in YAML or JSON, alone or anywhere in a configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from pinverify.errors import InvalidPolicyFile, shown
from pinverify.formats.common import Exported, Imported, Source, extra, sole_entry, undated, unsaid
from pinverify.pins import Kind, Pin
from pinverify.policy import Policy

__all__ = ["read", "write"]

_Mapping: TypeAlias = "dict[str, tuple[int, Any]]"  # of a key, its line and its node

_SIZE = 4 << 20  # octets; a YAML parser is slow, and a large configuration has some hundred thousand
_DEPTH = 64  # the composer of PyYAML is recursive
_KINDS = {
    "verify_certificate_spki": Kind.SPKI,
    "verifyCertificateSpki": Kind.SPKI,
    "verify_certificate_hash": Kind.CERT,
    "verifyCertificateHash": Kind.CERT,
}

_LEAF_ALONE = (
    "Envoy compares the leaf alone; here a CA of the verified chain may have the pin as well"
    ' (trust="pins" goes by the leaf alone)'
)


def read(data: bytes, *, source: str, host: str | None = None) -> Imported:
    """The pins for `host` of the one validation context in the file that has any.

    As in Envoy, a pin of either list will do. What else the context says is not carried over, and told.
    """
    if len(data) > _SIZE:
        raise InvalidPolicyFile(source, f"has more than {_SIZE >> 20} MiB; cut out the validation context")
    file = Source(data, source)
    pattern = file.host_wanted(host)
    contexts = [found for found in _mappings(file, _composed(file)) if found.keys() & _KINDS.keys()]
    if len(contexts) != 1:
        lines = ", ".join(str(min(line for line, _ in found.values())) for found in contexts)
        what = f"there are several, in lines {lines}; cut one out" if contexts else "there is none"
        file.fail(f"one validation context with pins is wanted, and {what}", entry=pattern)
    [context] = contexts
    pins = [
        _pin(file, node, _KINDS[key], pattern)
        for key, (line, value) in context.items()
        if key in _KINDS
        for node in _items(file, value, key, line)
    ]
    others = sorted(context.keys() - _KINDS.keys())
    if others:
        file.warn(
            f"{pattern}: not carried over: {', '.join(map(shown, others))}; here trust says which CAs count"
        )
    file.warn(_LEAF_ALONE)
    file.add(pattern, pins, line=min(line for line, _ in context.values()))
    return file.finish()


def _pin(file: Source, node: Any, kind: Kind, entry: str) -> Pin:
    line = node.start_mark.line + 1
    if node.id != "scalar":
        file.fail("a pin has to be a text", line=line, entry=entry)
    text = node.value
    if kind is Kind.SPKI:  # Envoy takes base64 alone there, and hex in the other list
        return file.pin(f"sha256/{text}", line=line, entry=entry)
    if not text.replace(":", "").isalnum():
        file.fail(f"{shown(text)} is no fingerprint in hex", line=line, entry=entry)
    return file.pin(text, kind=kind, line=line, entry=entry)


def _items(file: Source, node: Any, key: str, line: int) -> list[Any]:
    if node.id != "sequence":
        file.fail(f"{key} has to be a list", line=line)
    return list(node.value)


# -- YAML, of which JSON is a part --


def _composed(file: Source) -> Any:
    """The node of the document, without aliases, which can make a small file a huge one."""
    yaml = extra("yaml")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_events(file, yaml.parse(file.text, Loader=loader))
        return yaml.compose(file.text, Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        trouble = getattr(error, "problem", None) or str(error)
        file.fail(f"it is not YAML: {trouble}", line=mark and mark.line + 1)


def _check_events(file: Source, events: Iterator[Any]) -> None:
    depth = documents = 0
    for event in events:
        name, line = type(event).__name__, event.start_mark.line + 1
        depth += name.endswith("StartEvent") - name.endswith("EndEvent")
        documents += name == "DocumentStartEvent"
        if name == "AliasEvent":
            file.fail("aliases are not taken; write out what they stand for", line=line)
        if depth > _DEPTH:
            file.fail(f"it is nested more than {_DEPTH} deep", line=line)
        if documents > 1:
            file.fail("there is a second document; cut out the validation context", line=line)


def _mappings(file: Source, node: Any) -> Iterator[_Mapping]:
    """Each mapping in the document, the outer ones first."""
    if node is None or node.id == "scalar":
        return
    if node.id == "sequence":
        for item in node.value:
            yield from _mappings(file, item)
        return
    found: _Mapping = {}
    for key, value in node.value:
        name, line = str(key.value) if key.id == "scalar" else "", key.start_mark.line + 1
        if name in found:
            file.fail(f"the key {shown(name)} is there twice", line=line)
        found[name] = line, value
    yield found
    for _, value in found.values():
        yield from _mappings(file, value)


def write(policy: Policy, *, host: str | None = None) -> Exported:
    """A validation context for an entry, in YAML. Raises InvalidPolicy for denied keys."""
    pattern, pins = sole_entry(policy, host)
    warnings = unsaid(pattern, pins, kinds=(Kind.SPKI, Kind.CERT)) + undated(pattern, pins)
    warnings += [
        f"{pattern}: Envoy compares the leaf alone, so that the pin of a CA never matches",
        f"{pattern}: neither CA nor name is asked for; trusted_ca and match_typed_subject_alt_names do that",
    ]
    keys = [str(pin).partition("/")[2] for pin in pins.allow if pin.kind is Kind.SPKI]
    certificates = [pin.digest.hex(":").upper() for pin in pins.allow if pin.kind is Kind.CERT]
    context = {
        **({"verify_certificate_spki": keys} if keys else {}),
        **({"verify_certificate_hash": certificates} if certificates else {}),
    }
    return Exported(
        extra("yaml").safe_dump({"validation_context": context}, sort_keys=False), tuple(warnings)
    )
