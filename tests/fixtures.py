"""Small folders in the official layouts of the data sets, with classes that a small net can learn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
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
        text = [
            f"{t:.2f} {int(row[0])} " + " ".join("NaN" if np.isnan(v) else f"{v:.5g}" for v in row[1:].tolist())
            for t, row in zip(time.tolist(), table, strict=True)
        ]
        (protocol / f"subject{subject}.dat").write_text("\n".join(text) + "\n")
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
