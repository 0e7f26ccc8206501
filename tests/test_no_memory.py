# SPDX-License-Identifier: Apache-2.0
"""No memory (P06): each allocation of the engines fails in turn, each of the interpreter's, and each of
OpenSSL's while it judges a peer. No bad peer is let in, and nothing crashes. Those of csrc/ itself fail in
tests/c/test_memory.c.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import missing
from OpenSSL import SSL
from pinned import ABSENT
from support import PATIENCE, accepting, leaf, root, server_ssl, shake

import pinverify
from pinverify import PinSet, Policy, client_context
from pinverify.engine import openssl, python_guard, python_handshake, python_message

TESTS = Path(__file__).resolve().parent
ADDRESS = "192.0.2.1"

# -- In the engines --


# What cffi makes an object for, and what csrc/ says that it has no memory for: with 0, or with NULL.
OF_CFFI = ("new", "new_handle", "gc", "cast", "from_buffer", "buffer", "string")
WITH_ZERO = ("pv_policy_set_entry", "pv_policy_set_pins", "pv_policy_add_pattern")
WITH_NULL = ("pv_policy_new", "pv_guard_new")


class Failing:
    """Stands for an object whose functions `names` fail at one call, the number `at` of all in `calls`."""

    def __init__(self, real: Any, names: tuple[str, ...], fail: Callable[[], Any]) -> None:
        self._real, self._names, self._fail = real, names, fail
        self.calls, self.at = list[str](), 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        return partial(self._call, name, real) if name in self._names else real

    def _call(self, name: str, real: Callable[..., Any], *arguments: Any) -> Any:
        self.calls.append(name)
        return self._fail() if len(self.calls) - 1 == self.at else real(*arguments)


def no_memory() -> None:
    raise MemoryError("no room")


@contextmanager
def failing(engine: ModuleType, at: int) -> Iterator[list[str]]:
    """Makes the call number `at` fail, from 0 on, of all that want memory; gives the names called."""
    things = [(openssl, "ffi", OF_CFFI, no_memory)]
    for module in (python_guard, python_handshake, python_message):
        things.append((module, "_ffi", OF_CFFI, no_memory))
    if engine.NAME == "native":
        null = engine.ffi.NULL
        things += [(engine, "lib", WITH_ZERO, lambda: 0), (engine, "lib", WITH_NULL, lambda: null)]
        things += [(engine, "ffi", OF_CFFI, no_memory)]
    calls = list[str]()
    with pytest.MonkeyPatch.context() as patch:
        for place, name, names, fail in things:
            stand_in = Failing(getattr(place, name), names, fail)
            stand_in.calls, stand_in.at = calls, at
            patch.setattr(place, name, stand_in)
        yield calls


def sends(policy: Policy, told: list[object]) -> bool:
    """Whether a client whose context is made by this policy sends data to the server of the address."""
    context = client_context(policy, trust=root().pem, on_violation=told.append)
    client = context.connection(ADDRESS)
    shake(client, accepting(server_ssl(leaf(ADDRESS))))
    try:
        client.send(b"secret")
    except SSL.Error:
        return False
    return pinverify.verdict(client).accepted


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("mode", ["enforce", "report"])
@pytest.mark.parametrize("is_pinned", [True, False], ids=["pinned", "not pinned"])
def test_p06_an_engine_without_memory_lets_nobody_in(is_pinned: bool, mode: Any, engine: ModuleType) -> None:
    """Whichever call fails, there is a MemoryError or the peer is refused, and nobody is let in untold; when
    there is memory again, the same policy judges rightly.
    """
    pins = PinSet([leaf(ADDRESS).pin if is_pinned else ABSENT], mode=mode)
    is_good = is_pinned or mode == "report"
    for at in count():
        policy, told, let_in = Policy({ADDRESS: pins}), list[object](), False
        with failing(engine, at) as calls, suppress(MemoryError, pinverify.PinverifyError):
            let_in = sends(policy, told)
        if at >= len(calls):
            break
        assert not let_in or is_pinned or told
        assert not let_in or is_good
        assert sends(policy, told) == is_good
    assert let_in == is_good
    assert at > 10


# -- In the interpreter --

# Prints for each case, for each of our first two steps, and for 1 and 16 allocations in a row that fail
# (at more CPython gives up): what the step raises without a fault, how many faults there were, how many
# changed that, how many let data be sent, and at how many CPython itself crashed.
INTERPRETER = r"""
import os
import sys
from contextlib import suppress
from functools import partial
from itertools import count, product

import _testcapi
from OpenSSL import SSL
from pinned import ABSENT, HOST, VERSIONS, pinned, raw
from support import accepting, client_ssl, leaf, offered, root, server_ssl, session_after, shake, use_session

