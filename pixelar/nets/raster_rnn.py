"""RasterRNN: a recurrent net that reads an image site by site.

All that was read is kept in a state of fixed size, which is carried along the scan:

    h_t = f(h_{t-1}, x_{t-1})

    x_{t-1} ── embed + position ── cells ── cells ── … ── linear ── parameters of site t
                                    ↻ h, c   ↻ h, c

    LSTM    i, f, o = σ(W x + U h + b)    g = tanh(W x + U h + b)
            c ← f ⊙ c + i ⊙ g             h ← o ⊙ tanh(c)
    GRU     r, z = σ(W x + U h + b)       n = tanh(W x + b + r ⊙ (U h + b'))
            h ← (1 - z) ⊙ n + z ⊙ h

A learned start vector stands before the first site, and the last site is dropped: position t
predicts site t. Trained by teacher forcing: the inputs are the image's own symbols. The cells are
torch's, whose GRU resets U h + b' where Cho et al. reset h. Dropout is between layers, never
between the states of successive sites. The forget gates' biases begin at 1, so that a state lasts.

References:
    Long Short-Term Memory (Hochreiter and Schmidhuber, 1997),
    https://doi.org/10.1162/neco.1997.9.8.1735
    Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation
    (Cho et al., 2014), https://arxiv.org/abs/1406.1078
    Generating Sequences With Recurrent Neural Networks (Graves, 2013),
    https://arxiv.org/abs/1308.0850
    Recurrent Neural Network Regularization (Zaremba et al., 2014), https://arxiv.org/abs/1409.2329
"""

from collections.abc import Sequence
from typing import Any, Literal, Self, TypeAlias

import torch
from torch import Tensor, nn

from pixelar.common.modules import module_list
from pixelar.errors import ConfigError, did_you_mean
from pixelar.layers.embedding import LabelEmbedding, TokenEmbedding
from pixelar.nets.base import Net, require_positive
from pixelar.scan import Scan

__all__ = ["RasterRNN"]

Tensors: TypeAlias = tuple[Tensor, ...]


class Cells(nn.RNNBase):
    """A layer of cells: `forward` for all sites, `update` for one.

    Always in training mode, without which cuDNN computes no gradients; results do not change.
    """

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor
    states: int  # how many vectors are passed on to the next site

    def train(self, mode: bool = True) -> Self:
        return super().train(True)

    def forward(self, input: Tensor, hx: Any = None) -> Any:  # noqa: ANN401
        """Computes as torch's cells; on a CPU in the weights' precision, whatever autocast says,
        since oneDNN has an LSTM of 16 bits only where the CPU has instructions for it.
        """
        if input.device.type != "cpu":
            return super().forward(input, hx)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.to(self.weight_ih_l0.dtype), hx)


