# SPDX-License-Identifier: Apache-2.0
"""The command `pinverify`. click and rich come with the extra `cli`; `pinverify debug` does without them."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """The entry point of `pinverify` and of `python -m pinverify`."""
    _never_fail_to_print()
    try:
        from pinverify.cli.commands import cli

        cli(prog_name="pinverify")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("click", "rich"):
            raise
        _without_extra()


def _without_extra() -> None:
    from pinverify.cli.debug import describe

    if sys.argv[1:] == ["debug"]:
        print(describe())
        return
    print(
        "pinverify: the command line needs click and rich; pip install 'pinverify[cli]'. "
        "Without them there is `pinverify debug` alone.",
        file=sys.stderr,
    )
    raise SystemExit(2)


def _never_fail_to_print() -> None:
    """Lets a stream that cannot show a character show its code: a verdict must not be lost to a locale."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
