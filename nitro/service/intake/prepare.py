"""A request read: its bytes become what the engine is sent, and how what it generates is to be read.

All work that grows with a request is done here, and may take long: a body of megabytes, a chat template that never
ends. So it runs in a process of its own, which `lanes` starts and ends. Knows no HTTP, no socket and no event loop; the
protocol is known to the Reader alone.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from nitro.engines.adapters import AdapterSet
from nitro.engines.media import Media
from nitro.engines.types import Constraint, GenerationParams, ModelInfo, ThinkingBudget
from nitro.engines.work import EncodedWork, encode_work
from nitro.errors import ApiError, PromptTooLong, TemplateError, no_such_model
from nitro.models.names import among
from nitro.models.setup import ModelSetup
from nitro.service import ignored_parameters
from nitro.service.answer_constraint import after_thinking, unenforced_tools, with_tools
from nitro.service.embedding_request import EmbeddingReader, EmbeddingRequest
from nitro.service.intake import chosen_adapters, embedding_work, prefix_ends, prefix_hash, rerank_work
from nitro.service.intake.conversation_text import ConversationText
from nitro.service.intake.messages import ChannelOptions, OutputOptions, Prepared, PreparedEmbedding, encode_tools
from nitro.service.intake.shortened import shortened
from nitro.service.media import checks
from nitro.service.media.kept import KeptFiles
from nitro.service.media.limits import DEFAULT_LIMITS, MediaLimits
from nitro.service.media.sources import MediaSource
from nitro.service.requests import Conversation, GenerationRequest, Reader, Texts
from nitro.service.rerank_request import RerankReader, RerankRequest
from nitro.text.family import ModelFamily
from nitro.text.template import ChatTemplate
from nitro.text.tools import Tool

_MESSAGE = re.compile(r"\bmessages\[(\d+)\]")
MAX_TOOLS_BYTES = 2 * 2**20  # of all tools together


class Preparer:
    """Prepares requests for one model."""

    def __init__(
        self,
        setup: ModelSetup,
        compiling: Callable[[bool], None] = lambda done: None,
        rendering: Callable[[], None] = lambda: None,
        limits: MediaLimits = DEFAULT_LIMITS,
        kept: KeptFiles | None = None,
    ):
        """`compiling` is called before (False) and after (True) the chat template is compiled, `rendering` before it
        renders. `kept`: what became of images and sounds, for other models as well; None: it has its own."""
        self._setup = setup
        self._info = setup.info
        self._compiling = compiling
        self._rendering = rendering
        self._limits = limits
        self._kept = kept or KeptFiles()
        self._compiled: dict[str | None, ChatTemplate | TemplateError] = {}  # by source

    def prepare(
        self,
        body: bytes,
        reader: Reader | EmbeddingReader | RerankReader,
        strict: bool = False,
        found: bool = False,
        share: float = 1.0,
        fetched: Mapping[str, bytes] | None = None,
    ) -> Prepared | PreparedEmbedding:
        """`strict`: what would be ignored is refused. `found`: the request's name for a model means this one. `share`:
        so much of a conversation may stay. `fetched`: files by their addresses. Raises ApiError, TemplateError,
        PromptTooLong or PromptRejected, and MediaWanted for files that are not there."""
        request = reader(body, self._setup)
        if isinstance(request, EmbeddingRequest | RerankRequest):
            return self._embedding(request, strict, found)
        if not request.only_tokens:
            self._check_generates(request)
        request = self._with_models_own(request)
        chosen = chosen_adapters.of(request, self._info)
        unknown = None if chosen.model else self._check_model(request, strict, found)
        prepared = (
            self._conversation(request, share, fetched or {})
            if isinstance(request.prompt, Conversation)
            else self._texts(request)
        )
        names = [*request.ignored, *(["model"] if unknown else []), *map(ignored_parameters.escaped, prepared.ignored)]
        if strict:
            ignored_parameters.refuse(names)
        return replace(
            prepared,
            ignored=ignored_parameters.shortened(names),
            unknown_model=unknown and unknown[: ignored_parameters.MAX_HEADER],
            adapters=chosen.adapters,
            adapter=chosen.model,
        )

    def _adapters(self, request: GenerationRequest) -> AdapterSet:
        return chosen_adapters.of(request, self._info).adapters

    def _embedding(self, request: EmbeddingRequest | RerankRequest, strict: bool, found: bool) -> PreparedEmbedding:
        if adapter := among(request.model, self._info.adapters):
            why = f"a model: '{adapter.name}' is an adapter, with which texts are generated, not embedded"
            raise ApiError.invalid("model", why)
        unknown = self._check_model(request, strict, found)
        unused: list[str] = []
        if isinstance(request, RerankRequest):
            work = rerank_work.work_of(request, self._setup)
        else:
            work, unused = embedding_work.work_of(request, self._setup)
        names = [*request.ignored, *(["model"] if unknown else []), *map(ignored_parameters.escaped, unused)]
        if strict:
            ignored_parameters.refuse(names)
        return PreparedEmbedding(
            work=work,
            reply_options=request.reply_options,
            ignored=ignored_parameters.shortened(names),
            unknown_model=unknown and unknown[: ignored_parameters.MAX_HEADER],
            keep_alive=request.keep_alive,
        )

    def _check_generates(self, request: GenerationRequest) -> None:
        """Raises ApiError where the model makes no text."""
        if not self._info.generates:
            raise ApiError(
                400,
                f"The model '{self._setup.names[0]}' is {_kind(self._info)}.",
                param=request.param("model"),
                code="invalid_value",
            )

    def _with_models_own(self, request: GenerationRequest) -> GenerationRequest:
        """The request with the stop strings and the grammar that its model is served with. Raises ApiError where it
        says that the answer ends nowhere."""
        if self._setup.stops and isinstance(request.prompt, Conversation):
            request = replace(request, stops=list(dict.fromkeys((*request.stops, *self._setup.stops))))
        if self._setup.grammar is not None and request.constraint is None:
            if request.sampling.ignore_eos:
                name = request.param("ignore_eos")
                raise ApiError.invalid(name, "false: this model is served with a grammar, which says where answers end")
            request = replace(request, constraint=Constraint("grammar", self._setup.grammar, "grammar"))
        return request

    def _check_model(
        self, request: GenerationRequest | EmbeddingRequest | RerankRequest, strict: bool, found: bool
    ) -> str | None:
        """The request's name for a model that is not this one's. Raises ApiError where that, or what the reader has
        left out, is refused."""
        unknown = request.model if request.model and not found and request.model not in self._setup.names else None
        if strict:
            ignored_parameters.refuse(request.ignored)
        if unknown and (strict or self._setup.many):
            raise no_such_model(unknown, [self._setup.names[0], *(each.name for each in self._info.adapters)])
        return unknown

    def _conversation(self, request: GenerationRequest, share: float, fetched: Mapping[str, bytes]) -> Prepared:
        """Rendered by the chat template."""
        prompt = request.prompt
        assert isinstance(prompt, Conversation)
        media = self._checked(prompt.media, fetched) if prompt.media else []
        self._rendering()
        tools = prompt.tools
        source = self._setup.template if tools is None else self._setup.tool_template
        template = self._template(source)
        family = ModelFamily.of(source or "", self._setup.tool_format)

        writer = ConversationText(prompt, media, template, family, self._setup.system)
        left = shortened(prompt.messages, share) if share < 1 else prompt.messages
        messages = writer.messages(left)
        try:
            text = writer.render(left, tools.offered if tools else None)
            written, used = writer.prompt(text, left)
        except TemplateError as error:
            places = prompt.places if share == 1 else []
            raise _placed(error, places, len(messages) - len(left)) from error.__cause__
        begun = messages[-1]["content"] if prompt.continues else ""
        markers = family.reasoning_markers
        opened = markers is not None and (markers.opened_by(text) or markers.left_open_by(begun))
        parallel_calls = family.native_tools if tools is None or tools.parallel is None else tools.parallel
        constraint = request.constraint
        if tools:
            constraint = with_tools(constraint, tools, family.format, parallel_calls)
        constraint = after_thinking(constraint, markers, opened, family.format if tools else None)
        hide_answer = request.max_tokens == 0
        params = GenerationParams(
            sampling=request.sampling,
            max_tokens=1 if hide_answer else request.max_tokens,
            text_bias=request.text_bias,
            prediction=request.prediction or "",
            constraint=constraint,
            thinking=_thinking_budget(prompt.thinking_budget, family, opened, constraint),
            visible_special_tokens=family.visible_special_tokens(tools is not None),
            use_cache=request.use_cache,
        )
        channels = ChannelOptions(
            tools=_encoded(tools.by_name, request.param("tools")) if tools else None,
            parallel_calls=parallel_calls,
            # a stop token may cut a call in its middle
            live=tools is not None and tools.enforced and not request.stop_tokens,
            calls_before=sum(len(message.get("tool_calls") or ()) for message in messages),
            opened=opened,
            begun=bool(begun),
        )
        ignored = _unused(request, prompt, template.variables, family)
        ignored += self._unused_prediction(request, params)
        ignored += unenforced_tools(tools, family.format) if tools else []
        # of what is left of a conversation another place begins each time
        keeps = writer.keeps(text, prefix_ends.keeps(request, text, writer.render)) if share == 1 else []
        work = encode_work([written], params, request.choices, keeps, used, adapters=self._adapters(request))
        prepared = _prepared(request, work, ignored, channels=channels, hide_answer=hide_answer)
        return replace(prepared, truncates=prompt.truncates)

    def _checked(self, sources: list[MediaSource], fetched: Mapping[str, bytes]) -> list[Media]:
        """The media of a request. Raises ApiError 400, and MediaWanted for those that are to be fetched."""
        checks.check_taken(sources, self._info.media)
        return checks.checked(sources, self._limits, fetched, self._kept)

    def _texts(self, request: GenerationRequest) -> Prepared:
        """Continued as they are. An engine generates at least one token, even if it is not returned."""
        prompt = request.prompt
        assert isinstance(prompt, Texts)
        opened = [self._open_middle(text, prompt.suffix) for text in prompt.texts]
        begun = {"each": len(opened), "first": 1, "none": 0}[prompt.bos]
        texts = [*map(self._begun, opened[:begun]), *opened[begun:]]
        for text in texts:
            if isinstance(text, list) and len(text) >= self._info.context:
                raise PromptTooLong(len(text), self._info.context)
        hide_answer = request.max_tokens == 0
        params = GenerationParams(
            sampling=request.sampling,
            max_tokens=1 if hide_answer else request.max_tokens,
            text_bias=request.text_bias,
            echo=prompt.echo,
            prediction=request.prediction or "",
            constraint=request.constraint,
            use_cache=request.use_cache,
        )
        bos_added = [before != text for before, text in zip(prompt.texts, texts, strict=True)]
        ignored = self._unused_prediction(request, params)
        return _prepared(
            request,
            encode_work(texts, params, request.choices, prefix_ends.whole(request), adapters=self._adapters(request)),
            ignored,
            hide_answer=hide_answer,
            bos_added=bos_added if prompt.echo else [],
        )

    def _unused_prediction(self, request: GenerationRequest, params: GenerationParams) -> list[str]:
        """A constrained answer has no use for a prediction, and neither have engines that check no drafts."""
        unused = request.prediction is not None and (not self._info.draft_tokens or params.constraint is not None)
        return [request.param("prediction")] if unused else []

    def _template(self, source: str | None) -> ChatTemplate:
        """The template, compiled once, well or not."""
        if source not in self._compiled:
            self._compiled[source] = self._compile(source)
        template = self._compiled[source]
        if isinstance(template, TemplateError):
            raise template
        return template

    def _compile(self, source: str | None) -> ChatTemplate | TemplateError:
        if source is None:
            return TemplateError("The model has no chat template; start the server with --chat-template FILE.")
        self._compiling(False)
        try:
            return ChatTemplate(source, self._info.bos, self._info.eos, self._info.adds_bos)
        except TemplateError as error:
            return error
        finally:
            self._compiling(True)

    def _open_middle(self, text: str | list[int], suffix: str) -> str | list[int]:
        """With a suffix, what the model continues with the text between both."""
        if not suffix or isinstance(text, list):
            return text
        if self._info.infill is None:
            raise ApiError.unsupported("suffix", "needs a vocabulary with tokens to fill in the middle")
        before, after, middle = self._info.infill
        return before + text + after + suffix + middle

    def _begun(self, text: str | list[int]) -> str | list[int]:
        """A text begins as the model's texts do."""
        if isinstance(text, list) or not self._info.adds_bos or text.startswith(self._info.bos):
            return text
        return self._info.bos + text


