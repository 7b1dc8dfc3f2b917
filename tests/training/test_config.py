"""Configs of recipes: every shipped one is valid, and any field can be overridden."""

from __future__ import annotations

import dataclasses
import re
import typing
from dataclasses import dataclass, field

import pytest
import yaml

from biomeformer.errors import InputError
from biomeformer.training.command import RecipeParser
from biomeformer.training.config import Config, Range, read_yaml
from processes import ROOT, recipe

CONFIGS = ROOT / "recipes" / "configs"


@dataclass
class Stage(Config):
    """One stage."""

    n_steps: int
    rate: float = 0.1
    length: tuple[int, int] = (1, 2)


@dataclass
class Example(Config):
    """A config with every kind of field."""

    name: str
    stages: list[Stage] = field(default_factory=list)
    last: Stage | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    encoder: str | dict[str, str] = "none"
    numbers: list[int] = field(default_factory=list)
    is_quick: bool = False
    share: float | None = None


@pytest.fixture
def path(tmp_path):
    values = {"name": "a", "stages": [{"n_steps": 3}, {"n_steps": 4}], "sizes": {"width": 1}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "c.yaml"


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_shipped_config_is_valid(path):
    kind = recipe(path.parent.name).RecipeConfig
    assert kind.from_yaml(path).seed == 0 and kind.from_yaml(path, ["seed=7"]).seed == 7


def test_every_recipe_with_a_config_has_a_quick_one():
    folders = [folder for folder in CONFIGS.iterdir() if folder.is_dir()]
    assert {folder.name for folder in folders if not (folder / "smoke.yaml").is_file()} == {"finetune_phenotype"}


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("name=b", lambda c: c.name == "b"),
        ("stages.1.n_steps=9", lambda c: [stage.n_steps for stage in c.stages] == [3, 9]),
        ("stages.0.length=[5, 6]", lambda c: c.stages[0].length == (5, 6)),
        ("stages.0.rate=1e-3", lambda c: c.stages[0].rate == 0.001),
        ("stages=[{n_steps: 1}]", lambda c: c.stages == [Stage(1)]),
        ("last.n_steps=7", lambda c: c.last == Stage(7)),
        ("last={n_steps: 2, rate: 1}", lambda c: c.last == Stage(2, 1.0)),
        ("sizes.depth=2", lambda c: c.sizes == {"width": 1, "depth": 2}),
        ("encoder={k: v}", lambda c: c.encoder == {"k": "v"}),
        ("encoder=a=b", lambda c: c.encoder == "a=b"),
        ("numbers=[1, 2]", lambda c: c.numbers == [1, 2]),
        ("is_quick=true", lambda c: c.is_quick is True),
        ("share=2", lambda c: c.share == 2.0 and isinstance(c.share, float)),
    ],
)
def test_an_override_changes_one_field(path, override, read):
    config = Example.from_yaml(path, [override])
    assert read(config) and config != Example.from_yaml(path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("nam=b", r"'nam=b': unknown field nam; known are name, .*; did you mean name\?"),
        ("stages.0.n_step=1", r"unknown field n_step; known are n_steps, rate, length; did you mean n_steps\?"),
        ("stages.2.n_steps=1", "stages has no 2; give 0 to 1"),
        ("stages.first.n_steps=1", "stages has no first"),
        ("last.depth=1", "unknown field depth; known are n_steps"),
        ("name.first=1", "name has no fields"),
        ("name", "'name' is no override; give key=value"),
        ("=1", "is no override"),
        ("name=[", "give a value in YAML"),
        ("name=1", "name is 1; give text"),
        ("is_quick=1", "is_quick is 1; give true or false"),
        ("numbers=3", "numbers is 3; give a list"),
        ("numbers=[a]", "numbers is 'a'; give a whole number"),
        ("stages.0.length=[1]", r"length is \[1\]; give a list of 2"),
        ("stages.0=4", "stage 1 is 4; give its fields"),
        ("last.rate=1", "last: n_steps is missing"),
        ("share=many", "share is 'many'; give a number"),
        ("sizes=4", "sizes is 4; give its fields"),
    ],
)
def test_bad_overrides_are_refused(path, override, message):
    with pytest.raises(InputError, match=message):
        Example.from_yaml(path, [override])


def test_overrides_and_options_come_in_any_order(capsys):
    script = str(ROOT / "recipes" / "pretrain_read_encoder.py")
    parser = RecipeParser(script, "A recipe.")
    parser.add_training_options()
    parser.add_argument("--target")
    parser.add_argument("--stages", nargs="+")
    words = "seed=1 --config smoke --cpu a.b=2 --stages x y c=3 --target d=4 --output run e=5"
    args = parser.parse_args(words.split())
    # `a.b=2` follows an option, which might have taken it.
    assert args.overrides == ["a.b=2", "seed=1", "c=3", "e=5"]
    assert args.stages == ["x", "y"] and args.target == "d=4" and args.cpu
    assert args.config == CONFIGS / "pretrain_read_encoder" / "smoke.yaml"
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["--config", "smoke"])
    assert stop.value.code == 2 and capsys.readouterr().err.startswith("error: the following arguments are required")


RECIPES = [
    "finetune_phenotype",
    "finetune_sequence_classifier",
    "fit_glob_centroids",
    "pretrain_protein_encoder",
    "pretrain_read_encoder",
    "train_genome_transformer",
]


@pytest.mark.parametrize("name", RECIPES)
def test_every_number_of_a_recipe_has_a_range_that_its_defaults_lie_in(name):
    left = [recipe(name).RecipeConfig]
    while left:
        config = left.pop()
        kinds = typing.get_type_hints(config)
        for each in dataclasses.fields(config):
            parts = {kinds[each.name], *typing.get_args(kinds[each.name])}
            left += [part for part in parts if isinstance(part, type) and issubclass(part, Config)]
            if parts & {int, float}:
                assert isinstance(config.ranges[each.name], Range), each.name
            if each.name in config.ranges and each.default not in (None, dataclasses.MISSING):
                defaults = each.default if isinstance(each.default, tuple) else (each.default,)
                assert all(default in config.ranges[each.name] for default in defaults), each.name


@pytest.mark.parametrize(
    ("allowed", "inside", "outside", "text"),
    [
        (Range(1), (1, 1e9), (0, -1, float("nan")), "at least 1"),
        (Range(0, is_open=True), (1e-9,), (0, -1e-9), "above 0"),
        (Range(0, 1), (0, 1), (-0.1, 1.1), "at least 0 and at most 1"),
    ],
)
def test_ranges(allowed, inside, outside, text):
    assert all(value in allowed for value in inside) and not any(value in allowed for value in outside)
    assert str(allowed) == text


@pytest.mark.parametrize("number", ["1e999", "-1E999", "1.5e+400"])
def test_a_number_beyond_floats_is_refused(tmp_path, number):
    (tmp_path / "c.yaml").write_text(f"sizes: {{hidden_size: {number}}}\n")
    with pytest.raises(InputError, match=rf"the number {re.escape(number)} is too large"):
        read_yaml(tmp_path / "c.yaml")


def test_numbers_with_an_exponent_need_no_point(tmp_path):
    (tmp_path / "c.yaml").write_text("n: 1e-3\nlist: [1e5, -2E+3, 1.5e2]\nword: 1e\nother: e5\n")
    values = read_yaml(tmp_path / "c.yaml")
    assert values == {"n": 1e-3, "list": [1e5, -2e3, 150.0], "word": "1e", "other": "e5"}
