"""Archives through pipes, as people move images between hosts."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.command import COMMAND, Twinhull
from tests.support.store import Store
from twinhull.errors import RegistryError
from twinhull.store import proxy
from twinhull.store import registry as registries


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


def test_a_named_pipe_is_read_as_a_file_is(twinhull: Twinhull, tmp_path: Path) -> None:
    twinhull("run", "--rm", "--network", "none", "busybox", "true", check=True)
    twinhull("tag", "busybox", "team/moved:2", check=True)
    twinhull("save", "-o", str(tmp_path / "saved.tar"), "team/moved:2", check=True)
    twinhull("rmi", "team/moved:2", check=True)
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cp", tmp_path / "saved.tar", tmp_path / "pipe"]):
        loaded = twinhull("load", "-q", "-i", str(tmp_path / "pipe"), check=True).stdout
    assert loaded == "docker.io/team/moved:2\n"


@pytest.mark.parametrize(("name", "said"), [("", "it has no index.json"), ("/dev/zero", "is no file")])
def test_what_is_no_archive_is_said_to_be_none(twinhull: Twinhull, tmp_path: Path, name: str, said: str) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    refused = twinhull("load", "-i", name or str(empty))
    assert (refused.exit_code, said in refused.stderr) == (125, True), refused.stderr


def test_a_directory_is_untagged_by_the_name_that_it_was_pulled_by(twinhull: Twinhull, tmp_path: Path) -> None:
    twinhull("run", "--rm", "--network", "none", "busybox", "true", check=True)
    twinhull("save", "-o", str(tmp_path / "saved.tar"), "twinhull/busybox", check=True)
    relative = os.path.relpath(tmp_path / "saved.tar")
    twinhull("pull", f"docker-archive:{relative}", check=True)
    assert f"untagged: docker-archive:{tmp_path}/saved.tar" in twinhull("rmi", f"docker-archive:{relative}").stdout


def test_a_registry_that_never_answers_is_given_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "OPEN_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        name = f"127.0.0.1:{silent.getsockname()[1]}/team/image:1"
        with pytest.raises(RegistryError, match=f"{name}: no answer within 1 s"):
            registries.pull(store.config, store.db, name)
