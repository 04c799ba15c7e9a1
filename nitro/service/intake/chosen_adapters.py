"""Which adapters a request applies: one that it names as its model, those that its `lora` lists, or else those that the
server was told to apply (POST /lora-adapters)."""

from typing import NamedTuple

from nitro.engines.adapters import AdapterSet, adapter_set
from nitro.engines.types import ModelInfo
from nitro.errors import ApiError
from nitro.models import names
from nitro.service.requests import GenerationRequest


class Chosen(NamedTuple):
    """`model`: the name of the adapter that answers as a model; None: the model itself does."""

    adapters: AdapterSet
    model: str | None = None


def of(request: GenerationRequest, info: ModelInfo) -> Chosen:
    """Raises ApiError 400 for adapters that are not there."""
    named = names.among(request.model, info.adapters)
    if request.lora is not None:
        if named:
            why = f"not given, since the model '{named.name}' is an adapter"
            raise ApiError.invalid(request.param("lora"), why)
        return Chosen(_listed(request, info))
    if named:
        return Chosen(((named.id, 1.0),), named.name)
    return Chosen(adapter_set((each.id, each.scale) for each in info.adapters))


def _listed(request: GenerationRequest, info: ModelInfo) -> AdapterSet:
    known = {each.id for each in info.adapters}
    for i, (id, _) in enumerate(request.lora or ()):
        if id not in known:
            there = ", ".join(map(str, sorted(known)))  # their names are not for every key
            why = f"the number of an adapter of this model: {there}" if known else "that of an adapter; there is none"
            raise ApiError.invalid(f"{request.param('lora')}[{i}].id", why)
    return adapter_set(request.lora or ())
