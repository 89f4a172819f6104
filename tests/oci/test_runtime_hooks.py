"""What a hook finds around itself."""

from __future__ import annotations

import os

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
    assert (failed.returncode, failed.stderr) == (1, f"hooks.{kind}[1]: /bin/sh: ended with status 7\n")
    ours.spec["hooks"][kind][1]["args"][2] = "kill -KILL $$"
    assert ours.run(check=False).stderr == f"hooks.{kind}[1]: /bin/sh: ended with status 137\n"
