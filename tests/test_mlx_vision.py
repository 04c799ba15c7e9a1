"""Models that see or hear, on MLX: they give what transformers gives, alone, in batches, from prefixes and in pieces.
What is not known is refused, or takes text only."""

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import mlx.core as mx
import numpy as np
import pytest
import tiny_vision
from driving import Driver
from lora_files import products, write_peft
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.models.cache import make_prompt_cache
from running import CEILING, RunningServer
from safetensors.numpy import load_file, save_file
from same_answer import assert_same_answer, tolerance
from seers import CLOSE, GREEDY, Seer

from nitro.config import ServeConfig
from nitro.engines.adapters import AdapterSource
from nitro.engines.backends.mlx.runner import MlxRunner
from nitro.engines.backends.mlx.towers import families, loading
from nitro.engines.backends.mlx.towers.encoder import TowerRows
from nitro.engines.media import Media
from nitro.engines.media_encoder import EncodedRun, MediaRejected, MediaRun
from nitro.engines.runner import Chunk, LoadError
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.types import EngineSpec, SamplingParams
from nitro.errors import ApiError
from nitro.service.media.checks import check_kind

RECORD = tiny_vision.record()
LENGTH = 12  # tokens of an answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind in tiny_vision.HEARING:
            pytest.importorskip("miniaudio")  # not everywhere, see pyproject.toml
        if kind not in made:
            made[kind] = tiny_vision.write(tmp_path_factory.mktemp("model"), kind)
        return made[kind]

    return of


@pytest.fixture
def load(folder: Callable[[str], Path]) -> Iterator[Callable[..., Seer]]:
    runners = []

    def of(kind: str | Path, **options: Any) -> Seer:
        runners.append(Seer(folder(kind) if isinstance(kind, str) else kind, **options))
        return runners[-1]

    yield of
    for runner in runners:
        runner.media_thread.shutdown()
        runner.close()


@pytest.fixture(params=list(RECORD))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["qwen2_vl", "gemma3"])  # positions that are no places; rows that see each other
def odd(request: pytest.FixtureRequest) -> str:
    return request.param


def add(driver: Driver, id: int, tokens: list[int], length: int = LENGTH) -> None:
    assert isinstance(driver.runner, Seer)
    driver.answers[id] = []
    media = {token: driver.runner.runs[token] for token in tokens if token < 0}
    driver.scheduler.add(Sequence(id, list(tokens), length, GREEDY, media=media))


def same_as_alone(runner: Seer, tokens: list[int], answer: list[int]) -> None:
    text = [token for token in tokens if token >= 0]
    assert_same_answer(runner, tokens, answer, tolerance(runner, (text * 120)[:120]))


# What transformers computes


def test_logits_are_those_of_transformers(load: Callable[..., Seer], kind: str) -> None:
    runner = load(kind)
    hears = kind in tiny_vision.HEARING
    assert runner.info.media and (runner.info.media.image, runner.info.media.audio) == (not hears, hears)
    assert runner.info.embedding and runner.info.embedding.width == 64
    for case, recorded in zip(tiny_vision.CASES, RECORD[kind]["cases"], strict=True):
        tokens = runner.read(case)
        assert [token if token >= 0 else None for token in tokens] == [
            None if tokens[i] < 0 else token for i, token in enumerate(recorded["ids"])
        ]
        assert np.abs(runner.logits(tokens, [len(tokens)])[0] - recorded["logits"]).max() < CLOSE


def test_names_of_weights_as_the_hub_has_them(load: Callable[..., Seer], folder: Callable[[str], Path]) -> None:
    """Those of transformers before its fifth version, and between."""
    for kind, old in (
        ("gemma3", lambda name: name.replace("vision_tower.", "vision_tower.vision_model.")),
        ("gemma3", lambda name: "model." + name.replace("language_model.model.", "language_model.")),
        ("qwen2_vl", lambda name: name.replace("model.", "model.language_model.").replace("visual.", "model.visual.")),
    ):
        place = folder(kind).parent / f"{kind}, renamed"
        tiny_vision.write(place, kind)
        weights = load_file(place / "model.safetensors")
        save_file({old(name): array for name, array in weights.items()}, place / "model.safetensors", {"format": "pt"})
        runner = load(place)
        tokens = runner.read(tiny_vision.CASES[0])
        recorded = RECORD[kind]["cases"][0]["logits"]
        assert np.abs(runner.logits(tokens, [len(tokens)])[0] - recorded).max() < CLOSE


