# SPDX-License-Identifier: Apache-2.0
"""The rules of the guard in C and in Python, on every combination of facts; and what must hold of each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from agreement import engine as engine

from pinverify import Reason
from pinverify.decision import Decision, Status
from pinverify.engine import rules
from pinverify.engine.rules import Action, Ruling

FLAG = (False, True)
DOMAINS: dict[str, tuple[Any, ...]] = {
    "obstacle": tuple(Reason),
    "ok": (-1, 0, 1, 2),
    "depth": (0, 1, 31),
    "x509_error": tuple(range(-1, 110)),
}


@dataclass(frozen=True)
class Rule:
    """A rule by name: its facts, and the verdicts that it is given, by their places in C."""

    name: str
    facts: tuple[str, ...]
    verdicts: int = 0

    def questions(self) -> Iterator[tuple[dict[str, Any], tuple[Decision, ...]]]:
        domains = [DOMAINS.get(fact, FLAG) for fact in self.facts]
        for values in itertools.product(*domains):
            for given in itertools.product(VERDICTS, repeat=self.verdicts):
                yield dict(zip(self.facts, values, strict=True)), given


VERDICTS = [
    Decision(reason, accepted, 0, depth, Status.UNSET)
    for reason in Reason
    for accepted in FLAG
    for depth in (-1, 0, 1)
]
RULES = [
    Rule("hello", ("guarded", "announced", "resumed", "moved", "is_server", "sole_host")),
    Rule("resumed", ("pins_only",), verdicts=2),
    Rule("own_certificate", ("guarded", "announced", "moved", "is_server", "proven")),
    Rule("certificate", ("announced", "obstacle", "ok", "depth", "x509_error", "pins_only")),
    Rule("judged", ("pins_only",), verdicts=1),
    Rule("keys", ("guarded",)),
    Rule("finished", ("proven", "has_certificate")),
    Rule("done", ("guarded", "proven")),
    Rule("keeps_session", ("is_server", "sole_host"), verdicts=1),
]
by_name = pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])


def in_c(rule: Rule) -> Callable[[dict[str, Any], tuple[Decision, ...]], Any]:
    from pinverify._native import lib

    function = getattr(lib, f"pv_rule_{rule.name}")

    def ask(facts: dict[str, Any], verdicts: tuple[Decision, ...]) -> Any:
        given = [{**verdict._asdict(), "status": int(verdict.status)} for verdict in verdicts]
        answer = function({name: int(value) for name, value in facts.items()}, *given)
        if rule.name == "keeps_session":
            return answer == 1
        return Ruling(Action(answer.action), Reason(answer.reason))

    return ask


def in_python(rule: Rule, facts: dict[str, Any], verdicts: tuple[Decision, ...]) -> Any:
    return getattr(rules, rule.name)(*verdicts, **facts)


@by_name
def test_both_engines_rule_the_same_on_every_combination_of_facts(rule: Rule) -> None:
    ask = in_c(rule)
    for facts, verdicts in rule.questions():
        assert ask(facts, verdicts) == in_python(rule, facts, verdicts), (facts, verdicts)


# Which of the facts stand against letting the handshake go on. Nothing else does.
def lets_on(rule: Rule) -> Iterator[tuple[Ruling, dict[str, Any], tuple[Decision, ...]]]:
    for facts, verdicts in rule.questions():
        ruling = in_python(rule, facts, verdicts)
        if ruling.action is not Action.REFUSE:
            yield ruling, facts, verdicts


def rule(name: str) -> Rule:
    return next(rule for rule in RULES if rule.name == name)


def test_no_hello_goes_on_that_no_guard_has_heard() -> None:
    for ruling, facts, _ in lets_on(rule("hello")):
        assert facts["guarded"]
        assert facts["announced"]
        if facts["resumed"]:
            assert ruling.action is Action.JUDGE
            assert not facts["moved"]
            assert facts["is_server"] or facts["sole_host"]


def test_a_resumed_session_is_accepted_for_a_leaf_that_is_pinned_alone() -> None:
    accepted = list(lets_on(rule("resumed")))
    for ruling, facts, (proof, standing) in accepted:
        assert proof.reason is Reason.PINNED
        assert ruling.action is Action.ACCEPT
        assert standing.accepted or standing.reason is Reason.CHAIN_LENGTH
        assert not facts["pins_only"] or standing.reason in (Reason.CHAIN_LENGTH, Reason.PINNED)
    assert accepted


def test_a_client_shows_its_certificate_to_nobody_about_whom_nobody_decided() -> None:
    for _, facts, _ in lets_on(rule("own_certificate")):
        assert facts["guarded"]
        assert facts["proven"] if not facts["is_server"] else facts["announced"] and not facts["moved"]


def test_an_error_of_openssl_is_waived_in_pins_only_mode_alone() -> None:
    for ruling, facts, _ in lets_on(rule("certificate")):
        assert facts["announced"]
        assert facts["obstacle"] is Reason.PINNED
        assert (ruling.action is Action.WAIVE) == (facts["ok"] != 1)
        if ruling.action is Action.WAIVE:
            assert facts["pins_only"]
            assert facts["x509_error"] in rules._WAIVABLE
        if ruling.action is Action.JUDGE:
            assert facts["ok"] == 1
            assert facts["depth"] == 0


def test_nobody_is_accepted_whom_the_policy_refuses() -> None:
    for ruling, facts, (verdict,) in lets_on(rule("judged")):
        assert ruling == (Action.ACCEPT, verdict.reason)
        assert verdict.accepted
        assert not facts["pins_only"] or verdict.reason is Reason.PINNED


def test_no_handshake_comes_to_its_end_without_proof() -> None:
    for name in ("finished", "done"):
        assert all(facts["proven"] for _, facts, _ in lets_on(rule(name)))
    for name in ("keys", "done"):
        assert all(facts["guarded"] for _, facts, _ in lets_on(rule(name)))


def test_a_session_is_kept_for_its_leaf_alone() -> None:
    for facts, (verdict,) in rule("keeps_session").questions():
        kept = rules.keeps_session(verdict, **facts)
        proof = verdict.reason is Reason.PINNED and verdict.depth == 0
        assert kept == (proof and (facts["is_server"] or facts["sole_host"]))
