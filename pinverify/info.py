# SPDX-License-Identifier: Apache-2.0
"""Which engine runs, why, and on what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pinverify import engine as engines
from pinverify.engine import openssl

__all__ = ["EngineInfo", "engine_info", "spki_sha256"]


class EngineInfo(NamedTuple):
    """`name` is "native" or "python", `sha256` the code that hashes on this CPU, `versions` by package."""

    name: str
    reason: str
    sha256: str
    versions: Mapping[str, str]


def engine_info() -> EngineInfo:
    """Which engine decides in this process and why, and the versions of all that it stands on."""
    import platform  # seldom needed, as importlib.metadata is

    packages = ("pinverify", "pyOpenSSL", "cryptography", "cffi", "idna", "certifi")
    versions = {
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.system()} {platform.machine()}",
        "OpenSSL": openssl.version(),
        **{package: _version(package) for package in packages},
    }
    return EngineInfo(engines.engine.NAME, engines.reason, engines.engine.cpu_features(), versions)


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:  # used from its sources, or frozen into a program
        return "unknown"


def spki_sha256(certificate_der: bytes) -> bytes:
    """The SHA-256, 32 bytes, of the SubjectPublicKeyInfo as it stands in a DER certificate (RFC 5280
    4.1.2.7).

    It is what `sha256/...` pins hold (RFC 7469 2.4). Raises MalformedCertificate.
    """
    return engines.engine.sha256(engines.engine.spki(certificate_der))
