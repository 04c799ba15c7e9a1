"""The stores that Nitro reads, one row each, in the order in which they win where two have the same model.

NITRO_STORES names those that are read, as in "hub,ollama"; empty: none. What comes with Nitro is always there.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from nitro.errors import StartError
from nitro.models.stores import folder
from nitro.models.stores.embedded import EMBEDDED
from nitro.models.stores.hub import HUB
from nitro.models.stores.jan import JAN
from nitro.models.stores.llama_cpp import LLAMA_CPP
from nitro.models.stores.lm_studio import LM_STUDIO
from nitro.models.stores.ollama import OLLAMA
from nitro.models.stores.store import Store

VARIABLE = "NITRO_STORES"
STORES = (HUB, LM_STUDIO, OLLAMA, JAN, LLAMA_CPP)


def chosen() -> list[Store]:
    """Those that NITRO_STORES names; all where it is not set. Raises StartError for a name that is none's."""
    named = os.environ.get(VARIABLE)
    if named is None:
        return [*STORES]
    names = {name.strip() for name in named.split(",")} - {""}
    known = {store.name: store for store in STORES}
    if unknown := sorted(names - known.keys()):
        raise StartError(f"{VARIABLE}: there is no store '{unknown[0]}'; there are {', '.join(known)}.")
    return [store for name, store in known.items() if name in names]


def stores(folders: Iterable[Path] = (), everything: bool = True) -> list[Store]:
    """The folders of --models and, if `everything` is offered, what the programs on this machine have, and the embedded
    model."""
    own = [folder.store(root.expanduser().absolute()) for root in folders]
    return [*own, *chosen(), EMBEDDED] if everything else own


def find(name: str) -> Store | None:
    """The store of this name; None for a folder of --models."""
    return next((store for store in (*STORES, EMBEDDED) if store.name == name), None)
