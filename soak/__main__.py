"""`python -m soak`: the sections in turn, with their figures and bounds. Exit status 1 if a bound is broken.

The long form, by hand, writes soak/results.md and measures llama-server beside ours, which is built first. `--short`
takes fewer of everything and writes nothing.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from nitro.engines.hardware import memory
from nitro.models import default_model
from soak import crowd, damaged_models, kills, poison, report, stalls, storm
from soak.report import Findings

SECTIONS: dict[str, Callable[[argparse.Namespace], Findings]] = {
    "kills": kills.run,
    "poison": poison.run,
    "requests": storm.run,
    "clients": crowd.run,
    "models": damaged_models.run,
    "bodies": stalls.run,
}


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few minutes, for every change")
    parser.add_argument(
        "--section", action="append", choices=SECTIONS, help="one of them, may be given again; default: all"
    )
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn (%(default)s)")
    parser.add_argument(
        "--count", type=int, help="of what is counted in the one section that is run; of bodies: turns of each"
    )
    parser.add_argument("--only", default="", help="of the bodies those with this in their name")
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, help="llama-server too; default: not if short")
    parser.add_argument("--llama-server", type=Path, help="its binary; default: built, which takes a few minutes")
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
    options = parse(sys.argv[1:])
    found = []
    for name in options.section or SECTIONS:
        print(f"# {name}", file=sys.stderr, flush=True)
        findings = SECTIONS[name](options)
        print(f"## {findings.title}\n\n{findings.text()}\n", flush=True)
        if not (options.short or options.no_write):
            report.write(findings)
        found.append(findings)
    if broken := report.broken(found):
        print("These bounds are broken:", *broken, sep="\n- ", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
