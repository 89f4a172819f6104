"""What a hook finds around itself."""

from __future__ import annotations

import pytest

from tests.support.oci import Container

KINDS = ("prestart", "createRuntime", "poststart", "poststop")


def test_a_hook_without_an_environment_has_that_of_the_runtime(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The four kinds that run where the runtime does. One that is given, also an empty one, is all there is."""
    monkeypatch.setenv("TO_BE_SEEN", "of the caller")
    script = f'cat >/dev/null; echo "$TO_BE_SEEN, $GIVEN" >>{container.scratch}/'
    container.spec["hooks"] = {
        kind: [
            {"path": "/bin/sh", "args": ["sh", "-c", script + kind]},
            {"path": "/bin/sh", "args": ["sh", "-c", script + kind], "env": ["GIVEN=a value", "PATH=/bin"]},
            {"path": "/bin/sh", "args": ["sh", "-c", script + kind], "env": ["PATH=/bin"]},
        ]
        for kind in KINDS
    }
    container.begin().do("delete", "--force", container.id)
    for kind in KINDS:
        assert (container.scratch / kind).read_text() == "of the caller, \n, a value\n, \n", kind
