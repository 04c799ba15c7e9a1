"""Which files of a repository are right for a machine. The lists of files are like those of real repositories."""

import pytest

from nitro.models import quantizations
from nitro.models.choice import Choice, Machine, Memory, choose, needed
from nitro.models.repository import Repository, RepositoryFile

GB = 10**9
MEMORY = (Memory("memory", 10 * GB),)


def repository(files: dict[str, float], name: str = "org/Model-8B-GGUF", **more: object) -> Repository:
    """Sizes in GB."""
    listed = tuple(RepositoryFile(path, int(size * GB)) for path, size in files.items())
    return Repository(name=name, files=listed, **more)


def chosen(files: dict[str, float], tag: str = "", memory: float = 10, **more: object) -> list[str]:
    found = choose(repository(files, **more), Machine((Memory("memory", int(memory * GB)),)), tag)
    assert found.problem is None, found.problem
    return [file.path for file in found.files]


def refused(files: dict[str, float], tag: str = "", memory: float = 10, **more: object) -> str:
    found = choose(repository(files, **more), Machine((Memory("memory", int(memory * GB)),)), tag)
    assert not found.files and not any(row.chosen for row in found.rows)
    return found.problem or ""


def reasons(found: Choice) -> dict[str, str]:
    return {row.file: row.reason for row in found.rows}


FLAT = {
    ".gitattributes": 0,
    "README.md": 0,
    "Model-8B-f32.gguf": 32,
    "Model-8B-bf16.gguf": 16,
    "Model-8B-Q8_0.gguf": 8.5,
    "Model-8B-Q6_K_L.gguf": 6.9,
    "Model-8B-Q6_K.gguf": 6.6,
    "Model-8B-Q5_K_M.gguf": 5.7,
    "Model-8B-Q4_K_M.gguf": 4.9,
    "Model-8B-Q4_K_S.gguf": 4.7,
    "Model-8B-IQ4_XS.gguf": 4.4,
    "Model-8B-IQ3_XXS.gguf": 3.3,
    "Model-8B-IQ2_M.gguf": 2.9,
    "Model-8B.imatrix": 0.01,
}


@pytest.mark.parametrize(
    ("memory", "type"),
    [(64, "Q8_0"), (10.2, "Q8_0"), (10, "Q6_K_L"), (8, "Q6_K"), (7, "Q5_K_M"), (6, "Q4_K_M"), (5.3, "IQ4_XS")],
)
def test_the_best_type_that_fits_with_room_for_a_context(memory: float, type: str) -> None:
    assert chosen(FLAT, memory=memory) == [f"Model-8B-{type}.gguf"]


def test_few_bits_are_better_than_nothing() -> None:
    assert chosen(FLAT, memory=4) == ["Model-8B-IQ3_XXS.gguf"]


def test_nothing_fits() -> None:
    said = refused(FLAT, memory=3)
    assert said == (
        "Nothing of org/Model-8B-GGUF fits into this machine (3.0 GB of memory): the smallest, IQ2_M, needs 3.5 GB. "
        "Take a smaller model, or ask for it all the same: org/Model-8B-GGUF:IQ2_M."
    )


@pytest.mark.parametrize(("gpu", "type"), [(12, "Q8_0"), (6, "Q4_K_M"), (4, "Q8_0")])
def test_a_gpu_comes_first_while_it_holds_a_good_type(gpu: float, type: str) -> None:
    """The last has room for 3 bits only, and main memory for all."""
    machine = Machine((Memory("GPU memory", int(gpu * GB)), Memory("memory", 48 * GB)))
    found = choose(repository(FLAT), machine)
    assert found.tag == type
    row = next(row for row in found.rows if row.chosen)
    assert row.fits == ("memory" if gpu == 4 else "GPU memory") and row.fits in row.reason


def test_the_unquantised_are_taken_where_nothing_else_is_as_good() -> None:
    assert chosen({"m-BF16.gguf": 2, "m-F16.gguf": 2, "m-F32.gguf": 4}, memory=4) == ["m-BF16.gguf"]
    assert chosen({"m-BF16.gguf": 2, "m-Q2_K.gguf": 0.5}, memory=4) == ["m-BF16.gguf"]
    assert chosen({"m-BF16.gguf": 2, "m-Q4_K_M.gguf": 0.6}, memory=4) == ["m-Q4_K_M.gguf"]
    assert chosen({"m-fp16.gguf": 2}, memory=4) == ["m-fp16.gguf"]


