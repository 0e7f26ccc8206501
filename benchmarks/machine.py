# SPDX-License-Identifier: Apache-2.0
"""On what the figures were taken."""

from __future__ import annotations

import os
import platform
import re
import ssl
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.common import first_line
from pinverify import engine_info

__all__ = ["describe"]

_PACKAGES = ("aiohttp", "asn1crypto", "cffi", "cryptography", "pycurl", "pyOpenSSL", "pyperf", "urllib3")


def describe() -> dict[str, str]:
    """The machine and the versions, in words."""
    info = engine_info()
    found = {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "SHA-256": info.sha256,
        "system": f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        "Python": sys.version.split()[0],
        "pinverify": info.versions["pinverify"],
        "OpenSSL of cryptography": info.versions["OpenSSL"],
        "OpenSSL of ssl": ssl.OPENSSL_VERSION,
        "nginx": first_line("/usr/sbin/nginx", "-v").partition(": ")[2],
        "Go": first_line("go", "version"),
        "C compiler": first_line(os.environ.get("CC", "cc"), "--version"),
    }
    found |= {package: _version(package) for package in _PACKAGES}
    return {name: value for name, value in found.items() if value}


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    model = re.search(r"model name\s*: (.*)", text)
    return model[1] if model else platform.processor()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
