"""Machines from YAML: what ships is well-formed, and every mistake is one line that names the key."""

from pathlib import Path

import pytest

from shoestring.core.errors import ConfigError
from shoestring.silicon.arch import Arch
from shoestring.silicon.dram import Device, Dram
from shoestring.silicon.energy import EnergyTable

FOLDER = Path(__file__).parents[3] / "src" / "shoestring" / "silicon"
GOOD = (FOLDER / "machines" / "sgcn_hbm2.yaml").read_text()


@pytest.mark.parametrize("name", ["sgcn_hbm2", "snf_hbm2", "snf_ddr4_small"])
def test_a_shipped_machine_has_a_device_an_energy_table_and_survives_a_file(
    name: str, tmp_path: Path
) -> None:
    arch = Arch.from_yaml(name)
    assert Dram.from_config(arch.dram).peak_gb_per_s > 10
    assert EnergyTable.from_yaml(arch.energy).mac_pj > 0
    arch.to_yaml(tmp_path / "config.resolved.yaml")
    assert Arch.from_yaml(tmp_path / "config.resolved.yaml") == arch
    assert Arch.from_yaml(f"{name}.yaml") == arch


def test_all_files_that_ship_are_found_by_name() -> None:
    assert Arch.shipped() == ("sgcn_hbm2", "snf_ddr4_small", "snf_hbm2")
    assert Device.shipped() == ("ddr4_2133", "ddr4_2400", "ddr4_2666", "hbm2")
    assert EnergyTable.shipped() == ("energy",)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("machines/*.yaml")), ids=lambda p: p.stem)
def test_every_number_of_a_machine_has_its_origin_beside_it(path: Path) -> None:
    numbers = [line for line in path.read_text().splitlines() if line.split("#")[0].strip()[-1:].isdigit()]
    assert numbers
    assert [line for line in numbers if "#" not in line] == []


