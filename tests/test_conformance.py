"""Each parameter of docs/parameters.md on both engines, in a check of its own: it works, or it is refused by name.

Short: what each does in all its forms, the tests of its own subject tell. Through the OpenAI SDK, on a tiny model.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion
from running import RunningServer

from nitro.api.openai.requests import PARAMETERS, capability
from nitro.engines.types import SAMPLERS
from scripts import parameters

STORY = [{"role": "user", "content": "Tell me a story about the river."}]
EOS = "2"
PERSON = {"type": "object", "properties": {"age": {"enum": [1, 2]}}, "required": ["age"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "count", "parameters": PERSON}}
GREEDY = {"temperature": 0, "max_tokens": 12, "ignore_eos": True}
ENDING = {"temperature": 0, "max_tokens": 9, "logit_bias": {EOS: 100}}


class Asking:
    """A client of one engine."""

    def __init__(self, server: RunningServer):
        self._client = server.client(_strict_response_validation=True)
        self.ignored = ""

    def chat(self, **body: Any) -> ChatCompletion:
        messages = body.pop("messages", STORY)
        told = self._client.chat.completions.with_raw_response.create(model="", messages=messages, extra_body=body)
        self.ignored = told.headers.get("x-nitro-ignored", "")
        return told.parse()

    def said(self, **body: Any) -> str:
        return self.chat(**body).choices[0].message.content or ""

    def text(self, **body: Any) -> Completion:
        return self._client.completions.create(model="", prompt=body.pop("prompt", "The river"), extra_body=body)

    def stream(self, **body: Any) -> list[Any]:
        return list(self._client.chat.completions.create(model="", messages=STORY, stream=True, extra_body=body))

    def refusal(self, **body: Any) -> tuple[str | None, str | None]:
        """param and code of the 400."""
        with pytest.raises(openai.BadRequestError) as caught:
            self.chat(**body)
        return caught.value.param, caught.value.code


@pytest.fixture
def asking(server: RunningServer) -> Iterator[Asking]:
    yield Asking(server)


# Checks, by parameter


def model(a: Asking) -> bool:
    return a.chat(max_tokens=1).model == "tiny"


def most(name: str) -> Callable[[Asking], bool]:
    def check(a: Asking) -> bool:
        reply = a.chat(**{name: 3, "ignore_eos": True})
        return (reply.usage.completion_tokens, reply.choices[0].finish_reason) == (3, "length")

    return check


def stop(a: Asking) -> bool:
    said = a.said(**GREEDY)
    return a.said(**GREEDY, stop=[said[4:7]]) == said[: said.index(said[4:7])]


def stop_token_ids(a: Asking) -> bool:
    tokens = a.chat(**GREEDY, return_tokens=True).choices[0].model_extra["tokens"]
    reply = a.chat(**GREEDY, stop_token_ids=[tokens[5]])
    usage = reply.usage.completion_tokens, tokens.index(tokens[5]) + 1
    return reply.choices[0].finish_reason == "stop" and usage[0] == usage[1]


def keeps_its_stop(a: Asking) -> bool:
    said = a.said(**GREEDY)
    return a.said(**GREEDY, stop=said[4:7], include_stop_str_in_output=True) == said[: said.index(said[4:7]) + 3]


def stream(a: Asking) -> bool:
    return "".join(c.choices[0].delta.content or "" for c in a.stream(**GREEDY)) == a.said(**GREEDY)


def stream_options(a: Asking) -> bool:
    last = a.stream(**GREEDY, stream_options={"include_usage": True})[-1]
    a.chat(max_tokens=1, stream_options={"include_usage": True})
    return last.choices == [] and last.usage.completion_tokens == 12 and a.ignored == "stream_options"


def best_of(a: Asking) -> bool:
    reply = a.text(best_of=3, n=2, max_tokens=4, ignore_eos=True)
    return len(reply.choices) == 2 and reply.usage.completion_tokens == 12


def suffix(a: Asking) -> bool:
    with pytest.raises(openai.BadRequestError) as caught:
        a.text(suffix="sea.")
    return caught.value.param == "suffix"  # the tiny vocabulary has no tokens for it


def logprobs(a: Asking) -> bool:
    return len(a.chat(**GREEDY, logprobs=True).choices[0].logprobs.content) == 12


def top_logprobs(a: Asking) -> bool:
    scored = a.chat(**GREEDY, logprobs=True, top_logprobs=2).choices[0].logprobs.content
    return all(len(each.top_logprobs) == 2 and each.top_logprobs[0].token == each.token for each in scored)


def continue_final_message(a: Asking) -> bool:
    begun = [*STORY, {"role": "assistant", "content": "Once"}]
    on, off = (a.chat(messages=begun, max_tokens=1, continue_final_message=way) for way in (True, False))
    return on.usage.prompt_tokens < off.usage.prompt_tokens


def seed(a: Asking) -> bool:
    first, same, other = (a.said(max_tokens=9, ignore_eos=True, seed=number) for number in (1, 1, 2))
    return first == same != other


def logit_bias(a: Asking) -> bool:
    first = a.chat(**GREEDY, return_tokens=True).choices[0].model_extra["tokens"][0]
    banned = a.chat(**GREEDY, return_tokens=True, logit_bias={str(first): -100}).choices[0]
    return first not in banned.model_extra["tokens"]


def service_tier(a: Asking) -> bool:
    """What it does to others is in test_users and test_fair_shares."""
    told = a.chat(max_tokens=1, service_tier="flex").service_tier
    return told == "flex" and a.refusal(service_tier="fast")[0] == "service_tier"


def changes(**body: Any) -> Callable[[Asking], bool]:
    """An answer that repeats itself: it has ten tokens to choose from."""
    digits = {"temperature": 0, "regex": "[0-9]{12}"}
    return lambda a: a.said(**digits, **body) != a.said(**digits)


def changes_nothing(**body: Any) -> Callable[[Asking], bool]:
    return lambda a: a.said(**GREEDY, **body) == a.said(**GREEDY)


def keeps_the_best(**body: Any) -> Callable[[Asking], bool]:
    return lambda a: a.said(**{**GREEDY, "temperature": 5.0}, **body) == a.said(**GREEDY)


def is_one(**body: Any) -> Callable[[Asking], bool]:
    """Whatever the seed."""
    return lambda a: len({a.said(**{**GREEDY, "temperature": 1.0}, seed=number, **body) for number in (1, 2, 3)}) == 1


def is_person(**body: Any) -> Callable[[Asking], bool]:
    return lambda a: json.loads(a.said(seed=1, **body)) in ({"age": 1}, {"age": 2})


def says(expected: str, **body: Any) -> Callable[[Asking], bool]:
    return lambda a: a.said(**body) == expected


def opens_objects(a: Asking) -> bool:
    """Where a comma is likelier than all else, an open object goes on after its only property."""
    listed = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}
    biases = {",": 100, **dict.fromkeys('{}":1a', 90)}
    body = {"json_schema": listed, "temperature": 0, "max_tokens": 40, "logit_bias": biases}
    closed, opened = (a.said(**body, disable_additional_properties=value) for value in (True, False))
    return json.loads(closed) == {"a": 1} and "," in opened


def calls(**body: Any) -> Callable[[Asking], bool]:
    def check(a: Asking) -> bool:
        choice = a.chat(tools=[TOOL], seed=1, **body).choices[0]
        found = {(call.function.name, json.loads(call.function.arguments)["age"]) for call in choice.message.tool_calls}
        return choice.finish_reason == "tool_calls" and found <= {("count", 1), ("count", 2)}

    return check


def function_call(a: Asking) -> bool:
    choice = a.chat(functions=[TOOL["function"]], function_call={"name": "count"}, seed=1).choices[0]
    return (choice.finish_reason, choice.message.function_call.name) == ("function_call", "count")


def is_ignored(name: str, value: Any) -> Callable[[Asking], bool]:
    """The tiny model's template has no use for it, and that is told."""

    def check(a: Asking) -> bool:
        a.chat(max_tokens=1, **{name: value})
        return name in a.ignored

    return check


