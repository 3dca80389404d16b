"""From images to symbols and back.

To add one, write its file, and add a line here and one in the zoo of `tests/test_quantizers.py`.
"""

from pixelar.quantizers.base import Quantizer
from pixelar.quantizers.bit_depth import BitDepth
from pixelar.quantizers.codes import Codes
from pixelar.quantizers.identity import Identity
from pixelar.quantizers.palette import Palette
from pixelar.quantizers.stochastic_binarisation import StochasticBinarisation
from pixelar.quantizers.threshold import Threshold

__all__ = [
    "QUANTIZERS",
    "BitDepth",
    "Codes",
    "Identity",
    "Palette",
    "Quantizer",
    "StochasticBinarisation",
    "Threshold",
]

QUANTIZERS: dict[str, type[Quantizer]] = {
    "Identity": Identity,
    "BitDepth": BitDepth,
    "Codes": Codes,
    "Threshold": Threshold,
    "StochasticBinarisation": StochasticBinarisation,
    "Palette": Palette,
}
