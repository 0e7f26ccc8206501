# SPDX-License-Identifier: Apache-2.0
"""Changes the engines in one place at a time, and looks whether the tests notice."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from tests.mutation.mutants import SIDES, Mutant, equivalents, mutants, rows_not_covered, unfit
from tests.mutation.tree import Broken, Tree

ROOT = Path(__file__).resolve().parent.parent.parent


class Workshop:
    """Copies of the sources, each of which is in use by one thread at a time."""

    def __init__(self, folder: Path, copies: int) -> None:
        self._trees: SimpleQueue[Tree] = SimpleQueue()
        first = Tree.copied(ROOT, folder / "1")
        for tree in [first, *(first.twin(folder / str(number)) for number in range(2, copies + 1))]:
            self._trees.put(tree)

    @contextmanager
    def tree(self) -> Iterator[Tree]:
        tree = self._trees.get()
        try:
            yield tree
        finally:
            self._trees.put(tree)

    def untouched(self, changes: Sequence[Mutant], side: str) -> str:
        """How the tests of all changes of one side end without any of them; "" if they pass."""
        ours = [change for change in changes if change.side == side]
        programs = sorted({name for change in ours for name in change.programs})
        nodes = sorted({node for change in ours for node in change.nodes})
        with self.tree() as tree:
            try:
                return tree.run_programs(programs) or tree.run_tests(nodes, side)
            except Broken as error:
                return f"broken: {error}"

    def outcome(self, change: Mutant) -> str:
        """What became of a change, which is said at once."""
        started = time.monotonic()
        with self.tree() as tree:
            try:
                outcome = tree.kills(change) or "SURVIVED"
            except Broken as error:
                outcome = f"BROKEN: {error}"
        brief, rows = outcome.partition("\n")[0], " ".join(change.rows)
        print(f"{brief:<9} {time.monotonic() - started:5.1f} s  {change.title}  {rows}", flush=True)
        return outcome


def main() -> int:
    options = _options()
    every = mutants()
    wrong = unfit(every + equivalents(), ROOT)
    if not options.k:
        wrong += rows_not_covered(every, ROOT)
    if wrong:
        print("\n".join(wrong))
        return 1
    chosen = [change for change in every if all(word in _words(change) for word in options.k)]
    if options.quick:
        chosen = one_a_row(chosen)
    if options.list:
        print("\n".join(_words(change) for change in chosen))
        return 0
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        return judge(chosen, Workshop(Path(folder), options.jobs), options.jobs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("-j", "--jobs", type=int, default=2, help="changes at a time (default: 2)")
    parser.add_argument(
        "-k", action="append", default=[], help="only those with this in their line of --list"
    )
    parser.add_argument("--quick", action="store_true", help="only one for each pitfall and engine")
    parser.add_argument("--list", action="store_true", help="only name them")
    return parser.parse_args()


def _words(change: Mutant) -> str:
    return " ".join([change.title, *change.rows])


def one_a_row(changes: Sequence[Mutant]) -> list[Mutant]:
    """The first change of each row of the table of pitfalls and side."""
    first: dict[tuple[str, str], Mutant] = {}
    for change in changes:
        for row in change.rows:
            first.setdefault((row, change.side), change)
    return list(dict.fromkeys(first.values()))


def judge(changes: Sequence[Mutant], workshop: Workshop, jobs: int) -> int:
    """Makes each change in turn, and says what became of all of them; the exit status."""
    started = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        endings = list(pool.map(lambda side: workshop.untouched(changes, side), SIDES))
        if any(endings):
            print("without any change there are tests that fail")
            print(
                "\n".join(f"{side}: {ending}" for side, ending in zip(SIDES, endings, strict=True) if ending)
            )
            return 1
        print(f"without any change all tests pass, {time.monotonic() - started:.0f} s", flush=True)
        pending = {pool.submit(workshop.outcome, change): change for change in changes}
        outcomes = {pending[done]: done.result() for done in as_completed(pending)}
    bad = [change for change in changes if not outcomes[change].startswith("killed")]
    print(f"\n{len(changes) - len(bad)} of {len(changes)} killed, {time.monotonic() - started:.0f} s")
    for change in bad:
        print(f"\n{outcomes[change]}: {change.title}\n{change.file}\n- {change.old}\n+ {change.new}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
