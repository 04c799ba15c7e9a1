"""Every chat template of llama.cpp's collection beside transformers' own renderer: the same text.

Where ours does more, the same text is what transformers writes of a conversation that is changed for it; which template
needs which change stands here. `pytest -s -k table` prints them.
"""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import environments
import pytest
import sdist
from conversations import CHANGES, CONVERSATIONS, MOMENT, Conversation, Message

from nitro.api import json_body
from nitro.api.openai.parse import parse_chat
from nitro.api.openai.requests import ChatRequest
from nitro.engines.sampling_defaults import NOTHING
from nitro.errors import ApiError, TemplateError
from nitro.service.intake.conversation_text import with_text
from nitro.text import template
from nitro.text.family import ModelFamily
from nitro.text.message_normalizer import Normalizer
from nitro.text.template import ChatTemplate

pytestmark = pytest.mark.clients

Result = tuple[str | None, str | None]  # its text, or why there is none
Theirs = dict[tuple[str, str, bool], Result]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
PARTS_TAKEN = re.compile(r"What is\s*the weather\?")
EXPLAINED: dict[str, tuple[str, ...]] = {
    "CohereForAI-c4ai-command-r-plus-tool_use": ("empty", "whole"),
    "HuggingFaceTB-SmolLM3-3B": ("told",),
    "LFM2-8B-A1B": ("told",),
    "LFM2.5-Instruct": ("told",),
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": ("empty",),
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": ("empty",),
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": ("told",),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": ("told",),
    "deepseek-ai-DeepSeek-V3.1": ("told",),
    "fireworks-ai-llama-3-firefunction-v2": ("functions",),
    "google-gemma-2-2b-it": ("told",),
    "ibm-granite-granite-3.3-2B-Instruct": ("told",),
    "llama-cpp-rwkv-world": ("told",),
    "meetkai-functionary-medium-v3.2": ("texts",),
    "microsoft-Phi-3.5-mini-instruct": ("told",),
    "upstage-Solar-Open-100B": ("names",),
}
# Templates that transformers cannot render where they write calls, by its words. Ours can.
ONLY_OURS = {
    "Kimi-K2-Instruct": "access to attribute 'append' of 'list' object is unsafe.",
    "Kimi-K2-Thinking": "access to attribute 'append' of 'list' object is unsafe.",
    "llama-cpp-deepseek-r1": "Object of type generator is not JSON serializable",
}


