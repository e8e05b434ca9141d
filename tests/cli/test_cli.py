from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rushlight
from rushlight.cli import training
from rushlight.cli.main import run
from rushlight.datasets import Digits, write_idx
from rushlight.serialization import load_checkpoint, save_checkpoint

TIMES = ("images_per_second", "seconds")


def command(folder, *arguments, **options):
    """A real process."""
    return subprocess.run(  # noqa: PLW1510 - its exit code is tested
        [sys.executable, "-m", "rushlight", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(rushlight.__file__).parents[1])},
        **options,
    )


def fails(capsys, *arguments):
    """One line on stderr, exit code 2; returns the line."""
    capsys.readouterr()
    assert run([str(a) for a in arguments]) == 2
    _, err = capsys.readouterr()
    assert err.startswith("rushlight: error: ") and err.count("\n") == 1, err
    return err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two epochs on the shipped digits, in a process of its own."""
    folder = tmp_path_factory.mktemp("trained")
    done = command(folder, "train", "--epochs", 2, "--out", "run")
    assert done.returncode == 0, done.stderr
    return folder / "run", done.stdout


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A folder of IDX files with a few digits."""
    folder = tmp_path_factory.mktemp("few")
    for name, data, count in (("train", Digits(), 330), ("t10k", Digits(train=False), 60)):
        chosen = slice(None, None, len(data) // count)
        write_idx(folder / f"{name}-images-idx3-ubyte.gz", data.data.numpy()[chosen])
        labels = data.targets.numpy()[chosen].astype(np.uint8)
        write_idx(folder / f"{name}-labels-idx1-ubyte", labels)
    return folder


def test_training_leaves_everything(trained):
    folder, out = trained
    names = ["curves.png", "lenet.json", "lenet.safetensors", "misclassified.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    lines = out.splitlines()
    assert "61,706 parameters" in lines[0] and "4,000 pictures of digits, 1,000 to test" in lines[0]
    assert lines[2].split()[:4] == ["epoch", "lr", "train", "loss"]
    assert [line.split()[0] for line in lines[3:5]] == ["1", "2"]
    reached = float(lines[5].split()[2].rstrip("%"))
    assert lines[5].startswith("test accuracy ") and reached > 90
    state, about = load_checkpoint(folder / "lenet.safetensors")
    assert about["test_accuracy"] == pytest.approx(reached / 100, abs=1e-4)
    assert about["settings"]["optimizer"] == "sgd" and about["made_with"]["rushlight"]
    assert state["model"]["conv2.weight"].shape == (16, 6, 5, 5)
    assert json.loads((folder / "lenet.json").read_text())["epochs_done"] == 2
    for name in ("curves.png", "misclassified.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_info(trained, capsys):
    folder, _ = trained
    assert run(["info", str(folder / "lenet.safetensors")]) == 0
    out = capsys.readouterr().out
    assert "network: LeNet" in out and "test_accuracy: 0.9" in out and "seed 0" in out
    assert "model.fc1.weight" in out and "48,000" in out
    from safetensors.numpy import save_file

    save_file({"w": np.ones((2, 3))}, folder / "strange")
    assert run(["info", str(folder / "strange")]) == 0
    assert "does not say how it was made" in capsys.readouterr().out
    (folder / "strange").unlink()


def test_info_of_pytorchs_files(tmp_path, capsys):
    state = {
        "model": rushlight.nn.Linear(3, 2).state_dict(),
        "best": [rushlight.ones(4)],
        "epoch": 3,
    }
    for new in (True, False):
        rushlight.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=new)
        assert run(["info", str(tmp_path / "a.pt")]) == 0
        out = capsys.readouterr().out
        assert "3 tensors" in out and "model.weight" in out and "best.0" in out and "[2, 3]" in out
    (tmp_path / "a.pt").write_bytes(b"\x80\x02cos\nsystem\n.")
    assert "os.system" in fails(capsys, "info", tmp_path / "a.pt")


def test_predict_reads_any_picture(trained, tmp_path, capsys):
    from PIL import Image

    folder, _ = trained
    test = Digits(train=False)
    paths = []
    for digit in range(10):
        pixels = test.data.numpy()[digit * 100 + 7]
        picture = Image.fromarray(pixels)
        if digit % 2:  # large, dark on light, off the middle, with some margin
            paper = Image.new("L", (300, 220), 240)
            ink = picture.resize((150, 150), Image.Resampling.BICUBIC)
            paper.paste(Image.new("L", (150, 150), 20), (100, 40), ink)
            picture = paper
        paths.append(tmp_path / f"{digit}.{'jpg' if digit % 3 == 0 else 'png'}")
        picture.save(paths[-1])
    checkpoint = str(folder / "lenet.safetensors")
    assert run(["predict", *map(str, paths), "--checkpoint", checkpoint, "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10 and all(line.count("%") == 2 for line in lines)
    answers = [line.split()[1] for line in lines]
    assert sum(a == str(d) for d, a in enumerate(answers)) >= 8, lines
    clear = tmp_path / "clear.png"  # black ink on nothing
    layers = np.zeros((40, 40, 4), np.uint8)
    layers[5:35, 18:22, 3] = 255
    Image.fromarray(layers).save(clear)
    assert run(["predict", str(clear), "--checkpoint", checkpoint]) == 0
    assert capsys.readouterr().out.split()[1] == "1"


def test_predict_errors(trained, tmp_path, capsys):
    from PIL import Image

    folder, _ = trained
    checkpoint = ["--checkpoint", folder / "lenet.safetensors"]
    good, text, blank, cut = (tmp_path / name for name in ("a.png", "b.png", "c.png", "d.jpg"))
    Image.fromarray(Digits().data.numpy()[0]).save(good)
    text.write_text("no picture")
    Image.new("L", (50, 50), 255).save(blank)
    Image.effect_noise((90, 90), 80).save(cut)
    cut.write_bytes(cut.read_bytes()[:900])
    missing = tmp_path / "none.png"
    for bad, message in (
        (text, "not a picture"),
        (blank, "nothing to see"),
        (cut, "cannot be read"),
        (missing, "No such file"),
        (tmp_path, "Is a directory"),
    ):
        line = fails(capsys, "predict", good, bad, *checkpoint)
        assert message in line and str(bad) in line
    assert "no checkpoint" in fails(capsys, "predict", good, "--checkpoint", missing)
    assert "not a whole safetensors" in fails(capsys, "predict", good, "--checkpoint", text)
    assert "Missing argument" in fails(capsys, "predict")


def test_checkpoint_of_another_network(trained, tmp_path, capsys):
    folder, _ = trained
    state, about = load_checkpoint(folder / "lenet.safetensors")
    other = tmp_path / "other.safetensors"
    picture = tmp_path / "a.png"
    picture.write_bytes(b"")
    for change, message in (
        (lambda s: s.pop("fc1.bias"), "it has no fc1.bias"),
        (lambda s: s.update(extra=rushlight.ones(1)), "it has extra, which LeNet has not"),
        (
            lambda s: s.update({"fc3.weight": rushlight.ones(3, 84)}),
            r"its fc3.weight is of shape [3, 84], not [10, 84]",
        ),
    ):
        model = dict(state["model"])
        change(model)
        save_checkpoint(other, {**state, "model": model}, {**about, "network": "Net"})
        for arguments in (
            ("predict", picture, "--checkpoint", other),
            ("train", "--resume", other),
        ):
            line = fails(capsys, *arguments)
            assert "another network (Net)" in line and message in line
    save_checkpoint(other, {"x": 1}, {})
    assert "no network in it" in fails(capsys, "train", "--resume", other)


def same_run(one, other):
    """Whether two checkpoints hold the very same state, but for the time it took."""
    states = [load_checkpoint(path / "lenet.safetensors")[0] for path in (one, other)]
    histories = [state.pop("history") for state in states]
    for lines in zip(*histories, strict=True):
        assert len({json.dumps({k: v for k, v in x.items() if k not in TIMES}) for x in lines}) == 1
    same(*states)


def same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        for x, y in zip(a, b, strict=True):
            same(x, y)
    elif isinstance(a, rushlight.Tensor):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    else:
        assert a == b


class StopAfter(training.StopAsked):
    """Asks to stop after so many looks."""

    looks = 0

    @property
    def asked(self):
        StopAfter.looks -= 1
        return StopAfter.looks < 0

    @asked.setter
    def asked(self, value):
        assert value is False


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_resumed_is_as_never_stopped(few, tmp_path, capsys, monkeypatch, optimizer):
    options = ["--data", str(few), "--epochs", "3", "--seed", "5", "--optimizer", optimizer]
    options += ["--augment", "--batch-size", "50"]  # 7 batches an epoch
    assert run(["train", *options, "--out", str(tmp_path / "whole")]) == 0
    monkeypatch.setattr("rushlight.cli.train.StopAsked", StopAfter)
    StopAfter.looks = 3
    parts = tmp_path / "parts"
    assert run(["train", *options, "--out", str(parts)]) == 130
    out = capsys.readouterr().out
    again = ["train", "--resume", str(parts / "lenet.safetensors")]
    assert "stopped in epoch 1 after 3 of 7 batches" in out
    assert f"rushlight {' '.join(again)}" in out
    for looks in (2, 7, 4):  # in the same epoch, over its end, just before an end
        StopAfter.looks = looks
        assert run(again) == 130
    StopAfter.looks = 1000
    assert run(again) == 0
    same_run(tmp_path / "whole", parts)
    assert sorted(p.name for p in parts.iterdir()) == [
        "curves.png", "lenet.json", "lenet.safetensors", "misclassified.png",
    ]  # fmt: skip
    assert "nothing to go on with" in fails(capsys, *again)
    assert "--epochs, --lr: a resumed run" in fails(capsys, *again, "--epochs", 9, "--lr", 1)


def test_resume_wants_the_same_data(few, tmp_path, capsys, monkeypatch):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in few.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr("rushlight.cli.train.StopAsked", StopAfter)
    StopAfter.looks = 1
    assert run(["train", "--data", str(copy), "--out", str(tmp_path / "r")]) == 130
    write_idx(copy / "t10k-labels-idx1-ubyte", np.zeros(62, np.uint8))
    again = ["train", "--resume", str(tmp_path / "r" / "lenet.safetensors")]
    images = copy / "t10k-images-idx3-ubyte.gz"
    assert "labels for the" in fails(capsys, *again) or images.exists()
    labels = np.arange(len(rushlight.datasets.read_idx(images)), dtype=np.uint8) % 10
    write_idx(copy / "t10k-labels-idx1-ubyte", labels)
    assert "trained on other data" in fails(capsys, *again)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "rushlight", "train", "--epochs", "500", "--out", "run"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(rushlight.__file__).parents[1])},
    )
    head = [process.stdout.readline() for _ in range(4)]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert head[3].split()[0] == "1"
    assert "saved. To go on:\n  rushlight train --resume run/lenet.safetensors\n" in out
    assert err == ""
    state, _ = load_checkpoint(tmp_path / "run" / "lenet.safetensors")
    assert len(state["history"]) >= 1 and state["step"] >= 0


def test_data_errors(tmp_path, capsys, few):
    out = ["--out", tmp_path / "out"]
    assert "is neither" in fails(capsys, "train", "--data", tmp_path / "none", *out)
    (tmp_path / "file").write_text("")
    assert "not a folder" in fails(capsys, "train", "--data", tmp_path / "file", *out)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "neither IDX files" in fails(capsys, "train", "--data", empty, *out)
    for path in few.iterdir():
        (empty / path.name).write_bytes(path.read_bytes())
    labels = empty / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:100])
    assert "train-labels-idx1-ubyte: truncated" in fails(capsys, "train", "--data", empty, *out)
    pictures = empty / "train-images-idx3-ubyte.gz"
    pictures.write_bytes(pictures.read_bytes()[:9000])
    assert "train-images-idx3-ubyte.gz: truncated" in fails(capsys, "train", "--data", empty, *out)
    pictures.unlink()
    assert "has no file train-images" in fails(capsys, "train", "--data", empty, *out)
    assert not (tmp_path / "out").exists()
    for bad in (["--epochs", "0"], ["--lr", "0"], ["--optimizer", "best"], ["--wrong"], ["more"]):
        fails(capsys, "train", *bad, *out)
    assert "No such command" in fails(capsys, "tain")
    assert "No such file" in fails(capsys, "info", tmp_path / "none")


