#!/usr/bin/env bash
# Chat templates of well-known models fail on tools that the OpenAI API allows: `description` and `parameters` of a
# function are optional there, and a JSON schema's `type` may be a list, such as ["string", "null"]. Rendered as
# transformers 5.23.0 does, of the templates that llama-cpp-python 0.3.36 brings for tests, so many raise:
# without a description 6 (gpt-oss among them), without parameters 7, with a type that is a list 3 (RecursionError).
# So the same request works with one model and is an error with another, and the error is a line of Python.
# Seen: "no description: 6", "no parameters: 7", "type in a list: 3", each with the names of the templates.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q transformers==5.23.0 jinja2==3.1.6
"$folder/venv/bin/pip" download -q --no-deps --no-binary llama-cpp-python --dest "$folder" llama-cpp-python==0.3.36
tar -xzf "$folder"/llama_cpp_python-0.3.36.tar.gz -C "$folder" --wildcards '*/models/templates/*.jinja'

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

zone = {"type": "string", "description": "Of the clock."}
whole = {"type": "object", "properties": {"zone": zone}, "required": ["zone"]}
listed = {**whole, "properties": {"zone": {**zone, "type": ["string", "null"]}}}
FUNCTIONS = {
    "whole": {"name": "now", "description": "The time.", "parameters": whole},
    "no description": {"name": "now", "parameters": whole},
    "no parameters": {"name": "now", "description": "The time."},
    "type in a list": {"name": "now", "description": "The time.", "parameters": listed},
}
SEEN = {"no description": 6, "no parameters": 7, "type in a list": 3}


def fails(template, function):
    tools = [{"type": "function", "function": function}]
    messages = [[{"role": "user", "content": "What time is it?"}]]
    try:
        render_jinja_template(messages, tools=tools, chat_template=template, bos_token="", eos_token="")
    except Exception:
        return True
    return False


templates = {path.stem: path.read_text() for path in sorted(Path(sys.argv[1]).rglob("*.jinja"))}
usable = {name: text for name, text in templates.items() if not fails(text, FUNCTIONS["whole"])}
print(f"{len(usable)} of {len(templates)} templates render a whole tool")
for case, number in SEEN.items():
    failing = [name for name, text in usable.items() if fails(text, FUNCTIONS[case])]
    print(f"{case}: {len(failing)} ({', '.join(failing)})")
    assert len(failing) == number, "the behaviour has changed"
PYTHON
