"""Multidimensional scaling: how good the embedding is, where new vectors come to lie, and that each is on its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.distance import cdist, pdist

from augrun.core.config import compose
from augrun.core.config.component import build
from augrun.core.errors import AugrunError
from augrun.core.job import Job
from augrun.features.cache import Features
from augrun.features.examples import Examples
from augrun.features.mixup import Mixup
from augrun.reducers import smacof_mds
from augrun.reducers.smacof_mds import SmacofMDS, Spots, distances, leap, step

BANDS = 40
TINY = SmacofMDS(dimensions=4)

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("error")]


def examples(count: int, seed: int) -> Examples:
    """Of ten dimensions, each less wide than the one before, and noise in all."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(BANDS, 10)))[0].T
    return of((rng.normal(size=(count, 10)) * np.geomspace(5, 0.5, 10)) @ turn + 0.1 * rng.normal(size=(count, BANDS)))


def of(rows: np.ndarray) -> Examples:
    features = Features.from_rows(rows.astype(np.float32), np.ones(len(rows), dtype=np.int64))
    return Examples(features, np.eye(2, dtype=np.float32)[np.arange(len(rows)) % 2], False)


def job(folder: Path, seed: int = 0) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    return Job(folder, seed)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smacof")
    TINY.fit(examples(150, 0), job(folder), Mixup())
    return folder


def placed(part: Examples, fitted: Path, settings: SmacofMDS = TINY) -> np.ndarray:
    return settings.transform(part.features, fitted, Job(fitted)).rows()


def places(fitted: Path) -> np.ndarray:
    return np.load(fitted / "model.npz")["places"]


