"""What becomes of the names that other servers and SDKs know: mapped, harmless or refused, at every depth of a body."""

import contextlib
import importlib.util
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Required

import httpx
import msgspec
import openai.types.chat.completion_create_params as chat_params
import openai.types.completion_create_params as completion_params
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessage
from running import CEILING, RunningServer
from sdk_fields import unknown
from typing_extensions import TypedDict

from nitro.api import json_body
from nitro.api.names import Harmless, Known, Mapped, Opened, Refused, asks
from nitro.api.openai.names import harmless, inside, mapped, refused, sources, tables
from nitro.api.openai.parse import read_chat, read_completion
from nitro.api.openai.requests import ChatRequest, CompletionRequest, Message, Part, StreamOptions
from nitro.api.openapi import document
from nitro.engines.sampling_defaults import NOTHING
from nitro.engines.types import SAMPLERS, ModelInfo
from nitro.errors import ApiError
from nitro.models.setup import ModelSetup
from nitro.service.requests import GenerationRequest
from scripts import parameters

HELLO = [{"role": "user", "content": "Hello."}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
INFO = ModelInfo(
    engine="fake",
    device="",
    layers="",
    slots=1,
    parallel=1,
    context=4096,
    trained_context=4096,
    kv_tokens=4096,
    kv_bytes=0,
    step_tokens=512,
    vocabulary=1000,
    eog=frozenset({2}),
    samplers=frozenset(SAMPLERS),
)
SETUP = ModelSetup(INFO, ["fake"], None, None, None, NOTHING)


def chat(**fields: Any) -> GenerationRequest:
    return read_chat(json.dumps({"messages": HELLO, "seed": 1, **fields}).encode(), SETUP)


def text(**fields: Any) -> GenerationRequest:
    return read_completion(json.dumps({"prompt": "Hello.", "seed": 1, **fields}).encode(), SETUP)


def refusal(read: Callable[..., GenerationRequest] = chat, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(**fields)
    assert caught.value.status == 400 and str(caught.value).endswith((".", "?"))
    assert caught.value.param is None or f"'{caught.value.param}'" in str(caught.value)
    return caught.value


def meaning(request: GenerationRequest) -> GenerationRequest:
    """What a request asks for, whatever its parameters were called."""
    if request.constraint:
        constraint = msgspec.structs.replace(request.constraint, param="")
        request = msgspec.structs.replace(request, constraint=constraint)
    prompt = request.prompt
    if hasattr(prompt, "variables_set_by"):
        prompt = msgspec.structs.replace(prompt, variables_set_by={})
    return msgspec.structs.replace(request, prompt=prompt, param_names={})


# The tables


def rows() -> Iterator[tuple[str, Known]]:
    stack: list[tuple[str, Mapping[str, Known]]] = [("", table) for table in (tables.CHAT, tables.COMPLETION)]
    for name in ("MESSAGE", "PART", "STREAM_OPTIONS"):
        stack.append((f"{name}.", getattr(inside, name)))
    for name in ("TOOL", "FUNCTION", "TOOL_CALL", "CALLED_FUNCTION", "TOOL_CHOICE"):
        stack.append((f"{name}.", getattr(inside, name).known))
    while stack:
        before, table = stack.pop()
        for name, row in table.items():
            yield before + name, row
            if isinstance(row, Opened):
                stack.append((f"{before}{name}.", row.inside))


@pytest.mark.parametrize("struct", [ChatRequest, CompletionRequest, Message, Part, StreamOptions])
def test_no_name_is_ours_and_another_s(struct: type[msgspec.Struct]) -> None:
    own = {field.name for field in msgspec.structs.fields(struct)}
    known: Mapping[str, Known] = struct.known  # type: ignore[attr-defined]
    assert not own & known.keys()
    for name, row in known.items():
        targets = [row, *row.inside.values()] if isinstance(row, Opened) else [row]
        for each in targets:
            if isinstance(each, Mapped) and each.to:
                assert each.to.partition(".")[0] in own, name


def test_no_name_stands_in_two_tables() -> None:
    groups = (mapped.COMMON, harmless.COMMON, refused.COMMON)
    for one, other in ((chat_only, both) for chat_only in (mapped.CHAT, refused.CHAT) for both in groups):
        assert not one.keys() & other.keys()
    assert sum(map(len, groups)) == len({name for group in groups for name in group})
    assert not (mapped.COMPLETION.keys() | refused.COMPLETION.keys()) & {name for group in groups for name in group}


def test_each_row_says_where_it_is_from_and_what_to_do() -> None:
    for name, row in rows():
        assert row.sources and set(row.sources) <= set(sources.WHERE), name
        assert not row.note or (row.note.endswith(".") and len(row.note) <= 100), name


OPENINGS: dict[str, inside.Opening] = {
    "tools[]": inside.TOOL,
    "functions[]": inside.FUNCTION,
    "tool_choice": inside.TOOL_CHOICE,
    "function_call": inside.REQUEST["function_call"],
    "response_format": inside.RESPONSE_FORMAT,
    "messages[].tool_calls[]": inside.TOOL_CALL,
    "messages[].function_call": inside.CALLED_FUNCTION,
}


def test_all_that_the_sdk_sends_to_a_chat_is_known() -> None:
    types = chat_params.CompletionCreateParamsStreaming, chat_params.CompletionCreateParamsNonStreaming
    assert unknown(ChatRequest, *types, openings=OPENINGS) == set()


def test_all_that_the_sdk_sends_to_a_text_completion_is_known() -> None:
    types = completion_params.CompletionCreateParamsStreaming, completion_params.CompletionCreateParamsNonStreaming
    assert unknown(CompletionRequest, *types) == set()


def test_a_message_of_a_reply_may_be_sent_back() -> None:
    calls = {"tool_calls[]": inside.TOOL_CALL, "function_call": inside.CALLED_FUNCTION}
    assert unknown(Message, ChatCompletionMessage, openings=calls) == set()


def test_every_request_of_a_route_is_in_the_docs() -> None:
    described = {*parameters.SECTIONS.values(), *(s for p in parameters.PROTOCOLS for s in p.requests.values())}
    bodies = {operation.body for operation in document.OPERATIONS.values() if operation.body}
    assert {body.__name__ for body in bodies - described} == set()


class Inner(TypedDict, total=False):
    text: str
    new: int


class Sent(TypedDict, total=False):
    role: Required[str]
    content: str | Iterable[Inner]
    thinking: Inner
    tool_calls: list[Inner]


def test_a_new_field_of_an_sdk_is_told_by_its_path() -> None:
    calls = {"tool_calls[]": inside.TOOL_CALL}
    assert unknown(Message, Sent, openings=calls) == {"content[].new", "tool_calls[].text", "tool_calls[].new"}
    assert unknown(Message, Sent, free=["tool_calls[]"]) == {"content[].new"}
    assert unknown(Message, Sent) == {"content[].new", "tool_calls[] (opaque)"}
    with pytest.raises(AssertionError, match="other"):
        unknown(Message, Sent, free=["other"])


# What servers take besides OpenAI's own, as it was when their sources were read.
READ = {
    "vLLM": """
        top_k min_p repetition_penalty stop_token_ids include_stop_str_in_output ignore_eos min_tokens use_beam_search
        length_penalty watermarking skip_special_tokens spaces_between_special_tokens truncate_prompt_tokens
        truncation_side prompt_logprobs logprob_token_ids allowed_token_ids bad_words echo add_generation_prompt
        continue_final_message add_special_tokens documents chat_template chat_template_kwargs media_io_kwargs
        mm_processor_kwargs structured_outputs priority request_id session_id return_tokens_as_token_ids
        return_token_ids routed_experts_prompt_start return_token_offsets return_prompt_text return_mm_kwargs cache_salt
        kv_transfer_params ec_transfer_params vllm_xargs repetition_detection stream_interval thinking_token_budget
        include_reasoning best_of logits_processors prompt_embeds early_stopping guided_json guided_regex guided_choice
        guided_grammar guided_decoding_backend guided_whitespace_pattern
    """,
    "SGLang": """
        return_hidden_states return_routed_experts routed_experts_start_len return_cached_tokens_details
        return_token_ids return_prompt_token_ids return_meta_info task top_k min_p min_tokens regex ebnf stop_token_ids
        repetition_penalty stop_regex no_stop_trim ignore_eos continue_final_message skip_special_tokens lora_path
        session_id
        session_params separate_reasoning stream_reasoning chat_template_kwargs max_dynamic_patch min_dynamic_patch
        use_audio_in_video images_config custom_logit_processor custom_params input_ids rid extra_key cache_salt
        ngram_corpus_id priority bootstrap_host bootstrap_port bootstrap_room routed_dp_rank disagg_prefill_dp_rank
        data_parallel_rank custom_labels json_schema reasoning max_new_tokens min_new_tokens sampling_seed
    """,
    "llama-server": """
        verbose timings_per_token cache_prompt return_tokens return_progress sse_ping_interval n_predict n_indent n_keep
        n_discard n_cmpl n_cache_reuse t_max_predict_ms response_fields top_k top_p min_p top_n_sigma xtc_probability
        xtc_threshold typical_p temperature dynatemp_range dynatemp_exponent repeat_last_n repeat_penalty
        frequency_penalty presence_penalty dry_multiplier dry_base dry_allowed_length dry_penalty_last_n mirostat
        mirostat_tau mirostat_eta adaptive_target adaptive_decay seed n_probs min_keep backend_sampling
        post_sampling_probs dry_sequence_breakers json_schema grammar grammar_type grammar_lazy chat_format
        reasoning_format generation_prompt parse_tool_calls chat_parser continue_final_message echo preserved_tokens
        grammar_triggers reasoning_control reasoning_budget_tokens reasoning_budget_start_tag reasoning_budget_end_tags
        reasoning_budget_end_tag reasoning_budget_message logit_bias ignore_eos stop samplers speculative.n_max
        speculative.n_min speculative.p_min speculative.type thinking_budget_tokens add_generation_prompt id_slot
        chat_template_kwargs reasoning_in_content thinking_forced_open
    """,
    "Ollama": """
        system template context raw format keep_alive images options think truncate shift _debug_render_only reasoning
        reasoning_effort num_keep num_predict typical_p num_ctx num_batch num_gpu main_gpu use_mmap num_thread
        draft_num_predict
    """,
    "LM Studio": "top_k repeat_penalty ttl draft_model",
    "OpenRouter": """
        cache_control debug image_config models plugins prompt_cache_options provider reasoning repetition_penalty route
        session_id stop_server_tools_when top_a trace include_reasoning structured_outputs verbosity transforms usage
        safe_prompt raw_mode
    """,
}


@pytest.mark.parametrize("server", READ)
def test_all_that_other_servers_take_is_known(server: str) -> None:
    ours = {field.name for field in msgspec.structs.fields(ChatRequest)}
    assert set(READ[server].split()) <= ours | tables.CHAT.keys()


def test_all_that_the_installed_mlx_lm_server_takes_is_known() -> None:
    found = importlib.util.find_spec("mlx_lm")
    if found is None or not found.submodule_search_locations:
        pytest.skip("mlx-lm is not installed")
    source = (Path(found.submodule_search_locations[0]) / "server.py").read_text()
    names = set(re.findall(r'\bbody\.get\(\s*"(\w+)"', source))
    ours = {field.name for field in msgspec.structs.fields(ChatRequest)}
    assert len(names) > 15 and names <= ours | tables.CHAT.keys()


# Mapped: a body with another server's names asks for what one with ours does


SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"n_predict": 5}, {"max_tokens": 5}),
    ({"n_predict": -1}, {}),
    ({"n_predict": -1, "max_tokens": 5}, {"max_tokens": 5}),
    ({"num_predict": -2}, {}),
    ({"num_predict": 5, "max_tokens": 5}, {"max_tokens": 5}),
    ({"max_new_tokens": "5"}, {"max_tokens": 5}),
    ({"max_output_tokens": 5.0}, {"max_tokens": 5}),
    ({"max_tokens_to_sample": 5, "n_predict": None}, {"max_tokens": 5}),
    ({"min_new_tokens": 2}, {"min_tokens": 2}),
    ({"n_cmpl": 2}, {"n": 2}),
    ({"stop_sequences": ["a", "b"]}, {"stop": ["a", "b"]}),
    ({"no_stop_trim": True, "stop": "a"}, {"include_stop_str_in_output": True, "stop": "a"}),
    ({"random_seed": 7, "seed": None}, {"seed": 7}),
    ({"sampling_seed": 10**30 + 1, "seed": None}, {"seed": 10**30 + 1}),
    ({"repetition_context_size": 20}, {"repeat_last_n": 20}),
    ({"repetition_context_size": 0}, {"repeat_last_n": -1}),
    ({"repetition_context_size": 9, "presence_context_size": 9, "frequency_context_size": 9}, {"repeat_last_n": 9}),
    ({"guided_json": SCHEMA}, {"json_schema": SCHEMA}),
    ({"guided_json": json.dumps(SCHEMA)}, {"json_schema": SCHEMA}),
    ({"guided_regex": "[0-9]+"}, {"regex": "[0-9]+"}),
    ({"guided_choice": ["yes", "no"]}, {"choice": ["yes", "no"]}),
    ({"guided_grammar": 'root ::= "a"'}, {"grammar": 'root ::= "a"'}),
    ({"guided_json_object": True}, {"response_format": {"type": "json_object"}}),
    ({"guided_json_object": False}, {}),
    ({"guided_json": None, "guided_choice": ["a"]}, {"choice": ["a"]}),
    ({"structured_outputs": {"json": SCHEMA}}, {"json_schema": SCHEMA}),
    ({"structured_outputs": {"regex": "[0-9]+"}}, {"regex": "[0-9]+"}),
    ({"structured_outputs": {"choice": ["yes", "no"], "disable_fallback": True}}, {"choice": ["yes", "no"]}),
    ({"structured_outputs": {"grammar": 'root ::= "a"', "json": None}}, {"grammar": 'root ::= "a"'}),
    ({"structured_outputs": {"json_object": True}}, {"response_format": {"type": "json_object"}}),
    (
        {"structured_outputs": {"json": SCHEMA, "disable_additional_properties": False}},
        {"json_schema": SCHEMA, "disable_additional_properties": False},
    ),
    ({"structured_outputs": {}}, {}),
    ({"structured_outputs": True, "json_schema": SCHEMA}, {"json_schema": SCHEMA}),
    ({"ebnf": 'root ::= "a"'}, {"grammar": 'root ::= "a"'}),
    ({"ttl": 300}, {"keep_alive": 300}),
    ({"format": "json"}, {"response_format": {"type": "json_object"}}),
    ({"format": SCHEMA}, {"json_schema": SCHEMA}),
    ({"format": ""}, {}),
    (
        {"options": {"temperature": 0.5, "num_predict": 5, "repeat_penalty": 1.2, "stop": ["a"], "num_gpu": 99}},
        {"temperature": 0.5, "max_tokens": 5, "repeat_penalty": 1.2, "stop": ["a"]},
    ),
]
SAME_CHAT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"reasoning": {"effort": "high"}}, {"reasoning_effort": "high"}),
    ({"reasoning": {"effort": "none", "exclude": False}}, {"reasoning_effort": "none", "include_reasoning": True}),
    ({"reasoning": {"max_tokens": 50, "enabled": True}}, {"thinking_budget": 50, "enable_thinking": True}),
    ({"reasoning": {"enabled": False, "exclude": True}}, {"enable_thinking": False, "include_reasoning": False}),
    ({"reasoning": {"effort": "low", "summary": "auto"}, "reasoning_effort": "low"}, {"reasoning_effort": "low"}),
    ({"reasoning": {}}, {}),
    ({"thinking": {"type": "disabled"}}, {"enable_thinking": False}),
    ({"thinking": {"type": "enabled", "budget_tokens": 50}}, {"enable_thinking": True, "thinking_budget": 50}),
    ({"thinking": {"type": "adaptive", "display": "summarized"}}, {}),
    (
        {"thinking": {"type": "enabled", "clear_thinking": False}, "chat_template_kwargs": {"a": 1}},
        {"enable_thinking": True, "chat_template_kwargs": {"a": 1, "clear_thinking": False}},
    ),
    ({"thinking": True}, {"enable_thinking": True}),
    ({"think": False}, {"enable_thinking": False}),
    ({"think": "low"}, {"reasoning_effort": "low"}),
    ({"thinking_token_budget": 0}, {"thinking_budget": 0}),
    ({"thinking_budget_tokens": -1}, {"thinking_budget": -1}),
    ({"reasoning_budget": 5, "reasoning_budget_tokens": 5}, {"thinking_budget": 5}),
    ({"documents": [{"text": "a"}]}, {"chat_template_kwargs": {"documents": [{"text": "a"}]}}),
    ({"n_probs": 3}, {"logprobs": True, "top_logprobs": 3}),
    ({"n_probs": 0}, {}),
    ({"add_generation_prompt": True}, {"continue_final_message": False}),
    (
        {"messages": [*HELLO, {"role": "assistant", "thinking": "Hm.", "content": "a"}]},
        {"messages": [*HELLO, {"role": "assistant", "reasoning_content": "Hm.", "content": "a"}]},
    ),
    (
        {"messages": [{"role": "tool", "tool_name": "f", "content": "a"}]},
        {"messages": [{"role": "tool", "name": "f", "content": "a"}]},
    ),
    (
        {"messages": [{"role": "assistant", "content": None, "refusal": "No."}]},
        {"messages": [{"role": "assistant", "content": "No."}]},
    ),
]
CONTINUED = [*HELLO, {"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(("given", "ours"), SAME + SAME_CHAT, ids=lambda fields: json.dumps(fields)[:50])
def test_a_chat_with_other_names(given: dict[str, Any], ours: dict[str, Any]) -> None:
    request = chat(**given)
    assert meaning(request) == meaning(chat(**ours)) and request.ignored == []


@pytest.mark.parametrize(
    ("given", "ours"),
    [*SAME, ({"max_completion_tokens": 5}, {"max_tokens": 5}), ({"n_probs": 3}, {"logprobs": 3})],
    ids=lambda fields: json.dumps(fields)[:50],
)
def test_a_text_with_other_names(given: dict[str, Any], ours: dict[str, Any]) -> None:
    request = text(**given)
    assert meaning(request) == meaning(text(**ours)) and request.ignored == []


def test_the_pair_by_which_vllm_continues_a_message() -> None:
    pair = chat(messages=CONTINUED, add_generation_prompt=False, continue_final_message=True)
    assert meaning(pair) == meaning(chat(messages=CONTINUED))
    assert refusal(add_generation_prompt=False).param == "add_generation_prompt"
    both = refusal(messages=CONTINUED, add_generation_prompt=True, continue_final_message=True)
    assert "mean the same" in str(both)


def test_each_mapped_name_is_tried() -> None:
    tried = {name for given, _ in SAME + SAME_CHAT for name in given}
    names = {name for table in (mapped.COMMON, mapped.CHAT) for name in table}
    assert names - {"add_generation_prompt"} <= tried


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"n_predict": 0}, "n_predict", "at least 1, got 0"),
        ({"n_predict": "many"}, "n_predict", "Invalid type"),
        ({"max_new_tokens": {}}, "max_new_tokens", "Invalid type"),
        ({"num_predict": 3, "min_tokens": 5}, "min_tokens", "at most max_tokens"),
        ({"guided_json": "{"}, "guided_json", "a JSON schema"),
        ({"guided_json": [1]}, "guided_json", "a JSON schema"),
        ({"guided_choice": []}, "guided_choice", "one text or more"),
        ({"guided_choice": "yes"}, "guided_choice", "Invalid type"),
        ({"structured_outputs": {"choice": [1]}}, "structured_outputs.choice[0]", "Invalid type"),
        ({"structured_outputs": {"choice": ["a"], "regex": "b"}}, "structured_outputs.choice", "nothing beside"),
        ({"structured_outputs": 5}, "structured_outputs", "an object"),
        ({"structured_outputs": {"structural_tag": "a"}}, "structured_outputs.structural_tag", "Use `tools`"),
        ({"structured_outputs": {"disable_any_whitespace": True}}, "structured_outputs.disable_any_whitespace", ""),
        ({"guided_regex": "a", "json_schema": SCHEMA}, "guided_regex", "nothing beside 'json_schema'"),
        ({"format": "xml"}, "format", "'json' or a JSON schema"),
        ({"thinking": {"type": "much"}}, "thinking.type", "enabled, disabled"),
        ({"thinking": {"budget_tokens": -5}}, "thinking.budget_tokens", "at least 0"),
        ({"thinking": 5}, "thinking", "true or false"),
        ({"reasoning": "high"}, "reasoning", "an object"),
        ({"reasoning": {"effort": 5}}, "reasoning.effort", "Invalid type"),
        ({"reasoning": {"exclude": "yes"}}, "reasoning.exclude", "true or false"),
        ({"reasoning": {"exclude": True}, "logprobs": True}, "reasoning.exclude", "logprobs"),
        ({"repetition_context_size": -1}, "repetition_context_size", "at least 0"),
        ({"options": {"temperature": -1}}, "options.temperature", "at least 0"),
        ({"options": {"num_ctx": 8192}}, "options.num_ctx", "--context"),
        ({"options": []}, "options", "an object"),
        ({"n_cmpl": 1000}, "n_cmpl", "at most 128"),
        ({"n_probs": 50}, "n_probs", "at most 20"),
        ({"documents": 1, "chat_template_kwargs": 2}, "chat_template_kwargs", "Invalid type"),
        ({"messages": [{"role": "user", "content": "a", "tool_name": 5}]}, "messages[0].tool_name", "Invalid type"),
    ],
)
def test_an_error_has_the_name_that_was_sent(fields: dict[str, Any], param: str, says: str) -> None:
    error = refusal(**fields)
    assert error.param == param and says in str(error)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"n_predict": 5, "max_tokens": 6}, ["n_predict", "max_tokens"]),
        ({"n_predict": 5, "num_predict": 6}, ["num_predict", "n_predict"]),
        ({"n_predict": 5, "max_completion_tokens": 6}, ["n_predict", "max_completion_tokens"]),
        ({"max_tokens": 5, "max_completion_tokens": 6}, ["max_tokens", "max_completion_tokens"]),
        ({"repetition_context_size": 5, "presence_context_size": 6}, ["presence_context_size", "repetition_context"]),
        ({"guided_json": SCHEMA, "structured_outputs": {"json": {}}}, ["structured_outputs.json", "guided_json"]),
        ({"reasoning": {"effort": "low"}, "reasoning_effort": "high"}, ["reasoning.effort", "reasoning_effort"]),
        ({"thinking": {"type": "enabled"}, "enable_thinking": False}, ["thinking.type", "enable_thinking"]),
        ({"options": {"seed": 5}}, ["options.seed", "seed"]),
        ({"options": {"repeat_penalty": 1.5}, "repetition_penalty": 1.1}, ["options.repeat_penalty"]),
        (
            {"thinking": {"clear_thinking": True}, "chat_template_kwargs": {"clear_thinking": False}},
            ["thinking.clear_thinking", "chat_template_kwargs.clear_thinking"],
        ),
    ],
)
def test_two_names_of_one_thing_must_agree(fields: dict[str, Any], names: list[str]) -> None:
    error = refusal(**fields)
    assert error.param == names[0] and all(f"'{name}" in str(error) for name in names)


