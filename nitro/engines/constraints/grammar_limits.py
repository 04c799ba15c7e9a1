"""How large a constraint may be, so that compiling and following it stay quick."""

import json
import re
from decimal import Decimal
from math import lcm

from llguidance import LLParserLimits

from nitro.engines.constraints.grammar_errors import GrammarError
from nitro.engines.constraints.schema_walk import every
from nitro.engines.types import Constraint

# By llguidance's own limits a step of an ambiguous grammar takes seconds, for the whole batch; by these a fifth of one.
# An object of 300 optional properties needs 1200 items in a row.
# Its errors without `verbose_errors` hold no dump of the client's own text.
PARSER_LIMITS = LLParserLimits(
    max_grammar_size=100_000, step_max_items=8_000, max_items_in_row=1_300, verbose_errors=False
)
MAX_CHARS = 2**17  # of each schema or source: 4000 properties take 2 s, and the time is quadratic
MAX_TOTAL_CHARS = 2**19
MAX_REMAINDERS = 100_000  # that numbers may leave when divided: each is a state, and a million of them 6 s and 300 MB
_MULTIPLE = re.compile(r'"multipleOf"\s*:\s*(\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)')


def check_size(constraint: Constraint) -> None:
    """Raises GrammarError for what would take long to compile.

    A layout's source is ours, and grows with names that have been counted before; only its schemas are the client's.
    """
    schemas = [*constraint.schemas, *(text.schema for text in constraint.texts)]
    texts: list[tuple[str, str | None]] = [(schema.source, schema.param) for schema in schemas]
    texts += [(grammar.source, grammar.param) for grammar in constraint.grammars]
    if constraint.kind != "layout":
        texts.append((constraint.source, None))
    for text, param in texts:
        if len(text) > MAX_CHARS:
            raise GrammarError(f"It has {len(text)} characters; at most {MAX_CHARS} can be compiled.", param)
        if _remainders(text) > MAX_REMAINDERS:
            problem = f"multipleOf is too large: numbers leave more than {MAX_REMAINDERS} remainders"
            raise GrammarError(f"{problem} (at {_place(text)})", param)
    total = sum(len(text) for text, _ in texts)
    if total > MAX_TOTAL_CHARS:
        raise GrammarError(f"All schemas have {total} characters; at most {MAX_TOTAL_CHARS} can be compiled.")


def _remainders(text: str) -> int:
    """How many remainders the schema's `multipleOf`s leave together, their decimal points left out."""
    digits = [Decimal(number).as_tuple().digits for number in _MULTIPLE.findall(text)]
    divisors = [int("".join(map(str, number))) for number in digits]
    return lcm(*filter(None, divisors))


def _place(text: str) -> str:
    """A JSON pointer to the part of a schema whose own `multipleOf` leaves the most."""
    parts = [(pointer, part["multipleOf"]) for pointer, part in every(json.loads(text)) if "multipleOf" in part]
    sizes = [(_remainders(json.dumps({"multipleOf": divisor})), pointer) for pointer, divisor in parts]
    return max(sizes, default=(0, ""))[1] or "/"
