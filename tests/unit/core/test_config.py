from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.core.config import apply_overrides, from_dict, read_toml, to_dict, to_toml
from shoestring.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    size: int = 3
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    name: str
    inner: Inner = Inner()
    places: tuple[float, ...] = (0.25, 0.5)
    pair: tuple[int, str] = (1, "x")
    limit: int | None = None
    on: bool = True
    table: dict[str, int] | None = None


@given(
    st.builds(
        Outer,
        name=st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])),
        inner=st.builds(
            Inner, size=st.integers(-9, 9), rate=st.floats(-1e6, 1e6), kind=st.sampled_from(["a", "b"])
        ),
        places=st.lists(st.floats(-1e6, 1e6), max_size=4).map(tuple),
        pair=st.tuples(st.integers(-9, 9), st.just("y")),
        limit=st.none() | st.integers(0, 9),
        on=st.booleans(),
        table=st.none() | st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)),
    )
)
def test_a_config_comes_back_from_a_dict_and_from_toml(config: Outer) -> None:
    import tomllib

    assert from_dict(Outer, to_dict(config)) == config
    assert from_dict(Outer, tomllib.loads(to_toml(config))) == config


def test_a_toml_file_is_read_with_overrides_over_it(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('schema = 1\nname = "net"\n[inner]\nsize = 4\n')
    config = read_toml(Outer, path, ["inner.size=7", "inner.rate = 2", "name=plain text", "places=[0.1]"])
    assert config == Outer(name="plain text", inner=Inner(size=7, rate=2.0), places=(0.1,))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "'name' is required"),
        ({"name": "n", "inner": {"sise": 1}}, r"unknown option inner\.'sise'; allowed: size, rate, kind"),
        ({"name": "n", "inner": {"kind": "c"}}, r"inner\.kind='c' is not one of 'a', 'b'"),
        ({"name": "n", "inner": {"size": "4"}}, r"inner\.size='4' has type str; expected int"),
        ({"name": "n", "inner": {"size": True}}, r"inner\.size=True has type bool"),
        ({"name": "n", "on": 1}, "on=1 has type int; expected bool"),
        ({"name": "n", "pair": [1]}, "pair has 1 entries; expected 2"),
        ({"name": "n", "places": [1, "x"]}, r"places\[1\]='x' has type str"),
        ({"name": "n", "limit": "many"}, "limit='many' has type str"),
        ({"name": "n", "schema": 2}, "schema=2 is not known"),
    ],
)
def test_wrong_values_are_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(Outer, values)


def test_overrides_leave_the_given_values_alone() -> None:
    values = {"inner": {"size": 1}}
    assert apply_overrides(values, ["inner.size=2", "a.b.c=true"]) == {
        "inner": {"size": 2},
        "a": {"b": {"c": True}},
    }
    assert values == {"inner": {"size": 1}}


@pytest.mark.parametrize("override", ["inner.size", "=3", "name.x=1"])
def test_an_override_without_key_value_or_section_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="override"):
        apply_overrides({"name": "n"}, [override])


@pytest.mark.parametrize("text", [None, "a = ", b"\xff"])
def test_a_file_that_is_no_toml_is_refused(text: str | bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=r"could not read the config .*c\.toml"):
        read_toml(Outer, path)
