"""Names in the bodies of the first Nitro's requests that are not fields: what becomes of each.

Those that are in no table have no effect, and the header `x-nitro-ignored` lists them: `embedding`, `n_batch`,
`cont_batching`, `caching_enabled`, `clean_cache_threshold`, `llama_log_folder` and `grp_attn_w` of a load change no
answer here.
"""

from collections.abc import Mapping

from nitro.api.names import Harmless, Known, Refused
from nitro.api.openai.names import harmless

_FIRST_NITRO = ("first Nitro",)

LOAD: Mapping[str, Known] = {
    "grp_attn_n": Refused(
        sources=_FIRST_NITRO, note="Self-extend does not exist here; load with a larger 'ctx_len'", neutral=(1,)
    ),
}
CHAT: Mapping[str, Known] = {
    **harmless.COMMON,
    "model": Harmless(sources=_FIRST_NITRO, note="The model that is loaded answers.", usual=True),
    "grammar_file": Refused(sources=_FIRST_NITRO, note="Send it with loadmodel", neutral=("",)),
}
EMBEDDING: Mapping[str, Known] = {
    **{
        name: Harmless(sources=_FIRST_NITRO, note="The model that is loaded answers, as it does.", usual=True)
        for name in ("model", "encoding_format", "dimensions", "user")
    },
}
