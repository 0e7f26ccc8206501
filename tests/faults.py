# SPDX-License-Identifier: Apache-2.0
"""Faults: each OpenSSL function that an engine has borrowed, made to fail at one of its calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
from test_engines import PYTHON_GUARD, borrowed_in_c, borrowed_in_python

from pinverify.engine import (
    guard,
    openssl,
    python_connection,
    python_guard,
    python_handshake,
    python_message,
)

ffi = openssl.ffi
# Where the engines keep function pointers of the binding, but for the table of the one in C.
MODULES = (openssl, guard, python_connection, python_handshake, python_message, python_guard)


class Borrowed:
    """A borrowed function that counts its calls, and at the one number `at` gives `result` instead.

    A void function then does nothing.
    """

    def __init__(self, name: str, *, at: int = 0, result: Any = None) -> None:
        self.name, self.at, self.result = name, at, result
        self.real = ffi.addressof(openssl._lib, name)
        self.calls = 0

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        return self.result if self.calls == self.at else self.real(*arguments)

    @property
    def failures(self) -> list[Any]:
        """What the function returns, or might, where it fails."""
        result = ffi.typeof(self.real).result
        if result.kind == "void":
            return [None]
        if result.kind == "pointer":
            return [ffi.NULL]
        return [0] if result.cname.startswith("unsigned") else [0, -1]


def borrowed(engine: ModuleType) -> list[str]:
    """The names of all functions that an engine and what it shares with the other one have borrowed."""
    shared = borrowed_in_python("engine/openssl.py", "engine/guard.py")
    own = borrowed_in_c() if engine.NAME == "native" else borrowed_in_python(*PYTHON_GUARD)
    return sorted(shared | own)


def _globals() -> Iterator[tuple[ModuleType, str, Any]]:
    """Where the modules of the engines keep function pointers of the binding."""
    for module in MODULES:
        for name, value in vars(module).items():
            if isinstance(value, ffi.CData) and not name.startswith("on_"):
                yield module, name, value


def _table(engine: ModuleType) -> dict[str, int]:
    """The table of the engine in C: the place of each function."""
    places: dict[str, int] = {}
    if engine.NAME == "native":
        while (name := engine.lib.pv_openssl_name(len(places))) != engine.ffi.NULL:
            places[engine.ffi.string(name).decode()] = len(places)
    return places


@contextmanager
def called_through(engine: ModuleType, functions: list[Borrowed]) -> Iterator[None]:
    """Lets an engine call these in place of the functions that they stand for."""
    table, kept = _table(engine), []
    with pytest.MonkeyPatch.context() as patch:
        for function in functions:
            for module, name, value in list(_globals()):
                if value == function.real:
                    patch.setattr(module, name, function)
            if function.name in table:
                kept.append(ffi.callback(ffi.typeof(function.real).cname, function))
                _put(engine, table[function.name], kept[-1])
        try:
            yield
        finally:
            for function in functions:
                if function.name in table:
                    _put(engine, table[function.name], function.real)


def _put(engine: ModuleType, place: int, function: Any) -> None:
    assert engine.lib.pv_openssl_set(place, engine._foreign(function)) == 1
