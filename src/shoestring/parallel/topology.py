"""Which ranks share a server: the only thing that tells a fast link from a slow one."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from shoestring.core.errors import ConfigError

__all__ = ["Topology"]

_ENV_NAMES = ("WORLD_SIZE", "LOCAL_WORLD_SIZE")


@dataclass(frozen=True, slots=True)
class Topology:
    """`servers` servers with `ranks_per_server` ranks each; rank = server * ranks_per_server + local.

    Raises
    ------
    ConfigError
        If either is below 1.
    """

    servers: int
    ranks_per_server: int

    def __post_init__(self) -> None:
        if self.servers < 1 or self.ranks_per_server < 1:
            raise ConfigError(
                f"topology {self.servers} x {self.ranks_per_server}: both must be at least 1; "
                "give servers and ranks_per_server"
            )

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Self:
        """Read what torchrun sets: WORLD_SIZE ranks, LOCAL_WORLD_SIZE of them a server.

        Raises
        ------
        ConfigError
            If a variable is missing or no number, or servers have different numbers of ranks.
        """
        env = os.environ if env is None else env
        try:
            world, local = (int(env[name]) for name in _ENV_NAMES)
        except (KeyError, ValueError) as e:
            raise ConfigError(
                f"environment variables {' and '.join(_ENV_NAMES)} are not set to numbers ({e}); "
                "start with torchrun, or give Topology(servers, ranks_per_server)"
            ) from e
        if local < 1 or world % local:
            raise ConfigError(
                f"WORLD_SIZE={world} is no multiple of LOCAL_WORLD_SIZE={local}; "
                "start the same number of ranks on every server"
            )
        return cls(world // local, local)

    @property
    def world(self) -> int:
        """Number of ranks."""
        return self.servers * self.ranks_per_server

    def server_of(self, rank: int) -> int:
        """Server of a rank."""
        return rank // self.ranks_per_server

    def local_of(self, rank: int) -> int:
        """Place of a rank in its server."""
        return rank % self.ranks_per_server

    def ranks_of(self, server: int) -> tuple[int, ...]:
        """Ranks of a server, ascending."""
        first = server * self.ranks_per_server
        return tuple(range(first, first + self.ranks_per_server))

    def rail_of(self, local: int) -> tuple[int, ...]:
        """Ranks with the same place in every server, ascending; the heads for ``local=0``."""
        return tuple(range(local, self.world, self.ranks_per_server))
