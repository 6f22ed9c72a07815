"""Images: official layouts, pixels, splits, augmentations, views, resuming and refusals."""

import io
import math
import os
import pickle
import re
import shutil
import struct
import zlib

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from PIL import Image

import kdlab
from kdlab.augment import (
    Augmentation,
    Corruption,
    Crop,
    CropFlip,
    Flip,
    Mix1,
    RandomResizedCrop,
    ResizedCropFlip,
    Shift,
)
from kdlab.data import (
    CIFAR10,
    CIFAR100,
    CINIC10,
    ArrayDataModule,
    BasicMotions,
    ImageFolder,
    Scale,
    TinyImageNet,
    WindowDataModule,
    check_fingerprint,
)
from kdlab.data.cifar import read_pickle
from kdlab.data.image_files import decode
from kdlab.data.image_store import ImageFiles, Pixels
from kdlab.data.images import blocks
from kdlab.data.sampler import stream
from kdlab.evaluate import evaluate
from kdlab.fingerprint import split_differences
from kdlab.nets import WideResNet
from kdlab.remedies import error_line
from kdlab.study.windows import contents
from kdlab.types import InputError, MissingFileError
from kdlab.views import PersistenceImage, Raw, RawImage, ScanPersistenceImage, sublevel_diagram
from tests import fixtures

from .conftest import trainer


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    """Small copies of all data sets in their official layouts."""
    folder = tmp_path_factory.mktemp("images")
    return {
        "cifar10": fixtures.write_cifar10(folder / "cifar10"),
        "cifar10_bin": fixtures.write_cifar10(folder / "cifar10_bin", binary=True),
        "cifar100": fixtures.write_cifar100(folder / "cifar100"),
        "cifar100_bin": fixtures.write_cifar100(folder / "cifar100_bin", binary=True),
        "cinic10": fixtures.write_cinic10(folder / "cinic10"),
        "tiny": fixtures.write_tiny_imagenet(folder / "tiny", classes=5),
        "folder": fixtures.write_image_folder(folder / "folder"),
    }


def expected_batch(name, seed, count):
    """Labels and pixels of a fixture's file."""
    label = np.random.default_rng(seed).permutation(np.arange(count) % (10 if name == "cifar10" else 100))
    return label, fixtures.photographs(label, 32, seed).transpose(0, 3, 1, 2)


def pixels_of(data):
    return (data.data.windows["raw"][:] * 255).round().astype(np.uint8)


# ---- official layouts -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("version", ["python", "binary", "archive", "folder above"])
def test_cifar10_reads_every_version(layouts, version, tmp_path):
    root = {"python": layouts["cifar10"], "binary": layouts["cifar10_bin"], "folder above": layouts["cifar10"].parent}
    if version == "archive":
        root[version] = fixtures.write_tar(tmp_path / "cifar-10-python.tar.gz", layouts["cifar10"])
    data = CIFAR10(root[version])
    parts = [expected_batch("cifar10", seed, 40) for seed in range(6)]
    assert np.array_equal(pixels_of(data), np.concatenate([x for _, x in parts]))
    assert np.array_equal(data.data.target, np.concatenate([y for y, _ in parts]))
    assert data.classes == list(fixtures.CIFAR10_CLASSES)
    assert np.array_equal(np.flatnonzero(data.data.test), np.arange(200, 240))
    assert data.channels == {"raw": ["red", "green", "blue"]}


def test_the_fixture_is_a_pickle_of_python_2(layouts):
    content = (layouts["cifar10"] / "data_batch_1").read_bytes()
    plain = pickle.loads(content, encoding="bytes")  # as the data set's page says
    label, x = expected_batch("cifar10", 0, 40)
    assert plain[b"labels"] == label.tolist()
    assert np.array_equal(plain[b"data"], x.reshape(40, 3072))
    ours = read_pickle(content, "it")
    assert np.array_equal(ours["data"], plain[b"data"])


@pytest.mark.parametrize("binary", [False, True])
def test_cifar100_reads_fine_and_coarse(layouts, binary):
    root = layouts["cifar100_bin" if binary else "cifar100"]
    fine, coarse = CIFAR100(root), CIFAR100(root, labels="coarse")
    label, x = expected_batch("cifar100", 0, 400)
    assert np.array_equal(pixels_of(fine)[:400], x)
    assert np.array_equal(fine.data.target[:400], label)
    assert np.array_equal(coarse.data.target[:400], label % 20)
    assert (fine.num_classes, coarse.num_classes) == (100, 20)
    assert (fine.classes[7], coarse.classes[7]) == ("fine_7", "coarse_7")


@pytest.mark.parametrize("archive", [False, True])
def test_cinic10_validates_on_its_own_part(layouts, archive, tmp_path):
    root = layouts["cinic10"]
    data = CINIC10(fixtures.write_tar(tmp_path / "CINIC-10.tar.gz", root) if archive else root)
    assert data.counts["val"] == {"windows": 30, "groups": 1}
    files = sorted(file.relative_to(root).as_posix() for file in root.rglob("*.png"))
    for row, name in enumerate(files):
        with Image.open(root / name) as picture:
            assert np.array_equal(pixels_of(data)[row], np.asarray(picture.convert("RGB")).transpose(2, 0, 1))
        part, kind, _ = name.split("/")
        assert data.classes[data.data.target[row]] == kind
        stage = {"train": "train", "valid": "val", "test": "test"}[part]
        assert row in data._ready.split.rows[stage]
    assert any(Image.open(root / name).mode == "L" for name in files)


@pytest.mark.parametrize("archive", [False, True])
def test_tiny_imagenet_tests_on_its_val(layouts, archive, tmp_path):
    root = layouts["tiny"]
    place = shutil.make_archive(str(tmp_path / "tiny"), "zip", root.parent, root.name) if archive else root
    data = TinyImageNet(place)
    wnids = (root / "wnids.txt").read_text().split()
    assert data.classes == [f"thing{k}" for k in range(5)]
    assert wnids != sorted(wnids)
    answers = dict(line.split("\t")[:2] for line in (root / "val/val_annotations.txt").read_text().splitlines())
    files = sorted(f.relative_to(root).as_posix() for f in root.rglob("*.JPEG") if "test" not in f.parts)
    assert len(data.data) == len(files) == 25
    for row, name in enumerate(files):
        folder, file = name.split("/")[0], name.rpartition("/")[2]
        assert data.data.test[row] == (folder == "val")
        assert wnids[data.data.target[row]] == (answers[file] if folder == "val" else name.split("/")[1])
        with Image.open(root / name) as picture:
            assert np.array_equal(pixels_of(data)[row], np.asarray(picture.convert("RGB")).transpose(2, 0, 1))


