"""`lora` of a request: which adapters are applied, as llama-server's clients say it."""

from collections.abc import Sequence

from nitro.api.openai.requests import LoraScale
from nitro.engines.adapters import MAX_ADAPTERS, MAX_SCALE, is_scale
from nitro.errors import ApiError
from nitro.parameters import check_count


def parse(listed: Sequence[LoraScale] | None, param: str = "lora") -> list[tuple[int, float]] | None:
    """Numbers of adapters and their scales. Whether there are such is not known here. Raises ApiError 400."""
    if listed is None:
        return None
    check_count(param or "the body", listed, MAX_ADAPTERS, "adapters")
    seen: set[int] = set()
    for i, each in enumerate(listed):
        if each.id in seen:
            raise ApiError.invalid(f"{param}[{i}].id", f"each adapter once, got {each.id} again")
        if not is_scale(each.scale):
            raise ApiError.invalid(f"{param}[{i}].scale", f"a number from -{MAX_SCALE:g} to {MAX_SCALE:g}")
        seen.add(each.id)
    return [(each.id, each.scale) for each in listed]