def test_what_proves_wrong_later_has_the_name_that_was_sent() -> None:
    request = chat(guided_json=SCHEMA, thinking={"budget_tokens": 5}, think=True, documents=[1])
    assert request.constraint and request.constraint.param == "guided_json"
    assert request.param("thinking_budget") == "thinking.budget_tokens"
    assert set(request.prompt.variables_set_by) == {"think", "documents"}  # type: ignore[union-attr]


# Harmless


@pytest.mark.parametrize("value", [True, False, 0, 1.5, "", "a", [], ["a"], {}, {"a": 1}], ids=repr)
def test_what_is_harmless_is_taken_whatever_its_value(value: Any) -> None:
    names = [name for name, row in tables.CHAT.items() if isinstance(row, Harmless)]
    assert {"user", "metadata", "store", "safety_identifier"} < set(names)
    fields = dict.fromkeys(names, value)
    assert meaning(chat(**fields)) == meaning(chat()) and chat(**fields).ignored == []
    assert text(**fields).ignored == []


def test_a_reply_that_is_sent_back_is_taken_in_silence() -> None:
    """As the SDKs, LiteLLM, OpenRouter and Gemini have it."""
    call = {
        "id": "call_1",
        "index": 0,
        "type": "function",
        "function": {"name": "f", "arguments": "{}", "parsed_arguments": {}, "index": 0},
        "provider_specific_fields": {"a": 1},
        "extra_content": {"google": {"thought_signature": "a"}},
    }
    said = {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "reasoning": "Hm.",
        "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}],
        "provider_specific_fields": {"citations": None},
        "thinking_blocks": None,
        "parsed": None,
        "tool_calls": [call],
    }
    part = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}, "annotations": []}
    messages = [{"role": "user", "content": [part], "cache_control": None}, said]
    messages.append({"role": "tool", "tool_call_id": "call_1", "content": "b"})
    request = chat(messages=messages, stream=True, stream_options={"include_obfuscation": False})
    assert request.ignored == []
    plain = {key: said[key] for key in ("role", "content", "reasoning", "tool_calls")}
    assert request.prompt == chat(messages=[{"role": "user", "content": "a"}, plain, messages[2]]).prompt


