"""Trained students as one file for the device: physical units in, logits out, with a card that describes it.

The scaling of the data set and the net's own standardisation are inside the file, so it takes windows as the sensor
gives them. Three formats:

- ``torch`` (``.pt``): weights and card, read with ``weights_only=True``; :func:`load` builds the net again, so kdlab
  (and a net class of your own) must be importable. TorchScript, which needed neither, is deprecated in PyTorch.
- ``torch.export`` (``.pt2``): the traced program; runs with PyTorch alone (``torch.export.load(path).module()``).
- ``onnx`` (``.onnx``): runs with any ONNX runtime; the only one that can be quantised to int8. Needs
  ``pip install 'kdlab[export]'``.

Batch size is free; channels and window length (of images, height and width) are fixed. Beside the file lies its card,
``<file>.json``; what was known before the file was written is inside it too (`card.json` of a ``.pt2``, the metadata
entry ``kdlab`` of an ``.onnx``). Its keys are listed in :mod:`kdlab.export.card`.
"""

from kdlab.export.command import main
from kdlab.export.formats import FORMATS
from kdlab.export.make import export
from kdlab.export.module import Exported, load
from kdlab.export.physical import PhysicalNet

__all__ = ["FORMATS", "Exported", "PhysicalNet", "export", "load", "main"]