def cache_prompt(a: Asking) -> bool:
    warm, cold = a.chat(max_tokens=1), a.chat(max_tokens=1, cache_prompt=False)
    cached = [reply.usage.prompt_tokens_details.cached_tokens for reply in (a.chat(max_tokens=1), cold)]
    return warm.usage.prompt_tokens > 1 and cached[0] > 0 == cached[1]


def stays(name: str, value: Any, wrong: Any, param: str) -> Callable[[Asking], bool]:
    """The reply tells how much of the prompt was computed and stays. A crowd that it outlasts: test_kept_prefixes."""
    new = [{"role": "user", "content": f"{name} is how this long and otherwise unused prompt begins, and it stays."}]

    def check(a: Asking) -> bool:
        first, again = (a.chat(messages=new, max_tokens=1, **{name: value}).usage for _ in range(2))
        written = first.prompt_tokens_details.cache_write_tokens, again.prompt_tokens_details.cache_write_tokens
        computed = first.prompt_tokens - first.prompt_tokens_details.cached_tokens
        return written == (computed - 1, None) and a.refusal(**{name: wrong})[0] == param

    return check


FORMAT = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
CHECKS: dict[str, Callable[[Asking], bool]] = {
    "messages": lambda a: len(a.said(**GREEDY)) > 5,
    "prompt": lambda a: len(a.text(prompt=["The river", "A sea"], max_tokens=2).choices) == 2,
    "model": model,
    "max_completion_tokens": most("max_completion_tokens"),
    "max_tokens": most("max_tokens"),
    "min_tokens": lambda a: a.chat(**ENDING, min_tokens=5).usage.completion_tokens == 6,
    "ignore_eos": lambda a: a.chat(**ENDING, ignore_eos=True).usage.completion_tokens == 9,
    "n": lambda a: [c.index for c in a.chat(n=3, max_tokens=2).choices] == [0, 1, 2],
    "best_of": best_of,
    "stop": stop,
    "stop_token_ids": stop_token_ids,
    "include_stop_str_in_output": keeps_its_stop,
    "stream": stream,
    "stream_options": stream_options,
    "echo": lambda a: a.text(echo=True, max_tokens=0).choices[0].text == "The river",
    "suffix": suffix,
    "logprobs": logprobs,
    "top_logprobs": top_logprobs,
    "prediction": lambda a: changes_nothing(prediction={"type": "content", "content": a.said(**GREEDY)})(a),
    "continue_final_message": continue_final_message,
    "seed": seed,
    "logit_bias": logit_bias,
    "repetition_penalty": changes(repetition_penalty=50, repeat_last_n=-1),
    "repeat_penalty": changes(repeat_penalty=50, repeat_last_n=-1),
    "frequency_penalty": changes(frequency_penalty=2, repeat_last_n=-1),
    "presence_penalty": changes(presence_penalty=2, repeat_last_n=-1),
    "repeat_last_n": changes_nothing(repetition_penalty=50, repeat_last_n=0),
    "dry_multiplier": changes(dry_multiplier=100, dry_base=10, dry_allowed_length=0, dry_sequence_breakers=[]),
    "dry_base": changes_nothing(dry_base=10),
    "dry_allowed_length": changes_nothing(dry_multiplier=100, dry_allowed_length=500),
    "dry_penalty_last_n": changes_nothing(dry_multiplier=100, dry_allowed_length=0, dry_penalty_last_n=0),
    "dry_sequence_breakers": lambda a: a.refusal(dry_sequence_breakers=["a"] * 17)[0] == "dry_sequence_breakers",
    "top_n_sigma": keeps_the_best(top_n_sigma=1e-6),
    "top_k": keeps_the_best(top_k=1),
    "typical_p": is_one(typical_p=1e-4),
    "top_p": keeps_the_best(top_p=1e-4),
    "min_p": keeps_the_best(min_p=1),
    "xtc_probability": is_one(top_k=2, xtc_probability=1, xtc_threshold=0),
    "xtc_threshold": lambda a: not is_one(top_k=2, xtc_probability=1, xtc_threshold=0.51)(a),
    "temperature": lambda a: a.said(**GREEDY, seed=4) == a.said(**GREEDY, seed=5),
    "dynatemp_range": lambda a: (
        a.said(**{**GREEDY, "temperature": 3.0}, dynatemp_range=3.0, dynatemp_exponent=100) == a.said(**GREEDY)
    ),
    "dynatemp_exponent": changes_nothing(dynatemp_exponent=100),
    "mirostat": is_one(mirostat=2, mirostat_tau=0, mirostat_eta=1),
    "mirostat_tau": changes_nothing(mirostat_tau=1),
    "mirostat_eta": changes_nothing(mirostat_eta=1),
    "response_format": is_person(response_format=FORMAT),
    "json_schema": is_person(json_schema=PERSON),
    "grammar": says("yes", grammar='root ::= "yes"'),
    "regex": says("aaa", regex="a{3}"),
    "choice": says("yes", choice=["yes"]),
    "disable_additional_properties": opens_objects,
    "tools": calls(tool_choice="required"),
    "tool_choice": calls(tool_choice={"type": "function", "function": {"name": "count"}}),
    "parallel_tool_calls": calls(tool_choice="required", parallel_tool_calls=False),
    "functions": function_call,
    "function_call": function_call,
    "reasoning_effort": is_ignored("reasoning_effort", "high"),
    "reasoning_format": lambda a: a.refusal(reasoning_format="none")[0] == "reasoning_format",
    "enable_thinking": is_ignored("enable_thinking", True),
    "thinking_budget": is_ignored("thinking_budget", 5),
    "chat_template_kwargs": is_ignored("chat_template_kwargs", {"mood": "good"}),
    "keep_alive": lambda a: changes_nothing(keep_alive="5m")(a) and a.refusal(keep_alive="soon")[0] == "keep_alive",
    "service_tier": service_tier,
    "lora": lambda a: changes_nothing(lora=[])(a) and a.refusal(lora=[{"id": 0, "scale": 1}])[0] == "lora[0].id",
    "cache_prompt": cache_prompt,
    "prompt_cache_key": stays("prompt_cache_key", "a", {}, "prompt_cache_key"),
    "prompt_cache_retention": stays("prompt_cache_retention", "24h", "1h", "prompt_cache_retention"),
    "prompt_cache_options": stays("prompt_cache_options", {"ttl": "30m"}, {"ttl": "1"}, "prompt_cache_options.ttl"),
    "cache_control": stays("cache_control", {"type": "ephemeral"}, {"type": "a"}, "cache_control.type"),
    "return_tokens": lambda a: len(a.chat(**GREEDY, return_tokens=True).choices[0].model_extra["tokens"]) == 12,
    "timings_per_token": lambda a: all(
        c.model_extra["timings"] for c in a.stream(**GREEDY, timings_per_token=True)[1:]
    ),
    "include_reasoning": changes_nothing(include_reasoning=False),
}


