"""Which stored model a name means, and which of its forms: pure, with models that are nowhere."""

import itertools
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from running import CEILING

from nitro.gguf import architectures, known
from nitro.models import catalog, names, openers, preference
from nitro.models.catalog import AmbiguousName, Catalog, NameNotFound
from nitro.models.settings import ModelSettings
from nitro.models.stored_model import StoredModel
from nitro.models.stores import model_files, scan

GIB = 2**30


def model(name: str, **about: Any) -> StoredModel:
    given = {"path": f"/models/{name}", "store": "hub", "format": "gguf", "size": GIB, "created": 0} | about
    return StoredModel(name=name, architecture="llama", **given)


MODELS = [
    model("unsloth/Qwen3-0.6B-GGUF:Q4_K_M", names=("Qwen3-0.6B-Q4_K_M",), size=4 * GIB),
    model("unsloth/Qwen3-0.6B-GGUF:Q8_0", names=("Qwen3-0.6B-Q8_0",), size=8 * GIB),
    model("unsloth/Qwen3-0.6B-GGUF:BF16", names=("Qwen3-0.6B-BF16",), size=16 * GIB),
    model("mlx-community/Qwen3-0.6B-4bit", format="mlx"),
    model("mlx-community/Llama-3.2-1B-4bit", format="mlx"),
    model("llama3.2:3b", store="ollama"),
    model("llama3.2:1b", store="ollama"),
    model("SmolLM2-135M-Instruct", store="embedded"),
]


def first(models: Sequence[StoredModel]) -> StoredModel:
    return models[0]


@pytest.mark.parametrize(
    "name, found",
    [
        ("unsloth/Qwen3-0.6B-GGUF:Q8_0", "unsloth/Qwen3-0.6B-GGUF:Q8_0"),
        ("UNSLOTH/qwen3-0.6b-gguf:q8_0", "unsloth/Qwen3-0.6B-GGUF:Q8_0"),
        (" unsloth/Qwen3-0.6B-GGUF ", "unsloth/Qwen3-0.6B-GGUF:Q4_K_M"),
        ("Qwen3-0.6B-GGUF", "unsloth/Qwen3-0.6B-GGUF:Q4_K_M"),
        ("Qwen3-0.6B-Q8_0", "unsloth/Qwen3-0.6B-GGUF:Q8_0"),
        ("qwen3", "unsloth/Qwen3-0.6B-GGUF:Q4_K_M"),
        ("qwen3-0.6b-4bit", "mlx-community/Qwen3-0.6B-4bit"),
        ("llama3.2:1b", "llama3.2:1b"),
        ("3.2-1b", "mlx-community/Llama-3.2-1B-4bit"),
        ("smollm", "SmolLM2-135M-Instruct"),
        ("/models/llama3.2:1b", "llama3.2:1b"),
    ],
)
def test_what_a_name_means(name: str, found: str) -> None:
    assert names.find(name, MODELS, first).name == found


def test_several_candidates_are_named() -> None:
    with pytest.raises(AmbiguousName) as caught:
        names.find("llama", MODELS, first)
    assert caught.value.candidates == ["llama3.2:1b", "llama3.2:3b", "mlx-community/Llama-3.2-1B-4bit"]
    assert "say which of llama3.2:1b, llama3.2:3b" in str(caught.value)