from pinverify import PinRefused, client_context, server_context

sys.unraisablehook = lambda unraisable: None
DEVICE = leaf("device.test", under="clients")


def in_one_record(flight):
    # Handshake messages of TLS 1.2 in one record (RFC 5246 6.2.1): nothing else is heard of in between.
    messages, rest = b"", flight
    while rest[:1] == b"\x16":
        end = 5 + int.from_bytes(rest[3:5], "big")
        messages, rest = messages + rest[5:end], rest[end:]
    return flight if rest else flight[:3] + len(messages).to_bytes(2, "big") + messages


def advance(end, far):
    with suppress(SSL.WantReadError):
        end.do_handshake()
    with suppress(SSL.WantReadError):
        far.bio_write(in_one_record(end.bio_read(1 << 16)))


def as_client(version, context, host=HOST, resumes=False):
    near, far = raw(context, host=host), accepting(servers[version])
    if resumes:
        session = session_after(raw(context), accepting(servers[version]))
        use_session(near, offered(session, version))  # also where the guard keeps it from being
    return near, far


def as_server(version, pin):
    caller = client_ssl(DEVICE)
    caller.set_max_proto_version(version)
    near, far = accepting(server_context(leaf(HOST).identity, clients=[pin])), raw(caller)
    advance(far, near)
    return near, far


def ending(near, far, turn, start, stop):
    # What our step number `turn` raises, and whether data can be sent at last. Within that step allocations
    # fail from the number `start` on up to `stop`.
    error = None
    for _ in range(turn):
        advance(near, far)
        advance(far, near)
    try:
        _testcapi.set_nomemory(start, stop)
        try:
            near.do_handshake()
        finally:
            _testcapi.remove_mem_hooks()
    except Exception as raised:  # a SystemError too: CPython does not always know what it lacks
        error = raised.verdict.reason.name if isinstance(raised, PinRefused) else str(type(raised))
    shake(near, far)
    try:
        near.send(b"secret")
    except SSL.Error:
        return error, False
    return error, True


servers = {version: server_ssl(leaf(HOST), version=version) for version in VERSIONS.values()}
for server in servers.values():
    server.set_tlsext_servername_callback(lambda connection: None)  # it resumes what it made for any name
several = client_context({HOST: [leaf(HOST).pin], "192.0.2.1": [ABSENT]}, trust=root().pem)
sole, absent = pinned(), pinned(pin=ABSENT)
other = pinned("other.test", pin=leaf(HOST).pin)
CASES = {
    "pinned": lambda version: as_client(version, sole),
    "a session": lambda version: as_client(version, sole, resumes=True),
    "client": lambda version: as_server(version, DEVICE.pin),
    "bad key": lambda version: as_client(version, absent),
    "bad name": lambda version: as_client(version, other, host="other.test"),
    "bad session": lambda version: as_client(version, several, resumes=True),
    "bad session of another host": lambda version: as_client(version, sole, "other.test", resumes=True),
    "bad client": lambda version: as_server(version, ABSENT),
}


def sweep(connect, turn, span, first):
    # Writes a line for each number of an allocation from `first` on, until the faults are past the end.
    usual, in_a_row = ending(*connect(), turn, 1 << 20, 1 << 21), 0
    for at in count(first):
        found = ending(*connect(), turn, at, at + span)
        in_a_row = in_a_row + 1 if found == usual else 0
        os.write(1, f"{found != usual:d}{found[1]:d} ".encode())
        if in_a_row == 40:
            return


for (name, connect), version, turn, span in product(CASES.items(), VERSIONS.values(), range(2), (1, 16)):
    results = []
    while results[-40:] != ["00"] * 40 and results[-40:] != ["01"] * 40:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(writing, 1)
            sweep(partial(connect, version), turn, span, len(results) + 1)
            os._exit(0)
        os.close(writing)
        with open(reading) as lines:
            results += lines.read().split()
        if os.waitpid(child, 0)[1] != 0:
            results.append("crash")
    changed, let_in = sum(found[0] == "1" for found in results), sum(found[1:] == "1" for found in results)
    usual, crashes = ending(*connect(version), turn, 1 << 20, 1 << 21)[0], results.count("crash")
    print(name, version, turn, span, usual, len(results), changed, let_in, crashes, sep=",", flush=True)
