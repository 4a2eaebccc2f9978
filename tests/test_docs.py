"""What README and docs say to type: snippets of Python run, command lines are understood."""

import functools
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import torch

from evaluation import cli

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = ("list", "benchmark", "report", "paper", "score", "minimize", "recommend", "train_rl")
MAKERS = ("train", "search")


def snippets(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


def command_lines():
    """Those in blocks of their own, without their comments, and those within sentences."""
    found = {}
    for page in PAGES:
        text = page.read_text()
        lines = re.findall(r"^    (bbo .*?)(?:  +#.*)?$", text, re.MULTILINE)
        lines += re.findall(r"`(bbo [a-z-]+ [^`]*)`", text)
        found |= {line: page.name for line in lines if "--help" not in line and "NAME" not in line}
    return sorted(found)


@pytest.mark.parametrize("snippet", snippets(PAGES[0]))
def test_snippets_of_the_readme_run(snippet):
    names = {}
    exec(compile(snippet, "README.md", "exec"), names)
    if "minimize" in names:
        return
    last = names["observation"]
    assert torch.as_tensor(last.o).eq(1).all()
    assert torch.as_tensor(last.y).isfinite().all()


def test_snippets_of_the_page_about_a_function_of_ones_own_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for snippet in snippets(ROOT / "docs" / "minimize.md"):
        exec(compile(snippet, "minimize.md", "exec"), {})
    assert (tmp_path / "search.png").stat().st_size > 1000


def test_snippets_of_the_page_about_the_benchmark_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for snippet in snippets(ROOT / "docs" / "benchmark.md"):
        exec(compile(snippet, "benchmark.md", "exec"), names)
    assert set(names["frame"]["agent"]) == {"Spiral", "random", "lstm-oi"}
    shown = capsys.readouterr().out
    mean = names["frame"].query("agent == 'Spiral' and t == 10")["best"].mean()
    assert f"{mean:.4f}"[:6] in shown


def test_no_other_page_has_snippets():
    """Whoever writes one adds a test that runs it."""
    with_tests = {"README.md", "minimize.md", "benchmark.md"}
    assert {page.name for page in PAGES if snippets(page)} == with_tests


@pytest.fixture
def understood(monkeypatch):
    """Whether a command line is understood; nothing of what it asks for is done."""
    called = []

    def stub(function):
        return functools.wraps(function)(lambda *_, **arguments: called.append(arguments))

    for name in COMMANDS:
        monkeypatch.setattr(cli, f"{name}_command", stub(getattr(cli, f"{name}_command")))
    for name in MAKERS:
        make = getattr(cli, f"{name}_command")
        monkeypatch.setattr(cli, f"{name}_command", lambda words, make=make: stub(make(words)))

    def understood(line):
        called.clear()
        try:
            cli.main(shlex.split(line)[1:])
        except SystemExit:
            return False
        return len(called) == 1

    return understood


@pytest.mark.parametrize("line", command_lines())
def test_command_lines_are_understood(line, understood):
    assert understood(line)


@pytest.mark.parametrize("line", ["bbo minimise", "bbo benchmark --agent tpe --budgets 3"])
def test_other_command_lines_are_not_understood(line, understood):
    assert not understood(line)


def test_targets_of_make_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = re.findall(r"(?:^    |`)make ([a-z-]+)", page.read_text(), re.MULTILINE)
        assert set(named) <= targets, page.name


def test_extras_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for page in PAGES:
        named = re.findall(r"bbo-envs\[([a-z,-]+)\]", page.read_text())
        extras = {extra for group in named for extra in group.split(",")}
        assert extras <= project["optional-dependencies"].keys(), page.name
