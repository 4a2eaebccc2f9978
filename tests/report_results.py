"""Made-up results of a benchmark, and a reader of the page that is made of them."""

import json
from html.parser import HTMLParser

import numpy as np
import pandas as pd

SCRIPT = "<script>alert(1)</script>"
AGENTS = ("random", "tpe", SCRIPT, "own $x$ & co")
SLOW = "gp-ei"
KNOWN, UNKNOWN, WORKERS = (
    ("BBO-Branin-2d-v0", '{"perturb": true}'),
    ("BBO-Repellers-6d-v0", "{}"),
    ("BBO-Repellers-6d-v0", '{"workers": 2}'),
)
ERROR = "ValueError: </script><img src=x onerror=alert(2)>"
BUDGET, SEEDS = 30, 6
RECORD = {
    "command": "bbo benchmark --agents random tpe",
    "started": "2026-01-31T12:34:56+00:00",
    "finished": None,
    "python": "3.11.9",
    "platform": "Linux",
    "processor": "<b>fast</b>",
    "cores": 2,
    "package": "0.1.0",
    "versions": {"torch": "2.13.0", "smac": None},
    "left_out": [{"agent": "smac", "task": KNOWN[0], "reason": "smac is <not> installed"}],
}


def run(agent, task, seed, rng, budget=BUDGET):
    """A run of made-up values; which optimisers are the better ones is known."""
    strength = (*AGENTS, SLOW).index(agent)
    y = 2.0 + seed + rng.exponential(0.5**strength, budget) + 1.0 / np.arange(1, budget + 1)
    best = np.minimum.accumulate(y)
    wait = 2 if "workers" in task[1] else 1
    finished = np.arange(budget) // wait + 1.0
    return pd.DataFrame(
        {
            "agent": agent,
            "version": "1",
            "task": task[0],
            "arguments": task[1],
            "budget": budget,
            "seed": seed,
            "t": np.arange(1, budget + 1),
            "asked": finished - 1.0,
            "finished": finished,
            "y": y,
            "best": best,
            "regret": best - 2.0 - seed if task == KNOWN else np.nan,
            "reference": 20.0,
            "seconds": rng.uniform(0.001, 0.002, budget),
            "batch": 1,
            "error": None,
        }
    )


def failed(rows, t):
    """A run that ends with an error after t - 1 evaluations."""
    last = rows.iloc[[t - 1]].assign(error=ERROR)
    last[["y", "best", "regret", "asked", "finished", "seconds"]] = np.nan
    return pd.concat([rows.iloc[: t - 1], last])


def made_up(agents=AGENTS, tasks=(KNOWN, UNKNOWN, WORKERS), seeds=SEEDS):
    rng = np.random.default_rng(0)
    parts = [
        run(agent, task, seed, rng)
        for agent in agents
        for task in tasks
        for seed in range(2 if agent == SLOW else seeds)
    ]
    return pd.concat(parts, ignore_index=True)


class Page(HTMLParser):
    """Reads a page; fails where an element is not closed, or another one is."""

    VOID = frozenset({"meta", "link", "img", "br", "input", "hr"})

    def __init__(self, path):
        super().__init__()
        self.open, self.elements, self.tables, self.texts = [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append({"caption": "", "rows": [], "bold": []})
        elif tag == "tr":
            self.tables[-1]["rows"].append([])
        elif tag in ("td", "th"):
            self.tables[-1]["rows"][-1].append("")
        elif tag == "b" and self.tables:
            self.tables[-1]["bold"].append((len(self.tables[-1]["rows"]) - 2, self._column()))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.texts.append(data)
        if "caption" in self.open:
            self.tables[-1]["caption"] += data
        elif ("td" in self.open or "th" in self.open) and "small" not in self.open:
            self.tables[-1]["rows"][-1][-1] += data

    def _column(self):
        return len(self.tables[-1]["rows"][-1]) - 1

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def table(self, caption, number=0):
        """Rows by their heads; a row is a dict by heading."""
        headings, *rows = self._cells(caption, number)
        return {row[0]: dict(zip(headings, row, strict=True)) for row in rows}

    def bold(self, caption, number=0):
        """Which cells of a table are bold, as pairs of the row's head and the heading."""
        headings, *rows = self._cells(caption, number)
        found = self._found(caption, number)["bold"]
        return {(rows[row][0], headings[column]) for row, column in found}

    def _cells(self, caption, number):
        return [[cell.strip() for cell in row] for row in self._found(caption, number)["rows"]]

    def _found(self, caption, number):
        return [table for table in self.tables if table["caption"].startswith(caption)][number]


def plots_of(page):
    text = page.read_text(encoding="utf-8")
    start = '<script type="application/json" id="plots">'
    return json.loads(text.split(start)[1].split("</script>")[0])
