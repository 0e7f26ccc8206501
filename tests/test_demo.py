# SPDX-License-Identifier: Apache-2.0
"""The demonstration shows what happens, and notices when that is not what should."""

from __future__ import annotations

import re
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result
from OpenSSL._util import lib

from pinverify import PinnedContext, Reason, client_context
from pinverify.cli.commands import cli
from pinverify.demo import CASES, Case, Cost, Pki, measure, run
from pinverify.engine import openssl


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures a few handshakes only: that the figures are good is not what these tests are about."""
    monkeypatch.setattr("pinverify.demo.measure", lambda pki: measure(pki, handshakes=3, rounds=3, calls=10))


def demo(columns: int | None = None) -> Result:
    return CliRunner().invoke(cli, ["demo"], env={"COLUMNS": None if columns is None else str(columns)})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title.replace(" ", "-"))
def test_each_case_comes_out_as_expected(case: Case, pki: Pki) -> None:
    """Each handshake of the demonstration is accepted or refused as it should be, for the right reason."""
    (result,) = run(pki, [case])
    assert result.as_expected, result


def test_cases_show_both(engine: ModuleType) -> None:
    """The demonstration has accepted and refused peers, so that refusing all would not pass."""
    assert {case.accepts for case in CASES} == {True, False}
    assert len({case.title for case in CASES}) == len(CASES)


def test_the_right_outcome_for_the_wrong_reason_is_not_as_expected(pki: Pki) -> None:
    """A refusal for another reason than the one that is shown counts as a failure."""
    wrong_key = next(case for case in CASES if case.title == "right CA, wrong key")
    (result,) = run(pki, [wrong_key._replace(reason=Reason.DENIED)])
    assert not result.outcome.accepted
    assert not result.as_expected


def test_a_guard_that_was_displaced_is_noticed(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the handshake lets in a wrong key, the case says so, though the verdict afterwards would not."""

    def unguarded(*args: Any, **options: Any) -> PinnedContext:
        context = client_context(*args, **options)
        for setter in ("msg", "tlsext_servername", "info"):
            getattr(lib, f"SSL_CTX_set_{setter}_callback")(context._context, openssl.ffi.NULL)
        return context

    monkeypatch.setattr("pinverify.demo.cases.client_context", unguarded)
    (result,) = run(pki, [case for case in CASES if case.title == "wrong key, callback replaced"])
    assert result.outcome.accepted
    assert not result.as_expected


def test_the_command_shows_every_case_and_the_engine(engine: ModuleType) -> None:
    """The command prints each case, which engine decides and what that costs, and exits 0."""
    result = demo()
    assert result.exit_code == 0, result.output
    for case in CASES:
        assert re.search(rf"^{re.escape(case.title)} +(accepted|refused)", result.output, re.MULTILINE)
    assert f"{len(CASES)} cases, all as expected" in result.output
    assert f"the {engine.NAME} engine" in result.output
    assert "us  a decision" in result.output
    assert "us  a handshake" in result.output


@pytest.mark.parametrize("columns", [60, 80, 120, None])
def test_piped_output_is_plain_and_whole(columns: int | None) -> None:
    """Where no terminal is, there is no colour, no trailing blank, and nothing too wide or cut off."""
    output = demo(columns).output
    assert "\x1b" not in output
    assert "…" not in output
    lines = output.splitlines()
    assert max(map(len, lines)) <= (columns or 100)
    assert [line for line in lines if line != line.rstrip()] == []
    words = set(output.split())
    assert {word for case in CASES for word in case.title.split()} <= words


def test_a_surprise_is_shown_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a case comes out otherwise than expected, the command says which and exits 1."""
    accepted = next(case for case in CASES if case.accepts)
    surprise = Case("a surprise", False, Reason.DENIED, accepted.play)
    monkeypatch.setattr("pinverify.demo.cases.CASES", (accepted, surprise))
    result = demo(120)
    assert result.exit_code == 1
    assert "2 cases, 1 NOT as expected" in result.output
    assert re.search(r"^a surprise +refused +accepted .*NOT AS EXPECTED", result.output, re.MULTILINE)


def test_the_cost_is_measured(pki: Pki) -> None:
    """Both figures come from clocks: they are positive, and the ratio is theirs."""
    cost = measure(pki, handshakes=3, rounds=3, calls=10)
    assert cost.decision > 0
    assert cost.handshake > 0
    assert Cost(1e-6, 1e-3).ratio == pytest.approx(0.001)


def test_it_needs_only_what_pinverify_needs() -> None:
    """The demonstration runs where none of the extras is installed."""
    extras = ("click", "rich", "trustme", "pytest", "twisted", "urllib3", "service_identity")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({extras!r}))\n"
        "from pinverify.demo import Pki, run\n"
        "assert all(result.as_expected for result in run(Pki()))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
