"""The sampler of Optuna, in Optuna's own loop."""

import math
import pickle
from pathlib import Path

import optuna
import pytest

import agents
from agents import AskTell, recommend
from agents.integrations.optuna import BBOSampler
from bbo_envs import UnknownNameError

SPACE = {
    "lr": optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True),
    "layers": optuna.distributions.IntDistribution(1, 8),
    "opt": optuna.distributions.CategoricalDistribution(["adam", "sgd"]),
}


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def loss(lr, layers, opt):
    return abs(math.log10(lr) + 3) + abs(layers - 3) + (opt == "sgd")


def objective(trial):
    return loss(
        trial.suggest_float("lr", 1e-5, 1e-1, log=True),
        trial.suggest_int("layers", 1, 8),
        trial.suggest_categorical("opt", ["adam", "sgd"]),
    )


def study_of(sampler, **arguments):
    return optuna.create_study(sampler=sampler, **arguments)


def test_trials_are_those_of_asking_and_telling():
    study = study_of(BBOSampler(20, seed=4, space=SPACE))
    study.optimize(objective, n_trials=20)
    optimizer = AskTell(SPACE, 20, seed=4)
    for trial in study.trials:
        x = optimizer.ask()
        assert trial.params == x
        optimizer.tell(x, loss(**x))


def test_without_a_space_the_first_trial_shows_it():
    study = study_of(BBOSampler(40))
    study.optimize(objective, n_trials=40)
    assert study.best_params["opt"] == "adam"
    assert abs(study.best_params["layers"] - 3) <= 1
    assert study.best_value < 0.8


def test_it_is_better_than_random_search():
    def found(sampler):
        study = study_of(sampler)
        study.optimize(objective, n_trials=40)
        return study.best_value

    own = [found(BBOSampler(40, seed=seed)) for seed in range(4)]
    random = [found(optuna.samplers.RandomSampler(seed=seed)) for seed in range(4)]
    assert sum(own) < sum(random)


def test_maximising_is_minimising_the_negative():
    least = study_of(BBOSampler(15, space=SPACE))
    least.optimize(objective, n_trials=15)
    most = study_of(BBOSampler(15, space=SPACE), direction="maximize")
    most.optimize(lambda trial: -objective(trial), n_trials=15)
    assert [t.params for t in most.trials] == [t.params for t in least.trials]


def test_threads_share_a_study():
    study = study_of(BBOSampler(24))
    study.optimize(objective, n_trials=24, n_jobs=3)
    assert len(study.trials) == 24
    assert all(t.state == optuna.trial.TrialState.COMPLETE for t in study.trials)
    assert len({tuple(t.params.values()) for t in study.trials}) > 15


def test_pruned_and_failed_trials_are_failed_evaluations():
    def brittle(trial):
        value = objective(trial)
        trial.report(value, 0)
        if trial.number % 4 == 1:
            raise optuna.TrialPruned
        if trial.number % 4 == 2:
            raise OverflowError
        return value

    study = study_of(BBOSampler(20, space=SPACE))
    study.optimize(brittle, n_trials=20, catch=OverflowError)
    states = [t.state.name for t in study.trials[:4]]
    assert states == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    history = study.sampler._optimizer.history
    assert [e.failed for e in history] == [t % 4 in (1, 2) for t in range(19)]


def test_pruners_prune():
    def steps(trial):
        value = objective(trial)
        for step in range(5):
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    study = study_of(BBOSampler(30), pruner=optuna.pruners.MedianPruner(n_startup_trials=3))
    study.optimize(steps, n_trials=30)
    assert any(t.state == optuna.trial.TrialState.PRUNED for t in study.trials)


def test_trials_that_were_enqueued_or_made_by_others_are_known():
    study = study_of(BBOSampler(20, space=SPACE))
    study.enqueue_trial({"lr": 1e-3, "layers": 3, "opt": "adam"})
    study.add_trial(
        optuna.trial.create_trial(
            params={"lr": 1e-2, "layers": 2, "opt": "sgd"}, distributions=SPACE, value=3.0
        )
    )
    study.optimize(objective, n_trials=5)
    assert study.best_params == {"lr": 1e-3, "layers": 3, "opt": "adam"}
    told = [e.x["layers"] for e in study.sampler._optimizer.history]
    assert 3 in told
    assert len(told) == 5  # the last trial is told before the next
    assert study.sampler._optimizer.pending == [study.trials[-1].params]


def test_parameters_that_only_some_trials_have_are_drawn_at_random_with_a_warning():
    def conditional(trial):
        value = objective(trial)
        if trial.params["opt"] == "sgd":
            return value + trial.suggest_float("momentum", 0.0, 1.0)
        return value

    study = study_of(BBOSampler(25))
    with pytest.warns(UserWarning, match="'momentum' is drawn at random"):
        study.optimize(conditional, n_trials=25)
    assert set(study.sampler._search_space) == {"lr", "layers", "opt"}
    assert study.best_value < 2


