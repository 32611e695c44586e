"""A model in training, with the losses that are no part of it afterwards."""

from __future__ import annotations

import torch
from torch import nn

from clipsep.models.clipsep import CLIPSep, MaskLogits
from clipsep.training.losses import mask_loss
from recipes.everyday.labels import LabelMap, absent_cost, at_loud_places, label_map_cost
from recipes.everyday.scenes import Scene
from recipes.everyday.slots import slot_cost


class Pupil(nn.Module):
    """A model and what helps it to learn.

    Args:
        label_text: embeddings of all labels, [L, D].
        map_weight, others_weight: of the losses of `labels.py`.
        slots_weight: of that of `slots.py`.
        sdr_weight: of the signal-to-distortion term in the loss of masks that slots have not yet finished.
    """

    def __init__(
        self,
        model: CLIPSep,
        label_text: torch.Tensor,
        map_weight: float = 0.0,
        others_weight: float = 0.0,
        slots_weight: float = 0.0,
        sdr_weight: float = 0.0,
    ):
        super().__init__()
        self.model = model
        self.map_weight, self.others_weight = map_weight, others_weight
        self.slots_weight, self.sdr_weight = slots_weight, sdr_weight
        self.label_map = None
        if map_weight:
            hidden = model.query_projection[1].out_features
            self.label_map = LabelMap(model.network.bottom[0].conv1.in_channels, hidden)
        self.register_buffer("label_text", label_text, persistent=False)

    def forward(self, scene: Scene) -> tuple[MaskLogits, torch.Tensor | float]:
        """Mask logits for a batch, and what the other losses add."""
        if not (self.map_weight or self.others_weight or self.slots_weight):
            return self.model(scene.targets.log_mixture, scene.query), 0.0
        model, network = self.model, self.model.network
        levels = network(scene.targets.log_mixture)
        decoded = network.decode(levels)
        weights = model.query_weights(scene.query)
        extra: torch.Tensor | float = 0.0
        if self.slots_weight:
            every = network.seek(decoded, weights, levels[0])
            logits, extra = self._of_slots([each + model.bias for each in every], scene)
        else:
            logits = network.project(decoded, weights) + model.bias
        if self.label_map is not None:
            labels = model.query_projection[:-1](self.label_text)
            cost = label_map_cost(self.label_map(levels[-1], labels), scene)
            extra = extra + self.map_weight * cost
        if self.others_weight:
            somewhere = at_loud_places(decoded, scene.targets.power, network.patch)
            others = network.project(somewhere, model.query_weights(scene.others_query[None]))
            cost = absent_cost(others + model.bias, scene)
            extra = extra + self.others_weight * cost
        return MaskLogits(logits), extra

    def _of_slots(
        self, every: list[torch.Tensor], scene: Scene
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of the queries, and the cost of the slots and of all masks at an earlier step."""
        slots = self.model.network.slots.count
        *before, last = every
        cost = self.slots_weight * slot_cost(last[:, :slots], scene)
        # One of them, drawn at random: all would take as long as the rest of the network.
        if before:
            earlier = before[int(torch.randint(len(before), ()))]
            asked = MaskLogits(earlier[:, slots:])
            masks = mask_loss(asked, scene.targets, self.sdr_weight, query_weight=scene.weight)
            cost = cost + masks.total + self.slots_weight * slot_cost(earlier[:, :slots], scene)
        return last[:, slots:], cost
