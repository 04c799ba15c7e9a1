"""JSON schemas of what is inside the objects that the request structs leave open, by field and JSON type.

They are for readers and tests. What is accepted is decided where requests are read: api/openai, api/anthropic.
"""

from typing import Any

from nitro.api.anthropic import blocks
from nitro.api.media_parts import DETAILS
from nitro.api.openai.requests import MAX_STOPS
from nitro.api.openai.tools import NAME
from nitro.api.prefix_cache import SECONDS

Json = dict[str, Any]


def _object(required: tuple[str, ...], **properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(required)}


def _or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


BIAS: Json = {"anyOf": [{"type": "number", "minimum": -100, "maximum": 100}, {"const": False}]}
PAIR: Json = {"type": "array", "prefixItems": [{"type": ["integer", "string"]}, BIAS], "minItems": 2, "maxItems": 2}
TOKENS: Json = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
TEXT: Json = {"type": "string"}
FILE: Json = {"contentMediaType": "application/octet-stream"}
SCHEMA: Json = {"type": "object", "description": "A JSON schema."}
FUNCTION = _object(
    ("name",),
    name={"type": "string", "pattern": f"^{NAME}$"},
    description=_or_null(TEXT),
    parameters=_or_null({**SCHEMA, "properties": {"type": {"const": "object"}}}),
    strict=_or_null({"type": "boolean"}),
)
TOOL = _object(("function",), type={"const": "function"}, function=FUNCTION)
NAMED = _object(("function",), type={"const": "function"}, function=_object(("name",), name=TEXT))
ALLOWED = _object(
    ("type", "allowed_tools"),
    type={"const": "allowed_tools"},
    allowed_tools=_object(
        ("tools",), mode={"enum": ["auto", "required"]}, tools={"type": "array", "items": NAMED, "minItems": 1}
    ),
)
FUNCTION_CALL = _object(("name",), name=TEXT, arguments={"anyOf": [TEXT, {"type": "object"}, {"type": "null"}]})
CALL = _object(("function",), id=TEXT, type={"const": "function"}, function=FUNCTION_CALL)
FORMATS: list[Json] = [
    _object(("type",), type={"const": "text"}),
    _object(("type",), type={"const": "json_object"}, schema=SCHEMA),
    _object(
        ("type", "json_schema"),
        type={"const": "json_schema"},
        json_schema=_object(("schema",), name=TEXT, schema=SCHEMA, strict=_or_null({"type": "boolean"})),
    ),
]

SHAPES: dict[str, dict[str, Json]] = {
    "messages": {"array": {"minItems": 1}},
    "prompt": {"array": {"anyOf": [{"items": TEXT}, TOKENS, {"items": TOKENS}], "minItems": 1}},
    "tools": {"array": {"items": TOOL}},
    "functions": {"array": {"items": FUNCTION}},
    "tool_calls": {"array": {"items": CALL}},
    "tool_choice": {"string": {"enum": ["none", "auto", "required"]}, "object": {"anyOf": [NAMED, ALLOWED]}},
    "function_call": {"string": {"enum": ["none", "auto", "required"]}, "object": _object(("name",), name=TEXT)},
    "response_format": {"object": {"anyOf": FORMATS}},
    "json_schema": {"object": SCHEMA},
    "choice": {"array": {"items": {"type": "string", "minLength": 1}, "minItems": 1}},
    "stop": {"array": {"maxItems": MAX_STOPS}},
    "logit_bias": {
        "object": {"additionalProperties": BIAS},
        "array": {"items": PAIR},
    },
}

_INPUT_SCHEMA: Json = {**SCHEMA, "properties": {"type": {"const": "object"}}}
ANTHROPIC_TOOL = _object(
    ("name", "input_schema"),
    type={"const": "custom"},
    name={"type": "string", "pattern": f"^{NAME}$"},
    description=TEXT,
    input_schema=_INPUT_SCHEMA,
    strict={"type": "boolean"},
    defer_loading={"type": "boolean"},
    input_examples={"type": "array", "items": {"type": "object"}},
)
# by the name of a struct that has its own
OWN_SHAPES: dict[str, dict[str, dict[str, Json]]] = {
    "MessagesRequest": {
        "messages": {"array": {"minItems": 1}},
        "tools": {"array": {"items": ANTHROPIC_TOOL}},
        "stop_sequences": {"array": {"maxItems": MAX_STOPS}},
        "logit_bias": SHAPES["logit_bias"],
    },
    "OutputConfig": {
        "format": {"object": _object(("type", "schema"), type={"const": "json_schema"}, schema=SCHEMA)},
    },
    "CacheControl": {"type": {"string": {"enum": ["ephemeral"]}}, "ttl": {"string": {"enum": list(SECONDS)}}},
    "Block": {"type": {"string": {"enum": sorted({kind for kinds in blocks.ALLOWED.values() for kind in kinds})}}},
    "ResultBlock": {"type": {"string": {"enum": ["text", "image", "tool_reference"]}}},
    "Source": {"type": {"string": {"enum": list(blocks.SOURCES)}}},
    "ImageUrl": {"detail": {"string": {"enum": list(DETAILS)}}},
    "Part": {"detail": {"string": {"enum": list(DETAILS)}}},
    "SystemBlock": {"type": {"string": {"enum": ["text"]}}},
    "RerankBody": {
        "query": {"string": {"minLength": 1}},
        "documents": {"array": {"items": {"anyOf": [TEXT, _object(("text",), text=TEXT)]}, "minItems": 1}},
    },
    "TranscriptionRequest": {"file": {"string": FILE}},
    "TranslationRequest": {"file": {"string": FILE}},
    "UploadForm": {"file": {"string": FILE}},
    "PartForm": {"data": {"string": FILE}},
    "Turn": {},
    "Thinking": {},
    "ToolChoice": {},
}
