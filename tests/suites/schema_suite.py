"""The JSON Schema test suite, from the source distribution of the package jsonschema, and a compiler to try schemas on.

Fetched by pip once; read at test time, none of it is ours.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import islice, permutations, product
from pathlib import Path
from typing import Any

import sdist

from nitro.engines.backends.fake import EOG, FakeRunner
from nitro.engines.constraints.grammar import GrammarCompiler, GrammarError
from nitro.engines.constraints.grammar_matcher import GrammarMatcher
from nitro.engines.types import Constraint, EngineSpec

RELEASE = "4.26.0"
INSIDE = "/json/tests/"
FOLDERS = ("draft2020-12", "draft7")
MAX_ORDERS = 50  # of members, in which a value is tried
PLACE = re.compile(r"(\$?\w+):? .*\(at (/[^)]*)\)")

RUNNER = FakeRunner(EngineSpec("fake", ""))
COMPILER = GrammarCompiler(RUNNER.tokenizer, RUNNER.info)


@cache
def folder() -> Path:
    """With a folder for each draft in it."""
    return sdist.part_of("jsonschema", RELEASE, f"json-schema-suite-{RELEASE}", INSIDE, FOLDERS)


def files(under: str) -> list[Path]:
    """The files of cases directly in a folder."""
    return sorted((folder() / under).glob("*.json"))


def compiled(schema: Any) -> GrammarMatcher | str:
    """A matcher, or why there is none."""
    try:
        return COMPILER.matcher(Constraint("json_schema", json.dumps(schema), "json_schema"))
    except GrammarError as error:
        return str(error)


def takes(matcher: GrammarMatcher, value: Any) -> bool:
    """Whether the value can be written, in one order of its members at least: a grammar has the schema's own."""
    return any(writes(matcher, one) for one in islice(_orders(value), MAX_ORDERS))


def writes(matcher: GrammarMatcher, value: Any) -> bool:
    """Whether the value can be written as it is."""
    matcher = matcher.copy()
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return all(matcher.allows(byte) and matcher.accept(byte) for byte in text) and (
        matcher.allows(EOG) and matcher.accept(EOG)
    )


def _orders(value: Any) -> Iterator[Any]:
    """The value with its members, and theirs, in every order: its own comes first."""
    if isinstance(value, dict):
        for names in permutations(value):
            for inner in product(*(list(islice(_orders(value[name]), MAX_ORDERS)) for name in names)):
                yield dict(zip(names, inner, strict=True))
    elif isinstance(value, list):
        yield from map(list, product(*(list(islice(_orders(item), MAX_ORDERS)) for item in value)))
    else:
        yield value
