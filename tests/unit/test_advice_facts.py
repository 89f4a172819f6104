"""What an image and a request say of themselves, and the command line that makes a request."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.advice.command import command_line
from twinhull.advice.facts import beyond_default, is_door, needs_of, packed_of, unknown_image
from twinhull.advice.question import Packed
from twinhull.cli.parser import Parser
from twinhull.cli.run import configure_run, request_of
from twinhull.config import Config
from twinhull.model import Attachment, Device, Health, Image, Port, Request, Volume


def image(config: dict[str, Any], platform: str = "linux/amd64") -> Image:
    return Image("sha256:0", "sha256:1", platform, json.dumps({"config": config}), (), 1000)


@pytest.mark.parametrize(
    "path",
    ["/", "/etc", "/proc", "/proc/sys", "/dev/sda", "/root/.ssh", "/run/dbus", "/var/run", "/var/lib/docker/x", "/var"],
)
def test_directories_that_are_the_host_are_doors(path: str) -> None:
    assert is_door(path)


@pytest.mark.parametrize("path", ["/srv/www", "/etc/ssl", "/srv/somebody/site", "/dev/null", "/process", "/tmp"])
def test_others_are_not(path: str) -> None:
    assert not is_door(path)


@pytest.mark.parametrize("path", ["/data/twinhull", "/data/twinhull/instances", "/data"])
def test_our_own_state_and_what_holds_it_is_a_door(path: str) -> None:
    assert not is_door(path)
    assert is_door(path, ["/data/twinhull"])


def test_an_engines_socket_is_known_by_its_name_wherever_it_lies() -> None:
    request = Request("app", volumes=(Volume("/run/user/0/podman.sock", "/run/docker.sock"), Volume("/srv", "/srv")))
    found = needs_of(request)
    assert found.sockets == ("/run/user/0/podman.sock",)
    assert (found.doors, found.volumes, found.namespaces, found.bridge) == (("/srv",), 2, (), True)


def test_the_hosts_network_is_a_namespace_of_the_host() -> None:
    found = needs_of(Request("app", network="host"))
    assert (found.namespaces, found.bridge) == (("network",), False)
    assert not needs_of(Request("app", network="mine")).bridge


@pytest.mark.parametrize(
    ("said", "asked", "root"),
    [
        ("", "", True),
        ("0:0", "", True),
        ("root", "", True),
        ("www", "", False),
        ("", "1000", False),
        ("www", "0", True),
    ],
)
def test_the_user_is_the_requests_else_the_images_else_root(said: str, asked: str, root: bool) -> None:
    assert packed_of(image({"User": said}), Request("app", user=asked)).root is root


def test_an_image_says_its_platform_ports_and_volumes() -> None:
    config: dict[str, Any] = {"ExposedPorts": {"80/tcp": {}, "443/tcp": {}}, "Volumes": {"/data": {}}}
    found = packed_of(image(config, "linux/arm64/v8"), Request("app"))
    assert found == Packed(True, "linux", "arm64", True, ("443/tcp", "80/tcp"), ("/data",), 1000)


def test_of_an_image_that_is_not_here_the_platform_that_was_asked_for_is_known() -> None:
    assert unknown_image("") == Packed()
    assert unknown_image("aarch64") == unknown_image("linux/arm64/v8") == Packed(architecture="arm64")


def test_capabilities_that_every_workload_has_are_no_privilege() -> None:
    assert beyond_default(["chown", "NET_ADMIN", "CAP_SYS_ADMIN"]) == ("CAP_NET_ADMIN", "CAP_SYS_ADMIN")


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
flags = words.filter(lambda word: word.strip() and "=" not in word and word.isprintable())
ports = st.builds(
    Port,
    st.sampled_from(("", "127.0.0.1", "::1")),
    st.sampled_from((0, 8080)),
    st.just(80),
    st.sampled_from(("tcp", "udp")),
)
requests = st.builds(
    Request,
    image=st.just("app"),
    command=st.lists(words, max_size=3).map(tuple),
    isolation=st.just("vm"),
    name=st.just("web"),
    entrypoint=st.one_of(st.none(), words.map(lambda word: (word,)), st.just(())),
    environment=st.lists(flags.map(lambda name: f"{name}=it's $HOME"), max_size=2).map(tuple),
    workdir=words,
    hostname=st.sampled_from(("", "web.example.org")),
    user=st.sampled_from(("", "-1", "0:0")),
    memory_bytes=st.sampled_from((0, 64 << 20)),
    cpus=st.sampled_from((0.0, 0.5, 1.0)),
    pids_limit=st.integers(0, 9),
    ports=st.lists(ports, max_size=2).map(tuple),
    expose=st.sampled_from(((), ("80/udp", "90"))),
    publish_all=st.booleans(),
    volumes_from=st.sampled_from(((), ("db:ro", "web"))),
    runtime=st.sampled_from(("", "crun")),
    boots=st.booleans(),
    volumes=st.sampled_from(
        (
            (),
            (Volume("/", "/host", True), Volume("/etc", "/e")),
            (Volume("data", "/d", kind="volume", nocopy=True), Volume("", "/a", kind="volume")),
        )
    ),
    tty=st.booleans(),
    interactive=st.booleans(),
    remove=st.booleans(),
    readonly=st.booleans(),
    platform=st.sampled_from(("", "linux/arm64")),
    stop_signal=st.sampled_from(("", "TERM")),
    user_namespace=st.booleans(),
    labels=st.lists(flags.map(lambda key: (key, "=")), max_size=2).map(tuple),
    untrusted=st.booleans(),
    accept_weak_wall=st.booleans(),
    cap_add=st.sampled_from(((), ("NET_ADMIN", "all"))),
    cap_drop=st.sampled_from(((), ("CHOWN",))),
    privileged=st.booleans(),
    seccomp=st.sampled_from(("", "unconfined")),
    no_new_privileges=st.booleans(),
    unmasked=st.booleans(),
    ulimits=st.sampled_from(((), (("nofile", 1, 2), ("core", -1, -1)))),
    init=st.booleans(),
    sysctls=st.sampled_from(((), (("net.core.somaxconn", "a=b"),))),
    tmpfs=st.sampled_from(((), (("/run", ""), ("/tmp", "size=1m,exec")))),
    shm_bytes=st.sampled_from((0, 1 << 20)),
    devices=st.sampled_from(((), (Device("/dev/a", "/dev/b", "rm"),))),
    groups=st.sampled_from(((), ("7", "wheel"))),
    swap_bytes=st.sampled_from((0, -1)),
    cpu_shares=st.sampled_from((0, 2)),
    cpuset=st.sampled_from(("", "0")),
    oom_score_adj=st.sampled_from((None, 0, -5)),
    stop_timeout=st.sampled_from((None, 0, -1)),
    health=st.sampled_from(
        (Health(), Health(("NONE",)), Health(("CMD-SHELL", "a b")), Health(("CMD-SHELL", "c"), 1, 1500, 2, 3, 4))
    ),
    restart=st.sampled_from(("", "always", "on-failure:3")),
    umask=st.sampled_from((None, 0, 0o77)),
    hosts=st.sampled_from(((), (("db", "fd00::2"), ("gw", "host-gateway")))),
    dns=st.sampled_from(((), ("9.9.9.9",))),
    dns_search=st.sampled_from(((), (".",))),
    dns_options=st.sampled_from(((), ("ndots:1",))),
    domainname=st.sampled_from(("", "example.org")),
    mac=st.sampled_from(("", "02:00:00:00:00:01")),
)
NETWORKS = (
    ("bridge", ()),
    ("none", ()),
    ("bridge", (Attachment("bridge", "10.83.0.9", ("db", "sql")),)),
    ("back", (Attachment("back"), Attachment("front", "", ("web",), "fd00::9"))),
)
requests = st.builds(
    lambda request, place: request._replace(network=place[0], attachments=place[1]), requests, st.sampled_from(NETWORKS)
)


def test_every_field_of_a_request_is_tried_but_what_no_flag_of_run_sets() -> None:
    made = {"stdin_open", "disk"}
    text = Path(__file__).read_text()
    assert {name for name in Request._fields if f"    {name}=" not in text} - made == {"network", "attachments"}


@given(requests, st.booleans())
def test_the_command_line_makes_the_very_request(request: Request, detach: bool) -> None:
    extra = ("--detach",) if detach else ()
    verb, run, *rest = shlex.split(command_line(request, isolation="vm", extra=extra))
    assert (verb, run) == ("twinhull", "run")
    parser = Parser("run")
    configure_run(parser)
    arguments = parser.parse_args(rest)
    assert request_of(arguments, Config()) == request
    assert arguments.detach is detach
