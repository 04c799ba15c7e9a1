"""lm-evaluation-harness from its command line, on tasks of a few questions, with a tokenizer from disk."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import requests
from steps import run, step

# what you change
COMPLETIONS = f"base_url={os.environ['NITRO_URL']}/completions,model={os.environ['NITRO_MODEL']}"
CHAT = f"base_url={os.environ['NITRO_URL']}/chat/completions,model={os.environ['NITRO_MODEL']}"
# end of what you change
URL, MODEL = os.environ["NITRO_URL"], os.environ["NITRO_MODEL"]
TOKENIZER = f"tokenizer={os.environ.get('NITRO_TOKENIZER')},tokenizer_backend=huggingface"

CAPITALS = {"France": "Paris", "Italy": "Rome", "Japan": "Tokyo", "Spain": "Madrid", "Egypt": "Cairo"}
CHOICES = [f" {city}" for city in CAPITALS.values()]
COMMON = """
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{data}"}}}}
test_split: test
"""
TASKS = {
    "choices": """
output_type: multiple_choice
doc_to_text: "The capital of {{country}} is"
doc_to_choice: "{{choices}}"
doc_to_target: answer
target_delimiter: ""
metric_list: [{metric: acc}]
""",
    "answers": """
output_type: generate_until
doc_to_text: "The capital of {{country}} is"
doc_to_target: "{{city}}"
generation_kwargs: {until: ["."], max_gen_toks: 12, do_sample: false}
filter_list: [{name: found, filter: [{function: regex, regex_pattern: "(Paris|Rome|Tokyo|Madrid|Cairo)"}, \
{function: take_first}]}]
metric_list: [{metric: exact_match}]
""",
    "text": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "The capital of {{country}} is {{city}}, where most of its people live."
metric_list: [{metric: bits_per_byte}]
""",
}


def evaluate(kind: str, arguments: str, task: str, *flags: str) -> tuple[dict, list[dict]]:
    """Its results, and its samples."""
    folder = Path(f"{kind}-{task}").absolute()
    folder.mkdir()
    rows = [
        {"country": country, "city": city, "choices": CHOICES, "answer": number}
        for number, (country, city) in enumerate(CAPITALS.items())
    ]
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / f"{task}.yaml").write_text(f"task: nitro_{task}{COMMON.format(data=data)}{TASKS[task]}")
    command = ["run", "--model", kind, "--model_args", arguments, "--tasks", f"nitro_{task}", *flags]
    output = ["--include_path", str(folder), "--output_path", str(folder / "out"), "--log_samples"]
    done = subprocess.run(
        [sys.executable, "-m", "lm_eval", *command, *output],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    (results,) = (folder / "out").rglob("results_*.json")
    (samples,) = (folder / "out").rglob("samples_*.jsonl")
    found = json.loads(results.read_text())["results"][f"nitro_{task}"]
    return found, [json.loads(line) for line in samples.read_text().splitlines()]


def scored(before: str, after: str) -> float:
    """The same by another path: a text instead of token ids, and the server's own offsets."""
    body = {"model": MODEL, "prompt": before + after, "max_tokens": 0, "echo": True, "logprobs": 1}
    logprobs = requests.post(f"{URL}/completions", json=body).json()["choices"][0]["logprobs"]
    pairs = zip(logprobs["text_offset"], logprobs["token_logprobs"], strict=True)
    return sum(logprob for offset, logprob in pairs if offset >= len(before) and logprob is not None)


def answered(country: str) -> str:
    messages = [{"role": "user", "content": f"The capital of {country} is"}]
    body = {"model": MODEL, "messages": messages, "max_tokens": 12, "temperature": 0, "stop": ["."]}
    return requests.post(f"{URL}/chat/completions", json=body).json()["choices"][0]["message"]["content"]


@step("`local-completions`: multiple choice by log-likelihood, with the server's own logprobs", "llama", "mlx")
def choices() -> None:
    results, samples = evaluate("local-completions", f"{COMPLETIONS},{TOKENIZER},num_concurrent=2", "choices")
    assert results["acc,none"] >= 0.8, results
    for sample in samples:
        before = f"The capital of {sample['doc']['country']} is"
        for choice, answer in zip(CHOICES, sample["filtered_resps"], strict=True):
            assert math.isclose(float(answer[0]), scored(before, choice), abs_tol=1e-2), (sample, choice)


@step("`local-completions`: perplexity of texts", "llama")
def perplexity() -> None:
    results, _ = evaluate("local-completions", f"{COMPLETIONS},{TOKENIZER}", "text")
    assert 0.2 < results["bits_per_byte,none"] < 2, results


@step("`local-completions`: answers that are generated", "llama")
def answers() -> None:
    results, samples = evaluate("local-completions", f"{COMPLETIONS},{TOKENIZER},num_concurrent=2", "answers")
    assert results["exact_match,found"] >= 0.6, samples


@step("`local-chat-completions`: answers that are generated, the same as when asked directly", "llama", "mlx")
def chat() -> None:
    _, samples = evaluate("local-chat-completions", CHAT, "answers", "--apply_chat_template")
    same = [sample["resps"][0][0] == answered(sample["doc"]["country"]) for sample in samples]
    assert len(same) == len(CAPITALS) and sum(same) >= 4, samples  # a near tie may fall otherwise in another batch


run()
