"""Networks as people bring them: parametrized, of other precisions and channels, compiled, scripted, half built."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm


class Net(nn.Module):
    def __init__(self, channels: int = 3, changed: Callable[[nn.Module], nn.Module] = lambda layer: layer) -> None:
        super().__init__()
        self.first, self.norm = changed(nn.Conv2d(channels, 8, 3, padding=1)), nn.BatchNorm2d(8)
        self.second, self.output = changed(nn.Conv2d(8, 8, 1)), changed(nn.Linear(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        return self.output(torch.relu(self.second(x)).mean((2, 3)))


class Around(nn.Module):
    """Takes gray images, or has a scripted part."""

    def __init__(self, body: nn.Module, gray: bool = False) -> None:
        super().__init__()
        self.body, self.gray = body, gray
        self.output = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.body(x.mean(dim=1, keepdim=True) if self.gray else x))


class Flat(nn.Module):
    """Takes images of 28 px alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.output = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 28 * 28, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.conv(x).flatten(1))


class VectorsLast(nn.Module):
    """Pools before its last two units."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.hidden, self.more = nn.Conv2d(3, 6, 4, 4), nn.Linear(6, 8), nn.Linear(8, 8)
        self.fc = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.more(self.hidden(self.conv(x).mean(dim=(2, 3))).relu()).tanh())


class Scaled(nn.Module):
    """Has a parameter that nothing can draw again."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.net = nn.Parameter(torch.full((3, 1, 1), 0.5)), Net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x * self.scale)


def vectors_last() -> nn.Module:
    return VectorsLast()


def weight_normed() -> nn.Module:
    return Net(changed=parametrizations.weight_norm)


def spectral_normed() -> nn.Module:
    return Net(changed=parametrizations.spectral_norm)


def orthogonal() -> nn.Module:
    return Net(changed=parametrizations.orthogonal)


def weight_normed_by_hooks() -> nn.Module:
    return Net(changed=weight_norm)


def spectral_normed_by_hooks() -> nn.Module:
    return Net(changed=spectral_norm)


def half() -> nn.Module:
    return Net().half()


def bfloat16() -> nn.Module:
    return Net().bfloat16()


def double() -> nn.Module:
    return Net().double()


def gray() -> nn.Module:
    return Net(channels=1)


def wrapped_gray() -> nn.Module:
    return Around(gray(), gray=True)


def four_channels() -> nn.Module:
    return Net(channels=4)


def scripted() -> nn.Module:
    return torch.jit.script(Net())


def traced() -> nn.Module:
    return torch.jit.trace(Net().eval(), torch.zeros(1, 3, 32, 32))  # type: ignore[return-value]


def with_script() -> nn.Module:
    return Around(torch.jit.script(Net()))


def compiled() -> nn.Module:
    return torch.compile(Net())  # type: ignore[return-value]


def quantized() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(Net(), {nn.Linear})


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(8, 3), nn.Flatten(), nn.LazyLinear(5))


def without_values() -> nn.Module:
    with torch.device("meta"):
        return Net()


def of_inference() -> nn.Module:
    with torch.inference_mode():
        return Net()


class Precise(nn.Module):
    """Takes small differences of large values, which bfloat16 rounds away; it may divide by them."""

    def __init__(self, divides: bool) -> None:
        super().__init__()
        self.conv, self.output, self.divides = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 5), divides

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).abs() + 0.1
        rounded = (x + 1000) - 1000
        return self.output((x / rounded if self.divides else rounded).mean((2, 3)))


def cancels() -> nn.Module:
    return Precise(divides=False)


def divides_by_zero_in_bfloat16() -> nn.Module:
    return Precise(divides=True)
