"""Refuse arguments of the wrong type at the call, before anything begins; pure."""

__all__ = ["check_callable", "check_optional", "check_type"]


def check_optional(name: str, value: object, *types: type) -> None:
    """Raise `TypeError` unless an argument is None or of one of these types."""
    if value is not None:
        check_type(name, value, *types)


def check_type(name: str, value: object, *types: type) -> None:
    """Raise `TypeError` unless an argument is of one of these types."""
    is_flag_as_number = isinstance(value, bool) and bool not in types
    if is_flag_as_number or not isinstance(value, types):
        known = " or ".join(each.__name__ for each in types)
        raise TypeError(f"{name} must be {known}, not {type(value).__name__}")


def check_callable(name: str, value: object) -> None:
    """Raise `TypeError` unless an argument can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, not {type(value).__name__}")