def triangle_rows(plane, size):
    """Bilinear resizing of the first axis with a filter as wide as the reduction, in float64."""
    scale, out = len(plane) / size, []
    for i in range(size):
        weight = np.array([max(0.0, 1 - abs(j + 0.5 - (i + 0.5) * scale) / max(scale, 1.0)) for j in range(len(plane))])
        out.append((weight[:, None] * plane).sum(0) / weight.sum())
    return np.array(out)


def triangle(plane, height, width):
    return triangle_rows(triangle_rows(plane, height).T, width).T


def test_image_folder_resizes_and_reads_the_middle(layouts):
    root = layouts["folder"]
    data = ImageFolder(root, size=48, resize=60)
    files = sorted(file.relative_to(root).as_posix() for file in root.rglob("*.JPEG"))
    assert data.classes == sorted({name.split("/")[1] for name in files})
    for row, name in enumerate(files):
        assert bool(data.data.test[row]) == name.startswith("val")
        assert data.classes[data.data.target[row]] == name.split("/")[1]
    sizes, modes = set(), set()
    for row in range(9):
        with Image.open(root / files[row]) as picture:
            modes.add(picture.mode)
            x = np.asarray(picture.convert("RGB")).astype(float).transpose(2, 0, 1)
        sizes.add(x.shape[1] > x.shape[2])
        height, width = (
            (60, 60 * x.shape[2] // x.shape[1]) if x.shape[1] < x.shape[2] else (60 * x.shape[1] // x.shape[2], 60)
        )
        got = data.data.windows["raw"][[row]][0] * 255
        reference = np.stack([triangle(plane, height, width) for plane in x])
        top, left = round((height - 48) / 2), round((width - 48) / 2)
        assert np.abs(got - reference[:, top : top + 48, left : left + 48]).max() <= 1.51  # 8-bit rounding, twice
    assert sizes == {True, False}
    assert modes == {"RGB", "CMYK"}


@pytest.mark.parametrize("kind", ["cinic10", "tiny"])
def test_files_left_on_disk_are_the_same_images(layouts, kind):
    kept, left = ((CINIC10 if kind == "cinic10" else TinyImageNet)(layouts[kind], in_memory=m) for m in (True, False))
    assert isinstance(left.data.windows["raw"], ImageFiles)
    assert np.array_equal(kept.data.windows["raw"][:], left.data.windows["raw"][:])
    assert np.array_equal(kept.data.windows["raw"][[3, 1]], left.data.windows["raw"][np.array([3, 1])])
    assert kept.fingerprint == left.fingerprint
    copy = pickle.loads(pickle.dumps(left._dataset("val")))
    assert torch.equal(copy.__getitems__([0, 1]).views["raw"], left._dataset("val").__getitems__([0, 1]).views["raw"])


def test_a_study_tells_files_apart_without_decoding_them(layouts, tmp_path, monkeypatch):
    root = tmp_path / "folder"
    shutil.copytree(layouts["folder"], root)
    monkeypatch.setattr(kdlab.data.image_store, "decode", lambda *_: pytest.fail("decoded"))

    def found(**settings):
        return contents(ImageFolder(root, **{"size": 48, "resize": 60, **settings}).load())

    first = found()
    assert found() == first
    assert len({first, found(size=40), found(resize=64)}) == 3
    one = sorted(root.rglob("train/*/*.JPEG"))[0]
    data = ImageFolder(root, size=48, resize=60).load()
    one.write_bytes(one.read_bytes() + b"\0")
    longer = found()
    assert longer != first
    one.rename(one.with_name("zz.JPEG"))
    assert found() not in (first, longer)
    with pytest.raises(MissingFileError, match=f"{one.name}: not readable any more"):
        contents(data)


def test_cifar10_small_is_what_was_photographed(recordings):
    with np.load(recordings / "cifar10_small.npz") as stored:
        x, y = (
            np.concatenate([stored["x_train"], stored["x_test"]]),
            np.concatenate([stored["y_train"], stored["y_test"]]),
        )
        classes = stored["classes"].tolist()
    data = CIFAR10("$KDLAB_DATA/cifar10_small.npz")
    assert data.counts["val"] == {"windows": 500, "groups": 10}
    assert (data.name, data.classes) == ("cifar10_small", classes)
    seen = set()
    for stage in ("train", "val", "test"):
        for batch in data.batches(stage):
            rows = batch.index.numpy()
            seen |= set(rows.tolist())
            assert torch.equal(
                batch.views["raw"], torch.from_numpy(x[rows].transpose(0, 3, 1, 2).astype(np.float32)) / 255
            )
            assert np.array_equal(batch.target.numpy(), y[rows])
            assert (stage == "test") == (rows >= 5000).all()
    assert len(seen) == 6000


# ---- refusals -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [CIFAR10, CIFAR100, CINIC10, TinyImageNet, ImageFolder])
def test_missing_root_says_what_is_expected(kind, tmp_path):
    with pytest.raises(MissingFileError, match=r"nowhere.*no such folder or archive; expected .* (at|in|by) "):
        kind(tmp_path / "nowhere").setup()
    with pytest.raises(MissingFileError, match=r"(no files named like|holds no file of the data set; expected) "):
        kind(tmp_path).setup()


def test_an_empty_image_folder_names_the_endings(tmp_path):
    (tmp_path / "train/cat").mkdir(parents=True)
    (tmp_path / "train/cat/picture.gif").touch()
    with pytest.raises(
        MissingFileError, match=r"train/<class>/\* and val/<class>/\*, \.jpg, \.jpeg, \.png, \.bmp or"
    ) as said:
        ImageFolder(tmp_path).setup()
    assert not re.search(r"[\\^$|+]|\(\?", str(said.value))  # no regular expression


class Evil:
    def __reduce__(self):
        return os.system, ("echo evil",)


def damaged(layouts, kind, tmp_path):
    root = tmp_path / layouts[kind].name
    shutil.copytree(layouts[kind], root)
    return root


def halve(file):
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])


