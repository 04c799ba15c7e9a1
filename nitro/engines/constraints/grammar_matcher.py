"""A compiled constraint as one sequence follows it, token by token."""

from llguidance import LLMatcher

from nitro.engines.constraints.grammar_errors import sentence
from nitro.engines.constraints.grammar_vocabulary import GrammarVocabulary
from nitro.engines.constraints.grammar_writer import ANSWER_RULE, SCHEMA_RULE
from nitro.engines.constraints.schema_checks import SchemaChecks
from nitro.engines.types import Constraint, Schema

VALUE_KINDS = ("json_schema", "layout")  # whose captures are JSON values; captures of other grammars are the client's


class GrammarMatcher:
    """Follows one sequence: see runner.Matcher. Made by GrammarCompiler; further sequences get a `copy`.

    It may sleep until certain bytes have been produced, such as the end of a reasoning, so that an engine need know no
    format. A JSON value is checked against its schema as soon as it is complete.
    """

    def __init__(
        self,
        ll: LLMatcher,
        constraint: Constraint,
        vocabulary: GrammarVocabulary,
        checks: SchemaChecks,
        rechecks: bool = True,
    ):
        """`rechecks`: whether its schemas may be compiled again, for a value that is spelled oddly."""
        self._rechecks = rechecks
        self.param = constraint.param
        self._ll = ll
        self._constraint = constraint
        self._vocabulary = vocabulary
        self._checks = checks
        self._awaited = list(constraint.after)  # what must be produced before it wakes
        self._asleep = bool(self._awaited)
        reasons = constraint.reasoning_tags is not None
        # where the grammar itself has the reasoning: the same at its beginning, for a call that ends the reasoning
        self._fresh = ll.deep_copy() if constraint.call_opening and reasons and not self._asleep else None
        self._undecided = reasons and (self._asleep or self._fresh is not None)  # whether there will be a reasoning
        self._text = b""  # of the answer while it sleeps, as much as may hold part of what it waits for
        self._checked = 0  # captured values that were checked
        self._violation = ""  # how one of them breaks its schema

    @property
    def active(self) -> "GrammarMatcher":
        """Itself, to the end of the sequence."""
        return self

    def copy(self) -> "GrammarMatcher":
        """For another sequence, from the beginning."""
        return GrammarMatcher(self._ll.deep_copy(), self._constraint, self._vocabulary, self._checks, self._rechecks)

    @property
    def problem(self) -> str:
        """See Matcher."""
        if self._violation or not self._ll.is_error():
            return self._violation or "No token that it allows is left."
        return f"Invalid value for '{self.param}': it cannot be followed further. {sentence(self._ll.get_error())}"

    @property
    def schema_violated(self) -> bool:
        """See Matcher."""
        return bool(self._violation)

    def allows(self, token: int) -> bool:
        """See Matcher."""
        is_end = token in self._vocabulary.eog
        if self._asleep:
            return not (self._constraint.required and is_end)
        if is_end:
            return self._ll.is_accepting() and not self._ll.is_error()
        return self._ll.validate_tokens([token]) == 1

    def mask(self) -> bytes | None:
        """See Matcher. Asleep it bars the end of the sequence, where the constraint is required."""
        if self._asleep:
            return self._vocabulary.mask_without_end if self._constraint.required else None
        return self.first_mask()

    def first_mask(self) -> bytes:
        """The mask of where it is, asleep or not. Zeros once it has failed."""
        mask = self._ll.compute_bitmask()
        return bytes(len(mask)) if self._violation or self._ll.is_error() else mask

    def accept(self, token: int) -> bool:
        """See Matcher."""
        if self._asleep:
            accepted = self._watch(self._text_of(token))
        elif token in self._vocabulary.eog:
            self._ll.consume_token(token)  # completes a number that stands last
            accepted = True
        else:
            accepted = self._ll.consume_token(token)
            if accepted and self._fresh is not None:
                self._watch_reasoning(self._text_of(token))
        return accepted and self._values_keep_schemas()

    def _values_keep_schemas(self) -> bool:
        """Whether the values that have become complete keep their schemas."""
        if self._constraint.kind not in VALUE_KINDS:
            return True
        values = self._ll.get_captures()
        for rule, value in values[self._checked :]:
            schema = self._schema(rule)
            if violation := self._checks.violation(schema, value.decode(errors="replace"), self._rechecks):
                self._violation = violation
                params = {place.param for place in schema.all_places}
                self.param = schema.param if len(params) == 1 else self._constraint.param  # whose it is is not known
                return False
        self._checked = len(values)
        return True

    def _schema(self, rule: str) -> Schema:
        if rule == ANSWER_RULE:
            return Schema(self._constraint.source, self._constraint.param)
        return self._constraint.schemas[int(rule.removeprefix(SCHEMA_RULE))]

    def _text_of(self, token: int) -> bytes:
        return self._vocabulary.tokenizer.vocabulary_text(token)

    def _watch(self, data: bytes) -> bool:
        """Wake where the last awaited text is complete. What follows it in the same token is under the grammar, but for
        white space."""
        self._text += data
        if self._undecided and not self._decide():
            return True
        if self._call_opens():
            return True
        while self._awaited and (at := self._text.find(self._awaited[0])) >= 0:
            self._text = self._text[at + len(self._awaited.pop(0)) :]
        if self._awaited:
            self._keep_tail()
            return True
        self._asleep = False
        remainder = self._text.strip().decode(errors="replace")
        return not remainder or self._ll.consume_tokens(self._vocabulary.tokenize(remainder))

    def _watch_reasoning(self, data: bytes) -> None:
        """Look for a call in a reasoning that the grammar has, up to its end."""
        self._text += data
        if (self._undecided and not self._decide()) or self._call_opens():
            return
        if self._awaited and self._awaited[0] not in self._text:
            self._keep_tail()
        else:
            self._fresh = None

    def _call_opens(self) -> bool:
        """Whether a call has ended the reasoning; then the grammar has begun with it. An opening that goes on like no
        call is a mention, part of the reasoning."""
        opening = self._constraint.call_opening
        at = self._text.find(opening) if opening and self._awaited and self._awaited[0] != opening else -1
        if at < 0 or 0 <= self._text.find(self._awaited[0]) < at:
            return False
        rest = self._text[at + len(opening) :]
        tokens = self._vocabulary.tokenize(rest.decode(errors="replace"))
        if opening not in self._awaited:  # the grammar begins with it
            tokens = [*self._vocabulary.tokenizer.encode(opening.decode()), *tokens]
        ll = (self._ll if self._fresh is None else self._fresh).deep_copy()
        if not ll.consume_tokens(tokens):
            self._text = rest
            return False
        self._ll, self._awaited, self._asleep, self._fresh = ll, [], False, None
        return True

    def _keep_tail(self) -> None:
        """Of the text, what may hold part of what is looked for."""
        self._text = self._text[-max(len(self._awaited[0]), len(self._constraint.call_opening)) :]

    def _decide(self) -> bool:
        """Whether it is known by now if there is a reasoning. If there is one, its end is awaited first."""
        assert self._constraint.reasoning_tags
        open_tag, close_tag = (tag.encode() for tag in self._constraint.reasoning_tags)
        text = self._text.lstrip()
        if open_tag.startswith(text) and text != open_tag:
            return False
        if text.startswith(open_tag):
            self._awaited.insert(0, close_tag)
        self._undecided = False
        return True
