"""Models in other orders than the one they were built in, for nets that take any."""

import copy
from itertools import chain

from pixelar.model import PixelModel
from pixelar.scan import Scan

__all__ = ["in_order"]


def in_order(model: PixelModel, scan: Scan) -> PixelModel:
    """Returns a twin of a model that visits the same sites in the order of another scan.

    The weights are shared, not copied. The model itself does not change, so its running passes are
    unaffected.

    Raises:
        PixelarError: If the order of its net is fixed, or the scan has other sites.

    Example:
        >>> from pixelar.scan import shuffled
        >>> from pixelar.testing import tiny_model
        >>> model = tiny_model("LMConv")
        >>> in_order(model, shuffled(model.scan, seed=0)).scan.name, model.scan.name
        ('raster, shuffled', 'raster')
    """
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    twin = copy.deepcopy(model, shared)
    twin.net.reorder(scan)
    return twin
