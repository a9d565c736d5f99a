"""What MkDocs makes of the code when it builds the pages: references and pictures, and links that leave the pages.

A page asks for a part with a comment, such as ``<!-- frostline: commands -->``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from pictures import picture, strategy_names
from reference import commands, settings

_PART = re.compile(r"<!-- frostline: (\w+)(?: (\w+))? -->")
# Roles of Sphinx in docstrings: their name, and the modules before that of a class.
_ROLE = re.compile(r":\w+:<code>~?(?:[a-z_]+\.)*([^<]+)</code>")
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the parts of a page; links to files of the repository, which the site does not have, become text."""
    return _PART.sub(lambda found: make_part(found[1], found[2]), _OUTSIDE.sub(r"\1", markdown))


def on_page_content(html: str, **_: Any) -> str:
    """Show what docstrings refer to as plain names."""
    return _ROLE.sub(r"<code>\1</code>", html)


def make_part(name: str, of: str | None) -> str:
    """Return a part of a page.

    Args:
        name: Name of the part.
        of: What it is of, such as the name of a strategy.

    Raises:
        ValueError: There is no such part.
    """
    if name == "commands":
        return commands()
    if name == "settings":
        return settings()
    if name == "picture" and of in strategy_names():
        return picture(of)
    raise ValueError(f"no part {name!r} of {of!r}")
