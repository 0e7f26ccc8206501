# SPDX-License-Identifier: Apache-2.0
"""How pinning failed elsewhere: the explanation of a refusal raised, so that a hostile certificate stopped a
server's loop or a scan (P21).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import pytest
from broken_der import DEFECTS, Element, anything, certificates, element, parsed, paths, rewritten
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given
from OpenSSL import SSL, crypto
from pinned import ABSENT, HOST, both_versions, pinned, raw, refusal
from support import Node, accepting, exchange, intermediate, leaf, make_node, root, server_ssl, serving, shake
from test_cli import pinverify as command

import pinverify
from pinverify import (
    Identity,
    InvalidIdentity,
    InvalidTrust,
    Pin,
    PinRefused,
    PinSet,
    Policy,
    Reason,
    Verdict,
    client_context,
    server_context,
)
from pinverify.audit import Audit, Target
from pinverify.cli.chain import links
from pinverify.diagnosis import diagnose
from pinverify.lint_live import lint_live
from pinverify.reading import days_left, not_after, public_key
from pinverify.trust import load_anchors
from pinverify.verdict import subject_of

# cryptography warns of such certificates, and pyOpenSSL of its own objects, the only ones that can hold them.
pytestmark = [
    pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Passing pyOpenSSL X509 objects:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Attribute's length must be:UserWarning"),
]

Change = Callable[[Element], bytes]

# -- Certificates that OpenSSL accepts, and cryptography does not --

VERSION, SERIAL, SUBJECT, COMMON_NAME = (0, 0), (1,), (5,), (5, 0, 0, 1)
NOT_AFTER, CURVE, KEY, EXTENSION = (4, 1), (6, 0, 1), (6, 1), (7, 0, 0)
# By name: an element of tbsCertificate, and what becomes of it. A chain with one of these still verifies.
VERIFIABLE: dict[str, tuple[tuple[int, ...], Change]] = {
    "version 2": (VERSION, lambda e: element(2, b"\x01")),
    "version 4": (VERSION, lambda e: element(2, b"\x03")),
    "a BIT STRING in a name": (COMMON_NAME, lambda e: element(3, b"\x00", e.body)),
    "an empty RDN": ((5, 0), lambda e: element(0x31)),
    "a SEQUENCE in a name": (COMMON_NAME, lambda e: element(0x30, e.der)),
    "what is not ASCII in a name": (COMMON_NAME, lambda e: element(0x13, b"\xff\xfe\x00\x1b[2J")),
    "T61 in a name": (COMMON_NAME, lambda e: element(0x14, b"\xff\xfe")),
    "an attribute of one's own in a name": ((5, 0, 0, 0), lambda e: element(6, b"\x2a\x03\x04")),
    "200 characters in a name": (COMMON_NAME, lambda e: element(0x0C, b"a" * 200)),
    "nothing in a name": (COMMON_NAME, lambda e: element(0x0C)),
    "no name": (SUBJECT, lambda e: element(0x30)),
    "a negative serial": (SERIAL, lambda e: element(2, b"\xff\x01")),
    "serial 0": (SERIAL, lambda e: element(2, b"\x00")),
    "a serial of 200 octets": (SERIAL, lambda e: element(2, b"\x7f" * 200)),
    "the last year there is": (NOT_AFTER, lambda e: element(0x18, b"99991231235959Z")),
}
# Not so with one of these.
UNVERIFIABLE: dict[str, tuple[tuple[int, ...], Change]] = {
    "a curve of one's own": (CURVE, lambda e: element(6, b"\x2a\x03\x04")),
    "a point off its curve": (KEY, lambda e: element(3, b"\x00\x04", bytes(64))),
    "half a point": (KEY, lambda e: element(3, e.body[:30])),
    "a kind of key of one's own": ((6, 0, 0), lambda e: element(6, b"\x2a\x03\x04")),
    "an extension twice": (EXTENSION, lambda e: e.der * 2),
    "an extension cut short": ((7, 0, 0, 2), lambda e: element(4, e.body[:-1])),
    "a thirteenth month": (NOT_AFTER, lambda e: element(0x17, b"301301000000Z")),
    "a year 0": (NOT_AFTER, lambda e: element(0x18, b"00000101000000Z")),
}
ODD = {**VERIFIABLE, **UNVERIFIABLE}


def odd(name: str, node: Node, signer: Node) -> bytes:
    """The certificate of a node with a change, signed anew."""
    path, change = ODD[name]
    tbs = rewritten(parsed(node.certificate.tbs_certificate_bytes)[0], path, change)
    algorithm = parsed(node.der)[0].children[1].der
    signature = signer.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return element(0x30, tbs, algorithm, element(3, b"\x00", signature))


def showing(context: SSL.Context, der: bytes, node: Node) -> SSL.Context:
    """The context, showing this certificate in place of the node's, and those above it."""
    context.use_certificate(crypto.load_certificate(crypto.FILETYPE_ASN1, der))
    for certificate in node.sent[1:]:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(node.key)
    return context


