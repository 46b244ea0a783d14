import pytest

from shoestring.silicon.sgcn import Arch, Workload


@pytest.fixture(scope="package")
def arch() -> Arch:
    return Arch.from_yaml("sgcn_hbm2").replaced(cache__bytes=16384, engines=4)


@pytest.fixture(scope="package")
def workload() -> Workload:
    return Workload.random_zeros("sbm:n=600,deg=8,low=32,high=64", 4, 80, [0.9, 0.7, 0.6, 0.7], seed=1)
