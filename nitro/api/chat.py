"""`POST /v1/chat/completions`."""

from collections.abc import Iterator
from typing import Any

from litestar import Request, Response, post
from msgspec import UNSET, UnsetType

from nitro.api import openai
from nitro.api.constraints import after_thinking, let_through, with_tools
from nitro.api.exchange import Exchange, head, serve, usage_field
from nitro.api.prompts import ChatPrompt, parse_chat
from nitro.api.reply import Piece, Reading, Replies, Reply, Token
from nitro.api.requestlog import RequestLog
from nitro.api.sampling import without_effect
from nitro.engines.types import Asked, Scored, Thinking
from nitro.engines.work import encode_work
from nitro.models.served import ServedModel
from nitro.text.channels import Delta
from nitro.text.family import Family
from nitro.text.template import ChatTemplate

THINKING = ("enable_thinking", "thinking")
# by the parameter: the template's variables that it sets
VARIABLES = {"enable_thinking": THINKING, "reasoning_effort": ("reasoning_effort", *THINKING)}


@post("/v1/chat/completions", status_code=200)
async def chat_completions(request: Request) -> Response[Any]:
    return await serve(request, openai.ChatRequest, _begin, prompt="messages")


async def _begin(model: ServedModel, body: openai.ChatRequest, log: RequestLog) -> Exchange:
    """Everything that can be a 4xx, until the engine has accepted the prompt."""
    info = await model.engine.ready()
    template, family = model.chat_template(info), model.family(info)
    prompt = parse_chat(body, model.sampling(info), info.samplers, template.between)
    text = _render(template, prompt, family)
    tools, markers, constraint = prompt.tools, family.markers, prompt.constraint
    said = str(prompt.messages[-1].get("content") or "") if prompt.continues else ""
    opened = markers is not None and (markers.opened(text) or markers.open_in(said))
    several = family.native if tools is None or tools.several is None else tools.several
    if tools:
        constraint = with_tools(constraint, tools, family.format, several)
    asked = Asked(
        *(prompt.sampling, prompt.max_tokens, prompt.text_bias),
        prediction=prompt.prediction or "",
        constraint=after_thinking(constraint, markers, opened),
        thinking=_thinking(prompt, family, opened),
        spoken=family.spoken(tools is not None),
        cache=prompt.cache,
    )
    generation = await model.engine.generate(encode_work([text], asked, prompt.n))
    before = sum(len(message.get("tool_calls") or ()) for message in prompt.messages)
    live = tools is not None and tools.enforced and not prompt.stops  # which may cut a call in its middle
    reading = Reading(
        lambda: family.parser(tools.by_name if tools else None, live, opened, begun=bool(said)),
        lambda name, number: family.format.call_id(name, before + number),
        several,
        "function_call" if tools and tools.legacy else "tool_calls",
    )
    log.replies = replies = Replies(generation, prompt.stops, predicted=prompt.prediction is not None, reading=reading)
    ignored = _ignored(body, template.variables, family) + generation.unenforced
    ignored += without_effect(body, info, constrained=asked.constraint is not None)
    ignored += let_through(tools, family.format) if tools else []
    return Exchange(prompt, replies, Chat(prompt, head("chatcmpl", model, model.fingerprint(info))), log, ignored)


def _render(template: ChatTemplate, prompt: ChatPrompt, family: Family) -> str:
    """The prompt's text. Raises TemplateError."""
    told = prompt.tools.told if prompt.tools else None
    return family.prompt(template, prompt.messages, told, prompt.variables, prompt.continues)


def _thinking(prompt: ChatPrompt, family: Family, opened: bool) -> Thinking | None:
    if prompt.thinking_budget is None or family.markers is None:
        return None
    opens, closes = family.markers.opens, family.markers.closes
    return Thinking(prompt.thinking_budget, b"" if opened else opens.encode(), closes.encode(), family.markers.forced)


def _ignored(body: openai.ChatRequest, variables: frozenset[str], family: Family) -> list[str]:
    """The parameters that this model's template has no use for."""
    names = [name for name, sets in VARIABLES.items() if getattr(body, name) is not None and not variables & {*sets}]
    names += [f"chat_template_kwargs.{name}" for name in body.chat_template_kwargs or {} if name not in variables]
    return names + (["thinking_budget"] if body.thinking_budget is not None and family.markers is None else [])


