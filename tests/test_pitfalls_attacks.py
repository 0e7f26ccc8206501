# SPDX-License-Identifier: Apache-2.0
"""What attacks on the guard have found, and may not find again (P02, P05, P06, P12, P16)."""

from __future__ import annotations

import socket
import threading
from types import ModuleType
from typing import Any

import pytest
from OpenSSL import SSL
from OpenSSL._util import ffi, lib
from pinned import ABSENT, HOST, both_versions, pinned, raw, refusal, without_a_ca
from support import (
    accepting,
    intermediate,
    leaf,
    offered,
    root,
    server_ssl,
    serving,
    session_after,
    shake,
    use_session,
    was_resumed,
)

import pinverify
from pinverify import Diagnosis, PinRefused, PinSet, PinverifyError, Policy, Reason, client_context
from pinverify.diagnosis import diagnose

UNFOUNDED = {
    "unlisted": Policy({"other.test": [ABSENT]}, unlisted="pkix"),
    "expired": Policy({HOST: PinSet([ABSENT], expires="2020-01-01", on_expiry="pkix")}),
    "report": Policy({HOST: PinSet([ABSENT], mode="report")}),
}


@pytest.mark.filterwarnings("ignore::pinverify.PinExpiryWarning")
@pytest.mark.parametrize("policy", UNFOUNDED.values(), ids=UNFOUNDED)
def test_p02_anchors_added_to_a_context_without_a_ca_let_nobody_in(policy: Policy, tmp_path: Any) -> None:
    """Without a CA no name is checked: nothing but a pinned key accepts, whatever is added later."""
    file = tmp_path / "root.pem"
    file.write_bytes(root().pem)
    context = without_a_ca(policy)
    context.load_verify_locations(str(file))
    assert (
        refusal(raw(context), accepting(server_ssl(leaf("attacker.test")))).verdict.reason is Reason.OPENSSL
    )


@pytest.mark.slow
@both_versions
def test_p12_a_thread_that_displaces_the_callback_lets_nobody_in(version: int) -> None:
    """Another thread may set what it likes on a connection under way: without our decision it is refused."""
    context, kept = pinned(pin=ABSENT), list[object]()  # pyOpenSSL frees a callback that may be running
    with serving(server_ssl(leaf(HOST), version=version)) as seen:
        for _ in range(60):
            with socket.create_connection(("127.0.0.1", seen.port)) as sock:
                client, done = raw(context, sock), threading.Event()

                def displace(client: SSL.Connection = client, done: threading.Event = done) -> None:
                    while not done.is_set():
                        client.set_verify(SSL.VERIFY_NONE, lambda *_: True)
                        kept.append((client._verify_helper, client._verify_callback))

                thread = threading.Thread(target=displace)
                thread.start()
                try:
                    with pytest.raises(SSL.Error):
                        client.do_handshake()
                finally:
                    done.set()
                    thread.join()
    assert context.stats().accepted == 0
    assert seen.data == []


@both_versions
def test_p13_a_hook_that_turns_verification_off_gives_no_certificate_away(version: int) -> None:
    """What `on_violation` does to its connection comes too late to have the client's certificate sent."""
    clients, device = list[SSL.Connection](), intermediate("clients").issue()
    context = pinned(
        pin=ABSENT,
        identity=(device.certificate, device.key),
        on_violation=lambda verdict: clients[0].set_verify(SSL.VERIFY_NONE),
    )
    plain = server_ssl(leaf(HOST), version=version)
    plain.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    clients.append(raw(context))
    server = accepting(plain)
    assert refusal(clients[0], server).verdict.reason is Reason.NOT_PINNED
    assert server.get_peer_certificate() is None


def test_p05_a_hook_may_make_connections_of_its_own() -> None:
    """A hook that reports over TLS, well or not, does not take the outer refusal away."""
    for pin in (None, ABSENT):
        inner = pinned("log.test", pin=pin)

        def report(verdict: object, inner: Any = inner) -> None:
            shake(raw(inner, host="log.test"), accepting(server_ssl(leaf("log.test"))))

        outer = raw(pinned(pin=ABSENT, on_violation=report))
        verdict = refusal(outer, accepting(server_ssl(leaf(HOST)))).verdict
        assert (verdict.reason, verdict.host) == (Reason.NOT_PINNED, HOST)


