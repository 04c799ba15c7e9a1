"""Whether a model's engine can follow a grammar, found out before there is a request that needs it."""

from nitro.engines.client.engine import Engine
from nitro.engines.types import Constraint, GenerationParams, SamplingParams
from nitro.engines.work import encode_work

PROMPT = "a"  # any


async def check(engine: Engine, grammar: str, param: str) -> None:
    """Have it compiled for an answer that nobody waits for. `param`: what the grammar is called in what is raised:
    PromptRejected, or another EngineError."""
    params = GenerationParams(SamplingParams(), max_tokens=1, constraint=Constraint("grammar", grammar, param))
    generation = await engine.generate(encode_work([PROMPT], params))
    generation.abort()
