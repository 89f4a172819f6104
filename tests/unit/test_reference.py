"""References as Docker reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.errors import InvalidRequest
from twinhull.oci.reference import familiar, is_loopback, parse

pytestmark = pytest.mark.unit
DIGEST = "sha256:" + "ab" * 32

SAME_AS_DOCKER = {
    "busybox": "docker.io/library/busybox:latest",
    "busybox:1.36": "docker.io/library/busybox:1.36",
    "docker://busybox": "docker.io/library/busybox:latest",
    "twinhull/busybox": "docker.io/twinhull/busybox:latest",
    "index.docker.io/busybox": "docker.io/library/busybox:latest",
    "docker.io/library/busybox": "docker.io/library/busybox:latest",
    "localhost/x": "localhost/x:latest",
    "localhost:5000/x/y:v1": "localhost:5000/x/y:v1",
    "127.0.0.1:5000/x": "127.0.0.1:5000/x:latest",
    "[::1]:5000/x": "[::1]:5000/x:latest",
    "quay.io/a/b/c:T_1.0-x": "quay.io/a/b/c:T_1.0-x",
    "MyHost/x": "MyHost/x:latest",
    f"busybox@{DIGEST}": f"docker.io/library/busybox@{DIGEST}",
    f"busybox:1@{DIGEST}": f"docker.io/library/busybox@{DIGEST}",
    "a__b/c--d.e_f": "docker.io/a__b/c--d.e_f:latest",
}


@pytest.mark.parametrize("text", SAME_AS_DOCKER)
def test_every_spelling_has_dockers_one_name(text: str) -> None:
    assert parse(text).name == SAME_AS_DOCKER[text]


@pytest.mark.parametrize("text", SAME_AS_DOCKER)
def test_the_familiar_spelling_leads_back_to_the_same_name(text: str) -> None:
    assert parse(parse(text).familiar).name == parse(text).name


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ":",
            "/",
            "@",
            "a:",
            ":a",
            "Busybox",
            "a//b",
            "a/",
            "/a",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a b",
            "ä",
            "a:b c",
        ),
        *("a:" + "t" * 129, "x" * 256, "ab" * 32, "busybox@sha256:12", "busybox@", "a@md5:" + "0" * 32, "https://x/y"),
        *("host:/x", "host:port/x", "host:99999/x", "h..x/y", "[::1/x", "[zz]:1/x", "-h.x/y", "oci:", "docker-daemon:"),
        *("docker://", "a\n", "a\0b", "a:b\n", "..", "../x", "x/../y"),
    ],
)
def test_a_bad_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(text)
    assert repr(text) in caught.value.message


@pytest.mark.parametrize(
    ("text", "transport", "place"),
    [
        ("oci:some/dir:tag", "oci", "some/dir:tag"),
        ("docker-archive:/x.tar", "docker-archive", "/x.tar"),
        ("oci-archive:x.tar:t", "oci-archive", "x.tar:t"),
        ("docker-daemon:busybox:latest", "docker-daemon", "busybox:latest"),
        ("containers-storage:localhost/a", "containers-storage", "localhost/a"),
    ],
)
def test_other_transports_keep_what_follows(text: str, transport: str, place: str) -> None:
    assert (*parse(text)[:1], parse(text).place) == (transport, place)
    assert parse(text).source == text


def test_a_hint_is_a_name_that_would_be_taken() -> None:
    for text, hint in (("Busybox", "busybox"), ("reg.example/Two/Parts:1", "reg.example/two/parts:1")):
        with pytest.raises(InvalidRequest) as caught:
            parse(text)
        assert caught.value.hint == hint
        assert parse(hint)
    for text in ("Bad//Ref", "busybox:UPPER:x"):
        with pytest.raises(InvalidRequest) as caught:
            parse(text)
        assert caught.value.hint.startswith("lower case letters")


def test_a_default_registry_takes_the_place_of_dockers() -> None:
    assert parse("busybox", "127.0.0.1:5000").name == "127.0.0.1:5000/busybox:latest"
    assert parse("docker.io/busybox", "127.0.0.1:5000").name == "docker.io/library/busybox:latest"


def test_only_a_name_without_registry_is_short() -> None:
    assert parse("a/b").short
    assert not parse("localhost/b").short


def test_loopback_registries_are_known() -> None:
    assert all(map(is_loopback, ("localhost", "localhost:1", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000")))
    assert not any(map(is_loopback, ("docker.io", "127.example.org", "10.0.0.1:5000", "[fe80::1]:1")))


@given(st.text(max_size=40))
def test_any_text_is_a_reference_or_is_refused(text: str) -> None:
    try:
        reference = parse(text)
    except InvalidRequest:
        return
    assert parse(reference.source).name == reference.name
    assert familiar(reference.name) in reference.name
