"""Tables as the software of sensor makers writes them: real files where there are any."""

import csv
import datetime
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from kdlab.data import RecordingDataModule
from kdlab.data.recordings.devices import FORMS
from kdlab.types import InputError


@pytest.fixture(scope="module")
def devices():
    place = Path(os.environ.get("KDLAB_DATA", "")) / "devices"
    if not os.environ.get("KDLAB_DATA") or not place.is_dir():
        pytest.skip("KDLAB_DATA/devices: no device files here")
    return place


def rows_of(file, skip=0):
    with file.open(newline="") as stream:
        return list(csv.reader(stream))[skip:]


def module(root, **more):
    settings = {"window": 10, "batch_size": 4, "subject": {"part": 0}, "label": {"folder": 0}}
    return RecordingDataModule(root, cache_dir=root.parent / "kept", **{**settings, **more})


def alone(tmp_path, source):
    """The file in a folder of its own, whose name is its label."""
    folder = tmp_path / "data" / "worn"
    folder.mkdir(parents=True)
    shutil.copyfile(source, folder / source.name)
    return tmp_path / "data"


def read(root, **more):
    data = module(root, **more)
    _, (stored,) = data._stored()
    return np.array(stored.signal()), stored.contents()["report"], data


# ---- ActiGraph ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "seconds", "channels"),
    [
        ("ActiGraph13.csv", 15, ["axis1", "axis2", "axis3", "steps"]),
        ("ActiGraph61.csv", 5, ["axis1", "axis2", "axis3", "steps", "lux", "off", "standing", "sitting", "lying"]),
    ],
)
def test_actigraph_without_a_header(tmp_path, devices, name, seconds, channels):
    """The rate and the start are in the ten lines before, the columns follow from the mode."""
    root = alone(tmp_path, devices / name)
    x, report, data = read(root, device="actigraph", channels=channels, sampling_rate=1 / seconds)
    want = np.array(rows_of(devices / name, 10), float)
    np.testing.assert_array_equal(x, want)
    assert report["rate"] == pytest.approx(1 / seconds)
    assert len(data.load()) == len(want) // 10
    if "lying" in channels:
        np.testing.assert_array_equal(want[:, 5:].sum(axis=1), seconds)  # seconds in each posture: the names are right


def test_actigraph_with_a_header_and_dates(tmp_path, devices):
    """Its Start Date contradicts its date format; the stamps of the rows count."""
    source = devices / "ActiGraph13_timestamps_headers.csv"
    x, report, _ = read(alone(tmp_path, source), device="actigraph", channels=["axis1", "vm"], sampling_rate=1.0)
    want = rows_of(source, 11)
    np.testing.assert_array_equal(x, np.array([[row[1], row[5]] for row in want], float))
    assert (report["rate"], report["with_times"]) == (pytest.approx(1.0), True)


def test_actigraph_start_that_its_date_format_forbids(tmp_path, devices):
    """Without its stamps, the same file is refused for its Start Date."""
    lines = (devices / "ActiGraph13_timestamps_headers.csv").read_text().splitlines()
    lines = lines[:10] + [line.partition(",")[2] for line in lines[10:]]
    lines[3] = lines[3].replace("09-12-2017", "09-19-2017")
    file = tmp_path / "data" / "worn" / "a.csv"
    file.parent.mkdir(parents=True)
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"expected a Start Date in the date format dd/MM/yyyy, got 09-19-2017"):
        read(tmp_path / "data", device="actigraph", channels=["axis1"], sampling_rate=1.0)


def test_actigraph_rate_is_held_against_what_is_declared(tmp_path, devices):
    root = alone(tmp_path, devices / "ActiGraph13.csv")
    with pytest.raises(InputError, match=r"recorded_at=1 Hz"):
        read(root, device="actigraph", channels=["axis1"], sampling_rate=1 / 15, recorded_at=1.0)


@pytest.mark.parametrize(("name", "epoch"), [("ActiGraph13.csv", "15"), ("ActiGraph13_timestamps_headers.csv", "1")])
@pytest.mark.parametrize("unit", ["s", "ms"])
def test_actigraph_epochs_are_no_samples(tmp_path, devices, name, epoch, unit):
    """A unit of time stamps would change nothing: the rate is that of epochs."""
    with pytest.raises(InputError, match=rf"header \(epochs of {epoch} s\).*: export the raw") as one:
        read(alone(tmp_path, devices / name), device="actigraph", channels=["axis1"], sampling_rate=50, time_unit=unit)
    assert "time_unit" not in str(one.value)


