"""``bbo minimize``: programs, their failures, and journals of searches that were killed."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from consoles import printed

from agents import AskTell, SavedOptimizerError, recommend
from bbo_envs import ObjectiveError, Space, UnknownNameError
from evaluation import programs
from evaluation.cli import main
from evaluation.programs import Program, ProgramError, minimize_program, space_of_file

SPACE = Space({"a": (0.0, 1.0), "n": (1, 8)})
PROGRAM = """
import sys, time
from pathlib import Path
a, n, log = float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
with log.open("a") as file:
    file.write(f"{a!r} {n}\\n")
time.sleep(float(sys.argv[4]))
print("some words")
print((a - 0.3) ** 2 + abs(n - 3))
"""


def wait_for(condition, process=None):
    """Waits until a condition holds, which must be soon, and while a process runs."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None
        time.sleep(0.02)


def lines_of(path):
    """The whole lines of a file that somebody is writing."""
    text = path.read_text() if path.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()


@contextmanager
def started(words, **arguments):
    """A process of a group of its own, none of which is left behind."""
    process = subprocess.Popen(words, start_new_session=True, **arguments)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def program(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    return f"{sys.executable} {tmp_path / 'program.py'} {{a}} {{n}} {tmp_path / 'runs.txt'} 0"


def value(x):
    return (x["a"] - 0.3) ** 2 + abs(x["n"] - 3)


def search(command, journal, **arguments):
    settings = {"budget": 6, "workers": 1, "agent": "universal", "seed": 0, "maximised": False}
    return minimize_program(
        Program(command, SPACE), SPACE, journal, console=printed(), **settings | arguments
    )


def test_a_program_is_run_at_the_points_of_asking_and_telling(program, tmp_path):
    result = search(program, tmp_path / "journal.jsonl")
    optimizer = AskTell(SPACE, 6)
    for trial in result.history:
        x = optimizer.ask()
        assert (trial.x, trial.y) == (x, value(x))
        optimizer.tell(x, trial.y)
    assert len(result.history) == 6


@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_that_is_killed_goes_on_and_repeats_only_what_was_out(tmp_path, workers):
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "space.json").write_text('{"a": [0.0, 1.0], "n": [1, 8]}')
    runs, journal = tmp_path / "runs.txt", tmp_path / "journal.jsonl"
    command = f"{sys.executable} {tmp_path / 'program.py'} {{a}} {{n}} {runs} 0.4"
    words = ["-m", "evaluation.cli", "minimize", "--space", "space.json", "--command", command]
    words += ["--budget", "8", "--workers", str(workers), "--journal", str(journal)]
    with started([sys.executable, *words], cwd=tmp_path) as first:
        wait_for(lambda: sum('"tell"' in line for line in lines_of(journal)) >= 3, first)
    events = [json.loads(line) for line in lines_of(journal)]
    told = sum("tell" in event for event in events)
    out = sum("ask" in event for event in events) - told
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert f"has {told} evaluations; going on" in done.stdout
    assert "The best of 8" in done.stdout
    made = runs.read_text().splitlines()
    assert len(set(made)) == 8
    assert 8 <= len(made) <= 8 + out <= 8 + workers


