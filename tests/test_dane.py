# SPDX-License-Identifier: Apache-2.0
"""Pins-only mode and DANE-EE in OpenSSL agree: the key of the leaf decides, whatever else certificates say.

`openssl s_client` gets the pin as a TLSA record "3 1 1" and checks no name (RFC 7671 5.1). It judges servers
only; a client that sends the same certificates must get the same answer from a pinned server.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from ipaddress import ip_address
from typing import Any, NamedTuple

import pytest
from broken_der import DEFECTS, Element, as_v1, element, parsed, rewritten
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose
from cryptography.x509.oid import NameOID
from external import TLS_OPTION
from hostile import assert_broken_off, assert_outcome, both_roles, judge, ours
from hostile_script import Hostile, meet, sending
from OpenSSL import SSL
from OpenSSL._util import lib as openssl_lib
from OpenSSL.crypto import FILETYPE_ASN1, X509StoreFlags, load_privatekey
from pinned import ABSENT, HOST, both_versions
from support import DAY, PATIENCE, Background, Node, serving

from pinverify import Pin, PinnedContext, PinRefused, Reason, Verdict

NEW, OLD = SSL.TLS1_3_VERSION, SSL.TLS1_2_VERSION
Der = bytes
Change = Callable[[Element], bytes]

# -- Certificates --


@cache
def _made(kind: str, owner: str) -> Any:
    if kind.startswith("RSA-"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind[4:]))
    if kind.startswith("Ed"):
        return {"Ed25519": ed25519.Ed25519PrivateKey, "Ed448": ed448.Ed448PrivateKey}[kind].generate()
    return ec.generate_private_key({"P-256": ec.SECP256R1, "P-521": ec.SECP521R1}[kind]())


def key(kind: str = "P-256", owner: str = "device") -> Any:
    """The key of that kind that an owner has, the same one for each call."""
    return _made(kind, owner)


CRITICAL = (x509.BasicConstraints, x509.KeyUsage, x509.NameConstraints, x509.UnrecognizedExtension)
USUAL_CA = (x509.BasicConstraints(True, None),)


def certificate(
    *extensions: x509.ExtensionType,
    name: str | None = "device",
    owner: Any = None,
    issuer: Node | None = None,
    days: tuple[int, int] = (-1, 30),
    usual: tuple[x509.ExtensionType, ...] | None = None,
) -> Node:
    """A certificate for the key `owner`, self-signed without an issuer. Extensions replace the usual ones."""
    if usual is None:
        usual = (x509.BasicConstraints(False, None), names(HOST), purposes(*TLS))
    owner = owner or key()
    subject = x509.Name([] if name is None else [x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(owner.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
    )
    for extension in {type(extension): extension for extension in (*usual, *extensions)}.values():
        builder = builder.add_extension(extension, isinstance(extension, CRITICAL))
    signer = issuer.key if issuer else owner
    is_edwards = isinstance(signer, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return Node(builder.sign(signer, None if is_edwards else hashes.SHA256()), owner, issuer)


@cache
def root() -> Node:
    return certificate(name="root", owner=key(owner="root"), usual=USUAL_CA)


def ca(
    *extensions: x509.ExtensionType,
    name: str = "CA",
    kind: str = "P-256",
    issuer: Node | None = None,
    **options: Any,
) -> Node:
    """A CA under the root, unless another issuer is given."""
    options = {"usual": USUAL_CA, **options}
    return certificate(*extensions, name=name, owner=key(kind, name), issuer=issuer or root(), **options)


def names(*hosts: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])


def purposes(*oids: x509.ObjectIdentifier) -> x509.ExtendedKeyUsage:
    return x509.ExtendedKeyUsage(list(oids))


def usage(*granted: str) -> x509.KeyUsage:
    uses = "digital_signature content_commitment key_encipherment data_encipherment key_agreement"
    uses += " key_cert_sign crl_sign encipher_only decipher_only"
    return x509.KeyUsage(**{use: use in granted for use in uses.split()})


def addresses(address: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])


def excluding(name: x509.GeneralName) -> x509.NameConstraints:
    return x509.NameConstraints(None, [name])


def permitting(name: x509.GeneralName) -> x509.NameConstraints:
    return x509.NameConstraints([name], None)


TLS = (Purpose.SERVER_AUTH, Purpose.CLIENT_AUTH)
NOBODYS = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")
UNKNOWN = x509.UnrecognizedExtension(NOBODYS, b"\x05\x00")
PROXYS = (purposes(*TLS),)  # no name of its own, and no basic constraints

# -- Peers, which own a key and send certificates --


class Peer(NamedTuple):
    """A server or client that owns a key and sends certificates. OpenSSL would not send the `odd` ones."""

    key: Any
    ders: list[Der]
    odd: bool = False

    @property
    def pin(self) -> Pin:
        fields = parsed(self.ders[0])[0].children[0].children
        return Pin(hashlib.sha256(fields[6 if fields[0].tag == 0xA0 else 5].der).digest())

    def hostile(self, version: int) -> Hostile:
        return sending(certificate(owner=self.key), version, self.ders)

    def context(self, version: int, is_server: bool) -> SSL.Context:
        """An OpenSSL context that sends the certificates. Its own security level lets it do that."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD if is_server else SSL.TLS_CLIENT_METHOD)
        context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
        leaf, *above = map(x509.load_der_x509_certificate, self.ders)
        context.use_certificate(leaf)
        for issuer in above:
            context.add_extra_chain_cert(issuer)
        if isinstance(self.key, bytes):  # a kind of key that cryptography has no class for
            assert openssl_lib.SSL_CTX_use_PrivateKey(
                context._context, load_privatekey(FILETYPE_ASN1, self.key)._pkey
            )
        else:
            context.use_privatekey(self.key)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        if is_server:
            context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        return context


