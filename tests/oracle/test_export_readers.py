"""Three readers of one exported model, and the fake-quantised model it came from, must agree.

The numpy reader shares no code with the exporter. In float64 it must equal the torch reader to rounding.
Against float32 (the model itself, onnxruntime) an activation within 1e-7 of the middle between two codes may
fall to the other side; such an image differs by about one step, so images are counted.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from shoestring.compression.conversion import QuantConfig, QuantizedModel, quantize_model
from shoestring.compression.export import load_integer, reader_numpy, save_integer, save_onnx
from shoestring.compression.quantizers import observing

SHAPE = (3, 12, 12)


def conv_bn(channels: int, out: int, **options: Any) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=False, **options), nn.BatchNorm2d(out))


def logits(head: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = head(x)
    return out


class SharedReLU(nn.Module):
    """One ReLU module for every site, a projection shortcut, view with size arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.stem, self.one, self.two = conv_bn(3, 8), conv_bn(8, 12, stride=2), conv_bn(12, 12)
        self.shortcut = nn.Sequential(nn.Conv2d(8, 12, 1, stride=2), nn.BatchNorm2d(12))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        out = self.two(self.relu(self.one(x)))
        out += self.shortcut(x)
        x = self.pool(self.relu(out))
        return logits(self.head, x.view(x.size(0), x.shape[1] * x.shape[2] * x.shape[3]))


class OptionA(nn.Module):
    """Parameter-free shortcut: stride by slicing, channels by padding; functional ReLU, no bias at all."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two = conv_bn(3, 8), conv_bn(8, 16, stride=2), conv_bn(16, 16)
        self.head = nn.Linear(16, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        out = self.two(torch.relu(self.one(x)))
        shortcut = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, out.size(1) // 4, 4))
        x = (out + shortcut).relu()
        x = functional.avg_pool2d(x, x.size()[3])
        return logits(self.head, x.reshape(x.shape[0], -1))


class Inverted(nn.Module):
    """Depthwise and grouped convolutions, ReLU6, dropout, mean over pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *conv_bn(3, 8, stride=2),
            nn.ReLU6(inplace=True),
            nn.Conv2d(8, 24, 1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU6(inplace=True),
            *conv_bn(24, 24, groups=24),
            nn.ReLU6(inplace=True),
            *conv_bn(24, 12, groups=4),
        )
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(12, 5))

    def forward(self, x: Tensor) -> Tensor:
        return logits(self.head, self.features(x).mean([2, 3]))


class Dense(nn.Module):
    """BatchNorm before ReLU, concatenation, average pooling that does and does not count the padding."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.ModuleList([nn.BatchNorm2d(6), nn.BatchNorm2d(10), nn.BatchNorm2d(14, affine=False)])
        self.conv = nn.ModuleList([nn.Conv2d(6, 4, 3, padding=1), nn.Conv2d(10, 4, 1)])
        self.transition = nn.AvgPool2d(3, 2, padding=1)
        self.ragged = nn.AvgPool2d(3, 2, ceil_mode=True, count_include_pad=False)
        self.head = nn.Conv2d(14, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.transition(self.stem(x))
        for i in range(2):
            new = self.conv[i](functional.relu(self.norm[i](x), inplace=True))
            x = torch.cat([x, new], 1)
        x = functional.relu(self.norm[2](x))
        x = functional.adaptive_avg_pool2d(self.ragged(functional.pad(x, (0, 0, 1, 1))), (2, 1))
        x = logits(self.head, torch.cat((x, x), dim=-1))
        return x.mean((2, 3), keepdim=True).flatten(1)


class Biased(nn.Module):
    """No BatchNorm: biases before ReLU, 'same' padding of an even kernel, dilation, max pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 8, 4, padding="same")
        self.two = nn.Conv2d(8, 8, 3, dilation=(1, 2), padding=(0, 1), stride=(1, 2))
        self.pool = nn.MaxPool2d(3, 2, padding=1, ceil_mode=True)
        self.hidden = nn.Linear(8 * 4 * 2, 7)
        self.head = nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(functional.relu(self.one(x)))
        x = functional.max_pool2d(functional.relu6(self.two(x)), 2, stride=1)
        return logits(self.head, functional.relu(self.hidden(x.flatten(1))))


