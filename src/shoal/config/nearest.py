"""Suggest the known word that is most similar to one that is not known."""

from collections.abc import Iterable

__all__ = ["nearest"]

MIN_SIMILARITY = 0.65  # of a suggested word, from 0 to 1; `difflib` explains it


def nearest(word: str, known: Iterable[str], otherwise: str = ".") -> str:
    """Return `; did you mean …?`, or `otherwise` if no known word is similar."""
    from difflib import get_close_matches

    # Dashes that all options have would make any two of them similar.
    names = {name.lstrip("-"): name for name in known}
    near = get_close_matches(word.lower().lstrip("-"), names, 1, MIN_SIMILARITY)
    return f"; did you mean {names[near[0]]}?" if near else otherwise
