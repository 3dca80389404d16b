"""How an LMConv is sampled: each convolution keeps the positions that were visited."""

from typing import ClassVar

import torch
from torch import Tensor

from pixelar.caches.base import Cache
from pixelar.caches.visited import LiveTaps, Visited
from pixelar.layers.locally_masked import LocallyMaskedConv2d
from pixelar.nets.lmconv import LMConv

__all__ = ["LMConvCache"]

SITES_AT_ONCE = 1024  # that a prefill computes on a CPU, or those of one image if it has more


class LMConvCache(Cache[LMConv]):
    """The inputs of all convolutions at the positions visited so far."""

    batch_axis: ClassVar = {"label": 0, "visited": 0}

    label: Tensor  # (B, D)
    places: list[int]  # position of every site in the image, row by row
    visited: dict[LocallyMaskedConv2d, Visited]

    def __init__(self, net: LMConv, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        stem, between = net.stem, net.up_between[0]
        live = {
            1: LiveTaps(net.scan, net.up[0][0].first, centre=True),
            net.dilation: LiveTaps(net.scan, between, centre=True),
        }
        convs = [m for m in net.modules() if isinstance(m, LocallyMaskedConv2d)]
        visited = {conv: Visited(conv, live[conv.dilation[0]], x.shape[0]) for conv in convs}
        visited[stem] = Visited(stem, LiveTaps(net.scan, stem, centre=False), x.shape[0])
        self.label = net.label(labels).expand(x.shape[0], -1)
        self.places = net.place.tolist()
        self.visited = visited

    @torch.no_grad()
    def step(self, x: Tensor, t: int) -> Tensor:
        net = self.net
        place, pixels = self.places[t], self.visited[net.stem]
        if t:  # only the pixel of the previous site is new
            last = self.places[t - 1]
            pixels.write(last, net.pixels(x.flatten(2)[..., last]))

        def look(conv: LocallyMaskedConv2d, h: Tensor) -> Tensor:
            visited = self.visited[conv]
            visited.write(place, h)
            return visited.look(t)

        return net.forward_head(net.blocks_of(pixels.look(t), self.label, look))

    @torch.no_grad()
    def prefill(self, x: Tensor, stop: int) -> None:
        net = self.net
        if stop == 0:
            return
        visited = torch.zeros_like(net.place).view(x.shape[2:])
        visited.view(-1)[net.place[:stop]] = 1
        visited = visited[: visited.any(1).nonzero().max() + 1]  # nothing is known below
        pixels = net.pixels(x[:, :, : len(visited)])
        # on a CPU few images at a time, whose maps stay in the processor's cache
        few = max(1, SITES_AT_ONCE // visited.numel())
        at_once = few if x.device.type == "cpu" else x.shape[0]
        for rows in (slice(b, b + at_once) for b in range(0, x.shape[0], at_once)):
            self.visited[net.stem].fill(pixels[rows], visited, rows)

            def look(conv: LocallyMaskedConv2d, h: Tensor, rows: slice = rows) -> Tensor:
                self.visited[conv].fill(h, visited, rows)
                return net.everywhere(conv, h)

            label = self.label[rows]
            h = net.stem(pixels[rows], net.stem_masks[: len(visited)])
            net.blocks_of(h, label[:, None, None], look)
