# SPDX-License-Identifier: Apache-2.0
"""Formats in which pins are kept: the policy file, and what other systems have.

Each format is a module with the same two functions:

    read(data, *, source, host=None) -> Imported     raises InvalidPolicyFile and nothing else
    write(policy, *, host=None) -> Exported          raises InvalidPolicy for what the format cannot say

Both raise InvalidPolicy if a library of the extra `formats` is needed and not installed.

`source` is what to call the file in errors. `host` is for formats that know no hosts: the pattern to which
the pins belong; in writing, the entry to write, which may be left out if there is only one.

What a format cannot carry without a change of meaning is refused, or a warning has the words of the
difference; nothing is guessed.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from pinverify.errors import InvalidPolicy, shown
from pinverify.formats.common import SIZE_LIMIT, Exported, Imported, read_file

__all__ = [
    "NAMES",
    "SIZE_LIMIT",
    "WITHOUT_HOSTS",
    "Exported",
    "Imported",
    "format_named",
    "read_file",
]

NAMES = (
    "toml",
    "okhttp",
    "curl",
    "hpkp",
    "android",
    "trustkit",
    "apple",
    "envoy",
    "tlsa",
    "gnutls",
    "chromium",
    "bare",
)
WITHOUT_HOSTS = frozenset({"curl", "hpkp", "envoy", "bare"})


def format_named(name: str) -> ModuleType:
    """The module of a format; what it needs is imported only now. Raises InvalidPolicy if there is none."""
    if name not in NAMES:
        raise InvalidPolicy(f"{shown(name)} is not a format; there are {', '.join(NAMES)}")
    return importlib.import_module(f"pinverify.formats.{name}")