def alone(*extensions: x509.ExtensionType, kind: str = "P-256", **options: Any) -> Peer:
    """A peer that sends a self-signed certificate."""
    node = certificate(*extensions, owner=key(kind), **options)
    return Peer(node.key, [node.der])


def under(issuer: Node | None = None, *extensions: x509.ExtensionType, **options: Any) -> Peer:
    """A peer that sends a chain without its root."""
    node = certificate(*extensions, issuer=issuer or ca(), **options)
    return Peer(node.key, [sent.public_bytes(Encoding.DER) for sent in node.sent])


def with_root(peer: Peer) -> Peer:
    return peer._replace(ders=[*peer.ders, root().der])


def odd(peer: Peer) -> Peer:
    return peer._replace(odd=True)


def changed(peer: Peer, path: tuple[int, ...], change: Change | Der, *, depth: int = 0) -> Peer:
    """The peer with one element changed, or replaced, in the certificate at that depth."""
    ders = list(peer.ders)
    how = (lambda _: change) if isinstance(change, bytes) else change
    ders[depth] = rewritten(parsed(ders[depth])[0], path, how)
    return peer._replace(ders=ders)


def flipped(element_: Element) -> Der:
    return element(element_.tag, element_.body[:-1], bytes([element_.body[-1] ^ 1]))


def extended(peer: Peer, oid: Der, value: Der, *, critical: bool = False, depth: int = 0) -> Peer:
    """The peer with one extension more, whether or not there is one of that type."""
    more = element(0x30, oid, b"\x01\x01\xff" if critical else b"", element(0x04, value))
    return changed(peer, EXTENSIONS, lambda e: element(e.tag, e.body, more), depth=depth)


def signed(peer: Peer, by: str, algorithm: Der | None = None, *, kind: str = "P-256", depth: int = 0) -> Peer:
    """The peer with a certificate signed anew: after a change, or with a digest nobody signs with today."""
    tbs, old, _ = parsed(peer.ders[depth])[0].children
    algorithm = algorithm or old.der
    tbs_der = rewritten(tbs, (2,), lambda _: algorithm)
    digest = DIGESTS.get(algorithm, hashes.SHA256())
    how = [ec.ECDSA(digest)] if kind == "P-256" else [padding.PKCS1v15(), digest]
    signature = element(0x03, b"\0", key(kind, by).sign(tbs_der, *how))
    return changed(peer, (), element(0x30, tbs_der, algorithm, signature), depth=depth)


