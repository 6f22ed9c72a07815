"""Small folders in the official layouts of the data sets, with classes that a small net can learn."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

PAMAP2_ACTIVITIES = (1, 2, 3, 4, 5, 6, 7, 12, 13, 16, 17, 24)


def _movement(rng: np.random.Generator, channels: int, samples: int, rate: float, label: int) -> np.ndarray:
    """A periodic movement ``(samples, channels)`` whose pace, size and posture belong to the class."""
    time = np.arange(samples)[:, None] / rate
    phase = np.linspace(0, np.pi, channels) + rng.uniform(0, 2 * np.pi)
    pace = 0.5 + 0.45 * label + rng.normal(0, 0.03)
    posture = np.sin(1.7 * label + np.arange(channels))
    return (
        posture + (0.3 + 0.15 * (label % 5)) * np.sin(2 * np.pi * pace * time + phase) + _white(rng, samples, channels)
    )


def _white(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return 0.1 * rng.standard_normal(shape)


def write_pamap2(
    folder: Path, subjects: Sequence[int] = (101, 102, 103, 104, 105), rows: int = 480, seed: int = 0
) -> Path:
    """``Protocol/subject10x.dat``: 54 columns, 100 Hz, heart rate at 9 Hz, lost samples, labels 0 to 24.

    Args:
        folder: where it is written.
        subjects: ids, 101 to 109.
        rows: rows per activity.
        seed: of the movements.
    """
    protocol = Path(folder) / "Protocol"
    protocol.mkdir(parents=True, exist_ok=True)
    for subject in subjects:
        rng = np.random.default_rng([seed, subject])
        parts = []
        for k, activity in enumerate(PAMAP2_ACTIVITIES):
            between = np.full((40, 1), 0 if k % 3 else 10)  # transient, or an activity that the protocol leaves out
            label = np.concatenate([between, np.full((rows, 1), activity)])
            signal = np.concatenate([_white(rng, 40, 51), _movement(rng, 51, rows, 100.0, k)])
            rate = 70.0 + 5 * k + np.round(rng.normal(0, 2, (len(label), 1)))
            parts.append(np.concatenate([label, rate, signal], axis=1))
        table = np.concatenate(parts)
        table[np.arange(len(table)) % 11 != 5, 1] = np.nan  # the heart rate comes less often
        lost = rng.random(len(table)) < 0.01
        table[lost, 2:19] = np.nan  # the hand's sensor lost the connection
        time = 8.38 + 0.01 * np.arange(len(table))
        line = "%.2f %d" + " %.5g" * (table.shape[1] - 1)
        text = [line % (t, *row) for t, row in zip(time.tolist(), table.tolist(), strict=True)]
        (protocol / f"subject{subject}.dat").write_text("\n".join(text).replace("nan", "NaN") + "\n")
    return Path(folder)


def write_spswhar(
    folder: Path, subjects: Sequence[int] = (1, 2, 3, 4, 5, 6), executions: int = 2, seconds: float = 3.0, seed: int = 0
) -> Path:
    """``DATA/sXX/sXX_YY_{sp,sw}.csv``: two devices that start apart, uneven and repeated timestamps.

    Args:
        folder: where it is written.
        subjects: ids from 1.
        executions: recordings per subject.
        seconds: per activity.
        seed: of the movements.
    """
    names = ("SEATED", "STANDING_UP", "WALKING", "TURNING", "SITTING_DOWN")
    for subject in subjects:
        place = Path(folder) / "DATA" / f"s{subject:02d}"
        place.mkdir(parents=True, exist_ok=True)
        for execution in range(1, executions + 1):
            rng = np.random.default_rng([seed, subject, execution])
            for device, delay in (("sp", 3), ("sw", 0)):
                samples = int(100 * seconds)
                signal = np.concatenate([_movement(rng, 6, samples, 100.0, k) for k in range(5)])
                step = rng.choice([0, 9, 10, 10, 11, 20], size=len(signal), p=[0.1, 0.2, 0.25, 0.25, 0.1, 0.1])
                time = 1_657_533_977_810 + delay + np.cumsum(step)
                lines = ["x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label"]
                lines += [
                    ",".join(f"{v:.9g}" for v in row) + f",{t},{names[i // samples]}"
                    for i, (row, t) in enumerate(zip(signal.tolist(), time.tolist(), strict=True))
                ]
                (place / f"s{subject:02d}_{execution:02d}_{device}.csv").write_text("\n".join(lines) + "\n")
    return Path(folder)


def write_utdmhad(
    folder: Path, subjects: Sequence[int] = (1, 2, 3, 4, 5, 6, 7, 8), trials: int = 1, actions: int = 27, seed: int = 0
) -> Path:
    """``Inertial`` and ``Skeleton`` folders of ``.mat`` files of uneven lengths.

    Args:
        folder: where it is written.
        subjects: ids from 1.
        trials: per action and subject.
        actions: so many of the 27.
        seed: of the movements.
    """
    for name in ("Inertial", "Skeleton"):
        (Path(folder) / name).mkdir(parents=True, exist_ok=True)
    for subject in subjects:
        for action in range(1, actions + 1):
            for trial in range(1, trials + 1):
                rng = np.random.default_rng([seed, subject, action, trial])
                stem = f"a{action}_s{subject}_t{trial}"
                samples, frames = int(rng.integers(107, 180)), int(rng.integers(41, 80))
                inertial = _movement(rng, 6, samples, 50.0, action % 9) + action // 9
                skeleton = _movement(rng, 60, frames, 30.0, action % 9).T.reshape(20, 3, frames) + action // 9
                savemat(Path(folder) / "Inertial" / f"{stem}_inertial.mat", {"d_iner": inertial})
                savemat(Path(folder) / "Skeleton" / f"{stem}_skeleton.mat", {"d_skel": skeleton})
    return Path(folder)


def write_geneactiv(
    folder: Path,
    subjects: Sequence[str] = ("3", "7", "12", "20", "21", "33", "40", "58"),
    classes: Sequence[int] = tuple(range(1, 15)),
    window: int = 500,
    number: int = 2,
    rows_first: bool = True,
    seed: int = 0,
) -> Path:
    """``Life_log/Window-size-<window>/ID-<subject>_CLASS-<class>_Window-<number>.mat`` with the variable ``xw``.

    Args:
        folder: where it is written.
        subjects: ids.
        classes: class numbers.
        window: samples.
        number: windows per subject and class.
        rows_first: ``xw`` is ``(window, 3)``, or else ``(3, window)``.
        seed: of the movements.
    """
    place = Path(folder) / "Life_log" / f"Window-size-{window}"
    place.mkdir(parents=True, exist_ok=True)
    for who, subject in enumerate(subjects):
        for label in classes:
            for n in range(1, number + 1):
                rng = np.random.default_rng([seed, who, label, n])
                xw = _movement(rng, 3, window, 100.0, label % 7)
                savemat(place / f"ID-{subject}_CLASS-{label}_Window-{n}.mat", {"xw": xw if rows_first else xw.T})
    return Path(folder)


UCIHAR_CLASSES = ("WALKING", "WALKING_UPSTAIRS", "WALKING_DOWNSTAIRS", "SITTING", "STANDING", "LAYING")


def write_ucihar(
    folder: Path, train: Sequence[int] = (1, 3, 5, 6, 7), test: Sequence[int] = (2, 4), number: int = 2, seed: int = 0
) -> Path:
    """``UCI HAR Dataset/{train,test}``: a row of 128 numbers per window in each of nine files, classes from 1.

    Args:
        folder: where it is written.
        train: persons of the training part.
        test: persons of the test part.
        number: windows per person and class.
        seed: of the movements.
    """
    root = Path(folder) / "UCI HAR Dataset"
    root.mkdir(parents=True)
    (root / "activity_labels.txt").write_text("".join(f"{k} {c}\n" for k, c in enumerate(UCIHAR_CLASSES, start=1)))
    for part, persons in (("train", train), ("test", test)):
        place = root / part / "Inertial Signals"
        place.mkdir(parents=True)
        rows = [(p, k, n) for p in persons for k in range(6) for n in range(number)]
        x = np.stack([_movement(np.random.default_rng([seed, *row]), 9, 128, 50.0, row[1]).T for row in rows])
        names = [f"{sensor}_{axis}" for sensor in ("body_acc", "body_gyro", "total_acc") for axis in "xyz"]
        for c, name in enumerate(names):
            lines = ["".join(f" {v: .7e}" for v in row) for row in x[:, c].tolist()]
            (place / f"{name}_{part}.txt").write_text("\n".join(lines) + "\n")
        (root / part / f"y_{part}.txt").write_text("".join(f"{k + 1}\n" for _, k, _ in rows))
        (root / part / f"subject_{part}.txt").write_text("".join(f"{p}\n" for p, _, _ in rows))
    return Path(folder)


def write_ts(file: Path, x: Sequence[np.ndarray], labels: Sequence[str], header: str | None = None) -> Path:
    """A ``.ts`` file of recordings ``(C, T)``, NaN written as ``?``.

    Args:
        file: where it is written.
        x: the recordings.
        labels: their classes.
        header: what comes before ``@data``; None: what the archive's files have.
    """
    if header is None:
        classes = " ".join(dict.fromkeys(labels))
        header = (
            f"#A comment: with ü and 1,2:3\n@problemName {file.stem}\n@timeStamps false\n@missing false\n"
            f"@univariate false\n@dimensions {len(x[0])}\n@equalLength true\n@seriesLength {x[0].shape[1]}\n"
            f"@classLabel true {classes}\n"
        )
    rows = [
        ":".join(",".join("?" if np.isnan(v) else repr(float(v)) for v in series) for series in one) + f":{label}"
        for one, label in zip(x, labels, strict=True)
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(header + "@data\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return file


def movement_recording(
    seed: int | Sequence[int], channels: int = 3, seconds: float = 20.0, rate: float = 50.0, classes: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Signal ``(samples, channels)`` of one activity after the other, and the label words ``(samples,)``."""
    rng = np.random.default_rng(seed)
    samples = int(seconds * rate)
    x = np.concatenate([_movement(rng, channels, samples, rate, k) for k in range(classes)])
    return x.astype(np.float32), np.repeat(["sit", "walk", "run", "lie"][:classes], samples)