def test_a_flat_configuration(load: Callable[..., Seer], tmp_path: Path) -> None:
    """As the Hub has Qwen2-VL's."""
    config = RECORD["qwen2_vl"]["config"]
    text = {key: value for key, value in config["text_config"].items() if key not in ("model_type", "rope_parameters")}
    rope = config["text_config"]["rope_parameters"]
    flat = {**{key: value for key, value in config.items() if key != "text_config"}, **text}
    flat |= {"rope_theta": rope["rope_theta"]}
    flat |= {"rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]}}
    tiny_vision.write(tmp_path, "qwen2_vl")
    (tmp_path / "config.json").write_text(json.dumps(flat))
    runner = load(tmp_path)
    tokens = runner.read(tiny_vision.CASES[0])
    assert np.abs(runner.logits(tokens, [len(tokens)])[0] - RECORD["qwen2_vl"]["cases"][0]["logits"]).max() < CLOSE


@pytest.mark.parametrize("kind", ["qwen2_vl", "llava, clip", "smolvlm", "qwen2_audio"])
def test_rows_that_are_words(load: Callable[..., Seer], kind: str) -> None:
    """A picture whose rows are those of some words gives what the words give, bit for bit: whole, in pieces, alone and
    beside others."""
    runner = load(kind)
    network = runner._model.network
    words = runner.tokenizer.encode("red green blue")
    places = np.broadcast_to(np.arange(len(words)), (3, len(words)))
    rows = TowerRows(network.body.embed_tokens(mx.array(words)), places)
    runner.runs[-1] = EncodedRun(-1, len(words), len(words), False, rows)
    before, behind = runner.tokenizer.encode("Look: "), runner.tokenizer.encode(" is all that there is")
    text, picture = before + words + behind, before + [-1] * len(words) + behind
    for steps in ([len(text)], [3, len(text) - 3], [12, 5, len(text) - 17]):
        assert np.array_equal(runner.logits(text, steps), runner.logits(picture, steps))
    driver = Driver(runner, budget=9)
    for id, tokens in enumerate((text, picture, [*picture, *text], [*text, *picture]), 1):
        add(driver, id, tokens)
    answers = driver.run()
    assert answers[1] == answers[2] and answers[3] == answers[4]


# Slots


def test_batched_equals_alone(load: Callable[..., Seer], kind: str) -> None:
    """Texts and pictures decode together; all but one arrive while others run."""
    runner = load(kind)
    driver = Driver(runner)
    prompts = {id: runner.read(case) for id, case in enumerate((*tiny_vision.CASES, ("Text, ", 2, " and text.")), 1)}
    for id, tokens in prompts.items():
        add(driver, id, tokens)
        driver.step()
    assert any(len(batch) > 1 for batch in driver.batches)
    for id, answer in driver.run().items():
        same_as_alone(runner, prompts[id], answer)


def test_a_picture_in_pieces(load: Callable[..., Seer], kind: str) -> None:
    """Steps are so short that a run is cut where it may be, and only there."""
    runner = load(kind)
    driver = Driver(runner, budget=7)
    tokens = runner.read(tiny_vision.CASES[1])
    add(driver, 1, tokens)
    same_as_alone(runner, tokens, driver.run()[1])
    ends = {stop for _, _, stop in runner.chunks if stop < len(tokens)}
    inside = {end for end in ends if tokens[end] < 0 and tokens[end - 1] == tokens[end]}
    assert bool(inside) != (kind == "gemma3")


def test_a_picture_is_computed_once(load: Callable[..., Seer], kind: str) -> None:
    runner = load(kind)
    if not runner.info.can_truncate:
        pytest.skip("its slots are not cut")
    driver = Driver(runner)
    first, second = runner.read(("See ", 0, " now. What is it?")), runner.read(("See ", 0, " now. Where is it?"))
    for id, tokens in enumerate((first, second, first), 1):
        add(driver, id, tokens)
        same_as_alone(runner, tokens, driver.run()[id])
    shared = len(runner.read(("See ", 0, " now. Wh")))
    starts = [min(start for id, start, _ in runner.chunks if id == each) for each in (1, 2, 3)]
    assert starts == [0, shared, len(first) - 1]


def test_the_same_question_about_another_picture(load: Callable[..., Seer], kind: str) -> None:
    runner = load(kind)
    driver = Driver(runner)
    prompts = [runner.read(("See ", number, " now. What is it?")) for number in (0, 1, 0, 2)]
    for id, tokens in enumerate(prompts, 1):
        add(driver, id, tokens)
        same_as_alone(runner, tokens, driver.run()[id])
    logits = [runner.logits(tokens, [len(tokens)])[0] for tokens in prompts]
    assert np.abs(logits[0] - logits[1]).max() > 0.05  # a test that could not tell pictures apart would show nothing


def test_trim_and_copy(load: Callable[..., Seer], odd: str) -> None:
    """Behind a picture, before it, and in its middle, of which nothing can be kept where rows see each other."""
    runner = load(odd, context=24 if odd == "gemma3" else 300)  # less than its window, so that it can be cut
    tokens = runner.read((0, " is"))
    first = next(i for i, token in enumerate(tokens) if token < 0)
    behind = max(i for i, token in enumerate(tokens) if token < 0) + 1
    media = {token: runner.runs[token] for token in tokens if token < 0}

    def fill(slot: int, start: int) -> None:
        runner.submit([Chunk(slot, slot, tokens, start, len(tokens) - 1, GREEDY, media=media)])
        runner.collect()

    def drawn(slot: int) -> int:
        runner.submit([Chunk(slot, slot, tokens, len(tokens) - 1, len(tokens), GREEDY, media=media)])
        return runner.collect()[0].tokens[0]

    best = int(runner.logits(tokens, [len(tokens)])[0].argmax())
    inside = 0 if odd == "gemma3" else first + 1
    for length, kept in ((behind, behind), (first, first), (first + 1, inside)):
        fill(0, 0)
        assert runner.copy(0, 1, length) == kept
        assert runner.trim(0, length) == kept
        for slot in (0, 1):
            fill(slot, kept)
            assert drawn(slot) == best
            runner.trim(slot, 0)


def test_deterministic(load: Callable[..., Seer], odd: str) -> None:
    """Pieces of prompts end on the grid, but for pictures that are not cut; beside others the logits are the same."""
    runner = load(odd, deterministic=True)
    tokens = runner.read(("a" * 57, 1, "b" * 80))
    alone = Driver(runner)
    add(alone, 1, tokens)
    answer = alone.run()[1]
    again = Driver(runner)
    for id in (1, 2, 3):
        add(again, id, tokens)
    assert set(map(tuple, again.run().values())) == {tuple(answer)}


def test_encoding_beside_decoding(load: Callable[..., Seer], odd: str) -> None:
    """The media thread and the engine's compute at the same time."""
    runner = load(odd)
    driver = Driver(runner)
    text = runner.read(tiny_vision.CASES[2])
    add(driver, 1, text, 60)
    driver.step()
    assert runner.media
    media = Media.of("image", tiny_vision.picture(0), "image")
    run = next(piece for piece in runner.media.pieces(media) if isinstance(piece, MediaRun))
    wanted = np.array(runner.media.encode(run).embeddings)
    found: list[np.ndarray] = []
    done = threading.Event()

    def encode() -> None:
        while not done.is_set():
            found.append(np.array(runner.media.encode(run).embeddings))  # type: ignore[union-attr]

    running = runner.media_thread.submit(encode)
    try:
        same_as_alone(runner, text, driver.run()[1])
    finally:
        done.set()
        running.result()
    assert found and all(np.array_equal(rows, wanted) for rows in found)


def test_penalties_know_no_rows_of_pictures(load: Callable[..., Seer]) -> None:
    runner = load("llava, siglip")
    tokens = runner.read((0, "abc"))
    media = {token: runner.runs[token] for token in tokens if token < 0}
    sampling = SamplingParams(temperature=0, frequency_penalty=0.5, repeat_last_n=-1, logprobs=0)
    logits = runner.logits(tokens, [len(tokens)])[0]
    counts = np.bincount([token for token in tokens if token >= 0], minlength=len(logits))
    runner.submit([Chunk(1, 0, tokens, 0, len(tokens), sampling, media=media)])
    assert runner.collect()[0].tokens == [int((logits - 0.5 * counts).argmax())]


def test_an_adapter(load: Callable[..., Seer], tmp_path: Path) -> None:
    """It is what its product with the weights gives; one of the tower is refused: pictures are encoded for all."""
    where, tower = "model.layers.0.self_attn.q_proj", "visual.blocks.0.attn.qkv"
    layers = products({where: (64, 64)})
    runner, tokens = load("qwen2_vl"), load("qwen2_vl").read(tiny_vision.CASES[0])
    runner.load_adapter(AdapterSource(0, "a", str(write_peft(tmp_path / "a", layers))))
    merged = tiny_vision.write(tmp_path / "merged", "qwen2_vl")
    weights = load_file(merged / "model.safetensors")
    a, b = layers[where]
    weights[f"{where}.weight"] = weights[f"{where}.weight"] + (2 * b @ a).astype(np.float32)
    save_file(weights, merged / "model.safetensors", {"format": "pt"})
    other = load(merged)
    assert other.read(tiny_vision.CASES[0]) == tokens == runner.read(tiny_vision.CASES[0])
    chunk = Chunk(1, 0, tokens, 0, len(tokens), GREEDY, media=runner.runs, adapters=((0, 1.0),))
    found = np.array(runner._adapters.read(chunk, 0, len(tokens), make_prompt_cache(runner._model.network))[-1])
    assert np.abs(found - other.logits(tokens, [len(tokens)])[0]).max() < CLOSE
    assert np.abs(found - runner.logits(tokens, [len(tokens)])[0]).max() > 0.01
    with pytest.raises(LoadError, match="media are encoded once for all"):
        runner.load_adapter(AdapterSource(1, "b", str(write_peft(tmp_path / "b", products({tower: (96, 32)})))))


# Folders


def test_packed_weights(load: Callable[..., Seer], folder: Callable[[str], Path], tmp_path: Path) -> None:
    """A folder as mlx-vlm's converter writes it: the text's layers packed, names as they are in its models."""
    network: Any = load("qwen2_vl")._model.network
    wanted = load("qwen2_vl")
    opened, _ = loading.find(RECORD["qwen2_vl"]["config"], set(RECORD["qwen2_vl"]["shapes"]))
    assert opened
    config = {**RECORD["qwen2_vl"]["config"], **opened.settings}
    model_class, configuration = opened.classes(config)
    made = model_class(configuration.from_dict(config))
    weights = {name: mx.array(array) for name, array in tiny_vision.weights(RECORD["qwen2_vl"]["shapes"]).items()}
    made.load_weights(list(made.sanitize(weights).items()))
    nn.quantize(made.language_model, group_size=32, bits=8)
    tiny_vision.write(tmp_path, "qwen2_vl", {"quantization": {"group_size": 32, "bits": 8}})
    mx.save_safetensors(str(tmp_path / "model.safetensors"), dict(tree_flatten(made.parameters())), {"format": "mlx"})
    runner = load(tmp_path)
    assert len(network.layers) == len(runner._model.network.layers)
    case = tiny_vision.CASES[0]
    tokens, same = runner.read(case), wanted.read(case)
    apart = np.abs(runner.logits(tokens, [len(tokens)]) - wanted.logits(same, [len(same)])).max()
    assert 0 < apart < 0.2  # of logits that range over 9


def test_a_folder_without_its_tower_takes_text(load: Callable[..., Seer], tmp_path: Path) -> None:
    """As mlx-lm's converter leaves it."""
    tiny_vision.write(tmp_path, "gemma3", {"vocab_size": tiny_vision.VOCABULARY})  # where mlx-lm looks for it
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: array for name, array in weights.items() if name.startswith("language_model.")}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    runner = load(tmp_path)
    assert runner.media is None and runner.info.media is None
    assert Driver(runner).answer(1, runner.read(tiny_vision.CASES[2]), 3)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"model_type": "gemma7"}, "no tower for images is known of model_type gemma7 on MLX"),
        ({"text_config": {"hidden_activation": "relu"}}, "hidden_activation is relu"),
        ({"text_config": {"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}}, "what its config.json says"),
        ({"text_config": {"sliding_window_pattern": 0.5}}, "what its config.json says"),
    ],
)
def test_what_is_not_computed_right_takes_text_only(config: dict[str, Any], why: str) -> None:
    known = RECORD["gemma3"]["config"]
    text = {**known["text_config"], **config.get("text_config", {})}
    opened, blind = loading.find({**known, **config, "text_config": text}, set(RECORD["gemma3"]["shapes"]))
    assert opened is None and why in blind


def test_without_mlx_vlm_a_model_takes_text_only(
    folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(families.TowerKind, "missing", lambda kind: True)
    tiny_vision.write(tmp_path, "gemma3", {"vocab_size": tiny_vision.VOCABULARY})
    runner = MlxRunner(EngineSpec("mlx", str(tmp_path), context=100, parallel=1))
    assert runner.media is None and runner.info.media
    with pytest.raises(ApiError, match=r"takes text only\. It has a tower, but for images mlx-vlm") as caught:
        check_kind("image", "image_url", "messages[0].content[0].type", runner.info.media)
    assert caught.value.param == "messages[0].content[0].type"
    with pytest.raises(LoadError, match=r"idefics3 not supported.*mlx-vlm and Pillow must be"):  # mlx-lm has none
        MlxRunner(EngineSpec("mlx", str(folder("idefics3")), context=100, parallel=1))


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"image_processor_type": "OtherImageProcessor"}, "OtherImageProcessor"), ({}, "preprocessor_config.json")],
)
def test_an_unknown_image_processor(settings: dict[str, str], said: str, tmp_path: Path) -> None:
    tiny_vision.write(tmp_path, "qwen2_vl")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(LoadError, match=said):
        Seer(tmp_path)


