"""Digests of images: frames, tags and EXIF count, and looking at them changes nothing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from tasklineage.key.digest import digest

Image: Any = pytest.importorskip("PIL.Image")

FORMATS = ("GIF", "TIFF", "PNG", "WEBP")


def written(values: list[int], form: str) -> bytes:
    """The file of an image with a frame of each of these brightnesses."""
    frames = [Image.new("L", (8, 8), value) for value in values]
    stream = io.BytesIO()
    frames[0].save(stream, form, save_all=True, append_images=frames[1:], duration=100)
    return stream.getvalue()


def read(content: bytes) -> Any:
    return Image.open(io.BytesIO(content))


def brightness(image: Any) -> list[int]:
    found = []
    for at in range(image.n_frames):
        image.seek(at)
        found.append(image.convert("L").getpixel((0, 0)))
    return found


@pytest.mark.parametrize("form", FORMATS)
def test_a_later_frame_counts(form: str) -> None:
    left, right = (read(written([1, value, 200], form)) for value in (50, 150))
    assert digest(left) != digest(right)
    assert digest(left) == digest(read(written([1, 50, 200], form)))


@pytest.mark.parametrize("form", FORMATS)
def test_the_frame_that_is_shown_counts(form: str) -> None:
    image = read(written([1, 50, 200], form))
    first = digest(image)
    image.seek(2)
    assert digest(image) != first
    image.seek(0)
    assert digest(image) == first


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("at", [0, 2])
def test_looking_changes_nothing(form: str, at: int) -> None:
    expected = brightness(read(written([1, 50, 200], form)))
    image = read(written([1, 50, 200], form))
    image.seek(at)
    image.load()
    image.putpixel((0, 0), 77 if image.mode in "LP" else (77, 77, 77))
    changed = image.getpixel((0, 0))
    assert digest(image) == digest(image)
    assert (image.tell(), image.getpixel((0, 0))) == (at, changed)
    assert brightness(image)[1] == expected[1]


@pytest.mark.parametrize("form", FORMATS)
def test_one_frame_of_a_file_counts_by_its_content_alone(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"one.{form.lower()}"
    path.write_bytes(written([50], form))
    from_file = Image.open(path)
    assert digest(from_file) == digest(read(path.read_bytes()))
    again = type(from_file).__new__(type(from_file))
    again.__setstate__(from_file.__getstate__())
    if form != "TIFF":  # whose tags are not part of its state
        assert digest(again) == digest(from_file)


def test_tags_of_a_tiff_count() -> None:
    def tagged(text: str) -> Any:
        stream = io.BytesIO()
        Image.new("L", (8, 8), 3).save(stream, "TIFF", tiffinfo={270: text})
        return read(stream.getvalue())

    assert digest(tagged("left")) == digest(tagged("left"))
    assert digest(tagged("left")) != digest(tagged("side"))


def test_exif_counts_where_it_was_set_and_asking_for_it_changes_nothing() -> None:
    def turned(orientation: int) -> Any:
        image = Image.new("L", (4, 8), 3)
        image.getexif()[0x112] = orientation
        return image

    plain = Image.new("L", (4, 8), 3)
    first = digest(plain)
    assert dict(plain.getexif()) == {}
    assert digest(plain) == first
    assert len({first, digest(turned(1)), digest(turned(6))}) == 3
    assert digest(turned(6)) == digest(turned(6))
    inner = [turned(6), turned(6)]
    inner[0].getexif().get_ifd(0x8769)[0x9286] = "seen"
    assert digest(inner[0]) != digest(inner[1])


def test_a_frame_of_a_file_that_was_closed_counts_by_itself() -> None:
    with read(written([1, 50], "GIF")) as image:
        image.load()
    assert digest(image) == digest(image)
