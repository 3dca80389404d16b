"""ImageGPT against the one of Hugging Face transformers, with the same weights."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pixelar.model import PixelModel
from pixelar.nets import ImageGPT
from pixelar.sampling.samples import draw_images, sample
from suites.measure import Case, Row, Settings, evaluating, interleave, peak_memory, ratio
from suites.models import build
from suites.training import step

__all__ = ["transformer"]


def transformer(settings: Settings) -> Iterator[Row]:
    """Parallel forwards, training steps, and samples against `generate`."""
    try:
        from transformers import ImageGPTConfig, ImageGPTForCausalImageModeling
    except ImportError:
        print("transformer: skipped, as transformers is not installed (pip install pixelar[bench])")
        return
    side, width, depth, heads, levels = (4, 8, 2, 2, 7) if settings.tiny else (32, 256, 8, 8, 512)
    config = ImageGPTConfig(
        vocab_size=levels + 1,
        n_positions=side * side,
        n_embd=width,
        n_layer=depth,
        n_head=heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    theirs = ImageGPTForCausalImageModeling(config)
    theirs = theirs.to(settings.device).eval()  # type: ignore[arg-type]
    model = build(
        settings, "ImageGPT", side, levels=min(levels, 256), width=width, depth=depth, heads=heads
    )
    model = _palette(settings, model, side, levels)
    assert isinstance(model.net, ImageGPT)
    _take_weights(model.net, theirs)
    for batch in (1, 2) if settings.tiny else (1, 8, 32):
        x = torch.randint(levels, (batch, 1, side, side), device=settings.device)
        yield from _compare(settings, model, theirs, x)


def _palette(settings: Settings, model: PixelModel, side: int, levels: int) -> PixelModel:
    """Returns a model like it, of tokens of a palette with this many colours."""
    from pixelar.model import build_model, describe_model

    described = describe_model(model)
    described |= {
        "image_shape": [3, side, side],
        "quantizer": {"name": "Palette", "args": {"levels": levels}},
    }
    made = build_model(described).to(settings.device).eval()
    colours = torch.randint(256, (4 * levels, 3, 4, 4), dtype=torch.uint8)
    made.quantizer.fit(colours)
    return made


def _take_weights(net: ImageGPT, theirs: nn.Module) -> None:
    """Copies weights from the layout of transformers, whose convolutions store (in, out)."""
    with torch.no_grad():
        state = theirs.state_dict()
        net.embed.table.weight.copy_(state["transformer.wte.weight"][:-1])
        net.start.copy_(state["transformer.wte.weight"][-1])
        net.position.copy_(state["transformer.wpe.weight"])
        net.norm.weight.copy_(state["transformer.ln_f.weight"])
        net.out.weight.copy_(state["lm_head.weight"])
        for k, block in enumerate(net.blocks):
            at = f"transformer.h.{k}."
            block.attention_norm.weight.copy_(state[f"{at}ln_1.weight"])
            block.mlp_norm.weight.copy_(state[f"{at}ln_2.weight"])
            for layer, name in (
                (block.qkv, "attn.c_attn"),
                (block.project, "attn.c_proj"),
                (block.expand, "mlp.c_fc"),
                (block.contract, "mlp.c_proj"),
            ):
                layer.weight.copy_(state[f"{at}{name}.weight"].T)


def _compare(settings: Settings, model: PixelModel, theirs: nn.Module, x: Tensor) -> Iterator[Row]:
    batch, tokens, levels = len(x), model.scan.sites, model.net.levels
    case = f"{tokens} tokens, batch {batch}"
    start = torch.full((batch, 1), levels, device=x.device)
    inputs = torch.cat((start, x.flatten(1)[:, :-1]), 1)
    repeats = settings.repeats if batch == 1 else max(1, settings.repeats // 2)
    with evaluating(model):
        forwards: dict[str, Case] = {
            "ours": lambda: model.net(x),
            "transformers": lambda: theirs(inputs, use_cache=False).logits,
        }
        row = Row(f"forward, {case}", "ours", interleave(settings, forwards, repeats=repeats))
        difference = (model.net(x) - theirs(inputs, use_cache=False).logits).abs().max()
        row.numbers["largest difference of logits"] = float(difference)
        yield row

    def train_theirs() -> None:
        theirs.zero_grad()
        logits = theirs(inputs, use_cache=False).logits
        nn.functional.cross_entropy(logits.flatten(0, 1), x.flatten()).backward()
        with torch.no_grad():
            for parameter in theirs.parameters():
                if parameter.grad is not None:
                    parameter.add_(parameter.grad, alpha=0)

    if batch <= 8:
        steps: dict[str, Case] = {"ours": lambda: step(model, x), "transformers": train_theirs}
        times = interleave(settings, steps, repeats=repeats, warm=batch == 1)
        row = Row(f"training step, {case}", "ours", times)
        for name, run in steps.items():
            row.numbers[f"{name}: images/s"] = batch / min(times[name])
            if batch == 1:
                row.numbers[f"{name}: peak MB"] = peak_memory(settings, run) / 1e6
        yield row

    options = {"do_sample": True, "top_k": 0, "max_new_tokens": tokens, "min_new_tokens": tokens}
    with evaluating(model):
        walks: dict[str, Case] = {
            "forward": lambda: model.net(x),
            "ours": lambda: sample(model, batch, seed=0),
            "ours, site by site": lambda: sample(model, batch, seed=0, schedule="sequential"),
            "transformers generate": lambda: theirs.generate(start, **options),  # type: ignore[operator]
        }
        times = interleave(settings, walks, repeats=repeats, warm=batch == 1)
    row = Row(f"sample, {case}", "ours", times)
    row.numbers["schedule auto"] = draw_images(model, batch, seed=0).schedule
    row.numbers["ours: in forwards"] = ratio(Row(case, "forward", times), "ours")
    row.numbers["ours: tokens/s"] = batch * tokens / min(times["ours"])
    yield row