@pytest.mark.parametrize("path", sorted(FOLDER.glob("devices/*.yaml")), ids=lambda p: p.stem)
def test_a_device_names_the_origin_of_its_numbers(path: Path) -> None:
    assert "origin: DRAMsim3 configs/" in " ".join(path.read_text().split())


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("  bytes: 524288", "  bytes: 500000", ["cache.bytes=500000", "power of two", "bytes=262144"]),
        ("  bytes: 524288", "  bytes: 63", ["cache.bytes=63", "greater than or equal to 64"]),
        ("  bytes: 524288", "  bytes: 512k", ["cache.bytes='512k'", "integer"]),
        ("  bytes: 524288", "  bytes: 524288.0", ["cache.bytes=524288.0", "integer"]),
        ("  bytes: 524288", "  bytes: true", ["cache.bytes=True", "integer"]),
        ("  bytes: 524288", "  byte: 524288", ["cache.byte is no key here", "did you mean 'bytes'?"]),
        ("  bytes: 524288", "  bytes: 524288\n  bites: 3", ["cache.bites", "did you mean 'bytes'?"]),
        ("  bytes: 524288", "  bytes: 524288\n  bytes: 1024", ["'bytes' is given twice", "lines 8 and 9"]),
        ("  ways: 16", "  ways: 0", ["cache.ways=0"]),
        ("  ways: 16", "  ways: 3", ["cache.bytes=524288", "3 ways"]),
        ("  line_bytes: 64", "  line_bytes: 48", ["cache.line_bytes=48", "power of two"]),
        ("  policy: lru", "  policy: mru", ["cache.policy='mru'", "'lru', 'fifo' or 'rrip'"]),
        ("engines: 8", "engine: 8", ["engine is no key here", "did you mean 'engines'?"]),
        ("engines: 8", "engines: 8\nzebra: 1", ["zebra is no key here", "allowed are clock_ghz"]),
        ("engines: 8", "engines: -8", ["engines=-8"]),
        ("engines: 8", "engines: [8]", ["engines=[8]", "integer"]),
        ("clock_ghz: 1.0", "clock_ghz: .nan", ["clock_ghz=nan", "finite"]),
        ("clock_ghz: 1.0", "clock_ghz: .inf", ["clock_ghz=inf", "finite"]),
        ("clock_ghz: 1.0", "clock_ghz: 0.0", ["clock_ghz=0.0"]),
        ("clock_ghz: 1.0", "clock_ghz: fast", ["clock_ghz='fast'", "number"]),
        ("  channels: 8", "  channels: 6", ["dram.channels=6", "power of two"]),
        ("  ranks: 1", "  ranks: 32", ["dram.ranks=32"]),
        ("  queue: 64", "  queue: 1", ["dram.queue=1"]),
        ("  count: 8", "  count: 0", ["systolic.count=0"]),
        ("  dataflow: os", "  dataflow: rs", ["systolic.dataflow='rs'", "'os', 'ws' or 'is'"]),
        ("queue_lines: 256", "queue_lines: 20000", ["queue_lines=20000", "max_outstanding=10240"]),
        ("engines: 8", "engines: [8", ["not YAML, line"]),
        ("engines: 8", "engines: !!python/object:os.system 8", ["not YAML, line 3"]),
    ],
)
def test_a_mistake_in_a_machine_is_one_line_that_names_the_key(
    old: str, new: str, parts: list[str], tmp_path: Path
) -> None:
    text = "\n".join(line.split("#")[0].rstrip() for line in GOOD.splitlines())
    assert old in text
    (tmp_path / "mine.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        Arch.from_yaml(tmp_path / "mine.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(tmp_path / "mine.yaml"))
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("t_rcd: 16", "t_rcd: -16", "timing_clk.t_rcd=-16"),
        ("t_rcd: 16", "t_rcd: 0", "timing_clk.t_rcd=0"),
        ("t_wr: 16", "t_wr: -1", "timing_clk.t_wr=-1"),
        ("t_rcd: 16", "tRCD: 16", "timing_clk.tRCD is no key here"),
        ("t_rcd: 16", "t_rcdd: 16", "did you mean 't_rcd'?"),
        ("  t_rcd: 16\n", "", "timing_clk.t_rcd is missing"),
        ("t_ccd_l: 6", "t_ccd_l: 3", "timing_clk.t_ccd_l=3"),
        ("t_refi: 8328", "t_refi: 700", "timing_clk.t_refi=700"),
        ("idd0: 45", "idd0: -45", "current_ma.idd0=-45"),
        ("idd0: 45", "idd0: .nan", "current_ma.idd0=nan"),
        ("rows: 65536", "rows: 65000", "rows=65000"),
        ("columns: 1024", "columns: 4", "columns=4"),
        ("device_width_bits: 8", "device_width_bits: 128", "device_width_bits=128"),
        ("protocol: DDR4", "protocol: DDR9", "protocol='DDR9'"),
        ("vdd_v: 1.2", "vdd_v: 0", "vdd_v=0"),
    ],
)
def test_a_mistake_in_a_device_is_one_line_that_names_the_key(
    old: str, new: str, part: str, tmp_path: Path
) -> None:
    text = (FOLDER / "devices" / "ddr4_2133.yaml").read_text()
    assert old in text
    (tmp_path / "mine.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        Device.from_yaml(tmp_path / "mine.yaml")
    assert "\n" not in str(caught.value)
    assert part in str(caught.value)


def test_a_name_that_does_not_ship_lists_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"sgcn_hbm3 is no file.*sgcn_hbm2, snf_ddr4_small, snf_hbm2"):
        Arch.from_yaml("sgcn_hbm3")


def test_a_file_that_is_no_text_or_no_mapping_or_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    for content, message in (
        (b"\xff\xfe", "could not read"),
        (b"- 1", "must hold the keys"),
        (b"", "holds None"),
    ):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            Arch.from_yaml(path)
    path.write_bytes(b"#" * (2 << 20))
    with pytest.raises(ConfigError, match="at most"):
        Arch.from_yaml(path)
    with pytest.raises(ConfigError, match="could not read"):
        Arch.from_yaml(tmp_path)
    path.write_text("[" * 5000)
    with pytest.raises(ConfigError, match="nested too deeply"):
        Arch.from_yaml(path)


def test_a_variant_is_checked_as_a_file_is() -> None:
    arch = Arch.from_yaml("sgcn_hbm2")
    assert arch.replaced(cache__bytes=262_144, engines=16).cache.num_sets == 256
    assert arch.replaced(cache__bytes=262_144).engines == arch.engines
    with pytest.raises(ConfigError, match=r"cache\.bytes=300000"):
        arch.replaced(cache__bytes=300_000)
    with pytest.raises(ConfigError, match="'cash' is no section"):
        arch.replaced(cash__bytes=1)
    with pytest.raises(ConfigError, match="did you mean 'engines'"):
        arch.replaced(engine=1)


def test_a_machine_cannot_be_changed_in_place() -> None:
    arch = Arch.from_yaml("sgcn_hbm2")
    with pytest.raises(ValueError, match="frozen"):
        arch.engines = 4
