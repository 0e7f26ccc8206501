# SPDX-License-Identifier: Apache-2.0
"""Twisted with pinned contexts, in a process of its own: its reactor runs once.

Reads cases from standard input and prints what came of them, as JSON. A request of each is on its way before
the handshake is.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet._sslverify import ClientTLSOptions
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLContextFactory,
    IResolverSimple,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react
from twisted.web.client import Agent, readBody
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from pinverify import PinnedContext, PinRefused, client_context

PATIENCE = 30  # seconds


def tls_options(context: PinnedContext, host: str) -> Any:
    """Twisted's own options, given connections of the context; older ones take the context itself."""
    if "ctx" in inspect.signature(ClientTLSOptions).parameters:
        return ClientTLSOptions(host, context)
    return ClientTLSOptions(lambda protocol: SSL.Connection(context, None), host)


@implementer(IOpenSSLClientConnectionCreator)
class PlainCreator:
    def __init__(self, context: PinnedContext, host: str) -> None:
        self._context, self._host = context, host

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_tlsext_host_name(self._host.encode())
        return connection


@implementer(IOpenSSLContextFactory)
class ContextFactory:
    """The oldest way: it knows of no host."""

    def __init__(self, context: PinnedContext, host: str) -> None:
        self._context = context

    def getContext(self) -> PinnedContext:
        return self._context


@implementer(IPolicyForHTTPS)
class PlainPolicy:
    def __init__(self, context: PinnedContext) -> None:
        self._context = context

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        return tls_options(self._context, hostname.decode())


class Asker(Protocol):
    """Asks at once, and tells the answer, or why there is none."""

    def __init__(self, request: bytes) -> None:
        self._request, self._answer = request, b""
        self.told: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        self._answer += data

    def connectionLost(self, reason: Any = None) -> None:
        if self._answer:
            self.told.callback(self._answer)
        else:
            self.told.errback(reason)


@inlineCallbacks
def ask_over_endpoint(creator: Any, case: dict[str, Any], reactor: Any) -> Any:
    """What the server answers to a request over an endpoint."""
    asker = Asker(b"GET / HTTP/1.0\r\n\r\n")
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", case["port"])
    yield wrapClientTLS(creator, endpoint).connect(Factory.forProtocol(lambda: asker))
    answer = yield asker.told.addTimeout(PATIENCE, reactor)
    return answer


@inlineCallbacks
def ask_by_agent(agent: Agent, case: dict[str, Any], reactor: Any) -> Any:
    """What the server answers to a request of an agent."""
    url = f"https://{case['host']}:{case['port']}/".encode()
    response = yield agent.request(b"GET", url).addTimeout(PATIENCE, reactor)
    body = yield readBody(response).addTimeout(PATIENCE, reactor)
    return body


def start(case: dict[str, Any], reactor: Any) -> tuple[PinnedContext, Deferred[bytes]]:
    """The context of a case, and the answer that is to come."""
    if case["way"] == "page":
        names: dict[str, Any] = {}
        exec(compile(case["code"], "frameworks.md", "exec"), names)
        return names["context"], ask_by_agent(names["agent"], case, reactor)
    context = client_context(case["policy"])
    if case["way"] == "Agent":
        return context, ask_by_agent(Agent(reactor, PlainPolicy(context)), case, reactor)
    creators: dict[str, Callable[[PinnedContext, str], Any]] = {
        "ClientTLSOptions": tls_options,
        "creator": PlainCreator,
        "context factory": ContextFactory,
    }
    return context, ask_over_endpoint(creators[case["way"]](context, case["host"]), case, reactor)


def refusal_in(error: BaseException) -> PinRefused | None:
    """The refusal that an error of Twisted's is about: itself, or among its reasons."""
    errors = [error, *(reason.value for reason in getattr(error, "reasons", ()))]
    return next((error for error in errors if isinstance(error, PinRefused)), None)


@inlineCallbacks
def outcome(case: dict[str, Any], reactor: Any) -> Any:
    answer, error, reason = b"", "", None
    context, answering = start(case, reactor)
    try:
        answer = yield answering
    except Exception as caught:
        refused = refusal_in(caught)
        error, reason = repr(caught), refused and refused.verdict.reason.name
    stats = context.stats()
    counts = {reason.name: count for reason, count in stats.by_reason.items() if count}
    return {
        "engine": context.engine,
        "answer": answer.decode(),
        "error": error,
        "reason": reason,
        "stats": [stats.accepted, stats.refused, counts],
    }


@implementer(IResolverSimple)
class Loopback:
    """A resolver by which each name is this machine."""

    def getHostByName(self, name: str, timeout: Any = ()) -> Deferred[str]:
        return succeed("127.0.0.1")


@inlineCallbacks
def main(reactor: Any) -> Any:
    reactor.installResolver(Loopback())
    outcomes = {}
    for name, case in json.load(sys.stdin).items():
        outcomes[name] = yield outcome(case, reactor)
    print(json.dumps(outcomes))


if __name__ == "__main__":
    react(main)
