#!/usr/bin/env bash
# huggingface_hub 2.4.0 downloads over HTTP and
# - begins at byte 0 again after it was killed, and leaves the killed run's blobs/*.incomplete behind for good;
# - gives up on a connection that is cut after every 9 MB: it hands on blocks of 10 MB, and forgets what it has of one when
#   the connection ends, so that each try begins where the last one did;
# - takes a file whose SHA-256 is not the one that the hub told.
# So large files do not come over poor connections, and a damaged one is found when a model does not load. That nothing is
# resumed is known: huggingface/huggingface_hub#4196.
# Seen: "after a kill: from byte 0, 1 partial file left", "cut at 9 MB: from bytes [0, 0, 0, 0, 0, 0], then
# RemoteProtocolError", "another content: taken".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q huggingface_hub==2.4.0

HF_HOME="$folder/home" HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_PROGRESS_BARS=1 "$folder/venv/bin/python" - <<'PYTHON'
import hashlib
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONTENT = bytes(20_000_000)
CUT = 9_000_000
state = {"cut": None, "kill": False, "wrong": False}
starts, children = [], []


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(b"")

    def do_GET(self):
        start = int(self.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
        starts.append(start)
        self.answer(CONTENT[start:-1] + (b"!" if state["wrong"] else CONTENT[-1:]), start)

    def answer(self, body, start=0):
        size = len(CONTENT)
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", '"' + hashlib.sha256(CONTENT).hexdigest() + '"')
        self.send_header("Content-Length", str(size - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        try:
            if state["kill"] and body:
                self.wfile.write(body[:15_000_000])
                children.pop().send_signal(signal.SIGKILL)
            self.wfile.write(body[: state["cut"]])
        except OSError:
            pass
        self.close_connection = self.command == "GET" and state["cut"] is not None

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
DOWNLOAD = "from huggingface_hub import hf_hub_download; hf_hub_download('org/model', 'model.gguf')"


def download(home, **faults):
    state.update(cut=None, kill=False, wrong=False)
    state.update(faults)
    starts.clear()
    env = {**os.environ, "HF_HOME": home, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}"}
    child = subprocess.Popen([sys.executable, "-c", DOWNLOAD], env=env, stderr=subprocess.PIPE, text=True)
    children[:] = [child]
    said = child.communicate()[1]
    return child.returncode, said.strip().splitlines()


home = Path(os.environ["HF_HOME"])
assert download(str(home / "a"), kill=True)[0] == -signal.SIGKILL
assert download(str(home / "a"))[0] == 0
left = list((home / "a").rglob("*.incomplete"))
print(f"after a kill: from byte {starts[0]}, {len(left)} partial file left")
assert starts == [0] and len(left) == 1

code, said = download(str(home / "b"), cut=CUT)
print(f"cut at 9 MB: from bytes {starts}, then {said[-1].partition(':')[0].rpartition('.')[2]}")
assert code == 1 and starts == [0] * 6 and "RemoteProtocolError" in said[-1]

code, _ = download(str(home / "c"), wrong=True)
(blob,) = (home / "c").rglob("blobs/*")
taken = code == 0 and hashlib.sha256(blob.read_bytes()).hexdigest() != blob.name
print(f"another content: {'taken' if taken else 'refused'}")
assert taken
PYTHON
