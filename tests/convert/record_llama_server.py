"""Writes tests/data/minilm_llama_server.json: what llama-server replies to a request for vectors of all-MiniLM-L6-v2
in float32, of the same texts as record_embeddings.py has.

    python -m tests.convert.record_llama_server

It builds llama-server unless it is there.
"""

import json
import tempfile
import urllib.request
from pathlib import Path

from bench import build_llama_server, minilm, processes

DATA = Path(__file__).parents[1] / "data"
FILE = DATA / "minilm_llama_server.json"


def main() -> None:
    texts = json.loads((DATA / "minilm_vectors.json").read_text(encoding="utf-8"))["texts"]
    binary = build_llama_server.build()
    with tempfile.TemporaryDirectory() as folder:
        model = minilm.write_gguf(minilm.folder(), Path(folder) / "minilm.gguf")
        command = [
            str(binary),
            "--model",
            str(model),
            "--embeddings",
            "--threads",
            "1",
            "--no-webui",
            "--alias",
            "minilm",
        ]
        with processes.running(processes.listening(command)) as server:
            body = json.dumps({"input": texts, "encoding_format": "base64"}).encode()
            url = f"http://{processes.HOST}:{server.port}/v1/embeddings"
            request = urllib.request.Request(url, body, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=120) as answer:
                reply = json.load(answer)
    found = {"made_with": binary.parents[1].name, "reply": reply}
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
