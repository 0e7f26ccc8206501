# SPDX-License-Identifier: Apache-2.0
"""The private parts of pyOpenSSL that are relied on. Their names stand here and nowhere else.

`check` finds out whether they still mean what they are taken to mean.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import OpenSSL
from OpenSSL import SSL

from pinverify.engine import openssl
from pinverify.errors import PinverifyError

__all__ = [
    "KeptContext",
    "attach",
    "callback_of",
    "check",
    "context_of",
    "maker_of",
    "ssl_of",
    "was_used",
]


def ssl_of(connection: SSL.Connection) -> Any:
    """The `SSL *` of a connection."""
    return connection._ssl


def context_of(context: SSL.Context) -> Any:
    """The `SSL_CTX *` of a context."""
    return context._context


class KeptContext(SSL.Context):
    """A Context that each of its connections keeps alive, whatever context they are moved to: C may call what
    it was told for as long as there are connections.

    A connection copies one attribute from the context of its making, the helper for cookies of DTLS, that
    nothing overwrites. Here it is the context itself.
    """

    @property  # type: ignore[override]
    def _cookie_generate_helper(self) -> KeptContext:
        return self

    @_cookie_generate_helper.setter
    def _cookie_generate_helper(self, helper: Any) -> None:
        self._generates_cookies = helper

    @property
    def callback(self) -> Any:
        """What pyOpenSSL asks the helper for: its function pointer."""
        return self._generates_cookies.callback

    def raise_if_problem(self) -> None:
        """What pyOpenSSL has the helper do: raise what a callback of the program raised."""
        if self._generates_cookies is not None:
            self._generates_cookies.raise_if_problem()


def attach(context: KeptContext, guard: Any) -> None:
    """Has pyOpenSSL ask `guard` for exceptions after each operation on a connection of this context."""
    context._verify_helper = guard


def maker_of(connection: SSL.Connection) -> KeptContext | None:
    """The KeptContext that a connection was made from, whichever it has now; None if it was no such one."""
    helper: Any = connection._cookie_generate_helper
    return helper if isinstance(helper, KeptContext) else None


def callback_of(context: SSL.Context, name: str) -> Any:
    """The function pointer that a program's callback has become: `name` is "info", "keylog" or
    "tlsext_servername".
    """
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
    """Tries on a context and a connection whether pyOpenSSL does what is relied on.

    Raises PinverifyError if it does not: what is refused would not be raised, or a connection would outlive
    its guard.
    """
    try:
        probe, context = _Probe(), KeptContext(SSL.TLS_CLIENT_METHOD)
        attach(context, probe)
        context.set_tlsext_servername_callback(lambda connection: None)
        context.set_info_callback(lambda connection, where, value: None)
        context.set_keylog_callback(lambda connection, line: None)
        connection = SSL.Connection(context, None)
        connection.set_verify(SSL.VERIFY_NONE)
        _try_handshake(connection)
        pointers = {
            "SSL_CTX *": context_of(context),
            "SSL *": ssl_of(connection),
            "int(*)(SSL *, int *, void *)": callback_of(context, "tlsext_servername"),
            "void(*)(SSL *, int, int)": callback_of(context, "info"),
            "void(*)(SSL *, char *)": callback_of(context, "keylog"),
        }
        kinds = [openssl.ffi.typeof(pointer).cname for pointer in pointers.values()]
        keeps = maker_of(connection) is context
    except (AttributeError, TypeError) as error:
        raise _unfit() from error
    if not (probe.asked and keeps and kinds == list(pointers)):
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
