"""``bbo minimize``: a program that is run once per evaluation, and a journal to go on from."""

import json
import os
import shlex
import signal
import string
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from rich.console import Console

from agents.asktell import AskTell
from agents.choice import AUTOMATIC, automatic
from agents.make import CLASSICAL, check_name
from agents.optimize import Result, run, trials_of
from agents.saved import SavedOptimizerError
from bbo_envs import Space
from bbo_envs.checks import number_between
from bbo_envs.errors import ObjectiveError, UnknownNameError
from evaluation.board import Board

# What every journal begins with.
_BEGINNING = b'{"format": '
# How many bytes at the end of a program's output are looked at.
_TAIL = 2**20

# Files are locked on Unix only.
fcntl: ModuleType | None
try:
    import fcntl
except ImportError:
    fcntl = None


class _WholeNames(string.Formatter):
    """Fills in ``{opt.lr}`` by the parameter of that name."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        return kwargs[field_name], field_name


class ProgramError(ObjectiveError):
    """A program ended without a value, on every attempt."""


class Program:
    """A command as a function of its parameters.

    The command is split into words as a shell would, and ``{name}`` is replaced within words: no
    shell sees the values. Braces of other meanings are doubled: ``{{`` and ``}}``. The last line
    that the program prints is the value.

    Args:
        command: Such as ``python train.py --lr {lr} --layers {layers}``.
        space: Its parameters, every one of which the command has.
        timeout: Seconds after which an attempt is given up; None for never.
        retries: Further attempts where one fails.

    Raises:
        UnknownNameError: If the command has a name that is no parameter.
        ValueError: If it lacks a parameter, or a number is out of range.

    Example:
        >>> Program("echo 0{x}", Space({"x": (0, 9)}))({"x": 7})
        7.0
    """

    def __init__(
        self, command: str, space: Space, timeout: float | None = None, retries: int = 0
    ) -> None:
        self.words = shlex.split(command)
        self.timeout = None if timeout is None else number_between("timeout", timeout, 0.0)
        self.attempts = 1 + int(number_between("retries", retries, 0))
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        named = {
            name
            for word in self.words
            for _, name, _, _ in string.Formatter().parse(word)
            if name is not None
        }
        for name in sorted(named):
            if name not in space.names:
                raise UnknownNameError("parameter in the command", name, space.names)
        missing = [name for name in space.names if name not in named]
        if missing:
            raise ValueError(
                f"the command {command!r} does not have {{{missing[0]}}}; add it, or take the "
                "parameter out of the space"
            )

    def __call__(self, x: dict[str, Any]) -> float:
        """Runs the program; a value that is no finite number is returned as it is.

        Raises:
            ProgramError: If it fails, prints no number, or takes too long, on every attempt.
        """
        words = [_WholeNames().vformat(word, (), x) for word in self.words]
        reason = ""
        for _ in range(self.attempts):
            try:
                status, output, errors = self._run(words)
            except subprocess.TimeoutExpired:
                reason = f"it took longer than {self.timeout} seconds"
                continue
            except OSError as error:
                raise ProgramError(f"{words[0]!r} cannot be run ({error})") from error
            if self._stopped.is_set():
                raise ProgramError(f"{shlex.join(words)} was stopped")
            if status:
                reason = f"it ended with status {status}: {_last_line(errors)}"
                continue
            try:
                return float(_last_line(output))
            except ValueError:
                reason = f"its last line is no number: {_last_line(output)!r}"
        raise ProgramError(f"{shlex.join(words)}: {reason}")

    def stop(self) -> None:
        """Ends all programs that are running, in whichever threads, and starts no others."""
        self._stopped.set()
        with self._lock:
            for process in self._running:
                _kill(process)

    def _run(self, words: list[str]) -> tuple[int, str, str]:
        """Status and output of a program; where it is given up, what it has started ends too.

        The output goes to files: it may be large, and what the program has started may hold it open
        when the program itself has long ended.
        """
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            with self._lock:
                if self._stopped.is_set():
                    raise ProgramError(f"{shlex.join(words)} was not started")
                process = subprocess.Popen(  # noqa: S603 (what the user has asked for)
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    start_new_session=True,
                )
                self._running.add(process)
            try:
                status = process.wait(self.timeout)
            except BaseException:
                _kill(process)
                process.wait()
                raise
            finally:
                with self._lock:
                    self._running.discard(process)
            return status, _tail(output), _tail(errors)


def space_of_file(path: Path) -> Space:
    """A space from a JSON file, where a list of two ends is a range and any other one has choices.

    Raises:
        ValueError: If the file cannot be read, or the space is malformed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "space.json"
        ...     _ = path.write_text('{"lr": [1e-5, 0.1, "log"], "opt": ["adam", "sgd"]}')
        ...     space_of_file(path).names
        ('lr', 'opt')
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(found, dict):
            raise ValueError(f"it holds {type(found).__name__}, not an object")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the space {path} cannot be read ({error}); it must be a JSON object such as "
            '{"lr": [1e-5, 0.1, "log"], "layers": [1, 8], "opt": ["adam", "sgd"]}'
        ) from error
    # What Space.to_json wrote is taken too.
    parameters = found.get("parameters")
    if isinstance(parameters, list) and all(isinstance(each, dict) for each in parameters):
        return Space.from_json(found)
    return Space({name: tuple(p) if _is_range(p) else p for name, p in found.items()})


