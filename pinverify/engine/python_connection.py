# SPDX-License-Identifier: Apache-2.0
"""What the guard in Python leaves on a connection and in its thread: csrc/pv_connection.c."""

from __future__ import annotations

import threading
import weakref
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from pinverify.decision import Reason
from pinverify.engine import openssl
from pinverify.engine.guard import refusal, tell_of_unguarded

if TYPE_CHECKING:
    from pinverify.engine.python_guard import PythonGuard

__all__ = [
    "Heard",
    "Word",
    "Words",
    "prove",
    "refuse",
    "spoil",
    "unprove",
    "words",
]

_SSL3_VERSION = 0x300

_set_mode = openssl.borrow("SSL_set_mode", "long(*)(SSL *, long)")
_clear_mode = openssl.borrow("SSL_clear_mode", "long(*)(SSL *, long)")
_get_session = openssl.borrow("SSL_get_session", "SSL_SESSION *(*)(SSL *)")
_set_session_version = openssl.borrow("SSL_SESSION_set_protocol_version", "int(*)(SSL_SESSION *, int)")


class Heard(Enum):
    """Of what the message callback has left word."""

    HELLO, CERTIFICATES = range(2)


class Word(NamedTuple):
    """What the message callback leaves to the callback that decides about a message, which OpenSSL calls next
    in the same thread.
    """

    heard: Heard
    ssl: Any  # whose message it was
    guard: weakref.ref[PythonGuard]  # weak: a thread goes on when its connection is gone
    reference: str
    obstacle: Reason  # why there is no reference; PINNED if there is, or none is needed


class Words(threading.local):
    """The words of a thread, by connection. Each is read once: whatever runs in between may leave others.

    It keeps a few, since a program's callback in between may make handshakes of its own, and so may a
    signal's handler, and one in those. Whose word has been pushed out is refused.
    """

    def __init__(self) -> None:
        self._words: dict[Any, Word] = {}

    def about(self, heard: Heard, ssl: Any) -> tuple[PythonGuard, Word] | None:
        """The word of such a message of a connection, and its guard; None if there is none."""
        word = self._words.get(ssl) if ssl != openssl.ffi.NULL else None
        guard = word.guard() if word is not None and word.heard is heard else None
        return None if word is None or guard is None else (guard, word)

    def host(self, ssl: Any) -> str:
        """The host that the word of a connection is about, for a message; "" if there is none."""
        word = self._words.get(ssl)
        return word.reference if word is not None else ""

    def leave(self, word: Word) -> None:
        """Leaves a word in place of that connection's last one."""
        self.forget(word.ssl)
        self._words[word.ssl] = word  # as the latest
        if len(self._words) > _WORDS:
            self._words.pop(next(iter(self._words)), None)

    def forget(self, ssl: Any) -> None:
        """Takes a connection's word away."""
        self._words.pop(ssl, None)


_WORDS = 4  # PV_WORDS
words = Words()


def prove(ssl: Any) -> None:
    """Marks the peer of a connection as judged and accepted in this handshake."""
    _set_mode(ssl, openssl.PROVEN)


def unprove(ssl: Any) -> None:
    """Takes that back."""
    _clear_mode(ssl, openssl.PROVEN)


def spoil(ssl: Any) -> None:
    """Makes the session of a connection one of SSL 3: a client does not offer it, and a server answers it
    with a full handshake.
    """
    session = _get_session(ssl)
    if session != openssl.ffi.NULL:
        _set_session_version(session, _SSL3_VERSION)


def refuse(guard: PythonGuard | None, ssl: Any, reason: Reason) -> None:
    """Refuses outside of a verification."""
    openssl.leave_error()  # first: whatever happens from here on, the operation has failed for this
    if guard is None:
        tell_of_unguarded(reason)
    else:
        guard.conclude(refusal(reason), guard.reference(ssl), ssl)
