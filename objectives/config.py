"""Configuration of one trial: all hyperparameters of strategy, head, optimizer and data, validated and immutable."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .effects import Effect, effects_of
from .errors import InvalidInputError
from .preprocessing import RGB

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]

_WITH_HIDDEN_LAYERS = Effect(when=("head.hidden_layers", (1, 2)))
_WITH_RANDAUGMENT = Effect(when=("augmentation", ("randaugment",)))
# Strategies that train whole units of the backbone, and those that let the user choose the first of them.
_FINETUNING = ("partial", "full", "lp_ft", "gradual_unfreezing", "discriminative", "surgical", "auto_rgn", "l2_sp")
_TO_ANY_DEPTH = ("partial", "lp_ft", "gradual_unfreezing", "surgical", "l2_sp")
# Poolings to a fixed size that learn nothing.
FIXED_POOLINGS = ("avg", "max", "avgmax")
# Augmentations with operations on colors, for images of red, green and blue alone.
COLOR_AUGMENTATIONS = ("trivial", "randaugment")
# Strategies whose head may see several units. Gradual unfreezing keeps no more than the output before its last units.
_SEVERAL_UNITS = (
    *("feature_extraction", "linear_probe_exact", "norm_bias", "lora"),
    *(strategy for strategy in _FINETUNING if strategy != "gradual_unfreezing"),
)


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class BackboneSpec:
    """A backbone: its network, its weights and its image size.

    Attributes:
        name: Name of a torchvision classification model, e.g. ``"resnet18"``; ``"timm:NAME"``; or
            ``"module:function"``.
        weights: Name of published weights (``"DEFAULT"``, ``"IMAGENET1K_V1"``), which torchvision or timm downloads or
            the user's function loads; path of a local ``.safetensors``, ``.pt`` or ``.pth`` file; or ``"none"`` for
            random weights.
        image_size: Side of the network's square input, pixels.
        channels: Number of channels of an image.
    """

    name: str
    weights: str = "DEFAULT"
    image_size: int = 224
    channels: int = RGB

    @property
    def identity(self) -> dict[str, str | int]:
        """All that tells the backbone from others, by name; images in color, as all once were, go without saying."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("channels", RGB)}


class HeadConfig(_Config):
    """Architecture and initialization of the head, which replaces the backbone's own classifier.

    Attributes:
        pooling: Pooling from a feature map (N, C, H, W) or tokens (N, L, C) to vectors; ``gem`` learns its exponent.
            Not used where the backbone's features are vectors, but by ``attention``: learned queries that attend to
            the map or the tokens (with the class token) from which the last unit makes its vectors.
        queries: Number of queries of ``attention``.
        depths: Number of last units whose pooled features the head sees, side by side: where units train, at most these
            and the one before them. In a space, more than there are mean all of them.
        hidden_layers: Number of hidden layers between pooling and output, 0 to 2.
        width: Units of each hidden layer.
        activation: Activation after each hidden layer.
        normalization: Normalization before each activation; before the output layer where there is no hidden layer.
        dropout: Dropout probability before every linear layer of the head.
        output: Output layer: ``linear``, or ``cosine`` for scaled cosines between features and class weights.
        init: Initialization of the linear layers. ``zeros`` sets the output layer alone to zero, so the first
            predictions are uniform. ``probe`` starts from a logistic regression on the pretrained features.
        function: ``module:function`` of the user's that makes the whole head, in place of all other parameters of it:
            from the shape of an image's features and the number of classes to a ``torch.nn.Module``.
    """

    pooling: Annotated[Literal["avg", "max", "avgmax", "gem", "flatten", "attention"], Effect(on_features=True)] = "avg"
    queries: Annotated[int, Effect(when=("head.pooling", ("attention",)))] = Field(default=32, ge=1, le=1024)
    depths: Annotated[int, Effect(strategies=_SEVERAL_UNITS, on_features=True)] = Field(default=1, ge=1)
    hidden_layers: int = Field(default=0, ge=0, le=2)
    width: Annotated[int, _WITH_HIDDEN_LAYERS] = Field(default=256, ge=1, le=8192)
    activation: Annotated[Literal["relu", "gelu", "silu", "tanh"], _WITH_HIDDEN_LAYERS] = "relu"
    normalization: Literal["none", "batch", "layer"] = "none"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    output: Literal["linear", "cosine"] = "linear"
    init: Literal["default", "xavier", "kaiming", "zeros", "probe"] = "default"
    function: str | None = None