# Refused


def neutral_values(table: Mapping[str, Known]) -> dict[str, tuple[Any, ...]]:
    return {name: row.neutral for name, row in table.items() if isinstance(row, Refused)}


@pytest.mark.parametrize(("read", "table"), [(chat, tables.CHAT), (text, tables.COMPLETION)], ids=["chat", "text"])
def test_each_refused_name_asks_for_nothing_by_its_neutral_values_alone(
    read: Callable[..., GenerationRequest], table: Mapping[str, Known]
) -> None:
    nothing = meaning(read())
    for name, neutral in neutral_values(table).items():
        for value in (None, *neutral):
            request = read(**{name: value})
            assert meaning(request) == nothing and request.ignored == [], (name, value)
        for value in (True, False, "x", 7, {"x": 1}, ["x"]):
            if asks(value, neutral):
                error = refusal(read, **{name: value})
                assert (error.param, error.code) == (name, "unsupported_parameter"), (name, value)


@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        ({"skip_special_tokens": True}, True),
        ({"skip_special_tokens": False}, False),
        ({"spaces_between_special_tokens": True}, True),
        ({"spaces_between_special_tokens": False}, False),
        ({"separate_reasoning": False}, False),
        ({"detokenize": False}, False),
        ({"echo": False}, True),
        ({"echo": True}, False),
        ({"return_token_ids": False}, True),
        ({"return_token_ids": True}, False),
        ({"use_beam_search": False, "length_penalty": 1.0, "priority": 0, "best_of": 1}, True),
        ({"length_penalty": 0.5}, False),
        ({"top_a": 0.0, "tfs_z": 1, "min_keep": 0}, True),
        ({"prompt_logprobs": 0}, False),
        ({"verbosity": "low"}, False),
        ({"verbosity": "medium"}, True),
        ({"modalities": ["text"]}, True),
        ({"modalities": ["text", "audio"]}, False),
        ({"web_search_options": {}}, False),
        ({"bad_words": []}, True),
        ({"bad_words": ["a"]}, False),
        ({"chat_template": "{{ messages }}"}, False),
        ({"truncate_prompt_tokens": 5}, False),
        ({"extra_body": {"top_k": 5}}, False),
    ],
    ids=lambda fields: json.dumps(fields),
)
def test_a_default_of_its_own_server_asks_for_nothing(fields: dict[str, Any], taken: bool) -> None:
    if taken:
        assert chat(**fields).ignored == []
    else:
        assert refusal(**fields).param in fields