"""


# Why those are refused in the second step where there is memory.
REASONS = {
    "bad key": "NOT_PINNED",
    "bad name": "OPENSSL",
    "bad session": "SESSION",
    "bad session of another host": "SESSION",
    "bad client": "NOT_PINNED",
}


@pytest.mark.slow
def test_p06_an_interpreter_without_memory_lets_nobody_in(engine: ModuleType) -> None:
    """For each allocation of CPython's in a handshake: if it and those after it fail, so that a callback may
    not even be called, a bad peer is refused and a bad session too, and nothing crashes.
    """
    if importlib.util.find_spec("_testcapi") is None:
        missing("_testcapi, CPython's own test module")
    path = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
    result = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", INTERPRETER],
        env={**os.environ, "PYTHONPATH": path, "PINVERIFY_ENGINE": engine.NAME},
        capture_output=True,
        text=True,
        timeout=8 * PATIENCE,
    )
    assert result.returncode == 0, result.stderr
    lines = [line.split(",") for line in result.stdout.splitlines()]
    assert len(lines) == 8 * 2 * 2 * 2
    for name, _, turn, _, usual, faults, _, let_in, crashes in lines:
        assert int(faults) >= 40
        assert turn == "0" or usual == REASONS.get(name, usual)
        assert (int(let_in) == 0) == name.startswith("bad")
        # From 3.12 on a list comprehension without memory crashes (https://github.com/python/cpython/issues/151119).
        assert int(crashes) == 0 or sys.version_info >= (3, 12)
    assert sum(int(changed) for *_, changed, _, _ in lines) > 100


# -- In OpenSSL --

# Prints, for each number of an allocation that fails, whether data would be sent to the peer afterwards.
SCRIPT = """
import ctypes
from contextlib import suppress
from itertools import count

from cryptography.hazmat.bindings import _rust
from OpenSSL import SSL
from pinned import ABSENT, HOST, VERSIONS, pinned, raw
from support import accepting, client_ssl, leaf, server_ssl, shake

from pinverify import server_context

malloc = ctypes.PyDLL(PRELOADED)
malloc.arm.argtypes = [ctypes.c_size_t, ctypes.c_size_t, ctypes.c_long]
malloc.disarm.restype = ctypes.c_long
places = [line.split()[0].split("-") for line in open("/proc/self/maps") if _rust.__file__ in line]
start, end = min(int(place[0], 16) for place in places), max(int(place[1], 16) for place in places)
DEVICE = leaf("device.test", under="clients")


def as_client(version, pin):
    context = pinned(pin=pin)
    return lambda: (raw(context), accepting(servers[version]))


def as_server(version, pin):
    context = server_context(leaf(HOST).identity, clients=[pin or DEVICE.pin])
    caller = client_ssl(DEVICE)
    caller.set_max_proto_version(version)
    return lambda: (accepting(context), raw(caller))


def advance(near, far):
    with suppress(SSL.WantReadError):
        near.do_handshake()
    with suppress(SSL.WantReadError):
        far.bio_write(near.bio_read(1 << 16))


def sends(near, far, number):
    # Up to where the peer's certificate is about to be read.
    advance(far, near)
    advance(near, far)
    advance(far, near)
    malloc.arm(start, end, number)
    with suppress(SSL.Error):
        near.do_handshake()
    was_there = malloc.disarm() > number
    shake(near, far)
    try:
        near.send(b"secret")
    except SSL.Error:
        return False, was_there
    return True, was_there


servers = {version: server_ssl(leaf(HOST), version=version) for version in VERSIONS.values()}
for make in (as_client, as_server):
    for version in VERSIONS.values():
        for pin in (None, ABSENT):
            connect, results = make(version, pin), []
            for number in count():
                sent, was_there = sends(*connect(), number)
                results.append(sent)
                if not was_there:
                    break
            print(make.__name__, version, "good" if pin is None else "bad", *map(int, results), flush=True)
"""


@pytest.fixture(scope="module")
def allocator(program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of c/failing_malloc.c."""
    library = tmp_path_factory.mktemp("allocator") / "failing_malloc.so"
    options = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library)]
    subprocess.run([program("cc"), *options, str(TESTS / "c" / "failing_malloc.c"), "-ldl"], check=True)
    return library


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="preloads an allocator, and reads /proc")
def test_p06_whatever_openssl_has_no_memory_for_lets_nobody_in(allocator: Path, engine: ModuleType) -> None:
    """For each of the hundreds of allocations while a peer is judged: if it fails, a bad peer is refused and
    the right one refused or let in, and nothing crashes.
    """
    path = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
    environment = {"PYTHONPATH": path, "LD_PRELOAD": str(allocator), "PINVERIFY_ENGINE": engine.NAME}
    script = f"PRELOADED = {str(allocator)!r}\n{SCRIPT}"
    result = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=8 * PATIENCE,
    )
    assert (result.returncode, result.stderr) == (0, "")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert len(lines) == 8
    for role, _, kind, *sent in lines:
        assert len(sent) > 100
        assert sent[-1] == ("1" if kind == "good" else "0")  # where none failed
        assert sent.count("1") < len(sent) // 2, role
        assert kind == "good" or "1" not in sent
