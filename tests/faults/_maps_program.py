"""Fits MAPS with a checkpoint; killed by the test that starts it.

Arguments: checkpoint, model file, seconds to wait at every look.
"""

import sys
import time
from pathlib import Path

from shoestring.finance.maps import MAPS, NetworkConfig, TrainingConfig
from shoestring.finance.market.generators import gbm_panel


def main(checkpoint: Path, model: Path, pause_s: float) -> None:
    training = TrainingConfig(
        updates=40, batch_size=64, collect=20, buffer_size=512, check_every=4, patience=40, target_every=7
    )
    maps = MAPS(n_agents=3, network=NetworkConfig(encoder=(12, 8)), training=training)
    maps.fit(
        gbm_panel(6, 300, seed=0),
        checkpoint=checkpoint,
        report_progress=lambda _fraction, _word: time.sleep(pause_s),
    )
    maps.save(model)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
