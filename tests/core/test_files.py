"""Files are written whole or not at all, in one way everywhere."""

from __future__ import annotations

import ast
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from augrun.core import files

ROOT = Path(__file__).resolve().parents[2]

#: Who moves files by itself, by module, function and call, and why.
MOVES = {
    ("core/files.py", "atomic_path", "replace"): "the one way",
    ("generators/programs/magenta.py", "fit", "replace"): "runs in an environment without augrun",
    ("generators/programs/magenta.py", "replace", "replace"): "runs in an environment without augrun",
    ("core/store/stages.py", "_compute", "rename"): "a partial folder keeps its name for the attempt that resumes it",
    ("core/store/stages.py", "remove", "rename"): "moves a folder away to remove it",
    ("core/store/folder_lock.py", "_take", "rename"): "fails where the lock is held, which a replacement must not",
    ("core/store/folder_lock.py", "_break", "rename"): "moves an owner's file away, once",
    ("tracking/postgres.py", "_make", "rename"): "a folder that belongs to another user",
    ("tracking/download.py", "_fetch", "rename"): "a folder",
    ("corpora/standin/__init__.py", "_put", "rename"): "a folder; another process may be faster",
    ("experiment/profiling.py", "_save", "replace"): "renames a finished trace",
    ("experiment/profiling.py", "write", "replace"): "a folder",
}


def temporary(folder: Path) -> list[Path]:
    return sorted(folder.rglob(files.TEMPORARY))


def test_what_is_written_is_there_at_the_end_of_the_block_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"old")
    with files.atomic_path(path) as fresh:
        assert fresh.parent == tmp_path
        assert not fresh.exists()
        fresh.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert temporary(tmp_path) == [fresh]
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["model.pt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_old_content_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "results.json"
    path.write_text("old")

    def write() -> None:
        with files.atomic_path(path) as fresh:
            fresh.write_text("half of the n")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["results.json"]


def test_an_exception_before_anything_is_written_is_raised_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^no samples$"), files.atomic_path(tmp_path / "a.wav"):
        raise ValueError("no samples")
    assert os.listdir(tmp_path) == []


def test_a_failing_rename_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "place" / "inside").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        files.write_text(tmp_path / "place", "no file goes onto a folder")
    assert temporary(tmp_path) == []


@pytest.mark.parametrize("name", ["a.wav", "a.b.npz", ".augrun.json", "finished", ".hidden", "a" * 240 + ".wav"])
def test_the_temporary_name_is_hidden_and_keeps_the_suffix(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with files.atomic_path(path) as fresh, files.atomic_path(path) as other:
        assert fresh != other
        assert fresh.name.startswith(".")
        assert fresh.suffix == path.suffix
        assert fresh.match(files.TEMPORARY)
        assert str(os.getpid()) in fresh.name
        fresh.touch()
        other.touch()
    assert os.listdir(tmp_path) == [name]


def test_a_library_that_appends_a_suffix_does_not(tmp_path: Path) -> None:
    with files.atomic_path(tmp_path / "a.npz") as fresh:
        np.savez(fresh, x=np.arange(3))
    assert os.listdir(tmp_path) == ["a.npz"]
    assert np.load(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2]


def test_two_threads_at_once_write_one_or_the_other(tmp_path: Path) -> None:
    path, ready, failed = tmp_path / "shared.txt", threading.Barrier(2), []

    def write(letter: str) -> None:
        try:
            for _ in range(50):
                ready.wait(timeout=30)
                files.write_text(path, letter * 10_000, sync=False)
                content = path.read_text()
                assert content in ("a" * 10_000, "b" * 10_000), content[:10]
        except BaseException as error:
            failed.append(error)
            ready.abort()

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert os.listdir(tmp_path) == ["shared.txt"]


def test_a_missing_folder_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        files.write_bytes(tmp_path / "nowhere" / "a.bin", b"")
    assert os.listdir(tmp_path) == []


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"old")
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from augrun.core.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as fresh:\n"
        "    fresh.write_bytes(b'half')\n"
        "    print('written', flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(temporary(tmp_path)) == 1
    files.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert files.remove_temporary(tmp_path) == 1
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_only_temporary_files_are_removed(tmp_path: Path) -> None:
    kept = ["a.wav", ".hidden", "fit/.augrun-standin.json", "fit/last.ckpt", "a~writing-1.txt"]
    (tmp_path / "fit").mkdir()
    for name in [*kept, "fit/.last~writing-1-ab.ckpt", ".x~writing-2-cd"]:
        (tmp_path / name).touch()
    assert files.remove_temporary(tmp_path) == 2
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == sorted(kept)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        files.write_text(tmp_path / "ours.txt", "x")
        files.write_bytes(tmp_path / "ours.bin", b"x")
        with open(tmp_path / "opened", "w"):
            pass
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o666 & ~mask}


