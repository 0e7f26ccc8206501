# SPDX-License-Identifier: Apache-2.0
"""The shape of the package: what is public, what errors are, and which module may import which."""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import pickle
import pkgutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from OpenSSL import SSL
from support import need_extension

import pinverify
from pinverify import errors

PACKAGE = Path(pinverify.__file__).parent


@pytest.fixture(autouse=True)
def engine() -> None:
    """In place of conftest's: no engine runs here."""


# -- Names --


def test_all_is_the_public_namespace() -> None:
    """__all__ is sorted, and is all that stands in the package without an underscore, but for its modules."""
    assert pinverify.__all__ == sorted(set(pinverify.__all__))
    public = {name for name, value in vars(pinverify).items() if not name.startswith("_")}
    modules = {name for name in public if isinstance(getattr(pinverify, name), types.ModuleType)}
    assert public - modules == set(pinverify.__all__)


@pytest.mark.parametrize("name", pinverify.__all__)
def test_what_is_public_says_what_it_is(name: str) -> None:
    """Each public name has a docstring of its own, and so has each public method and property of a class."""
    value = getattr(pinverify, name)
    assert value.__module__.startswith("pinverify.")
    assert value.__doc__
    assert not isinstance(value, type) or not value.__doc__.startswith(
        f"{name}("
    )  # made by dataclass or tuple
    for member, attribute in vars(value).items() if isinstance(value, type) else ():
        described = isinstance(attribute, (property, classmethod, staticmethod, types.FunctionType))
        if described and not member.startswith("_"):
            assert inspect.getdoc(attribute), f"{name}.{member}"


def _modules() -> list[str]:
    """The modules of the package, but for the command line and the demonstration: those need an extra."""
    found = [
        info.name for info in pkgutil.walk_packages([str(PACKAGE)], "pinverify.", onerror=lambda _: None)
    ]
    return sorted(name for name in found if not name.split(".")[1].startswith(("_", "cli", "demo")))


@pytest.mark.parametrize("name", _modules())
def test_each_module_names_what_it_offers(name: str) -> None:
    """Each has a docstring and an __all__ whose names exist and are described."""
    if name == "pinverify.engine.native":
        need_extension()
    module = importlib.import_module(name)
    assert module.__doc__
    assert len(set(module.__all__)) == len(module.__all__)
    for offered in module.__all__:
        value = getattr(module, offered)
        # Not isinstance(value, type): on 3.10 an alias of Callable[...] poses as a class.
        if issubclass(type(value), type) or inspect.isfunction(value):
            assert value.__doc__, f"{name}.{offered}"


def test_the_package_gives_on_what_its_modules_offer() -> None:
    """Each public name is one that the module it comes from has in its __all__."""
    for name in pinverify.__all__:
        assert name in importlib.import_module(getattr(pinverify, name).__module__).__all__


def test_what_can_be_raised_is_public() -> None:
    """Every class of errors.py is a public name."""
    assert set(errors.__all__) <= set(pinverify.__all__)
    defined = {name for name, value in vars(errors).items() if inspect.isclass(value) and _is_ours(value)}
    assert defined == set(errors.__all__)


def _is_ours(value: type) -> bool:
    return value.__module__ == "pinverify.errors"


def test_what_public_functions_give_is_public() -> None:
    """Each class of the package that a public signature or field names can be imported from the package."""
    named = set()
    for name in pinverify.__all__:
        value = getattr(pinverify, name)
        members = [value, *(vars(value).values() if isinstance(value, type) else ())]
        for member in members:
            member = getattr(member, "fget", None) or getattr(member, "__func__", member)
            hints = getattr(member, "__annotations__", {})
            named |= {word for hint in hints.values() for word in _words(str(hint))}
    classes = named & _class_names()
    assert classes >= {"Diagnosis", "PinSet", "PinnedContext", "Reason", "Verdict"}
    # What a decision is made of, for the seam alone.
    assert classes - set(pinverify.__all__) <= {"Decision", "Compiled", "Anchors"}


def _words(hint: str) -> set[str]:
    return set("".join(c if c.isidentifier() or c.isdigit() else " " for c in hint).split())


def _class_names() -> set[str]:
    return {
        node.name for path in _sources() for node in ast.walk(_tree(path)) if isinstance(node, ast.ClassDef)
    }


def test_the_package_is_typed() -> None:
    """The marker of PEP 561 stands in it."""
    assert (PACKAGE / "py.typed").is_file()


# -- Errors --

HIERARCHY = {
    "PinverifyError": (Exception,),
    "InvalidPin": (errors.PinverifyError, ValueError),
    "InvalidPolicy": (errors.PinverifyError, ValueError),
    "InvalidPolicyFile": (errors.InvalidPolicy,),
    "InvalidHost": (errors.PinverifyError, ValueError),
    "InvalidTrust": (errors.PinverifyError, ValueError),
    "InvalidIdentity": (errors.PinverifyError, ValueError),
    "MalformedCertificate": (errors.PinverifyError, ValueError),
    "PinRefused": (errors.PinverifyError, SSL.Error),
    "PinExpiryWarning": (UserWarning,),
}


def test_the_errors_stand_where_callers_catch_them() -> None:
    """Each class has the bases that the design gives it, and no class is another's by accident."""
    assert {name: getattr(errors, name).__bases__ for name in errors.__all__} == HIERARCHY


