# SPDX-License-Identifier: Apache-2.0
"""`pinverify lint`: findings as text for people, or as JSON."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict

import click

from pinverify.cli.peer import invalid_input
from pinverify.errors import InvalidHost
from pinverify.formats import read_file, toml
from pinverify.hostnames import canonical_host, host_and_port
from pinverify.lint import Finding, Severity, lint

__all__ = ["show_findings"]


def show_findings(
    path: str,
    *,
    live: bool,
    trust: str,
    connect_to: Iterable[str],
    timeout: float,
    form: str,
    fail_on: str,
) -> int:
    """Prints what is found in the policy file at `path`; the exit status: 1 if anything is as bad as
    `fail_on`.
    """
    with invalid_input():
        policy, warnings = toml.read(read_file(path), source=path)
        addresses = dict(map(_connect_to, connect_to))
        findings = [_duplicate(path, warning) for warning in warnings] + lint(policy)
        if live:
            from pinverify.lint_live import lint_live

            findings += lint_live(policy, trust=trust, addresses=addresses, timeout=timeout)
        findings.sort(key=lambda finding: -finding.severity)  # the worst first
    if form == "json":
        click.echo(json.dumps([_as_json(finding) for finding in findings], indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            click.echo(_as_text(finding), color=False if os.environ.get("NO_COLOR") else None)
        click.echo(_summary(findings), err=True)
    return int(any(finding.severity >= Severity[fail_on.upper()] for finding in findings))


def _duplicate(path: str, warning: str) -> Finding:
    """What a policy does not show any more: only its file has a pin twice."""
    remedy = "name each pin once; the second may have been meant to be another, the backup say"
    return Finding("duplicate-pin", Severity.WARNING, path, warning, remedy)


def _connect_to(text: str) -> tuple[str, tuple[str, int]]:
    """HOST=ADDRESS[:PORT]."""
    host, equals, where = text.partition("=")
    if not equals:
        raise InvalidHost(f"{text!r} is not HOST=ADDRESS[:PORT]")
    return canonical_host(host), host_and_port(where)


def _as_text(finding: Finding) -> str:
    colour = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: None}[finding.severity]
    head = click.style(f"{finding.severity.name.lower():8}", fg=colour, bold=finding.severity > Severity.INFO)
    return f"{head}{finding.entry}: {finding.why} [{finding.code}]\n{'':8}-> {finding.remedy}"


def _as_json(finding: Finding) -> dict[str, object]:
    return asdict(finding) | {"severity": finding.severity.name.lower()}


def _summary(findings: list[Finding]) -> str:
    counts = Counter(finding.severity.name.lower() for finding in findings)
    parts = [f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items()]  # the worst come first
    return ", ".join(parts) or "nothing found"
