"""What runs on Linux runs on Windows and macOS, and in another Python: modules, locks, text, hashes."""

import ast
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import pytest

from ssvae.inference.storage.files import alone, write_atomically

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(path for room in ("models", "data", "inference", "benchmarks") for path in (ROOT / room).rglob("*.py"))

OF_ONE_SYSTEM = {
    "crypt", "curses", "fcntl", "grp", "msvcrt", "nis", "posix", "pty", "pwd", "resource", "spwd", "syslog", "termios",
    "tty", "winreg", "winsound", "_winapi",
}  # fmt: skip
"""Modules of the standard library that some systems lack."""

ATTRIBUTES_OF_ONE_SYSTEM = {
    "os": {"fork", "getuid", "geteuid", "kill", "killpg", "mkfifo", "sched_getaffinity", "setsid", "uname"},
    "signal": {"SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "alarm", "pause", "setitimer"},
}  # fmt: skip


def _unguarded(node):
    """Every node outside a `try` and outside an `if` on the platform."""
    if isinstance(node, ast.Try) or (
        isinstance(node, ast.If) and any(word in ast.unparse(node.test) for word in ("sys.platform", "os.name"))
    ):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _unguarded(child)


def _of_one_system(text):
    """Return what of a module's text some system lacks."""
    found = []
    for node in _unguarded(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in OF_ONE_SYSTEM]
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OF_ONE_SYSTEM:
            found.append(node.module)
        elif isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES_OF_ONE_SYSTEM.get(ast.unparse(node.value), ()):
            found.append(ast.unparse(node))
    return found


def _calls(text):
    """Every call in a module's text, with its name."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
            yield name, node


def _is_of_text(name, call):
    """Say whether a call reads or writes a text file in the system's own encoding, unless `encoding` is named."""
    if name in ("read_text", "write_text"):
        return len(call.args) <= (name == "write_text")
    if name != "open":
        return False
    mode = call.args[isinstance(call.func, ast.Name) :] or [ast.Constant("r")]  # open(path, "r"), path.open("r")
    return isinstance(mode[0], ast.Constant) and "b" not in mode[0].value


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_used_that_some_system_lacks(path):
    text = path.read_text(encoding="utf-8")
    found = _of_one_system(text)
    # The soak kills processes with all that they started, and reads Linux's /proc.
    assert found == (["os.killpg", "signal.SIGKILL"] if path.name == "children.py" else [])
    for name, call in _calls(text):
        where = f"{path.name}, line {call.lineno}"
        # Text is UTF-8 everywhere, not what Windows makes of it.
        assert not (_is_of_text(name, call) and "encoding" not in {word.arg for word in call.keywords}), where
        # What Python's hash of anything is, the next Python may change.
        assert not (name == "hash" and isinstance(call.func, ast.Name)), where


def test_what_some_system_lacks_is_found_unless_it_is_guarded():
    assert _of_one_system("import fcntl, os\nfrom pwd import getpwnam\nos.fork()") == ["fcntl", "pwd", "os.fork"]
    assert _of_one_system("def f():\n    import resource.x") == ["resource.x"]
    assert _of_one_system("if sys.platform != 'win32':\n    import fcntl") == []
    assert _of_one_system("try:\n    import pwd\nexcept ImportError:\n    pass") == []


# Locks


HOLDS = """
import sys, time
from pathlib import Path
from ssvae.inference.storage.files import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A lock, and another process that has it."""
    lock = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDS, lock], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield lock, process
        finally:
            process.kill()


def test_two_processes_keep_each_other_away_and_a_killed_one_keeps_nobody_away(holder):
    lock, process = holder
    with pytest.raises(filelock.Timeout), alone(lock, wait=False):
        pass
    process.kill()
    process.wait()
    with alone(lock, wait=False):
        assert lock.exists()
    assert not lock.exists()


def test_who_waits_for_a_lock_gets_it_when_the_file_is_gone(tmp_path):
    lock, order = tmp_path / "lock", []

    def second():
        with alone(lock):
            order.append("second")
            with pytest.raises(filelock.Timeout), alone(lock, wait=False):
                pass

    waiting = threading.Thread(target=second)
    with alone(lock):
        waiting.start()
        waiting.join(0.2)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
    assert not lock.exists()


def test_where_a_file_system_has_no_locks_files_are_written_all_the_same(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    write_atomically(tmp_path / "a.txt", "written")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["written"]
