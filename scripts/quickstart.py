"""The main job from end to end on real images: train two small models, score, sample, complete.

Arguments go to `pixelar fit`.
"""

import sys
import time
from pathlib import Path

import torch

import pixelar
from pixelar.cli import main
from pixelar.data import Digits
from pixelar.plotting import grid, save_picture, save_surprise, show_unknown
from pixelar.training.curves import draw_curves

OUT = Path("runs/quickstart")
RUNS = {name: OUT / name for name in ("digits-imagegpt", "digits-gated-pixelcnn")}
began = time.monotonic()

for name, run in RUNS.items():
    if not (run / "model" / "config.json").exists():
        print(f"\nTraining {name} …", flush=True)
        resume = ["--resume"] if any(run.glob("checkpoints/step-*.ckpt")) else []
        if code := main(["fit", "-c", name, "--run", str(run), *resume, *sys.argv[1:]]):
            raise SystemExit(code)

reports = {}
for name, run in RUNS.items():
    reports[name] = pixelar.evaluate(pixelar.load(run / "model"), Digits(), weights="ema")
    reports[name].save(run / "model" / "evaluation" / "digits-test-ema")
best = min(reports, key=lambda name: reports[name].mean)
model = pixelar.load(RUNS[best] / "model")
held_out = Digits().split("test").images

save_picture(grid(pixelar.sample(model, 64, seed=0, progress=True)), OUT / "samples.png")
originals, known = held_out[:6], torch.zeros(8, 8, dtype=torch.bool)
known[:4] = True  # the top half
repeated = originals.repeat_interleave(6, 0)
drawn = pixelar.complete(model, repeated, known, seed=0, progress=True).view(6, 6, 1, 8, 8)
given = show_unknown(originals, known)[:, None]
images = torch.cat((originals[:, None], drawn), 1).expand(-1, -1, 3, -1, -1)
rows = torch.cat((images[:, :1], given, images[:, 1:]), 1)  # original, given, completions
save_picture(grid(rows.flatten(0, 1), columns=8), OUT / "completions.png")
save_surprise(held_out[:8], pixelar.surprise_map(model, held_out[:8]), OUT / "surprise.png")
draw_curves(RUNS, OUT / "curves.png")

seconds = time.monotonic() - began
print(f"\n360 held-out images of 8×8 handwritten digits, 17 grey levels ({seconds:.0f} s):")
for name, report in reports.items():
    print(f"  {name:24s}{report}")
print(f"""
Look at   {OUT}/samples.png
          {OUT}/completions.png (original, top half, six completions)
          {OUT}/surprise.png (bits spent per pixel) and {OUT}/curves.png
Models    {", ".join(str(run / "model") for run in RUNS.values())}
Next      source .venv/bin/activate
          pixelar info {RUNS[best]}/model
          pixelar evaluate {RUNS[best]}/model -d digits
          pixelar sample {RUNS[best]}/model -n 16 -o more.png
          pixelar fit -c folder-gated-pixelcnn --data.dataset.root FOLDER_OF_IMAGES
To train again, delete {OUT}.""")
