# SPDX-License-Identifier: Apache-2.0
"""What pinverify raises and warns of. Nothing of the package is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from OpenSSL import SSL

if TYPE_CHECKING:
    from pinverify.verdict import Verdict

__all__ = [
    "InvalidHost",
    "InvalidIdentity",
    "InvalidPin",
    "InvalidPolicy",
    "InvalidPolicyFile",
    "InvalidTrust",
    "MalformedCertificate",
    "PinExpiryWarning",
    "PinRefused",
    "PinverifyError",
]


class PinverifyError(Exception):
    """Above all errors of pinverify."""


class InvalidPin(PinverifyError, ValueError):
    """What was given is not a pin, or not a usable set of pins."""


class InvalidPolicy(PinverifyError, ValueError):
    """A policy, or one of its options, does not say anything that could be enforced."""


class InvalidPolicyFile(InvalidPolicy):
    """A file of pins cannot be read.

    `source`, `line` and `entry` say where (None where that is not known), `trouble` what is wrong and what
    would be right.
    """

    def __init__(
        self, source: str, trouble: str, *, line: int | None = None, entry: str | None = None
    ) -> None:
        place = source if line is None else f"{source}:{line}"
        super().__init__(
            f"{place}: {trouble}" if entry is None else f"{place}: entry {shown(entry)}: {trouble}"
        )
        self.source, self.trouble, self.line, self.entry = source, trouble, line, entry

    def __reduce__(self) -> tuple[Any, ...]:
        # By default it would be called with args, the message.
        return _policy_file_error, (self.source, self.trouble, self.line, self.entry)


def _policy_file_error(source: str, trouble: str, line: int | None, entry: str | None) -> InvalidPolicyFile:
    return InvalidPolicyFile(source, trouble, line=line, entry=entry)


class InvalidHost(PinverifyError, ValueError):
    """What was given is neither a host name nor an IP address nor, where one may stand, a pattern."""


class InvalidTrust(PinverifyError, ValueError):
    """The trust anchors cannot be had or used."""


class InvalidIdentity(PinverifyError, ValueError):
    """The certificate chain and private key cannot be had or used, or do not belong together."""


class MalformedCertificate(PinverifyError, ValueError):
    """A certificate is not what RFC 5280 4.1 describes: another failure than one that is not pinned."""


class PinRefused(PinverifyError, SSL.Error):
    """The handshake was refused; `.verdict` says by what, of whom and why.

    Callers of pyOpenSSL catch `SSL.Error` and unpack `args[0]`, a list of 3-tuples of str: library, function
    and reason. Here it is `[("pinverify", <the reason's name in lower case>, <verdict.summary>)]`. `str()` of
    the error is the whole story, `verdict.explain()`.
    """

    def __init__(self, verdict: Verdict) -> None:
        super().__init__([("pinverify", verdict.reason.name.lower(), verdict.summary)])
        self.verdict = verdict

    def __str__(self) -> str:
        return self.verdict.explain()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.verdict,), self.__dict__  # by default it would be called with args


class PinExpiryWarning(UserWarning):
    """Pins are about to expire, or have."""


PATH_LIMIT = 4096  # `limit` for a path, which is of use only as a whole


def shown(value: object, *, limit: int = 80) -> str:
    """`repr(value)` for a message: of a str or bytes at most `limit` characters, and how many there are."""
    if isinstance(value, (str, bytes)) and "-----BEGIN" in repr(value):
        return "<PEM>"  # which may hold a private key
    if isinstance(value, (str, bytes)) and len(value) > limit:
        return f"{value[:limit]!r}… ({len(value)} in all)"
    text = repr(value)
    return text if len(text) <= 4 * limit else f"{text[:limit]}…"
