# SPDX-License-Identifier: Apache-2.0
"""How pinning failed elsewhere: in pins that expired, and in modes that only look (P10, P11)."""

from __future__ import annotations

import logging
import warnings
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from OpenSSL import SSL
from pinned import ABSENT, HOST, raw, refusal, without_a_ca
from support import accepting, exchange, intermediate, leaf, make_node, root, server_ssl, shake

import pinverify
from pinverify import (
    PinExpiryWarning,
    PinnedContext,
    PinRefused,
    PinSet,
    Policy,
    Reason,
    Verdict,
    client_context,
    server_context,
)

DAY = timedelta(days=1)
TODAY = datetime.now(timezone.utc)


def context_of(pins: PinSet, **options: Any) -> PinnedContext:
    return client_context({HOST: pins}, **{"trust": root().certificate, **options})


def expiring(days: int, **options: Any) -> PinSet:
    return PinSet([leaf(HOST).pin], expires=TODAY + days * DAY, **options)


@pytest.mark.filterwarnings("ignore::pinverify.PinExpiryWarning")
def test_p10_expired_pins_refuse() -> None:
    """By default a set that has expired lets nobody in, the right key neither; the message has the date."""
    error = refusal(raw(context_of(expiring(-1))), accepting(server_ssl(leaf(HOST))))
    assert error.verdict.reason is Reason.EXPIRED
    assert f"expired on {TODAY - DAY:%Y-%m-%d}" in str(error)


@pytest.mark.filterwarnings("ignore::pinverify.PinExpiryWarning")
def test_p10_pkix_has_to_be_asked_for() -> None:
    """With on_expiry="pkix" OpenSSL alone decides after that day, and it does decide."""
    context = context_of(PinSet([ABSENT], expires=TODAY - DAY, on_expiry="pkix"))
    client, server = raw(context), accepting(server_ssl(leaf(HOST)))
    assert shake(client, server) == (None, None)
    assert pinverify.verdict(client).reason is Reason.EXPIRED_OK
    for stranger in (leaf("other.test"), leaf(HOST, under="another root")):
        assert refusal(raw(context), accepting(server_ssl(stranger))).verdict.reason is Reason.OPENSSL


@pytest.mark.filterwarnings("ignore::pinverify.PinExpiryWarning")
def test_p10_without_a_ca_nobody_is_let_in_by_expiry() -> None:
    """Where there is no CA to fall back on, the guard accepts no unknown certificate by "pkix" either."""
    context = without_a_ca(Policy({HOST: expiring(-1, on_expiry="pkix")}))
    assert refusal(raw(context), accepting(server_ssl(leaf(HOST)))).verdict.reason is Reason.OPENSSL


@pytest.mark.parametrize(
    ("options", "says"),
    [({}, "every peer is refused"), ({"on_expiry": "pkix"}, "OpenSSL alone decides")],
    ids=["deny", "pkix"],
)
@pytest.mark.parametrize("days", [-1, 29])
def test_p10_a_warning_comes_ahead(days: int, options: dict[str, Any], says: str) -> None:
    """From thirty days ahead the builders warn at the caller's line, and say what will happen."""
    pins = expiring(days, **options)
    with pytest.warns(PinExpiryWarning, match=says) as caught:
        context_of(pins)
    with pytest.warns(PinExpiryWarning, match="'clients' expire on") as of_clients:
        server_context(leaf(HOST).identity, clients=pins, trust=root().certificate)
    assert [warning.filename for warning in [*caught, *of_clients]] == [__file__] * 2


