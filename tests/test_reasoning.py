"""Reasoning: apart from the content under both names, switched, limited, kept in the history; messages continued."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from asking import TEMPLATE, ask, both
from running import RunningServer

from nitro.engines.backends.fake import FakeTokenizer
from nitro.engines.constraints.grammar import GrammarCompiler
from nitro.engines.constraints.grammar_matcher import GrammarMatcher
from nitro.engines.constraints.min_tokens import MinTokensMatcher
from nitro.engines.constraints.thinking_budget import ThinkingMatcher
from nitro.engines.types import Constraint, ModelInfo, ThinkingBudget
from nitro.text import reasoning
from nitro.text.output_parser import ChannelParser
from nitro.text.reasoning import Markers

THINK = Markers("<think>", "</think>")
TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"x": {"const": 1}},
            "required": ["x"],
            "additionalProperties": False,
        },
    },
}


def post(server: RunningServer, script: str, **body: Any) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": f"␂{script}␃"}], **body}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body)


@pytest.mark.parametrize(
    "script, reasoning, content",
    [
        ("<think>\nHm.\n</think>\n\nYes.", "Hm.", "Yes."),
        (" \n<think></think>Yes.", "", "Yes."),
        ("<think>Hm </thin no", "Hm </thin no", ""),
        ("Yes, <think> is a mark.</think>", "", "Yes, <think> is a mark.</think>"),
        ("<thin", "", "<thin"),
        ("<think>ř🐎</think>ř🐎", "ř🐎", "ř🐎"),
    ],
)
def test_reasoning_is_apart(saying: RunningServer, script: str, reasoning: str, content: str) -> None:
    told = both(saying, script)
    assert (told.reasoning, told.content, told.finish) == (reasoning, content, "stop")


def test_the_prompt_may_open_it(saying: RunningServer) -> None:
    told = both(saying, "Hm.</think>Yes.", extra_body={"enable_thinking": True})
    assert (told.reasoning, told.content) == ("Hm.", "Yes.")
    assert both(saying, "Hm.</think>Yes.", extra_body={"enable_thinking": False}).content == "Hm.</think>Yes."
    assert both(saying, "Hm.</think>Yes.", reasoning_effort="high").reasoning == "Hm."
    assert both(saying, "Hm.</think>Yes.", reasoning_effort="none").reasoning == ""
    kwargs = {"chat_template_kwargs": {"enable_thinking": True}}
    assert both(saying, "Hm.</think>Yes.", extra_body=kwargs).reasoning == "Hm."


def test_usage_counts_its_tokens(saying: RunningServer) -> None:
    usage = post(saying, "<think>Hm.</think>Yes.").json()["usage"]
    assert usage["completion_tokens_details"] == {"reasoning_tokens": len(">Hm.</think>")}
    assert "completion_tokens_details" not in post(saying, "Yes.").json()["usage"]


def test_under_both_names(saying: RunningServer) -> None:
    message = post(saying, "<think>Hm.</think>Yes.", reasoning_format="both").json()["choices"][0]["message"]
    assert (message["reasoning"], message["reasoning_content"], message["content"]) == ("Hm.", "Hm.", "Yes.")
    assert "reasoning" not in post(saying, "<think>Hm.</think>Yes.").json()["choices"][0]["message"]
    assert post(saying, "Yes.", reasoning_format="none").json()["error"]["param"] == "reasoning_format"


@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("budget", [0, 1, 5, 100])
def test_a_budget_ends_it(saying: RunningServer, budget: int, opened: bool) -> None:
    script = "I will think and think</think>Yes."
    options = {"thinking_budget": budget, "enable_thinking": opened}
    told = both(saying, script if opened else "<think>" + script, extra_body=options)
    if budget == 100:
        assert (told.reasoning, told.content) == ("I will think and think", "Yes.")
    else:  # the script goes on where the forced end stopped it
        assert told.reasoning == script[:budget].strip()
        assert told.content


def test_a_budget_before_a_grammar() -> None:
    """The tokens that end it are heard by the constraint, too."""
    tokenizer = FakeTokenizer()
    info = ModelInfo("fake", "", "", 1, 1, 100, 100, 100, 0, 100, 257, frozenset({256}))
    inner = GrammarCompiler(tokenizer, info).matcher(Constraint("choice", '["yes"]', "choice", [b"</think>"]))
    matcher = ThinkingMatcher(ThinkingBudget(3, b"", b"</think>", "</think>"), inner, tokenizer, 257)
    said = []
    while len(said) < 3 + len("</think>yes"):
        mask = matcher.mask()
        assert mask
        token = next(t for t in [*b"xyes", *range(256)] if mask[t // 8] >> t % 8 & 1)
        assert matcher.allows(token) and matcher.accept(token)
        said.append(token)
    assert bytes(said) == b"xxx</think>yes"
    assert matcher.allows(256) and not matcher.allows(ord("x"))


def test_a_budget_is_over_where_a_call_ends_the_reasoning() -> None:
    """The constraint has woken by then, so that no end of the reasoning is forced into the call."""
    tokenizer = FakeTokenizer()
    info = ModelInfo("fake", "", "", 1, 1, 100, 100, 100, 0, 100, 257, frozenset({256}))
    constraint = Constraint("layout", 'start: "<c>" /[0-9]+/', "tools", [b"</think>"], call_opening=b"<c>")
    inner = GrammarCompiler(tokenizer, info).matcher(constraint)
    budget = ThinkingBudget(6, b"", b"</think>", "</think>", b"<c>")
    matcher = ThinkingMatcher(budget, inner, tokenizer, 257)
    assert all(matcher.accept(byte) for byte in b"x<c>")
    assert matcher.active is inner and inner.allows(ord("1")) and not inner.allows(ord("x"))
    assert all(inner.accept(byte) for byte in b"1234") and inner.allows(256)


def test_a_budget_is_no_matter_any_more_once_the_reasoning_is_over() -> None:
    tokenizer = FakeTokenizer()
    inner = ThinkingMatcher(ThinkingBudget(999, b"", b"|", "|"), None, tokenizer, 257)
    for limit, said in (
        (ThinkingBudget(9, b"", b"</t>", "</t>"), b"x</t>"),
        (ThinkingBudget(1, b"", b"</t>", "</t>"), b"x</t>"),
        (ThinkingBudget(3, b"<t>", b"</t>", "</t>"), b"No"),
    ):
        for within in (None, inner):
            matcher = ThinkingMatcher(limit, within, tokenizer, 257)
            for i, byte in enumerate(said):
                assert matcher.active is matcher or (i == 1 and said == b"No")
                assert matcher.allows(byte) and matcher.accept(byte)
            assert matcher.active is within


@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("choice", ["required", "auto"])
def test_an_enforced_call_ends_it(saying: RunningServer, choice: str, opened: bool) -> None:
    """Unclosed, with a budget that is over in the call: the answer ends behind the call, and its schema is kept."""
    parameters = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    tool = {"type": "function", "function": {"name": "f", "strict": True, "parameters": parameters}}
    options = {"tools": [tool], "tool_choice": choice, "max_tokens": 200}
    options["extra_body"] = {"enable_thinking": opened, "thinking_budget": 30}
    call = '<tool_call>\n{"name": "f", "arguments": {"%s": 5}}\n</tool_call>'
    begun = "Hm.\n" if opened else "<think>Hm.\n"
    told = both(saying, begun + call % "n", **options)
    assert (told.content, told.reasoning, told.finish) == ("", "Hm.", "tool_calls")
    assert told.calls == [["f", '{"n": 5}']]
    assert "x" not in "".join(arguments for _, arguments in both(saying, begun + call % "x", **options).calls)


def test_a_constraint_waits_for_its_end(saying: RunningServer) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": {"a": 1}}}}
    for script in ('<think>No "JSON" here</think>\n\n{"a":1}', '{"a":1}'):
        told = both(saying, script, response_format=form)
        assert json.loads(told.content) == {"a": 1}
        assert told.reasoning == ('No "JSON" here' if "think" in script else "")
    opened = {"enable_thinking": True}
    assert json.loads(both(saying, 'Hm.</think>\n\n{"a":1}', response_format=form, extra_body=opened).content) == {
        "a": 1
    }
    assert both(saying, "<think>Hm.</think>b", extra_body={"choice": ["a", "b"]}).content == "b"
    assert both(saying, "<think>Hm.</think>77", extra_body={"regex": "[0-9]+"}).content == "77"


OWED: dict[str, dict[str, Any]] = {
    "response_format": {"response_format": {"type": "json_object"}},
    "json_schema": {"json_schema": {"const": {"a": 1}}},
    "grammar": {"grammar": 'start: "a"'},
    "regex": {"regex": "[a-c]"},
    "choice": {"choice": ["a", "b"]},
    "required": {"tools": [TOOL], "tool_choice": "required"},
    "named": {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    "an answer or calls": {"tools": [TOOL], "response_format": {"type": "json_object"}},
}


def assert_owed(server: RunningServer, script: str, **options: Any) -> None:
    """What is asked for comes, though the model would rather end in its reasoning; or the answer is cut."""
    cut = post(server, script, enable_thinking=True, max_tokens=9, **options).json()["choices"][0]
    assert (cut["finish_reason"], cut["message"]["content"]) == ("length", None)
    options |= {"enable_thinking": True, "thinking_budget": 9, "min_tokens": 3}
    choice = post(server, script, max_tokens=400, **options).json()["choices"][0]
    assert choice["message"]["content"] or choice["message"]["tool_calls"], choice


@pytest.mark.parametrize("name", OWED)
def test_no_answer_ends_in_its_reasoning_that_owes_something(saying: RunningServer, name: str) -> None:
    assert_owed(saying, "Hm.", **OWED[name])
    assert_owed(saying, "Hm.", **OWED[name], n=2)


@pytest.mark.parametrize("engine", ["llama", "mlx"])
def test_on_both_engines_too(serve: Callable[..., RunningServer], model: Path, tmp_path: Path, engine: str) -> None:
    """The model wants nothing but to end."""
    template = tmp_path / "thinking.jinja"
    template.write_text(TEMPLATE)
    server = serve(engine=engine, model=str(model), context=512, chat_template=template).ready()
    end = server.run(server.engine.ready()).eos
    for name in ("json_schema", "choice", "named"):
        assert_owed(server, "", **OWED[name], logit_bias={end: 90}, temperature=0)
    free = post(server, "", enable_thinking=True, logit_bias={end: 90}, temperature=0, max_tokens=9)
    assert free.json()["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("options", [{"tools": [TOOL]}, {}], ids=["strict tools", "nothing"])
def test_an_answer_may_end_in_its_reasoning_that_owes_nothing(saying: RunningServer, options: dict) -> None:
    told = both(saying, "Hm.", extra_body={"enable_thinking": True}, **options)
    assert (told.reasoning, told.content, told.calls, told.finish) == ("Hm.", "", [], "stop")


@pytest.mark.parametrize("owed", [True, False])
@pytest.mark.parametrize("thinks", [None, ("<think>", "</think>")], ids=["opened", "undecided"])
def test_a_constraint_that_sleeps_bars_the_end_if_it_is_owed(thinks: tuple[str, str] | None, owed: bool) -> None:
    """Whatever is around it; by a mask and when asked."""
    tokenizer = FakeTokenizer()
    info = ModelInfo("fake", "", "", 1, 1, 100, 100, 100, 0, 100, 257, frozenset({256}))
    after = [b"<answer>"] if thinks else [b"</think>", b"<answer>"]
    constraint = Constraint("choice", '["yes"]', "choice", after, thinks, required=owed)
    grammars = GrammarCompiler(tokenizer, info)

    def inner() -> GrammarMatcher:
        return grammars.matcher(constraint)

    def limited(budget: int) -> ThinkingMatcher:
        return ThinkingMatcher(ThinkingBudget(budget, b"", b"</think>", "</think>"), inner(), tokenizer, 257)

    for matcher in (inner(), limited(50), MinTokensMatcher(inner(), info), MinTokensMatcher(limited(50), info)):
        for said in b"<think>Hm</think":
            mask = matcher.mask()
            allowed = mask is None or bool(mask[256 // 8] >> 256 % 8 & 1)
            assert matcher.allows(256) == allowed == (not owed and not isinstance(matcher, MinTokensMatcher))
            assert mask is None or int.from_bytes(mask, "little") | 1 << 256 == (1 << 257) - 1
            assert matcher.allows(said) and matcher.accept(said)
        for said in b"><answer>yes":
            assert matcher.allows(said) and matcher.accept(said)
        assert matcher.allows(256) and not matcher.allows(ord("x"))


def test_what_the_template_has_no_use_for_is_told(saying: RunningServer, fake_server: RunningServer) -> None:
    asking = {"enable_thinking": False, "reasoning_effort": "low", "thinking_budget": 5, "max_tokens": 2}
    ignored = post(fake_server, "x", **asking, chat_template_kwargs={"x": 1}).headers["x-nitro-ignored"]
    assert ignored.split(", ") == ["enable_thinking", "reasoning_effort", "chat_template_kwargs.x", "thinking_budget"]
    assert post(saying, "x", enable_thinking=False, thinking_budget=5).headers.get("x-nitro-ignored") is None
    assert post(saying, "x", reasoning_effort="low").headers.get("x-nitro-ignored") is None  # it switches reasoning on
    error = post(saying, "x", chat_template_kwargs={"messages": []}).json()["error"]
    assert error["param"] == "chat_template_kwargs.messages"


def test_the_last_message_is_continued(saying: RunningServer) -> None:
    """Where it is the assistant's; white space at its end is a part of it."""

    def tokens(*messages: dict[str, str], **options: Any) -> int:
        body = {"model": "", "messages": [*messages], "max_tokens": 1, **options}
        return saying.client().chat.completions.create(**body).usage.prompt_tokens

    user, begun = {"role": "user", "content": "␂b␃"}, {"role": "assistant", "content": "It is "}
    assert tokens(user, begun) == tokens(user) + len("It is ")
    assert tokens(user, begun, extra_body={"continue_final_message": False}) > tokens(user, begun)
    assert ask(saying, messages=[user, begun]).content == "b"
    with pytest.raises(openai.BadRequestError) as caught:
        ask(saying, messages=[user], extra_body={"continue_final_message": True})
    assert caught.value.param == "continue_final_message"


