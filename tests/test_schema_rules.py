"""What schemas mean is kept by what is compiled in their stead: values that keep them can be written, and no others.

What cannot be enforced is named at the start. Nothing is served.
"""

import json
import random
from functools import reduce
from typing import Any

import pytest

from nitro.engines.backends.fake import EOG, FakeRunner
from nitro.engines.constraints import grammar_probe
from nitro.engines.constraints.grammar import GrammarCompiler, GrammarError
from nitro.engines.constraints.grammar_errors import TOO_MANY_STATES, sentence
from nitro.engines.constraints.grammar_matcher import GrammarMatcher
from nitro.engines.constraints.schema_growth import MAX_PARTS
from nitro.engines.constraints.schema_rewriting import rewritten
from nitro.engines.constraints.schema_rules import longest
from nitro.engines.types import Constraint, EngineSpec, Schema

RUNNER = FakeRunner(EngineSpec("fake", ""))
COMPILER = GrammarCompiler(RUNNER.tokenizer, RUNNER.info)
WORDY = {"type": "string", "pattern": "^([A-Za-z]{1,63}[ -]?){1,100}$", "maxLength": 5000}
WIDE = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(400)}}
ITSELF = {"oneOf": [{"type": "string"}, {"$ref": "#/$defs/x"}]}
DEEP: dict[str, Any] = reduce(lambda inner, _: {"type": "object", "properties": {"a": inner}}, range(150), {})
WIDE_OBJECT = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(60)}}
STRINGS = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}


def compiled(schema: Any) -> GrammarMatcher:
    return COMPILER.matcher(Constraint("json_schema", json.dumps(schema), "json_schema"))


def takes(matcher: GrammarMatcher, value: Any) -> bool:
    matcher = matcher.copy()
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return all(matcher.allows(byte) and matcher.accept(byte) for byte in text) and matcher.allows(EOG)


@pytest.mark.parametrize(
    "schema",
    [
        {"uniqueItems": False},
        {"type": "array", "uniqueItems": True, "maxItems": 1},
        {"type": "string", "uniqueItems": True},
        {"items": [{"type": "string"}, {"type": "number"}], "additionalItems": False, "uniqueItems": True},
        {"if": {"uniqueItems": True, "pattern": "(?=a)"}},
        {"then": {"not": {"pattern": "a"}}, "else": False},
        {"if": {"pattern": "a"}, "then": {}, "else": True},
        {"propertyNames": True},
        {"propertyNames": {}},
        {"propertyNames": {"type": "string"}},
        {"contains": {"pattern": "a"}, "minContains": 0},
        {"minContains": 2, "maxContains": 3},
        {"dependentRequired": {}, "dependentSchemas": {}, "dependencies": {}},
        {"dependentRequired": {"a": []}, "dependentSchemas": {"a": True}},
        {"not": False},
        {"unevaluatedProperties": True, "unevaluatedItems": {}},
        {"oneOf": [{}]},
        {"format": "int32", "type": "string"},
        {"properties": {"a": {"uniqueItems": False}}, "$ref": "#/$defs/a", "$defs": {"a": {"if": {}}}},
    ],
    ids=json.dumps,
)
def test_keywords_that_do_nothing(schema: dict[str, Any]) -> None:
    assert not rewritten(json.dumps(schema)).unenforced
    compiled(schema)


A_OR_B = {"enum": ["a", "b"]}


