"""Constraints on what a sequence may say, compiled by llguidance: the same for every runner.

A constraint is compiled when its request arrives, off the engine thread; one that cannot be enforced is refused then.
`GrammarMatcher` follows one sequence by it.
"""

from collections.abc import Callable
from time import thread_time

from llguidance import LLMatcher
from msgspec.structs import replace

from nitro.engines.constraints.approved import ApprovedConstraint
from nitro.engines.constraints.grammar_errors import CompileCancelled, GrammarError, as_grammar_errors
from nitro.engines.constraints.grammar_limits import check_size
from nitro.engines.constraints.grammar_matcher import GrammarMatcher
from nitro.engines.constraints.grammar_probe import first_problem
from nitro.engines.constraints.grammar_vocabulary import GrammarVocabulary
from nitro.engines.constraints.grammar_writer import GrammarWriter, lark
from nitro.engines.constraints.schema_checks import SchemaChecks, blamed
from nitro.engines.runner import Tokenizer
from nitro.engines.types import Constraint, GrammarText, ModelInfo, Schema

# Of processor time. What took longer to try is not compiled again, for a value, on the engine thread.
RECHECK_SECONDS = 1.0


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
        ll, _, constraint = self._tried(constraint, is_wanted)
        return GrammarMatcher(ll, constraint, self._vocabulary, self._checks)

    def approve(self, constraint: Constraint) -> ApprovedConstraint:
        """The same, for another process to `follow`. Raises GrammarError."""
        began = thread_time()
        _, grammar, weaker = self._tried(constraint, lambda: True)
        unenforced = self.unenforced(constraint)
        return ApprovedConstraint(grammar, weaker, unenforced, rechecks=thread_time() - began < RECHECK_SECONDS)

    def follow(self, approved: ApprovedConstraint) -> GrammarMatcher:
        """A matcher of what was approved for the same model. It takes less than approving did."""
        ll = self._vocabulary.begin(approved.grammar)
        ll.deep_copy().compute_bitmask()  # makes what the copies share, on this thread and not on the engine's
        return GrammarMatcher(ll, approved.constraint, self._vocabulary, self._checks, approved.rechecks)

    def _tried(self, constraint: Constraint, is_wanted: Callable[[], bool]) -> tuple[LLMatcher, str, Constraint]:
        """Its matcher, its grammar, and what is followed of it. Raises what `matcher` does."""
        with as_grammar_errors():
            check_size(constraint)
        constraint = self._weaker(constraint, is_wanted)
        for schema in constraint.schemas:
            _check_wanted(is_wanted)
            self._checks.check(schema)
            self._checks.check_growth(schema)
        for text in constraint.texts:
            _check_wanted(is_wanted)
            self._checks.check_text(text)
            self._checks.check_growth(text.schema)
        for grammar in constraint.grammars:
            _check_wanted(is_wanted)
            self._check_grammar(grammar)
        _check_wanted(is_wanted)
        own = Schema(constraint.source, constraint.param) if constraint.kind == "json_schema" else None
        with blamed(own) if own else as_grammar_errors():
            written = self._writer.grammar(constraint)
            ll = self._vocabulary.begin(written)
            _check_wanted(is_wanted)
            if problem := first_problem(ll, self._vocabulary):
                if constraint.kind == "layout":  # of which each part is well: see schema_checks
                    raise GrammarError("It is too much to be compiled together. Offer fewer or smaller schemas.")
                if own:  # with the place, if it can be told
                    self._checks.check(own)
                    self._checks.check_growth(own)
                raise GrammarError(problem)
            if own:
                self._checks.check_growth(own)
            return ll, written, constraint

    def _check_grammar(self, grammar: GrammarText) -> None:
        """Raises GrammarError where no text can be held to it."""
        with as_grammar_errors(grammar.param):
            if problem := first_problem(self._vocabulary.begin(lark(grammar)), self._vocabulary):
                raise GrammarError(problem, grammar.param)

    def _weaker(self, constraint: Constraint, is_wanted: Callable[[], bool]) -> Constraint:
        """With what can be followed of the schemas that are not strict."""

        def weaker(schema: Schema) -> Schema:
            _check_wanted(is_wanted)
            return self._checks.weaker(schema)

        schemas = [weaker(schema) for schema in constraint.schemas]
        texts = [replace(text, schema=weaker(text.schema)) for text in constraint.texts]
        return replace(constraint, schemas=schemas, texts=texts)

    def unenforced(self, constraint: Constraint) -> list[str]:
        """What is let through of schemas that are not strict, each with the name of its schema. Raises GrammarError."""
        return self._checks.unenforced([*constraint.schemas, *(text.schema for text in constraint.texts)])


def _check_wanted(is_wanted: Callable[[], bool]) -> None:
    if not is_wanted():
        raise CompileCancelled
