# SPDX-License-Identifier: Apache-2.0
"""How pinning failed here, once: by callbacks that C called when their context was gone (P20), and by what
ran between two lines of ours (P05).
"""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest
from OpenSSL import SSL
from pinned import ABSENT, HOST, both_versions, pinned, raw
from support import (
    accepting,
    client_ssl,
    intermediate,
    leaf,
    root,
    server_ssl,
    session_after,
    shake,
    use_session,
)
from test_pitfalls_sessions import next_at

from pinverify import PinSet, Policy, Reason, client_context, server_context
from pinverify.engine import openssl, python_guard

TESTS = Path(__file__).parent

# -- P20: callbacks that outlive their context --

# Each callback that a Context can be told, and what makes C call it in a handshake of a client's or a
# server's. The context is let go of when its connection has been moved elsewhere, and new closures take the
# place of those that were freed.
SCRIPT = """
import gc, importlib, sys
from contextlib import suppress
sys.path.insert(0, {tests!r})
import pinverify.engine
pinverify.engine.engine = importlib.import_module("pinverify.engine.{engine}")
from OpenSSL import SSL
from pinned import HOST, pinned, raw
from support import accepting, client_ssl, leaf, server_ssl, shake
from pinverify import server_context
from pinverify.engine import openssl, python_guard

name, calls = {name!r}, []
ANSWERS = {{"ocsp_client": True, "alpn_select": b"h2", "cookie_generate": b"cookie", "cookie_verify": True}}

is_dtls, is_server = name.startswith("cookie"), name not in ("info", "keylog", "ocsp_client")
device = leaf("device.test", under="clients")
if is_server:
    context = server_context(leaf(HOST).identity, clients=[device.pin], dtls=is_dtls)
else:
    context = pinned(HOST)
early = accepting(context) if is_server else raw(context)  # made before the callback is set
context._used = False
for each in ("cookie_generate", "cookie_verify") if is_dtls else (name,):
    def called(*arguments, answer=ANSWERS.get(each)):
        calls.append(arguments)
        return answer
    getattr(context, f"set_{{each}}_callback")(called)
del called
near = accepting(context) if is_server else raw(context)
if name == "ocsp_client":
    for end in (early, near):
        end.request_ocsp()
for end in (early, near):
    end.set_context(server_ssl(leaf(HOST)) if is_server else client_ssl())
del context
gc.collect()
sprayed = [openssl.ffi.callback("int(int)", lambda value: value) for _ in range(50)]
del sprayed[::2]
for end in (early, near):
    if is_dtls:
        far = raw(SSL.Context(SSL.DTLS_CLIENT_METHOD))
        for _ in range(2):  # without the cookie, and with it
            for step, ours, theirs in ((far.do_handshake, far, end), (end.DTLSv1_listen, end, far)):
                with suppress(SSL.WantReadError):
                    step()
                with suppress(SSL.WantReadError):
                    theirs.bio_write(ours.bio_read(65536))
    elif is_server:
        plain = client_ssl(device)
        plain.set_alpn_protos([b"h2"])
        print(shake(raw(plain), end))
    else:
        plain = server_ssl(leaf(HOST))
        plain.set_ocsp_server_callback(lambda *arguments: b"x")
        print(shake(end, accepting(plain)))
print("calls", len(calls) > 0)
"""
CALLBACKS = (
    "info",
    "keylog",
    "ocsp_client",
    "alpn_select",
    "tlsext_servername",
    "ocsp_server",
    "cookie_generate",
    "cookie_verify",
)


@pytest.mark.parametrize("name", CALLBACKS)
def test_p20_what_c_may_call_lives_as_long_as_the_connection(name: str, engine: ModuleType) -> None:
    """A connection that the guard puts back where it belongs finds the callbacks of a context that is gone.

    Those of a server that was moved are the other context's until its hello.
    """
    script = SCRIPT.format(tests=str(TESTS), engine=engine.NAME, name=name)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "calls True" in done.stdout or name == "ocsp_server", done.stdout


# -- P05: what is left of one connection when there is another --


def hello_without_a_share() -> bytes:
    """A ClientHello that a server of TLS 1.3 fails for, behind its answer to the server name: of no group
    that it knows (RFC 8446 4.2.7, 4.2.8).
    """
    client = raw(client_ssl())
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    hello = bytearray(client.bio_read(1 << 16))
    at = 5 + 4 + 2 + 32  # behind the headers of record and message, the version and the random
    for size in (1, 2, 1):  # session, ciphers and compressions
        at += size + int.from_bytes(hello[at : at + size], "big")
    at += 2
    while at < len(hello):
        kind, size = (int.from_bytes(hello[at + i : at + i + 2], "big") for i in (0, 2))
        if kind == 10:  # supported_groups
            hello[at + 6 : at + 4 + size] = b"\x7f" * (size - 2)
        elif kind == 51:  # key_share
            hello[at + 6 : at + 8] = b"\x7f\x7f"
        at += 4 + size
    return bytes(hello)


def hello_of_ssl_2() -> bytes:
    """A ClientHello in the format of SSL 2 (RFC 5246 E.2), which OpenSSL before 4 takes."""
    body = b"\x01\x03\x03" + bytes((0, 6, 0, 0, 0, 32)) + b"\x00\xc0\x2b\x00\xc0\x2c" + os.urandom(32)
    return (0x8000 | len(body)).to_bytes(2, "big") + body


def refused(server: SSL.Connection, hello: bytes) -> None:
    """Checks that a server fails for a hello."""
    server.bio_write(hello)
    try:
        server.do_handshake()
    except SSL.WantReadError:
        pytest.fail("it goes on")
    except SSL.Error:
        return