@pytest.mark.parametrize("name", ["", "  ", "gpt-4", "x" * 600, "qwen3:nothing", "../models", "\0", "é\ud800"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(NameNotFound) as caught:
        names.find(name, MODELS, first)
    assert len(caught.value.known) == len(MODELS)
    assert "SmolLM2-135M-Instruct" in str(caught.value) and len(str(caught.value)) < 700


# Of several forms


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Both engines, and a model fits if it is not larger than the memory."""
    monkeypatch.setattr(openers, "of", lambda _: ("llama", "mlx"))
    monkeypatch.setattr("nitro.models.fit.fits", lambda model, free: model.size <= free)
    return monkeypatch


def test_another_name_that_several_models_have_means_none() -> None:
    models = [model(f"maker/{name}-GGUF:Q4_0", names=("ggml-model-Q4_0",)) for name in ("cat", "dog")]
    with pytest.raises(AmbiguousName, match="maker/cat-GGUF:Q4_0, maker/dog-GGUF:Q4_0"):
        names.find("ggml-model-q4_0", models, first)
    own = model("ggml-model-Q4_0", store="folder")
    assert names.find("ggml-model-q4_0", [*models, own], first) == own, "but the one that is called so wins"


@pytest.mark.parametrize("memory, tag", [(64, "BF16"), (9, "Q8_0"), (4, "Q4_K_M"), (1, "Q4_K_M")])
def test_the_best_that_fits(here: pytest.MonkeyPatch, memory: int, tag: str) -> None:
    here.setattr(openers, "prefers_mlx", lambda: False)
    assert preference.best(MODELS[:3], memory * GIB).name.endswith(tag)


def test_on_a_machine_with_mlx_a_name_means_what_mlx_runs_best(here: pytest.MonkeyPatch) -> None:
    for mlx, found in ((True, "mlx-community/Qwen3-0.6B-4bit"), (False, "unsloth/Qwen3-0.6B-GGUF:Q8_0")):
        here.setattr(openers, "prefers_mlx", lambda mlx=mlx: mlx)
        choose = lambda models: preference.best(models, 9 * GIB)  # noqa: E731
        assert names.find("qwen3-0.6b", MODELS, choose).name == found


def test_a_broken_form_is_the_last_choice(here: pytest.MonkeyPatch) -> None:
    broken = model("a/x:Q8_0", problem="It is cut.", size=8 * GIB)
    whole = model("a/x:Q4_0", size=4 * GIB)
    assert preference.best([broken, whole], 64 * GIB) == whole


def test_where_mlx_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openers, "find_spec", lambda _: object())
    for system, machine, order in (("darwin", "arm64", ("mlx", "llama")), ("linux", "x86_64", ("llama", "mlx"))):
        openers.installed.cache_clear()
        monkeypatch.setattr("sys.platform", system)
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        assert openers.installed() == order
        assert openers.prefers_mlx() == (system == "darwin")
    openers.installed.cache_clear()


def test_which_engines_open_what(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlx_lm")
    monkeypatch.setattr(openers, "installed", lambda: ("llama", "mlx"))
    assert openers.of(model("x")) == ("llama", "mlx")
    assert openers.of(model("x", problem="It is cut.")) == ()
    of = {"architecture": "bloom"}
    assert openers.of(StoredModel(name="x", path="", store="hub", format="gguf", size=1, created=0, **of)) == ("llama",)
    for architecture, engines in (("mistral", ("mlx",)), ("phi-msft", ("mlx",)), ("llama", ("mlx",)), ("bert9", ())):
        found = StoredModel(name="x", path="", store="hub", format="mlx", size=1, created=0, architecture=architecture)
        assert openers.of(found) == engines, architecture


def test_the_architectures_of_mlx_are_those_of_the_table() -> None:
    assert set(architectures.FAMILIES) == known.ARCHITECTURES


# The catalog


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> list[StoredModel]:
    """What the stores hold; tests change it."""
    found = [model("a:1b", path=str(tmp_path)), model("b:1b", path=str(tmp_path / "b"))]
    monkeypatch.setattr(scan, "models", lambda *_: list(found))
    return found


def test_a_list_is_believed_for_a_while(there: list[StoredModel], tmp_path: Any) -> None:
    now = [0.0]
    found = Catalog(clock=lambda: now[0])
    assert found.find("a:1b").name == "a:1b"
    there[0] = model("new:1b", path=str(tmp_path))
    assert found.find("a:1b").name == "a:1b"
    with pytest.raises(NameNotFound):
        found.find("new:1b")
    now[0] += catalog.AGAIN
    assert found.find("new:1b").name == "new:1b", "what is not in the list is looked for"
    there[0] = model("newest:1b", path=str(tmp_path))
    now[0] += catalog.FRESH
    with pytest.raises(NameNotFound):
        found.find("new:1b")


def test_those_who_ask_while_others_look_share_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, all_wait, looks = itertools.count(1), threading.Event(), []

    def clock() -> float:
        """The first asks three times until it looks; five others twice until they wait for it."""
        number = next(asked)
        if number >= 3 + 5 * 2:
            all_wait.set()
        return float(number)

    def look(*_: Any) -> list[StoredModel]:
        looks.append(1)
        assert all_wait.wait(CEILING)
        return []

    monkeypatch.setattr(scan, "models", look)
    found = Catalog(clock=clock)
    with ThreadPoolExecutor(6) as many:
        asking = [many.submit(found.find, "nowhere") for _ in range(6)]
        assert all(isinstance(each.exception(), NameNotFound) for each in asking)
    assert len(looks) == 2, "the second began after all had asked"


def test_a_model_that_is_gone_is_looked_for_again(there: list[StoredModel]) -> None:
    found = Catalog()
    assert found.find("b:1b").name == "b:1b"
    there.pop()
    with pytest.raises(NameNotFound):
        found.find("b:1b")


def test_a_name_means_the_same_form_whatever_is_loaded_meanwhile(
    there: list[StoredModel], here: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    there[:] = [model(f"a/x:{tag}", path=str(tmp_path), size=size * GIB) for tag, size in (("Q8_0", 8), ("Q4_0", 4))]
    free = [9 * GIB]
    here.setattr(catalog, "free_host_memory", lambda: free[0], raising=False)
    here.setattr(preference, "free_host_memory", lambda: free[0], raising=False)
    found = Catalog()
    assert found.find("a/x").name == "a/x:Q8_0"
    free[0] = GIB
    assert found.find("a/x").name == "a/x:Q8_0"
    assert Catalog(memory=5 * GIB).find("a/x").name == "a/x:Q4_0", "--memory"
    asked: list[bool] = []
    gpu = Catalog(memory=5 * GIB, on_gpu=lambda: asked.append(True) or 100 * GIB)  # type: ignore[func-returns-value]
    assert gpu.find("a/x").name == gpu.find("a/x").name == "a/x:Q8_0" and asked == [True]
    assert Catalog(memory=5 * GIB, on_gpu=lambda: 0).find("a/x").name == "a/x:Q4_0", "main memory"


def test_settings_and_aliases(there: list[StoredModel]) -> None:
    settings = ModelSettings(alias="gpt-4", options={"context": 512})
    found = Catalog(configured={"a": settings, "nowhere": ModelSettings(pin=True)})
    assert found.find("GPT-4").name == "a:1b"
    assert found.settings(found.find("a:1b")) == settings
    assert found.settings(found.find("b:1b")) == ModelSettings()


# Names of files


@pytest.mark.parametrize(
    "stem, tag",
    [
        *(
            ("Qwen3-0.6B-Q4_K_M", "Q4_K_M"),
            ("x.i1-IQ2_XXS", "IQ2_XXS"),
            ("x-UD-Q4_K_XL", "UD-Q4_K_XL"),
            ("x-bf16", "BF16"),
        ),
        *(("gpt-oss-20b-mxfp4", "MXFP4"), ("x.f16", "F16"), ("model-fp16", "FP16"), ("llama-7b", ""), ("Q8_0", "Q8_0")),
    ],
)
def test_the_quantisation_in_a_files_name(stem: str, tag: str) -> None:
    assert model_files.tag(stem) == tag


@pytest.mark.parametrize(
    "stem, projectors, found",
    [
        ("gemma-3-4b-Q4_K_M", ["mmproj-F16.gguf", "mmproj-BF16.gguf"], "mmproj-BF16.gguf"),
        (
            "gemma-3-4b-Q4_K_M",
            ["mmproj-gemma-3-12b-f16.gguf", "mmproj-gemma-3-4b-f16.gguf"],
            "mmproj-gemma-3-4b-f16.gguf",
        ),
        ("llama-7b-Q4_0", ["mmproj-gemma-3-4b-f16.gguf"], None),
        ("llava", ["mmproj-model-f16.gguf"], "mmproj-model-f16.gguf"),
        ("x", [], None),
    ],
)
def test_a_models_projector(stem: str, projectors: list[str], found: str | None) -> None:
    assert model_files.projector_of(stem, projectors) == found
