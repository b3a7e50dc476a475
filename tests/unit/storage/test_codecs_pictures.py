"""Figures and images: a canonical digest, pictures beside the pickle, what stored ones can do."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasklineage.errors import UnsafeFormat, UnstorableResult
from tasklineage.key.digest import digest
from tasklineage.storage import codecs
from tasklineage.storage.objects import Objects

PROGRAM = """
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt

def figure(layout=None, title="squares"):
    made, (left, right) = plt.subplots(1, 2, layout=layout)
    left.plot(range(5), [n * n for n in range(5)], label="n²")
    left.legend()
    left.set_title(title)
    right.imshow([[1, 0], [0, 1]])
    right.scatter([0, 1], [1, 0], c=[0.1, 0.9])
    right.fill_between([0, 1], [0, 1])
    plt.close(made)
    return made

if __name__ == "__main__":
    from tasklineage.key.digest import digest
    print(digest(figure()).hex(), digest(figure("constrained")).hex())
"""


@pytest.fixture
def figure() -> Any:
    pytest.importorskip("matplotlib")
    space: dict[str, Any] = {"__name__": "figures"}
    exec(PROGRAM, space)
    return space["figure"]


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    root = tmp_path / "store"
    root.mkdir(mode=0o700)
    return Objects(root)


def test_a_figure_has_one_digest_in_every_process(figure: Any, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    found = [f"{digest(figure()).hex()} {digest(figure('constrained')).hex()}"]
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, str(program)], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.strip())
    assert len(set(found)) == 1


def test_what_can_be_seen_counts_and_drawing_changes_nothing(figure: Any) -> None:
    made = figure()
    first = digest(made)
    made.savefig(os.devnull, format="png")
    assert digest(made) == first
    assert digest(figure(title="cubes")) != first
    made.set_size_inches(3, 3)
    assert digest(made) != first
    assert digest(made.axes[0]) != digest(made.axes[1])


def test_a_figure_comes_back_to_be_drawn_and_changed(figure: Any, objects: Objects) -> None:
    made = figure("constrained")
    ref = codecs.encode(made, digest(made), objects.put)
    assert (ref.codec, ref.type) == ("figure", "matplotlib.figure.Figure")
    assert ref.preview == "Figure 640x480, 2 axes"
    decoded = codecs.decode(ref, objects.open)
    assert digest(decoded) == ref.digest
    decoded.axes[0].set_title("other")
    assert digest(decoded) != ref.digest
    with pytest.raises(UnsafeFormat):
        codecs.decode(ref, objects.open, allow_pickle=False)


def test_a_stored_figure_can_be_looked_at_without_pickle(figure: Any, objects: Objects) -> None:
    made = figure()
    ref = codecs.encode(made, digest(made), objects.put)
    pictures = codecs.pictures(ref, objects.open)
    assert pictures["image/png"].startswith(b"\x89PNG")
    assert b"<svg" in pictures["image/svg+xml"]


def test_an_image_can_be_looked_at_and_other_values_have_no_pictures(objects: Objects) -> None:
    image = pytest.importorskip("PIL.Image")
    for value, kinds in [(image.new("RGB", (9, 9)), {"image/png"}), ([1], set()), (b"x" * 99, ())]:
        ref = codecs.encode(value, digest(value), objects.put, limit=0)
        assert set(codecs.pictures(ref, objects.open)) == set(kinds)


def test_a_figure_with_its_axes_keeps_them_together(figure: Any, objects: Objects) -> None:
    made = figure()
    ref = codecs.encode((made, made.axes[0]), digest((made, made.axes[0])), objects.put)
    decoded, axes = codecs.decode(ref, objects.open)
    assert decoded.axes[0] is axes
    assert digest((decoded, axes)) == ref.digest


def test_modules_and_tensors_in_pickles_are_written_in_place(objects: Objects) -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(100, 100)
    ref = codecs.encode(layer, digest(layer), objects.put)
    assert ref.codec == "pickle"
    assert ref.oid is not None
    assert max(len(buffer) for buffer in objects.open(ref.oid).buffers) == 40_000
    decoded = codecs.decode(ref, objects.open)
    assert digest(decoded) == ref.digest
    assert torch.equal(decoded.weight, layer.weight)
    assert isinstance(decoded.weight, torch.nn.Parameter)
    with torch.no_grad():
        decoded.weight.zero_()
    assert torch.equal(codecs.decode(ref, objects.open).weight, layer.weight)


def test_a_state_dict_is_a_tree_without_pickle(objects: Objects) -> None:
    torch = pytest.importorskip("torch")
    state = torch.nn.Linear(100, 100).state_dict()
    ref = codecs.encode(state, digest(state), objects.put)
    assert ref.codec == "tree"
    decoded = codecs.decode(ref, objects.open, allow_pickle=False)
    assert list(decoded) == ["weight", "bias"]
    assert decoded._metadata == state._metadata
    torch.nn.Linear(100, 100).load_state_dict(decoded)


def test_a_stored_tensor_is_a_file_of_safetensors(objects: Objects) -> None:
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    value = torch.arange(10_000.0)
    ref = codecs.encode(value, digest(value), objects.put)
    header, content = objects.open(ref.oid or b"").buffers
    assert torch.equal(safetensors.load(bytes(header) + bytes(content))["value"], value)
    with open(objects.path(ref.oid or b""), "rb") as file:
        assert file.read().endswith(bytes(header) + bytes(content))


def test_tensors_beside_a_closure_are_written_in_place_too(objects: Objects) -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(100, 100)
    layer.hook = lambda: layer
    ref = codecs.encode(layer, digest(1), objects.put)
    assert (ref.codec, ref.oid is not None) == ("cloudpickle", True)
    assert max(len(buffer) for buffer in objects.open(ref.oid or b"").buffers) == 40_000


def animated(values: list[int], form: str) -> bytes:
    image = pytest.importorskip("PIL.Image")
    frames = [image.new("L", (8, 8), value) for value in values]
    stream = io.BytesIO()
    frames[0].save(stream, form, save_all=True, append_images=frames[1:], duration=100)
    return stream.getvalue()


def brightness(image: Any) -> list[int]:
    found = []
    for at in range(image.n_frames):
        image.seek(at)
        found.append(image.convert("L").getpixel((0, 0)))
    return found


class Album:
    """What pickle stores."""

    def __init__(self, image: Any) -> None:
        self.image = image


def album(image: Any) -> Any:
    return Album(image)


def plain(image: Any) -> Any:
    return image


@pytest.mark.parametrize("hold", [plain, album, lambda image: [image, {"x": 1}]])
@pytest.mark.parametrize("form", ["GIF", "TIFF", "PNG", "WEBP"])
def test_an_image_keeps_its_frames(form: str, hold: Any, objects: Objects, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "image"
    path.write_bytes(animated([1, 50, 200], form))
    made = image.open(path)
    made.seek(2)
    made.load()
    made.putpixel((3, 3), 77 if made.mode in "LP" else (77, 77, 77))
    held = hold(made)
    ref = codecs.encode(held, digest(held), objects.put)
    path.unlink()
    decoded = codecs.decode(ref, objects.open)
    again = decoded.image if hold is album else decoded if hold is plain else decoded[0]
    assert (type(again), again.tell(), again.getpixel((3, 3))) == (
        type(made), 2, made.getpixel((3, 3)),
    )  # fmt: skip
    if form != "WEBP":  # whose file is gone
        assert digest(decoded) == ref.digest
        assert brightness(again) == brightness(made)
    else:
        assert brightness(again) == brightness(image.open(io.BytesIO(animated([1, 50, 200], form))))


@pytest.mark.parametrize("hold", [plain, album])
def test_frames_that_nothing_can_write_again_are_not_lost_silently(
    hold: Any, objects: Objects
) -> None:
    image = pytest.importorskip("PIL.Image")
    made = hold(image.open(io.BytesIO(animated([1, 50, 200], "WEBP"))))
    with pytest.raises(UnstorableResult, match="frames") as caught:
        codecs.encode(made, digest(made), objects.put)
    assert caught.value.value is made


def test_the_tags_of_a_tiff_and_exif_that_was_set_come_back(
    objects: Objects, tmp_path: Path
) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("L", (8, 8), 3).save(tmp_path / "x.tiff", tiffinfo={270: "left eye"})
    tagged = image.open(tmp_path / "x.tiff")
    turned = image.new("RGB", (4, 8))
    turned.getexif()[0x112] = 6
    turned.getexif().get_ifd(0x8769)[0x9286] = "seen"
    for made in (tagged, turned):
        ref = codecs.encode(made, digest(made), objects.put)
        decoded = codecs.decode(ref, objects.open, allow_pickle=False)
        assert decoded == made
        assert digest(decoded) == ref.digest
        assert dict(decoded.getexif()) == dict(made.getexif())
    assert decoded.getexif().get_ifd(0x8769) == {0x9286: "seen"}