@pytest.mark.parametrize("is_gone", [False, True], ids=["alive", "gone"])
def test_p05_a_hello_of_ssl_2_does_not_find_what_was_heard_of_another(is_gone: bool) -> None:
    """A hello that the guard does not hear as one is refused, though at the same address there was a
    connection whose hello it has heard, of a guard that is there still or is not.
    """
    known, seen, hits = [leaf("device.test", under="clients").pin], list[object](), 0
    for _ in range(20):
        context = server_context(leaf(HOST).identity, clients=known)
        context.set_tlsext_servername_callback(seen.append)
        other = server_context(leaf(HOST).identity, clients=known)
        refused(accepting(other), hello_of_ssl_2())  # what is allocated once is, from here on
        broken = accepting(context)
        refused(broken, hello_without_a_share())
        heard, address = len(seen), openssl.ffi.cast("uintptr_t", broken._ssl)
        del broken
        near = next_at(address, other)
        hits += near._ssl == openssl.ffi.cast("SSL *", address)
        if is_gone:
            del context
        refused(near, hello_of_ssl_2())
        assert len(seen) == heard
        assert other.stats().accepted == 0
    if hits == 0:
        pytest.skip("no address came again")


def test_p05_the_connections_of_a_callback_push_out_no_word() -> None:
    """A server whose ALPN callback makes connections, and keeps some, knows each of its clients."""
    device = leaf("device.test", under="clients")
    context, caller = server_context(leaf(HOST).identity, clients=[device.pin]), client_ssl(device)
    upstream, there = (pinned(), server_ssl(leaf(HOST))), list[SSL.Connection]()
    choices, live = random.Random(1), list[SSL.Connection]()

    def choose(connection: SSL.Connection, offered: list[bytes]) -> bytes:
        there.append(raw(upstream[0]))
        assert shake(there[-1], accepting(upstream[1])) == (None, None)
        if len(there) > 3:
            there.pop(choices.randrange(3))
        return offered[0]

    context.set_alpn_select_callback(choose)
    caller.set_alpn_protos([b"h2"])
    for _ in range(60):
        live.append(accepting(context))
        assert shake(raw(caller), live[-1]) == (None, None)
        if len(live) > 2:
            live.pop(choices.randrange(2))


# -- P05: what runs between two lines --


class Interrupted:
    """Calls `interrupt` when a line of the engine in Python is about to run: the one with that number."""

    def __init__(self, line: int, interrupt: Callable[[], object]) -> None:
        self.line, self._interrupt = line, interrupt

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        if "engine/python_" not in frame.f_code.co_filename.replace("\\", "/"):
            return None
        if event == "line":
            self.line -= 1
            if self.line == 0:
                sys.settrace(None)
                self._interrupt()
                sys.settrace(self)
        return self


def at_each_line(run: Callable[[], object], interrupt: Callable[[], object]) -> int:
    """Runs the same thing again and again: each time `interrupt` comes at another line of the engine in
    Python, as a signal's handler may. It gives the number of lines.
    """
    for line in itertools.count(1):
        trace = Interrupted(line, interrupt)
        sys.settrace(trace)
        try:
            run()
        finally:
            sys.settrace(None)
            # A trace function can raise where no signal's handler can: behind the last line of a `with`.
            python_guard._renew_lock()
        if trace.line > 0:
            return line - 1
    raise AssertionError


POLICIES = {
    "unlisted": lambda: Policy({HOST: [ABSENT]}, unlisted="pkix"),
    "in report mode": lambda: Policy({HOST: [ABSENT], "beat.test": PinSet([ABSENT], mode="report")}),
}


@both_versions
@pytest.mark.parametrize("beat", POLICIES)
def test_p05_a_signal_between_two_lines_makes_nobody_judge_by_another_host(
    beat: str, version: int, engine: ModuleType
) -> None:
    """A handler that makes a pinned handshake of its own, to a host that is let in, comes at each line of a
    handshake with a host that is not: that one is refused every time.
    """
    if engine.NAME != "python":
        return  # C is interrupted nowhere
    context = client_context(POLICIES[beat](), trust=root().certificate, on_violation=lambda verdict: None)
    evil, other = server_ssl(intermediate().issue(HOST), version=version), server_ssl(leaf("beat.test"))

    def heartbeat() -> None:
        assert shake(raw(context, host="beat.test"), accepting(other)) == (None, None)

    def meet() -> None:
        client = raw(context)
        error, _ = shake(client, accepting(evil))
        assert isinstance(error, SSL.Error)
        with pytest.raises(SSL.Error):
            client.send(b"secret")

    lines = at_each_line(meet, heartbeat)
    assert lines > 50
    stats = context.stats()
    assert (stats.accepted, stats.refused) == (lines, lines + 1)
    assert stats.by_reason[Reason.INTERNAL] == 0


@both_versions
def test_p05_a_signal_between_two_lines_has_no_good_peer_refused(version: int, engine: ModuleType) -> None:
    """The same with peers that are let in, of a client and of a server, and with a session."""
    if engine.NAME != "python":
        return
    device = leaf("device.test", under="clients")
    ours, theirs = server_context(leaf(HOST).identity, clients=[device.pin]), client_ssl(device)
    theirs.set_max_proto_version(version)
    context, server = pinned(), server_ssl(leaf(HOST), version=version)
    session = session_after(raw(context), accepting(server))

    def heartbeat() -> None:
        assert shake(raw(context), accepting(server)) == (None, None)

    def resume() -> None:
        client = raw(context)
        use_session(client, session)
        assert shake(client, accepting(server)) == (None, None)

    def serve() -> None:
        assert shake(raw(theirs), accepting(ours)) == (None, None)

    for meet in (heartbeat, resume, serve):
        assert at_each_line(meet, heartbeat) > 50
