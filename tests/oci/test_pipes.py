"""Archives through pipes, as people move images between hosts."""

from __future__ import annotations

import subprocess

from tests.support.command import COMMAND, Twinhull


def test_an_image_goes_from_save_to_load_through_a_pipe(twinhull: Twinhull) -> None:
    twinhull("run", "--rm", "--network", "none", "busybox", "true", check=True)
    twinhull("tag", "busybox", "team/moved:1", check=True)
    environment = twinhull.environment()
    saved = subprocess.run(
        [COMMAND, "save", "team/moved:1"], env=environment, stdout=subprocess.PIPE, check=True
    ).stdout
    twinhull("rmi", "team/moved:1", check=True)
    loaded = subprocess.run(
        [COMMAND, "load", "-q"], env=environment, input=saved, stdout=subprocess.PIPE, check=True
    ).stdout
    assert loaded == b"docker.io/team/moved:1\n"
    assert twinhull("run", "--rm", "--network", "none", "team/moved:1", "echo", "there").stdout == "there\n"