class Chat:
    """The Format of this route: role, then what each piece means, then the finish, in chunks of their own."""

    def __init__(self, prompt: ChatPrompt, head: dict[str, Any]):
        self._prompt, self._head = prompt, head
        self._legacy = prompt.tools is not None and prompt.tools.legacy

    def whole(self, replies: Replies) -> openai.ChatCompletion:
        choices = []
        for reply in replies.choices:
            assert reply.finish is not None
            told = self._logprobs(reply.scored), self._ids(reply.ids)
            choices.append(openai.Choice(reply.index, self._message(reply), reply.finish, *told))
        return openai.ChatCompletion(choices=choices, usage=replies.usage, **self._head)

    def opening(self, replies: Replies) -> Iterator[openai.ChatCompletionChunk]:
        for reply in replies.choices:
            yield self._chunk([openai.ChunkChoice(reply.index, openai.Delta("assistant", ""))])

    def chunks(self, piece: Piece, reply: Reply) -> Iterator[openai.ChatCompletionChunk]:
        deltas = [self._delta(delta, reply) for delta in piece.deltas]
        if not deltas and (piece.tokens or self._ids(piece.ids)):
            deltas = [openai.Delta(content="")]
        for i, delta in enumerate(deltas):
            told = self._logprobs([] if i else piece.tokens), self._ids([] if i else piece.ids)
            yield self._chunk([openai.ChunkChoice(piece.index, delta, None, *told)])
        if piece.finish:
            yield self._chunk([openai.ChunkChoice(piece.index, openai.Delta(), piece.finish)])

    def usage(self, usage: openai.Usage) -> openai.ChatCompletionChunk:
        return self._chunk([], usage)

    def _message(self, reply: Reply) -> openai.ReplyMessage:
        message = openai.ReplyMessage(reply.content or (None if reply.calls or reply.reasoning else ""))
        if reply.calls and self._legacy:
            message.function_call = openai.FunctionCall(reply.calls[0].arguments, reply.calls[0].name)
        elif reply.calls:
            message.tool_calls = [
                openai.ToolCall(call.id, openai.FunctionCall(call.arguments, call.name)) for call in reply.calls
            ]
        if reply.reasoning:
            message.reasoning_content = reply.reasoning
            message.reasoning = reply.reasoning if self._prompt.both_reasonings else UNSET
        return message

    def _delta(self, delta: Delta, reply: Reply) -> openai.Delta:
        if delta.channel == "content":
            return openai.Delta(content=delta.text)
        if delta.channel == "reasoning":
            both = delta.text if self._prompt.both_reasonings else UNSET
            return openai.Delta(reasoning_content=delta.text, reasoning=both)
        function = openai.FunctionCall(delta.text, UNSET if delta.name is None else delta.name)
        if self._legacy:
            return openai.Delta(function_call=function)
        if delta.name is None:
            return openai.Delta(tool_calls=[openai.ToolCallDelta(delta.call, function)])
        call = openai.ToolCallDelta(delta.call, function, reply.calls[delta.call].id, "function")
        return openai.Delta(tool_calls=[call])

    def _chunk(
        self, choices: list[openai.ChunkChoice], usage: openai.Usage | None = None
    ) -> openai.ChatCompletionChunk:
        return openai.ChatCompletionChunk(choices=choices, usage=usage_field(self._prompt, usage), **self._head)

    def _ids(self, ids: list[int]) -> list[int] | UnsetType:
        return ids if self._prompt.return_tokens else UNSET

    def _logprobs(self, tokens: list[Token]) -> openai.ChoiceLogprobs | None:
        return None if self._prompt.sampling.logprobs is None else openai.ChoiceLogprobs(list(map(_scored, tokens)))


def _scored(token: Token) -> openai.TokenLogprob:
    top = [openai.TopLogprob(*_spelled(scored)) for scored in token.logprobs.top]
    return openai.TokenLogprob(*_spelled(token.logprobs.chosen), top)


def _spelled(scored: Scored) -> tuple[str, float, list[int] | None]:
    return scored.written.decode(errors="replace"), scored.logprob, None if scored.silent else list(scored.written)
