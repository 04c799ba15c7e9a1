"""Prompts of which no two are alike, and whether the tokens that came of them are what a model says alone.

A greedy answer is compared up to batch numerics (tests/same_answer.py), and so is the beginning of one that an error
ended: each of its tokens must be the best one, or as good.
"""

import importlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nitro.engines.client import spawn
from soak import servers
from soak.many_models import TEXTS

Asked = tuple[int, ...]  # the tokens of a prompt
LONGEST = 110  # tokens of the text that prompts are cut from


@dataclass
class Told:
    """What a reply says: tokens, text and finish_reason of each choice."""

    tokens: list[tuple[int, ...]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    finished: list[str | None] = field(default_factory=list)


def prompts(model: Path, context: int, lengths: Iterable[int]) -> list[Asked]:
    """A prompt of each length, in tokens of this GGUF file. Each begins with a number of its own, and goes on as a
    text: of tokens without a meaning logits differ more between two ways to batch them."""
    scorer = _scorer("llama", model, context)
    found = [_prompt(scorer, number, length) for number, length in enumerate(lengths)]
    scorer.close()
    return found


def _prompt(scorer: Any, number: int, length: int) -> Asked:
    begin = scorer.info.bos if scorer.info.adds_bos else ""
    return tuple(scorer.tokenizer.encode(f"{begin}{number}. {TEXTS[number % len(TEXTS)]}")[:length])


def _scorer(engine: str, model: Path, context: int) -> Any:
    if (tests := str(servers.ROOT / "tests")) not in sys.path:
        sys.path.append(tests)
    os.environ.update(spawn.ENVIRONMENT)  # the engine runs in this process: on a busy machine six times as fast so
    if engine == "llama":
        return importlib.import_module("llama_scorer").LlamaScorer(model, context=context, parallel=1)
    return importlib.import_module("mlx_scorer").MlxScorer(model, context=context)


def told(body: bytes) -> Told:
    """Of a completion, streamed or whole."""
    if body.startswith(b"{"):
        events = [json.loads(body)]
    else:
        events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    found: dict[int, list[Any]] = {}
    for choice in (choice for event in events for choice in event.get("choices", [])):
        held = found.setdefault(choice["index"], [(), "", None])
        held[0] += tuple(choice.get("tokens") or ())
        held[1] += choice.get("text") or ""
        held[2] = choice.get("finish_reason") or held[2]
    said = [found[index] for index in sorted(found)]
    return Told([tokens for tokens, _, _ in said], [text for _, text, _ in said], [reason for _, _, reason in said])


def wrong(engine: str, model: Path, context: int, answers: Mapping[Asked, set[tuple[int, ...]]]) -> Iterator[str]:
    """What is not as the model says it alone, in words. Answers are greedy, with `ignore_eos`; none is empty."""
    same_answer = importlib.import_module("same_answer")
    scorer = _scorer(engine, model, context)
    tolerance = same_answer.tolerance(scorer, list(_prompt(scorer, 0, LONGEST)))
    for prompt, said in answers.items():
        for answer in _longest(said):
            steps = [len(prompt), *([len(answer) - 1] if len(answer) > 1 else [])]
            rows = scorer.logits([*prompt, *answer[:-1]], steps)
            rows[:, list(scorer.info.eog)] = -1e9  # requests had `ignore_eos`
            gaps = rows.max(axis=1) - rows[range(len(answer)), answer]
            if gaps.max() > tolerance:
                at = int(gaps.argmax())
                yield f"token {at} is {gaps[at]:.2f} below the best, where numerics explain {tolerance:.2f}"
    scorer.close()


def _longest(answers: set[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Without those that others begin with."""
    return [a for a in answers if not any(a != b and a == b[: len(a)] for b in answers)]
