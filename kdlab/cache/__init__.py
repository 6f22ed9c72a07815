"""Exact cache of frozen teachers' outputs, so that each teacher runs once on every training window.

In evaluation mode the output of a frozen teacher for a window is the same in every epoch. `TeacherCache` is the setting
that a user gives; a `Plan` holds the form and the size of each kept array; `CachedOutputs` are what a training step
reads in place of a forward pass. This package does not depend on nets, data or Lightning: a `Request` runs one teacher.
"""

from kdlab.cache.fill import fill_cache
from kdlab.cache.outputs import CachedOutputs
from kdlab.cache.plan import Part, Plan, Request, TeacherCache
from kdlab.sizes import size

__all__ = ["CachedOutputs", "Part", "Plan", "Request", "TeacherCache", "fill_cache", "size"]