def test_p10_no_warning_comes_too_early() -> None:
    """A set that is good for more than thirty days is no news."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        context = context_of(expiring(31))
    assert shake(raw(context), accepting(server_ssl(leaf(HOST)))) == (None, None)


# What report mode says of a server, and lets in.
REPORTED = {
    "NOT_PINNED": PinSet([ABSENT], mode="report"),
    "DENIED": PinSet([leaf(HOST).pin], deny=[root().pin], mode="report"),
    "EXPIRED": PinSet([leaf(HOST).pin], expires=TODAY - DAY, mode="report"),
}
every_reported = pytest.mark.parametrize("reason", REPORTED)


@pytest.mark.filterwarnings("ignore::pinverify.PinExpiryWarning")
@every_reported
def test_p11_report_mode_reports_and_lets_in(reason: str) -> None:
    """`on_violation` hears of the violation, the counters count it, and the connection carries data."""
    heard = list[Verdict]()
    context = context_of(REPORTED[reason], on_violation=heard.append)
    client, server = raw(context), accepting(server_ssl(leaf(HOST)))
    assert shake(client, server) == (None, None)
    assert exchange(client, server) == b"ping"
    [verdict] = heard
    assert (verdict.reason, verdict.accepted, verdict.host) == (Reason[reason], True, HOST)
    assert verdict.chain == tuple(leaf(HOST).ders)
    stats = context.stats()
    assert (stats.accepted, stats.refused, stats.reported) == (1, 0, 1)


@pytest.mark.filterwarnings("ignore::pinverify.PinExpiryWarning")
@every_reported
@pytest.mark.parametrize("server", [leaf("other.test"), leaf(HOST, under="another root")], ids=["name", "CA"])
def test_p11_report_mode_waives_nothing_of_openssl(reason: str, server: Any) -> None:
    """A wrong name and an unknown CA are refused as ever."""
    context = context_of(REPORTED[reason], on_violation=lambda verdict: None)
    assert refusal(raw(context), accepting(server_ssl(server))).verdict.reason is Reason.OPENSSL
    assert context.stats().accepted == 0


@pytest.mark.filterwarnings("ignore::pinverify.PinExpiryWarning")
@every_reported
def test_p11_report_mode_waives_no_ca_that_is_not_there(reason: str) -> None:
    """Without a CA there is nothing but the pins: a key that is not pinned is not let in to be reported."""
    stranger = make_node("stranger", hosts=(HOST,))
    context = without_a_ca(Policy({HOST: REPORTED[reason]}))
    assert refusal(raw(context), accepting(server_ssl(stranger))).verdict.reason is Reason.OPENSSL


def test_p11_report_mode_waives_no_reference_name() -> None:
    """Neither is a connection let in that does not say which host it wants."""
    policy = {HOST: PinSet([ABSENT], mode="report"), "other.test": PinSet([ABSENT], mode="report")}
    client = SSL.Connection(client_context(policy, trust=root().certificate), None)
    client.set_connect_state()
    assert refusal(client, accepting(server_ssl(leaf(HOST)))).verdict.reason is Reason.NO_REFERENCE


def test_p11_a_report_goes_to_the_log_where_nobody_else_hears(caplog: pytest.LogCaptureFixture) -> None:
    """Without `on_violation` the logger "pinverify" gets the whole story; of an enforced one it gets none."""
    client = raw(context_of(PinSet([ABSENT], mode="report")))
    with caplog.at_level(logging.WARNING, "pinverify"):
        assert shake(client, accepting(server_ssl(leaf(HOST)))) == (None, None)
        [record] = caplog.records
        assert record.levelname == "WARNING"
        assert f"accepted, reporting only, {HOST}" in record.message
        assert str(leaf(HOST).pin) in record.message
        refusal(raw(context_of(PinSet([ABSENT]))), accepting(server_ssl(leaf(HOST))))
    assert len(caplog.records) == 1


def test_p11_a_report_on_a_client_too() -> None:
    """A server in report mode lets an unknown client of its CA in, and reports it."""
    heard, device = list[Verdict](), intermediate("clients").issue()
    pins = PinSet([ABSENT], mode="report")
    trust = root("clients").certificate
    context = server_context(leaf(HOST).identity, clients=pins, trust=trust, on_violation=heard.append)
    for node, is_accepted in ((device, True), (make_node("stranger"), False)):
        client = context_of(PinSet([leaf(HOST).pin]), identity=node.identity)
        error, _ = shake(accepting(context), raw(client))
        assert isinstance(error, PinRefused) is not is_accepted
    assert [(verdict.reason, verdict.accepted) for verdict in heard] == [(Reason.NOT_PINNED, True)]
