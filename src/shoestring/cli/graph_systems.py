"""How ``shoestring graph`` calls each system: options in, weights, logits and figures out."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, get_args

from shoestring.cli.graph_job import GraphJob, build_model
from shoestring.core.config import from_dict, to_dict
from shoestring.core.errors import ConfigError
from shoestring.core.optional import optional
from shoestring.core.recorder import Recorder

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import Data

    from shoestring.graphs.granndis import TrainingRun
    from shoestring.graphs.grinnder._trainer import EpochReport
    from shoestring.graphs.grinnder.config import Mode

__all__ = ["System", "Trained", "find_system", "started_by_torchrun"]

Report = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What a training leaves."""

    weights: Mapping[str, "Tensor"]
    """State dict with the names of PyG's models."""
    logits: "Tensor"
    """float, (N, C), in the user's order, without dropout."""
    figures: dict[str, Any]
    """JSON values."""


class System(Protocol):
    """A system as the verbs use it."""

    modes: tuple[str, ...]
    """Allowed modes; the first is its own."""

    def resolve(self, job: GraphJob, storage: Path) -> dict[str, Any]:
        """Check a job's options, and return all of them with their defaults, as JSON values.

        A folder for storage that was not asked for is left out: it is inside the output folder.
        """
        ...

    def train(
        self,
        data: "Data",
        job: GraphJob,
        storage: Path,
        checkpoints: Path,
        recorder: Recorder,
        report: Report,
    ) -> Trained:
        """Train, going on from what `checkpoints` holds; `data` may be emptied on the way."""
        ...

    def join(self, data: "Data", job: GraphJob, checkpoints: Path) -> None:
        """Work as a rank above 0 that torchrun started."""
        ...

    def plan(self, data: "Data", job: GraphJob, storage: Path, report: Report) -> list[dict[str, Any]]:
        """Predict every mode without training; JSON values, one row a mode."""
        ...


def find_system(job: GraphJob) -> System:
    """Return the system of a job, and check its mode.

    Raises
    ------
    MissingExtraError
        If the libraries for graphs are not installed.
    ConfigError
        If the system has no such mode.
    """
    optional("torch_geometric", extra="graphs")
    system: System = _Grinnder() if job.system == "grinnder" else _Granndis()
    if job.mode and job.mode not in system.modes:
        raise ConfigError(
            f"mode={job.mode!r} is not one of {job.system}'s; allowed: {', '.join(system.modes)}"
        )
    return system