# Places in a certificate (RFC 5280 4.1), algorithms and extensions.
SIGNED_BY, SIGNATURE = (1,), (2,)
NOT_BEFORE, NOT_AFTER, SPKI, EXTENSIONS = (0, 4, 0), (0, 4, 1), (0, 6), (0, 7, 0)
KEY_TYPE, CURVE, KEY = (0, 6, 0, 0), (0, 6, 0, 1), (0, 6, 1)
NOBODYS_OID = bytes.fromhex("06032a0304")
SHA1_EC = element(0x30, bytes.fromhex("06072a8648ce3d0401"))
MD5_RSA = element(0x30, bytes.fromhex("06092a864886f70d010104"), b"\x05\x00")
DIGESTS: dict[Der, Any] = {SHA1_EC: hashes.SHA1(), MD5_RSA: hashes.MD5()}
RSA_PSS = element(0x30, bytes.fromhex("06092a864886f70d01010a"))
KEY_USAGE, ALT_NAME, CONSTRAINTS = (bytes.fromhex(f"0603551d{last}") for last in ("0f", "11", "1e"))
PROXY_INFO, NETWORKS_OF = bytes.fromhex("06082b0601050507010e"), bytes.fromhex("06082b06010505070107")
NETSCAPE_TYPE = bytes.fromhex("060960864801 86f8420101")
PROXY = element(0x30, element(0x30, bytes.fromhex("06082b06010505071501")))  # the policy: inherit all
IPV4, NETWORK = b"\x04\x02\x00\x01", b"\x03\x04\x00\xc0\x00\x02"  # 192.0.2.0/24
NETWORKS = element(0x30, element(0x30, IPV4, element(0x30, NETWORK)))
NETWORKS_TWICE = element(0x30, element(0x30, IPV4, element(0x30, NETWORK, NETWORK)))
P256 = (  # SEC 2 2.4.2: p, n, b and G
    "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b",
    "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
)
HOST_DER, MINIMUM = HOST.encode(), b"\x80\x01\x01"
MONTH_13 = element(0x17, b"99130100000000Z")


def explicit_curve() -> Der:
    """P-256 by its numbers in place of its name (RFC 3279 2.3.5), as old smart cards have it."""
    p, n, b, g = (bytes.fromhex(number) for number in P256)
    field, a = element(0x02, b"\0", p), element(0x04, p[:-1], bytes([p[-1] - 3]))
    return element(
        0x30,
        b"\x02\x01\x01",
        element(0x30, bytes.fromhex("06072a8648ce3d0101"), field),
        element(0x30, a, element(0x04, b)),
        element(0x04, b"\x04", g),
        element(0x02, b"\0", n),
        b"\x02\x01\x01",
    )


def rsa_pss() -> Peer:
    """A peer with a key that is for RSASSA-PSS alone (RFC 4055 1.2)."""
    peer = changed(alone(kind="RSA-2048"), (*SPKI, 0), RSA_PSS)
    private = peer.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return peer._replace(key=rewritten(parsed(private)[0], (1,), lambda _: RSA_PSS))


def constrained(name: x509.SubjectAlternativeName, subtree: Der) -> Peer:
    """A peer under a CA that permits a subtree as it stands there, which the builder may refuse to write."""
    value = element(0x30, element(0xA0, element(0x30, subtree)))
    return extended(under(None, name), CONSTRAINTS, value, critical=True, depth=1)


def proxy_under(issuer: Node) -> Peer:
    """A peer whose certificate is a proxy of its issuer's (RFC 3820)."""
    return signed(extended(under(issuer, usual=PROXYS), PROXY_INFO, PROXY, critical=True), "CA")


def reversed_above(peer: Peer) -> Peer:
    return peer._replace(ders=[peer.ders[0], *peer.ders[:0:-1]])


def long_chain(length: int) -> Peer:
    issuer = root()
    for number in range(length):
        issuer = certificate(name=f"CA {number}", issuer=issuer, usual=USUAL_CA)
    return under(issuer)


def circle() -> Peer:
    """A peer whose CAs have issued each other."""
    first = ca(issuer=ca(name="other"))
    return Peer(key(), [under(first).ders[0], first.der, ca(name="other", issuer=first).der])


# -- The table --

