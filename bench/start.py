"""How long a server takes from its start to the first token of an answer, and what memory it holds then.

The first request is sent as soon as the port takes one, and again while the server says that it loads. Run:
`python -m bench.start`.
"""

import argparse
import http.client
import json
import statistics
import time
from collections.abc import Sequence
from typing import Any

from bench import build_llama_server, peers, processes, report
from bench.workloads import SERVER
from nitro.bench.stats import turns

POLL = 0.005  # seconds between two requests to a server that is not ready
PROMPT = "Hello"
TOKENS = 4


def first_token(command: processes.Command) -> tuple[float, float | None]:
    """Seconds from the start of the process to the first text of an answer, and MiB of all its processes when the
    answer has ended. Raises RuntimeError if the server ends, or never answers."""
    body = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": TOKENS, "stream": True}
    began = time.perf_counter()
    with processes.starting(command) as (server, problem):
        while time.perf_counter() - began < processes.LOAD_TIMEOUT:
            if (said := problem()) is not None:
                raise RuntimeError(said)
            if (at := _ask(server.port, json.dumps(body).encode())) is not None:
                return at - began, server.memory()
            time.sleep(POLL)
    raise RuntimeError("the server gave no token")


def measure(commands: Sequence[processes.Command], rounds: int) -> list[list[tuple[float, float | None]]]:
    """`first_token` of each command, in turn."""
    measured: list[list[tuple[float, float | None]]] = [[] for _ in commands]
    for order in turns(rounds, len(commands)):
        for number in order:
            measured[number].append(first_token(commands[number]))
    return measured


def _ask(port: int, body: bytes) -> float | None:
    """When the first text came; None where the server takes no request yet. Reads the answer to its end."""
    connection = http.client.HTTPConnection(processes.HOST, port, timeout=processes.LOAD_TIMEOUT)
    try:
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        reply = connection.getresponse()
        at = None
        for line in reply if reply.status == http.client.OK else ():
            if at is None and _has_text(line):
                at = time.perf_counter()
        return at
    except OSError:  # not listening yet
        return None
    finally:
        connection.close()


def _has_text(line: bytes) -> bool:
    if not line.startswith(b"data: {"):
        return False
    choices: list[dict[str, Any]] = json.loads(line.removeprefix(b"data: "))["choices"]
    return bool(choices and choices[0]["delta"].get("content"))


def main() -> None:
    """Measure Nitro and llama-server at the defaults of both, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.start", description=__doc__)
    peers.add_options(parser)
    options = parser.parse_args()
    server = options.llama_server or build_llama_server.build()
    commands = [
        processes.nitro(str(options.model), *options.nitro_args.split()),
        processes.listening([str(server), "-m", str(options.model), *options.llama_args.split()]),
    ]
    rows = []
    for name, values in zip([peers.OURS, SERVER], measure(commands, options.rounds), strict=True):
        seconds = sorted(second for second, _ in values)
        memory = statistics.median(mib or 0.0 for _, mib in values)
        spread = f"{statistics.median(seconds):.3f} ({seconds[0]:.3f}–{seconds[-1]:.3f})"
        rows.append([name, f"median of {options.rounds}", spread, f"{memory:.0f}"])
    print(report.table(["server", "how", "start to the first token, s", "PSS after that answer, MiB"], rows))


if __name__ == "__main__":
    main()
