"""What the site of the documents adds to them: the README, the models' cards and the API reference.

The documents link to files of the repository, as they are read there. In the site such a link goes
to the page made of the file, or is no link where there is none.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pixelar"
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)]*)?\)")
APART = ("models", "configs", "__pycache__")  # directories without modules


def on_config(config: Any) -> Any:  # noqa: ANN401
    """Puts the rooms of the package in the place of `reference/` in the navigation."""
    pages = [f"reference/{room}.md" for room in rooms()]
    for entry in config["nav"]:
        if "Reference" in entry:
            entry["Reference"] = pages
    return config


def on_files(files: Files, config: Any) -> Files:  # noqa: ANN401
    """Adds the pages that are made."""
    made: dict[str, str | bytes] = {"readme.md": (ROOT / "README.md").read_text(encoding="utf-8")}
    for folder in sorted((PACKAGE / "hub" / "models").iterdir()):
        made[f"models/{folder.name}.md"] = (folder / "README.md").read_text(encoding="utf-8")
        made[f"models/{folder.name}.png"] = (folder / "samples.png").read_bytes()
    for room in rooms():
        made[f"reference/{room}.md"] = "\n\n".join(reference(room)) + "\n"
    for path, content in made.items():
        text = linked(content, path) if isinstance(content, str) else content
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:  # noqa: ANN401
    """Lets links to files of the repository go to the pages that are made of them."""
    path = page.file.src_uri
    return markdown if page.file.generated_by else linked(markdown, path)


def rooms() -> list[str]:
    """Returns the packages and modules of pixelar, the package itself first."""
    found = sorted(
        entry.stem
        for entry in PACKAGE.iterdir()
        if (entry.suffix == ".py" or (entry / "__init__.py").exists())
        and not entry.name.startswith("__")
    )
    return ["pixelar", *(room for room in found if not room.startswith("_"))]


def reference(room: str) -> Iterator[str]:
    """Yields what a page of the reference is made of: each module's docstrings in turn."""
    yield f"# {room}"
    if room == "pixelar":
        names = re.findall(r'^    "(\w+)": "([\w.]+)"', (PACKAGE / "__init__.py").read_text(), re.M)
        for name, home in names:
            module = f"pixelar.{home}"
            yield f"- [`pixelar.{name}`]({home.split('.')[0]}.md#{module}.{name})"
        return
    files = [PACKAGE / f"{room}.py"]
    if not files[0].exists():
        files = sorted((PACKAGE / room).rglob("*.py"))
    for file in files:
        parts = file.relative_to(ROOT).with_suffix("").parts
        if not set(parts) & set(APART):
            yield "::: " + ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def linked(markdown: str, page: str) -> str:
    """Returns a page whose links are those of the site.

    Arguments:
        markdown: The page as it is read in the repository.
        page: Its path in the site.
    """
    here = home_of(page).parent

    def place(match: re.Match[str]) -> str:
        image, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        there = site_path((here / target).resolve())
        if there is None:
            return text
        up = "../" * page.count("/")
        return f"{image}[{text}]({up}{there}{'' if '#' in there else anchor})"

    return LINK.sub(place, markdown)


def home_of(page: str) -> Path:
    """Returns the file of the repository that a page of the site is."""
    if page == "readme.md":
        return ROOT / "README.md"
    if page.startswith("models/"):
        return PACKAGE / "hub" / "models" / Path(page).stem / "README.md"
    return ROOT / "docs" / page


def site_path(file: Path) -> str | None:
    """Returns where a file of the repository is in the site, or None."""
    if not file.is_relative_to(ROOT):
        return None
    parts = file.relative_to(ROOT).parts
    if parts == ("README.md",):
        return "readme.md"
    if parts[0] == "docs" and file.is_file():
        return "/".join(parts[1:])
    if parts[:3] == ("pixelar", "hub", "models") and len(parts) == 5:
        return f"models/{parts[3]}.{'md' if parts[4] == 'README.md' else 'png'}"
    if parts[0] == "pixelar" and file.suffix == ".py" and len(parts) > 1:
        return f"reference/{Path(parts[1]).stem}.md#{'.'.join(Path(*parts).with_suffix('').parts)}"
    return None
