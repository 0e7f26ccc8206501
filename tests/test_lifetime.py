# SPDX-License-Identifier: Apache-2.0
"""What outlives what: contexts and connections dropped in any order and at any step, forks, the end of the
interpreter, and subinterpreters.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from OpenSSL import SSL
from pinned import ABSENT, HOST, both_versions, pinned, raw
from support import (
    PATIENCE,
    Background,
    accepting,
    client_ssl,
    exchange,
    leaf,
    server_ssl,
    shake,
)

from pinverify import PinnedContext, PinRefused, Reason, server_context

ADDRESS = "192.0.2.1"


@pytest.fixture(autouse=True)
def _quick_collector() -> Iterator[None]:
    """Spares the collector what is there already: it runs thousands of times here."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


# -- Dropped at every step --


class End:
    """One end of a handshake that is pinned, with a peer that is pinned there or is not."""

    def __init__(self, role: str, version: int, *, is_good: bool) -> None:
        if role == "server":
            device = leaf("device.test", under="clients")
            pin = device.pin if is_good else ABSENT
            self.context: PinnedContext | None = server_context(leaf(HOST).identity, clients=[pin])
            self.near = accepting(self.context)
            peer = client_ssl(device)
            peer.set_max_proto_version(version)
            self.far = raw(peer)
        else:
            host = ADDRESS if role == "client of an address" else HOST
            self.context = pinned(host, pin=None if is_good else ABSENT)
            self.near = self.context.connection(host)
            self.far = accepting(server_ssl(leaf(host), version=version))
        self.guard = weakref.ref(self.context._guard)

    def steps(self) -> Iterator[None]:
        """Runs the handshake, and stops before each TLS record that the pinned end takes."""
        is_done = advance(self.near)
        while not is_done:
            records = self._records_of_the_peer()
            assert records
            for record in records:
                yield
                self.near.bio_write(record)
                is_done = advance(self.near)
        self._records_of_the_peer()

    def _records_of_the_peer(self) -> list[bytes]:
        """What the peer answers, as TLS records: RFC 8446 5.1, a header of five octets ends in the length."""
        octets, records = b"", []
        with suppress(SSL.WantReadError):
            self.far.bio_write(self.near.bio_read(1 << 16))
        advance(self.far)
        with suppress(SSL.WantReadError):
            octets = self.far.bio_read(1 << 16)
        while octets:
            end = 5 + int.from_bytes(octets[3:5], "big")
            records.append(octets[:end])
            octets = octets[end:]
        return records


def advance(connection: SSL.Connection) -> bool:
    """Goes on with a handshake as far as that can be, and says whether it is done."""
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        return False
    return True


def drop_the_context(end: End) -> None:
    end.context = None


def move_to_an_unpinned_context(end: End) -> None:
    end.near.set_context(server_ssl(leaf(HOST)) if end.near.get_context()._guard.is_server else client_ssl())


def move_and_drop(end: End) -> None:
    move_to_an_unpinned_context(end)
    drop_the_context(end)


def displace_all_and_drop(end: End) -> None:
    end.near.set_verify(SSL.VERIFY_NONE, lambda *_: True)
    move_and_drop(end)


EVENTS = (drop_the_context, move_to_an_unpinned_context, move_and_drop, displace_all_and_drop)
every_role = pytest.mark.parametrize("role", ["client", "client of an address", "server"])


def shaken(end: End, event: Callable[[End], None], at: int) -> tuple[int, Exception | None]:
    """How many steps the handshake had, with the event ahead of the one number `at`; and what it raised."""
    count = 0
    try:
        for count, _ in enumerate(end.steps(), 1):
            if count == at:
                event(end)
                gc.collect()
    except SSL.Error as error:
        return count, error
    return count, None


