"""The tables of both routes: every name at the top of a request that is known and not ours."""

from collections.abc import Mapping

from nitro.api.names import Known, Opened
from nitro.api.openai.names import harmless, mapped, refused
from nitro.api.openai.names.sources import OLLAMA
from nitro.api.openai.names.translations import no_object

_COMMON: dict[str, Known] = {
    **mapped.COMMON,
    **harmless.COMMON,
    **harmless.OPTIONS,
    **refused.COMMON,
    "options": Opened(
        sources=(OLLAMA,),
        inside={**harmless.OPTIONS, **refused.OPTIONS, **mapped.OPTIONS},
        translate=no_object,
        note="Sampling parameters, `seed` and `stop` have the meaning that they have at the top.",
    ),
}
CHAT: Mapping[str, Known] = {**_COMMON, **mapped.CHAT, **refused.CHAT}
COMPLETION: Mapping[str, Known] = {**_COMMON, **mapped.COMPLETION, **refused.COMPLETION}