@pytest.mark.parametrize("name", CHECKS)
def test_it_works_or_is_refused(asking: Asking, server: RunningServer, name: str) -> None:
    """A sampler that an engine has not is refused by its name; what tunes it does nothing alone, and that is told."""
    able = parameters.ENGINES[{"llama": "llama.cpp", "mlx": "MLX"}[server.engine.spec.engine]]
    sampler = capability(name) if capability(name) in SAMPLERS else None
    if sampler == name and name not in able:
        assert asking.refusal(**{name: 1}) == (name, "unsupported_parameter")
        asking.chat(**{name: 0}, max_tokens=1)
        assert name not in asking.ignored
    elif sampler and sampler not in able:
        value = ["a"] if name == "dry_sequence_breakers" else 1
        assert is_ignored(name, value)(asking) and asking.ignored == name
        assert asking.refusal(**{sampler: 1, name: value}) == (sampler, "unsupported_parameter")
    else:
        assert CHECKS[name](asking)


WHOLE: dict[str, tuple[str, dict[str, Any], Callable[[Any], str]]] = {
    "Responses": (
        "/responses",
        {"input": STORY, "max_output_tokens": 12, "store": False},
        lambda reply: "".join(part["text"] for item in reply["output"] for part in item["content"]),
    ),
    "Messages": (
        "/messages",
        {"messages": STORY, "max_tokens": 12},
        lambda reply: "".join(block["text"] for block in reply["content"]),
    ),
    "Ollama": (
        "/../api/chat",
        {"messages": STORY, "stream": False, "options": {"num_predict": 12, "temperature": 0}},
        lambda reply: str(reply["message"]["content"]),
    ),
}


@pytest.mark.parametrize("protocol", WHOLE)
def test_every_protocol_says_what_chat_says(server: RunningServer, asking: Asking, protocol: str) -> None:
    """Whole, on a real engine, whose last token comes otherwise than those that are passed on."""
    path, body, text_of = WHOLE[protocol]
    own = {} if protocol == "Ollama" else {"temperature": 0, "ignore_eos": True}
    url = f"{server.url}{path}".replace("/v1/..", "")
    reply = server.client().post(url, body={"model": "", **body, **own}, cast_to=object)
    said = asking.said(temperature=0, max_tokens=12) if protocol == "Ollama" else asking.said(**GREEDY)
    assert text_of(reply) == said and len(said) > 5


def test_each_row_has_its_check() -> None:
    assert CHECKS.keys() == PARAMETERS.keys()


def test_the_engines_columns_are_what_the_engines_say(server: RunningServer) -> None:
    column = {"llama": "llama.cpp", "mlx": "MLX"}[server.engine.spec.engine]
    assert parameters.ENGINES[column] == server.engine.info.samplers


def test_the_file_is_written_by_the_table() -> None:
    assert parameters.FILE.read_text() == parameters.text(), "make docs writes it"
