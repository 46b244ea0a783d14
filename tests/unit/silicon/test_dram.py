"""Devices, address maps, runs and their energy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shoestring.core.errors import ConfigError, DataError
from shoestring.native.dram import DramCounts, DramGeometry
from shoestring.silicon.arch import Arch
from shoestring.silicon.dram import Device, Dram, parse_mapping
from shoestring.silicon.energy import EnergyTable, command_energy_pj, dram_energy_pj

DDR4 = Device.from_yaml("ddr4_2133")


def lines(n: int, step: int = 1) -> NDArray[np.uint64]:
    return np.arange(n, dtype=np.uint64) * np.uint64(64 * step)


def reads(n: int) -> NDArray[np.bool_]:
    return np.zeros(n, np.bool_)


@pytest.mark.parametrize(
    ("name", "channels", "gb_per_s", "gib"),
    [
        ("ddr4_2133", 1, 17.02, 8),
        ("ddr4_2400", 1, 19.28, 8),
        ("ddr4_2666", 1, 21.33, 16),
        ("hbm2", 8, 256.0, 8),
    ],
)
def test_a_device_has_the_bandwidth_and_capacity_of_its_kind(
    name: str, channels: int, gb_per_s: float, gib: int
) -> None:
    dram = Dram(Device.from_yaml(name), channels=channels)
    assert dram.peak_gb_per_s == pytest.approx(gb_per_s, rel=1e-3)
    assert dram.capacity_bytes == gib << 30
    assert dram.access_bytes == 64


def test_the_capacity_is_the_chips_times_their_size() -> None:
    assert Dram(DDR4).capacity_bytes == DDR4.chips * (8 << 30) // 8  # eight chips of 8 Gbit


def test_a_map_is_read_from_high_to_low_and_given_from_low_to_high() -> None:
    geometry = DramGeometry(channels=2, ranks=4)
    assert parse_mapping("ro-ba-co-ra-bg-ch-co2", geometry) == [
        ("column", 2),
        ("channel", 1),
        ("group", 2),
        ("rank", 2),
        ("column", 5),
        ("bank", 2),
        ("row", 16),
    ]


def test_dramsim3s_form_of_a_map_is_the_same_map() -> None:
    geometry = DramGeometry(channels=2, ranks=2)
    assert parse_mapping("rochrababgco", geometry) == parse_mapping("ro-ch-ra-ba-bg-co", geometry)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ro-ba-co-ra-bg", "0 bits to 'ch', 1 are needed"),
        ("ro-ba-co-ra-bg-ch-zz", "'zz' is none of ch, ra, bg, ba, ro, co"),
        ("ro-ba-co-ra-bg-ch-co99", "'co'"),
        ("ro-ba-co9-ra-bg-ch", "9 bits to 'co', 7 are needed"),
        ("ro-ro-ba-co-ra-bg-ch", "32 bits to 'ro'"),
        ("rochrababg", "'co'"),
        ("", "'ch'"),
        ("row-bank", "'row' is none of"),
    ],
)
def test_a_map_that_does_not_fit_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_mapping(text, DramGeometry(channels=2, ranks=2))
    assert "\n" not in str(caught.value)


def test_bank_groups_interleaved_use_the_bus_and_one_group_does_not() -> None:
    interleaved = Dram(DDR4, mapping="ro-ba-co-ra-bg-ch").simulate(lines(20_000), reads(20_000))
    inside = Dram(DDR4, mapping="ro-bg-ba-ra-ch-co").simulate(lines(20_000), reads(20_000))
    assert interleaved.utilization > 0.94
    assert inside.utilization < 0.8
    assert interleaved.row_hit_rate > 0.98


def test_more_channels_and_ranks_are_not_slower() -> None:
    rng = np.random.default_rng(0)
    addresses = rng.integers(0, 1 << 26, 20_000).astype(np.uint64) * np.uint64(64)
    clocks = [
        Dram(DDR4, channels=c, ranks=r).simulate(addresses, reads(20_000)).counts.cycles
        for c, r in ((1, 1), (1, 2), (2, 2), (4, 2))
    ]
    assert clocks == sorted(clocks, reverse=True)
    assert len(set(clocks)) == len(clocks)


def test_a_run_says_bytes_time_and_rates() -> None:
    run = Dram(DDR4).simulate(lines(1000), reads(1000))
    assert run.bytes == 64_000
    assert run.modelled_s == pytest.approx(run.counts.cycles * 0.94e-9)
    assert run.utilization == pytest.approx(4000 / run.counts.cycles)
    nothing = Dram(DDR4).simulate(lines(0), reads(0))
    assert (nothing.utilization, nothing.row_hit_rate, nothing.bytes) == (0.0, 0.0, 0)


def test_commands_are_written_by_clock_and_pass_the_checker(tmp_path: Path) -> None:
    dram = Dram(DDR4, channels=2)
    run = dram.simulate(lines(500), reads(500), log_commands=True)
    assert dram.check(run) == ()
    run.write_commands_csv(str(tmp_path / "cmd.csv"))
    rows = (tmp_path / "cmd.csv").read_text().splitlines()
    assert rows[0] == "clk,channel,rank,bg,bank,op,row,col"
    assert len(rows) == 1 + len(run.commands)
    clocks = [int(row.split(",")[0]) for row in rows[1:]]
    assert clocks == sorted(clocks)
    assert {row.split(",")[5] for row in rows[1:]} == {"ACT", "RD"}


def test_a_long_cache_line_is_several_accesses() -> None:
    dram = Dram(DDR4)
    addresses, writes = dram.split_lines(lines(2, step=4), np.array([False, True]), 256)
    assert addresses.tolist() == [0, 64, 128, 192, 256, 320, 384, 448]
    assert writes.tolist() == [False] * 4 + [True] * 4
    with pytest.raises(ConfigError, match=r"cache\.line_bytes=96"):
        dram.split_lines(lines(2), reads(2), 96)


def test_signed_addresses_are_refused() -> None:
    with pytest.raises(DataError, match="int64"):
        Dram(DDR4).simulate(np.zeros(3, np.int64), reads(3))


def test_a_machine_names_its_memory() -> None:
    dram = Dram.from_config(Arch.from_yaml("sgcn_hbm2").dram)
    assert dram.peak_gb_per_s == 256.0


def test_energies_of_commands_follow_the_currents() -> None:
    # By hand: 1.2 V * 0.94 ns * 8 chips = 9.024 pJ a mA and clock.
    each = command_energy_pj(DDR4)
    assert each["activate"] == pytest.approx(9.024 * (45 * 52 - 40 * 36 - 33 * 16))
    assert each["read"] == pytest.approx(9.024 * (125 - 40) * 4)
    assert each["write"] == pytest.approx(9.024 * (115 - 40) * 4)
    assert each["refresh"] == pytest.approx(9.024 * (250 - 40) * 374)


def test_the_energy_of_a_run_is_the_sum_of_its_parts() -> None:
    dram, table = Dram(DDR4), EnergyTable.from_yaml("energy")
    counts = DramCounts(
        reads=10, writes=5, row_hits=12, activates=3, refreshes=2, cycles=1000, active_clocks=400
    )
    energy, each = dram_energy_pj(dram, counts, table), command_energy_pj(DDR4)
    assert energy.activate_pj == pytest.approx(3 * each["activate"])
    assert energy.read_pj == pytest.approx(10 * each["read"])
    assert energy.write_pj == pytest.approx(5 * each["write"])
    assert energy.refresh_pj == pytest.approx(2 * each["refresh"])
    assert energy.standby_pj == pytest.approx(9.024 * (400 * 40 + 600 * 33))
    assert energy.io_pj == pytest.approx(15 * 512 * 5.0)
    parts = energy.model_dump().values()
    assert energy.total_pj == pytest.approx(sum(parts))


def test_without_the_states_of_rows_all_clocks_count_as_open() -> None:
    dram, table = Dram(DDR4), EnergyTable.from_yaml("energy")
    stream, kinds = lines(5000), reads(5000)
    counts = dram.simulate(stream, kinds).counts
    exact = dram_energy_pj(dram, counts, table)
    bound = dram_energy_pj(dram, replace(counts, active_clocks=None), table)
    assert exact.standby_pj <= bound.standby_pj * 1.01
    assert bound.total_pj == pytest.approx(exact.total_pj, rel=0.05)


def test_the_flat_model_counts_bits_alone(tmp_path: Path) -> None:
    text = EnergyTable.from_yaml("energy").to_text().replace("value: idd", "value: flat")
    (tmp_path / "e.yaml").write_text(text)
    flat = EnergyTable.from_yaml(tmp_path / "e.yaml")
    counts = DramCounts(reads=1, writes=1, row_hits=0, activates=2, refreshes=1, cycles=99)
    assert dram_energy_pj(Dram(DDR4), counts, flat).total_pj == pytest.approx(2 * 512 * 3.9)


def test_sram_grows_with_the_root_of_its_capacity_and_logic_scales() -> None:
    table = EnergyTable.from_yaml("energy")
    assert table.sram_pj(512 << 10) == pytest.approx(200)
    assert table.sram_pj(2 << 20) == pytest.approx(400)
    assert table.sram_pj(512 << 10, line_bytes=128) == pytest.approx(400)
    assert table.mac_pj == pytest.approx(4.6)


def test_every_energy_has_an_origin() -> None:
    for name, entry in EnergyTable.from_yaml("energy").model_dump().items():
        assert len(entry["origin"]) > 10, name


def test_an_energy_without_origin_or_below_zero_is_refused() -> None:
    good = EnergyTable.from_yaml("energy").to_text()
    with pytest.raises(ConfigError, match=r"mac_fp32_pj\.value=-4\.6"):
        EnergyTable.from_text(good.replace("value: 4.6", "value: -4.6"))
    with pytest.raises(ConfigError, match=r"dram_model\.value='magic'"):
        EnergyTable.from_text(good.replace("value: idd", "value: magic"))
    with pytest.raises(ConfigError, match=r"mac_fp32_pj\.origin is missing"):
        EnergyTable.from_text(good.replace("  value: 4.6\n  origin:", "  value: 4.6\n#"))
