"""The first Nitro's prompts, as a chat template: a prefix for each role, and no model's own template.

    pre_prompt, then each message in turn: the prefix of its role, and its content; at last the assistant's prefix

A system message goes before all that stands there so far. A role without a prefix is its own. Source: v0.3.22,
`llamaCPP::InferenceImpl`. Only a load that sends a prefix is prompted so; else the model's template is better.
"""

import json

from nitro.api.first_nitro.requests import LoadRequest

USER, ASSISTANT, SYSTEM = "USER: ", "ASSISTANT: ", "ASSISTANT's RULE: "  # by default
IM_END = "<|im_end|>"  # ends its every answer

_MARK = "{#- The first Nitro's prompts. -#}"
_TEMPLATE = """\
{%%- set prefixes = {"user": %(user)s, "assistant": %(assistant)s} -%%}
{%%- set all = namespace(text=%(before)s) -%%}
{%%- for message in messages -%%}
{%%- if message.role == "system" -%%}
{%%- set all.text = %(system)s + message.content + all.text -%%}
{%%- else -%%}
{%%- set all.text = all.text + prefixes.get(message.role, message.role) + message.content -%%}
{%%- endif -%%}
{%%- endfor -%%}
{{- (bos_token if add_bos_token else "") + all.text + (%(assistant)s if add_generation_prompt else "") -}}
"""


def template(request: LoadRequest) -> str | None:
    """The chat template of a load; None: the model's own."""
    if (request.user_prompt, request.ai_prompt, request.system_prompt) == (None, None, None):
        return None
    texts = {
        "user": _first(request.user_prompt, USER),
        "assistant": _first(request.ai_prompt, ASSISTANT),
        "system": _first(request.system_prompt, SYSTEM),
        "before": request.pre_prompt or "",
    }
    return _MARK + _TEMPLATE % {name: _literal(text) for name, text in texts.items()}


def stops(request: LoadRequest) -> tuple[str, ...]:
    """What ends an answer beside the model's own end: the user's prefix, where there are prefixes."""
    if template(request) is None:
        return ()
    user = _first(request.user_prompt, USER).rstrip()
    return tuple(stop for stop in (IM_END, user) if stop)


def are_prefixes(source: str | None) -> bool:
    """Whether a chat template was written here, so that it takes any role."""
    return source is not None and source.startswith(_MARK)


def _literal(text: str) -> str:
    """The text as Jinja reads it: like JSON, but that it joins no surrogates, so that other characters stay."""
    return json.dumps(text, ensure_ascii=False)


def _first(text: str | None, default: str) -> str:
    return default if text is None else text
