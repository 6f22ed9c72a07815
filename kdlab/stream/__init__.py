"""A student on the device: arrays in physical units to predictions, whatever runs it.

:func:`kdlab.load` makes a :class:`Student` of a run folder, a checkpoint, an exported file or a compiled C form.
"""

from kdlab.stream.forms import Form, ModuleForm, ScaledNet
from kdlab.stream.shared_object import SharedObject
from kdlab.stream.student import Student

__all__ = ["Form", "ModuleForm", "ScaledNet", "SharedObject", "Student"]