def test_what_to_use_instead_is_said() -> None:
    assert "Start the server with --chat-template FILE." in str(refusal(chat_template="a"))
    assert "Use `logit_bias`" in str(refusal(bad_words=["a"]))
    assert "Use `return_tokens`." in str(refusal(return_token_ids=True))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": "a", "images": ["b"]}]}, "messages[0].images"),
        ({"messages": [*HELLO, {"role": "system", "content": "a", "tools": [TOOL]}]}, "messages[1].tools"),
        ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading"),
        (
            {"tools": [TOOL | {"function": {"name": "f", "defer_loading": True}}]},
            "tools[0].function.defer_loading",
        ),
        ({"tools": [{**TOOL, "strict": True}]}, "tools[0].strict"),
        ({"functions": [{"name": "f", "defer_loading": True}]}, "functions[0].defer_loading"),
    ],
)
def test_a_name_inside_is_refused(fields: dict[str, Any], param: str) -> None:
    assert (refusal(**fields).param, refusal(**fields).code) == (param, "unsupported_parameter")


@pytest.mark.parametrize("kind", ["text", "image_url"])
def test_an_image_is_never_dropped(kind: str) -> None:
    part = {"type": kind, "text": "a", "image_url": {"url": "data:,"}}
    with pytest.raises(ApiError) as caught:
        chat(messages=[{"role": "user", "content": [part]}])
    assert (caught.value.param, caught.value.code) == ("messages[0].content[0].type", "unsupported_content")


