# SPDX-License-Identifier: Apache-2.0
"""What callers of pyOpenSSL and of pinverify may rely on in an exception."""

from __future__ import annotations

import copy
import hashlib
import pickle

import pytest
from OpenSSL import SSL

from pinverify import errors
from pinverify.errors import PinRefused, PinverifyError, shown
from pinverify.pins import Pin, PinSet
from pinverify.verdict import Reason, Verdict

ENTRY = PinSet([Pin(hashlib.sha256(b"a key").digest())])
VERDICT = Verdict(Reason.DENIED, False, host="a.example", pattern="a.example", entry=ENTRY)


def test_a_refusal_is_an_error_of_pyopenssl() -> None:
    """It can be caught as SSL.Error, and unpacked as callers unpack those."""
    with pytest.raises(SSL.Error) as caught:
        raise PinRefused(VERDICT)
    [(library, function, reason)] = caught.value.args[0]
    assert (library, function) == ("pinverify", "denied")
    assert "a.example" in reason
    assert "\n" not in reason
    assert isinstance(caught.value, PinverifyError)


def test_a_refusal_tells_the_whole_story() -> None:
    """Its text is the verdict's explanation, and the verdict is at hand."""
    refused = PinRefused(VERDICT)
    assert str(refused) == VERDICT.explain()
    assert str(ENTRY.allow[0]) in str(refused)
    assert refused.verdict is VERDICT


def test_a_refusal_crosses_processes() -> None:
    """Pickling and copying keep verdict, arguments, and what was noted on the exception."""
    refused = PinRefused(VERDICT)
    refused.connection_id = 7  # type: ignore[attr-defined]
    for twin in (pickle.loads(pickle.dumps(refused)), copy.copy(refused), copy.deepcopy(refused)):
        assert type(twin) is PinRefused
        assert (twin.verdict, twin.args, str(twin)) == (refused.verdict, refused.args, str(refused))
        assert vars(twin)["connection_id"] == 7


@pytest.mark.parametrize(
    "name", sorted(set(errors.__all__) - {"PinverifyError", "PinRefused", "PinExpiryWarning"})
)
def test_what_is_wrong_with_an_argument_is_a_value_error(name: str) -> None:
    """All errors of construction are ValueError too, and below PinverifyError."""
    error = getattr(errors, name)
    assert issubclass(error, PinverifyError)
    assert issubclass(error, ValueError)


def test_a_message_shows_little_and_no_pem() -> None:
    """What is shown of a value is cut, and nothing of a PEM, which may hold a private key."""
    assert shown("a\n") == r"'a\n'"
    assert shown(b"x" * 1000).endswith("(1000 in all)")
    assert len(shown(list(range(10_000)))) < 100
    assert shown(b"-----BEGIN PRIVATE KEY-----\nMC4CAQ") == shown("-----BEGIN X-----") == "<PEM>"