class TrialConfig(_Config):
    """One configuration: a strategy with all its hyperparameters.

    Attributes:
        strategy: Name in the strategy registry.
        freeze_depth: Number of frozen units, counted from the input. Required by ``partial``. Optional, 0 by default,
            for ``lp_ft`` (second phase), ``gradual_unfreezing`` (last phase), ``surgical`` (start of its range) and
            ``l2_sp``. The other strategies set it themselves and refuse it.
        truncate: Number of units dropped from the end of the backbone, before the head.
        head: Configuration of the head.
        optimizer: Name of the optimizer; ``adamw`` decouples weight decay, the others add it to the gradient.
        momentum: Momentum of ``sgd`` and ``rmsprop``.
        nesterov: Whether ``sgd`` uses Nesterov momentum.
        learning_rate: Peak learning rate of the head.
        backbone_lr_ratio: Peak learning rate of trainable backbone units divided by ``learning_rate``.
        weight_decay: Weight decay; not applied to biases, norms, position embeddings, and what the network's own
            ``no_weight_decay()`` names.
        schedule: Shape of the learning rate after the warm-up, set at every step; ``one_cycle`` has its own rise.
        warmup: Share of a phase's steps in which the learning rate rises linearly from 0; not used by ``one_cycle``.
        gradient_clip: Maximum norm of all gradients together; 0 disables clipping.
        ema_decay: Decay of the exponential moving average of the weights, which is then validated and kept; 0 disables
            it.
        label_smoothing: Label smoothing of the training loss.
        class_weights: ``balanced`` weights each class in the loss by the inverse of its frequency among all training
            images, whatever classes a batch holds.
        sampling: ``shuffled`` shows each image once an epoch; ``balanced`` draws the same number of images with
            replacement, all classes with equal probability.
        augmentation: Augmentation of the training images; ``trivial`` is TrivialAugment (Müller & Hutter 2021),
            ``randaugment`` RandAugment (Cubuk et al. 2020), both after ``flip_crop``.
        randaugment_ops: Number of operations that ``randaugment`` applies in a row.
        randaugment_magnitude: Magnitude of each ``randaugment`` operation, in 30ths of its range.
        views: Number of distinct augmented views per image; 0 draws a new one each epoch. With few views the features
            of a frozen prefix can be cached for all epochs, unless images are mixed.
        mixing: Mixing of the images and labels of a batch: ``mixup`` (Zhang et al. 2018) or ``cutmix`` (Yun et al.
            2019). The frozen prefix then runs at every step, since no two mixed images are equal.
        mixing_alpha: Parameter of the distribution Beta(alpha, alpha) of an image's share in ``mixup`` and ``cutmix``.
        batch_size: Images per optimizer step; of an odd number of images in batches of 2, one batch has 3.
        epochs: Maximum number of epochs of all phases together.
        probe_epochs: Number of ``epochs`` that ``lp_ft`` spends on its linear probe; by default half of them, and none
            where ``head.init`` solves the probe.
        probe_learning_rate: Peak learning rate of the head in the linear probe of ``lp_ft``.
        batch_norm: Mode of trainable batch norms: ``train`` uses and updates batch statistics, ``eval`` keeps the
            pretrained ones. Batch norms of frozen units are always in ``eval``.
        patience: Number of epochs without a better validation score after which a phase ends.
        layer_decay: Factor of the learning rate from one unit to the one before it, for ``discriminative`` and
            ``gradual_unfreezing``: unit i of n trains at layer_decay ** (n - i) of the backbone's rate.
        freeze_embedding: Whether ``full`` with ``sgd`` keeps the first unit frozen (Kumar et al. 2022, "How to
            Fine-Tune Vision Models with SGD"). A search does so where that unit embeds patches, as in ViT and ConvNeXt,
            unless its space says otherwise. A network of a single unit trains it.
        trained_units: Maximum number of units that ``surgical`` trains after ``freeze_depth``.
        unfreeze_every: Number of epochs after which ``gradual_unfreezing`` unfreezes the next unit. 0: it does so where
            ``patience`` ends a phase, from the phase's best weights and with a new optimizer and schedule.
        l2_sp_alpha: Strength of the ``l2_sp`` penalty between backbone weights and pretrained weights.
        l2_sp_beta: Strength of the ``l2_sp`` penalty on the head's weights.
        lora_rank: Rank of the ``lora`` updates.
        lora_alpha: Scale of the ``lora`` updates, which are multiplied by lora_alpha / rank.

    Example:
        >>> from frostline.objectives.config import HeadConfig, TrialConfig
        >>> config = TrialConfig(strategy="partial", freeze_depth=6, head=HeadConfig(dropout=0.2))
        >>> config.epochs, config.head.pooling
        (10, 'avg')
    """

    strategy: str
    freeze_depth: Annotated[int | None, Effect(strategies=_TO_ANY_DEPTH)] = Field(default=None, ge=0)
    truncate: Annotated[int, Effect(on_features=True)] = Field(default=0, ge=0)
    head: HeadConfig = HeadConfig()
    optimizer: Literal["sgd", "adam", "adamw", "rmsprop"] = "adamw"
    momentum: Annotated[float, Effect(when=("optimizer", ("sgd", "rmsprop")))] = Field(default=0.9, ge=0.0, lt=1.0)
    nesterov: Annotated[bool, Effect(when=("optimizer", ("sgd",)))] = True
    learning_rate: float = Field(default=1e-3, gt=0.0, le=10.0)
    backbone_lr_ratio: Annotated[float, Effect(strategies=(*_FINETUNING, "norm_bias", "lora"))] = Field(
        default=0.1, gt=0.0, le=10.0
    )
    weight_decay: float = Field(default=0.0, ge=0.0, le=1.0)
    schedule: Literal["cosine", "linear", "constant", "one_cycle", "step"] = "cosine"
    warmup: Annotated[Fraction, Effect(when=("schedule", ("cosine", "linear", "constant", "step")))] = 0.0
    gradient_clip: float = Field(default=0.0, ge=0.0)
    ema_decay: float = Field(default=0.0, ge=0.0, lt=1.0)
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    class_weights: Literal["none", "balanced"] = "none"
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    augmentation: Literal["none", "crop", "flip_crop", "resized_crop", "trivial", "randaugment"] = "none"
    randaugment_ops: Annotated[int, _WITH_RANDAUGMENT] = Field(default=2, ge=1, le=8)
    randaugment_magnitude: Annotated[int, _WITH_RANDAUGMENT] = Field(default=9, ge=0, le=30)
    views: int = Field(default=0, ge=0, le=64)
    mixing: Literal["none", "mixup", "cutmix"] = "none"
    mixing_alpha: Annotated[float, Effect(when=("mixing", ("mixup", "cutmix")))] = Field(default=0.2, gt=0.0, le=100.0)
    batch_size: int = Field(default=32, ge=2, le=4096)
    epochs: int = Field(default=10, ge=1, le=1000)
    probe_epochs: Annotated[int | None, Effect(strategies=("lp_ft",))] = Field(default=None, ge=1)
    probe_learning_rate: Annotated[float | None, Effect(strategies=("lp_ft",))] = Field(default=None, gt=0.0, le=10.0)
    batch_norm: Annotated[Literal["train", "eval"], Effect(strategies=_FINETUNING)] = "train"
    patience: int = Field(default=5, ge=1)
    layer_decay: Annotated[float, Effect(strategies=("gradual_unfreezing", "discriminative"))] = Field(
        default=1.0, gt=0.0, le=1.0
    )
    freeze_embedding: Annotated[bool, Effect(when=("optimizer", ("sgd",)), strategies=("full",))] = False
    trained_units: Annotated[int, Effect(strategies=("surgical",))] = Field(default=1, ge=1)
    unfreeze_every: Annotated[int, Effect(strategies=("gradual_unfreezing",))] = Field(default=1, ge=0)
    l2_sp_alpha: Annotated[float, Effect(strategies=("l2_sp",))] = Field(default=0.01, ge=0.0)
    l2_sp_beta: Annotated[float, Effect(strategies=("l2_sp",))] = Field(default=0.01, ge=0.0)
    lora_rank: Annotated[int, Effect(strategies=("lora",))] = Field(default=8, ge=1, le=1024)
    lora_alpha: Annotated[float, Effect(strategies=("lora",))] = Field(default=8.0, gt=0.0)


