"""The configs of `pixelar fit` by name; needs no torch."""

from pathlib import Path

from pixelar.errors import ConfigError, did_you_mean

__all__ = ["configs", "find_config"]

PACKAGE = Path(__file__).parents[1]


def configs() -> dict[str, Path]:
    """Returns the configs packaged with pixelar, by name.

    `digits-imagegpt` is a config of the repository's folder configs/, which an installed package
    includes; `digits-imagegpt/train` is the one that a packaged model was trained with.
    """
    inside, checkout = PACKAGE / "configs", PACKAGE.parent / "configs"
    files = sorted((inside if inside.is_dir() else checkout).glob("*.yaml"))
    own = sorted(PACKAGE.glob("hub/models/*/train*.yaml"))
    return {
        **{file.stem: file for file in files},
        **{f"{file.parent.name}/{file.stem}": file for file in own},
    }


def find_config(name: str) -> Path:
    """Returns the file of that path, or else the config of that name.

    Raises:
        PixelarError: If there is neither.
    """
    path, known = Path(name), configs()
    if path.is_file():
        return path
    if name in known:
        return known[name]
    if path.is_dir():
        raise ConfigError(f"config: {name} is a folder; give a file in it")
    names = [known_name for known_name in known if "/" not in known_name]
    raise ConfigError(f"config: {did_you_mean(path.stem, names)}; there is no file {name} either")
