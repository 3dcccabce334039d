"""Wording shared by all error messages about unknown names."""

import difflib
import operator
from collections.abc import Iterable


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest of ``choices``, or ``""`` when nothing is close.

    Case is ignored, so ``tripletloss`` finds ``TripletLoss``.
    """
    by_folded = {str(choice).casefold(): str(choice) for choice in choices}
    match = difflib.get_close_matches(str(name).casefold(), by_folded, n=1, cutoff=0.6)
    return f" Did you mean '{by_folded[match[0]]}'?" if match else ""


def require_choice(what: str, given, choices: Iterable) -> None:
    """Raise ``ValueError`` unless ``given`` is one of ``choices``; ``what`` names the parameter and its owner."""
    choices = list(choices)
    if given not in choices:
        allowed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{what} must be one of {allowed}; got {given!r}.{nearest(given, map(str, choices))}")


def require_whole(what: str, given, lowest: int) -> int:
    """Return ``given`` as an int; raise ``TypeError`` or ``ValueError`` unless it is a whole number from ``lowest``."""
    try:
        number = operator.index(given)
    except TypeError:
        raise TypeError(f"{what} must be a whole number; got {given!r}") from None
    if number < lowest:
        raise ValueError(f"{what} must be at least {lowest}; got {given}")
    return number


def require_members(component: object, role: str, *names: str) -> None:
    """Raise ``TypeError`` naming the class and what it lacks, unless ``component`` has all members ``names``."""
    missing = [name for name in names if not hasattr(component, name)]
    if missing:
        raise TypeError(f"{type(component).__name__} lacks '{missing[0]}', which {role} must have")