def rewrite(file, **changes):
    content = pickle.loads(file.read_bytes(), encoding="bytes")
    content = {key.decode(): value for key, value in content.items()} | changes
    file.write_bytes(pickle.dumps(content, protocol=4))


CIFAR_DAMAGE = {
    "missing": (lambda r: (r / "data_batch_3").unlink(), r"no file data_batch_3; expected the python version"),
    "half-written": (lambda r: halve(r / "data_batch_2"), r"data_batch_2: not readable as a pickle.*half-written"),
    "twice": (
        lambda r: shutil.copytree(r, r / "copy") and None,
        r"is there twice",
    ),
    "code": (
        lambda r: (r / "test_batch").write_bytes(pickle.dumps(Evil())),
        r"test_batch: not readable .*it would call posix.system",
    ),
    "codec": (
        lambda r: (r / "test_batch").write_bytes(b"\x80\x02c_codecs\nencode\nU\x01aU\x05rot13\x86R."),
        r"it would call the codec",
    ),
    "no dict": (lambda r: (r / "test_batch").write_bytes(pickle.dumps([1])), r"expected a pickled dict, got list"),
    "no data": (lambda r: rewrite(r / "test_batch", data=None), r"expected 'data', a ndarray; it has"),
    "width": (
        lambda r: rewrite(r / "test_batch", data=np.zeros((40, 3000), np.uint8)),
        r"expected data \(N, 3072\) uint8, got uint8 of shape \(40, 3000\)",
    ),
    "labels": (lambda r: rewrite(r / "test_batch", labels=[0] * 39), r"expected 40 whole numbers as 'labels', got 39"),
    "label": (lambda r: rewrite(r / "test_batch", labels=[10] * 40), r"expected labels in 0..9, got 10 for image 0"),
    "names": (lambda r: rewrite(r / "batches.meta", label_names=[b"cat", b"cat"]), r"names of the classes, each once"),
}


@pytest.mark.parametrize("what", CIFAR_DAMAGE)
def test_damaged_cifar_is_refused(layouts, what, tmp_path):
    root, (damage, message) = damaged(layouts, "cifar10", tmp_path), CIFAR_DAMAGE[what]
    damage(root)
    with pytest.raises(InputError, match=message):
        CIFAR10(root).setup()


def test_pickles_written_again_by_python_3_are_read(layouts, tmp_path):
    root = damaged(layouts, "cifar10", tmp_path)
    for file in root.iterdir():
        content = pickle.loads(file.read_bytes(), encoding="bytes")
        file.write_bytes(pickle.dumps(content, protocol=2 if file.name.startswith("data") else 4))
    assert np.array_equal(pixels_of(CIFAR10(root)), pixels_of(CIFAR10(layouts["cifar10"])))


def test_wrong_number_of_bytes_is_refused(layouts, tmp_path):
    root = damaged(layouts, "cifar10_bin", tmp_path)
    file = root / "data_batch_4.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"data_batch_4.bin: 122919 bytes, expected a multiple of 3073"):
        CIFAR10(root).setup()
    (root / "batches.meta.txt").unlink()
    with pytest.raises(InputError, match=r"no file batches.meta.txt; expected .*data_batch_1.bin"):
        CIFAR10(root).setup()


def save(file, shape=(32, 32, 3), dtype=np.uint8):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros(shape, dtype)).save(file)


