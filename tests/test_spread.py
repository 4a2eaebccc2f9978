"""Spreading units over processes and over a Ray cluster: the table is that of one process."""

import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from consoles import printed

from bbo_envs.errors import MissingExtraError, WorkerLostError
from bbo_envs.suites import TaskSpec
from evaluation.benchmark import benchmark
from evaluation.entrants import enter
from evaluation.run import Unit
from evaluation.spread import on_processes, on_ray
from evaluation.store import Store

GP = TaskSpec("BBO-GP-2d-v0", {"sampler": "fourier", "features": 64})
AGENTS = ["random", "sobol", "lstm-oi"]


class Stops:
    """Kills the process that it plays in."""

    def init(self, batch, space, budget, generator):
        return torch.zeros(batch, *space.shape)

    def step(self, state, observation):
        os.kill(os.getpid(), signal.SIGKILL)


def play(folder, **options):
    options = {"agents": AGENTS, "budget": 6, "seeds": 6, "console": printed(), **options}
    return benchmark(tasks=[GP], folder=folder, **options)


def without_times(frame):
    return frame.drop(columns="seconds")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return without_times(play(tmp_path_factory.mktemp("alone"), jobs=1))


def test_processes_make_the_same_table(alone, tmp_path):
    pd.testing.assert_frame_equal(without_times(play(tmp_path, jobs=2)), alone)


def test_objects_that_were_typed_in_reach_other_processes(tmp_path):
    """A class that no module holds, which pickle would refuse."""

    class Corner:
        def init(self, batch, space, budget, generator):
            return torch.zeros(batch, *space.shape)

        def step(self, state, observation):
            return state + 0.25, state

    frame = play(tmp_path, agents=[Corner], jobs=2)
    assert np.array_equal(np.stack(frame["x"]), np.full((36, 2), 0.25))


def test_a_process_that_is_killed_ends_the_run_with_what_to_do(tmp_path):
    with pytest.raises(WorkerLostError, match="a process was killed.*Run the same command again"):
        play(tmp_path, agents={"random": "random", "stops": Stops()}, jobs=2)
    kept = len(Store(tmp_path).read())
    frame = play(tmp_path, agents=["random"], jobs=1)
    assert len(frame) == 36 >= kept


def test_ray_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'bbo-envs\[ray\]'"):
        list(on_ray([]))


@pytest.mark.slow
def test_a_cluster_that_loses_a_node_makes_the_same_table(alone, tmp_path, monkeypatch):
    """Two nodes of one core each; one is killed when results have begun to come."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    append, appended = Store.append, []

    def kill_after_the_third(self, rows):
        append(self, rows)
        appended.append(rows)
        if len(appended) == 3:
            assert len([node for node in ray.nodes() if node["Alive"]]) == 2
            cluster.remove_node(second, allow_graceful=False)

    monkeypatch.setattr(Store, "append", kill_after_the_third)
    try:
        frame = play(tmp_path, ray=True)
    finally:
        cluster.shutdown()
    assert len(appended) == 18
    pd.testing.assert_frame_equal(without_times(frame), alone)


def test_one_job_plays_in_this_process():
    (entrant,) = enter(["random"])
    lots = [[Unit(entrant, GP, seed, 3)] for seed in range(3)]
    seeds = [rows[0]["seed"] for rows in on_processes(lots, 1)]
    assert seeds == [0, 1, 2]