def test_what_continues_keeps_its_white_space(saying: RunningServer) -> None:
    """It belongs to the content or the reasoning that the last message has begun."""

    def told(begun: str, script: str, **options: Any) -> tuple[str, str]:
        messages = [{"role": "user", "content": f"␂{script}␃"}, {"role": "assistant", "content": begun}]
        said = both(saying, messages=messages, **options)
        return said.reasoning, said.content

    assert told("def f():", "\n    <think>") == ("", "\n    <think>")
    assert told("", "\n Yes.") == ("", "Yes.")
    assert told("<think>\nHm,", " so.\n</think>\n Yes.") == (" so.", "Yes.")
    assert told("<think>Hm.</think>Yes", ", yes.") == ("", ", yes.")
    assert told("<think>Hm,", " so</think>b", extra_body={"choice": ["a", "b"]}) == (" so", "b")
    assert told("<think>Hm,", " so it is", extra_body={"thinking_budget": 3})[0] == " so"


def test_reasoning_in_the_history(saying: RunningServer) -> None:
    for name in ("reasoning_content", "reasoning"):
        past = {"role": "assistant", "content": "Yes.", name: "Hm."}
        again = {"role": "user", "content": "␂b␃"}
        assert ask(saying, messages=[past, again]).content == "b"


PLAIN = [markers for markers in reasoning.KNOWN if markers.open_tag and not markers.repeats]


