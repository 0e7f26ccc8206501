# SPDX-License-Identifier: Apache-2.0
"""`pinverify audit`: many hosts, one line of JSON each, to be stopped and taken up again at any time."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO

import click

from pinverify.audit import Audit, Outcome, targets
from pinverify.cli.peer import invalid_input
from pinverify.policy import Policy

__all__ = ["run_audit"]

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_START = b'{"target": "'  # of each line of the output


def run_audit(hosts: str, policy: str, output: str, *, trust: str, timeout: float, jobs: int) -> int:
    """Audits the hosts in a file and appends the outcomes to `output` ("-" is standard output), leaving out
    those that it has already. The exit status.
    """
    with invalid_input():
        audit = Audit(Policy.load(policy), trust, timeout)
        audit.context()  # what is wrong with it is said at once
        wanted = list(dict.fromkeys(targets(_lines(hosts))))
    seen: Counter[bool | None] = Counter()
    with _opened(output) as file:
        done = _finished(file) if output != "-" else {}
        seen.update(done.values())
        left = [target for target in wanted if str(target) not in done]
        executor = ThreadPoolExecutor(jobs)
        batch = max(1, min(32, len(left) // (4 * jobs)))  # fewer hand-overs, where there is enough for all
        try:
            for outcome in _progress(audit.run(left, executor, jobs=2 * jobs, batch=batch), len(left)):
                file.write(_line(outcome))
                file.flush()
                seen[outcome.accepted] += 1
        except KeyboardInterrupt:
            click.echo(
                f"stopped; {sum(seen.values())} of {len(wanted)} hosts are done: {_sum(seen)}", err=True
            )
            return _INTERRUPTED
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
    click.echo(_sum(seen), err=True)
    return 1 if seen[False] else 3 if seen[None] else 0


def _lines(hosts: str) -> list[str]:
    try:
        with click.open_file(hosts, encoding="utf-8") as file:
            return list(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise click.UsageError(f"{hosts!r} cannot be read: {reason}") from error


@contextmanager
def _opened(output: str) -> Iterator[BinaryIO]:
    if output == "-":
        yield sys.stdout.buffer
        return
    try:
        with open(output, "a+b") as file:
            yield file
    except OSError as error:  # of writing too, as when the disk is full
        raise click.UsageError(f"{output!r} cannot be written: {error.strerror}") from error


def _finished(file: BinaryIO) -> dict[str, bool | None]:
    """The targets that an earlier run has outcomes of. A last line that was not finished is cut off."""
    file.seek(0)
    *whole, rest = file.read().split(b"\n")
    try:
        if not rest.startswith(_START) and not _START.startswith(rest):
            raise ValueError("its last line is something else")
        entries = [json.loads(line) for line in whole]
        found = {entry["target"]: entry["accepted"] for entry in entries}
    except (ValueError, TypeError, KeyError) as error:
        raise click.UsageError(f"{file.name!r} is there, and not the output of an audit: {error}") from error
    file.truncate(file.tell() - len(rest))
    return found


def _line(outcome: Outcome) -> bytes:
    return json.dumps(outcome.as_json, ensure_ascii=False).encode() + b"\n"


def _progress(outcomes: Iterator[Outcome], count: int) -> Iterator[Outcome]:
    """Draws a bar on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield from outcomes
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, color_system=None if os.environ.get("NO_COLOR") else "auto")
    with Progress(console=console, transient=True) as progress:
        yield from progress.track(outcomes, total=count, description="hosts")


def _sum(seen: Counter[bool | None]) -> str:
    return f"{seen[True]} accepted, {seen[False]} refused, {seen[None]} without a verdict"