@every_role
@both_versions
@pytest.mark.parametrize("event", EVENTS, ids=lambda value: value.__name__)
def test_p17_at_each_step_of_a_handshake(event: Callable[[End], None], role: str, version: int) -> None:
    """Whatever becomes of the context, and at which record: the guard lives as long as the connection, and
    judges it as before.
    """
    for is_good in (True, False):
        at, count = 0, 1
        while at < count:
            at += 1
            end = End(role, version, is_good=is_good)
            count, error = shaken(end, event, at)
            guard = end.guard()
            assert guard is not None
            counts = {reason: number for (_, reason), number in guard.counts().items() if number}
            if is_good and (role != "server" or event is drop_the_context):
                assert error is None
                assert counts == {Reason.PINNED: 1}
                assert exchange(end.near, end.far) == b"ping"
            if not is_good:
                assert isinstance(error, SSL.Error)
                assert not counts.keys() & {Reason.PINNED, Reason.RESUMED}
                with pytest.raises(SSL.Error):
                    end.near.send(b"secret")
            finder = end.guard
            del guard, end, error
            gc.collect()
            assert finder() is None
        assert count >= 2


@every_role
@both_versions
def test_a_connection_dropped_at_each_step_leaves_its_context_as_it_was(role: str, version: int) -> None:
    """A connection given up in the middle is freed, and the next one of its context is judged rightly."""
    for is_good in (True, False):
        for count in range(8):  # more than there are, so that the last ones have done their handshake
            end = End(role, version, is_good=is_good)
            steps = end.steps()
            with suppress(SSL.Error):
                for _ in islice(steps, count):
                    pass
            context, near = end.context, weakref.ref(end.near)
            assert context is not None
            del end, steps
            gc.collect()
            assert near() is None
            again = End(role, version, is_good=is_good)
            host = context.policy.sole_host or ""
            again.near = accepting(context) if role == "server" else context.connection(host)
            assert (shake(again.near, again.far)[0] is None) == is_good


# -- What holds what --


def hook_with(kept: list[object]) -> Callable[[object], object]:
    """A hook whose closure holds whatever is put into `kept`."""
    return lambda verdict: kept


@pytest.mark.parametrize("host", [HOST, ADDRESS], ids=["by name", "by address"])
@pytest.mark.parametrize("moment", ["unused", "refused", "half done"])
def test_a_hook_that_holds_its_own_context_and_connection_leaks_neither(host: str, moment: str) -> None:
    """A cycle through `on_violation` is collected once the program has let go of it, with the guard in it."""
    kept = list[object]()
    context = pinned(host, pin=ABSENT, on_violation=hook_with(kept))
    client, server = context.connection(host), accepting(server_ssl(leaf(host)))
    kept += [context, client]
    if moment == "refused":
        assert isinstance(shake(client, server)[0], PinRefused)
    elif moment == "half done":
        with pytest.raises(SSL.WantReadError):
            client.do_handshake()
    found = [weakref.ref(thing) for thing in (context, client, context._guard)]
    del kept, context, client, server
    gc.collect()
    assert [reference() for reference in found] == [None, None, None]


@both_versions
@pytest.mark.parametrize("host", [HOST, ADDRESS], ids=["by name", "by address"])
def test_a_hook_that_drops_everything_else_is_still_heard(host: str, version: int) -> None:
    """A hook that frees the context, and connections in mid-handshake, changes no verdict."""
    kept = list[object]()

    def drop(verdict: object) -> None:
        kept.clear()
        gc.collect()

    context = pinned(host, pin=ABSENT, on_violation=drop)
    for _ in range(3):
        other = context.connection(host)
        with pytest.raises(SSL.WantReadError):
            other.do_handshake()
        kept.append(other)
    others = [weakref.ref(thing) for thing in kept]
    client = context.connection(host)
    kept.append(context)
    del context, other
    refused = shake(client, accepting(server_ssl(leaf(host), version=version)))[0]
    assert isinstance(refused, PinRefused)
    assert (refused.verdict.reason, refused.verdict.host) == (Reason.NOT_PINNED, host)
    assert [reference() for reference in others] == [None] * 3
    with pytest.raises(SSL.Error):
        client.send(b"secret")