@pytest.mark.parametrize("reason", pinverify.Reason)
def test_a_refusal_unpacks_as_errors_of_pyopenssl_do(reason: pinverify.Reason) -> None:
    """args[0] is a list of 3-tuples of text, with something in it, for each reason there is; it survives
    pickling.
    """
    refused = pinverify.PinRefused(pinverify.Verdict(reason, False, host="a.example", detail="d"))
    assert len(refused.args) == 1
    assert isinstance(refused.args[0], list)
    assert refused.args[0]
    for library, function, text in refused.args[0]:
        assert (library, function) == ("pinverify", reason.name.lower())
        assert "a.example" in text
    for twin in (pickle.loads(pickle.dumps(refused)), copy.copy(refused)):
        assert (type(twin), twin.args, twin.verdict) == (type(refused), refused.args, refused.verdict)


@pytest.mark.parametrize("name", sorted(set(HIERARCHY) - {"PinRefused", "InvalidPolicyFile"}))
def test_the_other_errors_carry_their_text_across_processes(name: str) -> None:
    """Pickling keeps class and arguments."""
    error = getattr(pinverify, name)("why")
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin), twin.args, str(twin)) == (type(error), ("why",), "why")


# -- Imports go downward only --

# From the bottom up. A module imports, when it is loaded, what stands ahead of it here and nothing else.
LAYERS = (
    "errors",
    "reading",
    "decision",
    "hostnames",
    "encodings",
    "identity",
    "pins",
    "diagnosis",
    "verdict",
    "policy",
    "formats.common",
    "formats.toml",
    "formats.okhttp",
    "formats.curl",
    "formats.hpkp",
    "formats.plists",
    "formats.android",
    "formats.trustkit",
    "formats.apple",
    "formats.envoy",
    "formats.chromium",
    "formats.tlsa",
    "formats.gnutls",
    "formats.bare",
    "formats",
    "engine.der",
    "engine.openssl",
    "engine.pyopenssl",
    "engine.rules",
    "engine.program",
    "engine.guard",
    "engine.python_connection",
    "engine.python_handshake",
    "engine.python_message",
    "engine.python_guard",
    "engine.python",
    "_native",
    "engine.native",
    "engine",
    "trust",
    "context",
    "connection",
    "info",
    "lint",
    "lint_live",
    "audit",
    "",  # the package itself
)
# What is imported upward, inside a function, when it is called: the seam to the engine, and what is seldom
# needed.
UPWARD = {
    ("pins", "encodings"),
    ("pins", "engine"),
    ("policy", "engine"),
    ("policy", "formats"),
    ("policy", "formats.toml"),
    ("policy", "verdict"),
}
TOP = ("cli", "demo", "__main__")  # may import all of the above, and nothing above imports them


def _sources() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if _name(path).split(".")[0] not in TOP)


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(tree: ast.AST, *, deferred: bool = False) -> Iterator[tuple[str, bool]]:
    """The modules of the package that are imported, and whether that happens only when a function is called.

    What only the type checker sees does not count.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((_known(alias.name), deferred) for alias in node.names if _in_package(alias.name))
        elif isinstance(node, ast.ImportFrom) and _in_package(node.module or ""):
            assert node.level == 0, "relative import"
            for alias in node.names:
                yield _known(f"{node.module}.{alias.name}"), deferred
        else:
            is_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _imports(node, deferred=deferred or is_function)


def _in_package(name: str) -> bool:
    return name.split(".")[0] == "pinverify"


def _known(name: str) -> str:
    """The module that `pinverify.a.b` is in, where b may be one of its names."""
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in (*LAYERS, *TOP):
        parts.pop()
    return ".".join(parts)


def test_each_module_has_its_layer() -> None:
    """The list above is the list of modules, so that a new one has to be given its place."""
    assert {_name(path) for path in _sources()} == set(LAYERS) - {"_native"}


@pytest.mark.parametrize("path", _sources(), ids=_name)
def test_imports_go_downward(path: Path) -> None:
    """When it is loaded, a module imports only what is below; upward only what is listed, when called."""
    name = _name(path)
    rank = LAYERS.index(name)
    for imported, deferred in _imports(_tree(path)):
        assert imported not in TOP
        if LAYERS.index(imported) >= rank:
            assert deferred, f"{name} imports {imported}"
            assert (name, imported) in UPWARD, f"{name} imports {imported}"


def test_no_upward_import_is_listed_in_vain() -> None:
    """The exceptions above are all in use."""
    used = {(_name(path), imported) for path in _sources() for imported, _ in _imports(_tree(path))}
    assert used >= UPWARD


@pytest.mark.parametrize(
    ("module", "users"),
    [
        ("_native", {"engine.native"}),
        ("engine.der", {"engine.python"}),
        ("engine.python_guard", {"engine.python"}),
        ("engine.python", {"engine"}),
        ("engine.native", {"engine"}),
    ],
)
def test_some_modules_have_one_user(module: str, users: set[str]) -> None:
    """The extension is touched by one module alone, and each engine by the one that picks it."""
    found = {_name(path) for path in _sources() if module in {name for name, _ in _imports(_tree(path))}}
    assert found == users


def test_errors_imports_nothing_of_the_package() -> None:
    """Not for the type checker either is more than a name taken."""
    [path] = [path for path in _sources() if _name(path) == "errors"]
    assert list(_imports(_tree(path))) == []


SELDOM_NEEDED = {
    "click",
    "rich",
    "idna",
    "tomli",
    "certifi",
    "platform",
    "importlib.metadata",
    "cryptography.hazmat.primitives.serialization",
    "pinverify.cli",
    "pinverify.demo",
    "pinverify.formats",
}


def test_importing_leaves_out_what_is_seldom_needed() -> None:
    """`import pinverify` loads nothing of the command line, and no library that few calls need."""
    already = "import sys, OpenSSL.SSL; already = set(sys.modules)"
    code = f"{already}; import pinverify; print(*sorted({SELDOM_NEEDED} & set(sys.modules) - already))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.strip() == ""
