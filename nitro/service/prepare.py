"""A request read: its bytes become what the engine is sent, and how the reply is to be written.

All work that grows with a request is done here, and may take long: a body of megabytes, a chat template that never
ends. So it runs in a process of its own, which `intake` starts and ends. Knows no HTTP, no socket and no event loop.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import msgspec

from nitro.api import json_body
from nitro.api.openai import schema
from nitro.api.openai.constraints import after_thinking, let_through, with_tools
from nitro.api.openai.parse import ChatPrompt, Prompt, parse_chat, parse_completion
from nitro.api.openai.sampling import without_effect
from nitro.engines.types import GenerationParams, ModelInfo, ThinkingBudget
from nitro.engines.work import EncodedWork, encode_work
from nitro.errors import ApiError, PromptTooLong, TemplateError, no_such_model
from nitro.models.setup import Setup
from nitro.service import ignored
from nitro.service.prepared import ChatOptions, CompletionOptions, Prepared, encode_tools
from nitro.text.family import ModelFamily
from nitro.text.template import ChatTemplate
from nitro.text.tools import Tool

LONGEST_TOOLS = 2 * 2**20  # bytes of all tools together
THINKING = ("enable_thinking", "thinking")
# by the parameter: the template's variables that it sets
VARIABLES = {"enable_thinking": THINKING, "reasoning_effort": ("reasoning_effort", *THINKING)}


class Preparer:
    """Reads requests for one model. Every method raises ApiError, TemplateError, PromptTooLong or PromptRejected."""

    def __init__(
        self,
        setup: Setup,
        compiling: Callable[[bool], None] = lambda done: None,
        rendering: Callable[[], None] = lambda: None,
    ):
        """They are called when the chat template is about to be compiled, and has been; and when it gets to work."""
        self._setup, self._info, self._compiling, self._rendering = setup, setup.info, compiling, rendering
        self._family = ModelFamily.of(setup.template or "", setup.tool_format)
        self._failure: TemplateError | None = None

    @property
    def _template(self) -> ChatTemplate:
        """Compiled once, well or not."""
        if isinstance(self._compiled, TemplateError):
            raise self._compiled
        return self._compiled

    @cached_property
    def _compiled(self) -> ChatTemplate | TemplateError:
        source = self._setup.template
        if source is None:
            return TemplateError("The model has no chat template; start the server with --chat-template FILE.")
        self._compiling(False)
        try:
            return ChatTemplate(source, self._info.bos, self._info.eos)
        except TemplateError as error:
            return error
        finally:
            self._compiling(True)

    def chat(self, body: bytes, strict: bool) -> Prepared:
        """A request of `POST /v1/chat/completions`. `strict`: what would be ignored is refused."""
        request, unread = json_body.decode(body, schema.ChatRequest)
        unknown = self._check_model(request.model, unread, strict)
        self._rendering()
        template, family = self._template, self._family
        prompt = parse_chat(request, self._setup.sampling, self._info.samplers, template.part_separator)
        told = prompt.tools.told if prompt.tools else None
        text = family.prompt(template, prompt.messages, told, prompt.variables, prompt.continues)
        tools, markers, constraint = prompt.tools, family.reasoning_markers, prompt.constraint
        said = str(prompt.messages[-1].get("content") or "") if prompt.continues else ""
        opened = markers is not None and (markers.opened_by(text) or markers.left_open_by(said))
        several = family.native_tools if tools is None or tools.several is None else tools.several
        if tools:
            constraint = with_tools(constraint, tools, family.format, several)
        asked = GenerationParams(
            *(prompt.sampling, prompt.max_tokens, prompt.text_bias),
            prediction=prompt.prediction or "",
            constraint=after_thinking(constraint, markers, opened),
            thinking=_thinking(prompt, family, opened),
            visible_special_tokens=family.visible_special_tokens(tools is not None),
            use_cache=prompt.cache,
        )
        unused = _unused(request, template.variables, family)
        unused += without_effect(request, self._info, constrained=asked.constraint is not None)
        unused += let_through(tools, family.format) if tools else []
        options = ChatOptions(
            **_common(prompt),
            tools=_encoded(tools.by_name) if tools else None,
            legacy=tools is not None and tools.legacy,
            several=several,
            live=tools is not None and tools.enforced and not prompt.stops,  # a stop may cut a call in its middle
            calls_before=sum(len(message.get("tool_calls") or ()) for message in prompt.messages),
            opened=opened,
            begun=bool(said),
            both_reasonings=prompt.both_reasonings,
        )
        return self._prepared(encode_work([text], asked, prompt.n), options, unread, unused, unknown, strict)

    def completions(self, body: bytes, strict: bool) -> Prepared:
        """A request of `POST /v1/completions`. An engine draws at least one token, told or not."""
        request, unread = json_body.decode(body, schema.CompletionRequest)
        unknown = self._check_model(request.model, unread, strict)
        prompt = parse_completion(request, self._setup.sampling, self._info.samplers)
        mute = prompt.max_tokens == 0
        sampling = prompt.sampling
        if prompt.best_of > prompt.n and sampling.logprobs is None:
            sampling = msgspec.structs.replace(sampling, logprobs=0)
        texts = [_begun(_open_middle(given, prompt.suffix, self._info), self._info) for given in prompt.prompts]
        for text in texts:
            if isinstance(text, list) and len(text) >= self._info.context:
                raise PromptTooLong(len(text), self._info.context)
        asked = GenerationParams(
            *(sampling, 1 if mute else prompt.max_tokens, prompt.text_bias, prompt.echo),
            prediction=prompt.prediction or "",
            constraint=prompt.constraint,
            use_cache=prompt.cache,
        )
        pairs = zip(prompt.prompts, texts, strict=True)
        options = CompletionOptions(
            **_common(prompt),
            n=prompt.n,
            best_of=prompt.best_of,
            mute=mute,
            echoes=[(given, given != sent) for given, sent in pairs] if prompt.echo else [],
        )
        unused = without_effect(request, self._info, constrained=asked.constraint is not None)
        return self._prepared(encode_work(texts, asked, prompt.best_of), options, unread, unused, unknown, strict)

    def _check_model(self, name: str | None, unread: list[str], strict: bool) -> str | None:
        """A name that is not the model's, to be told. Raises ApiError where that, or what is not read, is refused."""
        unknown = name if name and name not in self._setup.names else None
        if strict:
            ignored.refuse(unread)
            if unknown:
                raise no_such_model(unknown, self._setup.names[0])
        elif unknown:
            unread.append("model")
        return unknown

    def _prepared(
        self,
        work: EncodedWork,
        options: ChatOptions | CompletionOptions,
        unread: list[str],
        unused: list[str],
        unknown_model: str | None,
        strict: bool,
    ) -> Prepared:
        names = [*unread, *map(ignored.written, unused)]
        if strict:
            ignored.refuse(names)
        return Prepared(work, options, ignored.shortened(names), unknown_model and unknown_model[: ignored.LONGEST])


