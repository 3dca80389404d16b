"""Heads: distributions over the symbols of a site. To add one, write its file, and add a line here
and one in `tests/zoo.py`.
"""

from pixelar.heads.base import Head
from pixelar.heads.bernoulli import Bernoulli
from pixelar.heads.categorical import Categorical
from pixelar.heads.factored import FactoredCategorical
from pixelar.heads.logistic_mixture import LogisticMixture

__all__ = ["HEADS", "Bernoulli", "Categorical", "FactoredCategorical", "Head", "LogisticMixture"]

HEADS: dict[str, type[Head]] = {
    "Bernoulli": Bernoulli,
    "Categorical": Categorical,
    "FactoredCategorical": FactoredCategorical,
    "LogisticMixture": LogisticMixture,
}
