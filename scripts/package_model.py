"""Makes a packaged model from a run, or writes the tables of all packaged models.

python scripts/package_model.py runs/NAME NAME --root DIR --title "…" --hardware "2 CPU cores"
python scripts/package_model.py --table
"""

import argparse
from pathlib import Path

from pixelar.data import DATASETS, Folder, ImageData
from pixelar.hub.cards import fill_in
from pixelar.hub.index import packaged
from pixelar.hub.publish import SOURCES, About, package
from pixelar.training.runs import Run

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
option = parser.add_argument
option("--table", action="store_true", help="only write the tables of docs/models.md")
option("run", nargs="?", type=Path, help="the run's folder, or one of its checkpoints")
option("name", nargs="?", help="the model's name")
option("--before", type=Path, action="append", default=[], help="a run whose weights it began with")
option("--weights", choices=("ema", "raw"), default="ema", help="default: ema")
option("--source", choices=SOURCES, default="mnist", help="where the images come from")
option("--root", default="data", help="the folder of the images (default: data)")
option("--title", help="as: Gated PixelCNN on binarised MNIST")
option("--hardware", help="what it was trained on: 2 CPU cores, one thread")
option("--seconds", type=float, help="time of training, if the run's curves do not show it")
option("--published", default="", help="results in papers, and how comparable they are")
option("--outlook", default="", help="what more training would give, as far as its curve shows")
option("--note", action="append", default=[], help="what else is to be known of the run")
options = parser.parse_args()

if not options.table:
    if not (options.run and options.name and options.title and options.hardware):
        parser.error("RUN, NAME, --title and --hardware are needed, or --table alone")
    if options.source == "noto-emoji":
        data: ImageData = Folder(root=options.root, resize=False)
    else:
        root = {} if options.source == "digits" else {"root": options.root}
        data = DATASETS[options.source](**root)
    words = ("title", "source", "hardware", "seconds", "published", "outlook")
    about = About(**{key: getattr(options, key) for key in words}, notes=tuple(options.note))
    runs = [Run.at(path) for path in (*options.before, options.run)]
    card = package(runs, options.name, data, about, weights=options.weights)
    print(f"{card['name']}: {card['headline']}, {card['bytes'] / 1e6:.2f} MB")
page = Path("docs/models.md")
text = fill_in(page.read_text(encoding="utf-8"), [*packaged().values()])
page.write_text(text, encoding="utf-8")
print(page)
