"""Trained students as one file for the device: physical units in, logits out, with a card that describes it.

The scaling of the data set and the net's own standardisation are inside the file, so it takes windows as the sensor
gives them. Five formats:

- ``torch`` (``.pt``): weights and card, read with ``weights_only=True``; :func:`load` builds the net again, so kdlab
  (and a net class of your own) must be importable. TorchScript, which needed neither, is deprecated in PyTorch.
- ``torch.export`` (``.pt2``): the traced program; runs with PyTorch alone (``torch.export.load(path).module()``).
- ``onnx`` (``.onnx``): runs with any ONNX runtime, in float32 or int8. Needs
  ``pip install 'kdlab[export]'``.
- ``pretrained``: a folder of weights (safetensors), card and ``README.md``, to be shared; :func:`kdlab.from_pretrained`
  builds the net again. See :mod:`kdlab.export.pretrained`.
- ``c`` (``.c`` and ``.h``): plain C99 in int8 for a microcontroller, see :mod:`kdlab.export.c`. It is written and not
  loaded; what was compiled from it is loaded by :func:`kdlab.export.c.load`.

Batch size is free; channels and window length (of images, height and width) are fixed. Beside the file lies its card,
``<file>.json``; what was known before the file was written is inside it too (`card.json` of a ``.pt2``, the metadata
entry ``kdlab`` of an ``.onnx``). Its keys are listed in :mod:`kdlab.export.card`. Files are called by their run.

int8 quantises convolutions, linear layers and matrix products. An int8 file says which share of the weights that is,
and is refused below ``int8_minimum``, with the layers that stay float32. A float file is kept where its logits differ
from those of the checkpoint by no more than rounding explains. A method that was trained in this process is exported
as it is, so that a plain ``torch.nn.Module`` needs no class that can be found again.
"""

from kdlab.export.command import main
from kdlab.export.formats import FORMATS
from kdlab.export.make import export
from kdlab.export.module import Exported, load
from kdlab.export.physical import PhysicalNet

__all__ = ["FORMATS", "Exported", "PhysicalNet", "export", "load", "main"]
