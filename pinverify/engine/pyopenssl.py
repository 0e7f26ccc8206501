# SPDX-License-Identifier: Apache-2.0
"""All that is relied on of pyOpenSSL without its promising it. Its private names stand here and nowhere else.

`check` finds out whether they still mean what they are taken to mean.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import OpenSSL
from OpenSSL import SSL

from pinverify.engine import openssl
from pinverify.errors import PinverifyError

__all__ = ["attach", "callback_of", "check", "context_of", "guard_of", "keep", "ssl_of", "was_used"]


def ssl_of(connection: SSL.Connection) -> Any:
    """The `SSL *` of a connection."""
    return connection._ssl


def context_of(context: SSL.Context) -> Any:
    """The `SSL_CTX *` of a context."""
    return context._context


def attach(context: SSL.Context, guard: Any) -> None:
    """Has pyOpenSSL ask `guard` for exceptions, and each connection of the context keep it alive.

    A connection copies all three helpers from its context. Its set_verify overwrites the first, and nothing
    the other two.
    """
    context._verify_helper = guard
    context._cookie_generate_helper = guard
    context._cookie_verify_helper = guard


def keep(context: SSL.Context, guard: Any) -> None:
    """Has the helpers that a program's own cookie callbacks have put in those places lead to the guard."""
    helpers: tuple[Any, ...] = (context._cookie_generate_helper, context._cookie_verify_helper)
    for helper in helpers:
        if helper is not guard:
            helper.guard = guard


def guard_of(connection: SSL.Connection) -> Any:
    """What was attached to the context that a connection was made from, whichever it has now; else None."""
    helper = connection._cookie_generate_helper
    return getattr(helper, "guard", helper)


def callback_of(context: SSL.Context, name: str) -> Any:
    """The function pointer that a program's callback has become: `name` is "info" or "tlsext_servername"."""
    return getattr(context, f"_{name}_callback")


def was_used(context: SSL.Context) -> bool:
    """Whether a context has made a connection. A pyOpenSSL before 25.2 does not know, and says no."""
    return bool(getattr(context, "_used", False))


class _Probe:
    asked = False

    def raise_if_problem(self) -> None:
        self.asked = True


@cache
def check() -> None:
    """Tries on a context and a connection whether pyOpenSSL does what `attach` and the others rely on.

    Raises PinverifyError if it does not: what is refused would not be raised, or a connection would outlive
    its guard.
    """
    probe, context = _Probe(), SSL.Context(SSL.TLS_CLIENT_METHOD)
    try:
        attach(context, probe)
        context.set_tlsext_servername_callback(lambda connection: None)
        context.set_info_callback(lambda connection, where, value: None)
        connection = SSL.Connection(context, None)
        connection.set_verify(SSL.VERIFY_NONE)
        _try_handshake(connection)
        pointers = {
            "SSL_CTX *": context_of(context),
            "SSL *": ssl_of(connection),
            "int(*)(SSL *, int *, void *)": callback_of(context, "tlsext_servername"),
            "void(*)(SSL *, int, int)": callback_of(context, "info"),
        }
        kinds = [openssl.ffi.typeof(pointer).cname for pointer in pointers.values()]
        works = kinds == list(pointers) and probe.asked and guard_of(connection) is probe
    except (AttributeError, TypeError) as error:
        raise _unfit() from error
    if not works:
        raise _unfit()


def _try_handshake(connection: SSL.Connection) -> None:
    connection.set_connect_state()
    try:
        connection.do_handshake()
    except SSL.WantReadError:  # there is no peer
        return


def _unfit() -> PinverifyError:
    return PinverifyError(
        f"pyOpenSSL {OpenSSL.__version__} works in another way than pinverify relies on: its connections do "
        "not keep what their context gives them, or do not ask it for exceptions. A refusal could get lost, "
        "so no context is made; README.md names the versions that pinverify is tested with"
    )
