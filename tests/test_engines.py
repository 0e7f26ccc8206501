# SPDX-License-Identifier: Apache-2.0
"""Which engine runs in which build, what it refuses to run on, and that the numbers of C and Python agree."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import need_extension

import pinverify
from pinverify.decision import Decision, Reason, Status
from pinverify.engine import (
    openssl,
    program,
    python,
    python_connection,
    python_guard,
    python_handshake,
    python_message,
    rules,
)
from pinverify.hostnames import Match
from pinverify.pins import Kind

PROJECT = Path(__file__).resolve().parent.parent
CSRC = PROJECT / "csrc"


@pytest.fixture(autouse=True)
def engine() -> None:
    """In place of conftest's: what is tested here is the choice itself, in processes of their own."""


def run(*arguments: str, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs this Python with these arguments, and with the package at `path` if that is given.

    Then without `site`, whose hooks of an editable install would lead back to the sources.
    """
    env = {key: value for key, value in os.environ.items() if not key.startswith("PINVERIFY_")}
    options = []
    if path is not None:
        options = ["-S"]
        environment["PYTHONPATH"] = os.pathsep.join([str(path), *filter(None, sys.path)])
    command = [sys.executable, *options, "-W", "error", *arguments]
    return subprocess.run(
        command, env=env | environment, capture_output=True, text=True, timeout=120, cwd="/"
    )


INFO = "import json, pinverify; i = pinverify.engine_info(); print(json.dumps([i.name, i.reason, i.sha256]))"


def info(path: Path | None = None, **environment: str) -> list[str]:
    result = run("-c", INFO, path=path, **environment)
    assert result.returncode == 0, result.stderr
    found: list[str] = json.loads(result.stdout)
    return found


def import_error(path: Path | None = None, **environment: str) -> str:
    """The last line of what `import pinverify` fails with, which is an ImportError and nothing else."""
    result = run("-c", "import pinverify", path=path, **environment)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    return last


# -- The three states of a build --


def test_built_the_native_engine_runs() -> None:
    """With the extension and nothing asked for, the engine in C runs, and says why."""
    need_extension()
    name, reason, sha256 = info()
    assert (name, reason) == ("native", "the extension is there")
    assert sha256 in {"x86-sha", "armv8-sha2", "portable"}
    assert info(PINVERIFY_ENGINE="") == [name, reason, sha256]


def test_built_the_native_engine_can_be_asked_for() -> None:
    """With the extension, PINVERIFY_ENGINE=native is what runs anyway."""
    need_extension()
    assert info(PINVERIFY_ENGINE="native")[:2] == ["native", "PINVERIFY_ENGINE=native"]


def test_built_the_python_engine_can_be_asked_for() -> None:
    """PINVERIFY_ENGINE=python runs the other engine, and the extension is not even loaded."""
    assert info(PINVERIFY_ENGINE="python") == ["python", "PINVERIFY_ENGINE=python", "hashlib"]
    loaded = run(
        "-c", "import sys, pinverify; print('pinverify._native' in sys.modules)", PINVERIFY_ENGINE="python"
    )
    assert loaded.stdout == "False\n"


@pytest.mark.parametrize("asked", ["rust", "Native", "python ", "0"])
def test_an_unknown_engine_is_an_error(asked: str) -> None:
    """Another value of PINVERIFY_ENGINE fails the import and is named."""
    line = import_error(PINVERIFY_ENGINE=asked)
    assert repr(asked) in line
    assert "'native', 'python'" in line


@pytest.fixture(scope="module")
def pure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it is installed with PINVERIFY_BUILD_NATIVE=0."""
    source = tmp_path_factory.mktemp("source") / "pinverify"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(PROJECT / name, source)
    for name in ("pinverify", "csrc"):
        ignored = shutil.ignore_patterns("__pycache__", "_native*")
        shutil.copytree(PROJECT / name, source / name, ignore=ignored)
    target = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(target)]
    command = [sys.executable, "-m", "pip", "install", *options, str(source)]
    env = {**os.environ, "PINVERIFY_BUILD_NATIVE": "0"}
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    return target


