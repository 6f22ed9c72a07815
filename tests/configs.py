"""The shipped configs: each method on BasicMotions and some runs of each data set through fit, test and predict.

All other runs are made, with their data, as the command line makes them, and not trained.
"""

from pathlib import Path

import yaml

from kdlab import cli
from kdlab.configs import read_config, stack
from tests import fixtures

EXPERIMENTS = Path(__file__).resolve().parent.parent / "experiments"
METHODS = sorted(path.stem for path in (EXPERIMENTS / "methods").glob("*.yaml"))
RUNS = sorted(
    path.relative_to(EXPERIMENTS).with_suffix("").as_posix()
    for path in EXPERIMENTS.rglob("*.yaml")
    if "run" in yaml.safe_load(path.read_text())
)
OF_RUNS = {"supervised", "sakdn"}  # methods that only runs include: scratch, and one with a teacher of several sensors
ALONE = {"ips", "ps_kd", "pseudo_label", "tf_kd_virtual", "cs_kd", "ddgsd"}
SEVERAL = {"aekd", "aver", "ca_mkd", "cad", "ebkd", "mtkd_rl", "two_teachers", "topological_kd"}
#: methods without a run on BasicMotions, which a command line puts together
COMPOSED = [f"basic_motions/{m}" for m in METHODS if m not in OF_RUNS and f"basic_motions/{m}" not in RUNS]
CONFIGS = sorted([*RUNS, *COMPOSED])
#: runs that are trained here, beside those on BasicMotions: a student of each data set, each kind of teacher and sensor
TRAINED = {
    "demo": ("teacher_raw", "teacher_pi", "kd", "tpkd"),
    "shoulder_watch": ("teacher_raw", "teacher_pi", "student"),
    "sp_sw_har": ("scratch", "teacher_raw", "teacher_pi", "teacher_gaf", "teacher_fusion", "sakdn", "three_teachers"),
    "utd_mhad": ("teacher_skeleton", "teacher_fusion", "sakdn"),
    "pamap2": ("scratch", "teacher_raw", "teacher_pi", "topological_kd"),
    "geneactiv": ("teacher_raw", "eskd"),
    "cifar10": ("scratch", "teacher_raw", "teacher_pi", "tgd"),
    "cinic10": ("teacher_raw", "amd"),
    "tiny_imagenet": ("teacher_raw", "amd"),
    "imagenet": ("teacher_raw", "amd"),
}
TEACHERS = [f"teacher_{name}" for name in ("raw", "inertial", "skeleton", "fusion", "gaf", "pi")]
ORDER = ["scratch", "scratch_long", *TEACHERS]  # others start from these
IMAGES = {
    "cifar10": "data/cifar-10-batches-py",
    "cinic10": "data/CINIC-10",
    "tiny_imagenet": "data/tiny-imagenet-200",
    "imagenet": "data/imagenet",
}
STAGED = ("setup", "prepare", "read_views", "receive_from", "check_checkpoint")  # of a method, which are told the stage
PREDICTED = set()  # ways in which a run of this process predicted
LIMIT = [
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=2",
    "--trainer.limit_val_batches=1",
    "--trainer.limit_test_batches=2",
    "--trainer.limit_predict_batches=2",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]


def make_laboratory(folder):
    """A folder as a user has it: experiments, and the data sets in their official layouts."""
    (folder / "experiments").symlink_to(EXPERIMENTS)
    fixtures.write_pamap2(folder / "data/PAMAP2_Dataset")
    fixtures.write_spswhar(folder / "data/SP_SW_HAR")
    fixtures.write_utdmhad(folder / "data/UTD_MHAD")
    fixtures.write_geneactiv(folder / "data/GENEActiv", number=1)
    fixtures.write_cifar10(folder / "data")
    fixtures.write_cinic10(folder / "data/CINIC-10")
    fixtures.write_tiny_imagenet(folder / "data", classes=200, number=2, val=1)
    fixtures.write_image_folder(folder / "data/imagenet")
    return folder


def configs_of(*folders):
    """Names of the configs in some folders, in an order in which each finds its teachers."""
    names = [name for name in CONFIGS if name.split("/")[0] in folders]
    return sorted(names, key=lambda n: ORDER.index(s) if (s := n.split("/")[1]) in ORDER else 9)


def files_of(name):
    """The files of a config, below `EXPERIMENTS`, in the order in which a command line names them."""
    folder, _, run = name.partition("/")
    if name in COMPOSED:
        parts = ["alone"] if run in ALONE else ["student", *(["raw_and_pi"] if run in SEVERAL else [])]
        return [f"methods/{run}.yaml", *(f"{folder}/{part}.yaml" for part in ("data", *parts))]
    shared = [f"{folder}/data.yaml"] if folder == "shoulder_watch" else []
    return [*shared, f"{name}.yaml"]


