"""The bodies of requests with other texts: what is known to be a protocol's own word stays, all other texts go.

Roles, types, numbers, the shapes of tools and the order of everything stay, so that a request is read as before.
"""

import base64
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from nitro.records.redaction import media, schemas
from nitro.records.redaction.words import Words

# Values of these are words of a protocol, or names of models, if they look like it.
KEPT = frozenset(
    (
        *("role", "type", "object", "model", "status", "finish_reason", "stop_reason", "done_reason", "phase"),
        *("reasoning_effort", "effort", "summary", "verbosity", "detail", "encoding_format", "modalities", "include"),
        *("truncation", "truncate", "service_tier", "keep_alive", "media_type", "mime_type", "format", "ttl", "mode"),
        *("prompt_cache_retention", "reasoning_format", "syntax", "display", "order"),
    )
)
# Words of these that are no names of tools.
CHOICES = dict.fromkeys(("tool_choice", "function_call"), ("auto", "none", "required", "any"))
_WORD = re.compile(r"[\w.:/+@-]{0,120}")
IDS = frozenset(
    [
        "id",
        "call_id",
        "tool_call_id",
        "tool_use_id",
        "item_id",
        "previous_response_id",
        "response_id",
        "conversation",
        "prompt_cache_key",
    ]
)
_RANDOM = re.compile(r"[a-z]{1,12}[_-]+[A-Za-z0-9]{0,4}\d[A-Za-z0-9]*|[a-z]{1,12}[_-]+[a-f0-9]{16,}|[A-Za-z0-9]{9}")
NAMES = frozenset(["name", "tool_name", "namespace", "server_label"])
SCHEMAS = frozenset(["parameters", "input_schema", "schema", "guided_json", "json_schema", "format"])
DATA = frozenset(["metadata"])
PATTERNS = frozenset(["regex", "guided_regex", "pattern"])
GRAMMARS = frozenset(["grammar", "guided_grammar", "definition"])
TOKENS = frozenset(["prompt", "input", "context", "tokens", "content"])
URLS = frozenset(["url", "image_url", "file_url"])
ANY_GBNF, ANY_LARK = r"root ::= [^\x00]*", r"start: /(.|\n)*/"
SEALED = (
    "nitro1."  # how the server's own seals of reasoning begin: api/responses/sealed.py, api/anthropic/signatures.py
)

Json = dict[str, Any]


class Bodies:
    """Redacts requests with one set of words."""

    def __init__(self, words: Words):
        self._words = words

    def body(self, value: Any) -> Any:
        """A request, or whatever it holds that is no schema and no data."""
        if isinstance(value, dict):
            return {key: self._field(key, each, value) for key, each in value.items()}
        if isinstance(value, list):
            return [self.body(each) for each in value]
        return self._words.text(value) if isinstance(value, str) else value

    def _field(self, key: str, value: Any, around: Json) -> Any:
        if rule := self._rule(key, value, around):
            return rule(value)
        if isinstance(value, list):
            return [self._field(key, each, around) for each in value]
        return self.body(value)

    def _rule(self, key: str, value: Any, around: Json) -> Callable[[Any], Any] | None:
        """What is done with a field, where that depends on its name."""
        if isinstance(value, str):
            return self._rule_of_text(key, value, around)
        if key in TOKENS and _are_ids(value):
            return self._ids
        if key == "logit_bias":
            return self._bias
        if isinstance(value, dict):
            is_data = key in DATA or (key == "arguments") or (key == "input" and around.get("type") == "tool_use")
            if is_data:
                return lambda found: schemas.data(found, self._words)
            if key in SCHEMAS and not ("schema" in value or value.get("type") in ("text", "json_object", "grammar")):
                return lambda found: schemas.schema(found, self._words)
        return None

    def _rule_of_text(self, key: str, value: str, around: Json) -> Callable[[str], str] | None:
        rules: Mapping[str, Callable[[str], str]] = {
            **dict.fromkeys((*NAMES, *CHOICES), self._words.name),
            **dict.fromkeys(IDS, self._id),
            **dict.fromkeys(PATTERNS, lambda _: schemas.ANY_TEXT),
            **dict.fromkeys(GRAMMARS, _grammar),
            **dict.fromkeys(URLS, media.url),
            "arguments": lambda text: schemas.arguments(text, self._words),
            "images": media.picture,
            "signature": self._sealed,
            "encrypted_content": self._sealed,
            "data": media.sound if "format" in around or _type_of(around).startswith("audio/") else media.picture,
        }
        if (key in KEPT and _WORD.fullmatch(value)) or (key in CHOICES and value in CHOICES[key]):
            return lambda text: text
        if key == "data" and _type_of(around).startswith("text/"):
            return None
        if key == "data" and not (around.keys() & {"format", "media_type", "mime_type"}):
            return lambda _: ""  # of thinking that somebody has sealed
        return rules.get(key)

    def _id(self, id: str) -> str:
        """Those that chance has made say nothing."""
        return id if _RANDOM.fullmatch(id) else self._words.name(id)

    def _ids(self, value: Any) -> Any:
        return [self._ids(each) if isinstance(each, list) else self._words.token(each) for each in value]

    def _bias(self, value: Any) -> Any:
        """By token: as an object, or as pairs."""
        if isinstance(value, dict):
            return {str(self._words.token(int(key))): bias for key, bias in value.items() if key.isdecimal()}
        pairs = value if isinstance(value, list) else []
        return [[self._words.token(pair[0]), pair[1]] for pair in pairs if _is_pair(pair)]

    def _sealed(self, seal: str) -> str:
        """Reasoning that a client hands back: that of this server says what it says, any other goes."""
        if not seal.startswith(SEALED):
            return ""
        packed = seal[len(SEALED) :]
        try:
            data = base64.urlsafe_b64decode(packed.replace("+", "-").replace("/", "_"))
            text = zlib.decompress(data) if data[:1] == b"\x78" else data
            new = self._words.text(text.decode()).encode()
        except (ValueError, zlib.error):
            return SEALED
        return SEALED + base64.urlsafe_b64encode(zlib.compress(new) if data[:1] == b"\x78" else new).decode()


def _grammar(grammar: str) -> str:
    """One that takes anything. Lark's begin with `start`, llama.cpp's with `root`."""
    return ANY_LARK if re.search(r"^\s*\??start\b.*:(?!:=)", grammar, re.MULTILINE) else ANY_GBNF


def _are_ids(value: Any) -> bool:
    """Whether it is a prompt, or several, as the ids of its tokens."""
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(first, list):
        return _are_ids(first) and all(isinstance(each, list) for each in value)
    return isinstance(value, list) and bool(value) and all(type(each) is int for each in value)


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is int


def _type_of(around: Json) -> str:
    return str(around.get("media_type") or around.get("mime_type") or "")
