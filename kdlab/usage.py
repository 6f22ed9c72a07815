"""The options of kdlab's own commands. Help is printed from here, before anything else is imported."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from typing import Any

#: format of an exported file -> how its files end; pretrained is a folder, which may be called as one likes
FORMATS = {"torch": ".pt", "torch.export": ".pt2", "onnx": ".onnx", "c": ".c", "pretrained": ".pretrained"}
CHECKPOINT = "CKPT"
SHELLS = ("bash", "zsh")
#: in place of a number of threads
MEASURE = "measure"
_TRUST = (
    "Net and view come from the checkpoint. Of the config.yaml beside it only data is read, and of that only data "
    "modules, views, augmentations and scales of kdlab itself, so that run folders of others are safe to read. Runs "
    "with classes of your own need --trust-config, or --config with a config that you name: both are programs, whose "
    "classes are imported and called."
)


class Options(argparse.ArgumentParser):
    """A parser that names the option which an unknown one resembles."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse words; an unknown one ends the process with status 2."""
        given, unknown = self.parse_known_args(args, namespace)
        if unknown:
            known = [option for action in self._actions for option in action.option_strings]
            near = (difflib.get_close_matches(word.partition("=")[0], known, 1) for word in unknown if word[:2] == "--")
            hints = list(dict.fromkeys(option for found in near for option in found))
            hint = f". Did you mean {' or '.join(hints)}?" if hints else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return given


def _threads(text: str) -> int | str:
    return text if text == MEASURE else int(text)


def study() -> argparse.ArgumentParser:
    """The options of ``kdlab study``."""
    text = "Run the missing jobs of a study, and write its tables and figures."
    parser = Options(prog="kdlab study", description=text, allow_abbrev=False)
    add = parser.add_argument
    add("file", help="a study file, such as experiments/basic_motions/study.yaml")
    add("--dry-run", action="store_true", help="print the plan and run nothing")
    add("--list", action="store_true", help="print one command per missing job, in order")
    add("--stage", type=int, metavar="NUMBER", help="with --list: the jobs of this stage alone, for an array of them")
    only = "run this job alone (see --list); may be repeated; what it needs must be done, or be named, too"
    add("--only", metavar="JOB", action="append", help=only)
    key = "with --only: refuse the job where its settings, data or version are no longer those of this key (--submit)"
    add("--key", metavar="KEY", help=key)
    add("--jobs", type=int, default=1, help="how many run at a time, one GPU each where there are any")
    add("--report", action="store_true", help="write tables and figures of what is done, and run nothing")
    resume = "go on from the rows.jsonl of a study elsewhere: rows of the same settings and data are not run again"
    add("--resume-from", metavar="FILE", help=resume)
    add("--hours", type=float, help="begin no job that is not expected to end within these hours")
    cut = "a fit that was cut resumes from its last checkpoint; without it, the fit begins again"
    add("--resume-fits", action="store_true", help=cut)
    threads = "threads of every job on a CPU, or measure: by the time of steps; by default 1, or OMP_NUM_THREADS"
    add("--threads", type=_threads, metavar="NUMBER|measure", help=threads)
    submit = (
        "give the jobs to a cluster, one array per stage and the report last, or to processes here (--jobs at a time)"
    )
    add("--submit", choices=("slurm", "local"), help=submit)
    add("--root", default="runs", help="folder of all runs")
    add("--hash-people", action="store_true", help="as people: hashed in the study file")
    return parser


