#!/usr/bin/env bash
# llguidance 1.9.1 reads the numbers of a JSON schema as doubles. It accepts a `const` or an `enum` of 2^53 + 1 silently,
# and forces 2^53 instead: it refuses the only valid value, and allows only an invalid one. A `maximum` of 2^53 + 1 refuses
# that number itself.
# So a client that sends 64-bit identifiers through structured output gets different identifiers.
# Seen: "const: 9007199254740993 refused, 9007199254740992 taken", and the same for enum; "maximum: 9007199254740993 refused".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q llguidance==1.9.1

"$folder/venv/bin/python" - <<'PYTHON'
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
large = 2**53 + 1


def takes(schema, value):
    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_json_schema(schema), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    tokens = list(str(value).encode())
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


for keyword, schema in {"const": {"const": large}, "enum": {"enum": [large]}}.items():
    seen = takes(schema, large), takes(schema, large - 1)
    print(f"{keyword}: {large} {'taken' if seen[0] else 'refused'}, {large - 1} {'taken' if seen[1] else 'refused'}")
    assert seen == (False, True), "the behaviour has changed"
kept = takes({"type": "integer", "maximum": large}, large)
print(f"maximum: {large} {'taken' if kept else 'refused'}")
assert not kept, "the behaviour has changed"
PYTHON
