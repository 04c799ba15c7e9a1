"""Constraints on what a sequence may say, compiled by llguidance: the same for every runner.

A constraint is compiled when its request arrives, off the engine thread; one that cannot be enforced is refused then.
`GrammarMatcher` follows one sequence by it.
"""

from collections.abc import Callable

from llguidance import LLMatcher

from nitro.engines.constraints.grammar_errors import CompileCancelled, GrammarError, as_grammar_errors, sentence
from nitro.engines.constraints.grammar_limits import check_size
from nitro.engines.constraints.grammar_matcher import GrammarMatcher
from nitro.engines.constraints.grammar_vocabulary import GrammarVocabulary
from nitro.engines.constraints.grammar_writer import GrammarWriter
from nitro.engines.constraints.schema_checks import SchemaChecks
from nitro.engines.runner import Tokenizer
from nitro.engines.types import Constraint, ModelInfo

LOOK_AHEAD = 12  # steps into an answer for which it is tried whether a grammar can be followed
JSON_OPENERS = ("{", "[", '"', ":")  # what leads further into JSON


class GrammarCompiler:
    """Compiles constraints for one model. Made with the first one: that takes a quarter of a second.

    Every method may be called from any thread: what they share does not change. Each matcher belongs to one thread at a
    time; those copied from each other belong to the same one.
    """

    def __init__(self, tokenizer: Tokenizer, info: ModelInfo):
        self._vocabulary = GrammarVocabulary(tokenizer, info)
        self._checks = SchemaChecks(self._vocabulary)
        self._writer = GrammarWriter(tokenizer)

    def matcher(self, constraint: Constraint, is_wanted: Callable[[], bool] = lambda: True) -> GrammarMatcher:
        """Compile a constraint. `is_wanted` is asked between the parts, each of which may take seconds.

        Raises GrammarError, whatever is wrong with the constraint, or CompileCancelled once it is not wanted.
        """
        with as_grammar_errors():
            check_size(constraint)
        for schema in constraint.schemas:
            _check_wanted(is_wanted)
            self._checks.check(schema)
        for text in constraint.texts:
            _check_wanted(is_wanted)
            self._checks.check_text(text)
        _check_wanted(is_wanted)
        with as_grammar_errors():
            ll = self._vocabulary.begin(self._writer.grammar(constraint))
            _check_wanted(is_wanted)
            if problem := self._first_problem(ll):
                if constraint.kind == "layout":  # of which each part is well: see schema_checks
                    raise GrammarError("It is too much to be compiled together. Offer fewer or smaller schemas.")
                of_schema = constraint.kind == "json_schema" and self._checks.problem(constraint.source)
                raise GrammarError(of_schema or problem)
            return GrammarMatcher(ll, constraint, self._vocabulary, self._checks)

    def unenforced(self, constraint: Constraint) -> list[str]:
        """What is let through of schemas that are not strict, each with the name of its schema. Raises GrammarError."""
        return self._checks.unenforced([*constraint.schemas, *(text.schema for text in constraint.texts)])

    def _first_problem(self, ll: LLMatcher) -> str | None:
        """Why not even the beginning of an answer is possible; None: it is.

        It is tried as far as there is no choice, and into objects and lists.
        """
        if ll.is_error():
            return sentence(ll.get_error())
        probe = ll.deep_copy()
        if not any(probe.compute_bitmask()):
            return "Nothing can be said that keeps it."
        for _ in range(LOOK_AHEAD):
            if probe.is_error() or not self._advance(probe):
                break
        probe.compute_bitmask()
        return sentence(probe.get_error()) or None

    def _advance(self, probe: LLMatcher) -> bool:
        """Consume what must come next, else what may and leads further. False where nothing does."""
        tokenize = self._vocabulary.tokenize
        forced = probe.compute_ff_tokens() or tokenize(probe.compute_ff_bytes().decode(errors="ignore"))
        ways = [forced] if forced else map(tokenize, JSON_OPENERS)
        return any(probe.try_consume_tokens(way) == len(way) for way in ways)


def _check_wanted(is_wanted: Callable[[], bool]) -> None:
    if not is_wanted():
        raise CompileCancelled
