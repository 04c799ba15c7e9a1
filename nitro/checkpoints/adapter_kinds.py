"""Which kind of LoRA lies at a path: a folder of PEFT, a folder of mlx-lm, or a GGUF for llama.cpp. No tensor is read,
and no library is needed.

PEFT:    adapter_config.json {"peft_type": "LORA", "r": 8, "lora_alpha": 16, …} and adapter_model.safetensors
mlx-lm:  adapter_config.json {"fine_tune_type": "lora", "lora_parameters": {"rank": 8, "scale": 20.0, …}, …} and
         adapters.safetensors
GGUF:    general.type = "adapter", adapter.type = "lora"
"""

import json
from pathlib import Path
from typing import Any, Literal

from nitro.errors import AdapterError
from nitro.gguf import header
from nitro.gguf.header import Header, UnreadableGGUF

Kind = Literal["peft", "mlx", "gguf"]

CONFIG = "adapter_config.json"
WEIGHTS: dict[Kind, str] = {"peft": "adapter_model.safetensors", "mlx": "adapters.safetensors"}
OF_MLX = ("fine_tune_type", "lora_parameters")  # keys of its configuration; PEFT has "peft_type"


def is_adapter(path: Path) -> bool:
    """Does an adapter seem to lie here? False also for what cannot be read, and for a model that has one beside it."""
    if path.is_dir():
        return (path / CONFIG).is_file() and not any(path.glob("model*.safetensors"))
    try:
        return path.is_file() and header.read(path, full=False).get("general.type") == "adapter"
    except (UnreadableGGUF, OSError):
        return False


def kind(path: Path) -> Kind:
    """Raises AdapterError where there is none, or its kind is not known."""
    if path.is_file():
        read_header(path)
        return "gguf"
    if not path.is_dir():
        raise AdapterError(f"{path}: no such file or folder.")
    config = read_config(path)
    found: Kind | None = "peft" if "peft_type" in config else "mlx" if any(key in config for key in OF_MLX) else None
    if found is None:
        raise AdapterError(f"{path / CONFIG} is neither PEFT's (peft_type) nor mlx-lm's (fine_tune_type).")
    if not (path / WEIGHTS[found]).is_file():
        pickles = sorted(path.glob("adapter_model.bin"))
        note = f"; {pickles[0].name} is not read, since opening such a file runs code" if pickles else ""
        raise AdapterError(f"{path} has no {WEIGHTS[found]}{note}.")
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """The contents of adapter_config.json. Raises AdapterError."""
    file = folder / CONFIG
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AdapterError(f"{folder} has no {CONFIG}, so it is not an adapter.") from None
    except OSError as error:
        raise AdapterError(f"{file} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{file} is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise AdapterError(f"{file} does not contain a JSON object.")
    return content


def read_header(file: Path) -> Header:
    """The header of a LoRA for llama.cpp. Raises AdapterError for any other file."""
    try:
        found = header.read(file)
    except UnreadableGGUF as error:
        raise AdapterError(str(error)) from None
    except OSError as error:
        raise AdapterError(f"{file} cannot be read: {error.strerror}.") from None
    if found.get("general.type") != "adapter":
        raise AdapterError(f"{file} is a model and not an adapter: its general.type is not adapter.")
    if found.get("adapter.type") != "lora":
        raise AdapterError(f"{file} is an adapter of the kind {found.get('adapter.type')!r}; supported is lora.")
    return found