@pytest.mark.parametrize(
    ("write", "synced"),
    [
        (lambda path: files.write_text(path, "é\n"), 1),
        (lambda path: files.write_text(path, "é\n", sync=False), 0),
        (lambda path: files.write_bytes(path, "é\n".encode()), 0),
        (lambda path: files.write_bytes(path, "é\n".encode(), sync=True), 1),
    ],
)
def test_content_is_on_the_disk_before_the_rename(tmp_path, monkeypatch, write, synced) -> None:
    path, calls, fsync = tmp_path / "a.txt", [], os.fsync

    def spy(descriptor: int) -> None:
        calls.append(os.fstat(descriptor).st_size)
        assert not path.exists()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    write(path)
    assert path.read_bytes() == b"\xc3\xa9\n"
    assert calls == [3] * synced


def test_json_is_indented_ascii_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"name": "é", "values": [1, None]})
    assert path.read_bytes() == b'{\n "name": "\\u00e9",\n "values": [\n  1,\n  null\n ]\n}'
    assert files.read_json(path) == {"name": "é", "values": [1, None]}
    assert files.read_json(tmp_path / "none.json") == {}


def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError, match="not JSON serializable"):
        files.write_json(tmp_path / "a.json", {"x": object()})
    assert files.read_json(tmp_path / "a.json") == 1
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_file_name_holds_no_separator() -> None:
    assert files.file_name("a/b c:d-1_é.x") == "a_b_c_d-1_é.x"


def test_only_the_standard_library_is_imported() -> None:
    program = "import sys, augrun.core.files; print({'numpy', 'torch', 'yaml', 'omegaconf'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


def _moves(path: Path) -> set[tuple[str, str]]:
    """Functions that move files, and the call: `os.replace`, `os.rename`, `shutil.move` and those of paths."""
    found = set()

    def visit(node: ast.AST, function: str) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, owner = node.func.attr, node.func.value
            module = owner.id if isinstance(owner, ast.Name) and owner.id in ("os", "shutil", "dataclasses") else ""
            # One argument: a path is moved; `str.replace` takes two.
            of_path = not module and len(node.args) == 1 and not node.keywords and name in ("replace", "rename")
            if (
                of_path
                or (module == "os" and name in ("replace", "rename", "renames"))
                or (module, name)
                == (
                    "shutil",
                    "move",
                )
            ):
                found.add((function, name))
        for child in ast.iter_child_nodes(node):
            visit(child, function)

    visit(ast.parse(path.read_text(encoding="utf-8")), "")
    return found


def test_files_are_moved_into_place_in_one_way() -> None:
    found = set()
    for folder in ("augrun", "hydra_plugins", "scripts"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            place = path.relative_to(ROOT / folder).as_posix()
            found |= {(place, *move) for move in _moves(path)}
    assert found == set(MOVES)
    assert all(MOVES.values())


@pytest.mark.parametrize(
    ("source", "calls"),
    [
        ("def f(a, b):\n    os.replace(a, b)\n", {("f", "replace")}),
        ("def f(a, b):\n    a.rename(b)\n", {("f", "rename")}),
        ("def f(a, b):\n    shutil.move(a, b)\n", {("f", "move")}),
        ("def f(a):\n    return a.replace('x', 'y') + dataclasses.replace(a, b=1)\n", set()),
    ],
)
def test_the_search_tells_moves_from_other_calls(tmp_path: Path, source: str, calls: set[tuple[str, str]]) -> None:
    (tmp_path / "a.py").write_text(source)
    assert _moves(tmp_path / "a.py") == calls
