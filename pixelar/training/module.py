"""One training step: minus the mean log-likelihood, in bits per dimension."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from pixelar.common.arrays import DTYPES, holds
from pixelar.errors import ConfigError
from pixelar.heads import Head
from pixelar.model import PixelModel, describe_model
from pixelar.names import Shape
from pixelar.names.classes import check_same_classes, listed
from pixelar.names.limits import check_limits
from pixelar.nets import Net
from pixelar.nets.base import takes_any_order
from pixelar.quantizers import Quantizer
from pixelar.rng import mix
from pixelar.scan import Scan, build_scan, shuffled, symmetries
from pixelar.scoring.metrics import BitsPerDim

__all__ = ["Training"]

Batch = tuple[Tensor, Tensor | None]


CHECKED = 4096  # images whose values are checked at a time


class Training(L.LightningModule):
    """A model with its optimizer: linear warm-up, then a cosine down to zero at `max_steps`.

    Arguments:
        net: Builds the net from the scan, the levels V and the parameters per site P.
        head: Builds the head from the levels V and the symbols per site S.
        quantizer: Turns images into symbols.
        scan: The order of generation, and that of validation.
        shape: The shape (C, H, W) of an image; on the command line it comes from the data.
        image_dtype: The type of the images, from the data as well, which drawn images have too;
            where it cannot hold all values of the quantizer, they have the quantizer's.
        orders: "one": that of the scan; for nets that take any order also "symmetries": for each
            batch one of the scan's eight mirror images; "random": for each batch a new one. They
            follow from the seed and the batch's number, so that all processes draw the same.
        optimizer: "adamw", or "rmsprop" as in the papers of 2016.
        lr: The learning rate after the warm-up.
        warmup_steps: The steps of the warm-up.
        betas: AdamW's decay rates.
        weight_decay: The weight decay.
        corruption: The share of input symbols replaced at random while training, which keeps small
            data sets from being overfitted; targets stay as they are, and evaluation adds no
            noise.
        compile: Whether to compile the net and the loss, which needs a C++ compiler.
        grad_checkpointing: Whether to discard the activations inside the net's blocks and compute
            them again for the gradients, which takes less memory and more time.
    """

    def __init__(
        self,
        net: Callable[[Scan, int, int], Net],
        head: Callable[[int, int], Head],
        quantizer: Quantizer,
        shape: tuple[int, int, int],
        image_dtype: Literal["uint8", "uint16", "int32", "int64"] = "uint8",
        scan: Literal["raster", "subpixel", "planes", "snake", "hilbert"] = "raster",
        orders: Literal["one", "symmetries", "random"] = "one",
        optimizer: Literal["adamw", "rmsprop"] = "adamw",
        lr: float = 1e-3,
        warmup_steps: int = 200,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
        corruption: float = 0.0,
        compile: bool = False,
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        numbers = {
            "lr": lr,
            "warmup_steps": warmup_steps,
            "betas": betas,
            "weight_decay": weight_decay,
            "corruption": corruption,
        }
        check_limits({f"model.{name}": number for name, number in numbers.items()})
        self.model = assemble(net, head, quantizer, scan, shape, DTYPES[image_dtype])
        self.model.net.grad_checkpointing = grad_checkpointing
        net_name = type(self.model.net).__name__
        if orders != "one" and not takes_any_order(self.model.net):
            raise ConfigError(
                f"model.orders: {orders} needs a net that takes any order, such as LMConv or "
                f"AnyOrderGPT, and the order of {net_name} is fixed; use model.orders: one"
            )
        self.orders, self.order_seed = orders, 0
        self.rule, self.lr, self.warmup_steps, self.betas = optimizer, lr, warmup_steps, betas
        self.weight_decay, self.corruption, self.compiling = weight_decay, corruption, compile
        # in a list, so that the weight average, which copies all sub-modules, does not copy it
        self._validation: list[BitsPerDim] = []
        # whether the weights are already set, by a trained model, a checkpoint or the first batch
        self._started = False

    @property
    def figure(self) -> str:
        """The metric's name: bits per dim, token or code; see `Quantizer.unit`."""
        return f"bits_per_{self.model.quantizer.unit}"

    def name_classes(self, names: Sequence[str] | None) -> None:
        """Names the model's classes after those of the data, which must have the same number.

        Arguments:
            names: The names of the data's classes, or None where it has no labels.
        """
        classes = self.model.classes
        if not classes:
            return  # a model without classes ignores labels
        if names is None:
            raise ConfigError(
                f"model.net.classes is {classes}, but the images have no labels; set it to 0"
            )
        if len(names) != classes:
            raise ConfigError(
                f"model.net.classes is {classes}, but the data has {len(names)} classes "
                f"({listed(names)}); set it to {len(names)}, or to 0 for a model without classes"
            )
        self.model.class_names = tuple(map(str, names))

    def start_from(self, model: PixelModel) -> None:
        """Takes over the weights of a trained model of the same description and classes."""
        differences = list(compare(describe_model(model), describe_model(self.model)))
        if differences:
            raise ConfigError(f"--init names another kind of model: {'; '.join(differences)}")
        check_same_classes(model.class_names, self.model.class_names, "--init: the model")
        self.model.load_state_dict(model.state_dict())
        self._started = True

    def setup(self, stage: str) -> None:
        if stage == "fit":
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            self.name_classes(data.classes)
            train = data.dataset.split("train")
            self.model.check_labels(self._labels(train.labels), len(train))  # steps trust them
            if not self._started:
                self.model.quantizer.fit(train.images)
            self.model.encode(train.images[:1])
            for images in train.images.split(CHECKED):
                self.model.quantizer.check(images)
            if self.compiling:
                self.model.compile()

    def on_train_batch_start(self, batch: Batch, index: int) -> None:
        if self.orders != "one":
            batches = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
            self.model.net.reorder(self.order_of(batches))
        if not self._started:
            self._started = True
            self._begin(batch)

    def _begin(self, batch: Batch) -> None:
        """Initialises the net of a new run by the first batch of process 0, in all processes."""
        x, labels = self.model.encode(batch[0]), self._labels(batch[1])
        if self.global_rank == 0:
            self.model.net.initialize(x, labels)
        if self.trainer.world_size > 1:
            for tensor in self.model.net.state_dict().values():
                torch.distributed.broadcast(tensor, 0)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        images, labels = batch
        x = self.model.quantizer.encode(images)  # checked by `setup`: no wait for the GPU
        loss = self.loss(x, self._labels(labels))
        self.log(f"train/{self.figure}", loss, prog_bar=True, logger=False, batch_size=len(x))
        return loss

    def order_of(self, number: int) -> Scan:
        """Returns the order that the batch of that number is trained in."""
        drawn, net = mix(self.order_seed, number), self.model.net
        if self.orders == "random":
            return shuffled(build_scan(net.built_in, net.scan.shape), drawn)
        every = symmetries(net.built_in, net.scan.shape)
        return every[drawn % len(every)]

    def loss(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Returns the bits per dimension of symbols (B, C, H, W); the net reads them corrupted."""
        nats = -self.model.trusting_log_prob_sites(x, labels, seen=self._corrupt(x)).sum(1)  # (B,)
        return nats.mean() / (self.model.scan.dims * math.log(2))

    def on_validation_epoch_start(self) -> None:
        net = self.model.net
        if self.orders != "one":
            net.reorder(build_scan(net.built_in, net.scan.shape))
        self._validation = [BitsPerDim(self.model.scan.dims).to(self.device)]

    def validation_step(self, batch: Batch, index: int) -> None:
        images, labels = batch
        x = self.model.encode(images)
        self._validation[0].update(-self.model(x, self._labels(labels)))

    def on_validation_epoch_end(self) -> None:
        bits = self._validation[0].compute().float()
        self.log(f"val/{self.figure}", bits, prog_bar=True, logger=False)

    def build_optimizer(self) -> torch.optim.Optimizer:
        """Returns a new optimizer of the weights."""
        shared: dict[str, Any] = {"lr": self.lr, "weight_decay": self.weight_decay}
        if self.rule == "rmsprop":
            return torch.optim.RMSprop(self.parameters(), **shared)
        return torch.optim.AdamW(self.parameters(), betas=self.betas, **shared)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = self.build_optimizer()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def lr_factor(self, step: int) -> float:
        """Returns the learning rate at a step as a share of `lr`."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        length = max(self.trainer.max_steps - self.warmup_steps, 1)
        return 0.5 * (1 + math.cos(math.pi * min((step - self.warmup_steps) / length, 1)))

    def on_train_start(self) -> None:
        """Lets the options of this start override those of a checkpoint."""
        schedule = self.lr_schedulers()
        assert isinstance(schedule, torch.optim.lr_scheduler.LambdaLR)
        schedule.base_lrs = [self.lr]
        schedule.optimizer.param_groups[0].update(
            lr=self.lr * self.lr_factor(schedule.last_epoch),
            betas=self.betas,
            weight_decay=self.weight_decay,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["pixelar"] = describe_model(self.model)
        if self.model.class_names is not None:
            checkpoint["class_names"] = [*self.model.class_names]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        differences = list(compare(checkpoint["pixelar"], describe_model(self.model)))
        if differences:
            raise ConfigError(f"the checkpoint is of another model: {'; '.join(differences)}")
        check_same_classes(checkpoint.get("class_names"), self.model.class_names, "the checkpoint")
        self._started = True

    def _labels(self, labels: Tensor | None) -> Tensor | None:
        """Returns the labels if the net is conditioned on them, else None."""
        return labels if self.model.classes else None

    def _corrupt(self, x: Tensor) -> Tensor:
        """Replaces a share of the symbols by random ones."""
        if not self.corruption:
            return x
        replaced = torch.rand(x.shape, device=x.device) < self.corruption
        return torch.where(replaced, torch.randint_like(x, self.model.net.levels), x)


def assemble(
    net: Callable[[Scan, int, int], Net],
    head: Callable[[int, int], Head],
    quantizer: Quantizer,
    scan: str,
    shape: Shape,
    image_dtype: torch.dtype,
) -> PixelModel:
    """Builds a model in the only order that works: shape, symbols, scan, head, net."""
    built = build_scan(scan, quantizer.symbol_shape(shape))
    made = head(quantizer.levels, built.symbols)
    made_net = net(built, quantizer.levels, made.num_params)
    dtype = image_dtype if holds(image_dtype, *quantizer.values) else None
    return PixelModel(made_net, made, quantizer, shape, dtype)


def compare(old: dict[str, Any], new: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yields where descriptions of models differ: `net.args.width is 48 there and 32 here`."""
    for key in sorted(old.keys() | new.keys()):
        there, here = old.get(key), new.get(key)
        if isinstance(there, dict) and isinstance(here, dict):
            yield from compare(there, here, f"{path}{key}.")
        elif there != here:
            yield f"{path}{key} is {there} there and {here} here"