def test_a_unit_that_the_device_has_of_its_own_is_the_one_that_is_named(tmp_path):
    """Dates of an Axivity table: `time_unit` of the module is not what they are written in, so no other is proposed."""
    (tmp_path / "data" / "p").mkdir(parents=True)
    rows = [f"2020-01-01 00:{k:02d}:00.000,0,0,1" for k in range(30)]
    (tmp_path / "data" / "p" / "a.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(InputError, match=r"\(time_unit: iso\).*Set recorded_at") as one:
        read(tmp_path / "data", device="axivity", channels=["x"], sampling_rate=50)
    assert "Set time_unit" not in str(one.value)


# ---- Axivity --------------------------------------------------------------------------------------------------------
def test_axivity_unix_stamps(tmp_path, devices):
    source = devices / "ax3_testfile_unix_timestamps.csv"
    x, report, _ = read(alone(tmp_path, source), device="axivity", channels=["x", "y", "z"], sampling_rate=100.0)
    want = np.array(rows_of(source), float)
    time, grid = want[:, 0] - want[0, 0], np.arange(len(x)) / 100.0
    assert len(x) == int(time[-1] * 100.0 + 1e-6) + 1
    for c in range(3):
        np.testing.assert_allclose(x[:, c], np.interp(grid, time, want[:, 1 + c]), atol=1e-4)
    assert report["rate"] == pytest.approx(1 / np.diff(time).mean(), rel=1e-2)


def test_axivity_formatted_dates(tmp_path, devices):
    source = devices / "ax6_testfile_formatted_timestamps.csv"
    names = ["x", "y", "z", "gx", "gy", "gz"]
    x, report, _ = read(alone(tmp_path, source), device="axivity", channels=names, sampling_rate=100.0)
    rows = rows_of(source)
    stamps = [datetime.datetime.fromisoformat(row[0]).timestamp() for row in rows]
    time, values = np.array(stamps) - stamps[0], np.array([row[1:] for row in rows], float)
    assert report["rate"] == pytest.approx(1 / np.diff(time).mean(), rel=1e-2)
    grid = np.arange(len(x)) / 100.0
    for c in range(6):
        np.testing.assert_allclose(x[:, c], np.interp(grid, time, values[:, c]), atol=1e-4)


# ---- GENEActiv and Empatica: in the documented format, not tried on a real file -------------------------------------
def geneactiv(rows=300):
    """A CSV export: 100 lines of settings, then time (milliseconds after a colon), x, y, z and more."""
    x = np.random.default_rng(0).normal(size=(rows, 3)).round(4)
    lines = ["Device Type,GENEActiv", "Device Model,1.1", "Measurement Frequency,100 Hz", *[""] * 97]
    for k, row in enumerate(x.tolist()):
        lines.append(f"2013-07-05 10:00:{k // 100:02d}:{k % 100 * 10:03d},{row[0]},{row[1]},{row[2]},12,0,25.3")
    return x, "\n".join(lines) + "\n"


def empatica(rows=320):
    x = np.random.default_rng(1).integers(-64, 64, (rows, 3))
    head = "1551178506.000000, 1551178506.000000, 1551178506.000000\n32.000000, 32.000000, 32.000000\n"
    return x, head + "".join(f"{a},{b},{c}\n" for a, b, c in x.tolist())


def written(tmp_path, text, name="worn/p1.csv"):
    file = tmp_path / "data" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return tmp_path / "data"


def test_geneactiv(tmp_path):
    x, text = geneactiv()
    channels = ["x", "y", "z", "light", "button", "temperature"]
    got, report, _ = read(written(tmp_path, text), device="geneactiv", channels=channels, sampling_rate=100.0)
    np.testing.assert_allclose(got[:, :3], x, atol=1e-6)
    np.testing.assert_allclose(got[:, 3:], np.tile([12, 0, 25.3], (300, 1)), rtol=1e-6)
    assert report["rate"] == pytest.approx(100.0)
    with pytest.raises(InputError, match="device geneactiv expects 100 lines, the first of which begins with 'Device"):
        read(written(tmp_path, "a\n" * 120), device="geneactiv", channels=["x"], sampling_rate=100.0)


def test_empatica(tmp_path):
    x, text = empatica()
    root = written(tmp_path, text, "worn/1551178506_A01/ACC.csv")
    got, report, data = read(root, device="empatica", channels=["x", "y", "z"], sampling_rate=32.0)
    np.testing.assert_array_equal(got, x)
    assert (report["rate"], len(data.load())) == (pytest.approx(32.0), 32)
    heart = "1551178516.000000\n1.000000\n" + "".join(f"{60 + k / 10:.2f}\n" for k in range(50))
    root = written(tmp_path / "hr", heart, "worn/1551178506_A01/HR.csv")
    got, report, _ = read(root, device="empatica", channels=["value"], sampling_rate=1.0)
    np.testing.assert_allclose(got[:, 0], 60 + np.arange(50) / 10, rtol=1e-6)
    root = written(tmp_path / "ibi", "1551178506.000000, IBI\n1.2,0.8\n2.0,0.8\n", "worn/1551178506_A01/IBI.csv")
    with pytest.raises(InputError, match="device empatica expects the time of the first sample in line 1 and"):
        read(root, device="empatica", channels=["value"], sampling_rate=1.0)


# ---- other files under a device's name ------------------------------------------------------------------------------
@pytest.mark.parametrize("device", sorted(FORMS))
def test_a_file_of_another_maker_is_refused(tmp_path, device):
    root = written(tmp_path, "\n".join(["x,y,z,label", *["1.5,2.5,3.5,walk"] * 150]) + "\n")
    with pytest.raises(InputError, match=rf"device {device} expects|expected one column 'time'") as refused:
        read(root, device=device, channels=["x"], sampling_rate=100.0)
    assert "\n" not in str(refused.value)


def test_settings_of_a_device_can_be_replaced(tmp_path):
    _, text = geneactiv()
    lines = text.splitlines()
    root = written(tmp_path, "\n".join(lines[:1] + lines[40:]).replace(",", ";") + "\n")
    form = {"skip": 61, "delimiter": ";"}
    got, _, _ = read(root, device="geneactiv", channels=["x"], sampling_rate=100.0, csv=form)
    assert len(got) == 300
    with pytest.raises(InputError, match="device must be one of actigraph, axivity, geneactiv, empatica"):
        module(root, device="fitbit", channels=["x"], sampling_rate=1.0)
