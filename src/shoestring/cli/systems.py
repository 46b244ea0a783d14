"""``shoestring list`` and ``shoestring show``."""

from typing import Annotated, Any, get_args

import typer

from shoestring.cli.console import print_json, results
from shoestring.core.cards import Card, Scarcity, all_cards, find_card
from shoestring.core.errors import ConfigError

__all__ = ["list_systems", "show"]

_JSON = typer.Option("--json", help="Print JSON.")


def list_systems(
    scarce: Annotated[
        str | None, typer.Option(help=f"Only systems for this scarcity: {', '.join(get_args(Scarcity))}.")
    ] = None,
    json: Annotated[bool, _JSON] = False,
) -> None:
    """List the systems, or those for one scarcity.

    Example: shoestring list --scarce memory
    """
    if scarce is not None and scarce not in get_args(Scarcity):
        raise ConfigError(f"--scarce {scarce!r} is not one of {', '.join(get_args(Scarcity))}")
    cards = [c for c in all_cards() if scarce is None or scarce in c.scarce]
    if json:
        print_json([_card_fields(c) for c in cards])
        return
    from shoestring.evidence.tables import systems_table

    results().print(systems_table(cards))


def show(
    name: Annotated[str, typer.Argument(help="Name of a system, as in: shoestring list.")],
    json: Annotated[bool, _JSON] = False,
) -> None:
    """Show the card of one system: what it does, how to use it, what was measured.

    Example: shoestring show qimera
    """
    card = find_card(name)
    if json:
        print_json({**_card_fields(card), "readme": card.readme()})
        return
    from rich.markdown import Markdown

    results().print(Markdown(card.readme()))


def _card_fields(card: Card) -> dict[str, Any]:
    """Everything of a card except where it lies on this machine."""
    return {
        "name": card.name,
        "title": card.title,
        "family": card.family,
        "scarce": list(card.scarce),
        "paper": card.paper,
        "venue": card.venue,
        "year": card.year,
        "summary": card.summary,
        "extras": list(card.extras),
        "quick": {"seconds": card.quick.seconds, "memory_mb": card.quick.memory_mb},
    }
