"""A student on the device: arrays in physical units to predictions, and samples as they come to decisions.

:func:`kdlab.load` makes a :class:`Student` of a run folder, a checkpoint, an exported file or a compiled C form;
:class:`Stream` cuts the samples of a sensor into its windows, by the rules that recordings are read by.
"""

from kdlab.stream.decision import Decision
from kdlab.stream.forms import Form, ModuleForm, ScaledNet
from kdlab.stream.stream import Stream
from kdlab.stream.student import Student

__all__ = ["Decision", "Form", "ModuleForm", "ScaledNet", "Stream", "Student"]