class LSTM(Cells, nn.LSTM):  # type: ignore[misc]  # whose forward is overloaded
    """The gates of `update` are i, f, o, g."""

    states = 2  # h and c

    def __init__(self, width: int) -> None:
        super().__init__(width, width, batch_first=True)
        with torch.no_grad():
            self.bias_ih_l0[width : 2 * width] = 1

    def matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns W and U, each (D, 4D), and the bias (4D,)."""

        def ordered(rows: Tensor) -> Tensor:
            i, f, g, o = rows.chunk(4)
            return torch.cat((i, f, o, g))

        bias = self.bias_ih_l0 + self.bias_hh_l0
        return ordered(self.weight_ih_l0).T, ordered(self.weight_hh_l0).T, ordered(bias)

    @staticmethod
    def split(gates: Tensor) -> Tensors:
        """Returns views of the gates (B, 4D): all that go through σ, then each one."""
        i, f, o, g = gates.chunk(4, 1)
        return gates[:, : -g.shape[1]], i, f, o, g

    @staticmethod
    def update(gates: Tensors, h: Tensor, c: Tensor) -> None:
        """Replaces the state (B, D) by that of the next site."""
        inner, i, f, o, g = gates
        inner.sigmoid_()
        c.mul_(f).addcmul_(i, g.tanh_())
        torch.mul(o, c.tanh(), out=h)


class GRU(Cells, nn.GRU):  # type: ignore[misc]
    """The gates of `update` are r, z, and both parts of n: W x + b and U h + b'."""

    states = 1  # h

    def __init__(self, width: int) -> None:
        super().__init__(width, width, batch_first=True)

    def matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns W and U, each (D, 4D), and the bias (4D,)."""
        width = self.hidden_size

        def wide(rows: Tensor, part: int) -> Tensor:
            zeros = torch.zeros_like(rows[:width])
            n = (rows[2 * width :], zeros)
            return torch.cat((rows[: 2 * width], n[part], n[1 - part]))

        bias = wide(self.bias_ih_l0, 0) + wide(self.bias_hh_l0, 1)
        return wide(self.weight_ih_l0, 0).T, wide(self.weight_hh_l0, 1).T, bias

    @staticmethod
    def split(gates: Tensor) -> Tensors:
        """Returns views of the gates (B, 4D): all that go through σ, then each one."""
        r, z, n, again = gates.chunk(4, 1)
        return gates[:, : 2 * r.shape[1]], r, z, n, again

    @staticmethod
    def update(gates: Tensors, h: Tensor) -> None:
        """Replaces the state (B, D) by that of the next site."""
        inner, r, z, n, again = gates
        inner.sigmoid_()
        torch.lerp(n.addcmul_(r, again).tanh_(), h, z, out=h)


CELLS: dict[str, type[LSTM] | type[GRU]] = {"lstm": LSTM, "gru": GRU}


class Layer(nn.Module):
    """Cells, and dropout on what they pass to the layer above."""

    def __init__(self, cells: LSTM | GRU, dropout: float) -> None:
        super().__init__()
        self.cells = cells
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor) -> Tensor:
        return self.dropout(self.cells(h)[0])


class RasterRNN(Net):
    """Layers of LSTM or GRU cells along any scan.

    A label is added to the start vector.

    Arguments:
        cell: The kind of cells, "lstm" or "gru".
        width: D, the length of a position's vector and of a state.
        depth: The number of layers.
        dropout: The rate of dropout on the inputs and on the output of each layer.
        position: Whether a learned vector for every position is added to the inputs. Without it,
            the state has to count sites to represent where in the image it is.
        classes: The number of class labels; 0 for none.

    Example:
        >>> from pixelar.scan import raster
        >>> net = RasterRNN(raster((1, 8, 8)), levels=17, out_features=17, cell="gru", width=32)
        >>> net(torch.zeros(5, 1, 8, 8, dtype=torch.long)).shape
        torch.Size([5, 64, 17])
    """

    embed: TokenEmbedding

    def __init__(
        self,
        scan: Scan,
        levels: int,
        out_features: int,
        *,
        cell: Literal["lstm", "gru"] = "lstm",
        width: int = 256,
        depth: int = 2,
        dropout: float = 0.0,
        position: bool = True,
        classes: int = 0,
    ) -> None:
        super().__init__(scan, levels, out_features, classes)
        require_positive(self, width=width, depth=depth)
        if cell not in CELLS:
            raise ConfigError(f"net RasterRNN: cell: {did_you_mean(cell, CELLS)}")
        self.cell, self.width, self.depth = cell, width, depth
        self.dropout, self.position = dropout, position
        self.embed = TokenEmbedding(scan, levels, width)
        self.start = nn.Parameter(torch.zeros(width))
        self.label = LabelEmbedding(classes, width)
        if position:
            self.places = nn.Parameter(torch.zeros(scan.sites, width))
        self.drop = nn.Dropout(dropout)
        self.layers: Sequence[Layer] = module_list(
            Layer(CELLS[cell](width), dropout) for _ in range(depth)
        )
        self.out = nn.Linear(width, out_features)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, labels))

    def forward_features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.inputs(self.embed(x)[:, :-1], self.start_vector(x, labels))  # (B, T, D)
        for layer in self.layers:
            h = self.run(layer, h)
        return h

    def forward_head(self, features: Tensor) -> Tensor:
        return self.out(features)  # (B, T, P)

    def start_vector(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Returns the vector before the first site, with shape (B, D)."""
        return (self.start + self.label(labels)).expand(x.shape[0], -1)

    def inputs(self, sites: Tensor, start: Tensor) -> Tensor:
        """Returns the vectors (B, L + 1, D) of the start and the first L sites."""
        h = torch.cat((start[:, None], sites), 1)
        if self.position:
            h = h + self.places[: h.shape[1]]
        return self.drop(h)
