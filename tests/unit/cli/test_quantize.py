import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from shoestring.cli import main
from shoestring.compression.checkpoints import write_checkpoint
from shoestring.compression.export import load_integer, reader_numpy

SOURCE = """
import torch
from torch import nn

def build(channels=1, classes=3, norm=True, last=nn.ReLU):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4) if norm else nn.Identity(), last(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes),
    )

def bare():
    return build(norm=False)

def silu():
    return build(last=nn.SiLU)

def text():
    return "a model"
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model file, weights and a labelled image folder of three classes."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(SOURCE)
    namespace: dict[str, object] = {}
    exec(SOURCE, namespace)
    torch.save(namespace["build"]().state_dict(), "net.pt")  # type: ignore[operator]  # the function above
    rng = np.random.default_rng(0)
    for label in "abc":
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{i}.png")
    return tmp_path


BASE = ("quantize", "net.py:build", "--weights", "net.pt", "--input", "1x8x8")
FAST = ("--set", "options.batches=2", "--set", "options.batch_size=4")
NOISE = (*BASE, "--method", "noise", *FAST)
TINY_RUN = """
method = "gdfq"
[options.generator]
width = 4
latent = 4
[options.distillation]
iterations = 6
warmup_iterations = 2
batch_size = 4
check_every = 2
held_out = 4
"""


def outputs(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()} - {"net.py", "net.pt", "images", "__pycache__", "job.toml"}


def test_three_files_are_written_and_agree(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*NOISE, "--bits", "4/3", "--out", "made/q.safetensors", "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert err == ""
    assert outputs(work / "made") == {"q.safetensors", "q.json", "q.onnx"}
    assert report["files"] == ["made/q.safetensors", "made/q.json", "made/q.onnx"]
    assert (report["method"], report["bits"], report["seed"]) == ("noise", "4/3", 0)
    assert report["config"]["options"]["quant"]["w_bits"] == 4
    assert report["integer_bytes"] == sum(
        (work / "made" / n).stat().st_size for n in ("q.safetensors", "q.json")
    )
    assert report["onnx_bytes"] == (work / "made" / "q.onnx").stat().st_size
    onnx.checker.check_model("made/q.onnx")
    images = np.random.default_rng(1).normal(size=(2, 1, 8, 8)).astype(np.float32)
    logits = load_integer("made/q.safetensors").double()(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(
        reader_numpy.run_integer_model("made/q.safetensors", images), logits, rtol=1e-9
    )


def test_images_give_accuracy_and_normalisation(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BASE, "--method", "real-calibration", *FAST, "--images", "images", "--json"]) == 0
    out, err = capsys.readouterr()
    report, manifest = json.loads(out), json.loads(Path("quantized.json").read_text())
    assert 0 <= report["quantized_top1"] <= 100
    assert 0 <= report["float_top1"] <= 100
    assert report["test_images"] == 3
    assert "folder's statistics" in err
    assert manifest["classes"] == ["a", "b", "c"]
    assert 0.4 < manifest["input"]["mean"][0] < 0.6
    assert main([*NOISE, "--images", "images", "--set", "input.mean=[0.5]", "--set", "input.std=[0.25]"]) == 0
    out, err = capsys.readouterr()
    assert "top-1" in out
    assert err == ""
    assert json.loads(Path("quantized.json").read_text())["input"]["mean"] == [0.5]
    assert outputs(work) == {"quantized.safetensors", "quantized.json", "quantized.onnx"}


@pytest.mark.usefixtures("work")
def test_same_seed_same_files() -> None:
    names = ("one.safetensors", "two.safetensors", "other.safetensors")
    for name, seed in zip(names, ("7", "7", "8"), strict=True):
        assert main([*NOISE, "--seed", seed, "--out", name]) == 0
    one, two, other = (Path(name).with_suffix(".onnx").read_bytes() for name in names)
    assert one == two
    assert Path(names[0]).read_bytes() == Path(names[1]).read_bytes()
    assert one != other


@pytest.mark.usefixtures("work")
def test_printed_config_can_be_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    flags = [
        "--method",
        "gdfq",
        "--bits",
        "3/5",
        "--seed",
        "4",
        "--set",
        "options.distillation.iterations=900",
    ]
    assert main(["quantize", "anything:at_all", "--input", "1x8x8", *flags, "--print-config"]) == 0
    text = capsys.readouterr().out
    assert "iterations = 900" in text
    assert "w_bits = 3" in text
    Path("job.toml").write_text(text)
    assert main(["quantize", "anything:at_all", "--config", "job.toml", "--print-config"]) == 0
    assert capsys.readouterr().out == text
    assert (
        main(["quantize", "anything:at_all", "--config", "job.toml", "--bits", "2/2", "--print-config"]) == 0
    )
    assert "w_bits = 2" in capsys.readouterr().out


def test_a_killed_run_goes_on_from_its_checkpoint(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("job.toml").write_text(TINY_RUN)
    job = [*BASE, "--config", "job.toml"]
    assert main([*job, "--out", "whole.safetensors"]) == 0
    kept: list[Path] = []

    def stop(path: Path, *rest: object) -> None:
        write_checkpoint(path, *rest)  # type: ignore[arg-type]  # passed on as it came
        kept.append(path)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shoestring.compression.distillation.write_checkpoint", stop)
        assert main([*job, "--out", "q.safetensors"]) == 130
    assert "same command goes on" in capsys.readouterr().err
    assert kept[0].parent == Path("q.checkpoint")
    assert [p.name for p in Path("q.checkpoint").iterdir()] == [kept[0].name]
    assert not Path("q.safetensors").exists()
    assert main([*job, "--out", "q.safetensors"]) == 0
    assert Path("q.onnx").read_bytes() == Path("whole.onnx").read_bytes()
    assert outputs(work) == {f"{a}.{b}" for a in ("q", "whole") for b in ("safetensors", "json", "onnx")}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--bits", "9/4"), "--bits '9/4' is not W/A with 2 to 8 bits each; write e.g. --bits 4/4"),
        (("--bits", "4"), "--bits '4'"),
        (("--input", "8x8"), "--input '8x8' is not channels x height x width"),
        (("--input", "3x8x8"), "images of shape 3x8x8 do not run"),
        (("--method", "magic"), "method 'magic' is not known; allowed:"),
        (("--method", "real-calibration"), "needs real images"),
        (("--set", "options.batchez=3"), "options of noise: unknown option 'batchez'"),
        (("--set", "options.batches=0"), "batches=0"),
        (("--set", "factory.width=3"), "cannot be called with width=3"),
        (("--set", "input.std=[1.0]"), "input.mean=[]"),
        (("--weights", "gone.pt"), "there is no file gone.pt"),
        (("--images", "gone"), "gone is not a folder"),
        (("--out", "q.bin"), "must end in .safetensors"),
        (("--config", "gone.toml"), "could not read the config gone.toml"),
    ],
)
def test_wrong_input_is_one_line_and_code_2(
    arguments: tuple[str, ...], words: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*NOISE, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.startswith("shoestring: ")
    assert err.count("\n") == 1
    assert outputs(work) == set()


@pytest.mark.parametrize(
    ("factory", "method", "words"),
    [
        ("net.py:bare", "qimera", "convolution '0' has no BatchNorm2d after it (was it folded?)"),
        ("net.py:bare", "zeroq", "real-calibration"),
        ("net.py:silu", "noise", "layer '2' (SiLU) is not supported"),
        ("net.py:text", "noise", "returned str; it must return a torch.nn.Module"),
        ("net.py:gone", "noise", "has no function 'gone'"),
        ("gone.py:build", "noise", "no file gone.py"),
        ("torch.nn:ReLU", "noise", "ReLU has no Conv2d or Linear"),
    ],
)
def test_unsuitable_models_are_refused_by_name(
    factory: str, method: str, words: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quantize", factory, "--input", "1x8x8", "--method", method]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert outputs(work) == set()


def test_a_module_of_the_current_folder_is_found(work: Path) -> None:
    (work / "my_private_net.py").write_text(SOURCE)
    assert main(["quantize", "my_private_net:build", "--input", "1x8x8", "--method", "noise", *FAST]) == 0


def test_missing_shape_is_asked_for(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantize", "net.py:build"]) == 2
    assert "add --input CxHxW" in capsys.readouterr().err
    assert outputs(work) == set()


def test_class_folders_must_match_the_logits(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "quantize",
        "net.py:build",
        "--input",
        "1x8x8",
        "--set",
        "factory.classes=4",
        "--images",
        "images",
    ]
    assert main(arguments) == 2
    assert "3 class folders, the model 4 logits" in capsys.readouterr().err
    assert outputs(work) == set()


@pytest.mark.usefixtures("work")
def test_a_pickle_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(torch.nn.ReLU(), "pickle.pt")
    assert main([*NOISE, "--weights", "pickle.pt"]) == 2
    assert "pickled Python objects" in capsys.readouterr().err


def test_a_model_without_weights_is_said_to_have_its_own(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del work
    arguments = [w for w in NOISE if w not in {"--weights", "net.pt"}]
    assert main([*arguments, "--json"]) == 0
    assert "no --weights were given" in capsys.readouterr().err
    assert main([*NOISE, "--out", "two.safetensors", "--json"]) == 0
    assert "no --weights" not in capsys.readouterr().err


def test_images_that_do_not_fit_say_so_without_the_words_of_the_tracer(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del work
    assert main([*NOISE, "--input", "3x8x8"]) == 2
    err = capsys.readouterr().err
    assert "images of shape 3x8x8 do not run through the model" in err
    assert "While executing" not in err
    assert "tlparse" not in err
