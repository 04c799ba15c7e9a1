"""`python -m soak`: runs the sections in turn, and prints their figures and bounds. Exit status 1 if a bound is broken.

The long form is run by hand, and takes hours. It writes soak/results.md and, of what it has goals for, a table in
bench/results.md; each section is written as it ends, so that what is missing can be run later (`--section`). It also
measures llama-server, which is built first. `--short` does less of everything and writes nothing.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable
from pathlib import Path

from nitro.engines.hardware import memory
from nitro.models import default_model
from soak import (
    crowd,
    damaged_models,
    full_disks,
    kept_responses,
    kills,
    many_models,
    mixed,
    poison,
    report,
    stalls,
    storm,
    unread,
)
from soak.report import Findings

SECTIONS: dict[str, Callable[[argparse.Namespace], Findings]] = {
    "kills": kills.run,
    "poison": poison.run,
    "requests": storm.run,
    "clients": crowd.run,
    "models": damaged_models.run,
    "bodies": stalls.run,
    "many-models": many_models.run,
    "kept-responses": kept_responses.run,
    "unread": unread.run,
    "full-disks": full_disks.run,
    "mixed": mixed.run,
}


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("--short", action="store_true", help="takes a few minutes; for every change")
    parser.add_argument(
        "--section", action="append", choices=SECTIONS, help="run one section; may be repeated; default: all"
    )
    parser.add_argument("--seed", type=int, default=1, help="of everything random (%(default)s)")
    parser.add_argument(
        "--count", type=int, help="how many requests, kills, clients or files; for bodies: turns of each"
    )
    parser.add_argument("--minutes", type=float, help="of mixed load; default: 60, or some seconds with --short")
    parser.add_argument("--only", default="", help="only bodies with this in their name")
    parser.add_argument(
        "--peer", action=argparse.BooleanOptionalAction, help="measure llama-server as well; default: not with --short"
    )
    parser.add_argument(
        "--llama-server", type=Path, help="path of llama-server; default: build it, which takes a few minutes"
    )
    parser.add_argument(
        "--model", type=Path, default=default_model.path(), help="a GGUF file; default: the embedded model"
    )
    parser.add_argument("--threads", type=int, default=memory.physical_cores(), help="default: the physical cores")
    parser.add_argument("--nitro-args", default="", help="more options for nitro serve")
    parser.add_argument("--llama-args", default="", help="more options for llama-server")
    parser.add_argument("--no-write", action="store_true", help="leave soak/results.md as it is")
    options = parser.parse_args(arguments)
    options.peer = not options.short if options.peer is None else options.peer
    return options


def main() -> None:
    """Run the sections, and exit with status 1 if a bound is broken."""
    options = parse(sys.argv[1:])
    results = []
    for name in options.section or SECTIONS:
        print(f"# {name}", file=sys.stderr, flush=True)
        began = time.monotonic()
        findings = SECTIONS[name](copy.copy(options))  # what one section sets is not the next one's
        print(f"# {name} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        print(f"## {findings.title}\n\n{findings.text()}\n", flush=True)
        if not (options.short or options.no_write):
            report.write(findings)
        results.append(findings)
    broken = report.broken(results)
    if broken:
        print("These bounds are broken:", *broken, sep="\n- ", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
