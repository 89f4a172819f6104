"""What a hook finds around itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.oci import Container

KINDS = ("prestart", "createRuntime", "poststart", "poststop")


def test_a_hook_without_an_environment_has_that_of_the_runtime(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The four kinds that run where the runtime does. One that is given, also an empty one, is all there is."""
    monkeypatch.setenv("PATH", f"/some/place:{os.environ['PATH']}")
    monkeypatch.setenv("TO_BE_SEEN", "of the caller")
    script = f"/bin/cat >/dev/null; /bin/cat /proc/$$/environ >{container.scratch}/"
    given: dict[str, list[str] | None] = {"none": None, "two": ["GIVEN=a value", "PATH=/foo"], "empty": []}
    container.spec["hooks"] = {
        kind: [
            {"path": "/bin/sh", "args": ["sh", "-c", f"{script}{kind}.{name}"], **({} if env is None else {"env": env})}
            for name, env in given.items()
        ]
        for kind in KINDS
    }
    container.begin().do("delete", "--force", container.id)
    for kind in KINDS:
        shown = {name: (container.scratch / f"{kind}.{name}").read_bytes().decode().split("\0")[:-1] for name in given}
        assert (shown["two"], shown["empty"]) == (given["two"], []), kind
        wanted = {f"{name}={os.environ[name]}" for name in ("PATH", "TO_BE_SEEN")}
        assert wanted <= set(shown["none"]), kind


def test_hooks_that_make_a_container_run_in_the_bundles_directory(container: Container) -> None:
    script = f"cat >/dev/null; pwd >>{container.scratch}/places"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"]}
    container.spec["hooks"] = {kind: [hook] for kind in ("prestart", "createRuntime")}
    container.create()
    assert (container.scratch / "places").read_text() == f"{container.bundle}\n" * 2


def test_a_hook_in_the_containers_namespaces_runs_in_the_bundles_directory(container: Container) -> None:
    """What comes before the pivot; crun has it so, too."""
    if container.runtime == "runc":
        pytest.skip("1.1 has the root's directory")
    hook = {
        "path": "/bin/sh",
        "args": ["sh", "-c", f"cat >/dev/null; pwd >{container.scratch}/place"],
        "env": ["PATH=/bin"],
    }
    container.spec["hooks"] = {"createContainer": [hook]}
    container.create()
    assert (container.scratch / "place").read_text() == f"{container.bundle}\n"


@pytest.mark.parametrize("kind", ["createContainer", "startContainer"])
def test_how_a_hook_in_the_container_ended_is_told_with_its_field(ours: Container, kind: str) -> None:
    good = {"path": "/bin/true"}
    ours.spec["hooks"] = {kind: [good, {"path": "/bin/sh", "args": ["sh", "-c", "cat >/dev/null; exit 7"]}]}
    failed = ours.run(check=False)
    told = f"hooks.{kind}[1]: error running {kind} hook #1: /bin/sh: ended with status"
    assert (failed.returncode, failed.stderr) == (1, f"{told} 7\n")
    ours.spec["hooks"][kind][1]["args"][2] = "kill -KILL $$"
    assert ours.run(check=False).stderr == f"{told} 137 (killed)\n"
    ours.spec["hooks"][kind][1]["args"][2] = "echo why >&2; echo more >&2; exit 3"
    assert ours.run(check=False).stderr == f"why\nmore\n{told} 3: why\n"


def test_what_a_hook_says_before_the_program_is_told_by_start(ours: Container) -> None:
    ours.spec["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo why >&2; exit 3"]}]}
    ours.create()
    failed = ours.do("start", ours.id, check=False)
    assert failed.stderr == (
        "hooks.startContainer[0]: error running startContainer hook #0: /bin/sh: ended with status 3: why\n"
    )


def test_a_hook_before_the_program_has_its_environment(ours: Container) -> None:
    """As with runc since 1.2; and it may write more than a pipe holds."""
    script = "cat >/dev/null; cat /proc/$$/environ >/seen; head -c 100000 /dev/zero >&2"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script]}
    ours.spec["process"]["env"] = ["ONE=two", "PATH=/bin"]
    ours.spec["hooks"] = {"startContainer": [hook]}
    assert ours.output("true") == ""
    assert (ours.bundle / "rootfs/seen").read_text().split("\0")[:-1] == ["ONE=two", "PATH=/bin", "HOME=/"]


def test_the_process_that_waits_has_no_file_of_the_runtimes(ours: Container) -> None:
    ours.create()
    pid = ours.state()["pid"]
    opened = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    assert [Path(path).name for path in opened if path.startswith(f"{ours.scratch}/state/")] == ["exec.fifo"]