def _encoded(tools: Mapping[str, Tool]) -> bytes:
    """The server opens them on its event loop. Raises ApiError where that would take long."""
    encoded = encode_tools(tools)
    if len(encoded) > LONGEST_TOOLS:
        message = f"Invalid value for 'tools': expected at most {LONGEST_TOOLS} bytes, got {len(encoded)}."
        raise ApiError(400, message, param="tools", code="invalid_value")
    return encoded


def _common(prompt: Prompt) -> dict[str, Any]:
    """The fields of Options."""
    return {
        "stream": prompt.stream,
        "include_usage": prompt.include_usage,
        "timings_per_token": prompt.timings_per_token,
        "return_tokens": prompt.return_tokens,
        "logprobs": prompt.sampling.logprobs,
        "stops": prompt.stops,
        "predicted": prompt.prediction is not None,
    }


def _thinking(prompt: ChatPrompt, family: ModelFamily, opened: bool) -> ThinkingBudget | None:
    markers = family.reasoning_markers
    if prompt.thinking_budget is None or markers is None:
        return None
    opening = b"" if opened else markers.open_tag.encode()
    return ThinkingBudget(prompt.thinking_budget, opening, markers.close_tag.encode(), markers.forced_end)


def _unused(request: schema.ChatRequest, variables: frozenset[str], family: ModelFamily) -> list[str]:
    """The parameters that this model's template has no use for."""
    names = [name for name, sets in VARIABLES.items() if getattr(request, name) is not None and not variables & {*sets}]
    names += [f"chat_template_kwargs.{name}" for name in request.chat_template_kwargs or {} if name not in variables]
    useless = request.thinking_budget is not None and family.reasoning_markers is None
    return names + (["thinking_budget"] if useless else [])


def _open_middle(prompt: str | list[int], suffix: str, info: ModelInfo) -> str | list[int]:
    """With a suffix, what the model continues with the text between both."""
    if not suffix or isinstance(prompt, list):
        return prompt
    if info.infill is None:
        message = "Unsupported parameter: 'suffix' needs a vocabulary with tokens to fill in the middle."
        raise ApiError(400, message, param="suffix", code="unsupported_parameter")
    before, after, middle = info.infill
    return before + prompt + after + suffix + middle


def _begun(prompt: str | list[int], info: ModelInfo) -> str | list[int]:
    """A text begins as the model's texts do."""
    if isinstance(prompt, list) or not info.adds_bos or prompt.startswith(info.bos):
        return prompt
    return info.bos + prompt
