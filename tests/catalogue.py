"""Every task id with what it takes to make it, for tests that run over all of them."""

import pytest

from bbo_envs import TASKS

# One of each family and kind, for tests whose point is not the id.
FEW = [
    "BBO-GP-1d-v0",
    "BBO-GP-v0",
    "BBO-Branin-2d-v0",
    "BBO-Ackley-5d-v0",
    "BBO-BBOB-f7-3d-v0",
    "BBO-BBOB-f21-5d-v0",
    "BBO-BBOBNoisy-v0",
    "BBO-Repellers-6d-v0",
    "BBO-HPO-SVM-3d-v0",
    "BBO-HPO-MLP-5d-v0",
]
DATA_OF_THE_USER = [task for task, entry in TASKS.items() if entry.needs]


@pytest.fixture(scope="session")
def arguments_of(tmp_path_factory):
    """The arguments without which an id has no data: small files in the right formats."""
    import hpo_files

    grids, hpob, surrogates, yahpo = (
        tmp_path_factory.mktemp(name) for name in ("grids", "hpob", "surrogates", "yahpo")
    )
    hpo_files.write_grid(grids / "svm_on_grid.csv", [hpo_files.HEADER, *hpo_files.cells()])
    hpo_files.write_hpob(hpob)
    hpo_files.write_surrogates(surrogates)
    hpo_files.write_ranger(yahpo)
    space = {"search_space_id": "5970", "dataset_id": ["37", "3485"]}
    ranger = {"scenario": "rbv2_ranger", "instance": "16", "target": "acc"}
    needed = {
        "BBO-HPO-HPOlib-v0": {"folder": str(grids), "name": "svm"},
        "BBO-HPO-HPOB-v0": {"folder": str(hpob), **space},
        "BBO-HPO-HPOBSurrogate-v0": {"folder": str(surrogates), **space},
        "BBO-HPO-YAHPO-v0": {"folder": str(yahpo), **ranger},
    }
    assert set(needed) == set(DATA_OF_THE_USER)
    return lambda task: needed.get(task, {})
