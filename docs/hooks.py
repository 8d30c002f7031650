"""What mkdocs needs to know of this repository; `mkdocs.yml` names this file.

On the site some pages stand that lie outside docs/, and headings have the same anchors as in the
repository's own view of the pages.
"""

import html
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
OUTSIDE: Mapping[str, str] = {
    "README.md": "overview.md",
    "deploy/README.md": "deploying.md",
    "examples/README.md": "examples.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
}
"""A page of the repository, and what it is on the site."""
_LINK = re.compile(r"\[([^]]*)\]\((?!https?:)([^)#\s]+)((?:#[^)\s]+)?)\)")
_CODE = re.compile(r"`([^`]*\\\|[^`]*)`")
_INSIDE = {there: here for here, there in OUTSIDE.items()}


def _bar(code: re.Match[str]) -> str:
    return f"<code>{html.escape(code[1]).replace(chr(92) + '|', '&#124;')}</code>"


def anchor(heading: str, _: str) -> str:
    """Return a heading's anchor: lower case, each blank a hyphen, no other marks."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def on_config(config: Any) -> Any:
    """Have headings get these anchors."""
    config.mdx_configs["toc"] = {**config.mdx_configs.get("toc", {}), "slugify": anchor}
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie outside docs/."""
    for path, there in OUTSIDE.items():
        files.append(File.generated(config, there, content=(ROOT / path).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to where their target is on the site; what is not there keeps its text alone."""
    path = _INSIDE.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def led(found: re.Match[str]) -> str:
        text, to, heading = found.groups()
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), to))
        there = OUTSIDE.get(target, target.removeprefix("docs/"))
        if target in OUTSIDE or (target.startswith("docs/") and not (ROOT / target).is_dir()):
            here = posixpath.dirname(page.file.src_uri)
            return f"[{text}]({posixpath.relpath(there, here or '.')}{heading})"
        return text

    # Elsewhere a table's cell has `a\\|b` for a|b; here the backslash would be shown.
    markdown = re.sub(r"^\|.*$", lambda row: _CODE.sub(_bar, row[0]), markdown, flags=re.MULTILINE)
    # A fence's second word is the file that the block is written to.
    markdown = re.sub(r"^```(\w+) \S+$", r"```\1", markdown, flags=re.MULTILINE)
    return _LINK.sub(led, markdown)
