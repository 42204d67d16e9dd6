"""Equations of docstrings for the site: LaTeX becomes MathML when it is built, so that no script is needed to read."""

from __future__ import annotations

import re
import textwrap

import griffe
from latex2mathml.converter import convert

BLOCK = re.compile(r"^\.\. math::(.*(?:\n(?:[ \t]+\S.*|[ \t]*(?=\n[ \t]+\S)))*)", re.MULTILINE)
ROLE = re.compile(r":math:`([^`]+)`")


class Mathematics(griffe.Extension):
    """Replace the equations in every docstring."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """Rewrite one docstring."""
        if isinstance(obj, griffe.Object) and obj.docstring is not None:
            obj.docstring.value = rewritten(obj.docstring.value)


def rewritten(text: str) -> str:
    """Return a docstring with its equations as MathML, its examples as such and its code in Markdown's quotes."""

    def block(match: re.Match[str]) -> str:
        source = " ".join(textwrap.dedent(match[1]).split())
        return f"\n{convert(source, display='block')}\n"

    text = BLOCK.sub(block, text)
    text = ROLE.sub(lambda match: convert(match[1]), text)
    text = re.sub(r"(?m)^Example:$", "Examples:", text)  # the heading that is read as doctests
    return re.sub(r"``([^`\n]+)``", r"`\1`", text)