class FarFromZero(nn.Module):
    """Channels whose zero point leaves small integers: constant, nearly constant, all of one sign, zero."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 5)
        with torch.no_grad():
            w = self.conv.weight
            w[0] = 0.25
            w[1] = w[1] * 1e-5 + 0.5
            w[2] = w[2].abs() + 1
            w[3] = -w[3].abs() - 1
            w[4] = 0
            self.head.weight[0] = -0.125
            self.head.weight[1] = self.head.weight[1].abs() + 0.2

    def forward(self, x: Tensor) -> Tensor:
        return logits(self.head, functional.relu(self.norm(self.conv(x))).mean(3).mean(2))


NETS: list[Callable[[], nn.Module]] = [SharedReLU, OptionA, Inverted, Dense, Biased, FarFromZero]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def calibrated(net: Callable[[], nn.Module], bits: int) -> tuple[QuantizedModel, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(bits)
        model = net().train()
        images = torch.randn(24, *SHAPE)
        for _ in range(3):
            model(torch.randn(32, *SHAPE) * 1.5 + 0.2)
        quantized = quantize_model(model, QuantConfig(w_bits=bits, a_bits=bits))
        with observing(quantized), torch.no_grad():
            quantized(images)
            quantized(torch.randn(24, *SHAPE))
    return quantized, images


def share_within(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any], tolerance: float) -> float:
    """Share of images whose logits agree, relative to the largest logit."""
    return float((np.abs(one - two).max(1) <= tolerance * max(1.0, float(np.abs(two).max()))).mean())


@pytest.mark.filterwarnings(
    "ignore:Using padding='same' with even kernel"
)  # torch says so; that case is wanted
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("net", NETS)
def test_all_readers_agree(net: Callable[[], nn.Module], bits: int, tmp_path: Path) -> None:
    quantized, images = calibrated(net, bits)
    path = tmp_path / "q.safetensors"
    save_integer(quantized, path, SHAPE)
    save_onnx(quantized, tmp_path / "q.onnx", SHAPE)
    with torch.no_grad():
        fake = quantized(images).numpy()
        torch32 = load_integer(path)(images).numpy()
        torch64 = load_integer(path).double()(images).numpy()
    numpy64 = reader_numpy.run_integer_model(path, images.numpy(), batch_size=10)
    numpy32 = reader_numpy.run_integer_model(path, images.numpy(), dtype=np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "q.onnx", providers=["CPUExecutionProvider"])
    runtime = session.run(None, {"images": images.numpy()})[0]

    assert torch64.dtype == numpy64.dtype == np.float64
    np.testing.assert_allclose(numpy64, torch64, rtol=1e-9, atol=1e-9 * np.abs(torch64).max())
    assert (
        share_within(torch32, fake, 1e-6) >= 0.9
    )  # the same operations; differs in channels far from zero only
    for other in (numpy64, numpy32, runtime):
        assert share_within(other, fake, 1e-4) >= 0.8  # the rest: one activation code fell to the other side
    assert np.abs(numpy64 - fake).max() < 0.5 * np.ptp(fake)


def test_onnx_takes_any_batch_and_is_valid(tmp_path: Path) -> None:
    quantized, images = calibrated(SharedReLU, 4)
    save_onnx(quantized, tmp_path / "q.onnx", SHAPE)
    onnx.checker.check_model(tmp_path / "q.onnx", full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "q.onnx", providers=["CPUExecutionProvider"])
    whole = session.run(None, {"images": images.numpy()})[0]
    one = session.run(None, {"images": images[:1].numpy()})[0]
    assert whole.shape == (24, 5)
    np.testing.assert_allclose(one, whole[:1], rtol=1e-4, atol=1e-4)


def test_every_opset_gives_the_same_logits(tmp_path: Path) -> None:
    quantized, images = calibrated(OptionA, 3)
    logits = []
    for opset in (21, 22, 23, 24):
        save_onnx(quantized, tmp_path / "q.onnx", SHAPE, opset=opset)
        session = onnxruntime.InferenceSession(tmp_path / "q.onnx", providers=["CPUExecutionProvider"])
        logits.append(session.run(None, {"images": images.numpy()})[0])
    assert all((other == logits[0]).all() for other in logits)


def test_numpy_reader_runs_alone(tmp_path: Path) -> None:
    """Copied out of the package, it runs without torch, safetensors or shoestring."""
    quantized, images = calibrated(Inverted, 4)
    save_integer(quantized, tmp_path / "q.safetensors", SHAPE)
    source = Path(reader_numpy.__file__).read_text()
    imported = {
        line.split()[1].partition(".")[0] for line in re.findall(r"^(?:import|from) .*", source, re.M)
    }
    assert imported <= {"numpy", *sys.stdlib_module_names}
    (tmp_path / "alone.py").write_text(source)
    np.save(tmp_path / "images.npy", images.numpy())
    script = (
        "import sys, numpy, alone; y = alone.run_integer_model('q.safetensors', numpy.load('images.npy')); "
        "assert not {'torch', 'safetensors', 'shoestring'} & set(sys.modules); numpy.save('logits.npy', y)"
    )
    subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=60, env={"OMP_NUM_THREADS": "1"}
    )
    expected = reader_numpy.run_integer_model(tmp_path / "q.safetensors", images.numpy())
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, rtol=1e-12)
