"""Principal components: as scikit-learn has them, a vector at a time, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn import decomposition

from augrun.core.config import compose
from augrun.core.config.component import build
from augrun.core.errors import AugrunError
from augrun.core.job import Job
from augrun.features.cache import Features
from augrun.features.examples import Examples
from augrun.features.mixup import Mixup
from augrun.reducers import pca
from augrun.reducers.pca import PCA

BANDS = 30
MIXED = Mixup(ratio=1.5, alpha=0.7)

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("error")]


def examples(count: int, seed: int, bands: int = BANDS) -> Examples:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, 8)) @ np.random.default_rng(3).normal(size=(8, bands)) + 2.0
    rows += 0.1 * rng.normal(size=rows.shape)
    features = Features.from_rows(rows.astype(np.float32), np.ones(count, dtype=np.int64))
    return Examples(features, np.eye(2, dtype=np.float32)[np.arange(count) % 2], False)


def job(folder: Path, seed: int = 0) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    return Job(folder, seed)


def test_it_is_scikit_learns_with_the_mixtures_and_keeps_the_order(tmp_path: Path) -> None:
    train, test = examples(60, 0), examples(40, 1)
    for mixup in (Mixup(), MIXED):
        here = job(tmp_path / f"{mixup.ratio}", seed=4)
        PCA(dimensions=5).fit(train, here, mixup)
        theirs = decomposition.PCA(5, svd_solver="full").fit(mixup.of(train, 4).features.rows().astype(np.float64))
        made = PCA(dimensions=5).transform(test.features, here.folder, job(tmp_path / "t"))
        np.testing.assert_allclose(made.rows(), theirs.transform(test.features.rows().astype(np.float64)), atol=1e-5)
        assert made.bands == 5 and made.frames.dtype == np.int64 and (made.frames == 1).all()
    assert not np.allclose(*(np.load(tmp_path / f"{ratio}" / "model.npz")["mean"] for ratio in (0.0, 1.5)))


def test_the_largest_weight_of_each_direction_is_positive(tmp_path: Path) -> None:
    train = examples(60, 0)
    turned = Examples(Features.from_rows(-train.features.rows(), train.features.frames), train.targets, False)
    found = []
    for name, part in (("one", train), ("other", turned)):
        PCA(dimensions=6).fit(part, job(tmp_path / name), Mixup())
        found.append(np.load(tmp_path / name / "model.npz")["directions"])
        assert (found[-1][np.arange(6), np.abs(found[-1]).argmax(axis=1)] > 0).all()
    np.testing.assert_allclose(found[0], found[1], atol=1e-9)


def test_one_vector_alone_is_as_among_others_and_blocks_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PCA(dimensions=5).fit(examples(60, 0), job(tmp_path), Mixup())
    test = examples(23, 1).features
    many = PCA(dimensions=5).transform(test, tmp_path, job(tmp_path)).rows()
    alone = PCA(dimensions=5).transform(test[7:8], tmp_path, job(tmp_path)).rows()
    np.testing.assert_allclose(alone[0], many[7], atol=1e-5)
    monkeypatch.setattr(pca, "_AT_ONCE", 4)
    np.testing.assert_allclose(PCA(dimensions=5).transform(test, tmp_path, job(tmp_path)).rows(), many, atol=1e-5)
    none = PCA(dimensions=5).transform(test[:0], tmp_path, job(tmp_path))
    assert len(none) == 0 and none.bands == 5 and none.rows().shape == (0, 5)


def test_what_is_fitted_stays(tmp_path: Path) -> None:
    PCA(dimensions=5).fit(examples(60, 0), job(tmp_path), Mixup())
    before = (tmp_path / "model.npz").read_bytes()
    PCA(dimensions=5).fit(examples(60, 1), job(tmp_path), Mixup())
    assert (tmp_path / "model.npz").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.npz"]


@pytest.mark.parametrize(("count", "bands"), [(9, 30), (40, 9), (0, 30)])
def test_fewer_vectors_or_functionals_than_dimensions_are_refused(tmp_path: Path, count: int, bands: int) -> None:
    said = rf"pca: 10 dimensions want .* there are {count} vectors of {bands}\. Choose a smaller reducer\.dimensions"
    with pytest.raises(AugrunError, match=said):
        PCA(dimensions=10).fit(examples(count, 0, bands), job(tmp_path), Mixup())
    assert not list(tmp_path.iterdir())


def test_vectors_that_are_all_the_same_become_zero(tmp_path: Path) -> None:
    rows = np.ones((20, BANDS), dtype=np.float32)
    same = Examples(Features.from_rows(rows, np.ones(20, dtype=np.int64)), np.ones((20, 1), np.float32), False)
    PCA(dimensions=5).fit(same, job(tmp_path), Mixup())
    assert not PCA(dimensions=5).transform(same.features, tmp_path, job(tmp_path)).rows().any()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("scale", ["paper", "demo"])
def test_the_yaml_names_the_class(scale: str) -> None:
    words = ["dataset=feel", "representation=is10", "classifier=svm", "reducer=pca", f"scale={scale}"]
    assert build(compose.compose(words)["reducer"]) == PCA(dimensions=25)
