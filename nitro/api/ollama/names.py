"""Names in the bodies of Ollama's requests that are no fields here: what becomes of each.

Source: Ollama, api/types.go.
"""

from collections.abc import Mapping
from typing import Any

from nitro.api.names import Harmless, Known, Mapped, Refused
from nitro.api.openai.names import harmless, inside
from nitro.api.openai.names.sources import OLLAMA, OTHERS

OFF, EMPTY = (False,), ("",)
NONE: tuple[Any, ...] = ([],)
_SOURCE = (OLLAMA,)
_NOT_CUT = "How a prompt beyond the context is cut. This server cuts none: it is a 400."

OPTIONS: Mapping[str, Known] = {
    **harmless.OPTIONS,
    "vocab_only": Refused(sources=_SOURCE, neutral=OFF),
    "embedding_only": Refused(sources=_SOURCE, neutral=OFF, note="Use /api/embed."),
    "logits_all": Harmless(sources=_SOURCE, note="Logits are kept where they are asked for."),
    "tfs_z": Refused(sources=_SOURCE, neutral=(1,), note="Use `min_p`."),
    "penalize_newline": Refused(sources=_SOURCE, neutral=(True,), note="Penalties count line breaks, too."),
}

MESSAGE: Mapping[str, Known] = {
    **{name: row for name, row in inside.MESSAGE.items() if isinstance(row, Harmless)},
    "reasoning_content": Mapped(sources=(OTHERS,), to="thinking"),
    "reasoning": Mapped(sources=(OTHERS,), to="thinking"),
    "name": Mapped(sources=(OTHERS,), to="tool_name"),
}

_COMMON: dict[str, Known] = {
    **{name: row for name, row in harmless.COMMON.items() if name not in ("truncate", "shift")},
    "truncate": Harmless(sources=_SOURCE, note=_NOT_CUT),
    "shift": Harmless(sources=_SOURCE, note=_NOT_CUT),
    "_debug_render_only": Refused(sources=_SOURCE, neutral=OFF),
}
CHAT: Mapping[str, Known] = {
    **_COMMON,
    "system": Refused(sources=(OTHERS,), neutral=EMPTY, note="It goes into a system message."),
    "prompt": Refused(sources=(OTHERS,), neutral=EMPTY, note="It goes into `messages`."),
    "images": Refused(sources=(OTHERS,), neutral=NONE, note="They go into a message."),
    "template": Refused(sources=(OTHERS,), neutral=EMPTY, note="Start the server with --chat-template FILE."),
}
GENERATE: Mapping[str, Known] = {
    **_COMMON,
    "template": Refused(
        sources=_SOURCE, neutral=EMPTY, note="Start the server with --chat-template FILE, or use `raw`."
    ),
    "context": Refused(sources=_SOURCE, neutral=NONE, note="Send the whole conversation to /api/chat."),
    "tools": Refused(sources=(OTHERS,), neutral=NONE, note="/api/chat has them."),
    "messages": Refused(sources=(OTHERS,), neutral=NONE, note="/api/chat has them."),
    **{name: Refused(sources=_SOURCE, neutral=(0,), note="Of images.") for name in ("width", "height", "steps")},
}

EMBED: Mapping[str, Known] = {name: row for name, row in harmless.COMMON.items() if name not in ("truncate", "shift")}

_ONE_MODEL: dict[str, Known] = {"name": Mapped(sources=_SOURCE, to="model", note="The older name.")}
DELETE: Mapping[str, Known] = _ONE_MODEL
PULL: Mapping[str, Known] = {
    **_ONE_MODEL,
    "insecure": Harmless(sources=_SOURCE, note="The hub is asked over HTTPS, or as HF_ENDPOINT says."),
    "username": Refused(sources=_SOURCE, neutral=EMPTY, note="Start the server with HF_TOKEN."),
    "password": Refused(sources=_SOURCE, neutral=EMPTY, note="Start the server with HF_TOKEN."),
}
SHOW: Mapping[str, Known] = {
    **_ONE_MODEL,
    "system": Refused(sources=_SOURCE, neutral=EMPTY),
    "template": Refused(sources=_SOURCE, neutral=EMPTY),
    "options": Refused(sources=_SOURCE, neutral=({},)),
}