# Where each parameter that can be searched has an effect, by dotted name.
EFFECTS = {name: effect for name, effect in effects_of(TrialConfig).items() if name != "strategy"}
# Parameters that only some strategies take; every strategy takes the others unless it refuses them.
OWN_PARAMETERS = frozenset(name for name, effect in EFFECTS.items() if effect.strategies is not None)
# Shared parameters of a training in steps; they have no effect on a head that is solved.
STEP_PARAMETERS = frozenset(EFFECTS) - OWN_PARAMETERS - {name for name, effect in EFFECTS.items() if effect.on_features}
# Parameters that take effect only for some values of another one: name -> (the other's name, those values).
CONDITIONS = {name: effect.when for name, effect in EFFECTS.items() if effect.when is not None}


def nest(flat: dict[str, Any]) -> dict[str, Any]:
    """Turn dotted names into nested tables.

    >>> from frostline.objectives.config import nest
    >>> nest({"epochs": 5, "head.width": 8})
    {'epochs': 5, 'head': {'width': 8}}
    """
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *tables, key = name.split(".")
        table = nested
        for part in tables:
            table = table.setdefault(part, {})
        table[key] = value
    return nested


def flatten(config: BaseModel) -> dict[str, Any]:
    """Turn a configuration into dotted names and plain values: the inverse of :func:`nest`.

    >>> from frostline.objectives.config import TrialConfig, flatten
    >>> flatten(TrialConfig(strategy="full"))["head.pooling"]
    'avg'
    """
    flat: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            flat |= {f"{name}.{key}": inner for key, inner in flatten(value).items()}
        else:
            flat[name] = value
    return flat


