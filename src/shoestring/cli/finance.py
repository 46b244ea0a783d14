"""``shoestring finance``: investment strategies in research, backtest, live and production."""

import typer

from shoestring.cli.lazy import lazy_verb

__all__ = ["app"]

app = typer.Typer(
    name="finance",
    help="Run investment strategies: backtest, live, promotion, user interface.",
    epilog="Example: shoestring finance ui momentum",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name, _entry, _help in (
    ("ui", "shoestring.cli.finance_ui:ui", "Start Dagster's pages and daemon for a workspace."),
    ("promote", "shoestring.cli.finance_promote:promote", "Move a version up: validated, paper, live."),
    ("render", "shoestring.cli.finance_render:render", "Write the Kubernetes jobs of a strategy."),
):
    lazy_verb(app, _name, _entry, _help)
