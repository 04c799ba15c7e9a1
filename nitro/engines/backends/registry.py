"""The engines that Nitro knows, one row each. To add an engine, write a folder beside this file and a row here.

Read by the choice of an engine (loading.py), `nitro doctor`, the help of `nitro serve`, scripts/install.py and
scripts/parameters.py. Plain data: it imports no engine, and nothing but the standard library, because
scripts/install.py runs this file where nothing is installed yet.
"""

from dataclasses import dataclass
from typing import Literal

ANY = "any"
APPLE_SILICON = "darwin-arm64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """How pip installs an engine on some platforms."""

    extra: str  # the name in pyproject.toml's optional-dependencies
    platforms: frozenset[str]  # as `platform_name` writes them, or ANY
    title: str  # what scripts/install.py says it installs
    alone: tuple[str, ...] = ()  # packages that are installed without what they would bring along


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDescriptor:
    """An inference library that computes, and what it offers."""

    name: str  # what follows --engine
    library: str  # its name in sentences
    module: str  # the Python module that is there where the library is installed
    runner: str  # "module:Class" of its ModelRunner, or the function that chooses one
    probe: str  # "module:function" that gives its hardware.libraries.Build
    packages: tuple[Package, ...]
    automatic: frozenset[str]  # the platforms where --engine auto takes it
    automatic_where: str = ""  # the same in words, for help texts; empty: everywhere
    gpu: Literal["CUDA", "Metal"]  # the kind of GPU whose absence `nitro doctor` looks into
    options: frozenset[str]  # fields of EngineOptions that not every engine has, and this one has
    samplers: frozenset[str]  # those of engines.types.SAMPLERS that it has

    def package(self, platform: str) -> Package | None:
        """How to install it on this platform; None where it cannot be installed."""
        return next((package for package in self.packages if _has(package.platforms, platform)), None)


VISION = ("mlx-vlm",)  # of which only the models are imported: it would bring 1.1 GB along

MLX = EngineDescriptor(
    name="mlx",
    library="MLX",
    module="mlx",
    runner="nitro.engines.backends.mlx.runners:make",
    probe="nitro.engines.backends.mlx.library:build",
    packages=(
        Package(extra="mlx", platforms=frozenset({APPLE_SILICON}), title="MLX", alone=VISION),
        Package(
            extra="mlx-cpu",
            platforms=frozenset({"linux-x86_64", "linux-aarch64"}),
            title="MLX on the CPU",
            alone=VISION,
        ),
    ),
    automatic=frozenset({APPLE_SILICON}),
    automatic_where="on Apple Silicon",
    gpu="Metal",
    options=frozenset(
        {"draft", "hosts", "insecure_network", "lora", "mmproj", "pipeline", "require_gpu", "wired_limit"}
    ),
    # Mirostat and DRY go by the tokens so far, of which the last is not on the host yet when the next is drawn.
    samplers=frozenset({"dynatemp_range", "xtc_probability"}),
)

# named after the options of llama-server that they are
LLAMA_SERVER_OPTIONS = frozenset(
    {
        "image_max_tokens",
        "cache_type_k",
        "cache_type_v",
        "flash_attn",
        "no_mmap",
        "mlock",
        "split_mode",
        "tensor_split",
        "main_gpu",
        "n_cpu_moe",
        "rpc",
        "rpc_insecure_network",
        "override_tensor",
        "rope_scaling",
        "rope_scale",
        "rope_freq_base",
        "rope_freq_scale",
        "yarn_orig_ctx",
        "yarn_ext_factor",
        "yarn_attn_factor",
        "yarn_beta_fast",
        "yarn_beta_slow",
    }
)

LLAMA = EngineDescriptor(
    name="llama",
    library="llama.cpp",
    module="llama_cpp",
    runner="nitro.engines.backends.llama.opening:open_model",
    probe="nitro.engines.backends.llama.library:build",
    packages=(Package(extra="llama", platforms=frozenset({ANY}), title="llama.cpp"),),
    automatic=frozenset({ANY}),
    gpu="CUDA",
    options=frozenset(
        {
            *("draft", "gpu_layers", "insecure_network", "lora", "mmproj", "require_gpu", "threads"),
            *LLAMA_SERVER_OPTIONS,
        }
    ),
    samplers=frozenset({"dry_multiplier", "dynatemp_range", "mirostat", "xtc_probability"}),
)

ENGINES = (MLX, LLAMA)  # in the order in which --engine auto tries them


def find(name: str) -> EngineDescriptor | None:
    """The engine of this name; None where there is none."""
    return next((engine for engine in ENGINES if engine.name == name), None)


def automatic(platform: str) -> list[EngineDescriptor]:
    """What --engine auto may take on this platform, in the order in which it tries them."""
    return [engine for engine in ENGINES if _has(engine.automatic, platform)]


def optional() -> frozenset[str]:
    """The options that some engines have and others may lack."""
    return frozenset(option for engine in ENGINES for option in engine.options)


def platform_name(system: str, machine: str) -> str:
    """A platform as this file writes it. `system`: as sys.platform; `machine`: as platform.machine()."""
    return f"{system}-{machine}"


def _has(platforms: frozenset[str], platform: str) -> bool:
    return ANY in platforms or platform in platforms
