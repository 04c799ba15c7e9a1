"""Sounds → log-mel spectrograms for a tower, by the feature extractor of transformers that was made for Whisper.

The tower takes windows of one length, 30 seconds mostly. A longer sound is several, and the last is filled up with
silence: what an extractor does with a sound that is shorter.
"""

import importlib
import json
from typing import Any

import numpy as np

from nitro.engines import sounds
from nitro.engines.backends.mlx.towers.family import Arrays, Settings
from nitro.engines.media import Media
from nitro.engines.media_encoder import MediaRejected
from nitro.engines.runner import LoadError

# transformers' feature extractors, by their name in a folder
EXTRACTORS = {"WhisperFeatureExtractor": "whisper.feature_extraction_whisper"}


class SoundReader:
    """See readers.Reader."""

    def __init__(self, extractor: Any):
        self._extractor = extractor

    def read(self, media: Media) -> Arrays:
        """ "samples": float32 [windows, samples]. "frames": how many of a window's spectra are of the sound, int32
        [windows]."""
        extractor = self._extractor
        heard = sounds.read(media, extractor.sampling_rate)
        windows = -(-len(heard) // extractor.n_samples)
        samples = np.zeros((windows, extractor.n_samples), np.float32)
        samples.reshape(-1)[: len(heard)] = heard
        left = len(heard) - extractor.n_samples * np.arange(windows)
        frames = -(-np.minimum(left, extractor.n_samples) // extractor.hop_length)
        return {"samples": samples, "frames": frames.astype(np.int32)}

    def finished(self, arrays: Arrays) -> Arrays:
        """Of a window's "samples" its "features": float32 [mel bins, spectra]."""
        rate = self._extractor.sampling_rate
        with np.errstate(over="ignore", invalid="ignore"):  # of what is too loud
            made = self._extractor(arrays["samples"], sampling_rate=rate, return_tensors="np")
        found = made["input_features"][0]
        if not np.isfinite(found).all():
            raise MediaRejected("it is too loud to be computed.")
        return {**arrays, "features": np.asarray(found, np.float32)}


def of(settings: Settings, network: Any, place: str) -> SoundReader | None:
    """With these settings; None where they name no extractor. Raises LoadError for one that is not known, or does not
    go with the tower. `place`: whose settings they are."""
    kind = str(settings.get("feature_extractor_type") or "")
    if not kind:
        return None
    if kind not in EXTRACTORS:
        raise LoadError(f"{place} names the feature extractor {kind}, which is not known here.")
    module = importlib.import_module(f"transformers.models.{EXTRACTORS[kind]}")
    extractor = getattr(module, kind).from_dict(json.loads(json.dumps(settings)))
    made, taken = (extractor.feature_size, extractor.nb_max_frames), network.sense.input_shape
    if made != taken:
        made_by, wanted = (f"{bins} × {spectra}" for bins, spectra in (made, taken))
        raise LoadError(f"{place} makes {made_by} numbers of a sound, and its tower takes {wanted}.")
    return SoundReader(extractor)
