"""Options of Qimera."""

from dataclasses import dataclass, field

from shoestring.compression.conversion import QuantConfig
from shoestring.compression.distillation import DistillationConfig
from shoestring.compression.sources import GeneratorConfig
from shoestring.core.errors import ConfigError

__all__ = ["QimeraConfig"]


@dataclass(frozen=True, kw_only=True, slots=True)
class QimeraConfig:
    """Qimera; with its three parts off it is GDFQ."""

    quant: QuantConfig = field(default_factory=QuantConfig)
    """Bits."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    """Size and training of the generator."""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    """Budget, loss and step."""
    superpose: bool = True
    """Superposed latent embeddings: mix several classes in one sample."""
    superpose_prob: float = 0.4
    """Share of batches that are mixed, in [0, 1]."""
    superpose_classes: int = 2
    """Classes mixed in one sample, K; may exceed the number of classes (drawn with replacement)."""
    disentangle: bool = True
    """Disentanglement mapping: a learned linear layer on each latent before mixing."""
    init_from_teacher: bool = True
    """Extracted embedding initialisation: start from the rows of the teacher's last layer."""
    train_embedding: bool = True
    """Let the embeddings learn."""
    noise_std: float = 1.0
    """Standard deviation of the noise on each embedding."""

    def __post_init__(self) -> None:
        if not 0 <= self.superpose_prob <= 1:
            raise ConfigError(f"superpose_prob={self.superpose_prob} is outside [0, 1]; 0 never mixes")
        if self.superpose_classes < 1:
            raise ConfigError(f"superpose_classes={self.superpose_classes} must be at least 1; 1 never mixes")
        if self.noise_std < 0:
            raise ConfigError(f"noise_std={self.noise_std} must not be negative; 0 adds no noise")

    @property
    def any_part(self) -> bool:
        """Whether any of the three parts is on."""
        return self.superpose or self.disentangle or self.init_from_teacher