@pytest.mark.slow
def test_not_built_the_python_engine_runs(pure: Path) -> None:
    """An install without the extension has none, works, and says why; so it does when python is asked for."""
    assert (pure / "pinverify" / "__init__.py").is_file()
    assert list((pure / "pinverify").glob("_native*")) == []
    assert info(pure) == ["python", "the extension was not built", "hashlib"]
    assert info(pure, PINVERIFY_ENGINE="python") == ["python", "PINVERIFY_ENGINE=python", "hashlib"]
    where = run("-c", "import pinverify; print(pinverify.__file__)", path=pure).stdout
    assert Path(where.strip()).is_relative_to(pure)


@pytest.mark.slow
def test_not_built_the_native_engine_cannot_be_had(pure: Path) -> None:
    """PINVERIFY_ENGINE=native without the extension fails the import, and says what to do."""
    line = import_error(pure, PINVERIFY_ENGINE="native")
    assert "PINVERIFY_ENGINE=native, but the extension was not built" in line
    assert "PINVERIFY_BUILD_NATIVE=1" in line


@pytest.mark.slow
def test_not_built_the_package_is_whole(pure: Path) -> None:
    """All modules and the marker of PEP 561 are installed, and a policy decides."""
    installed = {path.relative_to(pure).as_posix() for path in (pure / "pinverify").rglob("*.py")}
    assert installed == {
        path.relative_to(PROJECT).as_posix() for path in (PROJECT / "pinverify").rglob("*.py")
    }
    assert (pure / "pinverify" / "py.typed").is_file()
    code = "import pinverify as p; print(p.Policy({'a.b': [p.Pin(bytes(32))]}).decide('c.d', []).reason.name)"
    assert run("-c", code, path=pure).stdout == "UNLISTED\n"


@pytest.mark.parametrize("state", ["built", "asked for python", "not built"])
@pytest.mark.slow
def test_debug_tells_the_engine(state: str, request: pytest.FixtureRequest) -> None:
    """`python -m pinverify debug` prints engine, reason and versions in each state of a build."""
    if state == "built":
        need_extension()
    path = request.getfixturevalue("pure") if state == "not built" else None
    environment = {"PINVERIFY_ENGINE": "python"} if state == "asked for python" else {}
    result = run("-W", "default", "-m", "pinverify", "debug", path=path, **environment)
    assert result.returncode == 0, result.stderr
    facts = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in result.stdout.splitlines())
    assert [facts["engine"], facts["why"], facts["SHA-256"]] == info(path, **environment)
    assert facts["cryptography"] == pinverify.engine_info().versions["cryptography"]


def test_the_engine_that_runs_is_told() -> None:
    """engine_info() has the name, the reason, and the versions of all that is stood on."""
    found = pinverify.engine_info()
    assert found.name in {"native", "python"}
    assert {"pinverify", "pyOpenSSL", "cryptography", "cffi", "OpenSSL", "Python"} <= found.versions.keys()
    assert found.versions["OpenSSL"].startswith("OpenSSL ")
    assert all(found.versions.values())


# -- The table of borrowed functions --

# Imports the package over a binding that is not as it should be: again and again, each time with one function
# missing, then with one misstated, then with one constant that is another number. Prints what each came to.
PROBE = r"""
import json, sys
import OpenSSL.SSL, OpenSSL.crypto
from cryptography.hazmat.bindings._rust import _openssl

ffi, lib = _openssl.ffi, _openssl.lib
asked, read = [], []
lacking = misstated = wrong = None


class Lib:
    def __getattr__(self, name):
        read.append(name)
        value = getattr(lib, name)
        return value + 1 if name == wrong else value


class Type:
    cname = "int(*)(struct another *)"


class Borrowed:
    pass


class FFI:
    def __getattr__(self, name):
        return getattr(ffi, name)

    def addressof(self, library, name):
        asked.append(name)
        if name == lacking:
            raise AttributeError(name)
        return Borrowed() if name == misstated else ffi.addressof(lib, name)

    def typeof(self, value):
        return Type if isinstance(value, Borrowed) else ffi.typeof(value)


_openssl.ffi, _openssl.lib = FFI(), Lib()


def attempt():
    for name in list(sys.modules):
        if name.split(".")[0] == "pinverify" and name != "pinverify._native":
            del sys.modules[name]
    try:
        import pinverify
    except BaseException as error:
        return [type(error).__name__, str(error)]
    return None


found = {"whole": attempt(), "lacking": {}, "misstated": {}, "wrong": {}}
names, constants = sorted(set(asked)), sorted(set(read))
for lacking in names:
    found["lacking"][lacking] = attempt()
lacking = None
for misstated in names:
    found["misstated"][misstated] = attempt()
misstated = None
for wrong in constants:
    found["wrong"][wrong] = attempt()
print(json.dumps(found))
"""


