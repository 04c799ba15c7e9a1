"""The options that an engine is started with, each in one place: a field with its bounds and its help text. The command
line makes the flags of `nitro serve` from these fields.

An option that not every engine has is named by those that have it (`options` in backends/registry.py). Where another
engine is chosen, any value but the default is refused (backends/loading.py).
"""

from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from msgspec import Meta, Struct
from msgspec.structs import FieldInfo, fields

LogLevel = Literal["debug", "info", "warning", "error"]
Switch = Literal["on", "off"]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]

AMOUNT = r"^[0-9]+(\.[0-9]+)? *[KMGTkmgt]?(i?[Bb])?$"  # as system/memory.py reads it
AMOUNT_FORM = "a number of MiB, or a size such as 12G"
SHARE = r"[0-9]+(\.[0-9]+)?"


class EngineOptions(Struct, frozen=True, kw_only=True):
    """What can be set for any engine, whatever its model. None: the engine decides.

    Meta's `extra` may hold a `flag` that is not named after its field, and a `form`: what a `pattern` means in words.
    """

    @property
    def takes_any_network(self) -> bool:
        """Whether workers and ranks may be where others reach them."""
        return self.insecure_network or self.rpc_insecure_network

    engine: Annotated[str, Meta(description="Inference engine")] = "auto"  # the command line adds which there are
    context: (
        Annotated[
            int,
            Meta(
                ge=16,
                description="Tokens that one request can use, prompt and answer together. "
                "Default: what the model was trained for, or what fits into memory.",
                extra={"flag": "--ctx"},
            ),
        ]
        | None
    ) = None
    parallel: Annotated[int, Meta(ge=1, le=128, description="Requests that run at the same time.")] = 8
    draft: Annotated[
        str | None,
        Meta(
            description="A smaller model with the same vocabulary, which guesses what MODEL says next. It changes the "
            "speed only."
        ),
    ] = None
    lora: Annotated[
        tuple[str, ...],
        Meta(
            description="A LoRA adapter of MODEL, as NAME=PATH: a GGUF file, or a folder of PEFT's or mlx-lm's. "
            "A request chooses it by NAME, as a model. Repeatable."
        ),
    ] = ()
    mmproj: Annotated[
        str | None,
        Meta(
            description="The projector that lets MODEL see or hear; off: none. Default: the one that is beside MODEL.",
            extra={"form": "a file, or off"},
        ),
    ] = None
    image_max_tokens: (
        Annotated[
            int,
            Meta(
                ge=1,
                description="Tokens that an image takes at most, where they depend on its size. Default: the model's.",
            ),
        ]
        | None
    ) = None
    threads: Annotated[int, Meta(ge=1, description="CPU threads. Default: one per physical core.")] | None = None
    gpu_layers: (
        Annotated[int, Meta(ge=0, description="Layers to put on the GPU; 0 computes on the CPU. Default: all.")] | None
    ) = None
    require_gpu: Annotated[bool, Meta(description="Fail instead of computing on the CPU.")] = False
    deterministic: Annotated[
        bool,
        Meta(
            description="Give the same request with the same seed bitwise the same tokens and logprobs, whatever runs "
            "beside it and whatever is cached. On the CPU only, and slower."
        ),
    ] = False
    lookup: Annotated[
        Switch,
        Meta(
            description="Guess tokens from what the sequence has said before, and check several in one step where that "
            "pays. No answer changes."
        ),
    ] = "on"
    hosts: (
        Annotated[
            str,
            Meta(
                description="File of the machines that share MODEL, in the form of mlx.launch. Each computes a part of "
                "every layer; the first is this one."
            ),
        ]
        | None
    ) = None
    pipeline: Annotated[
        bool, Meta(description="Over --hosts: each machine computes some of the layers, one after the other.")
    ] = False
    wired_limit: Annotated[
        str,
        Meta(
            pattern=r"^(off|recommended|0*[1-9][0-9]*)$",
            description="Memory of a Mac to keep wired, so that it is never swapped: off, recommended, or MiB.",
            extra={"form": "off, recommended, or a number of MiB"},
        ),
    ] = "off"
    cache_type_k: Annotated[CacheType, Meta(description="Type of the keys in the KV cache.")] = "f16"
    cache_type_v: Annotated[
        CacheType, Meta(description="Type of the values in the KV cache. Quantized ones need flash attention.")
    ] = "f16"
    flash_attn: Annotated[
        Literal["on", "off", "auto"], Meta(description="Flash attention; auto: where the device has it.")
    ] = "auto"
    no_mmap: Annotated[bool, Meta(description="Read the weights into memory instead of mapping the file.")] = False
    mlock: Annotated[bool, Meta(description="Keep the weights in main memory, so that they are never swapped.")] = False
    split_mode: Annotated[
        Literal["none", "layer", "row", "tensor"], Meta(description="How a model is split over several GPUs.")
    ] = "layer"
    tensor_split: (
        Annotated[
            str,
            Meta(
                pattern=rf"^{SHARE}(,{SHARE})*$",
                description="Share of the model for each GPU, as in 3,1; with --rpc for each worker first.",
                extra={"form": "numbers separated by commas"},
            ),
        ]
        | None
    ) = None
    main_gpu: Annotated[int, Meta(ge=0, description="The GPU for all with --split-mode none, counted from 0.")] = 0
    n_cpu_moe: Annotated[
        int, Meta(ge=0, description="Layers, from the first on, whose experts stay in main memory.")
    ] = 0
    override_tensor: (
        Annotated[
            str,
            Meta(
                pattern=r"^[^=,]+=[^=,]+(,[^=,]+=[^=,]+)*$",
                description="Where tensors lie whose names match a regular expression, as in ffn_up=CPU,ffn_gate=CPU.",
                extra={"form": "PATTERN=BUFFER, several separated by commas"},
            ),
        ]
        | None
    ) = None
    rpc: (
        Annotated[
            str,
            Meta(
                pattern=r"^[^,\s]+:[0-9]+(,[^,\s]+:[0-9]+)*$",
                description="Workers (`nitro rpc-worker`) that take layers of the model, on other machines. The layers "
                "are shared by what memory each has free, or by --tensor-split: first the workers, then the GPUs.",
                extra={"form": "HOST:PORT, several separated by commas"},
            ),
        ]
        | None
    ) = None
    insecure_network: Annotated[
        bool,
        Meta(
            description="Let workers (--rpc) and machines (--hosts) be where others reach them: nothing is encrypted "
            "that goes there, and who calls is not asked. Default: on this machine only, or at the end of a tunnel."
        ),
    ] = False
    rpc_insecure_network: Annotated[bool, Meta(description="--insecure-network, by its old name.")] = False
    rope_scaling: (
        Annotated[Literal["none", "linear", "yarn"], Meta(description="RoPE: how it is scaled. Default: the model's.")]
        | None
    ) = None
    rope_scale: (
        Annotated[float, Meta(gt=0, description="Stretch the context by this factor: 1 / --rope-freq-scale.")] | None
    ) = None
    rope_freq_base: (
        Annotated[float, Meta(gt=0, description="Base of RoPE's frequencies. Default: the model's.")] | None
    ) = None
    rope_freq_scale: (
        Annotated[float, Meta(gt=0, description="Factor of RoPE's frequencies. Default: the model's.")] | None
    ) = None
    yarn_orig_ctx: (
        Annotated[int, Meta(ge=1, description="YaRN: the context of the training. Default: the model's.")] | None
    ) = None
    yarn_ext_factor: (
        Annotated[float, Meta(ge=0, description="YaRN: share of extrapolation; 0 interpolates. Default: the model's.")]
        | None
    ) = None
    yarn_attn_factor: (
        Annotated[float, Meta(gt=0, description="YaRN: factor of attention. Default: the model's.")] | None
    ) = None
    yarn_beta_fast: (
        Annotated[float, Meta(gt=0, description="YaRN: turns above which nothing is scaled. Default: the model's.")]
        | None
    ) = None
    yarn_beta_slow: (
        Annotated[float, Meta(gt=0, description="YaRN: turns below which all is scaled. Default: the model's.")] | None
    ) = None
    engine_memory: (
        Annotated[
            str,
            Meta(
                pattern=AMOUNT,
                description="Main memory that an engine may take, in MiB or as in 12G: by a cgroup where the server "
                "may make one, else by a limit on what it allocates. On Linux only. Default: no limit.",
                extra={"form": AMOUNT_FORM},
            ),
        ]
        | None
    ) = None
    compile_seconds: Annotated[
        float,
        Meta(
            gt=0, le=3600, description="Processor time that a request's schemas, grammar and regex may take to compile."
        ),
    ] = 10.0
    compile_memory: Annotated[
        int, Meta(ge=16, le=2**20, description="Memory that compiling them may take, in MiB. On Linux only.")
    ] = 1024
    tokenize_seconds: Annotated[
        float, Meta(gt=0, le=3600, description="Processor time that a long text may take to be read as tokens.")
    ] = 10.0
    tokenize_memory: Annotated[
        int, Meta(ge=16, le=2**20, description="Memory that reading it may take, in MiB. On Linux only.")
    ] = 1024
    log_level: Annotated[LogLevel, Meta(description="How much to log.")] = "info"


class Option(Struct, frozen=True):
    """A field of EngineOptions or of a struct made from it, as the command line needs it."""

    field: str
    flag: str  # "--gpu-layers"
    kind: Any  # its type without None: int, Literal["debug", …], tuple[str, ...]
    default: Any
    meta: Meta  # bounds, description, form


@cache
def options_of(struct: type[Struct]) -> tuple[Option, ...]:
    """All fields of the struct that have a Meta with a description, in order."""
    options = [_option(field) for field in fields(struct)]
    return tuple(option for option in options if option.meta.description)


def _option(field: FieldInfo) -> Option:
    kind = field.type
    meta = Meta()
    while get_origin(kind) in (Annotated, Union, UnionType):
        if get_origin(kind) is Annotated:
            kind, meta = get_args(kind)
        else:
            (kind,) = [part for part in get_args(kind) if part is not NoneType]
    named = (meta.extra or {}).get("flag") or "--" + field.name.replace("_", "-")
    return Option(field=field.name, flag=named, kind=kind, default=field.default, meta=meta)