def write_recording_csv(
    file: Path, x: np.ndarray, label: np.ndarray, time: np.ndarray | None = None, channels: Sequence[str] | None = None
) -> Path:
    """A CSV with a header, perhaps a column ``time``, the channels and ``label``; NaN as an empty cell."""
    names = list(channels or [f"c{i}" for i in range(x.shape[1])])
    lines = [",".join([*(["time"] if time is not None else []), *names, "label"])]
    for i, row in enumerate(x.tolist()):
        cells = ["" if v != v else repr(v) for v in row]
        lines.append(",".join([*([repr(float(time[i]))] if time is not None else []), *cells, str(label[i])]))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")
    return file


CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def photographs(label: np.ndarray, side: int = 32, seed: int = 0) -> np.ndarray:
    """Pictures ``(N, side, side, 3)`` uint8 whose colours and stripes belong to the class."""
    rng = np.random.default_rng(seed)
    k, place = label[:, None, None, None], np.arange(side) / side
    stripes = np.sin(
        2 * np.pi * (1 + k % 4) * place[None, :, None, None] + 2 * np.pi * (k % 3) * place[None, None, :, None]
    )
    colour = np.sin(1.3 * k + np.arange(3))
    pictures = 128 + 50 * colour + 40 * stripes + rng.normal(0, 15, (len(label), side, side, 3))
    return pictures.clip(0, 255).round().astype(np.uint8)


