"""``shoestring simulate``: accelerators for graph networks on a timing model."""

import typer

from shoestring.cli.lazy import lazy_verb

__all__ = ["app"]

app = typer.Typer(
    name="simulate",
    help="Simulate accelerators for graph networks.",
    epilog="Example: shoestring simulate sgcn --train sbm:n=2048,deg=16 --out run",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name, _entry, _help in (
    ("sgcn", "shoestring.cli.simulate_sgcn:sgcn", "Compressed features: format, slices, tiles, schedule."),
    ("snf", "shoestring.cli.simulate_snf:snf", "Feature slices, and tiles that tune themselves."),
):
    lazy_verb(app, _name, _entry, _help, computes=True)
