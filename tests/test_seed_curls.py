"""The curl commands of the first Nitro's page on chat completion, word for word, in a shell."""

import json
import subprocess
from pathlib import Path

import pytest
from running import CEILING, RunningServer

CURLS = sorted((Path(__file__).parent / "data" / "seed_curls").glob("*.sh"))
SEEDS = Path(__file__).parents[2] / "shared" / "seeds"  # the documents, where they lie beside the checkout
HOST = "http://localhost:3928"


@pytest.mark.parametrize("curl", CURLS, ids=lambda path: path.stem)
def test_curl(smollm_server: RunningServer, curl: Path) -> None:
    """A 200 with the members that the page documents, though not the first Nitro's random values."""
    command = curl.read_text().rstrip("\n").replace(HOST, smollm_server.url)
    done = subprocess.run(
        ["sh", "-c", command + " --silent --show-error --write-out '\\n%{http_code}'"],
        capture_output=True,
        text=True,
        timeout=CEILING * 2,
    )
    body, _, status = done.stdout.rpartition("\n")
    assert (status, done.returncode) == ("200", 0), done.stderr + body
    reply = json.loads(body)
    (choice,) = reply["choices"]
    assert choice["message"]["role"] == "assistant" and choice["message"]["content"].strip()
    assert choice["finish_reason"] in ("stop", "length") and choice["index"] == 0  # drawn, so it may ramble
    assert reply["object"] == "chat.completion"
    assert isinstance(reply["created"], int) and reply["id"] and reply["model"] and reply["system_fingerprint"]
    usage = reply["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0


@pytest.mark.skipif(not SEEDS.is_dir(), reason="the documents are not beside this checkout")
def test_curls_are_those_of_the_documents() -> None:
    documents = [path.read_text() for path in sorted(SEEDS.glob("*.txt"))]
    assert sum(document.count(f"curl {HOST}") for document in documents) == len(CURLS)
    for curl in CURLS:
        assert any(curl.read_text() in document + "\n" for document in documents), curl.name