@pytest.mark.parametrize(("kind", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)], ids=["L", "RGB", "LA", "RGBA"])
@pytest.mark.parametrize("depth", [8, 16])
def test_only_eight_bits_per_channel(kind, channels, depth):
    """Pillow reads 16 bits of several channels as 8."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    row = bytes([0] + [7] * (4 * channels * depth // 8))
    png = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, depth, kind, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(4 * row))
    png = b"\x89PNG\r\n\x1a\n" + png + chunk(b"IEND", b"")
    if depth == 8:
        assert decode(png, "a.png").getpixel((3, 3)) == (7, 7, 7)
        return
    with pytest.raises(InputError, match=r"a.png: expected 8 bits per channel, got an image of mode"):
        decode(png, "a.png")


@pytest.mark.parametrize(
    ("name", "mode"), [("BMP", "RGB"), ("JPEG", "RGB"), ("WEBP", "RGBA"), ("PNG", "P"), ("PNG", "1")]
)
def test_other_files_of_eight_bits_are_read(name, mode):
    out = io.BytesIO()
    Image.new(mode, (160, 320)).save(out, name)
    assert decode(out.getvalue(), "a").size == (160, 320)


CINIC_DAMAGE = {
    "unknown class": (lambda r: save(r / "train/zebra/x.png"), r"train/zebra/x.png: unknown class 'zebra'"),
    "odd size": (lambda r: save(r / "train/cat/x.png", (32, 31, 3)), r"x.png: expected 32 x 32 pixels, got 31 x 32"),
    "16 bits": (lambda r: save(r / "train/cat/x.png", (32, 32), np.uint16), r"x.png: expected 8 bits per channel"),
    "half-written": (lambda r: halve(next((r / "test/dog").iterdir())), r"test/dog/.*not readable as an image"),
    "no picture": (lambda r: (r / "test/dog/x.png").write_text("no"), r"x.png: not readable as an image"),
    "no valid": (lambda r: shutil.rmtree(r / "valid"), r"no images in valid; expected CINIC-10"),
    "no cats": (lambda r: shutil.rmtree(r / "train/cat"), r"no training window of class cat"),
    "twice": (lambda r: shutil.copytree(r / "test", r / "more/test") and None, r"it is there twice"),
}


@pytest.mark.parametrize("what", CINIC_DAMAGE)
def test_damaged_cinic10_is_refused(layouts, what, tmp_path):
    root, (damage, message) = damaged(layouts, "cinic10", tmp_path), CINIC_DAMAGE[what]
    damage(root)
    with pytest.raises(InputError, match=message):
        CINIC10(root).setup()


def test_transparency_and_palettes_become_rgb():
    picture = Image.fromarray(np.full((4, 4, 4), 100, np.uint8), "RGBA")
    for mode in ("RGBA", "P", "LA", "1"):
        file = io.BytesIO()
        picture.convert(mode).save(file, "PNG")
        assert decode(file.getvalue(), "it").mode == "RGB"


def test_files_of_other_suffixes_are_told(tmp_path, caplog):
    for part in ("train", "val"):
        for name in ("cat/1.png", "cat/2.PNG", "dog/a/1.tif", "dog/1.png", "dog/2.png"):
            save(tmp_path / "set" / part / name)
    for name in ("cat/notes.txt", "cat/Thumbs.db", "cat/.DS_Store", ".cache/x.tif", "about.pdf"):
        (tmp_path / "set/train" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "set/train" / name).touch()
    (tmp_path / "aside.tif").touch()
    with caplog.at_level("INFO"):
        assert ImageFolder(tmp_path, size=8, resize=8).load().classes == ["cat", "dog"]
    assert "2 files of other suffixes are left out (2 .tif)" in caplog.text
    save(tmp_path / "set/train/fox/1.tif")
    with pytest.raises(InputError, match=r"train/fox must hold .*, but holds 1 \.tif\. Convert"):
        ImageFolder(tmp_path, size=8, resize=8).load()


@pytest.mark.parametrize(("depth", "planar"), [(8, 2), (16, 1), (16, 2)])
def test_tiff_with_a_plane_for_each_channel(depth, planar):
    """Each plane is a tile of one channel, which does not say its bits."""
    data, count = bytes(range(48 * depth // 8)), 3 if planar == 2 else 1
    end = 8 + 2 + 12 * 10 + 4
    tags = {256: (4, 1, 4), 257: (4, 1, 4), 258: (4, 3, end), 259: (4, 1, 1), 262: (4, 1, 2), 277: (4, 1, 3)}
    tags |= {278: (4, 1, 4), 284: (4, 1, planar)}
    tags[279] = (4, count, end + 24 if count == 3 else len(data))
    places = [end + 36 + i * len(data) // 3 for i in range(3)]
    body = struct.pack("<9I", *[depth] * 3, *places, *[len(data) // 3] * 3)
    body += data
    tags[273] = (4, count, end + 12 if count == 3 else end + 36)
    entries = b"".join(struct.pack("<HHII", tag, *tags[tag]) for tag in sorted(tags))
    tiff = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + body
    if depth == 8:
        assert decode(tiff, "a.tif").getpixel((1, 0)) == (1, 17, 33)
        return
    with pytest.raises(InputError, match=r"a.tif: expected 8 bits per channel"):
        decode(tiff, "a.tif")


TINY_DAMAGE = {
    "no list": (lambda r: (r / "words.txt").unlink(), r"no file words.txt; expected Tiny-ImageNet"),
    "unknown class": (lambda r: save(r / "train/n1/images/n1_0.JPEG", (64, 64, 3)), r"unknown class 'n1'"),
    "unlabelled": (lambda r: save(r / "val/images/val_99.JPEG", (64, 64, 3)), r"val_99.JPEG: no label in"),
    "lost": (lambda r: (r / "val/images/val_3.JPEG").unlink(), r"no file val/images/val_3.JPEG \(1 of"),
    "size": (lambda r: save(r / "val/images/val_3.JPEG"), r"val_3.JPEG: expected 64 x 64 pixels, got 32 x 32"),
}


@pytest.mark.parametrize("what", TINY_DAMAGE)
def test_damaged_tiny_imagenet_is_refused(layouts, what, tmp_path):
    root, (damage, message) = damaged(layouts, "tiny", tmp_path), TINY_DAMAGE[what]
    damage(root)
    with pytest.raises(InputError, match=message):
        TinyImageNet(root).setup()


def test_damaged_image_folder_is_refused(layouts, tmp_path):
    root = damaged(layouts, "folder", tmp_path)
    halve(next((root / "train" / "n01440764").iterdir()))
    data = ImageFolder(root, size=48, resize=64)
    data.setup()  # nothing is decoded yet
    with pytest.raises(InputError, match=r"n01440764_\d.JPEG: not readable as an image"):
        data.view_statistics("raw")
    save(root / "val/other/x.png")
    with pytest.raises(InputError, match=r"val/other/x.png: unknown class 'other', of which there are no training"):
        ImageFolder(root).setup()
    shutil.rmtree(root / "val")
    with pytest.raises(InputError, match="expected training and test images"):
        ImageFolder(root).setup()
    with pytest.raises(InputError, match="an archive; unpack it"):
        ImageFolder(fixtures.write_tar(tmp_path / "it.tar", layouts["folder"])).setup()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda r: CIFAR10(r, split="random_windows").setup(), "split='random_windows': has no meaning for images"),
        (lambda r: CIFAR10(r, test_subjects=[1]).setup(), "test_subjects: the subjects of this data set are unknown"),
        (lambda r: CIFAR100(r, labels="all"), 'labels must be "fine" or "coarse", but got \'all\''),
        (lambda r: ImageFolder(r, size=300), "resize at least size, but got size=300, resize=256"),
        (lambda r: ImageFolder(r, train="val"), "train, test must be the names of two folders"),
        (lambda r: CIFAR10(r, augment=Shift()).setup(), r"augment: Shift.*changes windows, .* shape \(3, 32, 32\)"),
        (lambda r: CIFAR10(r, corruption=Mix1()).setup(), r"corruption: Mix1.*changes windows, but .* has images"),
        (lambda r: BasicMotions(augment=CropFlip()).setup(), r"augment: CropFlip.*changes images, .* shape \(6, 100\)"),
        (lambda r: CIFAR10(r, augment=RandomResizedCrop(24)).setup(), r"augment: .*\(3, 24, 24\).*set its size to 32"),
        (lambda r: CIFAR10(r, views={"pi": PersistenceImage()}).setup(), "view 'pi': PersistenceImage reads windows"),
        (lambda r: BasicMotions(views={"pi": ScanPersistenceImage()}).setup(), "ScanPersistenceImage reads images"),
        (lambda r: CIFAR10(r, scale=Scale([0.0], [1.0])).setup(), "1 constants for the 3 channels"),
        (lambda r: Pixels(np.zeros((2, 3, 4))), r"pixels must be \(N, C, H, W\) uint8"),
        (lambda r: ImageFiles(r, ["a"], 32, 20), "resize at least size, but got size=32, resize=20"),
        (lambda r: blocks(np.array([0, 1, 1])), "at least two training images of every class"),
    ],
)
def test_what_makes_no_sense_is_refused(layouts, make, message):
    with pytest.raises(InputError, match=message):
        make(layouts["cifar10"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.zeros((20, 3, 32, 32), np.uint8)}, r"x_train: expected \(N, 32, 32, 3\) uint8"),
        ({"x_test": np.zeros((20, 32, 32, 3))}, r"x_test: expected \(N, 32, 32, 3\) uint8, got float64"),
        ({"y_train": np.arange(19)}, r"y_train: expected 20 whole numbers"),
        ({"y_test": np.full(20, 10)}, r"y_test: expected labels in 0..9, got 10"),
        ({"y_test": None}, "no y_test; expected x_train"),
    ],
)
def test_wrong_npz_is_refused(changes, message, tmp_path):
    x, y = np.zeros((20, 32, 32, 3), np.uint8), np.arange(20) % 10
    arrays = {"x_train": x, "y_train": y, "x_test": x, "y_test": y} | changes
    np.savez(tmp_path / "mine.npz", **{key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(InputError, match=message):
        CIFAR10(tmp_path / "mine.npz").setup()


# ---- the split ------------------------------------------------------------------------------------------------------
def test_validation_is_stratified_seeded_and_in_the_fingerprint(recordings):
    root = recordings / "cifar10_small.npz"
    one, again, other = CIFAR10(root), CIFAR10(root), CIFAR10(root, split_seed=1)
    rows = {data: data._ready.split.rows for data in (one, again, other)}
    for data in (one, other):
        counted = np.bincount(data.data.target[rows[data]["val"]], minlength=10)
        assert counted.tolist() == [50] * 10
        everyone = np.concatenate([rows[data][stage] for stage in ("train", "val", "test")])
        assert np.array_equal(np.sort(everyone), np.arange(6000))
        assert np.array_equal(rows[data]["test"], np.arange(5000, 6000))
    assert np.array_equal(rows[one]["val"], rows[again]["val"])
    assert one.fingerprint == again.fingerprint
    assert one.fingerprint["id"] != other.fingerprint["id"]
    assert one.fingerprint["val"] != other.fingerprint["val"]
    assert len(str(one.fingerprint)) < 2500
    assert one.fingerprint["grouping"] == "image block"
    assert one.fingerprint["images"] == {"train": 4500, "val": 500, "test": 1000}
    shared = set(rows[one]["train"]) & set(rows[other]["val"])
    assert bool(shared) == bool(set(one.fingerprint["train"]) & set(other.fingerprint["val"]))


def test_another_validation_split_is_refused(layouts):
    one, other = CIFAR10(layouts["cifar10"]), CIFAR10(layouts["cifar10"], split_seed=1)
    assert one.fingerprint["val"] != other.fingerprint["val"]
    assert any("val image blocks" in text for text in split_differences(one.fingerprint, other.fingerprint))
    with pytest.raises(InputError, match=r"image block .* would validate, but the checkpoint was trained"):
        check_fingerprint(one.fingerprint, other.fingerprint, "validate")
    check_fingerprint(one.fingerprint, other.fingerprint, "test")  # the same official test images
    with pytest.raises(InputError, match="another split"):
        check_fingerprint(one.fingerprint, other.fingerprint, "fit")


def test_blocks_hold_every_class_alike():
    target = np.random.default_rng(0).permutation(np.repeat(np.arange(3), [70, 200, 130]))
    block = blocks(target, 20)
    table = np.zeros((20, 3), int)
    np.add.at(table, (block, target), 1)
    assert (table.max(0) - table.min(0) <= 1).all()
    assert np.array_equal(np.unique(blocks(target, 100)), np.arange(70))


def test_few_images_per_class_leave_validation_and_test_alone(layouts):
    few, whole = CIFAR10(layouts["cifar10"], train_per_class=4), CIFAR10(layouts["cifar10"])
    assert np.bincount(few.data.target[few.train_index]).tolist() == [4] * 10
    assert set(few.train_index) < set(whole.train_index)
    for stage in ("val", "test"):
        assert np.array_equal(few._ready.split.rows[stage], whole._ready.split.rows[stage])


def test_a_teacher_of_another_split_is_refused_and_of_this_one_is_taken(layouts, tmp_path):
    def net():
        return WideResNet(10, 1, ndim=2, in_channels=3, num_classes=10)

    run = trainer(tmp_path, max_epochs=1, limit_train_batches=1)
    method = kdlab.Supervised(net())
    run.fit(method, CIFAR10(layouts["cifar10"], batch_size=8))
    run.save_checkpoint(tmp_path / "teacher.ckpt")
    teachers = {"raw": kdlab.Teacher(str(tmp_path / "teacher.ckpt"))}
    again = trainer(tmp_path, max_epochs=1, limit_train_batches=1)
    again.fit(kdlab.KD(net(), teachers), CIFAR10(layouts["cifar10"], batch_size=8))
    assert again.callback_metrics["train/kd"] > 0
    with pytest.raises(InputError, match="was trained on another split: its val image blocks"):
        trainer(tmp_path).fit(
            kdlab.KD(net(), {"raw": kdlab.Teacher(str(tmp_path / "teacher.ckpt"))}),
            CIFAR10(layouts["cifar10"], batch_size=8, split_seed=1),
        )


# ---- units and views ------------------------------------------------------------------------------------------------
def test_default_units_are_pixels_over_255_and_nets_standardise(layouts):
    data = CIFAR10(layouts["cifar10"], views={"raw": Raw(), "pi": ScanPersistenceImage(size=12)})
    x = pixels_of(data)[data.train_index].astype(float) / 255
    batch = torch.cat([b.views["raw"] for b in data.batches("train")])
    np.testing.assert_array_equal(batch.numpy(), x.astype(np.float32))
    mean, std = data.view_statistics("raw")
    np.testing.assert_allclose(mean, x.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std, x.std((0, 2, 3)), rtol=1e-6)
    assert data.fingerprint["scale"]["raw"] == {"offset": [0.0] * 3, "divisor": [1.0] * 3}
    mean, std = data.view_statistics("pi")
    pictures = ScanPersistenceImage(size=12)(x.astype(np.float32)).double().numpy()
    np.testing.assert_allclose(mean, pictures.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std, pictures.std((0, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize("scale", ["standard", "minmax", "constants"])
def test_other_units(layouts, scale):
    constants = Scale([0.4, 0.5, 0.6], [0.2, 0.3, 0.25])
    data = CIFAR10(layouts["cifar10"], scale=constants if scale == "constants" else scale)
    x = pixels_of(data)[data.train_index].astype(float) / 255
    got = torch.cat([b.views["raw"] for b in data.batches("train")]).numpy()
    low, width = {
        "standard": (x.mean((0, 2, 3)), x.std((0, 2, 3))),
        "minmax": (x.min((0, 2, 3)), x.max((0, 2, 3)) - x.min((0, 2, 3))),
        "constants": (np.array(constants.offset), np.array(constants.divisor)),
    }[scale]
    np.testing.assert_allclose(got, (x - low[:, None, None]) / width[:, None, None], atol=1e-5)
    assert (data.view_statistics("raw") is None) == (scale != "minmax")


def test_persistence_images_in_other_units_are_warned_of(layouts):
    with pytest.warns(UserWarning, match="are then in other units than pixel / 255"):
        CIFAR10(layouts["cifar10"], scale="standard", views={"pi": ScanPersistenceImage(size=8)}).setup()


def test_statistics_of_many_files_rest_on_some_of_them(layouts, monkeypatch):
    monkeypatch.setattr(ImageFolder, "statistics_windows", 5)
    data = ImageFolder(layouts["folder"], size=48, resize=64)
    rows = data.train_index[np.linspace(0, len(data.train_index) - 1, 5).round().astype(int)]
    assert len(data.train_index) > 5
    x = data.data.windows["raw"][rows].astype(float)
    np.testing.assert_allclose(data.view_statistics("raw")[0], x.mean((0, 2, 3)), rtol=1e-6)
    scaled = ImageFolder(layouts["folder"], size=48, resize=64, scale="standard")
    np.testing.assert_allclose(scaled.fingerprint["scale"]["raw"]["divisor"], x.std((0, 2, 3)), rtol=1e-6)


def test_raw_reads_some_channels(layouts):
    data = CIFAR10(layouts["cifar10"], views={"raw": Raw(), "green": Raw(["green"])})
    assert data.views["green"] == RawImage(["green"])
    assert data.view_shape("green") == (1, 32, 32)
    batch = next(data.batches("val"))
    assert torch.equal(batch.views["green"], batch.views["raw"][:, 1:2])


def test_scan_images_of_real_images_are_the_view_applied_by_hand(recordings):
    data = CIFAR10(recordings / "cifar10_small.npz", views={"raw": Raw(), "pi": ScanPersistenceImage()})
    with np.load(recordings / "cifar10_small.npz") as stored:
        x = stored["x_train"]
    batch = next(data.batches("val", 16))
    by_hand = ScanPersistenceImage()(x[batch.index.numpy()].transpose(0, 3, 1, 2) / np.float32(255))
    assert torch.equal(batch.views["pi"], by_hand)
    assert batch.views["pi"].shape == (16, 6, 50, 50)
    edges = np.linspace(0, 0.3, 51)
    for row in range(4):  # from the definition: rows end to end, then columns; green
        picture = x[batch.index[row], :, :, 1] / np.float32(255)
        for channel, series in ((1, picture.ravel()), (4, picture.T.ravel())):
            pairs = sublevel_diagram(series.astype(float))
            pairs = pairs[(pairs[:, 1] - pairs[:, 0]) > 0.02]
            image, lifetimes = np.zeros((50, 50)), pairs[:, 1] - pairs[:, 0]
            for (birth, _), y in zip(pairs, lifetimes, strict=True):
                across = np.diff([0.5 * (1 + math.erf((e - birth) / 0.01 / math.sqrt(2))) for e in edges])
                up = np.diff([0.5 * (1 + math.erf((e - y) / 0.01 / math.sqrt(2))) for e in edges])
                image += y / lifetimes.max() * np.outer(up[::-1], across)
            np.testing.assert_allclose(batch.views["pi"][row, channel], image / image.max(), atol=2e-5)


def test_picture_of_the_views(layouts, tmp_path):
    views = {"raw": Raw(), "red": Raw([0]), "pi": ScanPersistenceImage(size=8)}
    figure = CIFAR10(layouts["cifar10"], views=views).plot_views(tmp_path / "views.png")
    assert [axis.get_title() for axis in figure.axes[:3]] == ["image", "red", "pi"]
    assert figure.axes[0].images[0].get_array().shape == (32, 32, 3)
    CIFAR10(layouts["cifar10"], scale="standard").plot_views()  # values outside 0 to 1


# ---- augmentations --------------------------------------------------------------------------------------------------
def image(height=9, width=12, dtype=np.float32):
    return (np.random.default_rng(3).random((3, height, width)) + 0.1).astype(dtype)


IMAGE_AUGMENTATIONS = [
    Crop(),
    Flip(),
    CropFlip(),
    RandomResizedCrop(10),
    ResizedCropFlip(10),
    *(Corruption(kind, 2) for kind in ("noise", "missing", "both", "shift")),
]


@pytest.mark.parametrize("one", IMAGE_AUGMENTATIONS, ids=str)
def test_augmentations_of_images_keep_the_contract(one):
    for dtype in (np.float32, np.float64):
        x = image(dtype=dtype)
        before = x.copy()
        out = one(x, np.random.default_rng(3))
        assert np.array_equal(x, before)
        assert not np.shares_memory(out, x)
        assert out.shape == ((3, 10, 10) if one.whole else x.shape)
        assert out.dtype == dtype
        assert np.isfinite(out).all()
        assert np.array_equal(out, one(x, np.random.default_rng(3)))
        torch.from_numpy(out)
    assert any(not np.array_equal(out, one(x, np.random.default_rng(seed))) for seed in range(4, 20))
    assert pickle.loads(pickle.dumps(one)) == one
    for bad in (np.zeros((1, 3, 4, 4)), np.zeros((3, 0, 4))):
        with pytest.raises(InputError, match=r"must be .*\(C, H, W\)"):
            one(bad, np.random.default_rng(0))


def test_crop_is_a_part_of_the_padded_image_and_every_part_comes():
    x, seen = image(4, 5), set()
    padded = np.full((3, 8, 9), 7, np.float32)
    padded[:, 2:6, 2:7] = x
    parts = {(i, j): padded[:, i : i + 4, j : j + 5] for i in range(5) for j in range(5)}
    for seed in range(300):
        out = Crop(2, fill=7.0)(x, np.random.default_rng(seed))
        found = [place for place, part in parts.items() if np.array_equal(part, out)]
        assert len(found) == 1
        seen.update(found)
    assert seen == set(parts)
    rng = np.random.default_rng(5)
    i, j = rng.integers(5), rng.integers(5)
    assert np.array_equal(Crop(2, fill=7.0)(x, np.random.default_rng(5)), parts[int(i), int(j)])


def test_flip_mirrors_every_other_image():
    x, mirrored = image(4, 5), 0
    for seed in range(400):
        out = Flip()(x, np.random.default_rng(seed))
        is_mirror = all(out[c, h, w] == x[c, h, 4 - w] for c in range(3) for h in range(4) for w in range(5))
        assert is_mirror or np.array_equal(out, x)
        mirrored += is_mirror
    assert 160 < mirrored < 240
    assert np.array_equal(Flip(0.0)(x, np.random.default_rng(0)), x)


@pytest.mark.parametrize(
    ("whole", "first"), [(CropFlip(2), Crop(2)), (ResizedCropFlip(6), RandomResizedCrop(6))], ids=str
)
def test_compositions_are_their_parts_in_order(whole, first):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        assert np.array_equal(whole(image(), np.random.default_rng(seed)), Flip()(first(image(), rng), rng))


@pytest.mark.parametrize("size", [6, 20])
def test_resized_crop_equals_a_plain_reference(size):
    x, areas = image(24, 31, np.float64), []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        while True:  # fits within ten draws on such images
            pixels = 24 * 31 * rng.uniform(0.08, 1.0)
            ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
            w, h = round((pixels * ratio) ** 0.5), round((pixels / ratio) ** 0.5)
            if w <= 31 and h <= 24:
                break
        i, j = int(rng.integers(24 - h + 1)), int(rng.integers(31 - w + 1))
        reference = np.stack([triangle(plane[i : i + h, j : j + w], size, size) for plane in x])
        out = RandomResizedCrop(size)(x, np.random.default_rng(seed))
        np.testing.assert_allclose(out, reference, atol=2e-6)
        areas.append(w * h / (24 * 31))
    assert min(areas) < 0.2
    assert max(areas) > 0.8


def test_resized_crop_of_a_very_long_picture_is_its_middle():
    x = np.tile(np.arange(300.0), (3, 10, 1))
    out = RandomResizedCrop(4, area=(0.9, 1.0))(x, np.random.default_rng(0))  # at most 13 of 300 columns fit the ratios
    np.testing.assert_allclose(out[0], np.stack([triangle(x[0, :, 143:156], 4, 4)[0]] * 4), rtol=1e-6)


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (Crop, {"padding": -1}),
        (Crop, {"padding": 1.5}),
        (CropFlip, {"fill": float("nan")}),
        (Flip, {"probability": 1.5}),
        (RandomResizedCrop, {"size": 0}),
        (RandomResizedCrop, {"area": (0.5, 1.5)}),
        (ResizedCropFlip, {"ratio": (2.0, 1.0)}),
        (ResizedCropFlip, {"probability": -0.1}),
    ],
)
def test_bad_parameters_are_named(cls, arguments):
    with pytest.raises(InputError, match=rf"{next(iter(arguments))} must be .*, but got "):
        cls(**arguments)


def test_corruptions_of_images_hit_pixels_in_all_colours():
    x = np.ones((3, 20, 30))
    lost = Corruption("missing", 3)(x, np.random.default_rng(0)) == 0
    assert (lost.sum((1, 2)) == 180).all()
    assert (lost == lost[0]).all()
    assert len(np.unique(np.flatnonzero(lost[0]) // 30)) == 20  # scattered over rows
    x = np.tile(np.arange(30.0), (3, 20, 1))
    moved = {int(Corruption("shift", 3)(x, np.random.default_rng(seed))[0, 0, 0]) for seed in range(20)}
    assert moved == {9, 21}


def test_training_images_are_augmented_by_seed_epoch_and_index(layouts):
    data = CIFAR10(layouts["cifar10"], augment=CropFlip(), views={"raw": Raw(), "raw/clean": None}, seed=5)
    dataset = data._dataset("train", augment=data.augment, seed=5)
    x = data.data.windows["raw"]
    for items in ([(0, 3), (0, 9)], [(4, 9), (4, 3), (4, 0)]):
        batch = dataset.__getitems__(items)
        for row, (epoch, position) in enumerate(items):
            index = int(data.train_index[position])
            assert batch.index[row] == index
            expected = CropFlip()(x[[index]][0], stream(5, epoch, index, 0))
            assert np.array_equal(batch.views["raw"][row].numpy(), expected)
            assert np.array_equal(batch.views["raw/clean"][row].numpy(), x[[index]][0])
    assert not torch.equal(batch.views["raw"], batch.views["raw/clean"])
    val = next(data.batches("val"))
    assert torch.equal(val.views["raw"], val.views["raw/clean"])


def test_resized_crops_are_cut_from_the_whole_picture(layouts):
    data = ImageFolder(layouts["folder"], size=40, resize=44, augment=ResizedCropFlip(40), scale="standard", seed=2)
    dataset = data._dataset("train", augment=data.augment, seed=2)
    batch = dataset.__getitems__([(1, 0), (1, 5)])
    numbers = data.fingerprint["scale"]["raw"]
    offset, divisor = (np.array(numbers[key])[:, None, None] for key in ("offset", "divisor"))
    files = data.data.windows["raw"]
    for row in range(2):
        index = int(batch.index[row])
        with Image.open(files.path(index)) as picture:
            whole = np.asarray(picture.convert("RGB")).transpose(2, 0, 1) / 255
        assert min(whole.shape[1:]) >= 70
        changed = ResizedCropFlip(40)(((whole - offset) / divisor).astype(np.float32), stream(2, 1, index, 0))
        np.testing.assert_allclose(batch.views["raw"][row].numpy(), changed, atol=1e-5)
    clean = next(data.batches("train", 1)).views["raw"][0].numpy()
    np.testing.assert_allclose(clean, (files[[data.train_index[0]]][0] - offset) / divisor, atol=1e-6)


def test_mixing_works_on_images(layouts):
    data = CIFAR10(layouts["cifar10"], mix=kdlab.data.CutMix(), augment=Flip(), batch_size=20)
    batch = next(iter(data.train_dataloader()))
    assert batch.views["raw"].shape == (20, 3, 32, 32)
    assert batch.target.shape == (20, 10)
    np.testing.assert_allclose(batch.target.sum(1), 1, atol=1e-6)


# ---- training -------------------------------------------------------------------------------------------------------
def fit(root, folder, epochs, ckpt=None, **settings):
    pl.seed_everything(1)
    run = trainer(folder, max_epochs=epochs, **settings)
    method = kdlab.Supervised(WideResNet(10, 1, ndim=2, in_channels=3, num_classes=10))
    run.fit(method, CIFAR10(root, augment=CropFlip(), batch_size=32), ckpt_path=ckpt, weights_only=True)
    return run, method


@pytest.mark.parametrize("stop", [{"max_epochs": 1}, {"max_steps": 3}])
def test_resumed_training_on_images_equals_uninterrupted(layouts, stop, tmp_path):
    _, whole = fit(layouts["cifar10"], tmp_path / "whole", 2)
    epochs = stop.pop("max_epochs", 2)
    run, _ = fit(layouts["cifar10"], tmp_path / "part", epochs, **stop)
    run.save_checkpoint(tmp_path / "stopped.ckpt")
    _, resumed = fit(layouts["cifar10"], tmp_path / "rest", 2, ckpt=tmp_path / "stopped.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_trained_net_is_evaluated_on_images(layouts, tmp_path):
    run, method = fit(layouts["cifar10"], tmp_path, 4)
    found = evaluate(method, CIFAR10(layouts["cifar10"]))
    assert found.scalars["accuracy"] == pytest.approx(np.mean(found.probabilities.argmax(1) == found.target))
    assert set(found.robustness) >= {"noise", "missing", "shift"}
    assert found.scalars["macs"] > 1e6
    val = evaluate(method, CIFAR10(layouts["cifar10"]), stage="val", robustness=False, embedding=False, cost=False)
    assert float(run.callback_metrics["val/accuracy"]) == pytest.approx(val.scalars["accuracy"], abs=1e-6)


def test_workers_read_the_same_images(layouts):
    def batches(workers):
        data = ImageFolder(
            layouts["folder"], size=40, resize=44, augment=ResizedCropFlip(40), batch_size=4, num_workers=workers
        )
        return list(data.train_dataloader())

    for alone, worked in zip(batches(0), batches(2), strict=True):
        assert torch.equal(alone.views["raw"], worked.views["raw"])
        assert torch.equal(alone.index, worked.index)


def test_a_file_that_breaks_later_is_named_in_one_line(layouts, tmp_path):
    root = tmp_path / "folder"
    shutil.copytree(layouts["folder"], root)
    data = ImageFolder(root, size=40, resize=44, batch_size=4, num_workers=1)
    data.setup()
    for file in root.rglob("train/*/*.JPEG"):
        file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InputError) as raised:
        list(data.train_dataloader())
    assert "Original Traceback" in str(raised.value)
    assert re.fullmatch(r"\S+_\d\.JPEG: not readable as an image .*Obtain it again", error_line(raised.value))
    assert error_line(InputError("plain: a\nb")) == "plain: a\nb"


def test_parts_that_are_links_are_followed(layouts, tmp_path):
    whole = ImageFolder(layouts["folder"], size=40, resize=44)
    for part in ("train", "val"):
        (tmp_path / part).symlink_to(layouts["folder"].absolute() / part)
    linked = ImageFolder(tmp_path, size=40, resize=44)
    assert len(linked.data.target) == len(whole.data.target)
    assert linked.fingerprint == whole.fingerprint


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("CIFAR10", {"views": {"raw": "Raw", "pi": {"class_path": "ScanPersistenceImage", "init_args": {"size": 8}}}}),
        ("CIFAR100", {"labels": "coarse", "augment": "CropFlip", "scale": "standard"}),
        ("CINIC10", {"in_memory": False, "augment": {"class_path": "Crop", "init_args": {"padding": 2}}}),
        ("TinyImageNet", {"val_fraction": 0.2}),
        ("ImageFolder", {"size": 32, "resize": 40, "augment": "ResizedCropFlip", "num_workers": 3}),
    ],
)
def test_every_class_is_read_from_yaml(name, arguments):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(WindowDataModule, "data")
    given = {"data": {"class_path": name, "init_args": {"root": "folder", **arguments}}}
    data = parser.instantiate(parser.parse_object(given)).data
    assert type(data).__name__ == name
    assert data.batch_size == 128
    assert data.scale == arguments.get("scale", "none")
    assert data.augment is None or isinstance(data.augment, Augmentation)
    assert data.views["raw"] == RawImage()


def test_windows_are_still_refused_with_a_wrong_number_of_axes():
    with pytest.raises(InputError, match=r"x must have three axes"):
        ArrayDataModule(np.zeros((4, 3, 8, 8)), np.arange(4) % 2).setup()
