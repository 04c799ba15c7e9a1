"""Tries a grammar before a model does: whether an answer can begin, and whether it can go on for some way."""

import re
from random import Random
from time import thread_time

from llguidance import LLMatcher

from nitro.engines.constraints.grammar_errors import GrammarError, sentence
from nitro.engines.constraints.grammar_vocabulary import GrammarVocabulary

LOOK_AHEAD = 12  # steps into an answer for which it is tried whether a grammar can be followed
JSON_OPENERS = ("{", "[", '"', ":")  # what leads further into JSON
WALKS = 2  # from the beginning, where it is done for few grammars
WALK_BYTES = 300  # of each: where states multiply, they are mostly too many after 30 to 120
ALL_BYTES = 1_500  # of all walks of a request's grammars: with a large vocabulary, a thousand may take a second
WORDS = 0.95  # how many of the tokens are letters and digits alone
MAX_DRAWS = 32  # for a token that does not end a text
MASK_SECONDS = 1.0  # of processor time, for one token's mask: on the engine thread everybody waits for it
_NOT_ZERO = re.compile(rb"[^\0]")


def first_problem(ll: LLMatcher, vocabulary: GrammarVocabulary) -> str | None:
    """Why not even the beginning of an answer is possible; None: it is.

    It is tried as far as there is no choice, and into objects and lists.
    """
    if ll.is_error():
        return sentence(ll.get_error())
    probe = ll.deep_copy()
    if not any(_mask(probe)):
        return sentence(probe.get_error()) or "Nothing can be said that keeps it."
    for _ in range(LOOK_AHEAD):
        if probe.is_error() or not _advance(probe, vocabulary):
            break
    _mask(probe)
    return sentence(probe.get_error()) or None


def _mask(probe: LLMatcher) -> bytes:
    """What may come next. Raises GrammarError where it takes so long that all who are served would wait for it."""
    began = thread_time()
    mask = probe.compute_bitmask()
    if thread_time() - began > MASK_SECONDS:
        raise GrammarError(f"It takes more than {MASK_SECONDS:g} seconds to find what may come next.")
    return mask


def _advance(probe: LLMatcher, vocabulary: GrammarVocabulary) -> bool:
    """Consume what must come next, else what may and leads further. False where nothing does."""
    forced = probe.compute_ff_tokens() or vocabulary.tokenize(probe.compute_ff_bytes().decode(errors="ignore"))
    ways = [forced] if forced else map(vocabulary.tokenize, JSON_OPENERS)
    return any(probe.try_consume_tokens(way) == len(way) for way in ways)


def later_problem(ll: LLMatcher, vocabulary: GrammarVocabulary, among: int = 1) -> str | None:
    """Why an answer that may begin cannot go on; None: those that were tried can. `among`: how many grammars are tried.

    Each walk takes tokens at random, the same ones each time. It uses the matcher up: its copies share a lexer and
    what that may take.
    """
    walks = WALKS if among * WALKS * WALK_BYTES <= ALL_BYTES else 1
    length = min(WALK_BYTES, ALL_BYTES // (among * walks))
    for seed in range(walks):
        draw = Random(seed)
        probe = ll.deep_copy()
        walked = 0
        while walked < length:
            mask = _mask(probe)
            if probe.is_error():
                return sentence(probe.get_error())
            token = _drawn_to_go_on(mask, draw, vocabulary)
            if token is None or token in vocabulary.eog or not probe.consume_token(token):
                break
            walked += len(vocabulary.tokenizer.token_bytes(token)) or 1
    return None


def _drawn_to_go_on(mask: bytes, draw: Random, vocabulary: GrammarVocabulary) -> int | None:
    """A token that the mask allows, if possible one of letters and digits alone, and now and then another one."""
    is_word = draw.random() < WORDS
    token = None
    for _ in range(MAX_DRAWS):
        token = _drawn(mask, draw)
        if token is None:
            break
        data = vocabulary.tokenizer.token_bytes(token)
        if data.isalnum() if is_word else b'"' not in data:
            break
    return token


def _drawn(mask: bytes, draw: Random) -> int | None:
    """A token that the mask allows; None: it allows none."""
    start = draw.randrange(len(mask) or 1)
    found = _NOT_ZERO.search(mask, start) or _NOT_ZERO.search(mask, 0, start)
    if found is None:
        return None
    bits = found[0][0]
    return found.start() * 8 + draw.choice([bit for bit in range(8) if bits >> bit & 1])