@pytest.mark.parametrize("markers", PLAIN, ids=lambda markers: markers.open_tag)
def test_every_split(markers: Markers) -> None:
    text = f"\n{markers.open_tag}\n Hm {markers.close_tag[:-1]} so \n{markers.close_tag}\n\nYes {markers.open_tag}"

    def read(*pieces: str, thinking: bool = False) -> tuple[str, str]:
        parser = ChannelParser(None, {}, markers, thinking)
        deltas = [delta for piece in pieces for delta in parser.feed(piece)] + parser.flush()
        return tuple("".join(d.text for d in deltas if d.channel == c) for c in ("reasoning", "content"))

    expected = f"Hm {markers.close_tag[:-1]} so", f"Yes {markers.open_tag}"
    opened = text.partition(markers.open_tag)[2]
    assert read(*text) == read(*opened, thinking=True) == expected
    for i in range(len(text)):
        assert read(text[:i], text[i:]) == expected
        assert read(opened[:i], opened[i:], thinking=True) == expected


def test_whether_a_prompt_has_opened_it() -> None:
    assert THINK.opened_by("…<assistant><think>\n") and THINK.opened_by("<think>a</think><think>")
    assert not THINK.opened_by("<think>\n\n</think>\n\n") and not THINK.opened_by("<think> is a mark<assistant>")
    assert not THINK.opened_by("")
