"""Model settings as data, part of every checkpoint; `clipsep.models.registry` builds modules of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

# Bounds far beyond any use: settings come with models of others, and sizes are made of them.
MOST_CHANNELS = 1 << 13


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UNetSettings(_Settings):
    """The published U-Net.

    Attributes:
        kind: the published U-Net.
        num_downs: halvings of bands and frames.
        width: channels after the first one.
    """

    kind: Literal["unet"] = "unet"
    num_downs: int = Field(7, ge=5, le=10)
    width: int = Field(64, ge=1, le=MOST_CHANNELS)

    @property
    def stride(self) -> int:
        """Bands and frames must be multiples of it."""
        return 2**self.num_downs


class PatchUNetSettings(_Settings):
    """The compact network of the `mini` models; see `clipsep.models.networks.patch_unet.PatchUNet`.

    Attributes:
        kind: the compact network.
        widths: channels of each level.
        blocks: residual blocks per level and side.
        patch: side of a patch, in bands and frames.
        attention: transformer blocks at the innermost level.
        gated_head: whether the query also gates the features, for a second, non-linear part of the logits.
        film_decoder: whether the query scales and shifts the decoder's channels, too.
        slots: masks that look for the sounds of a mixture without being asked, and help the queries.
        slot_steps: how often slots and queries are changed by what their masks take.
    """

    kind: Literal["patch_unet"] = "patch_unet"
    widths: tuple[Annotated[int, Field(ge=1, le=MOST_CHANNELS)], ...] = Field(
        (64, 128, 192, 256), min_length=1, max_length=10
    )
    blocks: int = Field(1, ge=1, le=64)
    patch: int = Field(4, ge=1, le=64)
    attention: int = Field(0, ge=0, le=64)
    gated_head: bool = False
    film_decoder: bool = False
    slots: int = Field(0, ge=0, le=64)
    slot_steps: int = Field(4, ge=1, le=16)

    @model_validator(mode="after")
    def _decoded_once(self) -> PatchUNetSettings:
        if self.film_decoder and self.slots:
            raise ValueError("slots need features that no query steers: not with film_decoder")
        return self

    @property
    def stride(self) -> int:
        """Bands and frames must be multiples of it."""
        return self.patch * 2 ** (len(self.widths) - 1)


class OwnNetworkSettings(_Settings):
    """A network of another package, which need not be installed to run an exported model.

    Attributes:
        kind: its name, see `clipsep.plugins.load_plugin`.
        stride: bands and frames must be multiples of it.
        options: keyword arguments of its class.
    """

    kind: str = Field(min_length=1)
    stride: int = Field(1, ge=1)
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _only_these(cls, value: Any) -> Any:
        if isinstance(value, dict) and (others := sorted(value.keys() - cls.model_fields)):
            raise ValueError(
                f"kind '{value['kind']}' is neither unet nor patch_unet, and a network of another package "
                f"takes 'stride' and 'options' here, not '{others[0]}'"
            )
        return value


SHIPPED_NETWORKS = ("unet", "patch_unet")


def _network_tag(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if kind in (None, *SHIPPED_NETWORKS) else "own"


NetworkSettings = Annotated[
    Annotated[UNetSettings, Tag("unet")]
    | Annotated[PatchUNetSettings, Tag("patch_unet")]
    | Annotated[OwnNetworkSettings, Tag("own")],
    Discriminator(_network_tag),
]


class ModelSettings(_Settings):
    """Everything that fixes the shape of a model's weights.

    Attributes:
        kind: ``clipsep`` (any fixed query embedding), ``labelsep`` (learnt label table) or ``pit``.
        feature_channels: K.
        query_dim: D; for ``labelsep`` the size of the label table's rows.
        query_hidden: hidden units of the query projection; 0 for a linear one, as published.
        query_activation: what follows the query projection, ``sigmoid`` as published or ``none``.
        normalize_query: scale query embeddings to unit length first.
        noise_heads: ``mixing.n_sources`` or more for noise invariant training, else 0.
        n_labels: rows of the label table, ``labelsep`` only.
    """

    kind: Literal["clipsep", "labelsep", "pit"] = "clipsep"
    network: NetworkSettings = UNetSettings()
    feature_channels: int = Field(32, ge=1, le=MOST_CHANNELS)
    query_dim: int = Field(512, ge=1, le=1 << 16)
    query_hidden: int = Field(0, ge=0, le=1 << 16)
    query_activation: Literal["sigmoid", "none"] = "sigmoid"
    normalize_query: bool = False
    noise_heads: int = Field(0, ge=0, le=64)
    n_labels: int = Field(0, ge=0, le=1 << 20)