@pytest.fixture(scope="module", params=["native", "python"])
def probed(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    if request.param == "native":
        need_extension()
    result = run("-W", "default", "-c", PROBE, PINVERIFY_ENGINE=request.param)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["whole"] is None
    return request.param, found


# The modules of the guard in Python.
PYTHON_GUARD = tuple(f"engine/python_{part}.py" for part in ("connection", "handshake", "message", "guard"))


def borrowed_in_python(*modules: str) -> set[str]:
    """The names of all functions that these modules borrow, out of their sources."""
    package = Path(pinverify.__file__).parent
    texts = [(package / module).read_text(encoding="utf-8") for module in modules]
    return {name for text in texts for name in re.findall(r'borrow\(\s*"(\w+)"', text)}


def borrowed_in_c() -> set[str]:
    return set(re.findall(r"^  F\([^,]+, (\w+),", (CSRC / "pv_openssl.h").read_text(), re.MULTILINE))


def test_a_function_that_is_missing_fails_the_import(probed: tuple[str, dict[str, Any]]) -> None:
    """For each function that either engine borrows: without it, importing is an ImportError that names it."""
    name, found = probed
    shared = borrowed_in_python("engine/openssl.py", "engine/guard.py", "trust.py")
    own = borrowed_in_c() if name == "native" else borrowed_in_python(*PYTHON_GUARD)
    assert len(own) > 15
    assert found["lacking"].keys() == shared | own
    for function, outcome in found["lacking"].items():
        kind, text = outcome
        assert kind == "ImportError"
        assert f"lacks the OpenSSL function {function};" in text
        assert "cryptography " in text


def test_a_function_with_another_prototype_fails_the_import(probed: tuple[str, dict[str, Any]]) -> None:
    """For each of them: with another prototype, importing is an ImportError with both."""
    _, found = probed
    assert found["misstated"].keys() == found["lacking"].keys()
    for function, outcome in found["misstated"].items():
        kind, text = outcome
        assert kind == "ImportError"
        assert f"states {function} as 'int(*)(struct another *)'; pinverify expects" in text


def test_a_constant_with_another_value_fails_the_import(probed: tuple[str, dict[str, Any]]) -> None:
    """For each of OpenSSL's constants that stands as a number here: another value is an ImportError."""
    _, found = probed
    assert found["wrong"].keys() >= openssl._CONSTANTS.keys()
    for constant in openssl._CONSTANTS:
        kind, text = found["wrong"][constant]
        assert kind == "ImportError"
        assert f" has {constant} = " in text


def test_both_engines_expect_the_same_prototypes() -> None:
    """A function that both borrow has one prototype, in C and in Python."""
    need_extension()
    from pinverify._native import ffi, lib

    in_c = {}
    while (name := lib.pv_openssl_name(len(in_c))) != ffi.NULL:
        in_c[ffi.string(name).decode()] = ffi.string(lib.pv_openssl_prototype(len(in_c))).decode()
    assert in_c.keys() == borrowed_in_c()
    assert lib.pv_openssl_prototype(len(in_c)) == ffi.NULL
    for name, prototype in in_c.items():
        assert openssl.borrow(name, prototype) != openssl.ffi.NULL
        assert lib.pv_openssl_set(len(in_c), ffi.NULL) == lib.pv_openssl_set(0, ffi.NULL) == 0


# -- The numbers --


def enumerators(header: str, name: str, prefix: str) -> dict[str, int]:
    """The members of an enum of csrc/, without their prefix; `name` is what its text begins with."""
    text = re.sub(r"//.*", "", (CSRC / header).read_text(encoding="utf-8"))
    [body] = re.findall(rf"enum {name}\s*{{(.*?)}}", text, re.DOTALL)
    found: dict[str, int] = {}
    value = -1
    for member in filter(None, (part.strip() for part in body.split(","))):
        word, _, number = (part.strip() for part in member.partition("="))
        value = int(number, 0) if number else value + 1
        found[word.removeprefix(prefix)] = value
    return found


def defined(header: str, name: str) -> int:
    [number] = re.findall(
        rf"^#define {name} (\w+)", (CSRC / header).read_text(encoding="utf-8"), re.MULTILINE
    )
    return int(number.rstrip("U"), 0)


def members(enum: Any) -> dict[str, int]:
    return {member.name: int(member) for member in enum}


def test_reasons_are_the_same_numbers() -> None:
    """enum pv_reason is Reason, and what accepts does in both."""
    reasons = enumerators("pv_decide.h", "pv_reason", "PV_")
    assert reasons.pop("REASON_COUNT") == len(Reason) == len(reasons)
    assert reasons == members(Reason)
    assert {reason for reason in Reason if reason.accepts} == {
        reason for reason in Reason if reason >= reasons["PINNED"]
    }


def test_statuses_are_the_same_numbers() -> None:
    """enum pv_status is Status, and each has words of its own."""
    statuses = enumerators("pv_cert.h", "pv_status", "PV_")
    renamed = {name.removeprefix("STATUS_").removeprefix("BAD_"): value for name, value in statuses.items()}
    assert renamed == members(Status)
    assert len({status.text for status in Status}) == len(Status)


def test_violations_are_the_same_reasons() -> None:
    """What report mode waives in pv_decide.c is what is_violation says."""
    text = (CSRC / "pv_decide.c").read_text(encoding="utf-8")
    [body] = re.findall(r"int is_violation\(.*?\) {(.*?)}", text, re.DOTALL)
    assert set(re.findall(r"PV_(\w+)", body)) == {reason.name for reason in Reason if reason.is_violation}


def test_matches_kinds_and_places_are_the_same_numbers() -> None:
    """enum pv_match is Match, pv_kind is Kind; the roles and what stands for no entry are the same."""
    assert enumerators("pv_policy.h", "pv_match", "PV_MATCH_") == members(Match)
    assert enumerators("pv_policy.h", "pv_kind", "PV_KIND_") == members(Kind)
    unlisted = enumerators("pv_policy.h", "", "PV_")
    assert unlisted == {name: getattr(program, name) for name in ("UNLISTED_DENY", "UNLISTED_PKIX")}
    need_extension()
    from pinverify.engine import native

    assert enumerators("pv_policy.h", "pv_role", "PV_ROLE_") == {"ALLOW": native._ALLOW, "DENY": native._DENY}
    assert native._NEVER == 2**63 - 1


def test_limits_are_the_same_numbers() -> None:
    """The caps on chains, names and elements agree."""
    from pinverify import hostnames, pins
    from pinverify.engine.der import Cursor, NotDER

    assert defined("pv_decide.h", "PV_MAX_CHAIN") == python._MAX_CHAIN
    assert enumerators("pv_connection.h", "", "PV_")["WORDS"] == python_connection._WORDS
    assert defined("pv_host.h", "PV_HOST_MAX") == hostnames._NAME_MAX
    assert defined("pv_sha256.h", "PV_SHA256_SIZE") == pins.DIGEST_SIZE
    cap = defined("pv_der.h", "PV_DER_MAX_CONTENTS")
    assert Cursor(b"\x04\x82" + cap.to_bytes(2, "big") + bytes(cap)).any()[0] == 4
    with pytest.raises(NotDER):
        Cursor(b"\x04\x83" + (cap + 1).to_bytes(3, "big") + bytes(cap + 1)).any()


def test_the_guards_agree_on_openssl() -> None:
    """OpenSSL's and TLS's numbers are the same in C and Python, and OpenSSL's the binding's own."""
    sources = ("pv_guard.c", "pv_connection.c", "pv_handshake.c", "pv_message.c")
    numbers = {name: number for source in sources for name, number in enumerators(source, "", "").items()}
    numbers |= enumerators("pv_connection.h", "pv_mark", "PV_")
    flags = numbers["CHECK_NEVER_SUBJECT"] | numbers["CHECK_NO_PARTIAL_WILDCARDS"]
    assert flags == python_message._CHECK_FLAGS
    pairs = {
        "GUARDED": openssl.GUARDED,
        "PROVEN": openssl.PROVEN,
        "VERIFY_PEER": python_guard._VERIFY_PEER,
        "VERIFY_FAIL_IF_NO_PEER_CERT": python_guard._VERIFY_FAIL_IF_NO_PEER_CERT,
        "SSL3_VERSION": python_connection._SSL3_VERSION,
        "SHUTDOWN_BOTH_WAYS": openssl._SHUTDOWN_BOTH_WAYS,
        "INFO_HANDSHAKE_DONE": python_handshake._HANDSHAKE_DONE,
        "SERVER_NAME_FATAL": python_handshake._SERVER_NAME_FATAL,
        "SERVER_NAME_UNUSED": python_handshake._SERVER_NAME_UNUSED,
        "ALERT_HANDSHAKE_FAILURE": python_handshake._ALERT_HANDSHAKE_FAILURE,
        "X509_OK": python_handshake._X509_OK,
        "X509_ERROR_APPLICATION_VERIFICATION": python_handshake._APPLICATION_VERIFICATION,
        "CONTENT_HANDSHAKE": python_message._HANDSHAKE,
        "MESSAGE_CLIENT_HELLO": python_message._CLIENT_HELLO,
        "MESSAGE_FINISHED": python_message._FINISHED,
        "ERROR_LIBRARY_SSL": openssl.ERROR_LIBRARY_SSL,
        "ERROR_CERTIFICATE_VERIFY_FAILED": openssl.ERROR_CERTIFICATE_VERIFY_FAILED,
    }
    assert {name: numbers[name] for name in pairs} == pairs
    constants = {
        "VERIFY_PEER": "SSL_VERIFY_PEER",
        "VERIFY_FAIL_IF_NO_PEER_CERT": "SSL_VERIFY_FAIL_IF_NO_PEER_CERT",
        "NAMETYPE_HOST": "TLSEXT_NAMETYPE_host_name",
        "SERVER_NAME_FATAL": "SSL_TLSEXT_ERR_ALERT_FATAL",
        "INFO_HANDSHAKE_DONE": "SSL_CB_HANDSHAKE_DONE",
        "SSL3_VERSION": "SSL3_VERSION",
        "CHECK_NEVER_SUBJECT": "X509_CHECK_FLAG_NEVER_CHECK_SUBJECT",
        "CHECK_NO_PARTIAL_WILDCARDS": "X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS",
        "X509_OK": "X509_V_OK",
        "X509_ERROR_APPLICATION_VERIFICATION": "X509_V_ERR_APPLICATION_VERIFICATION",
    }
    for name, constant in constants.items():
        assert numbers[name] == openssl._CONSTANTS[constant]
    messages = {
        python_message._SERVER_HELLOS | {python_message._CLIENT_HELLO}: {
            "MESSAGE_CLIENT_HELLO",
            "MESSAGE_SERVER_HELLO",
            "MESSAGE_ENCRYPTED_EXTENSIONS",
        },
        python_message._CERTIFICATES: {"MESSAGE_CERTIFICATE", "MESSAGE_COMPRESSED_CERTIFICATE"},
    }
    for kinds, names in messages.items():
        assert {numbers[name] for name in names} == kinds
    assert numbers.keys() == pairs.keys() | constants.keys() | set().union(*messages.values())


def test_the_rules_have_the_same_numbers() -> None:
    """What is done next, and what is waived, has the same numbers in C and Python, and where the binding has
    them OpenSSL's; the rules themselves are compared elsewhere.
    """
    text = (CSRC / "pv_rules.c").read_text(encoding="utf-8")
    waived = {int(number): name for number, name in re.findall(r"case (\d+):\s*// (X509_V_ERR_\w+)", text)}
    assert waived.keys() == rules._WAIVABLE
    bound = {
        number: getattr(openssl._lib, name) for number, name in waived.items() if hasattr(openssl._lib, name)
    }
    assert len(bound) > 20
    assert all(number == value for number, value in bound.items())
    actions = {action.name: action.value for action in rules.Action}
    assert enumerators("pv_rules.h", "pv_action", "PV_") == actions


def test_a_decision_has_the_fields_of_a_verdict_in_c() -> None:
    """struct pv_verdict and Decision have the same fields in the same order."""
    text = re.sub(r"//.*", "", (CSRC / "pv_decide.h").read_text(encoding="utf-8"))
    [body] = re.findall(r"struct pv_verdict {(.*?)}", text, re.DOTALL)
    assert tuple(re.findall(r"(\w+);", body)) == Decision._fields


def test_the_engines_offer_the_same() -> None:
    """Each name of the seam is offered by both, and nothing else is."""
    need_extension()
    from pinverify.engine import Engine, native

    seam = {name for name in {**vars(Engine), **Engine.__annotations__} if not name.startswith("_")}
    modules: tuple[ModuleType, ...] = (native, python)
    for module in modules:
        assert set(module.__all__) == seam
    assert [module.NAME for module in modules] == ["native", "python"]
