"""A training run as data: YAML in, validated settings out, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from clipsep.datasets.reader import SAMPLE_RATE
from clipsep.datasets.storage.cache import DEFAULT_GIGABYTES
from clipsep.errors import UsageError
from clipsep.messages import first_problem
from clipsep.models.settings import SHIPPED_NETWORKS, ModelSettings
from clipsep.plugins import LOGGERS, LOSSES, NETWORKS, PROMPTS, SAMPLERS, installed, is_known, trust
from clipsep.queries.prompts import PROMPT_SETS
from clipsep.spectral import SpectralSettings
from clipsep.training.bounded_yaml import MOST_BYTES, read_yaml, set_key
from clipsep.training.data.settings import MixingSettings

SHIPPED_LOSSES = ("mask", "nit", "pit")
SHIPPED_LOGGERS = ("wandb",)
_STRIDE_KEYS = {"unet": "num_downs", "patch_unet": "patch and widths"}
_MOST_EXTENDED = 32
# YAML reads 32 as a number.
_Precision = Annotated[Literal["32", "bf16", "16"], BeforeValidator(str)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


_Location = Annotated[str, BeforeValidator(_as_text)]


class DataSettings(_Settings):
    """Prepared data sets: folders, or addresses such as ``s3://bucket/folder``.

    Attributes:
        train: folder or address of the clips that are mixed.
        val: folder or address of the clips that validation mixes; without it nothing is scored.
        shuffle_shards: shards among whose clips training shuffles and mixes at a time; by default all
            of a folder, and 16 of an address, whose shards are fetched while they are needed.
        cache: folder for what is fetched; by default that of CLIPSEP_CACHE, or the user's cache folder.
        cache_gb: largest size of that folder, in 10^9 bytes.
    """

    train: _Location
    val: _Location | None = None
    shuffle_shards: int | None = Field(None, ge=1)
    cache: Path | None = None
    cache_gb: float = Field(DEFAULT_GIGABYTES, gt=0)


class LossSettings(_Settings):
    """See `clipsep.training.losses`; the defaults are the published ones.

    Attributes:
        kind: ``mask``, ``nit`` and ``pit``, or a loss of another package (`clipsep.plugins`), which gets
            ``options`` and none of the other keys but ``absent_query_prob``.
        absent_query_prob: share of training mixtures whose last query is replaced by a query for a sound of
            another mixture in the same pass on the same device; a pass needs at least two mixtures.
        options: keyword arguments of a loss of another package.
        noise_weight: weight, for ``nit``, of the penalty on the noise heads' mean activation.
        noise_gamma: mean activation, for ``nit``, up to which there is no penalty.
        union: how, for ``nit``, query and noise masks join: ``published``, min(1, a + b), or ``either``,
            1 - (1 - a)(1 - b).
        sdr_weight: weight of a signal-to-distortion term beside the cross-entropy.
        query_only_weight: share, for ``nit``, of the cost on the query masks without noise masks.
        weighted: positions count by the mixture's loudness there; otherwise all alike.
        drop_closest: how many mixtures of a pass, those whose queries are most alike, do not count (only
            ``mask``, from step ``drop_closest_steps`` on); -1 weights mixtures by how alike they are.
        drop_closest_steps: see ``drop_closest``.
        clamp: limit of ``mask`` and ``pit``: ``published`` or ``none``, see
            `clipsep.training.losses.mask_loss`.
    """

    kind: str = "mask"
    options: dict[str, Any] = {}
    noise_weight: float = Field(0.1, ge=0)
    noise_gamma: float = Field(0.25, ge=0)
    union: Literal["published", "either"] = "published"
    clamp: Literal["published", "none"] = "published"
    query_only_weight: float = Field(0.0, ge=0, le=1)
    sdr_weight: float = Field(0.0, ge=0)
    absent_query_prob: float = Field(0.0, ge=0, le=1)
    weighted: bool = True
    drop_closest: int = Field(0, ge=-1)
    drop_closest_steps: int = Field(10_000, ge=0)


class OptimizerSettings(_Settings):
    """Adam(W) with linear warm-up, then a linear decay to ``final_factor`` at ``decay_until``.

    Attributes:
        learning_rate: learning rate after the warm-up.
        weight_decay: decoupled weight decay, as in AdamW.
        warmup_steps: steps in which the learning rate rises from 0.
        final_factor: part of the learning rate that is left at ``decay_until``.
        gradient_clip: norm that gradients are clipped to.
        decay_until: step at which the learning rate stops to fall; by default the last one.
        ema_decay: decay of the exponential moving average of the weights, which is what is validated and
            exported; 0 for none.
    """

    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup_steps: int = Field(5000, ge=0)
    decay_until: int | None = Field(100_000, ge=1)
    final_factor: float = Field(0.1, ge=0, le=1)
    gradient_clip: float = Field(1.0, gt=0)
    ema_decay: float = Field(0.0, ge=0, lt=1)


class TrainingConfig(_Settings):
    """One training run; the defaults are the published CLIPSep.

    Attributes:
        name: what the trained model is called in its checkpoint.
        output: folder of the run: ``best/`` and ``last/`` are checkpoints, ``resume.ckpt`` its state.
        query_encoder: name of the encoder whose embeddings are the queries; ``labels`` for LabelSep.
        init: model whose weights the run starts from (a shipped one, a folder or a hub id); exported
            models remember it by its name and the SHA-256 of its weights.
        init_partial: use those weights of ``init`` that fit, and random ones elsewhere; without it, a model
            of another shape is refused.
        query: what a source is queried with in training; ``hybrid`` alternates image and text, ``audio`` is
            an embedding of audio, see ``mixing.audio_query``.
        texts: what text queries are: the ``labels`` of clips, or their ``captions``, of which a mixture
            draws one for each of its clips.
        query_noise: length of the Gaussian noise added to a query embedding, relative to its own.
        prompts: prompt set for text queries.
        steps: length of the training.
        validate_every: steps between validations.
        log_every: steps between log lines.
        seed: where all random numbers start.
        precision: ``32``, ``bf16`` or ``16`` (GPUs only).
        device: ``auto`` for a GPU if there is one, ``cpu`` or ``cuda``.
        loader_workers: processes that make mixtures; 0 for none.
        save_every: steps between saves of the run's state, all that a crash can cost.
        validation_mixtures: mixtures scored per validation, the same in every run; null for as many as
            there are clips.
        best: what makes a model the best: the lowest ``loss`` with the training's own kind of query, as
            published, or the highest ``sdr``, the mean over text and image queries.
        examples: mixtures of each validation that TensorBoard gets as pictures and sounds.
        batch_size: mixtures per optimizer step, over all devices and accumulated passes.
        accumulate: passes whose gradients are added up to one step, each with its part of the batch.
        devices: number of devices that each machine uses; ``auto`` for all GPUs.
        nodes: number of machines.
        loggers: beside the CSV and TensorBoard files: ``wandb``, or those of other packages, each with its
            options, for example ``{wandb: {project: clipsep}}``.
        compile: let torch.compile translate the network: minutes at the start, then faster steps.
    """

    name: str
    output: Path
    data: DataSettings
    init: str | None = None
    init_partial: bool = False
    query_encoder: str = "clip"
    query: Literal["image", "text", "hybrid", "audio", "none"] = "image"
    texts: Literal["labels", "captions"] = "labels"
    query_noise: float = Field(0.0, ge=0)
    prompts: str = "photo"
    model: ModelSettings = ModelSettings()
    spectral: SpectralSettings = SpectralSettings()
    mixing: MixingSettings = MixingSettings()
    loss: LossSettings = LossSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    steps: int = Field(200_000, ge=1)
    batch_size: int = Field(32, ge=1)
    accumulate: int = Field(1, ge=1)
    validate_every: int = Field(10_000, ge=1)
    validation_mixtures: int | None = Field(256, ge=1)
    best: Literal["loss", "sdr"] = "loss"
    examples: int = Field(4, ge=0)
    save_every: int = Field(500, ge=1)
    log_every: int = Field(20, ge=1)
    seed: int = Field(1234, ge=0, lt=2**32)  # NumPy takes no more
    precision: _Precision = "32"
    loggers: dict[str, dict[str, Any]] = {}
    compile: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: Annotated[int, Field(ge=1)] | Literal["auto"] = 1
    nodes: int = Field(1, ge=1)
    loader_workers: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> TrainingConfig:
        self._require_known_parts()
        if self.loss.kind in SHIPPED_LOSSES:
            if (self.loss.kind == "nit") != (self.model.noise_heads > 0):
                raise ValueError("loss.kind 'nit' and model.noise_heads go together")
            if (self.loss.kind == "pit") != (self.model.kind == "pit"):
                raise ValueError("loss.kind 'pit' and model.kind 'pit' go together")
            if self.loss.options:
                raise ValueError(
                    f"loss.options are for losses of other packages, not '{self.loss.kind}'"
                )
        if (self.model.kind == "labelsep") != (self.query_encoder == "labels"):
            raise ValueError("model.kind 'labelsep' and query_encoder 'labels' go together")
        if self.loss.absent_query_prob and self.query == "none":
            raise ValueError("loss.absent_query_prob needs queries")
        if self.model.kind == "labelsep" and self.query != "text":
            raise ValueError("model.kind 'labelsep' needs query 'text': its queries are labels")
        if self.loss.drop_closest and self.loss.kind != "mask":
            raise ValueError("loss.drop_closest is for loss.kind 'mask'")
        if self.texts == "captions" and self.query not in ("text", "hybrid"):
            raise ValueError("texts 'captions' needs query 'text' or 'hybrid'")
        if self.texts == "captions" and self.model.kind == "labelsep":
            raise ValueError("texts 'captions' and model.kind 'labelsep' do not go together")
        if (self.model.kind == "pit") != (self.query == "none"):
            raise ValueError("model.kind 'pit' and query 'none' go together")
        if self.model.kind == "pit" and self.mixing.n_sources != 2:
            raise ValueError(
                "mixing.n_sources must be 2 with model.kind 'pit', which has two masks"
            )
        if self.model.noise_heads and self.model.noise_heads < self.mixing.n_sources:
            raise ValueError("model.noise_heads must be at least mixing.n_sources")
        if isinstance(self.devices, int):
            self.part_size(self.devices * self.nodes)
        self._require_fitting_spectrograms()
        if self.spectral.sample_rate != SAMPLE_RATE:
            raise ValueError(f"spectral.sample_rate must be {SAMPLE_RATE}, as that of data sets")
        return self

    def trust_parts(self) -> None:
        """Allow the code of parts of other packages in this process.

        Call it for settings that the user wrote, and never for any that come from a checkpoint.
        """
        trust(self.model.network.kind, self.loss.kind, self.prompts, self.query_encoder)
        trust(*filter(None, [self.mixing.sampler]), *self.loggers)

    def _require_known_parts(self) -> None:
        network, sampler = self.model.network.kind, self.mixing.sampler
        for key, name, group, shipped in (
            ("model.network.kind", network, NETWORKS, SHIPPED_NETWORKS),
            ("loss.kind", self.loss.kind, LOSSES, SHIPPED_LOSSES),
            ("mixing.sampler", sampler, SAMPLERS, (None,)),
            *(("loggers", name, LOGGERS, SHIPPED_LOGGERS) for name in self.loggers),
        ):
            if name is not None and name not in shipped and not is_known(group, name):
                known = (
                    ", ".join([*filter(None, shipped), *installed(group)]) or "none is installed"
                )
                raise ValueError(f"{key} '{name}' is unknown ({known}, or a dotted path)")
        if self.prompts not in PROMPT_SETS and not is_known(PROMPTS, self.prompts):
            known = ", ".join([*PROMPT_SETS, *installed(PROMPTS)])
            raise ValueError(f"prompts must be one of {known}")

    def _require_fitting_spectrograms(self) -> None:
        stride = self.model.network.stride
        for key in ("n_bands", "segment_frames"):
            if getattr(self.spectral, key) % stride:
                made_of = _STRIDE_KEYS.get(self.model.network.kind, "stride")
                raise ValueError(
                    f"spectral.{key} must be a multiple of {stride}, which follows from "
                    f"model.network.{made_of}"
                )

    def parts(self, world_size: int) -> int:
        """Count the equal parts of each batch on ``world_size`` devices."""
        return world_size * self.accumulate

    def part_size(self, world_size: int) -> int:
        """Mixtures in each part.

        Raises:
            ValueError: if the batch cannot be dealt out evenly, or into parts too small for the loss.
        """
        parts = self.parts(world_size)
        if self.batch_size % parts:
            raise ValueError(
                f"batch_size must be a multiple of devices x nodes x accumulate, which is {parts}"
            )
        if self.loss.absent_query_prob and self.batch_size == parts:
            raise ValueError(
                "loss.absent_query_prob takes the query of another mixture: batch_size must be at least "
                f"twice devices x nodes x accumulate, which is {parts}"
            )
        return self.batch_size // parts


def load_config(
    path: Path, overrides: list[str] | None = None, output: Path | None = None
) -> TrainingConfig:
    """Read a YAML file and apply ``key.sub=value`` overrides (values are YAML too).

    The code that it names is trusted: whoever writes a config chooses it.

    A file that says ``extends: OTHER.yaml`` (a path beside it) only has to name what differs.

    Args:
        output: a folder in place of the file's ``output``; no override, because a path is not YAML.

    Raises:
        UsageError: naming the file and the key that is missing, unknown or out of range.
    """
    data = _read(path)
    for override in overrides or []:
        set_key(data, override)
    if output is not None:
        data["output"] = str(output)
    try:
        config = TrainingConfig.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"In the config '{path}', {first_problem(error, data)}.") from error
    config.trust_parts()
    return config


def _read(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES} bytes")
        data = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"Cannot read the config '{path}': {reason}.") from error
    if not isinstance(data, dict):
        raise UsageError(f"The config '{path}' is not a mapping of keys to values.")
    base = data.pop("extends", None)
    if base is None:
        return data
    base_path = path.parent / str(base)
    if path.resolve() in seen:
        raise UsageError(f"The config '{path}' extends itself.")
    if len(seen) >= _MOST_EXTENDED:
        raise UsageError(f"The config '{seen[0]}' extends more than {_MOST_EXTENDED} others.")
    return _merge(_read(base_path, (*seen, path.resolve())), data)


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge ``changes`` into ``base``, key by key on every level."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged
