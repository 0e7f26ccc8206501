# SPDX-License-Identifier: Apache-2.0
"""The cffi builder of `pinverify._native`; setup.py names its `ffi`.

Nothing here needs OpenSSL: the extension borrows the functions that it calls from cryptography's
binding at import.
"""

import os
import sysconfig
from pathlib import Path

from cffi import FFI

# What the cdef may name. cffi compiles it against these, so a prototype that has drifted does not build.
HEADERS = (
    "pv_cert.h",
    "pv_sha256.h",
    "pv_policy.h",
    "pv_decide.h",
    "pv_openssl.h",
    "pv_chain.h",
    "pv_guard.h",
    "pv_rules.h",
    "pv_handshake.h",
)

# setuptools runs this file from the project's root and wants paths relative to that root: an absolute one
# would put the build machine's directories in the sdist and in the object files.
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


def _below(pattern: str) -> list[str]:
    """The files of csrc/ that fit, relative to the root; sorted, so that a build is the same everywhere."""
    return sorted(path.relative_to(ROOT).as_posix() for path in HERE.glob(pattern))


WINDOWS = sysconfig.get_platform().startswith("win")
# Strict warnings are CI's business (tests/c/Makefile): a compiler of next year must not break an install.
COMPILE_ARGS = ["/std:c11", "/O2"] if WINDOWS else ["-std=c11", "-O2"]
# A glibc before 2.34 has pthread_atfork in a library of its own.
LINK_ARGS = [] if WINDOWS else ["-pthread"]


ffi = FFI()
ffi.cdef((HERE / "pinverify.cdef.h").read_text(encoding="utf-8"))
ffi.set_source(
    "pinverify._native",
    "".join(f'#include "{header}"\n' for header in HEADERS),
    sources=_below("pv_*.c"),
    depends=_below("*.h"),
    include_dirs=[HERE.relative_to(ROOT).as_posix()],
    extra_compile_args=COMPILE_ARGS,
    extra_link_args=LINK_ARGS,
    optional=os.environ.get("PINVERIFY_BUILD_NATIVE") != "1",
)
