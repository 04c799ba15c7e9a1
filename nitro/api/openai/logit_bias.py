"""`logit_bias`, in OpenAI's form and in llama-server's."""

from collections.abc import Iterator, Mapping

from nitro.engines.sampling_params import INT32
from nitro.errors import ApiError
from nitro.parameters import Param, check_count, check_number

MAX_BIASES = 2**16  # some requests ban every token of a script
MAX_BIASED_TEXTS = 300  # a text is several tokens
MAX_BIASED_CHARS = 1000  # of a text
MAX_ID_DIGITS = 10  # of a token id
MAX_KEY_CHARS = 40  # of a key that an error shows
BIAS = Param("A token's bias.", ge=-100, le=100)


def parse_bias(
    bias: Mapping[str, float] | list[list[str | int | float | bool]],
) -> tuple[dict[int, float], dict[str, float]]:
    """The biases by token id, and those by text. False bans. Raises ApiError 400.

    OpenAI's form is an object. llama-server's is a list of pairs, in which a text of digits is not an id.
    """
    check_count("logit_bias", bias, MAX_BIASES, "tokens")
    ids: dict[int, float] = {}
    texts: dict[str, float] = {}
    for name, key, value in _pairs(bias):
        where = f"logit_bias.{name[:MAX_KEY_CHARS]}"
        if value is False:
            value = -100.0
        elif value is True or isinstance(value, str):
            raise ApiError.invalid(where, "a number, or false")
        check_number(where, value, BIAS)
        if isinstance(key, int):
            if not 0 <= key <= INT32:
                raise ApiError.invalid(where, "a token id")
            ids[key] = value
        elif len(key) > MAX_BIASED_CHARS:
            raise ApiError.invalid(where, f"a text of at most {MAX_BIASED_CHARS} characters")
        elif key:
            texts[key] = value
        else:
            raise ApiError.invalid("logit_bias", "token ids or texts, got an empty one")
    check_count("logit_bias", texts, MAX_BIASED_TEXTS, "texts")
    return ids, texts


def _pairs(
    bias: Mapping[str, float] | list[list[str | int | float | bool]],
) -> Iterator[tuple[str, str | int, str | int | float | bool]]:
    """Each key as the request has it, the token id or the text that it means, and its bias."""
    if isinstance(bias, Mapping):
        for name, value in bias.items():
            is_id = name.isascii() and name.isdigit()
            yield name, _token_id(name) if is_id else name, value
        return
    for i, pair in enumerate(bias):
        if len(pair) != 2 or isinstance(pair[0], bool) or not isinstance(pair[0], str | int):
            raise ApiError.invalid(f"logit_bias[{i}]", "a token id or a text, and its bias")
        yield str(pair[0]), pair[0], pair[1]


def _token_id(digits: str) -> int:
    """-1 for more digits than an id can have, which int() may take long to read, or refuse."""
    return int(digits) if len(digits) <= MAX_ID_DIGITS else -1
