"""Fill templates into self-contained pages with the shared style."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shoestring.core.optional import optional

__all__ = ["render_page"]

_SHARED = Path(__file__).resolve().parent / "templates"


def render_page(folder: Path, template: str, page: Mapping[str, Any]) -> str:
    """Return a filled template.

    Values are escaped and freed of control characters; the filter ``svg`` lets drawn SVG through. Templates
    may include the shared ``style.css``.

    Parameters
    ----------
    folder : Path
        Where the templates are.
    template : str
        Name of one of them.
    page : mapping
        Values, visible as ``page``; its ``title`` as ``title``.

    Raises
    ------
    MissingExtraError
        If jinja2 is not installed (extra ``report``).
    """
    jinja2 = optional("jinja2", "report")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _SHARED]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["svg"] = optional("markupsafe", "report").Markup
    text: str = environment.get_template(template).render(page=page, title=page["title"])
    return text


def _visible(value: Any) -> Any:
    """Replace control characters of plain text; line breaks stay."""
    if type(value) is not str:
        return value
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in value)
