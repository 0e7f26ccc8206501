# SPDX-License-Identifier: Apache-2.0
"""`pinverify check`: the verdict on a real, pinned connection."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing, suppress

import click
from OpenSSL import SSL

from pinverify.cli.peer import invalid_input, no_connection
from pinverify.connection import connect, verdict
from pinverify.context import client_context
from pinverify.errors import PinRefused
from pinverify.hostnames import canonical_host, host_and_port
from pinverify.policy import Policy
from pinverify.verdict import Verdict

__all__ = ["check"]


def check(
    peer: str, pins: Iterable[str], policy: str | None, *, trust: str, name: str | None, timeout: float
) -> Verdict:
    """The verdict on `peer`, by pins or by a policy file. Raises click's exceptions: of usage, or
    NoConnection.
    """
    if bool(pins) == (policy is not None):
        raise click.UsageError("say by what: --pin PIN, once or more, or --policy FILE")
    with invalid_input():
        where = host_and_port(peer)
        host = canonical_host(name or where[0])
        context = client_context({host: pins} if policy is None else Policy.load(policy), trust=trust)
    try:
        with no_connection(peer):
            connection = connect(where, context, host=host, timeout=timeout)
        with closing(connection):
            result = verdict(connection)
            with suppress(SSL.Error):
                connection.shutdown()
        return result
    except PinRefused as refused:
        return refused.verdict