def config_of(name):
    return stack(read_config(EXPERIMENTS / file, name) for file in files_of(name))


def arguments_of(name):
    return config_of(name)["model"]["init_args"]


def data_of(name):
    return config_of(name)["data"]["init_args"]


def words_of(name):
    folder, _, run = name.partition("/")
    words = [word for file in files_of(name) for word in ("--config", f"experiments/{file}")]
    if name in COMPOSED:
        words.append(f"--run={name}")
    is_teacher = run.startswith("teacher")
    net = f"--model.init_args.{'net' if 'net' in arguments_of(name) else 'student'}.init_args"
    if arguments_of(name).get("student", {}).get("class_path") == "ReusedClassifier":  # of a teacher that is small here
        words += [f"{net}.classifier.init_args.{argument}" for argument in ("depth=10", "width=1")]
        net += ".net.init_args"
    if arguments_of(name).get("net", {}).get("class_path") != "Seq2Seq":  # which has no depth
        words.append(f"{net}.depth={18 if folder == 'imagenet' else 10}")
    if is_teacher:
        words.append("--model.init_args.net.init_args.width=1")
    if folder == "sp_sw_har":
        words.append("--data.init_args.root=data/SP_SW_HAR")
    if folder == "utd_mhad":
        words.append("--data.init_args.root=data/UTD_MHAD")
    if folder in IMAGES:
        words.append(f"--data.init_args.root={IMAGES[folder]}")
    if folder == "imagenet":
        words += [f"{net}.width=8", f"{net}.num_classes=4", "--data.init_args.num_workers=0"]
        words += [f"--data.init_args.{side}=64" for side in ("size", "resize")]
        if "augment" in data_of(name):
            words.append("--data.init_args.augment.init_args.size=64")
    if folder in ("sp_sw_har", "pamap2", "geneactiv", "utd_mhad", *IMAGES):
        words.append("--data.init_args.batch_size=8")
    return words


class Made(cli.KdlabCLI):
    """Makes data module, method and trainer, and runs nothing."""

    def _run_subcommand(self, subcommand):
        pass


def walk(name):
    """In the laboratory: train and use a run, or only make it and its data."""
    folder, _, run = name.partition("/")
    if folder == "basic_motions" or run in TRAINED[folder]:
        fit_test_predict(name)
    else:
        make(name)


def make(name):
    made = Made(["fit", *words_of(name), *LIMIT])
    assert made.run_name == name
    made.datamodule.prepare_data()
    made.datamodule.setup("fit")
    wanted = {teacher.get("view", "raw") for teacher in arguments_of(name).get("teachers", {}).values()}
    wanted.add(arguments_of(name).get("student_view" if "student" in arguments_of(name) else "view", "raw"))
    assert wanted <= set(made.datamodule.view_names)


def needed_by(part):
    """Names of the runs that a config starts from: its teachers, and the weights that it begins with."""
    if isinstance(part, str):
        return [part.removeprefix("runs/")] if part.startswith("runs/") else []
    parts = part.values() if isinstance(part, dict) else part if isinstance(part, list) else []
    return [name for item in parts for name in needed_by(item)]


def way_to_predict(made):
    """What predictions come from: the method's functions that are told the stage, data set, view and kind of net."""
    kind, view = type(made.model), made.model.view
    staged = [getattr(kind, name) for name in dir(kind) if "predict" in name or name in STAGED]
    return (*staged, type(made.datamodule), view, type(made.datamodule.views[view]), type(made.model.net))


def fit_test_predict(name):
    """In the laboratory, after what it needs, in whatever order the tests come; tested with its teachers gone.

    Runs that predict in the same way (:func:`way_to_predict`) do so once.
    """
    if Path("runs", name).exists():  # another run needed it
        return
    for needed in needed_by(config_of(name)["model"]):
        fit_test_predict(needed)
    words = words_of(name)
    fitted = cli.run(["fit", *words, *LIMIT])
    path = f"runs/{name}"
    if "teachers" in arguments_of(name):
        words += [f"--model.init_args.teachers.{teacher}.checkpoint=gone" for teacher in arguments_of(name)["teachers"]]
    assert Path(path, "version_0/checkpoints/best.ckpt").is_file()
    tested = cli.run(["test", *words, *LIMIT, "--ckpt_path", path])
    assert 0 <= tested.trainer.callback_metrics["test/accuracy"] <= 1
    if (way := way_to_predict(tested)) not in PREDICTED:
        PREDICTED.add(way)
        predicted = cli.run(["predict", *words, *LIMIT, "--ckpt_path", path])
        assert (Path(predicted.trainer.log_dir) / "predictions.csv").is_file()
    assert [p.name for p in Path(path).iterdir()] == ["version_0"]  # test and predict make no version of their own
    assert fitted.model.net.standardize.filled
