"""The configuration of one trial: every knob of a strategy, its head and its optimisation, validated and immutable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import InvalidInputError

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class BackboneSpec:
    """Which network, with which weights, for which images.

    Attributes:
        name: Of a torchvision classification model, e.g. ``"resnet18"``; ``"timm:NAME"``; or ``"module:function"``.
        weights: A published name (``"DEFAULT"``, ``"IMAGENET1K_V1"``), which torchvision or timm downloads, or with
            which the function returns its network; the path of a local ``.safetensors``, ``.pt`` or ``.pth`` file; or
            ``"none"``.
        image_size: Side of the square that the network sees, pixels.
    """

    name: str
    weights: str = "DEFAULT"
    image_size: int = 224


class HeadConfig(_Config):
    """What stands on the backbone.

    Attributes:
        pooling: How a feature map (N, C, H, W) becomes a vector; a backbone that ends in vectors is not pooled.
            ``gem`` learns its exponent.
        hidden_layers: Hidden layers between pooling and output, 0 to 2.
        width: Units of each hidden layer.
        activation: After each hidden layer.
        normalization: Before each activation, and before the output where there is no hidden layer.
        dropout: Probability, before every linear layer of the head.
        output: ``linear``, or ``cosine``: scaled cosines between features and class weights.
        init: Of the linear layers; ``zeros`` concerns the output layer only and gives uniform first predictions.
            ``probe`` puts in logistic regression on the pretrained features, before anything trains.
    """

    pooling: Literal["avg", "max", "avgmax", "gem", "flatten"] = "avg"
    hidden_layers: int = Field(default=0, ge=0, le=2)
    width: int = Field(default=256, ge=1, le=8192)
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    normalization: Literal["none", "batch", "layer"] = "none"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    output: Literal["linear", "cosine"] = "linear"
    init: Literal["default", "xavier", "kaiming", "zeros", "probe"] = "default"


class TrialConfig(_Config):
    """One configuration: a strategy with all it needs.

    Attributes:
        strategy: Name in the strategy registry.
        freeze_depth: Units frozen, counted from the input. ``partial`` needs it; ``lp_ft`` takes it for its second
            stage, ``gradual_unfreezing`` for its last, ``surgical`` for where its range begins, and ``l2_sp`` (default
            0); the other strategies define it themselves and refuse it.
        truncate: Units dropped from the end; the head stands on what is left.
        head: The head.
        optimizer: ``adamw`` decouples weight decay; the others add it to the gradient.
        momentum: ``sgd`` and ``rmsprop`` only.
        nesterov: ``sgd`` only: look ahead along the momentum.
        learning_rate: Peak rate of the head.
        backbone_lr_ratio: Peak rate of trainable backbone units = this x ``learning_rate``.
        weight_decay: Not applied to biases, norms and position embeddings.
        schedule: Of the learning rate after the warm-up, per step; ``one_cycle`` has a rise of its own.
        warmup: Share of a phase's steps over which the rate rises linearly from 0; not for ``one_cycle``.
        gradient_clip: Largest norm of all gradients together; 0 does not clip.
        ema_decay: Of the average of the weights that is validated and kept; 0 keeps the weights themselves.
        label_smoothing: Of the training loss.
        class_weights: ``balanced`` weighs the loss of each class by the inverse of its frequency.
        sampling: ``shuffled`` shows each image once an epoch, ``balanced`` draws as many with replacement, all classes
            equally often.
        augmentation: Policy of the training images; ``trivial`` is TrivialAugment (Müller & Hutter 2021),
            ``randaugment`` RandAugment (Cubuk et al. 2020), both after ``flip_crop``.
        randaugment_ops: ``randaugment``: operations one after another.
        randaugment_magnitude: ``randaugment``: strength of each, in 30ths of its range.
        views: Distinct augmented views per image; 0 draws a new one each epoch. Few views let a frozen prefix be
            computed once for all epochs, unless images are mixed.
        mixing: Of the training images of a batch, with their labels: ``mixup`` (Zhang et al. 2018) or ``cutmix`` (Yun
            et al. 2019). A frozen prefix is then computed at every step: no two mixed images are alike.
        mixing_alpha: ``mixup`` and ``cutmix``: the share of an image in its mixture is drawn from Beta(this, this).
        batch_size: Images per optimiser step.
        epochs: Upper bound, all phases together.
        probe_epochs: ``lp_ft`` only: how many of ``epochs`` are spent on the linear probe.
        probe_learning_rate: ``lp_ft`` only: the head's rate in the probe.
        batch_norm: Mode of trainable batch norms: ``train`` uses and updates batch statistics, ``eval`` keeps the
            pretrained ones. Frozen units are always in ``eval``.
        patience: Epochs without a better validation score after which a phase ends.
        layer_decay: ``discriminative`` and ``gradual_unfreezing``: unit i of n trains at this ** (n - i) of the rate.
        trained_units: ``surgical``: how many units train after ``freeze_depth``, at most.
        unfreeze_every: ``gradual_unfreezing``: epochs until the next unit trains.
        l2_sp_alpha: ``l2_sp``: pull of the backbone towards the pretrained weights.
        l2_sp_beta: ``l2_sp``: pull of the head towards zero.
        lora_rank: ``lora``: rank of the additions.
        lora_alpha: ``lora``: the additions are scaled by this / rank.
    """

    strategy: str
    freeze_depth: int | None = Field(default=None, ge=0)
    truncate: int = Field(default=0, ge=0)
    head: HeadConfig = HeadConfig()
    optimizer: Literal["sgd", "adam", "adamw", "rmsprop"] = "adamw"
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    nesterov: bool = True
    learning_rate: float = Field(default=1e-3, gt=0.0, le=10.0)
    backbone_lr_ratio: float = Field(default=0.1, gt=0.0, le=10.0)
    weight_decay: float = Field(default=0.0, ge=0.0, le=1.0)
    schedule: Literal["cosine", "linear", "constant", "one_cycle", "step"] = "cosine"
    warmup: Fraction = 0.0
    gradient_clip: float = Field(default=0.0, ge=0.0)
    ema_decay: float = Field(default=0.0, ge=0.0, lt=1.0)
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    class_weights: Literal["none", "balanced"] = "none"
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    augmentation: Literal["none", "crop", "flip_crop", "resized_crop", "trivial", "randaugment"] = "none"
    randaugment_ops: int = Field(default=2, ge=1, le=8)
    randaugment_magnitude: int = Field(default=9, ge=0, le=30)
    views: int = Field(default=0, ge=0, le=64)
    mixing: Literal["none", "mixup", "cutmix"] = "none"
    mixing_alpha: float = Field(default=0.2, gt=0.0, le=100.0)
    batch_size: int = Field(default=32, ge=2, le=4096)
    epochs: int = Field(default=10, ge=1, le=1000)
    probe_epochs: int | None = Field(default=None, ge=1)
    probe_learning_rate: float | None = Field(default=None, gt=0.0, le=10.0)
    batch_norm: Literal["train", "eval"] = "train"
    patience: int = Field(default=5, ge=1)
    layer_decay: float = Field(default=1.0, gt=0.0, le=1.0)
    trained_units: int = Field(default=1, ge=1)
    unfreeze_every: int = Field(default=1, ge=1)
    l2_sp_alpha: float = Field(default=0.01, ge=0.0)
    l2_sp_beta: float = Field(default=0.01, ge=0.0)
    lora_rank: int = Field(default=8, ge=1, le=1024)
    lora_alpha: float = Field(default=8.0, gt=0.0)


# Parameters that only some strategies take; all others are shared by every strategy.
OWN_PARAMETERS = frozenset(
    {
        "freeze_depth",
        "backbone_lr_ratio",
        "batch_norm",
        "probe_epochs",
        "probe_learning_rate",
        "layer_decay",
        "trained_units",
        "unfreeze_every",
        "l2_sp_alpha",
        "l2_sp_beta",
        "lora_rank",
        "lora_alpha",
    }
)
# A parameter that means something only while another has one of these values: (the other, its values).
CONDITIONS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "head.width": ("head.hidden_layers", (1, 2)),
    "head.activation": ("head.hidden_layers", (1, 2)),
    "randaugment_ops": ("augmentation", ("randaugment",)),
    "randaugment_magnitude": ("augmentation", ("randaugment",)),
    "mixing_alpha": ("mixing", ("mixup", "cutmix")),
    "momentum": ("optimizer", ("sgd", "rmsprop")),
    "nesterov": ("optimizer", ("sgd",)),
    "warmup": ("schedule", ("cosine", "linear", "constant", "step")),
}


def nest(flat: dict[str, Any]) -> dict[str, Any]:
    """Turn dotted names into nested tables: ``{"head.width": 8}`` becomes ``{"head": {"width": 8}}``."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *tables, key = name.split(".")
        table = nested
        for part in tables:
            table = table.setdefault(part, {})
        table[key] = value
    return nested


def flatten(config: BaseModel) -> dict[str, Any]:
    """The inverse of :func:`nest` for a configuration: dotted names to plain values."""
    flat: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            flat |= {f"{name}.{key}": inner for key, inner in flatten(value).items()}
        else:
            flat[name] = value
    return flat


def without_effect(config: TrialConfig) -> set[str]:
    """Dotted names of the parameters that mean nothing beside the configuration's others."""
    values = flatten(config)
    return {name for name, (other, allowed) in CONDITIONS.items() if values[other] not in allowed}


def create_config(flat: dict[str, Any]) -> TrialConfig:
    """Validate dotted names and values into a configuration.

    Raises:
        InvalidInputError: All faults at once, each by dotted name.
    """
    try:
        return TrialConfig.model_validate(nest(flat))
    except ValidationError as error:
        raise InvalidInputError(
            [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}, got {fault['input']!r}" for fault in error.errors()]
        ) from None


def parameter_names() -> list[str]:
    """Dotted names of everything that can be searched, the strategy aside."""
    return [name for name in flatten(TrialConfig(strategy="")) if name != "strategy"]