@pytest.mark.parametrize("tag", ["Q4_K_M", "q4_k_m", "Model-8B-Q4_K_M", "Model-8B-Q4_K_M.gguf"])
def test_a_tag_forces(tag: str) -> None:
    assert chosen(FLAT, tag, memory=1) == ["Model-8B-Q4_K_M.gguf"]


def test_an_unknown_tag_names_those_that_are_there_best_first() -> None:
    assert refused(FLAT, "Q4_0") == (
        "org/Model-8B-GGUF has no Q4_0; there are F32, BF16, Q8_0, Q6_K_L, Q6_K, Q5_K_M, Q4_K_M, Q4_K_S, IQ4_XS, "
        "IQ3_XXS, IQ2_M."
    )


PARTS = {
    "Model-70B-Q4_K_M.gguf": 42.5,
    **{f"Model-70B-Q8_0/Model-70B-Q8_0-0000{n}-of-00002.gguf": 37 for n in (2, 1)},
    **{f"Q6_K/Model-70B-Q6_K-0000{n}-of-00002.gguf": 29 for n in (1, 2)},
    **{f"BF16/Model-70B-0000{n}-of-00003.gguf": 47 for n in (1, 2, 3)},
    "UD-Q4_K_XL/Model-70B-UD-Q4_K_XL-00001-of-00001.gguf": 43,
    **{f"IQ1_M/Model-70B-IQ1_M-0000{n}-of-00003.gguf": 5 for n in (1, 3)},
}


def test_parts_come_together_in_their_order_from_folders_and_beside_whole_files() -> None:
    name = "org/Model-70B-GGUF"
    first, second = (f"Model-70B-Q8_0/Model-70B-Q8_0-0000{n}-of-00002.gguf" for n in (1, 2))
    assert chosen(PARTS, memory=100, name=name) == [first, second]
    assert chosen(PARTS, memory=53, name=name) == ["UD-Q4_K_XL/Model-70B-UD-Q4_K_XL-00001-of-00001.gguf"]
    assert chosen(PARTS, memory=51.3, name=name) == ["Model-70B-Q4_K_M.gguf"]
    assert chosen(PARTS, "BF16", name=name) == [f"BF16/Model-70B-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    found = choose(repository(PARTS, name), Machine((Memory("memory", 100 * GB),)))
    assert [row.size for row in found.rows if row.chosen] == [74 * GB]
    assert f"{first} (and 1 more)" in reasons(found)


def test_ud_may_be_left_away_where_only_that_is_there() -> None:
    name = "org/Model-70B-GGUF"
    assert chosen(PARTS, "q4_k_xl", name=name) == ["UD-Q4_K_XL/Model-70B-UD-Q4_K_XL-00001-of-00001.gguf"]
    both = {"m-UD-Q4_K_M.gguf": 1, "m-Q4_K_M.gguf": 1}
    assert chosen(both, "Q4_K_M") == ["m-Q4_K_M.gguf"]
    assert chosen(both, "UD-Q4_K_M") == ["m-UD-Q4_K_M.gguf"] == chosen(both)


def test_what_lacks_a_part_is_not_taken() -> None:
    rows = reasons(choose(repository(PARTS, "org/Model-70B-GGUF"), Machine(MEMORY)))
    lacking = "of IQ1_M/Model-70B-IQ1_M.gguf 2 of 3 parts are in the repository"
    assert rows["IQ1_M/Model-70B-IQ1_M-00001-of-00003.gguf (and 2 more)"] == lacking
    assert refused(PARTS, "IQ1_M").startswith(f"org/Model-8B-GGUF: {lacking}. Ask for another: BF16, Q8_0, ")


def test_the_same_whole_and_in_parts() -> None:
    files = {**{f"Q8_0/m-Q8_0-0000{n}-of-00002.gguf": 2 for n in (1, 2)}, "m-Q8_0.gguf": 4}
    assert chosen(files) == ["m-Q8_0.gguf"] == chosen(files, "Q8_0")
    rows = reasons(choose(repository(files), Machine(MEMORY)))
    assert rows["Q8_0/m-Q8_0-00001-of-00002.gguf (and 1 more)"] == "the same in more files"


def test_what_is_no_model_is_left_out_and_named() -> None:
    companions = {
        "imatrix_unsloth.gguf": "an importance matrix",
        "ggml-vocab-llama-bpe.gguf": "a vocabulary without weights",
        "my-lora-f16.gguf": "an adapter",
        "mtp-Model-8B-Q8_0.gguf": "a draft head",
        "Model-8B.control_vector.gguf": "a control vector",
    }
    files = {**dict.fromkeys(companions, 0.1), "Model-8B-Q4_0.gguf": 4.5, "Explora-7B-lorax-Q2_K.gguf": 2}
    found = choose(repository(files), Machine(MEMORY))
    assert [file.path for file in found.files] == ["Model-8B-Q4_0.gguf"]
    assert reasons(found).items() >= companions.items()
    assert reasons(found)["Explora-7B-lorax-Q2_K.gguf"] == "another model"
    assert "nothing that Nitro opens" in refused(dict.fromkeys(companions, 0.1))


@pytest.mark.parametrize(
    ("projectors", "taken"),
    [
        (["mmproj-BF16.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf"], "mmproj-BF16.gguf"),
        (["mmproj-F32.gguf", "mmproj-Q8_0.gguf", "mmproj-model-f16.gguf"], "mmproj-model-f16.gguf"),
        (["Model-8B.mmproj-Q8_0.gguf"], "Model-8B.mmproj-Q8_0.gguf"),
        (["mmproj-other-bf16.gguf", "mmproj-model-8b-f16.gguf"], "mmproj-model-8b-f16.gguf"),
    ],
)
def test_a_projector_comes_along(projectors: list[str], taken: str) -> None:
    files = {"Model-8B-Q4_K_M.gguf": 4.9, "Model-8B-Q8_0.gguf": 8.5, **dict.fromkeys(projectors, 0.9)}
    found = choose(repository(files), Machine((Memory("memory", int(10.5 * GB)),)))
    assert [file.path for file in found.files] == ["Model-8B-Q4_K_M.gguf", taken], "its bytes count"
    assert reasons(found)[taken] == "lets the model see or hear"
    assert {reasons(found)[name] for name in projectors if name != taken} <= {"a projector"}


def test_several_models_in_one_repository() -> None:
    files = {"Small-1B-Q8_0.gguf": 1, "Small-1B-Q4_0.gguf": 0.6, "Model-8B-Q4_0.gguf": 4.5, "Model-8B-Q5_0.gguf": 5.5}
    assert chosen(files) == ["Model-8B-Q5_0.gguf"], "it is called as the repository"
    assert "has more than one Q4_0: Small-1B-Q4_0.gguf, Model-8B-Q4_0.gguf. Name the file: " in refused(files, "Q4_0")
    assert chosen(files, "Small-1B-Q4_0") == ["Small-1B-Q4_0.gguf"]
    found = choose(repository(files), Machine(MEMORY), "Small-1B-Q4_0")
    assert found.tag == "Small-1B-Q4_0", "what means it again"


def test_names_without_a_type() -> None:
    assert chosen({"model.gguf": 1}) == ["model.gguf"]
    assert choose(repository({"model.gguf": 1}), Machine(MEMORY)).tag == "model"
    assert chosen({"ggml-model.gguf": 1}, "ggml-model") == ["ggml-model.gguf"]


def test_files_that_were_cut_with_other_tools() -> None:
    said = refused({"m.Q6_K.gguf.part1of2": 20, "m.Q6_K.gguf.part2of2": 20})
    assert "m.Q6_K.gguf.part1of2" in said and "cat" in said


@pytest.mark.parametrize(
    ("stem", "tag", "base"),
    [
        ("Qwen3-8B-Q4_K_M", "Q4_K_M", "Qwen3-8B"),
        ("phi-3-mini-4k-instruct-q4", "Q4", "phi-3-mini-4k-instruct"),
        ("model.i1-IQ2_XXS", "IQ2_XXS", "model.i1"),
        ("Model-UD-TQ1_0", "UD-TQ1_0", "Model"),
        ("gpt-oss-20b-mxfp4", "MXFP4", "gpt-oss-20b"),
        ("Model-Q4_K_M-imat", "Q4_K_M", "Model-imat"),
        ("Model-F16.Q8_0", "Q8_0", "Model-F16"),
        ("Model-Q4_0_4_4", "Q4_0_4_4", "Model"),
        ("SmolLM2", "", "SmolLM2"),
    ],
)
def test_types_in_names(stem: str, tag: str, base: str) -> None:
    assert (quantizations.tag(stem), quantizations.base(stem)) == (tag, base)


# Folders

FOLDER = {
    ".gitattributes": 0,
    "README.md": 0,
    "config.json": 0,
    "generation_config.json": 0,
    "model-00001-of-00002.safetensors": 2,
    "model-00002-of-00002.safetensors": 2,
    "model.safetensors.index.json": 0,
    "tokenizer.json": 0.01,
    "tokenizer_config.json": 0,
    "chat_template.jinja": 0,
    "merges.txt": 0,
    "modeling_own.py": 0,
    "onnx/model.onnx": 5,
    "consolidated.safetensors": 4,
    "original/params.json": 0,
}
MAC = Machine((Memory("memory", 12 * GB),), ("mlx", "llama"))
BOX = Machine((Memory("memory", 12 * GB),), ("llama",))
WITH_MLX = Machine((Memory("memory", 12 * GB),), ("llama", "mlx"))
PACKED = {"tags": frozenset({"mlx", "safetensors"}), "config": {"quantization": {"bits": 4, "group_size": 64}}}


def test_a_folder_for_mlx_has_all_that_mlx_lm_reads() -> None:
    found = choose(repository(FOLDER, "mlx-community/Model-4bit", **PACKED), MAC)
    left_away = {".gitattributes", "README.md", "modeling_own.py", "onnx/model.onnx", "consolidated.safetensors"}
    assert [file.path for file in found.files] == [
        path for path in FOLDER if path not in {*left_away, "original/params.json"}
    ]
    assert (found.format, found.tag) == ("folder", "")
    assert {row.type for row in found.rows if row.file.endswith(".safetensors")} == {"4-bit"}


def test_a_folder_for_mlx_where_there_is_no_mlx() -> None:
    said = choose(repository(FOLDER, "mlx-community/Model-4bit", **PACKED), BOX).problem
    assert said == (
        "mlx-community/Model-4bit is packed for MLX, which is not installed here: take a repository with GGUF files "
        "of the same model."
    )
    assert choose(repository(FOLDER, "mlx-community/Model-4bit", **PACKED), WITH_MLX).problem is None


def test_a_folder_of_the_hub_goes_to_mlx_or_to_the_converter() -> None:
    files = repository(FOLDER, "org/Model")
    assert choose(files, MAC).problem is None
    said = choose(files, BOX).problem or ""
    assert "hf download org/Model --local-dir Model && nitro convert Model --to gguf" in said


def test_a_folder_that_does_not_fit() -> None:
    machine = Machine((Memory("memory", 4 * GB),), ("mlx",))
    said = choose(repository(FOLDER, "org/Model"), machine).problem or ""
    assert said.startswith("org/Model needs 4.8 GB, and this machine has 4.0 GB of memory")


def test_gguf_files_beside_a_folder() -> None:
    both = {**FOLDER, "Model-8B-Q4_0.gguf": 4.5}
    assert choose(repository(both), MAC).format == "gguf", "unpacked weights are larger and slower"
    assert choose(repository(both, **PACKED), MAC).format == "folder"
    assert choose(repository(both, **PACKED), BOX).format == "gguf"
    assert choose(repository(both, **PACKED), MAC, "Q4_0").tag == "Q4_0"
    assert "has no GGUF files, so there is no Q4_0" in (choose(repository(FOLDER), MAC, "Q4_0").problem or "")


def test_room_beside_the_weights() -> None:
    assert needed(10**8) == 5 * 10**8 and needed(10**10) == 12 * 10**9