D, URI, Registered = x509.DNSName, x509.UniformResourceIdentifier, x509.RegisteredID

LEAVES: dict[str, Callable[[], Peer]] = {
    "self-signed": alone,
    "expired": lambda: alone(days=(-30, -1)),
    "not yet valid": lambda: alone(days=(1, 30)),
    "dates that are none": lambda: odd(changed(changed(alone(), NOT_BEFORE, MONTH_13), NOT_AFTER, MONTH_13)),
    "another name": lambda: alone(names("other.example")),
    "an address for a name": lambda: alone(addresses("192.0.2.1")),
    "a name as common name only": lambda: alone(name=HOST, usual=()),
    "no name at all": lambda: alone(name=None, usual=()),
    "for clients": lambda: alone(purposes(Purpose.CLIENT_AUTH)),
    "for servers": lambda: alone(purposes(Purpose.SERVER_AUTH)),
    "for code": lambda: alone(purposes(Purpose.CODE_SIGNING)),
    "for S/MIME by Netscape": lambda: extended(alone(), NETSCAPE_TYPE, b"\x03\x02\x05\x20"),
    "a key to sign certificates": lambda: alone(usage("key_cert_sign")),
    "a key to agree on keys": lambda: alone(usage("key_agreement")),
    "a key to encipher keys": lambda: alone(usage("key_encipherment"), kind="RSA-2048"),
    "unknown critical extension": lambda: alone(UNKNOWN),
    "doubled extension": lambda: odd(extended(alone(), ALT_NAME, element(0x30, b"\x82\x01a"))),
    "unreadable extension": lambda: odd(extended(alone(), KEY_USAGE, b"garbage")),
    "a network twice": lambda: extended(alone(), NETWORKS_OF, NETWORKS_TWICE),
    "to be stapled": lambda: alone(x509.TLSFeature([x509.TLSFeatureType.status_request])),
    "a CA": lambda: alone(x509.BasicConstraints(True, None)),
    "a proxy": lambda: extended(alone(usual=PROXYS), PROXY_INFO, PROXY, critical=True),
    "version 1": lambda: Peer(key(), [as_v1(certificate().der)]),
    "broken signature": lambda: changed(alone(), SIGNATURE, flipped),
    "RSA": lambda: alone(kind="RSA-2048"),
    "RSA-PSS": rsa_pss,
    "P-521": lambda: alone(kind="P-521"),
    "Ed25519": lambda: alone(kind="Ed25519"),
    "Ed448": lambda: alone(kind="Ed448"),
    "RSA of 1024 bits": lambda: alone(kind="RSA-1024"),
    "unknown curve": lambda: odd(changed(alone(), CURVE, NOBODYS_OID)),
    "unknown kind of key": lambda: odd(changed(alone(), KEY_TYPE, NOBODYS_OID)),
    "garbled key": lambda: odd(changed(alone(), KEY, b"\x03\x02\x00\x01")),
    "not DER": lambda: odd(changed(alone(), (0, 7), DEFECTS["length 83"])),
}
CHAINS: dict[str, Callable[[], Peer]] = {
    "in order": under,
    "with the root": lambda: with_root(under()),
    "no issuer": lambda: Peer(key(), under().ders[:1]),
    "leaf for code": lambda: under(None, purposes(Purpose.CODE_SIGNING)),
    "leaf with a broken signature": lambda: changed(under(), SIGNATURE, flipped),
    "leaf with an unknown signature": lambda: changed(under(), (*SIGNED_BY, 0), NOBODYS_OID),
    "leaf signed over SHA-1": lambda: signed(under(), "CA", SHA1_EC),
    "leaf signed over MD5": lambda: signed(under(ca(kind="RSA-2048")), "CA", MD5_RSA, kind="RSA-2048"),
    "leaf with an explicit curve": lambda: signed(changed(under(), CURVE, explicit_curve()), "CA"),
    "leaf of another key identifier": lambda: under(
        ca(x509.SubjectKeyIdentifier(b"y" * 20)), x509.AuthorityKeyIdentifier(b"x" * 20, None, None)
    ),
    "leaf with a network": lambda: signed(extended(under(), NETWORKS_OF, NETWORKS), "CA"),
    "proxy of a leaf": lambda: proxy_under(ca(usual=())),
    "proxy of a leaf that does not sign": lambda: proxy_under(ca(usage("key_agreement"), usual=())),
    "proxy of a CA": lambda: proxy_under(ca()),
    "CA expired": lambda: with_root(under(ca(days=(-30, -1)))),
    "CA not yet valid": lambda: with_root(under(ca(days=(1, 30)))),
    "CA with dates that are none": lambda: odd(with_root(changed(under(), NOT_AFTER, MONTH_13, depth=1))),
    "CA with a weak key": lambda: under(ca(kind="RSA-1024")),
    "CA with an unknown kind of key": lambda: odd(changed(under(), KEY_TYPE, NOBODYS_OID, depth=1)),
    "CA with an explicit curve": lambda: changed(under(), CURVE, explicit_curve(), depth=1),
    "CA signed over SHA-1": lambda: with_root(signed(under(), "root", SHA1_EC, depth=1)),
    "CA with a broken signature": lambda: with_root(changed(under(), SIGNATURE, flipped, depth=1)),
    "CA that signs no certificates": lambda: under(ca(usage("crl_sign"))),
    "CA for e-mail": lambda: under(ca(purposes(Purpose.EMAIL_PROTECTION))),
    "CA that is none": lambda: under(ca(x509.BasicConstraints(False, None))),
    "CA without basic constraints": lambda: under(ca(usual=())),
    "CA of version 1": lambda: Peer(key(), [under().ders[0], as_v1(ca().der)]),
    "CA with a shorter path": lambda: under(ca(name="CA 2", issuer=ca(x509.BasicConstraints(True, 0)))),
    "CA that excludes the name": lambda: under(ca(excluding(D("example.com")))),
    "CA that permits other names": lambda: under(ca(permitting(D("other.test")))),
    "two CAs that constrain": lambda: under(
        ca(permitting(D("other.test")), name="CA 2", issuer=ca(excluding(D("example.com"))))
    ),
    "CA that constrains what OpenSSL cannot": lambda: under(
        ca(excluding(Registered(NOBODYS))), x509.SubjectAlternativeName([Registered(NOBODYS)])
    ),
    "CA that constrains what is no name": lambda: under(
        ca(permitting(URI("example.com"))), x509.SubjectAlternativeName([URI("nonsense")])
    ),
    "CA that constrains from a depth on": lambda: constrained(names(HOST), element(0x82, HOST_DER) + MINIMUM),
    "CA with unreadable constraints": lambda: extended(under(), CONSTRAINTS, b"garbage", depth=1),
    "CA with an unknown critical extension": lambda: under(ca(UNKNOWN)),
    "CA with a doubled extension": lambda: extended(
        under(ca(usage("key_cert_sign"))), KEY_USAGE, b"\x03\x02\x01\x06", depth=1
    ),
    "in another order": lambda: reversed_above(under(ca(name="CA 2", issuer=ca()))),
    "in a circle": circle,
    "longer than OpenSSL follows": lambda: long_chain(110),
    "with one too many": lambda: Peer(key(), [*under().ders, ca(name="other").der]),
    "with the leaf twice": lambda: Peer(key(), [*under().ders, under().ders[0]]),
    "CA that is no certificate": lambda: odd(Peer(key(), [under().ders[0], b"\x30\x03\x02\x01\x00"])),
    "CA with an octet behind": lambda: odd(Peer(key(), [under().ders[0], ca().der + b"\0"])),
}
CASES = LEAVES | {f"chain: {name}": peer for name, peer in CHAINS.items()}