def new() -> argparse.ArgumentParser:
    """The options of ``kdlab new``."""
    text = "Look at your data, print what they are, and write a study of them: data, teachers, students, study.yaml."
    epilog = "What your data leave open must be given; the error lists the options. No file is replaced."
    parser = Options(prog="kdlab new", description=text, epilog=epilog, allow_abbrev=False)
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="where the files are written")
    add(
        "--data",
        metavar="PATH",
        help="an npz file of windows, or a folder of recordings (tables, arrays, device files)",
    )
    add("--example", metavar="NAME", help="a shipped experiment in place of data, such as shoulder_watch")
    people = "who was recorded: an array, a column, folder:0, part:0 of the file name; none: unknown"
    add("--people", metavar="WHERE", help=people)
    labels = "the activity: an array, a column, folder:0, part:1, or file:{name}_labels.csv with start,end,label"
    add("--labels", metavar="WHERE", help=labels)
    add("--rate", metavar="HZ", help="sampling rate, to which recordings are resampled")
    add("--channels", metavar="A,B,C", help="columns of the signal; names of the channels of windows")
    add("--time", metavar="COLUMN", help="of recordings: column of the times; none: samples at the constant rate")
    window = "of recordings: samples of a window (default: two seconds, but 8 samples at least)"
    add("--window", type=int, metavar="SAMPLES", help=window)
    add("--step", type=int, metavar="SAMPLES", help="of recordings: from window to window (default: half a window)")
    add("--windows", metavar="KEY", help="of an npz file: the array of windows (default: x)")
    more = "a further argument of ArrayDataModule or RecordingDataModule, as in YAML: layout=NTC, time_unit=ms"
    add("--set", action="append", default=[], metavar="KEY=VALUE", help=more)
    return parser


def tune() -> argparse.ArgumentParser:
    """The options of ``kdlab tune``."""
    text = "Find the settings of a study's rows on validation people, and write a file to include."
    parser = Options(prog="kdlab tune", description=text, allow_abbrev=False)
    add = parser.add_argument
    add("file", help="a study file with a section tune")
    add("--out", help="the file to write; beside the trials without it")
    add("--dry-run", action="store_true", help="print the plan, check the space, and run nothing")
    add("--jobs", type=int, default=1, help="how many fits run at a time")
    resume = "go on from the rows.jsonl of a study elsewhere: trials of the same settings and data are not run again"
    add("--resume-from", metavar="FILE", help=resume)
    add("--root", default="runs", help="folder of all runs")
    return parser


def evaluate() -> argparse.ArgumentParser:
    """The options of ``kdlab evaluate``."""
    text = "Evaluate checkpoints side by side, and write tables, figures and predictions."
    parser = Options(prog="kdlab evaluate", description=text, epilog=_TRUST, allow_abbrev=False)
    add, checkpoints = parser.add_argument, "checkpoint files, or run folders (their newest finished version)"
    add("checkpoints", nargs="+", metavar=CHECKPOINT, help=checkpoints)
    add("--out", default="evaluation", help="folder for the results (default: evaluation)")
    add("--overwrite", action="store_true", help="write into --out although it holds results")
    add("--stage", choices=("test", "val"), default="test", help="which windows (default: test)")
    add("--config", help="a config of yours, in place of config.yaml beside the checkpoints; its classes are imported")
    add("--trust-config", action="store_true", help="import and call what config.yaml beside a checkpoint names")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="override the configs: --set data.root=FOLDER")
    add("--batch_size", type=int, default=256, help="windows per batch (default: 256)")
    add("--device", default="cpu", help="where the nets run; they are timed on the CPU (default: cpu)")
    add("--no-robustness", dest="robustness", action="store_false", help="leave out the corrupted windows")
    add("--no-embedding", dest="embedding", action="store_false", help="leave out V-measure and t-SNE figure")
    return parser


