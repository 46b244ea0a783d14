"""``shoestring finance render``."""

from pathlib import Path
from typing import Annotated

import typer

from shoestring.cli.console import note, print_json
from shoestring.core.errors import ConfigError

__all__ = ["render"]


def render(  # noqa: PLR0913, PLR0917  # one parameter a flag
    strategy: Annotated[str, typer.Argument(help="A name, FILE.py[:Class] or FILE.yaml.")],
    image: Annotated[str, typer.Option(help="Container image of its environment.")],
    claim: Annotated[str, typer.Option(help="Volume claim that holds the workspace.")],
    namespace: Annotated[str, typer.Option(help="Of the jobs; kubectl's own without.")] = "",
    data: Annotated[str, typer.Option(help="Market, as the container sees it.")] = "",
    since: Annotated[
        str, typer.Option(help="First live date, if previous weights matter.", metavar="DATE")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="File to write; stdout without.", metavar="FILE")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter of the strategy.", metavar="NAME=VALUE")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a strategy as Kubernetes jobs: its backtest, and its live dates by its schedule.

    The manifests are checked against the published schema; no cluster is needed. The strategy is named as the
    container finds it: installed, or a file relative to the workspace.

    Example: shoestring finance render momentum --image registry.example/strategies:1 --claim workspace
    """
    from shoestring.core.files import write_text_atomic
    from shoestring.finance.shai_am._kubernetes import (
        KubernetesConfig,
        render_cron_job,
        render_job,
        to_yaml,
    )
    from shoestring.finance.strategies.registry import load_strategy

    info = load_strategy(strategy, tuple(set_ or ())).info
    config = KubernetesConfig(image=image, claim=claim, namespace=namespace)
    if info.uses_previous and not since:
        raise ConfigError(f"{info.name} uses its previous weights; give --since, the first date of its path")
    path = ["--since", since] if since else []
    common = ["--workspace", config.mount, *_options(data, set_ or ())]
    manifests = [
        render_job(
            info.name,
            info.version,
            ["finance", "backtest", strategy, *common],
            info.resources,
            config,
            retries=2,
        ),
        render_cron_job(
            info.name,
            info.version,
            ["finance", "live", strategy, "--date", "due", *path, *common],
            info.resources,
            config,
            cron=info.schedule.cron,
            timezone=info.schedule.timezone,
        ),
    ]
    if json:
        print_json(manifests)
    elif out is None:
        typer.echo(to_yaml(manifests), nl=False)
    if out is not None:
        write_text_atomic(out, to_yaml(manifests))
        note(f"wrote {out}; apply it with kubectl apply -f {out}")


def _options(data: str, parameters: list[str] | tuple[str, ...]) -> list[str]:
    sets = [word for parameter in parameters for word in ("--set", parameter)]
    return [*(["--data", data] if data else []), *sets]