# Refused although the key is pinned: by both, or by pinverify where DANE-EE accepts.
REFUSED = {
    "RSA of 1024 bits": "the key is below the security level",
    "unknown curve": "OpenSSL has no use for the key",
    "unknown kind of key": "OpenSSL has no use for the key",
    "garbled key": "OpenSSL has no use for the key",
    "chain: CA that is no certificate": "OpenSSL reads all certificates before it verifies one",
    "chain: CA with an octet behind": "OpenSSL reads all certificates before it verifies one",
}
DIFFERS = {"not DER": "pinverify takes a key out of DER alone, lest two readers see two keys"}

# TLS 1.2 proves the key with other messages.
ALSO_OLD = [
    "self-signed",
    "expired",
    "for clients",
    "for servers",
    "a key to encipher keys",
    "unknown critical extension",
    "version 1",
    "RSA-PSS",
    "RSA of 1024 bits",
    "unknown curve",
    "chain: CA with a weak key",
    "chain: CA that signs no certificates",
    "chain: CA that excludes the name",
    "chain: CA that is no certificate",
]
RUNS = [(name, NEW) for name in CASES] + [(name, OLD) for name in ALSO_OLD]
every_case = pytest.mark.parametrize(
    ("name", "version"), RUNS, ids=[f"{name}-TLSv1.{version - 0x301}" for name, version in RUNS]
)


