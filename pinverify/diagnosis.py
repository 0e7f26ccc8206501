# SPDX-License-Identifier: Apache-2.0
"""Why a chain has no pinned key: what is known of the pins and of the chain, in one word."""

from __future__ import annotations

import base64
import enum
import hashlib
from collections.abc import Collection, Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path

from pinverify.errors import InvalidPin, MalformedCertificate
from pinverify.pins import Kind, Pin
from pinverify.reading import attempt, public_key, read

__all__ = ["Diagnosis", "diagnose", "is_public", "pin_of", "pins_of"]


class Diagnosis(enum.Enum):
    """A closer look at NOT_PINNED; the value is a sentence for people."""

    WRONG_KEY = "no certificate of the verified chain has a pinned key"
    KEY_ROTATED = (
        "no certificate of the verified chain has a pinned key: the server has another key than before, "
        "under the same name and the same CA, as after a renewal"
    )
    CA_CHANGED = (
        "no certificate of the verified chain has a pinned key: the server's certificate is of another CA "
        "than before"
    )
    LOCAL_CA = (
        "no certificate of the verified chain has a pinned key, and the chain ends in a CA that is not in "
        "the public list (certifi): unless that CA is your own, somebody intercepts the connection"
    )
    SENT_NOT_VERIFIED = (
        "a pinned key is in the chain that the peer sent but not in the one that was verified: either "
        "OpenSSL built another path to a trust anchor (a cross-signed root), or somebody appended a "
        "certificate that is not his"
    )
    CERTIFICATE_HASH = (
        "a pin is the hash of a whole certificate of this chain, given where the hash of its key is meant; "
        "write cert-sha256/… or, better, the key's pin"
    )
    KEY_HASH = (
        "a pin is the hash of a key of this chain, given where the hash of a whole certificate is meant; "
        "write sha256/… in place of cert-sha256/…"
    )
    WRONG_ENCODING = (
        "a pin is the hash of a key of this chain in another encoding (PEM, hexadecimal, PKCS #1, the bare "
        "key); it must be that of the SubjectPublicKeyInfo in DER (RFC 7469 2.4); `pinverify pins` prints it"
    )


def diagnose(
    chain: Sequence[bytes],
    sent: Sequence[bytes],
    allowed: Collection[Pin],
    *,
    former: Sequence[bytes] = (),
    of_client: bool = False,
) -> Diagnosis:
    """What is the matter with a verified chain (DER, leaf first) none of whose pins is allowed.

    `sent` is what the peer sent, and `former` a chain that the same host had when it was accepted, if there
    is one to compare with. `of_client`: the peer is a client, and as a rule its CA is the server's own.
    """
    for kind, diagnosis in ((Kind.SPKI, Diagnosis.CERTIFICATE_HASH), (Kind.CERT, Diagnosis.KEY_HASH)):
        if any(Pin(pin.digest, kind) in allowed for pin in pins_of(chain) if pin.kind is not kind):
            return diagnosis
    if not pins_of(sent).isdisjoint(allowed):
        return Diagnosis.SENT_NOT_VERIFIED
    digests = {pin.digest for pin in allowed}
    if any(hashlib.sha256(text).digest() in digests for der in chain for text in _other_encodings(der)):
        return Diagnosis.WRONG_ENCODING
    # Of a chain of one there is no CA to speak of: it is self-signed, or nothing but the leaf was looked at.
    if len(chain) > 1 and not of_client and not is_public(chain[-1]) and chain[-1] not in former:
        return Diagnosis.LOCAL_CA
    return _compared(chain, former) if former and chain else Diagnosis.WRONG_KEY


def _compared(chain: Sequence[bytes], former: Sequence[bytes]) -> Diagnosis:
    now, before = (read(leaf, lambda it: (it.issuer, it.subject)) for leaf in (chain[0], former[0]))
    if now is None or before is None:  # a name that cannot be read is not known to be the same, or another
        return Diagnosis.WRONG_KEY
    if now[0] != before[0]:
        return Diagnosis.CA_CHANGED
    return Diagnosis.KEY_ROTATED if now == before else Diagnosis.WRONG_KEY


def is_public(root_der: bytes) -> bool:
    """Whether a root is in the public list of CAs that certifi carries, Mozilla's."""
    return hashlib.sha256(root_der).digest() in _public_roots()


@cache
def _public_roots() -> frozenset[bytes]:
    import certifi

    from pinverify.encodings import pem_blocks

    pem = Path(certifi.where()).read_bytes()
    return frozenset(hashlib.sha256(base64.b64decode(body)).digest() for _, body in pem_blocks(pem))


# -- Pins of certificates that may be malformed --


@lru_cache(maxsize=256)  # for who looks at many chains: most are issued by few CAs
def pin_of(der: bytes) -> Pin | None:
    """The pin of a certificate's key, or None if it is malformed."""
    try:
        return Pin.from_certificate(der)
    except (MalformedCertificate, InvalidPin):  # the latter if it looks like PEM
        return None


def pins_of(chain: Sequence[bytes]) -> set[Pin]:
    """The pins of both kinds of each certificate that is well-formed."""
    keys = [(der, pin_of(der)) for der in chain]
    return {pin for der, key in keys if key is not None for pin in (key, Pin.from_certificate(der, "cert"))}


def _other_encodings(der: bytes) -> Iterator[bytes]:
    """What people hash in place of the SubjectPublicKeyInfo in DER."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    encodings = (
        (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        (Encoding.PEM, PublicFormat.PKCS1),
        (Encoding.DER, PublicFormat.PKCS1),
        (Encoding.X962, PublicFormat.UncompressedPoint),
        (Encoding.X962, PublicFormat.CompressedPoint),
        (Encoding.Raw, PublicFormat.Raw),
        (Encoding.OpenSSH, PublicFormat.OpenSSH),
    )
    key = public_key(der)

    def encoded(encoding: Encoding, form: PublicFormat) -> bytes:
        return attempt(lambda: key.public_bytes(encoding, form)) or b""  # not every key has every form

    pem = read(der, lambda certificate: certificate.public_bytes(Encoding.PEM)) or b""
    spki = encoded(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    texts = [
        *(encoded(encoding, form) for encoding, form in encodings),
        spki.hex().encode(),
        spki.hex().upper().encode(),
        base64.b64encode(spki),
        pem,
    ]
    for text in filter(None, texts):  # what there is none of has the hash of nothing
        yield from (text, text.rstrip(b"\n"))
