"""What `--record` costs: Nitro with a runner that computes nothing, which records, beside one that does not.
Run: `python -m bench.records`.
"""

import argparse
import tempfile

from bench import http, processes, report
from nitro.bench import client


def main() -> None:
    """Measure both, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.records", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    fake = ["--engine", "nitro.engines.backends.fake:FakeRunner", "--parallel", str(http.STREAMS), "--ctx", "1024"]
    with (
        tempfile.TemporaryDirectory(prefix="nitro-records-") as folder,
        processes.running(processes.nitro(*fake, "--record", folder)) as recording,
        processes.running(processes.nitro(*fake)) as plain,
    ):
        rows = client.run(http.measure([recording, plain], options.rounds))
    print(report.table(["", "recording", "not", "ratio"], rows))


if __name__ == "__main__":
    main()
