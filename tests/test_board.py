"""The live table: what it shows of a search, in a terminal and elsewhere."""

import io
import math
import threading

import pytest
from consoles import printed
from rich.console import Console

from agents.optimize import Trial
from evaluation.board import Board


def trials(values):
    return [
        Trial({"lr": 0.1 * n, "opt": "adam"}, y, math.isnan(y), 1.5, "")
        for n, y in enumerate(values)
    ]


def terminal(width=80):
    file = io.StringIO()
    return Console(file=file, width=width, height=24, force_terminal=True, color_system=None)


def shown(board):
    board.console.print(board)
    return board.console.file.getvalue()


def lines(board):
    """The rows of the table as words."""
    shown = printed()
    shown.print(board)
    return [line.split() for line in shown.file.getvalue().splitlines() if line.strip()]


@pytest.mark.parametrize(("maximised", "best"), [(False, "2"), (True, "3")])
def test_the_best_is_marked(maximised, best):
    board = Board(["lr", "opt"], trials([5.0, 1.0, 9.0, math.nan]), 10, maximised, terminal())
    rows = {line[0]: line[1:] for line in lines(board) if line[0].isdigit() and "of" not in line}
    assert rows[best][0] == "best"
    assert [row for row in rows if rows[row][0] == "best"] == [best]
    assert rows["1"] == ["5", "1.5", "0", "adam"]
    assert rows["4"][0] == "failed"


def test_of_many_the_last_are_shown_and_the_best():
    board = Board(["lr", "opt"], trials([3.0, -7.0, *range(30)]), 50, False, terminal())
    numbers = [line[0] for line in lines(board) if line[0].isdigit()]
    # The last line counts: "32 of 50 evaluations".
    assert numbers == ["2", *map(str, range(25, 33)), "32"]


@pytest.mark.parametrize(("width", "more"), [(90, "and 8 more"), (80, "and 9 more"), (38, None)])
def test_values_are_whole_however_many_parameters_there_are(width, more):
    names = [f"learning_rate_{n}" for n in range(10)]
    x = dict.fromkeys(names, 1.234567e-5)
    board = Board(names, [Trial(x, -0.123456789, False, 1.5, "")] * 2, 9, False, terminal(width))
    text = shown(board)
    assert text.count("-0.123457") == 2
    assert "1 best" in text
    assert text.count("1.235e-05") == 2 * (10 - int(more.split()[1]) if more else 0)
    assert (more or "value") in text
    assert max(map(len, text.splitlines())) <= width


def test_a_long_choice_is_cut_off():
    x = {"lr": 0.5, "model": "resnet50-" + "x" * 80}
    text = shown(Board(["lr", "model"], [Trial(x, 2.0, False, 1.5, "")], 9, False, terminal()))
    assert "resnet50-xxxxxxxxxxxxxx…" in text
    assert max(map(len, text.splitlines())) <= 80


def test_no_more_programs_are_shown_than_there_are_lines_for():
    board = Board(["lr"], trials([*range(12)]), 50, False, terminal())
    board._running = {n: ({"lr": 0.5}, 0.0) for n in range(30)}
    text = shown(board)
    assert len(text.rstrip("\n").splitlines()) <= 24
    running = text.count("running")
    assert running > 5
    assert f"and {30 - running} more" in text
    assert "12 of 50 evaluations" in text


def test_what_runs_is_shown_until_it_has_ended():
    board = Board(["lr"], [], 4, False, terminal())
    started, go_on = threading.Event(), threading.Event()

    def evaluation(x):
        started.set()
        assert go_on.wait(20)
        raise ValueError("it fails")

    def evaluate():
        with pytest.raises(ValueError, match="it fails"):
            board.followed(evaluation)({"lr": 0.25})

    thread = threading.Thread(target=evaluate)
    thread.start()
    assert started.wait(20)
    assert [line[0] for line in lines(board)].count("running") == 1
    assert any(line[-1] == "0.25" for line in lines(board))
    go_on.set()
    thread.join()
    assert not any("running" in line for line in lines(board))


def test_a_terminal_shows_a_table_and_a_file_a_line_per_evaluation():
    for console in (terminal(), printed()):
        board = Board(["lr", "opt"], [], 12, False, console)
        with board.shown():
            for trial in trials([5.0, math.nan]):
                board.ended(trial)
        text = console.file.getvalue()
        if console.is_terminal:
            assert "2 of 12 evaluations" in text
        else:
            first, second = text.splitlines()
            assert first.split() == ["1/12", "5", "1.5", "s", "lr=0,", "opt=adam"]
            assert second.split()[:2] == ["2/12", "failed"]
