"""One model's tokens as llguidance knows them, and grammars begun over them."""

from llguidance import LLMatcher, LLTokenizer

from nitro.engines.constraints.grammar_limits import PARSER_LIMITS
from nitro.engines.runner import Tokenizer
from nitro.engines.types import ModelInfo

SPECIAL = b"\xff"  # llguidance's mark of a token that no text makes


class GrammarVocabulary:
    """Takes a quarter of a second to make. Thread-safe: nothing in it changes."""

    def __init__(self, tokenizer: Tokenizer, info: ModelInfo):
        self.tokenizer = tokenizer
        self.eog = info.eog
        self._ll = LLTokenizer(_TokenizerWrapper(tokenizer, info), eos_token=sorted(info.eog))  # type: ignore[arg-type]
        without_end = (1 << info.vocabulary) - 1 & ~sum(1 << token for token in info.eog)
        self.mask_without_end = without_end.to_bytes((info.vocabulary + 31) // 32 * 4, "little")  # see Matcher.mask

    def begin(self, grammar: str) -> LLMatcher:
        """A matcher at the grammar's beginning. It says itself whether it is in error."""
        return LLMatcher(self._ll, grammar, log_level=0, limits=PARSER_LIMITS)

    def validate(self, grammar: str) -> tuple[bool, list[str]]:
        """Whether the grammar is wrong, and its errors or warnings."""
        return LLMatcher.validate_grammar_with_warnings(grammar, self._ll, limits=PARSER_LIMITS)

    def tokenize(self, text: str) -> list[int]:
        """Tokens that make up the text, the longest first, which need not be the model's own choice."""
        return self._ll.greedy_tokenize(text)


class _TokenizerWrapper:
    """What llguidance asks of a tokenizer: see its TokenizerWrapper."""

    is_tokenizer_wrapper = True

    def __init__(self, tokenizer: Tokenizer, info: ModelInfo):
        self.eos_token_id = min(info.eog)
        self.bos_token_id = None
        special = [t for t in range(info.vocabulary) if t in info.eog or not tokenizer.token_bytes(t)]
        self.special_token_ids = special
        self.tokens = [tokenizer.token_bytes(token) for token in range(info.vocabulary)]
        for token in special:
            self.tokens[token] = SPECIAL + (tokenizer.vocabulary_text(token) or b"<%d>" % token)
        self._encode = tokenizer.encode

    def __call__(self, text: str | bytes) -> list[int]:
        return self._encode(text if isinstance(text, str) else text.decode(errors="replace"))