def test_a_connection_let_go_by_its_own_hook_is_refused() -> None:
    """Where its own hook drops the last name of a connection, the handshake still ends with the refusal."""
    kept = list[SSL.Connection]()

    def let_go(verdict: object) -> None:
        kept.clear()
        gc.collect()

    context = pinned(pin=ABSENT, on_violation=let_go)
    kept.append(raw(context))
    gone = weakref.ref(kept[0])
    with pytest.raises(SSL.WantReadError):
        kept[0].do_handshake()
    server = accepting(server_ssl(leaf(HOST)))
    server.bio_write(kept[0].bio_read(1 << 16))
    with pytest.raises(SSL.WantReadError):
        server.do_handshake()
    kept[0].bio_write(server.bio_read(1 << 16))
    with pytest.raises(PinRefused):
        kept[0].do_handshake()
    gc.collect()
    assert gone() is None


def test_the_counters_can_be_looked_at_while_they_are_counted(engine: ModuleType) -> None:
    """A signal's handler or a finalizer that reads the counters while one is added to does not hang."""
    if engine.NAME != "python":
        return  # C's are atomic: there is no middle

    class Watched(Counter[Any]):
        def __setitem__(self, key: Any, value: int) -> None:
            seen.append(context.stats())
            super().__setitem__(key, value)

    seen, context = list[Any](), pinned()
    context._guard._counts = Watched()
    thread = Background(lambda: shake(raw(context), accepting(server_ssl(leaf(HOST)))))
    assert thread.result(PATIENCE) == (None, None)
    assert [stats.accepted for stats in seen] == [0]
    assert context.stats().accepted == 1


# -- The end of the interpreter --

# Each script ends while something is going on. What they share comes first.
PRELUDE = """
import gc, socket, threading, time
from OpenSSL import SSL
from pinned import ABSENT, HOST, pinned, raw
from support import accepting, leaf, server_ssl, shake

good, bad = pinned(), pinned(pin=ABSENT, on_violation=lambda verdict: None)
server = server_ssl(leaf(HOST))


def half_done(context, host=HOST):
    client, far = context.connection(host), accepting(server)
    try:
        client.do_handshake()
    except SSL.WantReadError:
        far.bio_write(client.bio_read(1 << 16))
    try:
        far.do_handshake()
    except SSL.WantReadError:
        client.bio_write(far.bio_read(600))
    return client, far


def blocked(context):
    near, far = socket.socketpair()
    client = raw(context, near)
    started.append(far)
    client.do_handshake()


def busy(context):
    while True:
        started.append(1)
        shake(raw(context), accepting(server))
        del started[1:]


def begin(work):
    started.clear()
    for context in (good, bad) * 2:
        threading.Thread(target=work, args=(context,), daemon=True).start()
    while not started:
        time.sleep(0.01)
    time.sleep(0.2)


started = []
"""

OPEN = """
ends = [(raw(context), accepting(server)) for context in (good, bad) for _ in range(9)]
for client, far in ends:
    shake(client, far)
"""

TO_ADDRESSES = """
context = pinned("192.0.2.1")
ends = [context.connection("192.0.2.1") for _ in range(9)] + [half_done(context, "192.0.2.1")]
"""

FROM_A_HOOK = """
import sys

context = pinned(pin=ABSENT, on_violation=lambda verdict: sys.exit("lost"))
ends = raw(context), accepting(server)
try:
    shake(*ends)
except SystemExit as ended:
    assert str(ended) == "lost"
else:
    raise AssertionError
"""

ENDS = {
    "with connections open and refused": OPEN,
    "with connections to addresses": TO_ADDRESSES,
    "in mid-handshake": "ends = [half_done(context) for context in (good, bad)]",
    "in a cycle": "good.me = [good, half_done(good)]; bad.me = [bad, half_done(bad)]; del good, bad",
    "with the collector off": "gc.disable(); good.me = [good, half_done(good)]; del good",
    "with the context gone first": "ends = [half_done(good), half_done(bad)]; del good, bad",
    "while threads wait in a handshake": "begin(blocked)",
    "while threads make handshakes": "begin(busy)",
    "after a hook that exits": FROM_A_HOOK,
}