@cache
def peer_of(name: str) -> Peer:
    return CASES[name]()


# -- OpenSSL's verdict, and ours --


@contextmanager
def listening(peer: Peer, version: int) -> Iterator[int]:
    """The port of a server that is that peer."""
    if not peer.odd:
        with serving(peer.context(version, is_server=True)) as served:
            yield served.port
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = Background(lambda: peer.hostile(version).run(listener.accept()[0], True))
        yield listener.getsockname()[1]
        running.result(PATIENCE)


def dane(openssl: str, peer: Peer, version: int, *options: str, pin: Pin | None = None) -> bool:
    """Whether `openssl s_client` accepts that server by a TLSA record, which says what a pin does."""
    with listening(peer, version) as port:
        command = [openssl, "s_client", "-connect", f"127.0.0.1:{port}", "-brief", "-verify_return_error"]
        command += ["-dane_tlsa_domain", HOST, "-dane_tlsa_rrdata", f"3 1 1 {(pin or peer.pin).digest.hex()}"]
        command += ["-dane_ee_no_namechecks", TLS_OPTION[version], *options]
        ended = subprocess.run(
            command,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "OPENSSL_CONF": os.devnull},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    said = (ended.stdout + ended.stderr).decode(errors="replace")
    accepted = "matched EE certificate at depth 0" in said and "Verification: OK" in said
    assert accepted == (ended.returncode == 0), said
    return accepted


@cache
def openssl_accepts(openssl: str, name: str, version: int) -> bool:
    return dane(openssl, peer_of(name), version)


def meeting(context: PinnedContext, peer: Peer, version: int, is_server: bool) -> Verdict | Exception:
    """What a connection of ours says of a peer."""
    if peer.odd:
        return meet(context, peer.hostile(version), is_server=is_server)
    return judge(context, peer.context(version, not is_server), is_server=is_server)


@every_case
def test_openssl_says_what_the_table_says(program: Callable[[str], str], name: str, version: int) -> None:
    """DANE-EE of OpenSSL accepts a server whose key is in the record, and refuses it, as the table says."""
    assert openssl_accepts(program("openssl"), name, version) == (name not in REFUSED)


def test_openssl_refuses_another_key(program: Callable[[str], str]) -> None:
    """A record with another key makes `openssl s_client` refuse: it is the record that it judges by."""
    assert not dane(program("openssl"), peer_of("self-signed"), NEW, pin=ABSENT)


@every_case
@both_roles
def test_a_pinned_key_gets_the_verdict_of_dane_ee(name: str, version: int, is_server: bool) -> None:
    """A peer whose key is pinned is accepted and refused as the table says, as a server and as a client."""
    peer = peer_of(name)
    said = meeting(ours([peer.pin], "pins", is_server), peer, version, is_server)
    if name in REFUSED or name in DIFFERS:
        assert isinstance(said, SSL.Error), said
    else:
        assert_outcome(said, Reason.PINNED)


@every_case
@both_roles
def test_nothing_is_waived_for_another_key(name: str, version: int, is_server: bool) -> None:
    """The same peer is refused when another key is pinned; for that, if OpenSSL would have let it in."""
    peer = peer_of(name)
    said = meeting(ours([ABSENT], "pins", is_server), peer, version, is_server)
    if name in REFUSED or name in DIFFERS:
        assert isinstance(said, SSL.Error), said
    else:
        assert_outcome(said, Reason.NOT_PINNED)


