"""Renders chat templates as transformers does, in its environment: `render.py TASKS RESULTS`, two files of JSON.

A task is a template, its variables, and messages; a result is `[text, null]`, or `[null, what it failed with]`. The
clock stands still.
"""

import json
import sys
from datetime import datetime
from pathlib import Path

from transformers.utils import chat_template_utils


class Clock(datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(*moment)


def rendered(template: str, messages: list, variables: dict) -> tuple[str | None, str | None]:
    try:
        texts, _ = chat_template_utils.render_jinja_template([messages], chat_template=template, **variables)
    except Exception as error:  # anything: it is the model's code
        return None, str(error)
    return texts[0], None


asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
moment = asked["moment"]
chat_template_utils.datetime = Clock
results = [
    rendered(asked["templates"][task["template"]], task["messages"], task["variables"]) for task in asked["tasks"]
]
Path(sys.argv[2]).write_text(json.dumps(results), encoding="utf-8")