def test_no_network_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RUSHLIGHT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("rushlight.datasets.KMNIST.mirrors", ["http://no-such-host.invalid/"])
    line = fails(capsys, "train", "--data", "kmnist", "--out", tmp_path / "out")
    assert "could not download train-images-idx3-ubyte.gz" in line and "no network" in line
    assert not (tmp_path / "out").exists()


def test_named_data_is_found(few, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RUSHLIGHT_DATA", str(tmp_path))
    (tmp_path / "fashion-mnist").symlink_to(few)
    assert (
        run(["train", "--data", "fashion-mnist", "--epochs", "1", "--out", str(tmp_path / "o")])
        == 0
    )
    assert "Ankle boot" in (tmp_path / "o" / "lenet.json").read_text()


def test_folder_of_pictures(tmp_path, capsys):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name, shape in (("tall", (40, 12)), ("wide", (12, 40))):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(20):
            paper = np.full((64, 64), 250, np.uint8)
            top, left = rng.integers(0, 20, 2)
            paper[top : top + shape[0], left : left + shape[1]] = rng.integers(0, 90)
            Image.fromarray(paper).save(tmp_path / "data" / name / f"{i}.png")
    out = tmp_path / "out"
    arguments = ["--data", str(tmp_path / "data"), "--batch-size", "8", "--epochs", "6"]
    assert run(["train", *arguments, "--out", str(out)]) == 0
    assert "test accuracy 100.00% (8 of 8)" in capsys.readouterr().out
    picture = str(tmp_path / "data" / "wide" / "3.png")
    assert run(["predict", picture, "--checkpoint", str(out / "lenet.safetensors")]) == 0
    assert capsys.readouterr().out.split()[1] == "wide"
    (tmp_path / "data" / "tall" / "7.png").write_bytes(b"")
    assert "7.png: not a picture" in fails(capsys, "train", *arguments, "--out", out)
    few_only = tmp_path / "few" / "one"
    few_only.mkdir(parents=True)
    assert "no valid file" in fails(capsys, "train", "--data", tmp_path / "few", "--out", out)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of POSIX")
def test_full_disk_before_training(tmp_path):
    def limit():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    done = command(tmp_path, "train", "--out", "deep/run", preexec_fn=limit)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "cannot write to deep/run" in done.stderr
    assert list(tmp_path.iterdir()) == []
    if Path("/dev/full").exists():
        done = command(tmp_path, "train", "--out", "/dev/full/run")
        assert done.returncode == 2 and "Not a directory" in done.stderr


def test_full_disk_while_training(few, tmp_path, capsys, monkeypatch):
    arguments = ["train", "--data", few, "--epochs", "2", "--out", tmp_path / "run"]
    assert run([str(a) for a in arguments]) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    line = fails(capsys, *arguments)
    assert "could not save" in line and "No space left" in line and "is as it was" in line
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    line = fails(capsys, *arguments[:-1], tmp_path / "new")
    assert "No space left" in line and not (tmp_path / "new").exists()


def test_without_matplotlib(few, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(["train", "--data", str(few), "--epochs", "1", "--out", str(tmp_path / "run")]) == 0
    assert "pip install 'rushlight[plots]'" in capsys.readouterr().out
    assert not (tmp_path / "run" / "curves.png").exists()


def test_loss_that_explodes(few, tmp_path, capsys):
    arguments = ["train", "--data", few, "--lr", "1e9", "--out", tmp_path / "run"]
    with np.errstate(all="ignore"):
        line = fails(capsys, *arguments)
    assert "the loss became" in line and "--lr" in line
    assert not (tmp_path / "run").exists()


def test_help_and_version(capsys):
    assert run([]) == 0
    assert "Commands:" in capsys.readouterr().out
    assert run(["train", "--help"]) == 0
    out = capsys.readouterr().out
    names = ("data", "epochs", "batch-size", "lr", "optimizer", "seed", "resume", "out")
    assert all(f"--{name}" in out for name in names)
    assert run(["--version"]) == 0
    assert rushlight.__version__ in capsys.readouterr().out
