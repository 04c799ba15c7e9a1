"""The network of a folder in mlx-lm's layout, its weights loaded in whatever mode they are packed.

What cannot be computed is refused before a weight is read: mlx-lm loads lazily.
"""

from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.utils import _get_classes, load_model

from nitro.checkpoints import architecture_faults, block_packing, mlx_packing, quantizers
from nitro.checkpoints.mlx_packing import PackedShape
from nitro.engines.backends.mlx import block_layers, weight_reading
from nitro.engines.backends.mlx.model import Share, whole
from nitro.engines.backends.mlx.towers.loading import Opening
from nitro.engines.runner import LoadError
from nitro.errors import reason


def load(
    folder: Path, config: dict[str, Any], sight: Opening | None = None, share: Share = whole
) -> tuple[Any, dict[str, Any]]:
    """The network, and its configuration as mlx-lm completed it. `config`: what config.json says. `sight`: how it is
    opened with its tower. Raises LoadError, and whatever mlx-lm raises for a broken folder."""
    if problem := architecture_faults.problem(config):
        raise LoadError(f"MLX cannot open {folder}: {problem}.")
    try:
        types = block_packing.types(config)
    except ValueError as error:
        raise LoadError(f"MLX cannot open {folder}: {error}.") from None
    if types:
        network = _in_blocks(folder, config, types)
        share(network)
        return network, config
    if problem := quantizers.problem_for_mlx(config, folder):
        raise LoadError(f"MLX cannot open {folder}: {problem}.")
    try:
        settings = _settings(config)
        if sight is None:
            network, completed = load_model(folder, lazy=True, model_config=settings)
        else:
            settings |= sight.settings
            network, completed = load_model(folder, lazy=True, model_config=settings, get_model_classes=sight.classes)
    except Exception as error:
        raise _explained(folder, config, error) from None
    modules = dict(network.named_modules())
    check_computable(folder, config, modules)
    _check_integers(folder, modules)
    share(network)
    weight_reading.read(network)
    return network, completed


def _in_blocks(folder: Path, config: dict[str, Any], types: dict[str, str]) -> Any:
    """The network of a folder whose weights are in ggml's blocks. `types`: ggml's, by layer."""
    if not block_layers.is_installed():
        raise LoadError(f"MLX cannot open {folder}: its weights are in ggml's blocks. {block_layers.CURE}")
    model, settings = _get_classes(config)  # private, but mlx-lm is pinned exactly
    network: Any = model(settings.from_dict({**config, **architecture_faults.defaults(config)}))
    arrays = _arrays(folder)
    if hasattr(network, "sanitize"):
        arrays = network.sanitize(arrays)
    modules = dict(network.named_modules())
    for layer in types:
        if not block_layers.can_replace(modules.get(layer)):
            raise LoadError(f"MLX cannot open {folder}: {layer} is in ggml's blocks, and mlx-lm has no such layer.")
    scales = block_layers.install(network, types)
    dropped = {f"{layer}.scales" for layer in types} - scales.keys()
    network.load_weights([(name, array) for name, array in arrays.items() if name not in dropped])
    network.eval()
    weight_reading.read(network)
    return network


def _arrays(folder: Path) -> dict[str, mx.array]:
    """None of them read yet."""
    arrays: dict[str, mx.array] = {}
    for file in folder.glob("model*.safetensors"):
        found = mx.load(str(file))
        arrays |= found if isinstance(found, dict) else {}
    return arrays


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """Settings for mlx-lm beside config.json's: those for which its defaults are wrong, and those that it looks for
    elsewhere, since some folders have them under another key."""
    found = architecture_faults.defaults(config)
    settings = mlx_packing.quantization(config)
    if settings is None or "quantization" in config or "quant_method" in settings or "group_size" not in settings:
        return found
    return {**found, "quantization": settings}


def check_computable(folder: Path, config: dict[str, Any], modules: dict[str, Any]) -> None:
    """Raises LoadError for products that MLX has only on a GPU. `modules`: the network's, by name."""
    if mx.default_device().type != mx.DeviceType.cpu:
        return
    scaled = [name for name, module in modules.items() if module.get("global_scale") is not None]
    if scaled:
        raise LoadError(
            f"MLX cannot open {folder}: {scaled[0]} has a global scale, and MLX has no such products on the CPU. "
            "Take one without: mlx_lm.convert --q-mode nvfp4 writes none."
        )
    if config.get("quantize_activations"):
        raise LoadError(
            f"{folder}: config.json says quantize_activations, and MLX has no such products on the CPU. "
            "Remove it there: the weights are the same, and what they are multiplied with is not rounded."
        )


def _check_integers(folder: Path, modules: dict[str, Any]) -> None:
    """Raises LoadError where a layer of numbers was given integers: another library's packing, of which mlx-lm knows
    nothing. It would compute with them."""
    for name, module in modules.items():
        weight = module.get("weight")
        packed = any(key in module for key in ("scales", "weight_scale"))
        if isinstance(weight, mx.array) and not packed and not mx.issubdtype(weight.dtype, mx.floating):
            raise LoadError(
                f"MLX cannot open {folder}: tensor {name}.weight is packed or in eight bits, and nothing says how; "
                f"supported are {mlx_packing.SUPPORTED}. {quantizers.CURE}."
            )


def _explained(folder: Path, config: dict[str, Any], error: Exception) -> LoadError:
    """What is wrong with how the weights are packed, if that is it; otherwise what mlx-lm says."""
    if name := quantizers.method(config, folder):
        return LoadError(
            f"mlx-lm cannot load {folder}, whose weights are quantised by {name}: {reason(error)}. {quantizers.CURE}."
        )
    settings = mlx_packing.quantization(config)
    arrays = _arrays(folder)
    for name, array in arrays.items():
        layer = name.removesuffix(".weight")
        scales = arrays.get(f"{layer}.scales")
        if layer == name or scales is None or array.dtype != mx.uint32:
            continue
        try:
            shape = PackedShape(array.shape[-1], scales.shape[-1], scales.dtype == mx.uint8)
            mlx_packing.of_layer(settings, layer, shape)
        except ValueError as problem:
            return LoadError(f"MLX cannot open {folder}: {problem}. {quantizers.CURE}.")
    return LoadError(f"mlx-lm cannot load {folder}: {reason(error)}")
