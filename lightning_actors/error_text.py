"""Speaking of errors that users raised: their text may raise in its turn, and they may refuse a note."""

from __future__ import annotations

__all__ = ["describe", "note", "text_of", "with_article"]


def describe(error: BaseException) -> str:
    """An error on one line; one whose text cannot be had is described by its type."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception as broken:  # noqa: BLE001 - boundary: a user's __str__ may raise anything
        return f"{type(error).__name__}, whose text cannot be had: {type(broken).__name__}"


def text_of(error: BaseException) -> str:
    """The text of an error alone, or what stands in for it."""
    return describe(error).removeprefix(f"{type(error).__name__}: ")


def note(error: BaseException, text: str) -> None:
    """Add a note to an error, unless it takes none, as a frozen dataclass does: the error itself matters more."""
    try:
        error.add_note(text)
    except Exception:  # noqa: BLE001 - boundary: a user's __setattr__ may raise anything
        return


def with_article(name: str) -> str:
    """A name with the article that goes before it: ``an Algorithm``, ``a Tracer``."""
    return f"{'an' if name[:1] in 'AEIOaeio' else 'a'} {name}"
