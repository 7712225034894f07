"""Stages: one computation, one result, whatever happens in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from augrun.core.errors import AugrunError
from augrun.core.store.garbage_collection import collect, needed
from augrun.core.store.stages import PARTIAL, Store, fingerprint


def make(store: Store, kind: str = "features", inputs: dict | None = None, **settings):
    return store.stage(kind, settings=settings, inputs=inputs or {}, code="augrun.core.errors")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), plain, max_size=5))
def test_fingerprint_ignores_the_order_of_keys(content):
    assert fingerprint(content) == fingerprint(dict(reversed(content.items())))


@given(st.dictionaries(st.text(), plain, min_size=1, max_size=5), st.data())
def test_fingerprint_sees_every_value(content, data):
    key = data.draw(st.sampled_from(sorted(content)))
    assert fingerprint(content) != fingerprint(content | {key: ["something", "else"]})


def test_a_stage_is_computed_once(tmp_path):
    store = Store(tmp_path)
    calls = []

    def compute(folder: Path) -> dict:
        calls.append(folder)
        (folder / "result").write_text("42")
        return {"answer": 42}

    first = make(store, bands=96).get(compute)
    again = make(Store(tmp_path), bands=96).get(compute)
    assert first == again
    assert len(calls) == 1
    assert (first / "result").read_text() == "42"
    manifest = make(store, bands=96).manifest
    assert manifest["summary"] == {"answer": 42}
    assert manifest["content"]["settings"] == {"bands": 96}
    assert len(store.computed) == 1
    assert not store.reused


def test_settings_inputs_seed_and_version_each_make_another_stage(tmp_path):
    store = Store(tmp_path)
    base = store.stage("a", settings={"x": 1}, inputs={"corpus": "c"}, code="augrun.core.errors")
    others = [
        store.stage("a", settings={"x": 2}, inputs={"corpus": "c"}, code="augrun.core.errors"),
        store.stage("a", settings={"x": 1}, inputs={"corpus": "d"}, code="augrun.core.errors"),
        store.stage("a", settings={"x": 1}, inputs={"corpus": "c"}, code="augrun.core.errors", seed=1),
        store.stage("a", settings={"x": 1}, inputs={"corpus": "c"}, code="augrun.core.errors", version=2),
        store.stage("a", settings={"x": 1}, inputs={"corpus": "c"}, code="augrun.core.job"),
        store.stage("b", settings={"x": 1}, inputs={"corpus": "c"}, code="augrun.core.errors"),
    ]
    assert len({base.fingerprint, *(stage.fingerprint for stage in others)}) == 7


def test_a_failed_attempt_leaves_no_result_and_the_next_one_finds_its_remains(tmp_path):
    stage = make(Store(tmp_path))

    def fails(folder: Path) -> None:
        (folder / "checkpoint").write_text("half")
        raise AugrunError("broken")

    with pytest.raises(AugrunError, match="broken"):
        stage.get(fails)
    assert not stage.done
    found = []
    stage.get(lambda folder: found.append((folder / "checkpoint").read_text()))
    assert found == ["half"]
    assert stage.manifest["resumed"] is True


def test_two_jobs_that_want_one_stage_compute_it_once(tmp_path):
    calls = []

    def compute(folder: Path) -> None:
        calls.append(1)
        time.sleep(0.3)

    threads = [threading.Thread(target=lambda: make(Store(tmp_path)).get(compute)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_a_killed_process_frees_the_lock_and_leaves_only_a_partial_folder(tmp_path):
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from augrun.core.store.stages import Store
        def compute(folder):
            (folder / "checkpoint").write_text("half")
            print("ready", flush=True)
            time.sleep(600)
        Store(Path(sys.argv[1])).stage("features", settings={}, inputs={}, code="augrun.core.errors").get(compute)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    stage = make(Store(tmp_path))
    entry = next(Store(tmp_path).entries())
    assert entry.partial
    assert entry.held
    assert collect(Store(tmp_path)) == []  # work in progress is not collected
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not stage.done
    assert stage.folder.with_name(stage.folder.name + PARTIAL).is_dir()
    found = []
    stage.get(lambda folder: found.append((folder / "checkpoint").read_text()))
    assert found == ["half"]


def test_collect_keeps_what_conditions_lead_to(tmp_path):
    store = Store(tmp_path)
    features = make(store, "features")
    features.get(lambda folder: None)
    classifier = make(store, "classifier", {"features": features.fingerprint, "corpus": "digest"})
    classifier.get(lambda folder: None)
    condition = make(store, "condition", {"0/0": classifier.fingerprint})
    beside = make(store, "features", y=1)
    beside.get(lambda folder: None)
    condition.get(lambda folder: None, uses=[beside.fingerprint])
    orphan = make(store, "samples", x=1)
    orphan.get(lambda folder: None)
    with pytest.raises(RuntimeError):
        make(store, "generator", x=2).get(lambda folder: (_ for _ in ()).throw(RuntimeError("stop")))

    would = collect(store, dry_run=True)
    assert {entry.kind for entry in would} == {"samples", "generator"}
    assert orphan.done
    collect(store)
    assert features.done
    assert beside.done, "what a condition uses is kept, though its fingerprint does not name it"
    assert classifier.done
    assert condition.done
    assert not orphan.done
    assert list((tmp_path / "generator").iterdir()) == []

    long_ago = time.time() - 10 * 86400
    os.utime(condition.folder, (long_ago, long_ago))
    collect(store, keep_days=20)
    assert condition.done
    collect(store, keep_days=5)
    assert [entry.kind for entry in store.entries()] == []


def test_collect_keeps_what_a_running_job_comes_back_to(tmp_path):
    """Trials that took days are old before the last of them ends, and no finished condition leads to them yet."""
    store = Store(tmp_path)
    features = make(store, "features")
    features.get(lambda folder: None)
    first = make(store, "classifier", {"features": features.fingerprint})
    first.get(lambda folder: None)
    second, other = make(store, "classifier", x=2), make(store, "classifier", x=3)
    other.get(lambda folder: None)
    with needed(store, make(store, "condition"), [first, second]):
        assert [entry.fingerprint for entry in collect(store)] == [other.fingerprint]
        assert first.done and features.done
    assert {entry.fingerprint for entry in collect(store)} == {first.fingerprint, features.fingerprint}
    assert not list((tmp_path / "locks").glob("needed-*"))


def test_a_killed_job_s_list_keeps_nothing(tmp_path):
    store = Store(tmp_path)
    stage = make(store, "classifier")
    stage.get(lambda folder: None)
    (tmp_path / "locks" / "needed-abc-host-1.json").write_text(json.dumps([stage.fingerprint]))
    assert [entry.fingerprint for entry in collect(store)] == [stage.fingerprint]


def test_an_unwritable_store_is_named_with_the_mend(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AugrunError, match=r"cannot write .*file.*choose another AUGRUN_OUTPUT"):
        make(Store(tmp_path / "file" / "store")).get(lambda folder: None)


def test_a_manifest_is_plain_json(tmp_path):
    stage = make(Store(tmp_path), sizes=(1, 2))
    folder = stage.get(lambda folder: None)
    assert json.loads((folder / "stage.json").read_text())["content"]["settings"] == {"sizes": [1, 2]}


def test_a_lock_held_elsewhere_is_waited_for(tmp_path, caplog):
    stage = make(Store(tmp_path))
    path = tmp_path / "locks" / f"features-{stage.fingerprint}.lock"
    path.parent.mkdir(parents=True)
    held = threading.Event()

    def hold() -> None:
        with FileLock(path):
            held.set()
            deadline = time.monotonic() + 300
            while "waiting" not in caplog.text and time.monotonic() < deadline:
                time.sleep(0.01)

    threading.Thread(target=hold).start()
    held.wait()
    with caplog.at_level("INFO", logger="augrun"):
        stage.get(lambda folder: None, "features of the corpus")
    assert "features of the corpus: another job is at it, waiting" in caplog.text
    assert stage.done
