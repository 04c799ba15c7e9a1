"""Pictures → rows of a model that sees. Every call is on one thread, which is not the engine's (see MediaEncoder)."""

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from nitro.checkpoints import files
from nitro.engines import pictures
from nitro.engines.backends.mlx.vision.family import Arrays, Picture, Settings
from nitro.engines.media import Media
from nitro.engines.media_encoder import MediaRejected, MediaRun
from nitro.engines.runner import LoadError, Tokenizer
from nitro.errors import reason

SETTINGS = ("preprocessor_config.json", "processor_config.json")  # the latter has it under "image_processor"
ENDINGS = ("Fast", "Pil")  # of the same processor in other libraries
OTHER_NAMES = {"Qwen2_5_VLImageProcessor": "Qwen2VLImageProcessor"}  # that folders have
# transformers' image processors, by their name in a folder
PROCESSORS = {
    "Qwen2VLImageProcessor": "qwen2_vl.image_processing_pil_qwen2_vl",
    "Gemma3ImageProcessor": "gemma3.image_processing_pil_gemma3",
    "LlavaImageProcessor": "llava.image_processing_pil_llava",
    "CLIPImageProcessor": "clip.image_processing_pil_clip",
    "SiglipImageProcessor": "siglip.image_processing_pil_siglip",
    "Idefics3ImageProcessor": "idefics3.image_processing_pil_idefics3",
    "SmolVLMImageProcessor": "smolvlm.image_processing_pil_smolvlm",
}


@dataclass(frozen=True, slots=True)
class ImageRows:
    """Rows [tokens, width] of a run, and their places on its grid, int32 [3, tokens], where there is one."""

    embeddings: mx.array
    grid: np.ndarray | None

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory."""
        return int(self.embeddings.nbytes)


class ImageEncoder:
    """Of a network that sees, and an image processor of transformers."""

    def __init__(self, network: Any, tokenizer: Tokenizer, process: Any):
        self._network = network
        self._tokenizer = tokenizer
        self._process = process

    def pieces(self, media: Media) -> list[list[int] | MediaRun]:
        """See MediaEncoder."""
        found: list[list[int] | MediaRun] = []
        for piece in self._network.family.pieces(self._network, self._arrays(media)):
            if isinstance(piece, str):
                found.append(self._tokenizer.encode(piece))
            else:
                atomic = self._network.family.atomic
                found.append(MediaRun(piece.tokens, piece.positions, atomic, piece))
        return found

    def encode(self, run: MediaRun) -> ImageRows:
        """See MediaEncoder."""
        picture: Picture = run.source
        rows = self._network.family.encode(self._network, picture.arrays)
        mx.eval(rows)
        assert rows.shape[0] == run.tokens, f"{rows.shape[0]} rows of a picture, {run.tokens} places"
        return ImageRows(rows, picture.grid)

    def _arrays(self, media: Media) -> Arrays:
        image = pictures.read(media.data)
        try:
            return dict(self._process(image, return_tensors="np", **self._network.family.processor))
        except ValueError as error:  # a picture that is far longer than wide, say
            raise MediaRejected(f"{reason(error)}.") from None


def processor_of(folder: Path) -> Any:
    """The image processor that a folder names. Raises LoadError where it is not known."""
    for name in SETTINGS:
        try:
            found = files.read(folder / name)
        except (OSError, ValueError) as error:
            raise LoadError(f"{folder / name} cannot be read: {error}") from None
        found = found.get("image_processor", found) if name == SETTINGS[1] else found
        if process := processor(found, str(folder / name)):
            return process
    raise LoadError(f"{folder} has no {SETTINGS[0]}, which says how its pictures are prepared.")


def processor(settings: Settings, place: str) -> Any:
    """transformers' own, by Pillow, with these settings; None where they name none. No code from a folder is run.
    Raises LoadError for one that is not known. `place`: whose settings they are."""
    kind = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "")
    for ending in ENDINGS:
        kind = kind.removesuffix(ending)
    kind = OTHER_NAMES.get(kind, kind)
    if kind in PROCESSORS:
        module = importlib.import_module(f"transformers.models.{PROCESSORS[kind]}")
        return getattr(module, f"{kind}Pil").from_dict(json.loads(json.dumps(settings)))
    if kind:
        raise LoadError(f"{place} names the image processor {kind}, which is not known here.")
    return None
