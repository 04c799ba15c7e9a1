"""Brings a model's layers to workers: checks what goes together, greets each worker, registers it."""

import re
from collections.abc import Sequence

from nitro.engines.backends.llama.library import Log
from nitro.engines.backends.llama.remote.backend import RpcBackend
from nitro.engines.backends.llama.remote.watch import WorkerWatch
from nitro.engines.remote import greeting, workers
from nitro.engines.remote.greeting import WorkerFault
from nitro.engines.remote.workers import BadWorkers, Worker
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec

GIB = 2**30
ASSIGNED = re.compile(r"load_tensors: layer +\d+ assigned to device (\w+)")  # llama-model.cpp:1599


class RemoteLayers:
    """The workers of one model."""

    def __init__(self, spec: EngineSpec, weights: int):
        """`weights`: bytes of the model's. Raises LoadError: a worker that cannot be used, options that exclude it."""
        _check(spec)
        assert spec.rpc
        try:
            self._workers = workers.parse(spec.rpc, spec.takes_any_network)
        except BadWorkers as error:
            raise LoadError(str(error)) from None
        backend = RpcBackend()
        try:
            offers = [greeting.greet(worker, backend.protocol) for worker in self._workers]
        except WorkerFault as error:
            raise LoadError(str(error)) from None
        self.free = sum(sum(offer.free) for offer in offers)
        if spec.gpu_layers is None:
            _check_room(self._workers, self.free, weights)
        self._watch = WorkerWatch(self._workers)
        self._names = {name: worker.name for worker in self._workers for name in backend.add(worker.endpoint)}

    def loaded(self) -> None:
        """The model's weights are there."""
        self._watch.loaded()

    def close(self) -> None:
        """The model is about to be freed."""
        self._watch.stop()

    def layers(self, log: Log) -> dict[str, int]:
        """By the worker's name, the layers that it has; the output is one."""
        found = dict.fromkeys((worker.name for worker in self._workers), 0)
        for device in ASSIGNED.findall(log.text):
            if device in self._names:
                found[self._names[device]] += 1
        return found

    def named(self, text: str) -> str:
        """A text with ggml's devices, as "RPC0, CPU", with the workers' names instead."""
        return re.sub(r"RPC\d+", lambda match: self._names.get(match[0], match[0]), text)


def _check(spec: EngineSpec) -> None:
    """Raise LoadError for options that do not go with --rpc."""
    if spec.gpu_layers == 0:
        raise LoadError("--rpc puts layers on workers, and --gpu-layers 0 puts them nowhere. Leave one of them out.")
    if spec.require_gpu:
        raise LoadError("--require-gpu cannot be kept with --rpc: a worker does not tell what it computes with.")
    if spec.deterministic:
        raise LoadError("--deterministic is a promise for the CPU of one machine. Leave it out, or --rpc.")
    if spec.split_mode != "layer":
        raise LoadError(f"--rpc shares a model by layers. Leave out --split-mode {spec.split_mode}.")


def _check_room(found: Sequence[Worker], free: int, weights: int) -> None:
    """Raise LoadError where the weights do not fit into what the workers and GPUs have."""
    from nitro.engines.backends.llama import library

    free += sum(device.free for device in library.devices() if device.is_gpu)
    if weights > free:
        names = ", ".join(worker.name for worker in found)
        raise LoadError(
            f"The model's weights are {weights / GIB:.1f} GiB, and the workers {names} and the GPUs of this machine "
            f"offer {free / GIB:.1f} GiB. Add a worker, or let this machine's processor keep some layers: "
            f"--gpu-layers says how many go to workers."
        )
