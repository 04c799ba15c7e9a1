"""The types of weights that names of GGUF files tell, and which of them keep a model best. Goes by names alone."""

import re

# Best first. Source: perplexities and sizes in llama.cpp's tools/quantize/README.md; types that it does not list stand
# beside those with as many bits. _L and _XL are others' mixes: embeddings and output in a larger type.
BEST_FIRST = (
    *("F32", "BF16", "F16", "Q8_K_XL", "Q8_0", "Q6_K_XL", "Q6_K_L", "Q6_K", "Q5_K_XL", "Q5_K_L", "Q5_K_M", "Q5_1"),
    *("Q5_K_S", "Q5_0", "Q4_K_XL", "Q4_K_L", "Q4_K_M", "Q4_1", "Q4_K_S", "IQ4_NL", "NVFP4", "MXFP4_MOE", "MXFP4"),
    *("IQ4_XS", "Q4_0", "Q3_K_XL", "Q3_K_L", "Q3_K_M", "IQ3_M", "IQ3_S", "Q3_K_S", "IQ3_XS", "IQ3_XXS", "Q2_K_XL"),
    *("Q2_K_L", "Q2_K", "IQ2_M", "Q2_K_S", "IQ2_S", "IQ2_XS", "IQ2_XXS", "TQ2_0", "IQ1_M", "TQ1_0", "IQ1_S"),
)
# What none can tell from the original at a fraction of its size: the unquantised ones are for who asks for them.
UNQUANTIZED = frozenset({"F32", "BF16", "F16"})
# Of projectors: as trained, in the type most models are trained in; then its equals; then what loses something.
PROJECTORS = ("BF16", "F16", "F32")
_SAME = {"FP32": "F32", "FP16": "F16"}
_DYNAMIC = "UD-"  # before Unsloth's types, which give each tensor its own
_TAG = re.compile(
    r"(?:^|[-._])((?:UD-)?(?:I?Q\d(?:_[A-Z0-9]+)*|TQ\d_\d|BF16|FP?(?:16|32)|MXFP4(?:_MOE)?|NVFP4))(?=$|[-._])",
    re.IGNORECASE,
)


def tag(stem: str) -> str:
    """The type in a file's name without suffix and number of its part, as in "Q4_K_M" or "UD-Q4_K_XL"; empty where
    there is none. The last one counts: models may be called after a type."""
    found = _last(stem)
    return found[1].upper() if found else ""


def base(stem: str) -> str:
    """A file's name without its type: the files of one model in several types have it in common."""
    found = _last(stem)
    return (stem[: found.start()] + stem[found.end() :]).rstrip("-._") if found else stem


def rank(tag: str) -> float:
    """Where a type stands: the smaller, the better. Unknown types stand last."""
    plain = _plain(tag.upper().removeprefix(_DYNAMIC))
    place = BEST_FIRST.index(plain) if plain in BEST_FIRST else len(BEST_FIRST)
    return place - 0.5 if tag.upper().startswith(_DYNAMIC) else place


def projector_rank(tag: str) -> float:
    """The same of a projector, which is small, so that exactness is all."""
    plain = _plain(tag)
    return PROJECTORS.index(plain) if plain in PROJECTORS else len(PROJECTORS) + rank(tag)


def is_unquantized(tag: str) -> bool:
    """Whether the weights are as they were trained, or as good as."""
    return _plain(tag) in UNQUANTIZED


def _plain(tag: str) -> str:
    return _SAME.get(tag.upper(), tag.upper())


def _last(stem: str) -> re.Match[str] | None:
    found = None
    for found in _TAG.finditer(stem):  # noqa: B007
        pass
    return found