@pytest.mark.parametrize(
    ("workers", "number", "status"),
    [(1, signal.SIGINT, 130), (2, signal.SIGINT, 130), (2, signal.SIGTERM, 143)],
)
def test_a_search_that_is_stopped_ends_its_programs_and_goes_on(tmp_path, workers, number, status):
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "space.json").write_text('{"a": [0.0, 1.0], "n": [1, 8]}')
    runs, journal = tmp_path / "runs.txt", tmp_path / "journal.jsonl"
    words = [sys.executable, "-m", "evaluation.cli", "minimize", "--space", "space.json"]
    words += ["--workers", str(workers), "--journal", str(journal), "--budget", "3", "--command"]
    program = f"{sys.executable} {tmp_path / 'program.py'} {{a}} {{n}} {runs}"
    # Tests that run in the background ignore SIGINT, and what they start inherits that.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    whole = [*words, f"{program} 600"]
    with started(whole, cwd=tmp_path, stdout=subprocess.PIPE, text=True, **heard) as process:
        wait_for(lambda: len(lines_of(runs)) == workers, process)
        process.send_signal(number)
        shown, _ = process.communicate(timeout=120)
    assert process.returncode == status
    assert ("the same command goes on" in shown) == (number == signal.SIGINT)
    running = psutil.process_iter(["cmdline"])
    assert not any(str(runs) in (each.info["cmdline"] or []) for each in running)
    assert '"tell"' not in journal.read_text()
    # As if the programs had become fast: the journal is that of another command, to begin with.
    journal.write_text(journal.read_text().replace('"600"', '"0"'))
    done = subprocess.run(
        [*words, f"{program} 0"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert "The best of 3" in done.stdout
    assert len(set(runs.read_text().splitlines())) == 3


def test_a_signal_that_is_ignored_stays_so(program, tmp_path, monkeypatch):
    """As under nohup: the search survives its terminal."""
    run, handlers = programs.run, []

    def spy(*arguments, **more):
        handlers.append(signal.getsignal(signal.SIGHUP))
        return run(*arguments, **more)

    monkeypatch.setattr(programs, "run", spy)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        search(program, tmp_path / "journal.jsonl")
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        search(program, tmp_path / "journal.jsonl")
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
    assert handlers[0] == signal.SIG_IGN
    assert handlers[1] not in (signal.SIG_IGN, signal.SIG_DFL)


@pytest.mark.filterwarnings("ignore:the evaluation of")
def test_a_search_whose_first_program_fails_goes_on(program, tmp_path):
    failing = f"{sys.executable} -c 'import sys; n = {{n}}; print({{a}} if n != 1 else 1 / 0)'"
    with pytest.warns(UserWarning, match="failed"):
        # With this seed the first point is one of those that fail.
        result = search(failing, tmp_path / "journal.jsonl", agent="sobol", budget=24, seed=7)
    assert {trial.x["n"] == 1 for trial in result.history if trial.failed} == {True}
    assert result.history[0].failed
    never = f"{sys.executable} -c '{{a}} / ({{n}} - {{n}})'"
    for reason in ("ZeroDivisionError", "why has not been kept"):  # a journal holds no reasons
        with pytest.raises(ObjectiveError, match=f"none of the 3 .*{reason}"):
            search(never, tmp_path / "never.jsonl", budget=3)
    assert (tmp_path / "never.jsonl").read_text().count('"tell"') == 3


def test_one_search_at_a_time_writes_a_journal(program, tmp_path):
    journal = tmp_path / "journal.jsonl"
    search(program, journal)
    with journal.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(SavedOptimizerError, match="another process is writing"):
            search(program, journal, budget=9)
    assert len(search(program, journal, budget=9).history) == 9


def test_doubled_braces_are_braces(tmp_path):
    command = f"""{sys.executable} -c 'print({{{{"a": {{a}}}}}}["a"] + {{n}})'"""
    assert Program(command, SPACE)({"a": 0.5, "n": 3}) == 3.5


def test_a_budget_may_grow(program, tmp_path):
    journal = tmp_path / "journal.jsonl"
    first = search(program, journal)
    more = search(program, journal, budget=9)
    assert [trial.x for trial in more.history[:6]] == [trial.x for trial in first.history]
    assert len(more.history) == 9
    assert len((tmp_path / "runs.txt").read_text().splitlines()) == 9
    assert len(search(program, journal, budget=3).history) == 9


def test_classical_optimisers_take_a_larger_budget_too(program, tmp_path):
    """The library of this one asks other points when it is told another budget."""
    journal = tmp_path / "journal.jsonl"
    first = search(program, journal, agent="smac")
    more = search(program, journal, agent="smac", budget=8, workers=2)
    assert [trial.x for trial in more.history[:6]] == [trial.x for trial in first.history]
    assert len(more.history) == 8


def test_a_name_that_is_mistyped_leaves_no_search_behind(program, tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'universal'"):
        search(program, tmp_path / "journal.jsonl", agent="univresal")
    assert not (tmp_path / "journal.jsonl").exists()
    assert len(search(program, tmp_path / "journal.jsonl").history) == 6


def test_a_journal_is_read_when_it_is_locked(program, tmp_path, monkeypatch):
    """A search that another process makes in between would be made twice."""
    journal, locked = tmp_path / "journal.jsonl", []

    def lock(path, file):
        monkeypatch.setattr(programs, "_lock", lambda *_: None)
        if not locked:
            locked.append(path)
            search(program, journal)

    monkeypatch.setattr(programs, "_lock", lock)
    assert len(search(program, journal).history) == 6
    assert locked == [journal]
    assert len((tmp_path / "runs.txt").read_text().splitlines()) == 6


def test_a_line_that_was_cut_off_is_dropped(program, tmp_path):
    journal = tmp_path / "journal.jsonl"
    whole = search(program, journal)
    lines = journal.read_text().splitlines(keepends=True)
    (tmp_path / "runs.txt").unlink()
    journal.write_text("".join(lines[:-1]) + lines[-1][:-10])  # the last value is not there yet
    again = search(program, journal)
    assert [trial.y for trial in again.history] == [trial.y for trial in whole.history]
    assert len((tmp_path / "runs.txt").read_text().splitlines()) == 1
    assert journal.read_text() == "".join(lines)


def test_what_is_done_is_not_done_again(program, tmp_path):
    search(program, tmp_path / "journal.jsonl")
    (tmp_path / "runs.txt").unlink()
    assert len(search(program, tmp_path / "journal.jsonl").history) == 6
    assert not (tmp_path / "runs.txt").exists()


def test_journals_of_other_searches_and_damaged_ones_are_refused(program, tmp_path):
    journal = tmp_path / "journal.jsonl"
    search(program, journal)
    with pytest.raises(SavedOptimizerError, match="seed=0, not 1; go on with the same"):
        search(program, journal, seed=1)
    text = journal.read_text()
    journal.write_text(text.replace('{"ask"', '"ask"', 1))
    with pytest.raises(SavedOptimizerError, match="line 2 of .* is damaged"):
        search(program, journal)


@pytest.mark.parametrize("text", ['{"x": [0.0, 1.0]}', "one\ntwo", '{"format": 1}\n{"rest'])
def test_files_that_are_no_journals_stay_as_they_are(text, program, tmp_path):
    journal = tmp_path / "notes.txt"
    journal.write_text(text)
    with pytest.raises(SavedOptimizerError):
        search(program, journal)
    assert journal.read_text() == text


@pytest.mark.parametrize("text", ["", '{"for', '{"format": 1, "spa'])
def test_a_journal_that_was_cut_off_at_once_begins_anew(text, program, tmp_path):
    journal = tmp_path / "journal.jsonl"
    journal.write_text(text)
    assert len(search(program, journal).history) == 6
    assert len(search(program, journal).history) == 6


def test_the_automatic_agent_is_that_of_the_journal(program, tmp_path):
    """Whatever would be recommended for another budget."""
    journal = tmp_path / "journal.jsonl"
    search(program, journal, agent="auto", budget=3)
    chosen = json.loads(journal.read_text().splitlines()[0])["agent"]
    assert chosen == recommend(SPACE, 3).agent
    journal.write_text(journal.read_text().replace(f'"{chosen}"', '"lstm-oi"'))
    assert len(search(program, journal, agent="auto", budget=6).history) == 6


def test_maximising(program, tmp_path):
    result = search(program, tmp_path / "journal.jsonl", maximised=True)
    assert result.y == max(trial.y for trial in result.history) == value(result.x)


def python(code):
    return f'{sys.executable} -c "{code}" {{a}} {{n}}'


@pytest.mark.parametrize(
    ("code", "timeout", "reason"),
    [
        ("raise SystemExit(3)", None, "it ended with status 3"),
        ("print('none')", None, "its last line is no number: 'none'"),
        ("pass", None, "its last line is no number: ''"),
        ("import time; time.sleep(60)", 0.5, "it took longer than 0.5 seconds"),
    ],
)
def test_programs_that_fail_say_how(code, timeout, reason):
    with pytest.raises(ProgramError, match=reason):
        Program(python(code), SPACE, timeout=timeout)({"a": 0.5, "n": 3})


@pytest.mark.parametrize("how", ["time-out", "stop"])
def test_what_a_program_has_started_ends_with_it(how, tmp_path):
    script, known = tmp_path / "program.sh", tmp_path / "child"
    script.write_text(f"sleep 600 &\necho $! > {known}\nwait\n")
    timeout, reason = (5.0, "longer than 5.0 seconds") if how == "time-out" else (None, "stopped")
    program = Program(f"sh {script} {{a}} {{n}}", SPACE, timeout=timeout)
    with ThreadPoolExecutor(1) as pool:
        evaluation = pool.submit(program, {"a": 0.5, "n": 3})
        try:
            wait_for(lambda: lines_of(known))
        finally:
            if how == "stop":
                program.stop()
        with pytest.raises(ProgramError, match=reason):
            evaluation.result()
    wait_for(lambda: not runs(int(known.read_text())))  # what is killed takes a moment


def runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_goes_on_in_the_background_is_not_waited_for(tmp_path):
    """It holds the output open, which has been written."""
    script = tmp_path / "program.sh"
    script.write_text("sleep 61 &\necho 1.5\n")
    before = time.monotonic()
    assert Program(f"sh {script} {{a}} {{n}}", SPACE, timeout=50)({"a": 0.5, "n": 3}) == 1.5
    assert Program(f"sh {script} {{a}} {{n}}", SPACE)({"a": 0.5, "n": 3}) == 1.5
    assert time.monotonic() - before < 60


def test_much_output_and_long_time_outs_do_no_harm():
    code = "print('x' * 10 ** 7); print(2.5)"
    assert Program(python(code), SPACE, timeout=1e10)({"a": 0.5, "n": 3}) == 2.5


def test_a_time_out_does_not_wait_for_a_daemon(tmp_path):
    """It is of a group of its own, and lives on."""
    script = tmp_path / "program.sh"
    script.write_text("setsid sleep 61 &\nsleep 61\n")
    before = time.monotonic()
    with pytest.raises(ProgramError, match="it took longer than 2.0 seconds"):
        Program(f"sh {script} {{a}} {{n}}", SPACE, timeout=2.0)({"a": 0.5, "n": 3})
    assert time.monotonic() - before < 60


def test_bytes_of_no_encoding_and_input_that_is_wanted_do_no_harm(tmp_path):
    script = tmp_path / "program.sh"
    script.write_text("read word\nprintf '\\377\\n' >&2\nprintf '\\377\\n'\necho 1.5\n")
    assert Program(f"sh {script} {{a}} {{n}}", SPACE)({"a": 0.5, "n": 3}) == 1.5


def test_parameters_of_any_name_and_choices_like_markup(tmp_path, capsys):
    space, journal = tmp_path / "space.json", tmp_path / "journal.jsonl"
    space.write_text('{"opt.lr": [0.1, 0.9], "0": ["[relu]", "[/tanh]"], "parameters": [1, 8]}')
    words = ["--space", str(space), "--journal", str(journal), "--budget", "4"]
    command = f"{sys.executable} -c 'print({{opt.lr:.6f}} + {{parameters}})' {{0}}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evaluation.cli._console", console := printed())
        main(["minimize", "--command", command, *words])
    assert "0=[relu]" in console.file.getvalue()
    assert len(journal.read_text().splitlines()) == 9
    assert capsys.readouterr().err == ""


def test_a_program_that_is_not_there_is_named():
    with pytest.raises(ProgramError, match="'no-such-program' cannot be run"):
        Program("no-such-program {a} {n}", SPACE)({"a": 0.5, "n": 3})


def test_programs_are_tried_again(tmp_path):
    mark = tmp_path / "mark"
    code = f"import pathlib as p; f = p.Path('{mark}'); b = f.exists(); f.touch(); print(2 / b)"
    with pytest.raises(ProgramError, match="status 1: ZeroDivisionError"):
        Program(python(code), SPACE)({"a": 0.5, "n": 3})
    mark.unlink()
    assert Program(python(code), SPACE, retries=1)({"a": 0.5, "n": 3}) == 2.0


def test_no_shell_sees_the_values(tmp_path):
    space = Space({"word": ["$(touch ran)", "; touch ran"]})
    program = Program(f"{sys.executable} -c 'import sys; print(len(sys.argv[1]))' {{word}}", space)
    assert program({"word": "$(touch ran)"}) == 12
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("command", "error", "message"),
    [
        ("run {a} {m}", UnknownNameError, "parameter in the command 'm'"),
        ("run {a}", ValueError, "does not have {n}; add it"),
    ],
)
def test_commands_have_the_parameters_of_the_space(command, error, message):
    with pytest.raises(error, match=message):
        Program(command, SPACE)


def test_spaces_of_files(tmp_path):
    path = tmp_path / "space.json"
    path.write_text('{"lr": [1e-5, 0.1, "log"], "n": [1, 8], "m": [0.0, 1], "o": ["x", "y", 3]}')
    expected = {"lr": (1e-5, 0.1, "log"), "n": (1, 8), "m": (0.0, 1.0), "o": ["x", "y", 3]}
    assert space_of_file(path) == Space(expected)
    path.write_text(json.dumps(SPACE.to_json()), encoding="utf-8-sig")
    assert space_of_file(path) == SPACE
    for text in ("[1]", "{"):
        path.write_text(text)
        with pytest.raises(ValueError, match="cannot be read .*must be a JSON object"):
            space_of_file(path)


def test_mistakes_are_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as raised:
        main(["minimize", "--space", str(tmp_path / "none.json"), "--command", "run"])
    assert raised.value.code == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:the evaluation of")
@pytest.mark.parametrize(
    ("command", "seed", "message"),
    [("false {a} {n}", 0, "it ended with status 1"), ("true {a} {n}", 5, "seed=0, not 5")],
)
def test_searches_that_cannot_begin_say_so_in_one_line(command, seed, message, tmp_path, capsys):
    space, journal = tmp_path / "space.json", tmp_path / "journal.jsonl"
    space.write_text(json.dumps(SPACE.to_json()))
    if seed:
        with pytest.raises(ObjectiveError, match="is no number"):
            search(command, journal)
    words = ["--space", str(space), "--journal", str(journal), "--seed", str(seed), "--budget", "6"]
    with pytest.raises(SystemExit) as raised:
        main(["minimize", "--command", command, *words])
    assert raised.value.code == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert len(shown.strip().splitlines()) == 1