class _Grinnder:
    def __init__(self) -> None:
        from shoestring.graphs.grinnder.config import Mode

        self.modes: tuple[str, ...] = get_args(Mode)

    def resolve(self, job: GraphJob, storage: Path) -> dict[str, Any]:
        options = to_dict(self._config(job, storage))
        del options["storage"]
        return options | ({"storage": job.options["storage"]} if "storage" in job.options else {})

    def train(
        self,
        data: "Data",
        job: GraphJob,
        storage: Path,
        checkpoints: Path,
        recorder: Recorder,
        report: Report,
    ) -> Trained:
        from shoestring.graphs import grinnder

        if started_by_torchrun():
            raise ConfigError("grinnder trains in one process; start it without torchrun")
        config, mode = self._config(job, storage), cast("Mode", job.mode or self.modes[0])
        model = build_model(job.model, data, job.seed, config.dtype)
        report(0.0, "partitioning the graph and writing it to storage")
        graph = grinnder.prepare(data, config, model, mode=mode)
        for key in list(data.keys()):  # from here on the graph is on storage
            del data[key]
        epochs = job.training.epochs

        def on_epoch(done: "EpochReport") -> None:
            report((done.epoch + 1) / epochs, f"epoch {done.epoch + 1} of {epochs}, loss {done.loss:.4f}")

        with grinnder.Trainer(model, graph, config, mode=mode) as trainer:
            result = trainer.fit(
                epochs,
                lr=job.training.lr,
                weight_decay=job.training.weight_decay,
                checkpoint=checkpoints / "run.safetensors",
                recorder=recorder,
                on_epoch=on_epoch,
            )
            report(1.0, "predicting")
            logits = trainer.predict()
        figures = {
            "loss": result.losses[-1],
            **{f"{name}_accuracy": value for name, value in result.accuracy.items()},
            "parts": graph.num_parts,
            "alpha": result.alpha,
            "cache": result.cache,
            "hit_rate": result.hit_rate,
            "peak_device_bytes": result.peak_device_bytes,
            "peak_host_bytes": result.peak_host_bytes,
            "device_emulated": result.device_emulated,
            "storage_read_bytes": result.ledger.storage_read_bytes,
            "storage_write_bytes": result.ledger.storage_write_bytes,
            "epoch_seconds": _median([e.seconds for e in result.epochs]),
        }
        return Trained(weights=model.state_dict(), logits=logits, figures=figures)

    def join(self, data: "Data", job: GraphJob, checkpoints: Path) -> None:
        del data, job, checkpoints
        raise ConfigError("grinnder trains in one process; start it without torchrun")

    def plan(self, data: "Data", job: GraphJob, storage: Path, report: Report) -> list[dict[str, Any]]:
        from shoestring.graphs import grinnder

        config = self._config(job, storage)
        model = build_model(job.model, data, job.seed, config.dtype)
        rows = []
        for i, mode in enumerate(self.modes):
            report(i / len(self.modes), f"rehearsing {mode}")
            (made,) = grinnder.plan(data, model, config, [cast("Mode", mode)])
            rows.append(_plain(made))
        return rows

    def _config(self, job: GraphJob, storage: Path) -> Any:
        from shoestring.graphs import grinnder

        if job.options.get("seed", job.seed) != job.seed:
            raise ConfigError("options.seed is given as seed; set that alone")
        return _options(
            grinnder.Config, {"storage": str(storage), **job.options, "seed": job.seed}, "grinnder"
        )


