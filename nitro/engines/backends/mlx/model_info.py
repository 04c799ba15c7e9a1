"""What a loaded MLX model reports of itself."""

import logging
from importlib.metadata import version

from nitro.engines.backends import fill_in_middle
from nitro.engines.backends.mlx import library
from nitro.engines.backends.mlx.model import MlxModel
from nitro.engines.backends.mlx.self_test import Trial
from nitro.engines.backends.registry import MLX
from nitro.engines.hardware import memory
from nitro.engines.hardware.memory import KVPlan
from nitro.engines.scheduling import speculation
from nitro.engines.types import EngineSpec, ModelInfo

log = logging.getLogger("nitro.mlx")

STEP_TOKENS = 2048


def describe(spec: EngineSpec, model: MlxModel, trial: Trial, plan: KVPlan) -> ModelInfo:
    """All but what the runner has beside the model."""
    if plan.context > model.trained_context:
        log.warning(
            "--ctx %d is more than the %d tokens the model was trained for", plan.context, model.trained_context
        )
    gpu = library.gpu_kind()
    place = "GPU" if gpu else "CPU"
    return ModelInfo(
        engine=f"MLX {version('mlx')} (mlx-lm {version('mlx-lm')})",
        device=f"{library.device_name()} ({place})",
        layers=f"all {len(model.network.layers)} on the {place}",
        slots=spec.parallel + memory.SPARE_SLOTS,
        parallel=spec.parallel,
        context=plan.context,
        trained_context=model.trained_context,
        kv_tokens=plan.pool,
        can_truncate=trial.can_truncate,
        draft_tokens=speculation.MAX_DRAFT if trial.can_truncate and not spec.deterministic else 0,
        deterministic=spec.deterministic,
        takes_adapters=True,
        mixes_adapters=True,
        draft_rows=1,  # those that decode together have one token each
        kv_place="unified memory" if gpu == "Metal" else place,
        kv_bytes=plan.pool * plan.token_bytes,
        step_tokens=STEP_TOKENS,
        vocabulary=trial.vocabulary,
        eog=frozenset(token for token in model.eog if 0 <= token < trial.vocabulary),
        template=model.template,
        tool_template=model.tool_template,
        bos=model.bos,
        eos=model.eos,
        media=model.media,
        infill=fill_in_middle.find(model.tokenizer, model.infill),
        adds_bos=model.adds_bos,
        sampling=model.sampling,
        samplers=MLX.samplers,
        fingerprint=model.fingerprint,
    )
