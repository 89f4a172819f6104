"""From image and request to config.json: Docker's rules for command, user and variables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from twinhull.errors import CommandNotFound, InvalidRequest, RegistryError
from twinhull.model import Image, Request, Volume
from twinhull.oci.manifest import parse_config
from twinhull.oci.spec import Identity, make_spec, resolve_user

PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/srv/app:/bin/sh\nbroken\n"
GROUP = "root:x:0:\napp:x:1000:\nwheel:x:10:root,app\n"


def image(**config: Any) -> Image:
    document = json.dumps({"config": {"Env": ["PATH=/bin"], **config}})
    return Image("d", "c", "linux/amd64", document, (), 0, PASSWD, GROUP)


def spec(request: Request, **config: Any) -> dict[str, Any]:
    return make_spec(image(**config), request, Identity("abc", "box"))


@pytest.mark.parametrize(
    ("config", "request_", "args"),
    [
        ({"Cmd": ["sh"]}, Request("i"), ["sh"]),
        ({"Cmd": ["sh"]}, Request("i", ("ls",)), ["ls"]),
        ({"Entrypoint": ["e"], "Cmd": ["c"]}, Request("i"), ["e", "c"]),
        ({"Entrypoint": ["e"], "Cmd": ["c"]}, Request("i", ("x",)), ["e", "x"]),
        ({"Entrypoint": ["e"], "Cmd": ["c"]}, Request("i", ("x",), entrypoint=("n",)), ["n", "x"]),
        ({"Entrypoint": ["e"], "Cmd": ["c"]}, Request("i", entrypoint=("n",)), ["n"]),
        ({"Entrypoint": ["e"], "Cmd": ["c"]}, Request("i", ("x",), entrypoint=()), ["x"]),
    ],
)
def test_entrypoint_and_command_combine_as_in_docker(config: Any, request_: Request, args: list[str]) -> None:
    assert spec(request_, **config)["process"]["args"] == args


def test_no_command_at_all_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no command"):
        spec(Request("i"))


def test_the_users_variables_win_and_a_bare_name_unsets() -> None:
    found = spec(Request("i", ("x",), environment=("A=2", "B")), Env=["A=1", "B=1", "C=1"])["process"]["env"]
    assert "A=2" in found
    assert "A=1" not in found
    assert not any(entry.startswith("B=") for entry in found)
    assert "C=1" in found
    assert "HOME=/root" in found


@pytest.mark.parametrize(
    ("text", "uid", "gid", "groups", "home"),
    [
        ("", 0, 0, (10,), "/root"),
        ("app", 1000, 1000, (10,), "/srv/app"),
        ("1000", 1000, 1000, (10,), "/srv/app"),
        ("app:wheel", 1000, 10, (), "/srv/app"),
        ("1234", 1234, 0, (), "/"),
        ("1234:5678", 1234, 5678, (), "/"),
    ],
)
def test_users_resolve_by_the_images_own_files(
    text: str, uid: int, gid: int, groups: tuple[int, ...], home: str
) -> None:
    assert resolve_user(text, PASSWD, GROUP) == (uid, gid, groups, home)


@pytest.mark.parametrize("text", ["nobody-here", "app:no-group", "99999999999"])
def test_an_unknown_user_or_group_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        resolve_user(text, PASSWD, GROUP)


def test_another_user_holds_no_capability_but_may_not_gain_more_either() -> None:
    sets = spec(Request("i", ("x",), user="app"))["process"]["capabilities"]
    assert sets["effective"] == []
    assert "CAP_CHOWN" in sets["bounding"]
    assert "CAP_SYS_ADMIN" not in sets["bounding"]


def test_volumes_come_after_the_default_mounts() -> None:
    mounts = spec(Request("i", ("x",), volumes=(Volume("/src", "/dst", True),)))["mounts"]
    assert mounts[-1] == {
        "destination": "/dst",
        "type": "bind",
        "source": "/src",
        "options": ["rbind", "rprivate", "ro"],
    }


def test_limits_appear_only_where_asked() -> None:
    assert set(spec(Request("i", ("x",)))["linux"]["resources"]) == {"devices"}
    resources = spec(Request("i", ("x",), memory_bytes=1 << 26, cpus=0.5, pids_limit=9))["linux"]["resources"]
    assert resources["memory"] == {"limit": 1 << 26, "swap": 1 << 27}
    assert resources["cpu"] == {"quota": 50_000, "period": 100_000}
    assert resources["pids"] == {"limit": 9}


def test_a_relative_working_directory_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="not absolute"):
        spec(Request("i", ("x",), workdir="srv"))


def test_a_command_that_is_a_text_is_one_word_as_in_docker() -> None:
    assert spec(Request("i"), Cmd="echo hi")["process"]["args"] == ["echo hi"]
    assert spec(Request("i"), Entrypoint="/bin/sh", Cmd=["c"])["process"]["args"] == ["/bin/sh", "c"]


@pytest.mark.parametrize(
    "config",
    [
        {"Env": "A=1"},
        {"Env": [1]},
        {"Cmd": 5},
        {"Entrypoint": {}},
        {"User": 0},
        {"WorkingDir": []},
        {"Volumes": ["/a"]},
    ],
)
def test_a_setting_of_a_wrong_type_is_an_error_of_the_image(config: dict[str, Any]) -> None:
    (key,) = config
    with pytest.raises(RegistryError, match=f"the config of img: {key} is no "):
        spec(Request("img", ("x",)), **config)
    document = {"config": config, "rootfs": {"diff_ids": []}}
    with pytest.raises(RegistryError, match=f"the config of img: {key} is no "):
        parse_config(json.dumps(document).encode(), "img")


def test_an_empty_first_word_is_a_program_that_is_not_there() -> None:
    with pytest.raises(CommandNotFound) as caught:
        spec(Request("i", ("",)), Cmd=["sh"])
    assert caught.value.message == 'exec "": executable file not found in $PATH'
