# SPDX-License-Identifier: Apache-2.0
"""What holds the two engines together: the same question to both, and one answer."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
from support import need_extension

from pinverify.engine import python

try:
    from pinverify.engine import native
except ModuleNotFoundError:
    native = None  # type: ignore[assignment]


MINUTE = datetime.timedelta(minutes=1)
NOW = datetime.datetime(2027, 6, 1, 12, 0, 0, tzinfo=datetime.timezone.utc)
UNIX_NOW = int(NOW.timestamp())


@pytest.fixture(autouse=True, scope="module")
def engine() -> None:
    """In place of conftest's: a test here calls both engines itself."""
    need_extension()


@contextmanager
def using(module: ModuleType) -> Iterator[None]:
    with patch("pinverify.engine.engine", module):
        yield


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a call returns, or the class and the text of what it raises."""
    try:
        return function(*arguments)
    except Exception as error:
        return type(error), str(error)


def agreed(function: Callable[[ModuleType], Any]) -> Any:
    """The one outcome that the function has with either engine."""
    ours, theirs = outcome(function, native), outcome(function, python)
    assert ours == theirs, f"native {ours!r}, python {theirs!r}"
    return theirs
