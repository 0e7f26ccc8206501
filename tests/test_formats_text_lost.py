# SPDX-License-Identifier: Apache-2.0
"""Pins in the texts of other systems: what would be lost is warned of, or refused."""

from __future__ import annotations

from types import ModuleType

import pytest
from format_trees_lost import UNWRITTEN_TREES, WARNED_TREES, WRITTEN_TREES
from test_formats_text import B64, CERT, HEADER, HEX, HOST, NAMES_HOSTS, ONE, THREE, TWO
from test_formats_text_bad import ADD, MODULES, OWNER, read

from pinverify import InvalidPolicy, PinSet, Policy
from pinverify.formats import bare, chromium, curl, gnutls, hpkp, okhttp, tlsa

WARNED: dict[str, tuple[ModuleType, str, list[str]]] = {
    "okhttp": (okhttp, ADD, []),
    "okhttp, overlap": (
        okhttp,
        f'{ADD}.add("**.example", "{TWO}")',
        ["a.example: OkHttp unites its pins with those of **.example"],
    ),
    "curl": (curl, f"sha256//{B64}", ["the leaf's key alone"]),
    "hpkp": (hpkp, HEADER, ["max-age=5184000 counts from when"]),
    "hpkp, one pin": (hpkp, f'pin-sha256="{B64}"; max-age=5', ["max-age", "4.3 wants a backup"]),
    "hpkp, others": (
        hpkp,
        f'{HEADER}; report-uri="https://a.example/?a;b"; strict',
        ["max-age", "to 'https://a.example/?a;b'; here on_violation", "'strict' is no directive"],
    ),
    "tlsa": (
        tlsa,
        "".join(f"{OWNER} TLSA {usage} 1 1 {HEX}\n" for usage in range(4)),
        ["usage 0 (PKIX-TA)", "usage 1 (PKIX-EE)", "usage 2 (DANE-TA)", "usage 3 (DANE-EE)", "one port"],
    ),
    "gnutls": (gnutls, f"|c0|a.example|*|0|6|{HEX}", ["the leaf's key"]),
    "gnutls, more": (
        gnutls,
        f"|c0|a.example|443|5|6|{HEX}",
        ["expired is unknown", "a service", "leaf's key"],
    ),
    "bare": (bare, HEX, ["of the leaf alone"]),
} | WARNED_TREES


@pytest.mark.parametrize(("module", "text", "words"), WARNED.values(), ids=WARNED)
def test_a_difference_is_warned_of(module: ModuleType, text: str, words: list[str]) -> None:
    """What means another thing here is said, and nothing else."""
    warnings = read(module, text).warnings
    assert len(warnings) == len(words)
    for warning, part in zip(warnings, words, strict=True):
        assert part in warning


SPKI, WHOLE = PinSet([ONE]), PinSet([CERT])
EXPIRED = PinSet([ONE], expires="1970-01-01")
UNWRITTEN: dict[str, tuple[ModuleType, dict[str, PinSet], str]] = {
    "okhttp, overlap": (
        okhttp,
        {"a.b": SPKI, "**.b": PinSet([TWO])},
        "'a.b' and '\\*\\*.b' have hosts in common",
    ),
    "okhttp, one host": (
        okhttp,
        {"*.b": SPKI, "**.a.b": PinSet([TWO])},
        "'\\*.b' and '\\*\\*.a.b' have hosts",
    ),
    "okhttp, certificate": (okhttp, {HOST: WHOLE}, "no pins of that kind"),
    "curl, certificate": (curl, {HOST: WHOLE}, "no pins of that kind"),
    "curl, several": (curl, {HOST: SPKI, "a.b": SPKI}, "name the one to write"),
    "hpkp, one label": (hpkp, {"*.a.b": SPKI}, "'\\*.a.b' is for neither"),
    "hpkp, address": (hpkp, {"192.0.2.1": SPKI}, "is an address"),
    "hpkp, certificate": (hpkp, {HOST: WHOLE}, "no pins of that kind"),
    "tlsa, wildcard": (tlsa, {"*.a.b": SPKI}, "one host by name"),
    "tlsa, address": (tlsa, {"::1": SPKI}, "one host by name"),
    "tlsa, long": (tlsa, {"a." * 125 + "a": SPKI}, "too long"),
    "gnutls, wildcard": (gnutls, {"**.a.b": SPKI}, "by their whole name"),
    "gnutls, certificate": (gnutls, {HOST: WHOLE}, "no pins of that kind"),
    "gnutls, long ago": (gnutls, {HOST: EXPIRED}, "takes for never"),
    "bare, a key's": (bare, {HOST: SPKI}, "no pins of that kind"),
} | UNWRITTEN_TREES


