"""The keys of a study file, each once: its readers take their names from here, and editors the shapes and texts."""

from __future__ import annotations

from kdlab.shapes import NAME, NULL, Shape, either, listed, mapping, named, number, one_of, text, whole
from kdlab.study.budgets import CHOICES
from kdlab.study.cluster.settings import SLURM
from kdlab.study.columns import COLUMNS
from kdlab.study.measured import MEASURES

#: part of a study file -> what its runs are
STAGES = {"teachers": "teacher", "scratch": "scratch", "students": "student"}
LEAVE_ONE_OUT = "leave_one_subject_out"
HALVES, FOLD = "halves", "fold"
FORMATS = ("png", "pdf", "svg")
FONT_SIZES, WIDTHS = (4.0, 32.0), (1.5, 30.0)  # points; inches
#: dotted names of settings of a run config -> values; the schema of study files replaces it by the names that there are
SETTINGS: Shape = mapping({}, "Settings of the run config by their dotted names: model.init_args.temperature: 4.0.")
_FILE = text("a file; a relative name starts at the folder of this file")
_NAMES = listed(NAME)

CROSS_FIT: dict[str, Shape] = {
    "groups": whole(2, "groups of the training people; each teacher is trained without one"),
    "seed": whole(0, "that divides the people; 0 by default"),
}
ENSEMBLE: dict[str, Shape] = {
    "runs": listed(NAME, "the runs whose mean logits teach", least=1, different=True),
    "seeds": whole(1, "how many of each run, which differ in their seed; 1 by default"),
    "folds": whole(1, "how many of each run, each trained without one of so many groups of people; 1 by default"),
    "weights": either(
        "run -> its weight, or validation: found on the validation windows of each job; equal by default",
        mapping(number(low=0)),
        one_of(["validation"]),
        NULL,
    ),
}
RUN: dict[str, Shape] = {
    "config": either("The run config, or several, laid over each other.", _FILE, listed(_FILE, least=1)),
    "teachers": either(
        "Teacher of the config -> the run that trains it, or several runs whose mean teaches (an ensemble).",
        mapping(either("", NAME, listed(NAME, least=2, different=True), named(ENSEMBLE, required=["runs"]))),
        NULL,
    ),
    "init": {"description": "The run whose weights it starts from.", "type": ["string", "null"]},
    "set": {"anyOf": [SETTINGS, NULL]},
    "axes": either("The axes of the grid on which it is run.", _NAMES, NULL),
    "one_per": one_of(["seed", "fold"], "How often it is run: for every seed (by default), or once for a fold."),
    "title": {"description": "Its name in results.md and in figures.", "type": ["string", "null"]},
    "updates": either("Its optimiser updates in total, where they are others than the study's.", whole(1), NULL),
    "split": either(
        "The share of the updates that is the warm start's (init), between 0 and 1.",
        number(low=0, high=1, open_ends=True),
        NULL,
    ),
    "cross_fit": either(
        "Take each person's soft targets from teachers that have not seen this person, one of so many groups each.",
        whole(2),
        named(CROSS_FIT, required=["groups"]),
        NULL,
    ),
}
FIGURES: dict[str, Shape] = {
    "formats": listed(one_of(FORMATS), "Endings of the figures; png is always among them.", least=1, different=True),
    "font": {"description": "A family that matplotlib finds.", "type": ["string", "null"]},
    "font_size": either("In points; 10 by default.", number(low=FONT_SIZES[0], high=FONT_SIZES[1]), NULL),
    "width": either("Of each figure, in inches.", number(low=WIDTHS[0], high=WIDTHS[1]), NULL),
}
#: keys that change no job, only what is shown
PAPER: dict[str, Shape] = {
    "people": one_of(["plain", "hashed"], "Whether tables have names of people or hashes of them (KDLAB_SALT)."),
    "compare": either(
        "Matched pairs of runs, [[first, second]], each with an interval of its own.",
        listed({**listed(NAME, least=2), "maxItems": 2}),
        NULL,
    ),
    "title": {"description": "Heads results.md; by default the name of the study.", "type": ["string", "null"]},
    "columns": either("Columns of results.tex and means.csv.", listed(one_of(COLUMNS), least=1, different=True), NULL),
    "figures": either("How figures are saved.", FIGURES["formats"], named(FIGURES), NULL),
}
RANGE: dict[str, Shape] = {
    "low": number("the least value"),
    "high": number("the greatest value"),
    "log": {"description": "whether its logarithm is drawn evenly; false by default", "type": "boolean"},
}
VALUES: Shape = either(
    "a list of values, or a range",
    {"type": "array", "minItems": 1, "uniqueItems": True},
    named(RANGE, required=["low", "high"]),
)
#: setting -> values; the schema of study files replaces it by the names that there are
SPACE: Shape = mapping(VALUES, "Settings by short names, model.temperature: [2.0, 4.0], or {low, high, log}.")
TUNE: dict[str, Shape] = {
    "trials": whole(1, "Of the common settings, and of every row; 20 by default."),
    "round": whole(1, "Trials that are suggested together; 4 by default."),
    "people": either(
        "Whose windows are tried on: halves (the settings of one half are used where the other is tested), fold (each "
        "fold its own), or people who are never tested.",
        one_of([HALVES, FOLD]),
        listed({}, least=1),
    ),
    "seed": whole(0, "Of suggestions and fits; 0 by default."),
    "on": either("The runs on whose mean the common settings are chosen.", listed(NAME, least=1, different=True), NULL),
    "common": {"anyOf": [SPACE, NULL]},
    "own": either("Run, or part of the study -> the settings of each of its rows.", mapping(SPACE), NULL),
    "prune": listed(
        number(low=0, high=1, open_ends=True), "Shares of a fit at which a poor trial is ended; [] for never."
    ),
    "prune_from": whole(1, "Complete trials from which on trials are ended early; 5 by default."),
}
TUNED: dict[str, Shape] = {
    "people": one_of([HALVES, FOLD, "people"], "With whose windows they were found."),
    "trials": whole(0, "Of the common settings, and of every row."),
    "parts": mapping(listed({}), "Part -> the people whose windows were read."),
    "settings": mapping(mapping(SETTINGS), "Row -> part -> setting -> value."),
}
_PUBLISHED: Shape = {  # further keys are kept for the reader
    "type": "object",
    "properties": {
        "value": {},
        "source": {"description": "where it is published"},
        "note": {"description": "what differs"},
    },
    "required": ["value", "source"],
}
BUDGET: dict[str, Shape] = {"hours": {"description": "hours", "type": "number", "exclusiveMinimum": 0}}
_RUNS = mapping(either("null leaves out a row of an included study", named(RUN), NULL))
_LOGGERS: Shape = {"description": "Loggers of all runs, in place of those of the run configs; false: none."}
STUDY: dict[str, Shape] = {
    "study": text("The folder of its runs, <data set>/<name>, below the root."),
    "include": either("Study files of the same folder, which it extends.", text(), listed(text(), least=1), NULL),
    "description": text("What is studied; it stands at the head of results.md."),
    "seeds": either(
        "Number of seeds, or the seeds; 3 by default.", whole(1), listed(whole(0), least=1, different=True)
    ),
    "folds": either(
        "Groups of people that are tested in turn: their number, lists of people, or every person by itself.",
        whole(2),
        one_of([LEAVE_ONE_OUT]),
        listed(listed({}, least=1), least=1),
        NULL,
    ),
    "set": either(
        "Settings of all runs, or of those of a part.",
        named({key: {"anyOf": [SETTINGS, NULL]} for key in ("all", *STAGES)}),
        NULL,
    ),
    "axes": either("Axis of a grid -> label -> what it sets.", mapping(mapping(SETTINGS)), NULL),
    **{
        part: either(f"{what}, by the names of their runs.", _RUNS, NULL)
        for part, what in zip(STAGES, ("Teachers", "Students with labels alone", "Distilled students"), strict=True)
    },
    "baselines": either("Runs with which the others are compared; scratch and kd by default.", _NAMES, NULL),
    "published": either("Run -> a published value, shown beside ours.", mapping(_PUBLISHED), NULL),
    "logger": _LOGGERS,
    "updates": either("Optimiser updates of every run, in total.", whole(1), NULL),
    "controls": either("Whether controls of equal length are added.", one_of(CHOICES), NULL),
    "tune": either("What kdlab tune finds on validation people.", named(TUNE), NULL),
    "tuned": either("Settings that kdlab tune has found and written.", named(TUNED), NULL),
    **PAPER,
    "budget": either("No job begins that is not expected to end in time.", named(BUDGET, required=["hours"]), NULL),
    "measure": either("What is measured beside accuracy and size.", listed(one_of(MEASURES)), NULL),
    "slurm": either("How the jobs are run on a cluster (kdlab study FILE --submit slurm).", named(SLURM), NULL),
}
