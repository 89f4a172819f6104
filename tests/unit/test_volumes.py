"""-v and --mount: what words become, and which volumes a workload gets without asking."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_privileges import asked
from tests.unit.test_spec import image, spec
from twinhull.cli.volumes import parse_mount, parse_volume
from twinhull.engine.volumes import check_name, named
from twinhull.errors import InvalidRequest
from twinhull.model import Request, Volume, in_order
from twinhull.oci.spec import Identity, make_spec


def test_short_words_name_a_path_a_volume_or_a_place(tmp_path: Path) -> None:
    assert parse_volume(f"{tmp_path}:/a/:ro,z") == Volume(str(tmp_path), "/a", True)
    assert parse_volume("data:/a:nocopy") == Volume("data", "/a", kind="volume", nocopy=True)
    assert parse_volume("//a") == Volume("", "/a", kind="volume")


def test_long_words_say_the_same(tmp_path: Path) -> None:
    assert parse_mount(f"type=bind,src={tmp_path},dst=/a,ro,bind-propagation=rprivate") == Volume(
        str(tmp_path), "/a", True
    )
    assert parse_mount("source=data,destination=/a,volume-nocopy=1") == Volume("data", "/a", kind="volume", nocopy=True)
    assert parse_mount("target=/a,readonly=false") == Volume("", "/a", kind="volume")
    assert parse_mount("type=tmpfs,target=/a,tmpfs-size=1m,tmpfs-mode=700,ro") == ("/a", "ro,size=1048576,mode=700")


@pytest.mark.parametrize(
    "text",
    [
        "relative",
        "/a:relative",
        "/a:/",
        ":/a",
        "/:/x:nonsense",
        "/:/x:nocopy",
        "a:/x",
        ".hidden_/x:/y",
        "_a:/x",
        "a b:/x",
    ],
)
def test_what_is_no_volume_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid"):
        parse_volume(text)


@pytest.mark.parametrize(
    "text",
    [
        "type=bind,src=/,dst=relative",
        "type=bind,src=relative,dst=/a",
        "type=bind,dst=/a",
        "type=npipe,dst=/a",
        "dst=/a,nonsense=1",
        "type=tmpfs,dst=/a,src=x",
        "type=tmpfs,dst=/a,bind-propagation=shared",
        "type=bind,src=/,dst=/a,bind-propagation=shared",
        "dst=/a,ro=maybe",
        "",
    ],
)
def test_what_is_no_mount_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid"):
        parse_mount(text)


def test_a_place_is_mounted_once() -> None:
    with pytest.raises(InvalidRequest, match="duplicate"):
        asked("-v", "/:/x", "--mount", "type=tmpfs,dst=/x")
    found = asked("--tmpfs", "/a", "--mount", "type=tmpfs,dst=/b", "-v", "data:/c")
    assert ([target for target, _ in found.tmpfs], found.volumes[0].source) == (["/a", "/b"], "data")


def test_an_image_gets_a_volume_wherever_it_declares_one_and_nobody_mounts_another() -> None:
    declaring = image(
        Volumes={"/data": {}, "/asked/": {}, "/memory": {}, "/x/../data": {}, "//data": {}, "relative": {}, "/": {}}
    )
    request = Request("i", volumes=(Volume("/src", "/asked"),), tmpfs=(("/memory", ""),))
    found = named(declaring, request).volumes
    assert found[0] == request.volumes[0]
    assert [(row.target, row.kind, row.anonymous, len(row.source)) for row in found[1:]] == [
        ("/data", "volume", True, 64)
    ]
    assert named(image(), request) is request


def test_what_lies_deeper_is_mounted_later_and_files_of_the_network_give_way() -> None:
    volumes = (Volume("/s", "/etc/a/b"), Volume("/t", "/etc"), Volume("/h", "/etc/hosts"))
    request = Request("i", ("x",), volumes=volumes)
    own = Identity("a", "b", (("/own", "/etc/hosts"), ("/own", "/etc/hostname")))
    mounts = [(row["source"], row["destination"]) for row in make_spec(image(), request, own)["mounts"]][-4:]
    assert mounts[0] == ("/t", "/etc") and mounts[-1] == ("/s", "/etc/a/b")
    assert set(mounts[1:3]) == {("/h", "/etc/hosts"), ("/own", "/etc/hostname")}
    assert [volume.target for volume in in_order(volumes)] == ["/etc", "/etc/hosts", "/etc/a/b"]
    assert spec(request)["mounts"]


def test_a_name_is_no_path() -> None:
    assert check_name("a.b-c_1") == "a.b-c_1"
    for name in ("..", "a/b", "", "x" * 256):
        with pytest.raises(InvalidRequest, match="volume name"):
            check_name(name)


@pytest.mark.parametrize(
    ("source", "hint"), [("/nonexistent/docker.sock", "start what"), ("/nonexistent/a", "mkdir -p /nonexistent/a")]
)
def test_a_path_that_is_not_there_has_the_hint_that_helps(source: str, hint: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_volume(f"{source}:/inside")
    assert caught.value.hint.startswith(hint)