def run_script(engine: ModuleType, script: str) -> subprocess.CompletedProcess[str]:
    """Runs a script in an interpreter of its own, on that engine, to which a warning is an error."""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    environment = {**os.environ, "PINVERIFY_ENGINE": engine.NAME, "PYTHONPATH": path}
    command = [sys.executable, "-X", "faulthandler", "-W", "error", "-c", script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDS.values(), ids=ENDS)
def test_the_interpreter_ends_in_peace(ending: str, engine: ModuleType) -> None:
    """Whatever is still alive when the interpreter ends, it ends at once, with 0, and says nothing."""
    result = run_script(engine, f"{PRELUDE}\n{ending}\nprint('end')")
    assert (result.returncode, result.stdout, result.stderr) == (0, "end\n", "")


# -- Forks --

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
# CPython 3.12 and later warn of forks while there are threads. That they are there is what is tested.
with_threads = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def in_a_child(function: Callable[[], object]) -> None:
    """Runs a function in a fork of this process, which it must leave unharmed and within a few seconds."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(10)  # a child that hangs is killed by it
            function()
            status = 0
        except BaseException as error:
            print(f"in the child: {error!r}", file=sys.__stderr__, flush=True)
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def judges(good: PinnedContext, bad: PinnedContext) -> None:
    """Checks that of two contexts one lets its server in and the other does not, and that they count it."""
    before = good.stats().accepted, bad.stats().refused
    host = good.policy.sole_host or ""
    server = server_ssl(leaf(host))
    client, far = good.connection(host), accepting(server)
    assert shake(client, far) == (None, None)
    assert exchange(client, far) == b"ping"
    refused = shake(bad.connection(host), accepting(server))[0]
    assert isinstance(refused, PinRefused)
    assert (refused.verdict.reason, refused.verdict.host) == (Reason.NOT_PINNED, host)
    assert (good.stats().accepted, bad.stats().refused) == (before[0] + 1, before[1] + 1)


@needs_fork
@with_threads
@pytest.mark.parametrize("host", [HOST, ADDRESS], ids=["by name", "by address"])
def test_a_child_judges_with_its_parents_contexts_and_with_new_ones(host: str) -> None:
    """After a fork both processes go on: with contexts from before it, used or not, and with their own."""
    old = pinned(host), pinned(host, pin=ABSENT)

    def child() -> None:
        judges(*old)
        judges(pinned(host), pinned(host, pin=ABSENT))

    in_a_child(child)
    judges(*old)
    in_a_child(child)
    judges(pinned(host), pinned(host, pin=ABSENT))


@needs_fork
@with_threads
@every_role
@both_versions
def test_a_handshake_goes_on_in_parent_and_child(role: str, version: int) -> None:
    """A fork in the middle of a handshake leaves two, and each ends with the verdict that it deserves."""
    for is_good in (True, False):
        end = End(role, version, is_good=is_good)
        steps = end.steps()
        next(steps)

        def finish(end: End = end, steps: Iterator[None] = steps, is_good: bool = is_good) -> None:
            try:
                for _ in steps:
                    pass
            except SSL.Error:
                assert not is_good
                with pytest.raises(SSL.Error):
                    end.near.send(b"secret")
            else:
                assert is_good
                assert exchange(end.near, end.far) == b"ping"

        in_a_child(finish)
        finish()


@needs_fork
@with_threads
def test_a_fork_waits_for_the_table_of_references(engine: ModuleType) -> None:
    """A child does not wait for a thread that it does not have: while one is in the table nearly all the
    time, the children of forks use it.
    """
    if engine.NAME != "native":
        return  # a dict, under the GIL
    from pinverify._native import ffi, lib

    context, done = pinned(ADDRESS), threading.Event()
    table = context._guard._guard.references
    addresses = [ffi.cast("void *", number << 24) for number in range(10_000)]  # all in one bucket
    entries = [ffi.new("struct pv_reference *", {"connection": address}) for address in addresses]

    def walk() -> None:
        while not done.is_set():
            lib.pv_references_remove(table, absent)  # goes through all of them, with the lock

    def child() -> None:
        assert shake(context.connection(ADDRESS), accepting(server_ssl(leaf(ADDRESS)))) == (None, None)

    absent = entries.pop()
    for entry in entries:
        lib.pv_references_add(table, entry)
    walker = Background(walk)
    try:
        for _ in range(20):
            in_a_child(child)
    finally:
        done.set()
    walker.result(PATIENCE)
    for entry in entries:
        lib.pv_references_remove(table, entry)
    child()


@needs_fork
@with_threads
def test_a_fork_while_a_thread_counts(engine: ModuleType) -> None:
    """A child counts on where a thread that it does not have was in the middle of an addition."""
    if engine.NAME != "python":
        return  # C's are atomic: there is no middle

    class Slow(Counter[Any]):
        def __setitem__(self, key: Any, value: int) -> None:
            inside.set()
            assert may_go_on.wait(PATIENCE)
            super().__setitem__(key, value)

    inside, may_go_on = threading.Event(), threading.Event()
    slow, others = pinned(), (pinned(), pinned(pin=ABSENT))
    slow._guard._counts = Slow()
    thread = Background(lambda: shake(raw(slow), accepting(server_ssl(leaf(HOST)))))
    assert inside.wait(PATIENCE)
    try:
        in_a_child(lambda: judges(*others))
    finally:
        may_go_on.set()
    assert thread.result(PATIENCE) == (None, None)
    judges(*others)


def in_a_process() -> None:
    """What a child of multiprocessing does: handshakes with contexts of its own."""
    judges(pinned(), pinned(pin=ABSENT))
    judges(pinned(ADDRESS), pinned(ADDRESS, pin=ABSENT))


@pytest.mark.slow
@with_threads
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: str, engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """However multiprocessing makes a process, handshakes are judged in it."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    monkeypatch.setenv("PINVERIFY_ENGINE", engine.NAME)
    process = multiprocessing.get_context(method).Process(target=in_a_process)
    process.start()
    process.join(2 * PATIENCE)
    assert process.exitcode == 0


