"""Damaged and hostile files on their whole way: what the checks of headers let pass, the engine's decoders refuse or
read. In a process of its own, whose memory is looked at, and which must not start another."""

import json
import os
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path

from pictures import flac, mp3, picture, png_of, sound
from projectors import write_ear, write_oracle
from test_bad_media import CORPUS, LIMITS
from tiny_models import WIDTH, write_gguf

from nitro.engines.backends.llama.projector import Projector
from nitro.engines.backends.llama.runner import LlamaRunner
from nitro.engines.media import MediaKind
from nitro.engines.media_encoder import MediaRejected
from nitro.engines.types import EngineSpec
from nitro.errors import ApiError
from nitro.service.media.checks import checked
from nitro.service.media.kept import KeptFiles
from nitro.service.media.sources import MediaSource

USUAL: list[tuple[MediaKind, bytes]] = [("image", picture((99, 99))), ("audio", sound(12)), ("audio", mp3(470))]
BOMBS: list[tuple[MediaKind, bytes]] = [
    *[("image", png_of(*size)) for size in ((8192, 8192), (65535, 65535), (1, 2**31 - 1))],
    *[("audio", flac(samples)) for samples in (2**36 - 1, 21 * 8000)],
    ("audio", sound(21, rate=100)),
]
MOST = 32 * 2**20  # bytes: libmtmd holds 30 seconds more than there are, in several copies
PROGRAMS = ("ffprobe", "ffmpeg")


def test_the_corpus_is_refused_or_read(tmp_path: Path) -> None:
    for name in PROGRAMS:
        trap = tmp_path / name
        trap.write_text(f"#!/bin/sh\necho started >> {tmp_path}/started\n")
        trap.chmod(0o755)
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, __file__, tmp_path], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert not (tmp_path / "started").exists() and found["children"] == 0
    assert sum(found["files"].values()) == len(CORPUS) + len(BOMBS)
    assert found["files"]["refused by its header"] > 200 and found["files"]["refused by its decoder"] > 20
    assert found["files"]["read"] > 20
    assert found["more"] < MOST


def fate(media: dict[MediaKind, Projector], kind: MediaKind, data: bytes) -> str:
    """What becomes of a file. Raises whatever should not be raised."""
    try:
        (medium,) = checked([MediaSource(kind=kind, part="p", field="f", data=data)], LIMITS, {}, KeptFiles())
    except ApiError as error:
        assert (error.status, error.param) == (400, "p.f")
        return "refused by its header"
    try:
        pieces = media[kind].pieces(medium)
    except MediaRejected:
        return "refused by its decoder"
    assert any(not isinstance(piece, list) for piece in pieces)
    return "read"


def children_faults() -> int:
    """Page faults of all processes that this one has started and waited for; each has some."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt


def main(folder: Path) -> None:
    """In that process: all files, and what the process needed for them."""
    model = write_gguf(folder / "tiny.gguf")
    write_oracle(model, folder / "mmproj-eye.gguf", (301, 302, 303, 304, 305))
    write_ear(folder / "mmproj-ear.gguf", WIDTH)
    runners = [
        LlamaRunner(
            EngineSpec("llama", str(model), context=256, parallel=1, mmproj=str(folder / f"mmproj-{name}.gguf"))
        )
        for name in ("eye", "ear")
    ]
    media: dict[MediaKind, Projector] = {"image": runners[0].media, "audio": runners[1].media}
    for kind, data in USUAL:
        assert fate(media, kind, data) == "read", (kind, data[:12])
    before, children = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, children_faults()
    files = Counter(fate(media, kind, data) for kind, data in [*[entry[1:] for entry in CORPUS], *BOMBS])
    unit = 1 if sys.platform == "darwin" else 1024
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit
    children = children_faults() - children
    for runner in runners:
        runner.close()
    print(json.dumps({"files": files, "more": more, "children": children}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
