"""soak/many_models.py with few requests on tiny models; and what it reads from a log."""

import argparse
from pathlib import Path

import fast
import numpy as np
from llama_scorer import LlamaScorer
from same_answer import MOST

from soak import many_models
from soak.many_models import loads_of


def test_few_requests_to_many_models() -> None:
    """Clients leave and an engine is killed: right answers, or honest errors."""
    fast.skip_server()
    findings = many_models.run(argparse.Namespace(short=True, count=40, seed=7))
    small = [f for f in findings.figures if f.what not in ("loads", "more memory", "more descriptors")]
    assert all(figure.held for figure in small), findings.text()


def test_prompts_are_text_whose_batch_numerics_are_small(gemma: Path) -> None:
    """Of tokens without a meaning logits differ by more than tests/same_answer.py lets pass."""
    asked = many_models.prompts({"gemma": gemma})["gemma"]
    assert [len(prompt) for prompt in asked] == list(many_models.LENGTHS)
    scorer = LlamaScorer(gemma, context=many_models.CONTEXT)
    text = asked[-1]
    one_by_one, batched = (scorer.logits(text, steps) for steps in ([1] * len(text), [1, len(text) - 1]))
    scorer.close()
    assert np.abs(one_by_one - batched).max() <= MOST


def test_loads_in_vain() -> None:
    log = """
info loading a, which may take 3 MiB
info req_1f a prompt=1 finish=stop
info unloading a: another model needs the room
info loading b, which may take 3 MiB
info unloading b: another model needs the room
info loading b, which may take 3 MiB
info unloading b, as a request says
"""
    assert loads_of(log) == (3, 1)