# Names in no table


def test_unknown_names_are_told_at_every_depth() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}", "bar": 1}, "qux": 1}
    tool = {"type": "function", "function": {"name": "f", "parameters": SCHEMA, "bar": 1}, "foo": False}
    request = chat(
        messages=[
            {"role": "system", "content": {"type": "text", "text": "a", "foo": "none"}},
            {"role": "user", "content": ["a", {"type": "text", "text": "a", "foo": []}], "foo": 0, "no": None},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "b", "foo é,\r\n": 1},
        ],
        tools=[TOOL | {"function": {"name": "g"}}, tool],
        tool_choice={"type": "function", "function": {"name": "f", "foo": 1}, "foo": 1},
        response_format={"type": "json_schema", "json_schema": {"schema": SCHEMA, "foo": 1}, "foo": 1},
        prediction={"type": "content", "content": [{"type": "text", "text": "a", "foo": 1}], "foo": 1},
        stream=True,
        stream_options={"baz": 1, "include_usage": True},
        bar=False,
        structured_outputs={"foo": 1},
        thinking={"type": "enabled", "foo": 1},
    )
    assert request.ignored == [
        "messages[0].content.foo",
        "messages[1].content[1].foo",
        "messages[1].foo",
        "messages[3].foo%20%C3%A9%2C%0D%0A",
        "prediction.content[0].foo",
        "prediction.foo",
        "stream_options.baz",
        "bar",
        "structured_outputs.foo",
        "thinking.foo",
        "tools[1].foo",
        "tools[1].function.bar",
        "tool_choice.foo",
        "tool_choice.function.foo",
        "response_format.foo",
        "response_format.json_schema.foo",
        "messages[2].tool_calls[0].qux",
        "messages[2].tool_calls[0].function.bar",
    ]


