#!/usr/bin/env bash
# llguidance 1.9.1 lets wrong values through for `format`, though its documentation lists these as supported: `date` takes
# 29 February of any year, `date-time` takes it too, and a second of 60 at any time of the day, where RFC 3339 has leap
# seconds only at the end of a day in UTC; `hostname` takes names of more than the 253 characters that RFC 1123 allows.
# So a program that trusts a constrained answer, and reads the date with its own library, fails in one answer of many.
# Seen: "date: 2023-02-29 taken", "date-time: 2023-02-29T10:00:00Z taken", "date-time: 2024-01-01T12:00:60Z taken",
# "hostname: 319 characters taken"; the right values are taken as well, and 2023-02-30 is refused.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q llguidance==1.9.1

"$folder/venv/bin/python" - <<'PYTHON'
import json

from llguidance import LLMatcher, LLTokenizer

END = 256


class Bytes:
    """A vocabulary of single bytes."""

    is_tokenizer_wrapper = True
    eos_token_id, bos_token_id, special_token_ids = END, None, [END]
    tokens = [bytes([i]) for i in range(END)] + [b"\xff<end>"]

    def __call__(self, text):
        return list(text if isinstance(text, bytes) else text.encode())


tokenizer = LLTokenizer(Bytes())
LONG = ".".join(["a" * 63] * 5)
CASES = [  # format, value, is it one
    ("date", "2024-02-29", True),
    ("date", "2023-02-30", False),
    ("date", "2023-02-29", False),
    ("date-time", "2023-02-29T10:00:00Z", False),
    ("date-time", "2024-01-01T12:00:60Z", False),
    ("hostname", "a.example", True),
    ("hostname", LONG, False),
]
SEEN = [True, False, True, True, True, True, True]


def takes(format, value):
    schema = {"type": "string", "format": format}
    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_json_schema(schema), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    tokens = list(json.dumps(value).encode())
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


seen = [takes(format, value) for format, value, _ in CASES]
for (format, value, valid), taken in zip(CASES, seen):
    shown = value if len(value) < 40 else f"{len(value)} characters"
    print(f"{format}: {shown} {'taken' if taken else 'refused'}; it is {'one' if valid else 'none'}")
assert seen == SEEN, "the behaviour has changed"
PYTHON