def test_a_sampler_that_is_copied_goes_on_with_what_the_study_holds():
    study = study_of(BBOSampler(20, space=SPACE))
    study.optimize(objective, n_trials=6)
    study.sampler = pickle.loads(pickle.dumps(study.sampler))  # noqa: S301 (our own)
    study.optimize(objective, n_trials=3)
    assert len(study.sampler._optimizer.history) == 8


def test_the_budget_is_the_studys_whoever_has_made_its_trials():
    study = study_of(BBOSampler(20, space=SPACE))
    study.optimize(objective, n_trials=7)
    study.sampler = BBOSampler(20, space=SPACE)
    study.optimize(objective, n_trials=1)
    assert study.sampler._optimizer._state.made == 8


def test_several_objectives_are_refused():
    study = optuna.create_study(sampler=BBOSampler(space=SPACE), directions=["minimize"] * 2)
    with pytest.raises(ValueError, match="one objective, got 2"):
        study.optimize(lambda trial: (objective(trial), 0.0), n_trials=1)


@pytest.mark.parametrize("agent", ["tpe", "cmaes", "random"])
def test_classical_optimisers_are_told_of_what_they_have_asked_for(agent):
    """The first trial, which shows what the parameters are, is none of theirs."""
    study = optuna.create_study(sampler=BBOSampler(8, agent))
    study.enqueue_trial({"x": 0.5, "y": 0.5})
    study.optimize(lambda t: t.suggest_float("x", 0, 1) + t.suggest_float("y", 0, 1), n_trials=8)
    assert len(study.trials) == 8
    assert len(study.sampler._optimizer.history) < 8


def test_values_are_told_at_the_points_where_they_were_found():
    """Not at those proposed, where a trial has suggested from another range."""
    sampler = BBOSampler(8, space={"x": optuna.distributions.FloatDistribution(0.0, 1.0)})
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: trial.suggest_float("x", 0.0, 0.5), n_trials=8)
    told = {e.x["x"]: e.y for e in sampler._optimizer.history if not e.failed}
    assert all(y == pytest.approx(x) for x, y in told.items())
    assert len(told) >= 7
    assert len(sampler._optimizer.pending) <= 1


def test_a_sampler_begins_anew_in_another_study():
    sampler = BBOSampler(8, space={"x": optuna.distributions.FloatDistribution(0.0, 1.0)})
    for _ in range(2):
        study = optuna.create_study(sampler=sampler)
        study.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=4)
        assert len(sampler._optimizer.history) == 3  # the last is told before the next one
        assert len(sampler._optimizer.pending) == 1


def test_a_study_may_have_the_name_of_another_and_other_parameters():
    sampler = BBOSampler(8)
    for name in ("x", "x", "y"):
        study = optuna.create_study(sampler=sampler, study_name="same")
        study.optimize(lambda trial, name=name: trial.suggest_float(name, 0.0, 1.0), n_trials=5)
        assert len(sampler._optimizer.history) == 4  # the last is told before the next one
        assert len(sampler._optimizer.pending) == 1
        assert sampler._optimizer.space.names == (name,)


@pytest.mark.parametrize(
    "objective",
    [
        lambda trial: trial.suggest_float("x", 0, 10 + trial.number % 2),
        lambda trial: trial.suggest_int("x", 0, 10**6, step=10),
        lambda trial: trial.suggest_float("xyz"[trial.number % 3], 0, 1),
    ],
    ids=["ranges that change", "too many values", "never the same"],
)
def test_where_nothing_can_be_proposed_a_warning_says_so(objective):
    study = optuna.create_study(sampler=BBOSampler(9))
    with pytest.warns(UserWarning, match="'x' is drawn at random: not all trials have it"):
        study.optimize(objective, n_trials=9)
    assert len(study.trials) == 9


def test_what_was_enqueued_is_no_reason_to_warn(recwarn):
    study = optuna.create_study(sampler=BBOSampler(9))
    study.optimize(objective, n_trials=2)
    study.enqueue_trial({"layers": 3})
    study.optimize(objective, n_trials=2)
    assert not [w for w in recwarn if "at random" in str(w.message)]


def test_without_a_seed_every_sampler_differs():
    found = []
    for _ in range(2):
        study = study_of(BBOSampler(20, seed=None))
        study.optimize(objective, n_trials=3)
        found.append([trial.params for trial in study.trials])
    assert found[0] != found[1]


def test_a_name_that_is_mistyped_is_found_before_the_first_trial():
    with pytest.raises(UnknownNameError, match="Did you mean 'universal'"):
        BBOSampler(agent="univresal")
    study = study_of(BBOSampler(20, "auto", space=SPACE, workers=4))
    study.optimize(objective, n_trials=2)
    assert study.sampler._optimizer.agent == recommend(SPACE, 20, 4).agent