def test_what_is_told_of_a_tool_is_not_in_the_prompt() -> None:
    cached = {"cache_control": {"type": "ephemeral"}, "foo": 1}
    for fields in ({"tools": [{**TOOL, **cached}]}, {"tools": [TOOL | {"function": TOOL["function"] | cached}]}):
        assert chat(**fields).prompt.tools.offered == [TOOL]  # type: ignore[union-attr]
    assert chat(functions=[TOOL["function"] | cached]).prompt.tools.offered == [TOOL]  # type: ignore[union-attr]


def test_unknown_names_in_a_schema_or_in_variables_are_not_ours_to_judge() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": SCHEMA | {"x-order": [1]}}}
    assert chat(tools=[tool], chat_template_kwargs={"foo": 1}, json_schema={"foo": 1}).ignored == []


def ask(server: RunningServer, route: str = "chat/completions", **fields: Any) -> httpx.Response:
    body = {"max_tokens": 3, **({"messages": HELLO} if route[:2] == "ch" else {"prompt": "Hello."}), **fields}
    return httpx.post(f"{server.url}/v1/{route}", json=body, timeout=CEILING)


def test_they_are_told_in_the_header_and_in_the_log(fake_server: RunningServer) -> None:
    messages = [{**HELLO[0], "foo": 1, "annotations": []}]
    for stream in (False, True):
        reply = ask(fake_server, messages=messages, user="a", bar=False, stream=stream)
        assert (reply.status_code, reply.headers["x-nitro-ignored"]) == (200, "messages[0].foo, bar")
        assert "ignored=messages[0].foo,bar" in fake_server.log_of(reply)
    reply = ask(fake_server, user="a", store=True, n_predict=3)
    assert "x-nitro-ignored" not in reply.headers and "ignored" not in fake_server.log_of(reply)