def without_effect(config: TrialConfig) -> set[str]:
    """Dotted names of the parameters that have no effect, given the other values of the configuration.

    >>> from frostline.objectives.config import TrialConfig, without_effect
    >>> "mixing_alpha" in without_effect(TrialConfig(strategy="full", mixing="none"))
    True
    """
    values = flatten(config)
    return {name for name, (other, allowed) in CONDITIONS.items() if values[other] not in allowed}


def create_config(flat: dict[str, Any]) -> TrialConfig:
    """Validate dotted names and values, and build a configuration of them.

    Args:
        flat: Values by dotted name.

    Raises:
        InvalidInputError: A name is unknown or a value is invalid; all faults at once, each with its dotted name.

    Example:
        >>> from frostline.objectives.config import create_config
        >>> create_config({"strategy": "full", "head.hidden_layers": 1}).head.hidden_layers
        1
        >>> create_config({"strategy": "full", "epochs": 0})
        Traceback (most recent call last):
        frostline.objectives.errors.InvalidInputError: epochs: Input should be greater than or equal to 1, got 0
    """
    try:
        return TrialConfig.model_validate(nest(flat))
    except ValidationError as error:
        raise InvalidInputError(
            [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}, got {fault['input']!r}" for fault in error.errors()]
        ) from None


def parameter_names() -> list[str]:
    """Dotted names of all parameters that can be searched; ``strategy`` is not one of them."""
    return list(EFFECTS)


def own_parameters(strategy: str) -> frozenset[str]:
    """Dotted names of the parameters that a built-in strategy takes and that are not shared by all.

    >>> from frostline.objectives.config import own_parameters
    >>> sorted(own_parameters("lora"))
    ['backbone_lr_ratio', 'head.depths', 'lora_alpha', 'lora_rank']
    """
    return frozenset(name for name, effect in EFFECTS.items() if strategy in (effect.strategies or ()))
