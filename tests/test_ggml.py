"""What llama.cpp's log and ggml's devices are read for, GPU lines included: no GPU is needed to read them."""

from collections.abc import Callable
from pathlib import Path

import llama_cpp
import llama_cpp.llama_cpp as lib
import pytest

from nitro.engines.backends.llama import layer_placement, library
from nitro.engines.hardware.memory import MIB
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec


def log_of(*lines: str) -> library.Log:
    log = library.Log()
    for line in lines:
        log.add(2, line + "\n")
    return log


def test_layers_on_a_gpu() -> None:
    assert log_of("load_tensors: offloaded 31/33 layers to GPU").offloaded() == (31, 33)
    assert log_of("load_tensors: offloaded 0/33 layers to GPU").offloaded() == (0, 33)
    assert log_of("load_tensors: done").offloaded() is None


def test_where_layers_lie() -> None:
    """Devices decide whether it is the GPU; only how many layers comes from the log."""
    spec = EngineSpec("llama", "")
    log = log_of("load_tensors: offloaded 31/33 layers to GPU")
    on_gpu = layer_placement.find_layers(spec, uses_gpu=True, layers=32, llama_log=log)
    assert on_gpu.on_gpu and str(on_gpu) == "31 of 33 on the GPU"
    on_cpu = layer_placement.find_layers(spec, uses_gpu=False, layers=32, llama_log=log_of())
    assert not on_cpu.on_gpu and str(on_cpu) == "all 32 on the CPU"


def test_new_words_in_the_log_are_an_error() -> None:
    with pytest.raises(LoadError, match="does not say how many layers"):
        log = log_of("load_tensors: 31 of 33 layers were placed on CUDA0")
        layer_placement.find_layers(EngineSpec("llama", ""), uses_gpu=True, layers=32, llama_log=log)


def test_the_installed_llama_cpp_says_it_in_these_words() -> None:
    """No GPU is needed to look for the format in the library."""
    (file,) = Path(llama_cpp.__file__).with_name("lib").glob("libllama.*[so,dylib]")
    assert b"offloaded %d/%d layers to GPU" in file.read_bytes()


def test_kv_bytes_of_all_buffers() -> None:
    lines = [
        f"llama_kv_cache: {device:>10} KV buffer size = {size:8.2f} MiB"
        for device, size in (("CUDA0", 96), ("CPU", 16.5))
    ]
    assert log_of(*lines).kv_bytes() == int(112.5 * MIB)
    assert log_of("nothing").kv_bytes() == 0


def test_where_the_kv_cache_lies() -> None:
    split = [f"llama_kv_cache: {place:>10} KV buffer size =    96.00 MiB" for place in ("CUDA0", "CPU", "CUDA0")]
    assert log_of("llama_context:  CUDA_Host  output buffer size =     1.69 MiB", *split).kv_place() == "CUDA0, CPU"
    assert log_of("llama_memory_recurrent:      CUDA1 RS buffer size =     2.00 MiB").kv_place() == "CUDA1"
    assert log_of("nothing").kv_place() == ""


def test_the_ends_are_those_that_are_all_said(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"print_info: EOG token             = {token} '<|{token}|>'" for token in (0, 151645)]
    assert log_of("print_info: EOS token = 0 '<|0|>'", *lines, "print_info: max token length = 9").ends() == {0, 151645}
    assert log_of("print_info: max token length = 9").ends() == set()
    assert log_of(*lines).ends() is None, "there may be more"
    monkeypatch.setattr(library, "MAX_KEPT", 50)
    assert log_of(*lines, "print_info: max token length = 9").ends() is None


def test_the_last_error() -> None:
    log = library.Log()
    log.add(library.ERROR, "model is corrupted\n")
    log.add(2, "afterwards\n")
    assert log.last_error == "model is corrupted."


def test_the_reason_of_a_failure_is_not_an_error_of_before() -> None:
    log = library.Log()
    for attempt in ("decode", "llama_init_from_model"):
        log.begin_attempt()
        log.add(library.ERROR, f"{attempt}: failed in its own way\n")
        log.add(library.ERROR, f"{attempt}: it failed\n")
        assert log.last_error == f"{attempt}: it failed."
    assert log.first_error == "failed in its own way."
    log.begin_attempt()
    log.add(library.ERROR, "llama_kv_cache: no memory\n")
    assert log.first_error == "no memory."


def test_devices() -> None:
    devices = library.devices()
    assert any(not device.is_gpu and device.name for device in devices)
    assert all(device.free >= 0 for device in devices)


def test_build() -> None:
    build = library.build()
    assert build.usable and "CPU" in build.backends and build.version.startswith("llama-cpp-python 0.")


@pytest.mark.parametrize(
    ("format", "values", "reads"),
    [
        (b"%s: offloaded %d/%d layers to GPU\n", (b"load_tensors", 12, 31), lambda log: log.offloaded() == (12, 31)),
        (b"%s: %10s KV buffer size = %8.2f MiB\n", (b"kv", b"CUDA0", 9.5), lambda log: log.kv_place() == "CUDA0"),
        (b"%s: %10s KV buffer size = %8.2f MiB\n", (b"kv", b"CPU", 1.5), lambda log: log.kv_bytes() == 1.5 * MIB),
        (b"%s: %10s RS buffer size = %8.2f MiB\n", (b"rs", b"CUDA0", 9.5), lambda log: log.kv_place() == "CUDA0"),
    ],
)
def test_the_installed_llama_cpp_logs_what_is_read_of_it(
    format: bytes, values: tuple, reads: Callable[[library.Log], bool]
) -> None:
    """A test without a GPU sees no such line, but the library holds its text, word for word."""
    assert format in Path(lib._lib._name).read_bytes()
    assert reads(log_of((format % values).decode()))
