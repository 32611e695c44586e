"""Names of the published models' weights, and ours for them."""

from __future__ import annotations

from collections.abc import Iterable

from clipsep.models.settings import ModelSettings


def level_prefixes(weights: Iterable[str]) -> list[str]:
    """List the prefixes of the U-Net's nested blocks, from the outermost inwards."""
    levels = ["sound_net.unet_block.model."]
    slot = 1  # of the next inner block: 1 in the outermost block, 3 in those with a normalisation
    while any(key.startswith(f"{levels[-1]}{slot}.model.") for key in weights):
        levels.append(f"{levels[-1]}{slot}.model.")
        slot = 3
    return levels


def unet_names(levels: list[str]) -> dict[str, str]:
    """Pair the published names of the U-Net's weights with ours.

    Args:
        levels: prefixes of the blocks. A block is a sequence of layers, some without weights: down
            convolution, [its norm,] the inner block, ..., up convolution[, its norm].
    """
    outermost, innermost = levels[0], levels[-1]
    names = {
        f"{outermost}0.weight": "network.down_convs.0.weight",
        f"{outermost}4.weight": "network.head.weight",
        f"{outermost}4.bias": "network.head.bias",
    }
    norms = {"sound_net.bn0": "network.input_norm"}
    for depth, level in enumerate(levels[1:], start=1):
        up = len(levels) - 1 - depth  # ours count from the innermost level outwards
        up_slot = 4 if level == innermost else 6
        names[f"{level}1.weight"] = f"network.down_convs.{depth}.weight"
        names[f"{level}{up_slot}.weight"] = f"network.up_convs.{up}.weight"
        norms[f"{level}{up_slot + 1}"] = f"network.up_norms.{up}"
        if level != innermost:
            norms[f"{level}2"] = f"network.down_norms.{depth - 1}"
    for published, ours in norms.items():
        for part in ("weight", "bias", "running_mean", "running_var"):
            names[f"{published}.{part}"] = f"{ours}.{part}"
    return names


def query_names(settings: ModelSettings) -> dict[str, str]:
    """Pair the published names of the weights outside the U-Net with ours."""
    if settings.kind == "pit":
        return {f"synth_net.{part}": f"masks.{part}" for part in ("weight", "bias")}
    names = {"synth_net.scale": "scale", "synth_net.bias": "bias"}
    modules = {"frame_net": "query_projection"}
    for head in range(settings.noise_heads):
        modules[f"pit_nets.{head}"] = f"noise_projections.{head}"
    for published, ours in modules.items():
        for part in ("weight", "bias"):
            names[f"{published}.{part}"] = f"{ours}.{part}"
    if settings.kind == "labelsep":
        names["label_net.weight"] = "label_table"
    return names
