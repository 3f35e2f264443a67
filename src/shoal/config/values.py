"""Find the values of options: in a call, the variables `SHOAL_…` and `config.toml`.

The value given on the command line or in a call takes precedence, then the variable,
then the file, then the default.
"""

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from shoal.config.file import File, read_file, read_value
from shoal.config.options import OPTIONS, Option

__all__ = ["Defaults", "resolve", "values_of"]


class Defaults:
    """Look up the values that variables and `config.toml` set."""

    def __init__(self, environ: Mapping[str, str], file: File) -> None:
        self._environ = environ
        self._file = file

    @classmethod
    def load(cls) -> "Defaults":
        """Return the defaults of this process; raises what `read_file` raises."""
        return cls(os.environ, read_file())

    def value(self, option: Option) -> Any:
        """Return the value of an option's variable, its key, or its kind's default.

        Raises `UsageError` that names the variable.
        """
        text = self._environ.get(option.variable, "").strip()
        if text:
            return read_value(option.kind.read_variable, text, option.variable)
        return self._file.get(option.name, option.kind.default)


def resolve(
    options: Iterable[Option],
    given: Mapping[str, Any],
    defaults: Defaults,
    place: Callable[[Option], str] = lambda option: option.keyword,
) -> dict[str, Any]:
    """Return the value of each option by its keyword: the one given, or the default.

    `given` has values by keyword. A list that is None counts as not given; otherwise
    None stands for no value. `place` returns how an error names an option.

    Raises `UsageError`.
    """
    values = {}
    for option in options:
        name, kind = option.keyword, option.kind
        if name in given and not (kind.is_list and given[name] is None):
            values[name] = read_value(kind.read, given[name], place(option))
        else:
            values[name] = defaults.value(option)
    return values


def values_of(
    keywords: Collection[str],
    given: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the values of these keywords: those given, and the defaults of the others.

    The defaults are in `environ` or, without it, in the variables of this process and
    in `config.toml`. Keywords that are no option stay unchanged. Raises `UsageError`.
    """
    options = [option for option in OPTIONS if option.keyword in keywords]
    defaults = Defaults.load() if environ is None else Defaults(environ, {})
    return {**given, **resolve(options, given, defaults)}