class Clock(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> "Clock":
        return cls(*MOMENT)


@pytest.fixture(scope="module", autouse=True)
def standing_clock() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(template, "datetime", Clock)
        yield


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Theirs:
    """What transformers makes of each template, conversation, and that conversation changed."""
    tasks = {
        (name, title, changed): _task(name, _changed(name, given) if changed else given)
        for name in sdist.templates()
        for title, given in CONVERSATIONS.items()
        for changed in (False, True)
    }
    asked = {"moment": MOMENT, "templates": sdist.templates(), "tasks": list(tasks.values())}
    scratch = tmp_path_factory.mktemp("rendering")
    paths = [scratch / "tasks.json", scratch / "results.json"]
    paths[0].write_text(json.dumps(asked), encoding="utf-8")
    folder = Path(__file__).parent / "renderer"
    command = [environments.python(folder), folder / "render.py", *paths]
    subprocess.run(command, check=True, timeout=environments.TIME_LIMIT)
    results = json.loads(paths[1].read_text(encoding="utf-8"))
    return {task: (text, error) for task, (text, error) in zip(tasks, results, strict=True)}


def _task(name: str, given: Conversation) -> dict[str, Any]:
    about = {"continue_final_message": given.continues, "add_generation_prompt": given.prompts}
    variables = {"tools": given.tools, **about, **TOKENS, **(given.given or {})}
    return {"template": name, "messages": given.messages, "variables": variables}


def _applicable(name: str, given: Conversation) -> list[str]:
    """The changes that transformers may need: those of the conversation, then those of the template."""
    knows = re.search("""['"]developer['"]""", sdist.templates()[name])
    found = {
        "null": any(message["content"] is None for message in given.messages),
        "joined": any(isinstance(message["content"], list) for message in given.messages),
        "developer": not knows and any(message["role"] == "developer" for message in given.messages),
    }
    return [*(change for change, applies in found.items() if applies), *EXPLAINED.get(name, ())]


def _changed(name: str, given: Conversation) -> Conversation:
    for change in _applicable(name, given):
        given = CHANGES[change][1](given, ModelFamily.of(sdist.templates()[name]))
    return replace(given, messages=_normalised(name, given))


def _normalised(name: str, given: Conversation) -> list[Message]:
    """The messages as the template takes them: see tests/test_template_traits.py."""
    messages = [message | {"content": message["content"] or ""} for message in given.messages]
    if any(isinstance(message["content"], list) for message in messages):
        return given.messages
    normalised = Normalizer(_compiled(name), bool(given.tools)).normalized(list(messages))
    return given.messages if normalised == messages else normalised


@cache
def _compiled(name: str) -> ChatTemplate:
    return ChatTemplate(sdist.templates()[name], TOKENS["bos_token"], TOKENS["eos_token"])


def ours(name: str, given: Conversation) -> Result:
    """As a chat request with this conversation has it."""
    compiled, family = _compiled(name), ModelFamily.of(sdist.templates()[name])
    more = {} if given.prompts or given.continues else {"add_generation_prompt": False}
    asked = {"model": "any", "messages": given.messages, "continue_final_message": given.continues}
    body, *_ = json_body.decode(json.dumps({**asked, **(given.variables or {})}).encode(), ChatRequest)
    try:
        prompt = parse_chat(body, NOTHING).prompt
        variables = prompt.variables | more
        messages = [with_text(message, compiled.part_separator) for message in prompt.messages]
        return family.prompt(compiled, messages, given.tools, variables, prompt.continues), None
    except (ApiError, TemplateError) as error:
        return None, str(error)


def compare(name: str, title: str, theirs: Theirs) -> str:
    """ "same", "refused", the names of the changes, or what differs."""
    text, error = ours(name, CONVERSATIONS[title])
    plain, changed = theirs[name, title, False], theirs[name, title, True]
    if text is None:
        return f"ours refuses: {error}; {plain}, changed {changed}"
    if text == plain[0]:
        return "same"
    needed = _applicable(name, CONVERSATIONS[title])
    if "joined" in needed and plain[0] and PARTS_TAKEN.search(plain[0]):
        return f"it takes parts: {text!r}, theirs {plain[0]!r}"
    if text == changed[0]:
        return ", ".join(needed) or NORMALISED
    if changed[0] is None and ONLY_OURS.get(name) == changed[1]:
        return "only ours"
    return f"{text!r}, theirs {plain}, changed {changed}"


NORMALISED = "in a form that it takes"
KNOWN = ("same", "only ours", NORMALISED, *CHANGES)


def differs(result: str) -> bool:
    return not {*result.split(", ")} <= {*KNOWN}


@pytest.mark.parametrize("name", sdist.templates())
def test_it_renders_as_transformers_does(name: str, theirs: Theirs) -> None:
    found = {title: compare(name, title, theirs) for title in CONVERSATIONS}
    wrong = {title: result for title, result in found.items() if differs(result)}
    assert not wrong, wrong
    assert name not in EXPLAINED or any({*EXPLAINED[name]} <= {*result.split(", ")} for result in found.values())
    assert (name in ONLY_OURS) == ("only ours" in found.values())


def test_the_table(theirs: Theirs) -> None:
    """What transformers needed to be given, in how many conversations: nothing is explained that does not happen."""
    seen: Counter[str] = Counter()
    for name in sdist.templates():
        each = [compare(name, title, theirs) for title in CONVERSATIONS]
        counted = Counter("differs" if differs(result) else result for result in each)
        print(f"{name:50.50}", "; ".join(f"{count} {result}" for result, count in counted.most_common()))
        seen.update(counted)
    print(dict(seen))
    assert {change for result in seen for change in result.split(", ")} == {*KNOWN}