@pytest.mark.parametrize(("module", "hosts", "words"), UNWRITTEN.values(), ids=UNWRITTEN)
def test_what_a_format_cannot_say_is_not_written(
    module: ModuleType, hosts: dict[str, PinSet], words: str
) -> None:
    """It would mean another thing there."""
    with pytest.raises(InvalidPolicy, match=words):
        module.write(Policy(hosts))


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_nothing_is_written_that_lets_in_more(module: ModuleType) -> None:
    """Denied keys are not left out; a server's policy has no hosts; an entry that is not there is none."""
    pin = CERT if module is bare else ONE
    if module is not chromium:  # which can say it
        with pytest.raises(InvalidPolicy, match="denies keys"):
            module.write(Policy({HOST: PinSet([pin, THREE], deny=[TWO])}))
    with pytest.raises(InvalidPolicy, match="no hosts"):
        module.write(Policy.of_clients([pin]))
    with pytest.raises(InvalidPolicy, match=r"as a whole|no entry"):
        module.write(Policy({HOST: [pin]}), host="a.b")
    if module not in NAMES_HOSTS:
        assert module.write(Policy({HOST: [pin], "a.b": [TWO]}), host="API.example.com.").text


WRITTEN: dict[str, tuple[ModuleType, PinSet, str]] = {
    "okhttp": (okhttp, SPKI, "OkHttp leaves them to the CAs"),
    "curl, leaf": (curl, SPKI, "the leaf's key alone"),
    "curl, host": (curl, SPKI, "the value names no host"),
    "hpkp, one pin": (hpkp, SPKI, "4.3 wants a backup"),
    "hpkp, age": (hpkp, SPKI, "the 60 days"),
    "hpkp, dead": (hpkp, SPKI, "no longer heed"),
    "hpkp, report": (hpkp, PinSet([ONE], mode="report"), "needs a report-uri"),
    "tlsa, both": (tlsa, SPKI, "each pin stands twice"),
    "tlsa, mail": (tlsa, SPKI, "RFC 7671 5.1 advises 3 1 1"),
    "tlsa, port": (tlsa, SPKI, "for port 443"),
    "tlsa, expiry": (tlsa, PinSet([ONE], expires="2027-01-01"), "when hosts are refused"),
    "gnutls, leaf": (gnutls, SPKI, "the leaf's key alone"),
    "gnutls, expiry": (gnutls, PinSet([ONE], expires="2027-01-01"), "it is unknown to GnuTLS"),
    "bare, leaf": (bare, WHOLE, "leaf's fingerprint alone"),
    "bare, several": (bare, PinSet([CERT, f"cert-{TWO}"]), "take one fingerprint"),
    "bare, expiry": (bare, PinSet([CERT], expires="2027-01-01", on_expiry="pkix"), "left to the CAs alone"),
} | WRITTEN_TREES


@pytest.mark.parametrize(("module", "pins", "words"), WRITTEN.values(), ids=WRITTEN)
def test_what_is_lost_in_writing_is_said(module: ModuleType, pins: PinSet, words: str) -> None:
    """Each way in which a format is another one has its warning."""
    assert any(words in warning for warning in module.write(Policy({HOST: pins})).warnings)
    if module is gnutls:
        assert "CAs" in gnutls.write(Policy({HOST: pins}, unlisted="pkix")).warnings[-1]