class Alarm(Exception):
    """What a signal handler raises, on any line."""


@both_versions
@pytest.mark.parametrize(
    "step",
    [
        "python_handshake._accepts_hello",
        "python_guard.PythonGuard.judge_session",
        "python_message._check_finished",
    ],
)
def test_p06_an_exception_ahead_of_the_decision_on_a_session_refuses(
    step: str, version: int, engine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the engine in Python was about to do: at the hello, where one may be returned, or later."""
    if engine.NAME != "python":
        return
    context, server = pinned(), server_ssl(leaf(HOST), version=version)
    client = raw(context)
    use_session(client, session_after(raw(context), accepting(server)))

    def interrupted(*arguments: object) -> None:
        raise Alarm

    monkeypatch.setattr(f"pinverify.engine.{step}", interrupted)
    error = refusal(client, accepting(server))
    assert isinstance(error.__cause__, Alarm)
    assert error.verdict.reason is Reason.INTERNAL
    with pytest.raises(SSL.Error):
        client.send(b"secret")


@both_versions
def test_p06_an_exception_that_the_callback_cannot_catch_refuses(
    version: int, engine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a resumed session would be refused, an exception ahead of the decision refuses as well."""
    policy = {"a.test": [intermediate().pin], "b.test": [intermediate().pin]}
    context, server = client_context(policy, trust=root().pem), server_ssl(leaf("a.test"), version=version)
    session = offered(session_after(raw(context, host="a.test"), accepting(server)), version)

    def interrupted(*arguments: object) -> None:
        raise Alarm

    # The first thing that either engine does in Python when a session is resumed.
    place = {"native": "native._decision", "python": "python_connection.Words.about"}[engine.NAME]
    monkeypatch.setattr(f"pinverify.engine.{place}", interrupted)
    client = raw(context, host="b.test")
    use_session(client, session)
    error, _ = shake(client, accepting(server))
    assert isinstance(error, PinRefused)
    assert isinstance(error.__cause__, Alarm)
    assert was_resumed(client)
    with pytest.raises(SSL.Error):
        client.send(b"secret")


@both_versions
def test_p03_after_a_refused_session_there_is_no_verdict_to_be_had(version: int) -> None:
    """Not even when the program has displaced the callback that would have refused it ahead of Finished."""
    policy = {"a.test": [intermediate().pin], "b.test": [intermediate().pin]}
    context, server = client_context(policy, trust=root().pem), server_ssl(leaf("a.test"), version=version)
    for displaces, reason in ((False, Reason.SESSION), (True, Reason.INTERNAL)):
        session = offered(session_after(raw(context, host="a.test"), accepting(server)), version)
        if displaces:
            lib.SSL_CTX_set_tlsext_servername_callback(context._context, ffi.NULL)
        client = raw(context, host="b.test")
        use_session(client, session)
        assert refusal(client, accepting(server)).verdict.reason is reason
        client.set_shutdown(0)
        with pytest.raises(PinverifyError, match="there is no verdict"):
            pinverify.verdict(client)


def test_p16_a_nul_does_not_cut_the_list_of_ciphers() -> None:
    """What takes the anonymous suites out stands at its end; text is taken as by a plain Context."""
    with pytest.raises(PinverifyError, match="NUL"):
        pinned().set_cipher_list(b"ALL:aNULL@SECLEVEL=0\0")
    context = pinned()
    context.set_cipher_list("HIGH")
    assert not [name for name in SSL.Connection(context, None).get_cipher_list() if "ADH" in name]


def test_an_interceptor_is_no_renewal_because_a_root_was_not_kept() -> None:
    """A former chain as servers send it, without its root, does not vouch for the CA of the new one."""
    node, twin = leaf(HOST), intermediate().issue(HOST)
    sent = [node.der, intermediate().der]
    assert diagnose(twin.ders, [], {node.pin}, former=sent) is Diagnosis.LOCAL_CA
    assert diagnose(twin.ders, [], {node.pin}, former=node.ders) is Diagnosis.KEY_ROTATED