def test_strict_refuses_them_and_takes_what_is_harmless(serve: Callable[..., RunningServer]) -> None:
    server = serve(strict=True).ready()
    for fields, param in (({"messages": [{**HELLO[0], "foo": 1}]}, "messages[0].foo"), ({"bar": False}, "bar")):
        error = ask(server, **fields).json()["error"]
        assert (error["param"], error["code"]) == (param, "unknown_parameter")
    harmless_ones = {"user": "a", "metadata": {}, "store": True, "service_tier": "auto", "prompt_cache_key": "a"}
    reply = ask(server, **harmless_ones, messages=[{**HELLO[0], "annotations": []}], skip_special_tokens=True)
    assert reply.status_code == 200, reply.text


LEAF = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "json", "none", "text", "function"])
NAMES = [*tables.CHAT, *inside.MESSAGE, *inside.PART, *inside.TOOL.names, *mapped.STRUCTURED_OUTPUTS, *mapped.THINKING]
NAMES += ["content", "role", "tool_calls", "tools", "stream_options", "prediction", "tool_choice", "response_format"]
ANYTHING = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, database=None, max_examples=400)
@given(st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=4), ANYTHING)
def test_whatever_is_sent_is_read_or_refused(fields: dict[str, Any], message: Any) -> None:
    body = json.dumps({"messages": [*HELLO, message], **fields}).encode()
    with contextlib.suppress(ApiError):
        assert all(re.fullmatch(r"[\x20-\x7e]+", name) for name in read_chat(body, SETUP).ignored)