class _Granndis:
    def __init__(self) -> None:
        from shoestring.graphs.granndis.config import Mode

        modes = get_args(Mode)
        self.modes: tuple[str, ...] = ("flexible", *(m for m in modes if m != "flexible"))

    def resolve(self, job: GraphJob, storage: Path) -> dict[str, Any]:
        del storage
        options = to_dict(self._config(job))
        for section, names in _GIVEN.items():
            for name in names:
                del options[section][name]
        return options

    def train(
        self,
        data: "Data",
        job: GraphJob,
        storage: Path,
        checkpoints: Path,
        recorder: Recorder,
        report: Report,
    ) -> Trained:
        from shoestring.graphs import granndis

        del storage
        config, checkpoint = self._config(job), checkpoints / "run.safetensors"
        checkpoints.mkdir(parents=True, exist_ok=True)
        report(0.0, "splitting the graph and starting the ranks")
        if started_by_torchrun():
            run = granndis.train_rank(data, config, checkpoint=checkpoint)
            assert run is not None, "only rank 0 comes here"
        else:
            run = granndis.train(data, config, checkpoint=checkpoint, report_progress=report)
        self._record(run, recorder)
        return Trained(weights=run.state_dict, logits=_logits(run, data, config), figures=self._figures(run))

    def join(self, data: "Data", job: GraphJob, checkpoints: Path) -> None:
        """Work as a rank above 0 that torchrun started."""
        from shoestring.graphs import granndis

        granndis.train_rank(data, self._config(job), checkpoint=checkpoints / "run.safetensors")

    def plan(self, data: "Data", job: GraphJob, storage: Path, report: Report) -> list[dict[str, Any]]:
        from shoestring.graphs import granndis

        del storage
        report(0.0, "sizing every mode")
        return [_plain(made) for made in granndis.plan_modes(data, self._config(job))]

    @staticmethod
    def _record(run: "TrainingRun", recorder: Recorder) -> None:
        """Write what the ranks measured; of epochs before a resumption only the loss is known."""
        for epoch, loss in enumerate(run.loss):
            row = {"loss": loss}
            i = epoch - run.start_epoch
            if i >= 0:
                traffic = run.traffic_by_epoch[i]
                row["seconds"] = run.seconds[i]
                row |= {f"{link}_bytes": float(traffic.total(link=link)) for link in _LINKS}
            recorder.record(epoch, row)

    @staticmethod
    def _figures(run: "TrainingRun") -> dict[str, Any]:
        epochs = max(len(run.traffic_by_epoch), 1)
        sent = {
            f"{link}_{kind}_bytes": sum(t.total(link=link, kind=kind) for t in run.traffic_by_epoch) / epochs
            for link in _LINKS
            for kind in ("feature", "gradient", "weights")
        }
        return {
            "loss": run.loss[-1],
            **{f"{name}_accuracy": 100 * share for name, share in run.accuracy.items()},
            "k": run.plan.k,
            "replication": run.replication,
            **sent,
            "epoch_seconds": run.epoch_s,
            "setup_seconds": run.setup_s,
            "link": run.link,
        }

    def _config(self, job: GraphJob) -> Any:
        from shoestring.graphs import granndis

        if job.model.kind == "gat":
            raise ConfigError("granndis trains gcn and sage, not gat; use --system grinnder for it")
        if job.training.weight_decay:
            raise ConfigError("granndis has no weight decay; leave training.weight_decay at 0")
        values: dict[str, Any] = {k: v for k, v in job.options.items() if k != "schema"}
        given: dict[str, dict[str, Any]] = {
            "model": {
                "kind": job.model.kind,
                "layers": job.model.layers,
                "hidden": job.model.hidden,
                "dropout": job.model.dropout,
                "norm": job.model.norm,
            },
            "training": {
                "epochs": job.training.epochs,
                "lr": job.training.lr,
                "seed": job.seed,
                "checkpoint_every": job.training.checkpoint_every,
            },
            "plan": {"mode": job.mode or self.modes[0]},
        }
        for section, names in given.items():
            own = values.get(section, {})
            twice = sorted(set(own) & set(names)) if isinstance(own, Mapping) else []
            if twice:
                instead = _GIVEN[section][twice[0]]
                raise ConfigError(
                    f"options.{section}.{twice[0]} is an option of every training; set {instead}"
                )
            values[section] = {**own, **names}
        return _options(granndis.GranndisConfig, values, "granndis")


_LINKS: tuple[Literal["intra", "inter"], ...] = ("intra", "inter")
_GIVEN: Mapping[str, Mapping[str, str]] = {
    "model": {name: f"model.{name}" for name in ("kind", "layers", "hidden", "dropout", "norm")},
    "training": {
        "epochs": "training.epochs",
        "lr": "training.lr",
        "seed": "seed",
        "checkpoint_every": "training.checkpoint_every",
    },
    "plan": {"mode": "mode"},
}
"""Options of GraNNDis that a job has under a name of its own, and that name."""


def started_by_torchrun() -> bool:
    """Whether this process is a rank that torchrun started."""
    return "RANK" in os.environ and "LOCAL_WORLD_SIZE" in os.environ


def _logits(run: "TrainingRun", data: "Data", config: Any) -> "Tensor":
    """Run the trained network on the whole graph, in this process."""
    import torch

    from shoestring.graphs import granndis
    from shoestring.graphs.granndis._source import prepare_source

    source = prepare_source(data, config)
    model = granndis.GraphModel(config.model, source.x.shape[1], source.num_classes).to(source.x.dtype)
    model.load_state_dict(run.state_dict)
    with torch.inference_mode():
        logits: Tensor = model.eval()(source.x, source.edge_index)
    return logits


def _plain(row: Any) -> dict[str, Any]:
    """Return a dataclass of scalars as a dict."""
    return {f.name: getattr(row, f.name) for f in fields(row)}


def _options(kind: type[Any], values: Mapping[str, Any], system: str) -> Any:
    try:
        return from_dict(kind, values)
    except ConfigError as e:
        raise ConfigError(f"options of {system}: {e}") from e


def _median(values: list[float]) -> float | None:
    """Median, or None of nothing (a run that was complete already)."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else None