def _is_range(parameter: Any) -> bool:
    """Whether a list of JSON is a range: two numbers, and perhaps the word log."""
    if not isinstance(parameter, list) or len(parameter) not in (2, 3):
        return False
    numbers = [type(end) in (int, float) for end in parameter[:2]]
    return all(numbers) and (len(parameter) == 2 or parameter[2] == "log")


def minimize_program(
    program: Program,
    space: Space,
    journal: Path,
    *,
    budget: int,
    workers: int,
    agent: str,
    seed: int,
    maximised: bool,
    console: Console,
) -> Result:
    """Searches for the best parameters of a program, or goes on with the search of a journal.

    Every point is in the journal before the program is run on it, and every value as soon as it is
    known: a search that was killed at any moment goes on when it is started again, and runs again
    what was out, and nothing else.

    Args:
        program: What is run.
        space: Its parameters.
        journal: Where it is kept: a JSON object per line.
        budget: Evaluations in all.
        workers: Programs at a time.
        agent: The name of an optimiser; or ``"auto"``: that of the journal, or else the one that is
            recommended.
        seed: Of its randomness.
        maximised: Whether large values are good.
        console: Where to print.

    Raises:
        SavedOptimizerError: If the journal is damaged, or of another search. The budget may be
            another one.
        UnknownNameError: If no optimiser has this name.
    """
    if agent != AUTOMATIC:
        check_name(agent)  # before there is a journal
    with _opened(journal) as (found, note):
        if agent == AUTOMATIC and found:
            agent = str(found[0].get("agent"))
        facts = {
            "format": 1,
            "space": space.to_json(),
            "agent": automatic(agent, space, budget, workers),
            "seed": seed,
            "budget": budget,
            "workers": workers,
            "words": program.words,
            "maximised": maximised,
        }
        if found:
            head, *events = found
            _check_same(journal, head, facts)
            # A classical optimiser asks again what it has asked if it is made as it was.
            told = head if facts["agent"] in CLASSICAL else facts
            state = {**head, "budget": told["budget"], "journal": events}
            optimizer = AskTell.from_state_dict(state, note)
            console.print(
                f"{journal} has {len(optimizer.history)} evaluations; going on.",
                markup=False,
                soft_wrap=True,
            )
        else:
            optimizer = AskTell(space, budget, facts["agent"], seed, workers, note)
            note(facts)

        known = trials_of(optimizer, maximised)
        board = Board(space.names, known, budget, maximised, console)
        try:
            with board.shown(), _terminable():
                return run(
                    board.followed(program),
                    optimizer,
                    budget,
                    workers,
                    "threads",
                    board.ended,
                    progress=False,
                    maximised=maximised,
                    # Or else a search whose first program fails could never go on.
                    first_raises=False,
                )
        except BaseException:  # such as Ctrl-C and SIGTERM, which the programs do not get
            program.stop()
            raise


def _check_same(journal: Path, theirs: dict[str, Any], mine: dict[str, Any]) -> None:
    for key, value in mine.items():
        if key not in ("budget", "workers") and theirs.get(key) != value:
            raise SavedOptimizerError(
                f"{journal} is of a search with {key}={theirs.get(key)!r}, not {value!r}; go on "
                "with the same command, or name another journal"
            )


@contextmanager
def _opened(
    journal: Path,
) -> Iterator[tuple[list[dict[str, Any]], Callable[[dict[str, Any]], None]]]:
    """What a journal holds, and what to call with each event, which is on the disk afterwards."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a+b") as file:
        _lock(journal, file)
        file.seek(0)
        data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        size = len(whole)

        def note(event: dict[str, Any]) -> None:
            nonlocal size
            file.truncate(size)  # without what a kill, or a full disk, has cut off
            size += file.write(json.dumps(event).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

        yield list(_events(journal, data, whole)), note


def _events(journal: Path, data: bytes, whole: bytes) -> Iterator[dict[str, Any]]:
    """The events in the whole lines of a journal's data."""
    if not whole and not data.startswith(_BEGINNING[: len(data)]):
        raise SavedOptimizerError(f"{journal} is no journal of a search; name another file")
    for number, line in enumerate(whole.decode(errors="replace").splitlines(), 1):
        try:
            event = json.loads(line)
            if not isinstance(event, dict):
                raise ValueError("it is no object")
        except ValueError as error:
            raise SavedOptimizerError(
                f"line {number} of {journal} is damaged ({error}); mend it, or name another journal"
            ) from error
        yield event


def _lock(journal: Path, file: IO[bytes]) -> None:
    """Keeps the journal for this process, where files can be locked."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise SavedOptimizerError(
            f"another process is writing {journal}; wait for it, or name another journal"
        ) from error


@contextmanager
def _terminable() -> Iterator[None]:
    """While it lasts, SIGTERM and SIGHUP are exceptions, so that programs end with this process."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    known = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # One that is ignored stays so, such as by nohup.
    numbers = [n for n in known if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Ends a program and, where there are such groups, all that it has started."""
    if not hasattr(os, "killpg"):
        process.kill()
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _tail(file: IO[bytes]) -> str:
    start = max(0, os.fstat(file.fileno()).st_size - _TAIL)
    if hasattr(os, "pread"):  # what goes on in the background writes where this file is
        return os.pread(file.fileno(), _TAIL, start).decode(errors="replace")
    file.seek(start)
    return file.read().decode(errors="replace")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""