@both_versions
@both_roles
@pytest.mark.parametrize(
    "name",
    [
        "self-signed",
        "for code",
        "a key to sign certificates",
        "version 1",
        "chain: leaf with a broken signature",
    ],
)
def test_a_peer_has_to_own_the_key(name: str, version: int, is_server: bool) -> None:
    """Whoever sends the certificate of a pinned key and owns another key fails at the signature of TLS."""
    thief = odd(peer_of(name)._replace(key=key(owner="thief")))
    said = meeting(ours([thief.pin], "pins", is_server), thief, version, is_server)
    assert_broken_off(said, "bad signature")


def test_tls_12_wants_an_ec_key_that_may_sign(program: Callable[[str], str]) -> None:
    """In TLS 1.2 OpenSSL refuses a server by itself, DANE-EE or pin, whose EC certificate forbids signatures
    (RFC 8422 5.5); a client it takes.
    """
    peer = odd(peer_of("a key to agree on keys"))
    assert not dane(program("openssl"), peer, OLD)
    assert_broken_off(meeting(ours([peer.pin], "pins", False), peer, OLD, False), "bad ecc cert")
    assert_outcome(meeting(ours([peer.pin], "pins", True), peer, OLD, True), Reason.PINNED)


@both_roles
def test_the_security_level_is_the_programs(program: Callable[[str], str], is_server: bool) -> None:
    """A weak key that is pinned is accepted on a lower security level, as by DANE-EE."""
    peer, ciphers = peer_of("RSA of 1024 bits"), "DEFAULT:@SECLEVEL=1"
    assert dane(program("openssl"), peer, NEW, "-cipher", ciphers)
    context = ours([peer.pin], "pins", is_server)
    context.set_cipher_list(ciphers.encode())
    assert_outcome(meeting(context, peer, NEW, is_server), Reason.PINNED)


# Checks that OpenSSL makes only if a program asks for them: the option of s_client, the flags of the store,
# whether DANE-EE accepts, and the error. DANE-EE skips most of them. A pin waives none: whoever turns a check
# on wants its refusals.
ASKED = {
    "a CRL": ("-crl_check", X509StoreFlags.CRL_CHECK, True, 3),
    "not to be revoked": ("-crl_check", X509StoreFlags.CRL_CHECK, True, 23),
    "strictness": ("-x509_strict", X509StoreFlags.X509_STRICT, True, 85),
    "a policy": ("-explicit_policy", X509StoreFlags.EXPLICIT_POLICY | X509StoreFlags.POLICY_CHECK, True, 43),
    "Suite B": ("-suiteB_128", 0x30000, False, 57),  # X509_V_FLAG_SUITEB_128_LOS, which pyOpenSSL lacks
}


@both_roles
@pytest.mark.parametrize(("option", "flags", "accepts", "error"), ASKED.values(), ids=ASKED)
def test_what_the_program_asked_for_is_not_waived(
    program: Callable[[str], str], option: str, flags: int, accepts: bool, error: int, is_server: bool
) -> None:
    """Checks that are off unless the program turns them on refuse a pinned key too."""
    peer = under(owner=key("RSA-2048") if option == "-suiteB_128" else key())
    assert dane(program("openssl"), peer, NEW, option) == accepts
    context = ours([peer.pin], "pins", is_server)
    store = context.get_cert_store()
    assert store is not None
    store.set_flags(flags)
    if error == 23:
        store.add_crl(revoking(peer))
    said = meeting(context, peer, NEW, is_server)
    assert isinstance(said, PinRefused), said
    assert said.verdict.reason is Reason.OPENSSL
    assert f"(X509 error {error} at depth 0)" in str(said)


def revoking(peer: Peer) -> x509.CertificateRevocationList:
    """A CRL of the CA that has the peer's certificate in it."""
    now = datetime.datetime.now(datetime.timezone.utc)
    serial = x509.load_der_x509_certificate(peer.ders[0]).serial_number
    entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - DAY).build()
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca().certificate.subject)
    builder = builder.last_update(now - DAY).next_update(now + DAY).add_revoked_certificate(entry)
    return builder.sign(ca().key, hashes.SHA256())