def export() -> argparse.ArgumentParser:
    """The options of ``kdlab export``; further words override the configuration."""
    text = "Write a trained student as one file that reads physical units, with a JSON card beside it."
    epilog = f"Further words override the data, for example --data.init_args.root=/my/recordings. {_TRUST}"
    parser = Options(prog="kdlab export", description=text, epilog=epilog, allow_abbrev=False)
    add, own = parser.add_argument, "a config of yours, whose classes are imported; default: that of the run folder"
    add("checkpoint", metavar=CHECKPOINT, help="checkpoint file, or run folder (its newest finished version)")
    add("--format", choices=tuple(FORMATS), default="torch.export", help="default: %(default)s")
    add("--quantize", choices=("int8",), help="of onnx, calibrated on training windows; c is always int8")
    add("--name", help="of a net in C, with which its function's name begins; default: its run")
    add("--self-test", action="store_true", help="c only: a program beside it that checks it")
    add("--output", metavar="FILE", help="or folder, of pretrained; default: beside the checkpoint, called by its run")
    about = "what the card says: licence, data_licence, data_citation, intended_use, limits; may be repeated"
    add("--about", action="append", default=[], metavar="KEY=TEXT", help=about)
    add("--config", metavar="FILE", help=own)
    add("--trust-config", action="store_true", help="import and call what the config.yaml of the run folder names")
    add("--windows", choices=("val", "test"), default="val", help="checked on; default: %(default)s")
    tolerance = "of accuracy, for int8; default: %(default)s"
    add("--tolerance", type=float, default=0.5, metavar="POINTS", help=tolerance)
    share = "of the weights that int8 must reach; default: %(default)s"
    add("--int8-minimum", type=float, default=0.5, metavar="SHARE", help=share)
    add("--overwrite", action="store_true", help="replace a file that is there")
    return parser


def nets() -> argparse.ArgumentParser:
    """The options of ``kdlab nets``."""
    text = "What the nets cost on one window or image, as a Markdown table."
    parser = Options(prog="kdlab nets", description=text, allow_abbrev=False)
    add = parser.add_argument
    timings = "timings of a net, whose median is shown; 3 where they take longer than 0.3 s (default: 10)"
    add("--channels", type=int, default=3, help="channels of the view (default: 3)")
    add("--length", type=int, default=500, help="samples of a window, for the 1-D nets (default: 500)")
    sizes = "pixels of a side of an image, for the 2-D nets, one or several (default: 32, as CIFAR's, and 64)"
    add("--size", type=int, nargs="+", default=[32, 64], help=sizes)
    add("--classes", type=int, default=14, help="number of classes (default: 14)")
    add("--ndim", type=int, choices=(1, 2), help="only nets for signals (1) or for images (2)")
    add("--only", default="*", metavar="PATTERN", help="only nets with such a name, as in 'wrn16-*'")
    add("--runs", type=int, default=10, help=timings)
    return parser


def cite() -> argparse.ArgumentParser:
    """The options of ``kdlab cite``."""
    text = "Print the BibTeX of the papers behind a config's method, net, views, data, augmentation and callbacks."
    parser = Options(prog="kdlab cite", description=text, allow_abbrev=False)
    parser.add_argument("--config", required=True, help="a run's config, or the config.yaml beside its checkpoints")
    return parser


def schema() -> argparse.ArgumentParser:
    """The options of ``kdlab schema``."""
    text = "Write the JSON schemas of run files and study files, with which editors check and complete YAML."
    parser = Options(prog="kdlab schema", description=text, allow_abbrev=False)
    parser.add_argument("--out", default=".", metavar="FOLDER", help="where they are written (default: here)")
    return parser


def completion() -> argparse.ArgumentParser:
    """The options of ``kdlab completion``."""
    text = "Print a script that completes commands, options, methods and files at the tab key."
    epilog = 'For every new shell: put  eval "$(kdlab completion bash)"  into ~/.bashrc, likewise zsh into ~/.zshrc.'
    parser = Options(prog="kdlab completion", description=text, epilog=epilog, allow_abbrev=False)
    parser.add_argument("shell", choices=SHELLS, help="which shell")
    return parser


#: command -> its parser; fit, validate, test and predict have Lightning's
PARSERS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "new": new,
    "study": study,
    "tune": tune,
    "evaluate": evaluate,
    "export": export,
    "nets": nets,
    "cite": cite,
    "schema": schema,
    "completion": completion,
}