NODE = intermediate().issue(HOST)


def odd_server(name: str, version: int | None = None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    if version is not None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    return showing(context, odd(name, NODE, intermediate()), NODE)


each_odd = pytest.mark.parametrize("name", VERIFIABLE)


def story(verdict: Verdict, *, former: tuple[bytes, ...] = ()) -> str:
    """All that a verdict tells, in every way there is."""
    told = [str(verdict), verdict.summary, verdict.explain(), verdict.explain(former=former), verdict.remedy]
    told += [str(verdict.diagnosis), str(verdict.diagnose(former=former)), repr(links(verdict))]
    return "\n".join(told)


# -- In handshakes --


@both_versions
@each_odd
def test_p21_a_refusal_is_told(name: str, version: int) -> None:
    """The error has its text, with the pin of the certificate that cannot be read, and a diagnosis."""
    error = refusal(raw(pinned(pin=ABSENT)), accepting(odd_server(name, version)))
    assert error.verdict.reason is Reason.NOT_PINNED
    assert str(NODE.pin) in str(error)
    told = story(error.verdict, former=(leaf(HOST).der, intermediate().der, root().der))
    assert f'add it to the entry: "{NODE.pin}"' in told
    if name in ("version 2", "version 4", "a BIT STRING in a name", "an empty RDN"):
        assert f"{NODE.pin}  (unreadable)" in told


@both_versions
@each_odd
def test_p21_report_mode_reports_and_lets_in(
    name: str, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What is only reported is not refused since its report cannot be made; the log has it."""
    context = client_context({HOST: PinSet([ABSENT], mode="report")}, trust=root().certificate)
    client, server = raw(context), accepting(odd_server(name, version))
    with caplog.at_level(logging.WARNING, "pinverify"):
        assert shake(client, server) == (None, None)
    assert exchange(client, server) == b"ping"
    assert str(NODE.pin) in caplog.text
    assert context.stats().reported == 1


@both_versions
@each_odd
def test_p21_a_pinned_key_is_known_in_it(name: str, version: int) -> None:
    """The right key is accepted, and the verdict on it told."""
    client, server = raw(pinned(pin=NODE.pin)), accepting(odd_server(name, version))
    assert shake(client, server) == (None, None)
    verdict = pinverify.verdict(client)
    assert verdict.reason is Reason.PINNED
    assert str(NODE.pin) in story(verdict)


@both_versions
@each_odd
def test_p21_a_server_tells_of_its_clients(name: str, version: int) -> None:
    """The loop of a server that prints the error goes on, whatever a stranger shows."""
    stranger = make_node("stranger")
    caller = showing(SSL.Context(SSL.TLS_CLIENT_METHOD), odd(name, stranger, stranger), stranger)
    caller.set_max_proto_version(version)
    context = server_context(leaf(HOST).identity, clients=[ABSENT])
    _, error = shake(raw(caller), accepting(context))
    assert isinstance(error, PinRefused)
    assert str(stranger.pin) in f"{error}"
    assert str(stranger.pin) in story(error.verdict)


@pytest.mark.parametrize("name", ["version 4", "a BIT STRING in a name"])
def test_p21_an_audit_goes_on(name: str) -> None:
    """A hostile host has its outcome, and so have those behind it."""
    good = server_ssl(leaf(HOST))
    with serving(odd_server(name)) as bad, serving(good) as rest, ThreadPoolExecutor(1) as executor:
        hosts = [Target(HOST, port, ("127.0.0.1", port)) for port in (bad.port, rest.port, rest.port)]
        audit = Audit(Policy({HOST: [leaf(HOST).pin]}), trust=root().pem, timeout=30)
        found = list(audit.run(hosts, executor, jobs=1))
    assert [outcome.reason for outcome in found] == ["NOT_PINNED", "PINNED", "PINNED"]
    assert found[0].pins[0] == str(NODE.pin)
    assert (found[0].days_left is None) == (name == "version 4")


# -- On the command line --


@pytest.mark.parametrize("name", ["version 4", "a BIT STRING in a name", "an empty RDN"])
@pytest.mark.parametrize("form", ["text", "json", "table"])
def test_p21_check_prints_the_chain(name: str, form: str, tmp_path: Path) -> None:
    """`pinverify check` has its exit status and the chain, in every form, compared with a former one too."""
    trust, former = tmp_path / "root.pem", tmp_path / "former.pem"
    trust.write_bytes(root().pem)
    der = odd(name, NODE, intermediate())
    former.write_bytes(pem_of(der) + intermediate().pem + root().pem)
    with serving(odd_server(name)) as seen:
        where = ["check", f"127.0.0.1:{seen.port}", "--name", HOST, "--trust", trust, "--former", former]
        for pin, status in ((ABSENT, 1), (NODE.pin, 0)):
            result = command(*where, "--pin", pin, "--format", form)
            assert (result.exit_code, result.stderr) == (status, "")
            assert str(NODE.pin) in result.stdout
            assert "(unreadable)" in result.stdout
            if form == "json":
                assert json.loads(result.stdout)["chain"][0]["pin"] == str(NODE.pin)


@pytest.mark.parametrize("name", ["version 4", "a BIT STRING in a name", "an empty RDN"])
@pytest.mark.parametrize("form", ["lines", "json", "table"])
def test_p21_pins_prints_what_a_server_sends(name: str, form: str) -> None:
    """`pinverify pins HOST` prints the pin of a certificate that it cannot read otherwise."""
    with serving(odd_server(name)) as seen:
        result = command("pins", f"127.0.0.1:{seen.port}", "--format", form)
    assert result.exit_code == 0
    assert str(NODE.pin) in result.stdout
    assert "(unreadable)" in result.stdout


@pytest.mark.parametrize("name", ["version 4", "a BIT STRING in a name"])
def test_p21_lint_of_a_live_host(name: str) -> None:
    """A pinned certificate whose end cannot be read is said to match, without days."""
    with serving(odd_server(name)) as seen:
        policy, at = Policy({HOST: [NODE.pin, ABSENT]}), {HOST: ("127.0.0.1", seen.port)}
        found = {finding.code: finding for finding in lint_live(policy, trust=root().pem, addresses=at)}
    assert str(NODE.pin) in found["matched"].why
    assert "(unreadable)" in found["matched"].why
    assert ("its end cannot be read" in found["matched"].why) == (name == "version 4")


# -- Whatever a certificate holds --


def openssl_takes(der: bytes) -> bool:
    try:
        crypto.load_certificate(crypto.FILETYPE_ASN1, der)
    except crypto.Error:
        return False
    return True


def tell_all(der: bytes) -> None:
    """Tells of a certificate in every place of a chain, for every reason; only what is raised matters."""
    whole, good = (der, intermediate().der, der), tuple(leaf(HOST).ders)
    entry = PinSet([ABSENT], deny=[root().pin], expires="2020-01-01")
    for reason in Reason:
        verdict = Verdict(reason, False, HOST, HOST, entry, 0, whole, whole, "detail")
        story(verdict, former=good)
        story(Verdict(reason, reason.accepts, None, None, entry, 2, good, whole), former=whole)
    assert diagnose(good, whole, [ABSENT], former=whole) in pinverify.Diagnosis
    for of_issuer in (False, True):
        assert subject_of(der, of_issuer=of_issuer).isprintable()
    days, end = days_left(der, datetime.now(timezone.utc)), not_after(der)
    assert (days is None) == (end is None)
    public_key(der)


@pytest.mark.parametrize("name", ODD)
def test_p21_telling_never_raises(name: str) -> None:
    """OpenSSL accepts the certificate, and all that can be told of it is told."""
    der = odd(name, NODE, intermediate())
    assert openssl_takes(der)
    tell_all(der)


def single_defects() -> list[bytes]:
    """A certificate with each defect at each of its elements, as far as OpenSSL accepts the outcome."""
    tree = parsed(leaf(HOST).der)[0]
    ders = {rewritten(tree, path, DEFECTS[name]) for path in paths(tree) for name in SMALL}
    return sorted(filter(openssl_takes, ders))


SMALL = sorted(DEFECTS.keys() - {"over the cap", "as large as can be"})


@pytest.mark.slow
def test_p21_telling_never_raises_for_a_single_defect() -> None:
    """Of all that OpenSSL accepts with one element changed, everything can be told."""
    ders = single_defects()
    assert len(ders) > 300
    for der in ders:
        tell_all(der)


@example(certificates()[0])
@example(b"-----BEGIN")
@given(anything)
def test_p21_telling_never_raises_for_anything(der: bytes) -> None:
    """The same holds for certificates with several defects, and for what OpenSSL does not accept."""
    tell_all(der)


def pem_of(der: bytes) -> bytes:
    return crypto.dump_certificate(crypto.FILETYPE_PEM, crypto.load_certificate(crypto.FILETYPE_ASN1, der))


@pytest.mark.parametrize("name", ["version 4", "a thirteenth month"])
def test_what_cannot_be_read_is_no_anchor_and_no_identity(name: str, tmp_path: Path) -> None:
    """One's own certificates have to be readable: the errors are those of every other bad input."""
    der = odd(name, NODE, intermediate())
    file = tmp_path / "own.pem"
    file.write_bytes(pem_of(der) + NODE.key_pem)
    for trust in (der, pem_of(der), str(file)):
        with pytest.raises(InvalidTrust):
            load_anchors(trust)
    with pytest.raises(InvalidIdentity):
        Identity.load(str(file))


@pytest.mark.parametrize("name", ["a curve of one's own", "a point off its curve"])
def test_an_identity_whose_key_cannot_be_read(name: str) -> None:
    """The certificate can be read, its key cannot, and the error says which certificate it is."""
    der = odd(name, NODE, intermediate())
    with pytest.raises(InvalidIdentity, match=HOST):
        Identity.load(pem_of(der) + NODE.key_pem)


def test_an_identity_with_a_name_that_cannot_be_read() -> None:
    """Where its key is not the one given, that is said all the same."""
    der = odd("a BIT STRING in a name", NODE, intermediate())
    with pytest.raises(InvalidIdentity, match=r"first certificate, \(unreadable subject\)"):
        Identity.load(pem_of(der) + leaf(HOST).key_pem)


def test_p21_what_can_be_read_is_told_as_before() -> None:
    """Subject, issuer, end and key of an ordinary certificate are still there."""
    der = leaf(HOST).der
    assert subject_of(der) == f"CN={HOST}"
    assert subject_of(der, of_issuer=True) == "CN=root intermediate"
    assert days_left(der, datetime.now(timezone.utc)) == 29
    spki = public_key(der).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert Pin.from_public_key(spki) == leaf(HOST).pin