def _prepared(
    request: GenerationRequest,
    work: EncodedWork,
    ignored: list[str],
    **output: Any,
) -> Prepared:
    """`output`: those of OutputOptions that depend on the kind of prompt."""
    return Prepared(
        work=work,
        output=OutputOptions(
            stops=request.stops,
            stop_tokens=request.stop_tokens,
            keep_stop=request.keep_stop,
            predicted=request.prediction is not None,
            progress=request.progress,
            **output,
        ),
        streamed=request.stream,
        reply_options=request.reply_options,
        ignored=ignored,
        unknown_model=None,
        keep_alive=request.keep_alive,
        tier=request.tier,
        prefix=prefix_hash.of(request),
    )


def _encoded(tools: Mapping[str, Tool], param: str) -> bytes:
    """The server opens them on its event loop. Raises ApiError where that would take long."""
    encoded = encode_tools(tools)
    if len(encoded) > MAX_TOOLS_BYTES:
        raise ApiError.invalid(param, f"at most {MAX_TOOLS_BYTES} bytes, got {len(encoded)}")
    return encoded


def _placed(error: TemplateError, places: list[str], added: int) -> TemplateError:
    """The error, which calls messages what the protocol does. `added`: messages that come before the request's."""

    def named(match: re.Match[str]) -> str:
        place = int(match[1]) - added
        return places[place] if 0 <= place < len(places) else match[0]

    if not places:
        return error
    words, param = (_MESSAGE.sub(named, text) for text in (str(error), error.param or ""))
    return TemplateError(words, param or None)


def _thinking_budget(
    tokens: int | None, family: ModelFamily, opened: bool, constraint: Constraint | None
) -> ThinkingBudget | None:
    markers = family.reasoning_markers
    if tokens is None or markers is None:
        return None
    return ThinkingBudget(
        max_tokens=tokens,
        open_tag=b"" if opened else markers.open_tag.encode(),
        close_tag=markers.close_tag.encode(),
        closing_text=markers.forced_end,
        call_opening=constraint.call_opening if constraint else b"",
    )


def _unused(
    request: GenerationRequest, prompt: Conversation, variables: frozenset[str], family: ModelFamily
) -> list[str]:
    """The parameters that this model's template has no use for."""
    names = [name for name, sets in prompt.variables_set_by.items() if not variables & {*sets}]
    if prompt.thinking_budget is not None and family.reasoning_markers is None:
        names.append(request.param("thinking_budget"))
    return names


def _kind(info: ModelInfo) -> str:
    """What a model is that generates no text."""
    if info.rerank:
        return "a reranker, which generates no text: it answers POST /v1/rerank"
    return "an embedding model, which generates no text: it answers requests for embeddings"