def python2_pickle(value: object) -> bytes:
    """What ``cPickle.dumps(value, 2)`` of Python 2 writes for dicts, lists, strings, small numbers and uint8 arrays."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value: object) -> bytes:
    if isinstance(value, dict):
        return b"}(" + b"".join(_python2(part) for pair in value.items() for part in pair) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    if isinstance(value, int):
        return b"K" + bytes([value]) if value < 256 else b"J" + struct.pack("<i", value)
    if isinstance(value, str):
        text = value.encode()
        return b"U" + bytes([len(text)]) + text if len(text) < 256 else b"T" + struct.pack("<I", len(text)) + text
    assert isinstance(value, np.ndarray)
    assert value.dtype == np.uint8
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    shape = b"(" + b"".join(b"J" + struct.pack("<i", n) for n in value.shape) + b"t"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    data = value.tobytes()
    return array + b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<I", len(data)) + data + b"tb"


def _planes(label: np.ndarray, seed: int) -> np.ndarray:
    """``(N, 3072)``: the red, green and blue plane of each picture, row by row."""
    return photographs(label, 32, seed).transpose(0, 3, 1, 2).reshape(len(label), 3072)


def write_cifar10(folder: Path, batch: int = 40, test: int = 40, binary: bool = False) -> Path:
    """``cifar-10-batches-py`` (pickles of Python 2) or ``cifar-10-batches-bin``: five batches and a test batch.

    Args:
        folder: where it is written.
        batch: images in each of the five batches.
        test: images of the test batch.
        binary: the binary version.
    """
    root = Path(folder) / f"cifar-10-batches-{'bin' if binary else 'py'}"
    root.mkdir(parents=True, exist_ok=True)
    files = [(f"data_batch_{i}", batch, f"training batch {i} of 5") for i in range(1, 6)]
    for seed, (name, count, title) in enumerate([*files, ("test_batch", test, "testing batch 1 of 1")]):
        label = np.random.default_rng(seed).permutation(np.arange(count) % 10)
        data = _planes(label, seed)
        if binary:
            (root / f"{name}.bin").write_bytes(np.c_[label.astype(np.uint8), data].tobytes())
            continue
        names = [f"{CIFAR10_CLASSES[k]}_s_{i:06d}.png" for i, k in enumerate(label.tolist())]
        content = {"batch_label": title, "labels": label.tolist(), "data": data, "filenames": names}
        (root / name).write_bytes(python2_pickle(content))
    if binary:
        (root / "batches.meta.txt").write_text("\n".join(CIFAR10_CLASSES) + "\n\n")
    else:
        meta = {"num_cases_per_batch": batch, "label_names": list(CIFAR10_CLASSES), "num_vis": 3072}
        (root / "batches.meta").write_bytes(python2_pickle(meta))
    return root


def write_cifar100(folder: Path, train: int = 400, test: int = 100, binary: bool = False) -> Path:
    """``cifar-100-python`` (pickles of Python 2) or ``cifar-100-binary``; fine class k is of superclass k % 20.

    Args:
        folder: where it is written.
        train: training images.
        test: test images.
        binary: the binary version.
    """
    root = Path(folder) / f"cifar-100-{'binary' if binary else 'python'}"
    root.mkdir(parents=True, exist_ok=True)
    names = {"fine": [f"fine_{k}" for k in range(100)], "coarse": [f"coarse_{k}" for k in range(20)]}
    for seed, (name, count) in enumerate((("train", train), ("test", test))):
        fine = np.random.default_rng(seed).permutation(np.arange(count) % 100)
        data = _planes(fine, seed)
        if binary:
            (root / f"{name}.bin").write_bytes(
                np.c_[(fine % 20).astype(np.uint8), fine.astype(np.uint8), data].tobytes()
            )
            continue
        labels = {"fine_labels": fine.tolist(), "coarse_labels": (fine % 20).tolist()}
        files = [f"picture_s_{i:06d}.png" for i in range(count)]
        title = {"batch_label": f"{name}ing batch 1 of 1"}
        (root / name).write_bytes(python2_pickle({"filenames": files, **title, **labels, "data": data}))
    if binary:
        for kind, words in names.items():
            (root / f"{kind}_label_names.txt").write_text("\n".join(words) + "\n")
    else:
        meta = {f"{kind}_label_names": words for kind, words in names.items()}
        (root / "meta").write_bytes(python2_pickle(meta))
    return root


def _write_picture(file: Path, picture: np.ndarray, mode: str = "RGB") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).convert(mode).save(file, **({"quality": 95} if file.suffix.upper() != ".PNG" else {}))


def write_cinic10(folder: Path, number: int = 3) -> Path:
    """``{train,valid,test}/<class>/*.png``, some of them grey-scale.

    Args:
        folder: where it is written.
        number: images per class and part.
    """
    for seed, part in enumerate(("train", "valid", "test")):
        label = np.repeat(np.arange(10), number)
        for i, (k, picture) in enumerate(zip(label.tolist(), photographs(label, 32, seed), strict=True)):
            stem = f"cifar10-{part}-{i}" if i % 2 else f"n{i:08d}_{i}"
            _write_picture(
                Path(folder, part, CIFAR10_CLASSES[k], f"{stem}.png"), picture, "L" if i % 10 == 4 else "RGB"
            )
    return Path(folder)


def write_tiny_imagenet(folder: Path, classes: int = 4, number: int = 3, val: int = 2) -> Path:
    """``tiny-imagenet-200``: ``wnids.txt``, ``words.txt``, ``train``, annotated ``val``, ``test`` without labels.

    Args:
        folder: where it is written.
        classes: number of classes.
        number: training images per class.
        val: validation images per class.
    """
    root = Path(folder) / "tiny-imagenet-200"
    root.mkdir(parents=True, exist_ok=True)
    wnids = [f"n{10000 + 48271 * k % 90000:08d}" for k in range(classes)]
    (root / "wnids.txt").write_text("\n".join(wnids) + "\n")
    words = "".join(f"{wnid}\tthing{k}, kind of thing\n" for k, wnid in enumerate(wnids))
    (root / "words.txt").write_text("n00001740\tentity\n" + words)
    label = np.repeat(np.arange(classes), number)
    for i, (k, picture) in enumerate(zip(label.tolist(), photographs(label, 64, 0), strict=True)):
        place = root / "train" / wnids[k]
        _write_picture(place / "images" / f"{wnids[k]}_{i % number}.JPEG", picture, "L" if i == 1 else "RGB")
        with (place / f"{wnids[k]}_boxes.txt").open("a") as file:
            file.write(f"{wnids[k]}_{i % number}.JPEG\t0\t10\t63\t58\n")
    label = np.random.default_rng(1).permutation(np.repeat(np.arange(classes), val))
    rows = []
    for i, (k, picture) in enumerate(zip(label.tolist(), photographs(label, 64, 1), strict=True)):
        _write_picture(root / "val" / "images" / f"val_{i}.JPEG", picture)
        rows.append(f"val_{i}.JPEG\t{wnids[k]}\t0\t32\t44\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(rows))
    _write_picture(root / "test" / "images" / "test_0.JPEG", photographs(np.zeros(1, int), 64, 2)[0])
    return root


def write_image_folder(folder: Path, classes: int = 4, number: int = 5, val: int = 2) -> Path:
    """``{train,val}/<wnid>/*.JPEG`` of uneven sizes, as ImageNet, one of them CMYK.

    Args:
        folder: where it is written.
        classes: number of classes.
        number: training images per class.
        val: validation images per class.
    """
    for seed, (part, count) in enumerate((("train", number), ("val", val))):
        rng = np.random.default_rng(seed)
        for k in range(classes):
            wnid = f"n{1440764 + 997 * k:08d}"
            for i in range(count):
                height, width = rng.integers(70, 130, 2)
                picture = photographs(np.array([k]), 130, 10 * i + seed)[0, :height, :width]
                name = f"{wnid}_{i}.JPEG" if part == "train" else f"ILSVRC2012_val_{k * val + i + 1:08d}.JPEG"
                _write_picture(Path(folder, part, wnid, name), picture, "CMYK" if i == 1 else "RGB")
    return Path(folder)


def write_tar(archive: Path, folder: Path) -> Path:
    """A folder as an archive, ``.tar.gz`` or plain."""
    with tarfile.open(archive, "w:gz" if archive.suffix == ".gz" else "w") as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                info, data = tarfile.TarInfo(path.relative_to(folder.parent).as_posix()), path.read_bytes()
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
    return archive
