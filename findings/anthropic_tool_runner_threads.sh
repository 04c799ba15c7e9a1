#!/usr/bin/env bash
# Anthropic's SDK for Python, 2.14.0: `beta.messages.tool_runner()` sends `thread: {"type": "create"}` unasked, so that
# the server keeps the conversation. Servers that speak the Messages API and keep none (most gateways and local ones do
# not know the name) must either ignore it, and then get only the newest messages from the second turn on, or refuse it.
# After a refusal the runner goes on without only where `error.details.error_code` is "thread_unsupported_request"; any
# other 400, such as "thread: Extra inputs are not permitted", ends the runner, while `messages.create()` works.
# `thread=False` avoids it. Seen with a server that refuses: with that code "answered after ['thread', None]", without
# "BadRequestError"; and with one that ignores the name: the second request has 1 message, instead of 3.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q anthropic==2.14.0

"$folder/venv/bin/python" - <<'PYTHON'
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from anthropic import Anthropic, BadRequestError, beta_tool

CALL = {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}}
USAGE = {"input_tokens": 1, "output_tokens": 1}


class Server(BaseHTTPRequestHandler):
    requests, details = [], None  # details None: `thread` is ignored

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.requests.append(asked)
        if "thread" in asked and self.details is not None:
            error = {"type": "invalid_request_error", "message": "no threads", "details": self.details}
            return self.reply(400, {"type": "error", "error": error})
        answered = any(message["role"] == "user" and "tool_result" in str(message) for message in asked["messages"])
        content, reason = ([{"type": "text", "text": "Noon."}], "end_turn") if answered else ([CALL], "tool_use")
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content}
        self.reply(200, {**message, "stop_reason": reason, "stop_sequence": None, "usage": USAGE})

    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@beta_tool
def now() -> str:
    """The time."""
    return "12:00"


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = Anthropic(base_url=f"http://127.0.0.1:{server.server_port}", api_key="k", max_retries=0)


def run(details):
    Server.requests.clear()
    Server.details = details
    runner = client.beta.messages.tool_runner(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "Time?"}], tools=[now]
    )
    return runner.until_done().content[0].text


assert run({"error_code": "thread_unsupported_request"}) == "Noon."
print("answered after", ["thread" if "thread" in asked else None for asked in Server.requests][:2])
assert [("thread" in asked) for asked in Server.requests] == [True, False, False], "the behaviour has changed"
try:
    run({"error_code": "unsupported_parameter"})
    raise SystemExit("the behaviour has changed")
except BadRequestError as error:
    print(type(error).__name__)
assert run(None) == "Noon."
print("messages of the second request to a server that ignores it:", len(Server.requests[1]["messages"]))
assert Server.requests[1]["thread"]["type"] == "continue" and len(Server.requests[1]["messages"]) == 1
PYTHON