def test_pictures_that_cannot_be_read(load: Callable[..., Seer]) -> None:
    runner = load("qwen2_vl")
    assert runner.media
    for data in (b"", b"\x89PNG\r\n\x1a\n", tiny_vision.picture(0)[:200], b"no picture"):
        with pytest.raises(MediaRejected):
            runner.media.pieces(Media.of("image", data, "image"))
    with pytest.raises(MediaRejected, match="aspect ratio"):
        runner.media.pieces(Media.of("image", tiny_vision.png(1000, 3), "image"))


def test_what_is_imported_of_mlx_vlm(folder: Callable[[str], Path]) -> None:
    """Its models alone, and of all that it wants to have installed only Pillow and transformers."""
    code = (
        "import sys, nitro.engines.backends.mlx.towers.families as f\n"
        "import mlx_lm.utils\n"
        "before = set(sys.modules)\n"
        "for family in f.FAMILIES.values(): 'mlx_vlm' in family.package and family.load()\n"
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}))\n"
        "print(sorted({'.'.join(name.split('.')[:2]) for name in sys.modules if name.startswith('mlx_vlm')}))\n"
        "print(type(sys.modules['mlx_vlm']).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    others, ours, kind = done.stdout.splitlines()
    assert set(json.loads(others.replace("'", '"'))) <= {"PIL", "mlx_vlm", "transformers", "xml", "defusedxml", "cffi"}
    assert json.loads(ours.replace("'", '"')) == ["mlx_vlm", "mlx_vlm.models", "mlx_vlm.turboquant"]
    assert kind == "_Deferred"