def test_samplers_that_share_a_study_propose_different_points():
    """As two processes do, which see each other's running trials in the storage."""
    storage = optuna.storages.InMemoryStorage()
    space = {"x": optuna.distributions.FloatDistribution(0.0, 1.0)}
    optuna.create_study(storage=storage, study_name="shared")
    samplers = [BBOSampler(20, space=space) for _ in range(2)]
    studies = [optuna.load_study(study_name="shared", storage=storage, sampler=s) for s in samplers]
    for _ in range(5):
        trials = [study.ask(space) for study in studies]
        assert trials[0].params["x"] in [x["x"] for x in samplers[1]._optimizer.pending]
        for study, trial in zip(studies, trials, strict=True):
            study.tell(trial, abs(trial.params["x"] - 0.3))
    assert len({trial.params["x"] for trial in studies[0].trials}) == 10
    assert len(samplers[1]._optimizer.history) == 8


def test_the_first_trial_of_several_is_not_warned_of(recwarn):
    """Another one ends between its search space and its parameters: there was none to propose."""
    sampler = BBOSampler(20)
    study = study_of(sampler)
    trial = study._storage.get_trial(study._storage.create_new_trial(study._study_id))
    space = sampler.infer_relative_search_space(study, trial)
    study.add_trial(
        optuna.trial.create_trial(
            params={"lr": 1e-2, "layers": 2, "opt": "sgd"}, distributions=SPACE, value=3.0
        )
    )
    assert sampler.sample_relative(study, trial, space) == {}
    assert 1 <= sampler.sample_independent(study, trial, "layers", SPACE["layers"]) <= 8
    assert not recwarn


@pytest.mark.parametrize("call", ["expect", "tell", "ask"])
@pytest.mark.parametrize("number", [1, 4])
def test_a_study_that_is_stopped_in_between_knows_all_trials_afterwards(call, number, monkeypatch):
    """By Ctrl-C, while the sampler takes in those of others and one of its own."""
    study = study_of(BBOSampler(30, space=SPACE))
    others = study_of(optuna.samplers.RandomSampler(seed=0))
    others.optimize(objective, n_trials=6)
    study.optimize(objective, n_trials=1)
    study.add_trials(others.trials)
    original, calls = getattr(AskTell, call), []

    def interrupted(*arguments, **more):
        calls.append(arguments)
        if len(calls) == (1 if call == "ask" else number):
            raise KeyboardInterrupt
        return original(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(AskTell, call, interrupted)
        with pytest.raises(KeyboardInterrupt):
            study.optimize(objective, n_trials=1)
    study.optimize(objective, n_trials=1)
    ended = [t for t in study.trials[:-1] if t.state == optuna.trial.TrialState.COMPLETE]
    told = study.sampler._optimizer.history
    assert [e.x for e in told if not e.failed] == [pytest.approx(t.params) for t in ended]
    assert study.sampler._optimizer.pending == [study.trials[-1].params]


@pytest.mark.parametrize("agent", ["universal", "tpe"])
def test_a_trial_that_was_told_when_a_study_was_stopped_is_not_told_again(agent, monkeypatch):
    """Stopped between what the optimiser took in and what the sampler knows of that."""
    study = study_of(BBOSampler(30, agent, space=SPACE))
    study.optimize(objective, n_trials=3)
    original = AskTell.tell

    def interrupted(*arguments, **more):
        original(*arguments, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(AskTell, "tell", interrupted)
        with pytest.raises(KeyboardInterrupt):
            study.optimize(objective, n_trials=1)
    study.optimize(objective, n_trials=2)
    told = [e.x for e in study.sampler._optimizer.history]
    complete = [t for t in study.trials[:-1] if t.state == optuna.trial.TrialState.COMPLETE]
    assert told == [pytest.approx(t.params) for t in complete]


def test_a_trial_of_another_range_is_one_of_the_budget():
    space = {"x": optuna.distributions.FloatDistribution(-5, 5)}
    study = study_of(BBOSampler(20, space=space))
    study.optimize(lambda trial: trial.suggest_float("x", -5, 5 * (trial.number % 2)), n_trials=9)
    assert study.sampler._optimizer._state.made == 9


def test_an_agent_may_be_a_path():
    path = Path(agents.__file__).parent / "weights" / "universal.safetensors"
    own, named = (study_of(BBOSampler(8, a, space=SPACE)) for a in (path, "universal"))
    for study in (own, named):
        study.optimize(objective, n_trials=5)
    assert [t.params for t in own.trials] == [t.params for t in named.trials]


def test_what_no_space_has_is_drawn_at_random():
    def objective(trial):
        many = trial.suggest_int("many", 0, 10**6, step=10)
        trial.suggest_categorical("equal", [1, True, 0])
        return trial.suggest_float("x", 0, 1) + 1e-6 * many

    study = optuna.create_study(sampler=BBOSampler(6))
    with pytest.warns(UserWarning, match="'many' is drawn at random"):
        study.optimize(objective, n_trials=6)
    assert study.sampler._optimizer.space.names == ("x",)
