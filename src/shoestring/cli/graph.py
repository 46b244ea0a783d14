"""``shoestring graph``: graph neural networks on graphs larger than memory or one server."""

import typer

from shoestring.cli.lazy import lazy_verb

__all__ = ["app"]

app = typer.Typer(
    name="graph",
    help="Train graph networks on graphs larger than memory.",
    epilog="Example: shoestring graph partition cora.npz --parts 8 --method all",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name, _entry, _help in (
    ("train", "shoestring.cli.graph_train:train", "Train a GCN, GraphSAGE or GAT on your graph."),
    ("plan", "shoestring.cli.graph_plan:plan", "Predict bytes, time and least budgets of every mode."),
    ("partition", "shoestring.cli.graph_partition:partition", "Cut a graph into parts."),
):
    lazy_verb(app, _name, _entry, _help, computes=True)
