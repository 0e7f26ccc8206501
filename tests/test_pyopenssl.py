# SPDX-License-Identifier: Apache-2.0
"""The private parts of pyOpenSSL that are relied on: a context is made only if they are there."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from OpenSSL._util import ffi
from pinned import pinned
from support import leaf

import pinverify
from pinverify import PinverifyError, server_context
from pinverify.engine import pyopenssl

PACKAGE = Path(pinverify.__file__).parent


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Has the next context look again, and the one after the test too."""
    pyopenssl.check.cache_clear()
    yield
    pyopenssl.check.cache_clear()


def copies_no_helper(patch: pytest.MonkeyPatch) -> None:
    real = SSL.Connection.__init__

    def make(self: SSL.Connection, *arguments: Any) -> None:
        real(self, *arguments)
        self._cookie_generate_helper = None

    patch.setattr(SSL.Connection, "__init__", make)


def has_another_helper(patch: pytest.MonkeyPatch) -> None:
    real = SSL.Connection.__init__

    def make(self: SSL.Connection, *arguments: Any) -> None:
        real(self, *arguments)
        del self._cookie_generate_helper

    patch.setattr(SSL.Connection, "__init__", make)


def asks_nobody(patch: pytest.MonkeyPatch) -> None:
    def raise_error(self: SSL.Connection, ssl: Any, result: int) -> None:
        raise SSL.WantReadError

    patch.setattr(SSL.Connection, "_raise_ssl_error", raise_error)


def loses_it_in_set_verify(patch: pytest.MonkeyPatch) -> None:
    def set_verify(self: SSL.Connection, mode: int, callback: Any = None) -> None:
        self._cookie_generate_helper = None

    patch.setattr(SSL.Connection, "set_verify", set_verify)


def keeps_callbacks_elsewhere(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SSL.Context, "set_info_callback", lambda self, callback: None)


def sets_its_helper_past_the_property(patch: pytest.MonkeyPatch) -> None:
    real = SSL.Connection.__init__

    def make(self: SSL.Connection, context: SSL.Context, *arguments: Any) -> None:
        real(self, context, *arguments)
        self._cookie_generate_helper = context.__dict__.get("_cookie_generate_helper")

    patch.setattr(SSL.Connection, "__init__", make)


CHANGES = [
    copies_no_helper,
    has_another_helper,
    asks_nobody,
    loses_it_in_set_verify,
    keeps_callbacks_elsewhere,
    sets_its_helper_past_the_property,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_pyopenssl_that_works_otherwise_makes_no_context(
    change: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a refusal could get lost, or a guard die early, no context is made; each time anew."""
    with monkeypatch.context() as patch:
        change(patch)
        for _ in range(2):
            with pytest.raises(PinverifyError, match="works in another way than pinverify relies on"):
                pinned()
            with pytest.raises(PinverifyError, match="README"):
                server_context(leaf("a.test").identity, clients=[leaf("a.test").pin])
    assert pinned()


def test_a_pyopenssl_with_callbacks_of_another_kind_makes_no_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of a callback has to be what the guard calls, or hands to OpenSSL."""
    real, kept = SSL.Context.set_info_callback, list[object]()

    def keep(self: SSL.Context, callback: Any) -> None:
        real(self, callback)
        kept.append(self._info_callback)
        self._info_callback = ffi.cast("void *", self._info_callback)

    monkeypatch.setattr(SSL.Context, "set_info_callback", keep)
    with pytest.raises(PinverifyError, match="works in another way than pinverify relies on"):
        pinned()


def test_private_names_stand_in_one_module() -> None:
    """No other module of the package takes a private attribute of anything but its own objects."""
    private = {name for kind in (SSL.Context, SSL.Connection) for name in _set_by(kind)}
    assert {"_ssl", "_context", "_verify_helper", "_cookie_generate_helper", "_info_callback"} <= private
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name != "pyopenssl.py":
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            taken = [node.attr for node in nodes if isinstance(node, ast.Attribute) and not _is_of_self(node)]
            assert not private & {*taken}, path


def _is_of_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"


def _set_by(kind: type) -> set[str]:
    """The private attributes that pyOpenSSL's class sets on itself."""
    module = ast.parse(Path(SSL.__file__).read_text(encoding="utf-8"))
    [found] = [node for node in module.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__]
    return {node.attr for node in ast.walk(found) if _is_of_self(node) and node.attr.startswith("_")}  # type: ignore[attr-defined]