# -- Subinterpreters --

# Prints how importing failed, or that one context lets its server in and another one does not.
TRY = """
try:
    import pinverify
except BaseException as error:
    print(f"{type(error).__name__}: {error}", flush=True)
else:
    from OpenSSL import SSL
    from pinned import ABSENT, HOST, pinned, raw
    from support import accepting, leaf, server_ssl, shake

    server = server_ssl(leaf(HOST))
    assert shake(raw(pinned()), accepting(server)) == (None, None)
    assert isinstance(shake(raw(pinned(pin=ABSENT)), accepting(server))[0], SSL.Error)
    print("judges", flush=True)
"""

IN_ANOTHER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

run = interpreters.exec if hasattr(interpreters, "exec") else interpreters.run_string


def run_in_another():
    failure = run(interpreters.create(), TRY)
    assert failure is None, failure

"""


@pytest.mark.slow
@pytest.mark.parametrize("turns", [("main", "other", "other"), ("other", "main", "other")], ids=" ".join)
def test_one_interpreter_judges_and_the_others_are_refused(
    turns: tuple[str, ...], engine: ModuleType
) -> None:
    """In one interpreter of a process pinverify judges, and in any other importing it is an ImportError that
    says why. Which one it is depends on the versions of CPython and cryptography.
    """
    calls = {"main": "exec(TRY)", "other": "run_in_another()"}
    script = "\n".join([f"TRY = {TRY!r}", IN_ANOTHER, *map(calls.__getitem__, turns)])
    result = run_script(engine, script)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == len(turns)
    assert lines.count("judges") == 1
    for line in lines:
        assert line == "judges" or re.match(r"ImportError: .*subinterpreter", line)
