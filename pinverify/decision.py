# SPDX-License-Identifier: Apache-2.0
"""Decision: what an engine says of a host and a chain, in the numbers that both engines use."""

from __future__ import annotations

import enum
from typing import NamedTuple

__all__ = ["Decision", "Reason", "Status"]


class Reason(enum.IntEnum):
    """Why a peer was refused or accepted; the same numbers as `enum pv_reason` of csrc/pv_decide.h."""

    INTERNAL = 0
    NOT_PINNED = 1
    DENIED = 2
    EXPIRED = 3
    UNLISTED = 4
    NO_REFERENCE = 5
    BAD_REFERENCE = 6
    MALFORMED = 7
    CHAIN_LENGTH = 8
    OPENSSL = 9
    SESSION = 10
    MOVED = 11
    # From here on the peer is accepted.
    PINNED = 12
    UNLISTED_OK = 13
    EXPIRED_OK = 14
    RESUMED = 15

    @property
    def accepts(self) -> bool:
        """Whether the reason alone accepts; a violation that is only reported is accepted without it."""
        return self >= Reason.PINNED

    @property
    def is_violation(self) -> bool:
        """Whether it is a verdict on pins, which an entry in report mode waives."""
        return self in (Reason.NOT_PINNED, Reason.DENIED, Reason.EXPIRED)


class Status(enum.IntEnum):
    """Which part of a certificate is not as RFC 5280 4.1 has it; the numbers of `enum pv_status` of
    csrc/pv_cert.h.
    """

    UNSET = 0
    OK = 1
    CERTIFICATE = 2
    TRAILING = 3
    TBS = 4
    VERSION = 5
    SERIAL = 6
    SIGNATURE = 7
    ISSUER = 8
    VALIDITY = 9
    SUBJECT = 10
    SPKI = 11
    SPKI_ALGORITHM = 12
    SPKI_KEY = 13
    ISSUER_UID = 14
    SUBJECT_UID = 15
    EXTENSIONS = 16
    TBS_TRAILING = 17
    SIGNATURE_ALGORITHM = 18
    SIGNATURE_VALUE = 19
    CERTIFICATE_TRAILING = 20

    @property
    def text(self) -> str:
        """What is wrong and where, as a clause for an error message."""
        return _STATUS_TEXT.get(self) or f"{_FIELDS[self]} is not the DER that RFC 5280 4.1 asks for"


_STATUS_TEXT = {
    Status.UNSET: "it was not looked at",
    Status.OK: "nothing is wrong with it",
    Status.CERTIFICATE: "it is not a DER SEQUENCE of at most 65,535 octets, or it is cut short",
    Status.TRAILING: "octets follow after its end",
    Status.TBS_TRAILING: "octets follow after the last field of tbsCertificate",
    Status.CERTIFICATE_TRAILING: "octets follow after signatureValue",
}
_FIELDS = {
    Status.TBS: "tbsCertificate",
    Status.VERSION: "[0] version",
    Status.SERIAL: "serialNumber",
    Status.SIGNATURE: "tbsCertificate.signature",
    Status.ISSUER: "issuer",
    Status.VALIDITY: "validity",
    Status.SUBJECT: "subject",
    Status.SPKI: "subjectPublicKeyInfo",
    Status.SPKI_ALGORITHM: "subjectPublicKeyInfo.algorithm",
    Status.SPKI_KEY: "subjectPublicKeyInfo.subjectPublicKey",
    Status.ISSUER_UID: "[1] issuerUniqueID",
    Status.SUBJECT_UID: "[2] subjectUniqueID",
    Status.EXTENSIONS: "[3] extensions",
    Status.SIGNATURE_ALGORITHM: "signatureAlgorithm",
    Status.SIGNATURE_VALUE: "signatureValue",
}


class Decision(NamedTuple):
    """What an engine says of a host and a chain: `struct pv_verdict` of csrc/pv_decide.h."""

    reason: Reason
    accepted: bool
    entry: int  # index of the policy's entry, or negative
    depth: int  # of the certificate that settled it, or -1
    status: Status  # what is wrong with that certificate, if MALFORMED
