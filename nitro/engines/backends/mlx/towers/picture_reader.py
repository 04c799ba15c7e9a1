"""Pictures → pixels for a tower, by an image processor of transformers. No code of a folder is run."""

import importlib
import json
from typing import Any

from nitro.engines import pictures
from nitro.engines.backends.mlx.towers.family import Arrays, Settings
from nitro.engines.media import Media
from nitro.engines.media_encoder import MediaRejected
from nitro.engines.runner import LoadError
from nitro.errors import reason

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


class PictureReader:
    """See readers.Reader. `options`: what the processor is told at each call."""

    def __init__(self, process: Any, options: Settings):
        self._process = process
        self._options = options

    def read(self, media: Media) -> Arrays:
        """The whole picture, processed."""
        image = pictures.read(media.data)
        try:
            return dict(self._process(image, return_tensors="np", **self._options))
        except ValueError as error:  # a picture that is far longer than wide, say
            raise MediaRejected(f"{reason(error)}.") from None

    def finished(self, arrays: Arrays) -> Arrays:
        """Nothing is left to do."""
        return arrays


def of(settings: Settings, network: Any, place: str) -> PictureReader | None:
    """By transformers' own processor, by Pillow, with these settings; None where they name none. Raises LoadError for
    one that is not known. `place`: whose settings they are."""
    kind = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "")
    for ending in ENDINGS:
        kind = kind.removesuffix(ending)
    kind = OTHER_NAMES.get(kind, kind)
    if kind in PROCESSORS:
        module = importlib.import_module(f"transformers.models.{PROCESSORS[kind]}")
        process = getattr(module, f"{kind}Pil").from_dict(json.loads(json.dumps(settings)))
        return PictureReader(process, network.family.processor)
    if kind:
        raise LoadError(f"{place} names the image processor {kind}, which is not known here.")
    return None
