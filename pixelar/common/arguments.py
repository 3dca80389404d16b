"""Constructor arguments that an object remembers, so that it can be described and built again."""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, ClassVar

from pixelar.errors import ConfigError

__all__ = ["Recorded"]


class Recorded:
    """A base class whose instances remember the arguments that their constructor was given.

    Only the call of the outermost constructor is recorded, so a subclass may pass `**kwargs` on to
    its base class.

    Attributes:
        supplied: The names of the leading arguments that the rest of a model determines, such as
            `levels`; they are not recorded.
        recorded: The other arguments by name, as they were given; those passed through `*args`,
            which have no names, are under "*".
    """

    supplied: ClassVar[tuple[str, ...]] = ()
    recorded: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _recording(cls.__init__)  # type: ignore[method-assign]

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments that build the object again, defaults included, as plain values.

        Raises:
            PixelarError: If one is not a number, a string, None, or a list or dictionary of these.
        """
        parameters = [*inspect.signature(type(self)).parameters.values()][len(self.supplied) :]
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        values = {**defaults, **vars(self).get("recorded", {})}
        if "*" in values:
            raise ConfigError(
                f"{type(self).__name__} was given {values['*']!r:.60} without a name, so it cannot "
                "be saved; pass arguments by keyword"
            )
        return {name: _plain(value, type(self).__name__, name) for name, value in values.items()}


def _recording(init: Callable[..., None]) -> Callable[..., None]:
    """Wraps a constructor to record its arguments, unless a subclass's has already done so."""
    parameters = [*inspect.signature(init).parameters.values()][1:]

    @functools.wraps(init)
    def wrapped(self: Recorded, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        if "recorded" not in vars(self):
            supplied = len(self.supplied)
            names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
            given = dict(zip(names[supplied:], args[supplied:], strict=False))
            nameless = args[max(supplied, len(names)) :]
            given |= {"*": nameless} if nameless else {}
            elsewhere = {*self.supplied, *names[:supplied]}
            given |= {key: value for key, value in kwargs.items() if key not in elsewhere}
            vars(self)["recorded"] = given  # works before nn.Module's own constructor
        init(self, *args, **kwargs)

    return wrapped


def _plain(value: object, owner: str, name: str) -> Any:  # noqa: ANN401
    """Returns a copy of a value that JSON keeps as it is, with tuples as lists."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item, owner, name) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, owner, name) for key, item in value.items()}
    raise ConfigError(
        f"{owner}: {name} must be a number, a string, or a list or dictionary of these to be "
        f"saved with the model; got {type(value).__name__} {value!r:.60}"
    )