@pytest.mark.parametrize(
    ("schema", "kept", "broken"),
    [
        ({"not": {"enum": ["a", "ab", 1, None]}}, ["", "b", "abc", "aa", 2, 0.5, True, [], {}], ["a", "ab", 1, None]),
        ({"not": {"const": {"a": [1]}}}, [{}, {"a": [2]}, {"a": [1], "b": 1}, [1]], [{"a": [1]}]),
        ({"not": {"type": ["string", "array"]}}, [1, 0.5, None, {}], ["", []]),
        ({"type": "number", "not": {"minimum": 3}}, [2.5, -1], [3, 4]),
        ({"not": {"required": ["a", "b"]}}, [{"a": 1}, {"b": 1}, {}], [{"a": 1, "b": 2}, 5]),
        ({"not": {"not": {"type": "string", "maxLength": 1}}}, ["a"], ["ab", 1]),
        ({"not": {"$ref": "#/$defs/s"}, "$defs": {"s": {"const": "x"}}}, ["y", 1], ["x"]),
        ({"type": "string", "not": {"minLength": 3}}, ["ab"], ["abc"]),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"}, [{"a": 1}], [{}, {"a": 1, "b": 1}]),
        ({"oneOf": [{"type": "number"}, {"maximum": 5}]}, [6, "a", None], [4, 5]),
        ({"oneOf": [{"enum": [1, 2]}, {"enum": [2, "3"]}]}, [1, "3"], [2]),
        (
            {"oneOf": [{"properties": {"k": {"const": k}}, "required": ["k"]} for k in "ab"]},
            [{"k": "a"}, {"k": "b"}],
            [{"k": "c"}, {}],
        ),
        (
            {"properties": {"x": {"$ref": "#/oneOf/0"}}, "oneOf": [{"type": "object"}, False]},
            [{"x": {}}],
            [{"x": 1}, 1],
        ),
        (
            {"if": {"properties": {"k": {"const": "a"}}, "required": ["k"]}, "then": {"required": ["x"]}},
            [{"k": "a", "x": 1}, {"k": "b"}, {}, 1],
            [{"k": "a"}],
        ),
        (
            {
                **{"properties": {"k": {"enum": [*range(12)]}}, "required": ["k"], "type": "object"},
                "allOf": [
                    {"if": {"properties": {"k": {"const": k}}}, "then": {"required": [f"p{k}"]}} for k in range(11)
                ],
            },
            [{"k": 3, "p3": 1}, {"k": 11}],
            [{"k": 3}, {"k": 3, "p4": 1}, {"k": 12}, {}],
        ),
        ({"if": {"type": "string"}, "then": {"maxLength": 1}, "else": {"const": 5}}, ["a", 5], ["ab", 6]),
        (
            {"type": "array", "uniqueItems": True, "items": A_OR_B},
            [[], ["b"], ["b", "a"]],
            [["a", "a"], ["a", "b", "a"], ["c"]],
        ),
        ({"uniqueItems": True, "items": {"type": "boolean"}}, [[True, False], "x"], [[True, True]]),
        ({"uniqueItems": True, "items": {"type": "integer", "minimum": 1, "maximum": 2}}, [[2, 1]], [[1, 1], [3]]),
        (
            {"contains": {"const": 5}, "maxItems": 3, "type": "array"},
            [[5], [1, 5], [5, 5, 1]],
            [[], [1, 2], [1, 2, 3, 5]],
        ),
        ({"contains": {"const": 5}, "maxContains": 1}, [[5], [1, 5, 2], {}], [[], [5, 1, 5]]),
        ({"contains": {"type": "string"}, "type": "array"}, [["a"], [1, 2, "a", 3]], [[1, 2], []]),
        ({"dependentRequired": {"a": ["b"]}}, [{}, {"b": 1}, {"a": 1, "b": 1}, 3], [{"a": 1}]),
        (
            {"dependencies": {"a": {"properties": {"b": {"type": "null"}}}}},
            [{"b": None, "a": 1}, {"b": 1}],
            [{"b": 1, "a": 1}],
        ),
        ({"dependentSchemas": {"a": False}}, [{"b": 1}], [{"a": 1}]),
        ({"dependentSchemas": {"a": {"required": [], "maxProperties": 1}}}, [{"a": 1}, {"b": 1}], [{"a": 1, "b": 1}]),
        ({"oneOf": [{"const": f"v{i}"} for i in range(500)]}, ["v0", "v499"], ["v500", 1]),
        ({"oneOf": [{"enum": [i % 9, "x"]} for i in range(10)]}, [1, 8], [0, 9, "x"]),
        (
            {"oneOf": [{"type": "object", "properties": {"k": {"const": k}}, "required": ["k"]} for k in range(150)]},
            [{"k": 0}, {"k": 149, "a": 1}],
            [{"k": 150}, {}, 1],
        ),
        (
            {
                "oneOf": [
                    {"type": "null"},
                    {"type": "object", "required": ["k"]},
                    *({"type": "object", "properties": {"k": {"const": k}}, "required": ["k"]} for k in range(9)),
                ]
            },
            [None, {"k": 9}],
            [{"k": 3}, {}],
        ),
        (
            {
                "oneOf": [
                    *({"type": other} for other in ("null", "string", "array")),
                    *({"type": "object", "properties": {"k": {"const": k}}, "required": ["k"]} for k in range(150)),
                ]
            },
            [None, "a", [], {"k": 9}],
            [{"k": 150}, {}, 1],
        ),
        (
            {"type": ["array", "null"], "items": {"enum": [*range(15)]}, "uniqueItems": True, "maxItems": 2},
            [None, [], [3], [14, 0]],
            [[3, 3], [15], [1, 2, 3], 1],
        ),
        ({"propertyNames": {"pattern": "^x"}}, [{"xy": 1}, {}], [{"y": 1}]),
        (
            {"propertyNames": {"enum": ["a"]}, "additionalProperties": {"type": "null"}},
            [{"a": None}],
            [{"a": 1}, {"b": None}],
        ),
        (
            {"allOf": [{"properties": {"a": {}}}], "properties": {"b": {}}, "unevaluatedProperties": False},
            [{"b": 1}, {"a": 1}],
            [{"c": 1}],
        ),
        ({"type": "object", "properties": {"a": {}, "b": {}}, "minProperties": 1}, [{"a": 1}, {"c": 1}], [{}]),
        (
            {
                **{"type": "object", "properties": {"a": {}, "b": {}}, "additionalProperties": False},
                **{"minProperties": 1, "maxProperties": 1},
            },
            [{"a": 1}, {"b": 1}],
            [{}, {"a": 1, "b": 1}],
        ),
        ({"patternProperties": {"^f": True, "^b": {"type": "null"}, "b$": True}}, [{"bb": None, "fb": 1}], [{"bb": 1}]),
        ({"type": "string", "maxLength": 2.0}, ["ab"], ["abc"]),
        ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, [None], [1]),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_keywords_that_are_enforced(schema: dict[str, Any], kept: list[Any], broken: list[Any]) -> None:
    matcher = compiled(schema)
    assert [value for value in kept if not takes(matcher, value)] == []
    assert [value for value in broken if takes(matcher, value)] == []


@pytest.mark.parametrize(
    ("format", "kept", "broken"),
    [
        ("int8", [-128, 127], [-129, 128]),
        ("uint16", [0, 65535], [-1, 65536]),
        ("int32", [-(2**31), 2**31 - 1], [-(2**31) - 1, 2**31]),
        ("int64", [-(2**62), 0, 2**62], [2**63, -(2**63) - 1]),
        ("uint64", [0, 2**62], [-1, 2**64]),
    ],
)
def test_formats_of_numbers_are_bounds(format: str, kept: list[int], broken: list[int]) -> None:
    matcher = compiled({"type": "object", "properties": {"n": {"type": "integer", "format": format}}})
    assert [n for n in [*kept, *broken] if takes(matcher, {"n": n})] == kept


@pytest.mark.parametrize(
    ("format", "kept", "broken"),
    [
        ("date", ["2024-02-29", "2000-02-29", "2023-12-31"], ["2023-02-29", "1900-02-29", "2023-04-31", "2023-13-01"]),
        ("time", ["23:59:60Z", "12:30:59.5+01:00"], ["12:30:60Z", "23:59:60+01:00", "24:00:00Z", "12:30:00"]),
        (
            "date-time",
            ["2024-02-29T00:00:00z", "1998-12-31T23:59:60Z"],
            ["2023-02-29T00:00:00Z", "1998-12-31T23:58:60Z"],
        ),
        (
            "hostname",
            ["a", "a-b.example", ".".join(["a" * 63] * 3)],
            ["-a", "a-", "a..b", "a" * 64, ".".join(["a" * 63] * 4)],
        ),
        (
            "email",
            ["a.b@c.example", '"a b"@c', "a@[127.0.0.1]"],
            ["a", "a@", "a..b@c", "a" * 65 + "@b", "a@-b", "a@b@c"],
        ),
        ("ipv4", ["0.0.0.0", "255.1.2.3"], ["256.1.1.1", "01.1.1.1", "1.1.1"]),
        ("ipv6", ["::", "::1", "1::2:3", "::ffff:1.2.3.4", "1:2:3:4:5:6:7:8"], ["1::2::3", "12345::", "1:2:3:4:5:6:7"]),
        (
            "uuid",
            ["123e4567-e89b-12d3-a456-426614174000"],
            ["123e4567e89b12d3a456426614174000", "g23e4567-e89b-12d3-a456-426614174000"],
        ),
        (
            "uri",
            ["https://a.b/c?d#e", "urn:a:b", "http://[::1]:80/"],
            ["//a.b", "a b", "http://a b", "http://[1::2::3]/"],
        ),
        ("uri-reference", ["/a", "#x", "", "a/b:c"], ["a b", "\\a"]),
        ("json-pointer", ["", "/a~1b/0"], ["a", "/a~2"]),
        ("duration", ["P1D", "PT1H30M", "P2W"], ["P", "P1D2H", "1D"]),
        ("byte", ["", "YQ==", "YWJj"], ["Y", "YQ="]),
    ],
)
def test_formats_are_exact(format: str, kept: list[str], broken: list[str]) -> None:
    matcher = compiled({"type": "string", "format": format})
    assert [value for value in kept if not takes(matcher, value)] == []
    assert [value for value in broken if takes(matcher, value)] == []


REFUSED = [
    (STRINGS, "uniqueItems", "/"),
    ({"properties": {"a": {"anyOf": [STRINGS, {"type": "null"}]}}}, "uniqueItems", "/properties/a/anyOf/0"),
    ({"items": {"not": {"pattern": "a"}}}, "not", "/items"),
    ({"not": {"oneOf": [{"pattern": "a"}, {"pattern": "b"}]}}, "oneOf", "/not"),
    ({"properties": {"a/b": {"format": "regex", "type": "string"}}}, "format", "/properties/a~1b"),
    ({"properties": {"a": {"$dynamicRef": "#x"}}}, "$dynamicRef", "/properties/a"),
    ({"properties": {"a": {"multipleOf": 0.123456789}}}, "multipleOf", "/properties/a"),
    ({"properties": {"a": {"$ref": "http://a.example/b"}}}, "$ref", "/properties/a"),
    ({"$ref": "#"}, "$ref", "/"),
    ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "$ref", "/properties/a"),
    ({"type": ["object"], "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "$ref", "/properties/a"),
    ({"type": "object", "required": ["a"], "additionalProperties": {"$ref": "#"}}, "$ref", "/additionalProperties"),
    (
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "allOf": [{"required": ["a"]}, {"maxProperties": 1}]},
        "$ref",
        "/properties/a",
    ),
    ({"type": "array", "minItems": 1, "items": {"$ref": "#"}}, "$ref", "/items"),
    (
        {"type": "object", "properties": {"a": {"minimum": 3, "maximum": 2, "type": "number"}}, "required": ["a"]},
        "minimum",
        "/properties/a",
    ),
    ({"properties": {"a": {"type": "string", "pattern": "(?=a)b"}}}, "pattern", "/properties/a"),
    # These begin well.
    (WORDY, "pattern", "/"),
    ({"type": "object", "properties": {"a": WORDY}}, "pattern", "/properties/a"),
    ({"$defs": {"w": {"allOf": [WORDY]}}, "type": "array", "items": {"$ref": "#/$defs/w"}}, "pattern", "/$defs/w"),
    ({"type": "array", "items": [{"const": 1}, WIDE]}, "properties", "/items/1"),
    ({"$ref": "#/$defs/x", "$defs": {"x": ITSELF}}, "oneOf", "/$defs/x"),
    (DEEP, "It is nested too deeply.", "/"),
    ({"anyOf": [{"required": [f"p{i}"]} for i in range(60)], **WIDE_OBJECT}, "It can go on", "/"),
]


@pytest.mark.parametrize(("schema", "keyword", "place"), REFUSED, ids=lambda value: json.dumps(value)[:60])
def test_the_rest_is_refused_by_keyword_and_place(schema: dict[str, Any], keyword: str, place: str) -> None:
    with pytest.raises(GrammarError) as caught:
        compiled(schema)
    message = str(caught.value)
    assert message.startswith(keyword) and message.endswith(f"(at {place})") and len(message) < 200, message


@pytest.mark.parametrize(("schema", "keyword", "place"), REFUSED[:6], ids=lambda value: json.dumps(value)[:60])
def test_what_is_not_strict_is_let_through_and_told(schema: dict[str, Any], keyword: str, place: str) -> None:
    lenient = Schema(json.dumps(schema), "tools[0]", strict=False)
    constraint = Constraint("layout", "start: schema_0", "tools", schemas=[lenient])
    told = COMPILER.unenforced(constraint)[0]
    assert told.startswith(f"tools[0]: {keyword} ") and told.endswith(f"(at {place}) is not enforced")
    COMPILER.matcher(constraint)


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"properties": {"a": WORDY}}, "/properties/a"),
        ({"properties": {"a": {"allOf": [WORDY]}}}, "/properties/a"),
        ({"properties": {"a": {"anyOf": [WORDY, {"type": "null"}]}}}, "/properties/a/anyOf/0"),
    ],
)
def test_a_pattern_of_too_many_states_is_let_through_and_told(schema: dict[str, Any], place: str) -> None:
    """Where it is not strict. The rest is enforced."""
    lenient = Schema(json.dumps({"type": "object", **schema}), "tools[0]", strict=False)
    constraint = Constraint("layout", "start: schema_0", "tools", schemas=[lenient])
    matcher = COMPILER.matcher(constraint)
    assert takes(matcher, {"a": "a b" * 1000}) and takes(matcher, {"a": "1"}) and not takes(matcher, {"a": 1})
    assert COMPILER.unenforced(constraint) == [
        f"tools[0]: pattern (at {place}) is not enforced: It takes too many states to follow."
    ]


