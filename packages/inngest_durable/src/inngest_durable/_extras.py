"""Libraries that a part of the package needs and the whole does not: each part names its extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needed_by(module: str, extra: str) -> Iterator[None]:
    """Import in this block what *module* needs: the error for what is not installed names the *extra* that has it."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        text = f'{module} needs {missing}, which is not installed: pip install "inngest-durable[{extra}]"'
        raise ModuleNotFoundError(text, name=error.name, path=error.path) from None