def test_over_http(folder: Callable[[str], Path]) -> None:
    """A picture in a chat is where the template has it, counted, and found in the cache with what stands before it."""
    data = base64.b64encode(tiny_vision.picture(0)).decode()
    said = [
        {"type": "text", "text": "What is in "},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        {"type": "text", "text": "? It is"},
    ]
    body = {"messages": [{"role": "user", "content": said}], "max_tokens": 4, "temperature": 0}
    with RunningServer(ServeConfig(model=str(folder("qwen2_vl")), engine="mlx", port=0, no_state=True)) as server:
        server.ready()
        url = f"{server.url}/v1/chat/completions"
        first, second = (httpx.post(url, json=body, timeout=CEILING).raise_for_status().json() for _ in range(2))
        damaged = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data[:80]}"}}
        body["messages"][0]["content"][1] = damaged
        refused = httpx.post(url, json=body, timeout=CEILING)
    assert first["choices"][0]["message"] == second["choices"][0]["message"]
    asked = len(RECORD["qwen2_vl"]["cases"][0]["ids"]) + 3  # the template's marks
    assert first["usage"]["prompt_tokens"] == asked
    assert first["usage"]["prompt_tokens_details"]["image_tokens"] == 12 + 2
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] == asked - 1
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "messages[0].content[1].image_url"


def test_the_record_has_every_family() -> None:
    assert {found["config"]["model_type"] for found in RECORD.values()} == families.FAMILIES.keys()
