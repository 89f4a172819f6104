"""A wheel made from the tracked files alone gives the command, with the launcher inside, started bare."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import twinhull

ROOT = Path(__file__).parents[2]
TOOLS = ("musl-gcc", "make", "git")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}"),
]


def run(*argv: object, **options: object) -> str:
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]  # options of run
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return str(done.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of what git would give to somebody else."""
    tree = tmp_path_factory.mktemp("tree")
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-build-isolation", "--no-deps")
    run(*pip, "--wheel-dir", tree / "wheels", tree)
    return next((tree / "wheels").glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the wheel installed, by a path with a space."""
    path = tmp_path_factory.mktemp("install") / "some where"
    run(sys.executable, "-m", "venv", "--without-pip", path)
    run(sys.executable, "-m", "pip", "--python", path / "bin/python", "install", "--no-deps", "--no-index", wheel)
    return path


def test_the_wheel_is_for_any_python_3_and_one_platform(wheel: Path) -> None:
    assert wheel.name.startswith(f"twinhull-{twinhull.__version__}-py3-none-linux_")


def test_the_wheel_holds_every_module_and_the_launcher(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src/twinhull").rglob("*.py")}
    assert modules - names == set()
    assert {"twinhull/bin/launcher", "twinhull/bin/escapes", "twinhull/py.typed"} <= names
    assert not any(name.startswith(("tests/", "bench/")) for name in names)


def test_the_installed_launcher_is_a_static_program(environment: Path) -> None:
    launcher = next(environment.glob("lib/python3*/site-packages/twinhull/bin/launcher"))
    assert os.access(launcher, os.X_OK)
    assert b"ld-linux" not in launcher.read_bytes()[:4096]


@pytest.mark.parametrize("how", ["by its path", "by PATH", "through a link", "from its directory"])
def test_the_command_finds_its_package(environment: Path, tmp_path: Path, how: str) -> None:
    command, options = str(environment / "bin/twinhull"), {}
    if how == "by PATH":
        command, options = "twinhull", {"env": {**os.environ, "PATH": f"{environment}/bin:{os.environ['PATH']}"}}
    elif how == "through a link":
        (tmp_path / "linked").symlink_to(command)
        command = str(tmp_path / "linked")
    elif how == "from its directory":
        command = "./twinhull"
    assert twinhull.__version__ in run(command, "version", cwd=environment / "bin", **options)


def test_the_command_ignores_what_the_environment_says_of_python(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('a foreign module')")
    options = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONHOME": str(tmp_path)}
    assert twinhull.__version__ in run(environment / "bin/twinhull", "version", env=options, cwd=tmp_path)


def test_the_interpreter_is_told_to_be_bare(environment: Path) -> None:
    """-I and -S: no variables, no user directory, no site-packages scan."""
    code = "import sys; print(sys.flags.isolated, sys.flags.no_site)"
    main = next(environment.glob("lib/python3*/site-packages/twinhull/cli/main.py"))
    text = main.read_text()
    try:
        main.write_text(f"{text}\n{code}\n")
        assert run(environment / "bin/twinhull", "--help").startswith("1 1\n")
    finally:
        main.write_text(text)


def test_the_oci_runtime_is_there_too_and_finds_its_interpreter(environment: Path, tmp_path: Path) -> None:
    command = environment / "bin/twinhull-oci"
    assert twinhull.__version__ in run(command, "--version").splitlines()[0]
    assert run(command, "--root", tmp_path, "delete", "--force", "missing") == ""
    assert run(command, "--root", tmp_path, "list", "--quiet") == ""