def test_conditions_in_conditions_are_looked_at_once() -> None:
    """Twice each, these would take hours."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(24):
        conditions = [{"if": {"required": ["k"]}, "then": schema}, {"if": {"pattern": "a"}, "then": {"maxLength": 1}}]
        schema = {"allOf": conditions}
    with pytest.raises(GrammarError, match=r"^if cannot be enforced here "):
        compiled(schema)


def test_lists_of_arrays_are_quick() -> None:
    """Where each array is held against the schema of its items again, ten of them take eight seconds."""
    tags = {"type": "array", "items": {"enum": [*range(15)]}, "uniqueItems": True, "maxItems": 2}
    schema = json.loads(rewritten(json.dumps({"title": "tags", **tags})).source)
    assert set(schema) == {"title", "enum"} and len(schema["enum"]) == 1 + 15 + 15 * 14


def test_what_is_weaker_inside_is_not_turned_into_something_stronger() -> None:
    lenient = json.dumps({"not": {"items": STRINGS, "type": "array"}})
    constraint = Constraint("layout", "start: schema_0", "tools", schemas=[Schema(lenient, "t", strict=False)])
    matcher = COMPILER.matcher(constraint)
    assert takes(matcher, 5) and takes(matcher, [["a", "a"]])


def test_fewer_values_than_there_are_are_never_taken_for_all() -> None:
    """Without fractions nothing follows for what is around it."""
    for schema in ({"not": {"not": {"type": "integer"}}}, {"oneOf": [{"not": {"type": "integer"}}, {"minimum": 0.5}]}):
        with pytest.raises(GrammarError, match="cannot be enforced"):
            compiled(schema)


def test_a_way_into_a_dead_end_is_closed() -> None:
    loop = {"type": "object", "properties": {"next": {"$ref": "#/$defs/loop"}}, "required": ["next"]}
    matcher = compiled(
        {"$defs": {"loop": loop}, "type": "object", "properties": {"a": {"$ref": "#/$defs/loop"}, "b": {}}}
    )
    assert takes(matcher, {"b": 1})
    begun = matcher.copy()
    assert not all(begun.allows(byte) and begun.accept(byte) for byte in b'{"a":')


@pytest.mark.parametrize(
    ("pattern", "most"),
    [
        *[("^a{2,3}$", 3), ("^(a|bc)[0-9]?$", 3), ("a{2}", None), ("^a|b$", None), ("^a*$", None), ("^\\p{L}$", None)],
        *[(r"^[\[[^\t\]]]{2}$", 2), (r"^\[[[^a]b]{1,3}\]$", 5), (r"^[[^\\[]]$", 1)],
    ],
)
@pytest.mark.filterwarnings("error")
def test_the_longest_match(pattern: str, most: int | None) -> None:
    found = longest(pattern)
    assert found == most if most else found > 10**6


def test_a_length_that_a_pattern_has_anyway_is_left_out() -> None:
    """The two together would take too many states."""
    schema = {"type": "string", "pattern": "^([A-Za-z]{1,20}[ -]?){1,50}$"}
    assert "maxLength" not in json.loads(rewritten(json.dumps({**schema, "maxLength": 1050})).source)
    assert json.loads(rewritten(json.dumps({**schema, "maxLength": 1049})).source)["maxLength"] == 1049


def test_what_may_grow_is_tried_for_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many parts may, and the last of them is tried, too."""
    walked: list[int] = []
    plain = grammar_probe._drawn_to_go_on
    monkeypatch.setattr(grammar_probe, "_drawn_to_go_on", lambda *given: walked.append(1) or plain(*given))
    words = {"type": "string", "maxLength": 200}
    parts = {f"p{i}": {**words, "pattern": f"^([A-Za-z]{{1,{20 + i}}}[ -]?){{1,20}}$"} for i in range(MAX_PARTS)}
    compiled({"type": "object", "properties": parts})
    assert MAX_PARTS * 50 < len(walked) <= grammar_probe.ALL_BYTES
    with pytest.raises(GrammarError, match=r"/properties/p11\)"):
        compiled({"type": "object", "properties": {**parts, "p11": WORDY}})


def test_no_dump_of_a_library_s_state_is_told() -> None:
    """Where an answer fails after it has begun."""
    lark = "start: TEXT\nTEXT: /([A-Za-z]{1,63}[ -]?){1,100}/ & /.{0,5000}/"
    matcher = COMPILER.matcher(Constraint("grammar", lark, "grammar"))
    draw = random.Random(1)
    while any(matcher.first_mask()):
        assert matcher.accept(draw.choice(b"abcdefghij"))
    assert matcher.problem == "Invalid value for 'grammar': it cannot be followed further. " + TOO_MANY_STATES


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "lexer error: x\n<state>\nTokens: [1]\n</state><grammar>\nstart\n</grammar>",
            "It takes too many states to follow.",
        ),
        ("odd\n<non-verbose/>", "odd"),
        ("circular references: json-schema:///#/$defs/x", "circular references: #/$defs/x"),
        ("oneOf constraints are not supported. Enable 'coerce_one_of' option", "oneOf constraints are not supported."),
    ],
)
def test_a_library_s_words_are_told_in_one_sentence(said: str, told: str) -> None:
    assert sentence(said) == told
