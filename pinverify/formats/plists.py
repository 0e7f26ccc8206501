# SPDX-License-Identifier: Apache-2.0
"""Property lists in XML, as iOS and macOS have them, for the formats that are kept in one."""

from __future__ import annotations

import plistlib
from typing import Any
from xml.parsers.expat import ExpatError

from pinverify.errors import InvalidPolicyFile
from pinverify.formats.common import Source

__all__ = ["plist_source", "read_plist", "write_plist"]


def plist_source(data: bytes, name: str) -> Source:
    """The text of a property list. Raises InvalidPolicyFile, for a binary one too."""
    if data.startswith(b"bplist"):
        raise InvalidPolicyFile(name, "it is a binary property list; `plutil -convert xml1` makes XML of it")
    return Source(data, name)


def read_plist(file: Source) -> dict[str, Any]:
    """The dictionary that the property list is. Whatever is wrong with it is InvalidPolicyFile."""
    try:
        found = plistlib.loads(file.text.encode(), fmt=plistlib.FMT_XML, dict_type=_Once)
    except ExpatError as error:
        file.fail(f"it is not XML: {error}", line=error.lineno)
    except Exception as error:  # plistlib does not say what it raises, and it is a good deal
        file.fail(f"it is no property list: {error or type(error).__name__}")
    return file.typed(found, dict, "a property list of pins")


def write_plist(value: dict[str, Any]) -> str:
    """The property list in XML."""
    return plistlib.dumps(value, sort_keys=False).decode()


class _Once(dict[str, Any]):
    """A dictionary that does not lose the first of two entries with the same key."""

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self:
            raise ValueError(f"the key {key!r} is there twice")
        super().__setitem__(key, value)
