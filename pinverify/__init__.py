# SPDX-License-Identifier: Apache-2.0
"""Pinned TLS contexts for pyOpenSSL: the decision falls inside the handshake, on the chain that was
verified.
"""

from pinverify.connection import connect, verdict
from pinverify.context import PinnedContext, Stats, client_context, server_context
from pinverify.decision import Reason
from pinverify.diagnosis import Diagnosis
from pinverify.errors import (
    InvalidHost,
    InvalidIdentity,
    InvalidPin,
    InvalidPolicy,
    InvalidPolicyFile,
    InvalidTrust,
    MalformedCertificate,
    PinExpiryWarning,
    PinRefused,
    PinverifyError,
)
from pinverify.identity import Identity
from pinverify.info import EngineInfo, engine_info, spki_sha256
from pinverify.pins import Kind, Pin, PinSet
from pinverify.policy import Policy
from pinverify.verdict import Verdict

__all__ = [
    "Diagnosis",
    "EngineInfo",
    "Identity",
    "InvalidHost",
    "InvalidIdentity",
    "InvalidPin",
    "InvalidPolicy",
    "InvalidPolicyFile",
    "InvalidTrust",
    "Kind",
    "MalformedCertificate",
    "Pin",
    "PinExpiryWarning",
    "PinRefused",
    "PinSet",
    "PinnedContext",
    "PinverifyError",
    "Policy",
    "Reason",
    "Stats",
    "Verdict",
    "client_context",
    "connect",
    "engine_info",
    "server_context",
    "spki_sha256",
    "verdict",
]