# What a reply is


def test_a_choice_by_vllm_s_name_is_kept(fake_server: RunningServer) -> None:
    for fields in ({"guided_choice": ["yes", "no"]}, {"structured_outputs": {"choice": ["yes", "no"]}}):
        for route in ("chat/completions", "completions"):
            (choice,) = ask(fake_server, route, **fields, max_tokens=20).json()["choices"]
            assert choice.get("text") or choice["message"]["content"] in ("yes", "no")
    assert ask(fake_server, guided_regex="[0-9]", max_tokens=9).json()["choices"][0]["message"]["content"].isdigit()
    wrong = ask(fake_server, guided_regex="[").json()["error"]
    assert wrong["param"] == "guided_regex" and "'guided_regex'" in wrong["message"]


@pytest.mark.parametrize("asked", [{"include_reasoning": False}, {"reasoning": {"exclude": True}}])
@pytest.mark.parametrize("stream", [True, False])
def test_reasoning_may_be_left_out(saying: RunningServer, asked: dict[str, Any], stream: bool) -> None:
    said = [{"role": "user", "content": "␂<think>Hm, well.</think>Yes.␃"}]
    for fields, thought in (({}, True), (asked, False)):
        reply = ask(saying, messages=said, max_tokens=50, stream=stream, **fields)
        assert ("reasoning_content" in reply.text) == thought
        assert "".join(re.findall('"content":"([^"]*)"', reply.text)) == "Yes."
        assert '"finish_reason":"stop"' in reply.text
    usage = ask(saying, messages=said, max_tokens=50, **asked).json()["usage"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] > 5


def test_a_body_with_our_names_and_harmless_ones_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"role": "assistant", "content": "a", "annotations": [], "refusal": None}
    monkeypatch.setattr(json_body, "rewrite", None)
    body = json.dumps({"messages": [*HELLO, said], "user": "a", "store": True, "n": 1}).encode()
    assert json_body.decode(body, ChatRequest).told == []


@pytest.mark.parametrize("room", [0, 3])
def test_as_many_choices_as_a_request_may_have_find_room_while_nothing_else_runs(
    serve: Callable[..., RunningServer], room: int
) -> None:
    server = serve(parallel=2, max_queue=room).ready()
    for _ in range(2):
        assert len(ask(server, n=128).json()["choices"]) == 128
        assert len(ask(server, "completions", prompt=["a"] * 8, best_of=128).json()["choices"]) == 8
    assert ask(server, n=129).json()["error"]["param"] == "n"