def stresses(spots: np.ndarray, wanted: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Of each spot, not by the code that is tested."""
    return np.square(cdist(spots, among) - wanted).sum(axis=1)


def hastened(at: Spots, wanted: np.ndarray, among: np.ndarray) -> Spots:
    first, second = smacof_mds.pairs(among.shape[1])
    return leap(at, wanted, among, among[:, first] * among[:, second])


def test_stress_is_kept_and_less_than_that_of_the_principal_components(fitted: Path) -> None:
    said = json.loads((fitted / "stress.json").read_text())
    rows = examples(150, 0).features.rows().astype(np.float64)
    start = (rows - rows.mean(axis=0)) @ np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][:4].T
    found = [np.square(pdist(rows) - pdist(where)).sum() for where in (places(fitted), start)]
    assert [said["stress"], said["stress_of_start"]] == pytest.approx(found, rel=1e-5)
    assert said["stress"] < 0.5 * said["stress_of_start"]
    assert said["normalised"] == pytest.approx((found[0] / np.square(pdist(places(fitted))).sum()) ** 0.5, rel=1e-5)
    assert said["vectors"] == 150 and 1 < said["iterations"] < TINY.iterations


def test_distances_in_the_plane_are_recovered_also_of_new_vectors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    plane = np.linalg.qr(rng.normal(size=(BANDS, 2)))[0].T
    train, new = (of(rng.uniform(-1, 1, size=(count, 2)) @ plane + 3.0) for count in (120, 30))
    flat = SmacofMDS(dimensions=2)
    flat.fit(train, job(tmp_path), Mixup())
    both = np.concatenate([placed(part, tmp_path, flat) for part in (train, new)])
    truth = pdist(np.concatenate([part.features.rows() for part in (train, new)]))
    far = truth > 0.01
    assert np.abs(pdist(both)[far] / truth[far] - 1.0).max() < 0.01


def test_train_vectors_come_near_their_own_places(fitted: Path) -> None:
    among = places(fitted)
    off = np.linalg.norm(placed(examples(150, 0), fitted) - among, axis=1)
    assert np.sqrt(np.square(off).mean()) < 0.1 * np.sqrt(np.square(pdist(among)).mean())
    assert off.max() < 0.1 * pdist(among).max()


def test_new_vectors_lie_where_no_stress_is_less_nearby(fitted: Path) -> None:
    new, among = examples(20, 5), places(fitted)
    wanted = cdist(new.features.rows().astype(np.float64), examples(150, 0).features.rows().astype(np.float64))
    spots = placed(new, fitted)
    ours = stresses(spots, wanted, among)
    for spot, own, aims in zip(spots.astype(np.float64), ours, wanted, strict=True):
        best = minimize(lambda at, aims=aims: stresses(at[None], aims[None], among)[0], spot).fun
        assert own <= best * (1 + 1e-3)
    middles = np.stack([among[np.argsort(aims)[:10]].mean(axis=0) for aims in wanted])
    assert ours.sum() < 0.9 * stresses(middles, wanted, among).sum()


@pytest.mark.parametrize("move", [step, hastened])
@pytest.mark.parametrize("seed", range(6))
def test_stress_of_no_vector_ever_rises(move, seed: int) -> None:
    """Whatever the distances that are wanted, and from places themselves and places far away as well."""
    rng = np.random.default_rng(seed)
    among = rng.normal(size=(rng.integers(2, 40), rng.integers(1, 6))) * rng.uniform(0.1, 10)
    wanted = rng.gamma(1.0, size=(30, len(among))) * rng.uniform(0.1, 20)
    wanted[0] = 0.0
    start = rng.normal(size=(30, among.shape[1])) * 10.0 ** rng.uniform(-3, 3, size=(30, 1))
    start[1:3] = among[:2]
    at = Spots.of(start, wanted, among)
    first = at.stress
    for _ in range(60):
        after = move(at, wanted, among)
        assert (after.stress <= at.stress * (1 + 1e-9) + 1e-9).all()
        np.testing.assert_allclose(after.stress, stresses(after.spots, wanted, among), rtol=1e-6, atol=1e-6)
        at = after
    assert at.stress.sum() < first.sum()


def test_a_step_is_the_mean_of_what_each_place_asks_for() -> None:
    rng = np.random.default_rng(1)
    among, wanted, spots = rng.normal(size=(12, 3)), rng.uniform(1, 2, size=(5, 12)), rng.normal(size=(5, 3))
    made = step(Spots.of(spots, wanted, among), wanted, among).spots
    for spot, aims, found in zip(spots, wanted, made, strict=True):
        away = spot - among
        asked = among + aims[:, None] * away / np.linalg.norm(away, axis=1, keepdims=True)
        np.testing.assert_allclose(found, asked.mean(axis=0), atol=1e-12)


def test_the_curvature_is_that_of_stress() -> None:
    rng = np.random.default_rng(2)
    among, wanted, spots = rng.normal(size=(9, 3)), rng.uniform(1, 2, size=(4, 9)), rng.normal(size=(4, 3))
    first, second = smacof_mds.pairs(3)
    found = smacof_mds.curvature(Spots.of(spots, wanted, among), wanted, among, among[:, first] * among[:, second])
    off = 1e-3 * np.eye(3)
    for one in range(3):
        for other in range(3):
            corners = [
                sign * stresses(spots + a * off[one] + b * off[other], wanted, among)
                for sign, a, b in ((1, 1, 1), (-1, 1, -1), (-1, -1, 1), (1, -1, -1))
            ]
            by_differences = np.sum(corners, axis=0) / 4e-6
            np.testing.assert_allclose(2 * 9 * found[:, one, other], by_differences, rtol=1e-3, atol=1e-3)


def test_a_leap_is_no_worse_than_a_step_and_gets_there_sooner(fitted: Path) -> None:
    among = places(fitted)
    wanted = distances(examples(40, 6).features.rows(), examples(150, 0).features.rows())
    at = Spots.of(np.zeros((40, 4)), wanted, among)
    slow = fast = at
    for _ in range(15):
        slow = step(slow, wanted, among)
        after = hastened(fast, wanted, among)
        assert (after.stress <= step(fast, wanted, among).stress).all()
        fast = after
    flat = np.linalg.norm(step(fast, wanted, among).spots - fast.spots, axis=1)
    assert flat.max() < 1e-6  # where the gradient is zero
    assert fast.stress.sum() < 0.95 * slow.stress.sum()


def test_a_place_does_not_depend_on_who_else_is_placed(fitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = examples(31, 7)
    many = placed(new, fitted)
    for row in (0, 13, 30):
        alone = TINY.transform(new.features[row : row + 1], fitted, Job(fitted)).rows()
        np.testing.assert_allclose(alone[0], many[row], atol=1e-4)
    strange = of(np.concatenate([new.features.rows(), 1e3 * np.ones((9, BANDS))]))
    np.testing.assert_allclose(placed(strange, fitted)[:31], many, atol=1e-4)
    monkeypatch.setattr(smacof_mds, "_AT_ONCE", 150 * 4)
    np.testing.assert_allclose(placed(new, fitted), many, atol=1e-4)
    none = TINY.transform(new.features[:0], fitted, Job(fitted))
    assert len(none) == 0 and none.rows().shape == (0, 4)


def test_mixtures_are_embedded_and_the_same_vectors_give_the_same_bytes(tmp_path: Path) -> None:
    train, mixup = examples(40, 0), Mixup(ratio=1.0)
    for name in ("one", "other"):
        TINY.fit(train, job(tmp_path / name, seed=5), mixup)
    np.testing.assert_array_equal(
        np.load(tmp_path / "one" / "model.npz")["vectors"], mixup.of(train, 5).features.rows()
    )
    assert places(tmp_path / "one").shape == (80, 4)
    assert len({(tmp_path / name / "model.npz").read_bytes() for name in ("one", "other")}) == 1
    assert {path.name for path in (tmp_path / "one").iterdir()} == {"model.npz", "stress.json"}
    TINY.fit(examples(40, 1), job(tmp_path / "one", seed=5), mixup)
    assert (tmp_path / "one" / "model.npz").read_bytes() == (tmp_path / "other" / "model.npz").read_bytes()


def test_vectors_of_which_some_or_all_are_about_the_same(tmp_path: Path) -> None:
    rows = np.repeat(examples(20, 0).features.rows(), 2, axis=0)
    close = rows * (1 + 1e-6 * np.random.default_rng(0).normal(size=rows.shape)) + 100.0
    for name, part in (("pairs", of(rows)), ("close", of(close)), ("all", of(np.ones((20, BANDS))))):
        TINY.fit(part, job(tmp_path / name), Mixup())
        made = placed(part, tmp_path / name)
        assert np.isfinite(made).all()
        np.testing.assert_allclose(made[::2], made[1::2], atol=1e-2)


def test_fewer_vectors_than_dimensions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AugrunError, match=r"smacof_mds: 4 dimensions want .* there are 3 vectors "):
        TINY.fit(examples(3, 0), job(tmp_path), Mixup())


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("scale", ["paper", "demo"])
def test_the_yaml_has_the_values_of_the_class(scale: str) -> None:
    words = ["dataset=feel", "representation=is10", "classifier=svm", "reducer=smacof_mds", f"scale={scale}"]
    assert build(compose.compose(words)["reducer"]) == SmacofMDS()
