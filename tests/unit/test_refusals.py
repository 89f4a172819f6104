"""Texts that skopeo 1.9 and docker-registry really wrote, and what becomes of them."""

from __future__ import annotations

import pytest

from twinhull.errors import NotFound, RegistryError, TwinhullError
from twinhull.oci.reference import parse
from twinhull.store.refusals import explain, is_about_platform

REAL: list[tuple[str, type[TwinhullError], str]] = [
    (
        "reading manifest latest in 127.0.0.1:1/none: name unknown: repository name not known to registry",
        NotFound,
        "no such image: reg.example/x:latest in reg.example",
    ),
    ("reading manifest 2 in 127.0.0.1:1/x: manifest unknown: manifest unknown", NotFound, "no such image"),
    (
        'time="2026" level=fatal msg="reading manifest 1 in docker.io/library/x: requested access to the resource is '
        'denied"',
        NotFound,
        "does not exist in reg.example, or needs a login",
    ),
    (
        'pinging container registry reg.example: Get "https://reg.example/v2/": dial tcp 127.0.0.1:1: connect: '
        "connection refused",
        RegistryError,
        "cannot fetch reg.example/x:latest: cannot reach reg.example: connect: connection refused",
    ),
    (
        'pinging container registry reg.example: Get "https://reg.example/v2/": dial tcp: lookup reg.example: no such '
        "host",
        RegistryError,
        "cannot reach reg.example",
    ),
    (
        'pinging container registry reg.example: Get "https://reg.example/v2/": http: server gave HTTP response to '
        "HTTPS client",
        RegistryError,
        "does not speak TLS",
    ),
    (
        'pinging container registry reg.example: Get "https://reg.example/v2/": x509: certificate signed by unknown '
        "authority",
        RegistryError,
        "certificate of reg.example is not trusted",
    ),
    ("toomanyrequests: You have reached your pull rate limit", RegistryError, "allows no more pulls"),
    ("corrupted blob, expecting sha256:0, got sha256:1", RegistryError, "corrupt content"),
    ("write /x/1: no space left on device", RegistryError, "no room on the disk"),
    (
        'level=fatal msg="Error parsing image name \\"docker://reg.example/x\\": getting username and password: 1 '
        'error occurred:\\n\\t* reading JSON file \\"/c/auth.json\\": open /c/auth.json: permission denied\\n\\n"',
        RegistryError,
        "the file of logins cannot be read: open /c/auth.json: permission denied",
    ),
    ("something new", RegistryError, "reg.example/x:latest: something new"),
    ("", RegistryError, "did not say why"),
]


@pytest.mark.parametrize(("text", "kind", "says"), REAL)
def test_a_refusal_becomes_one_clear_line(text: str, kind: type[TwinhullError], says: str) -> None:
    error = explain(text, parse("reg.example/x"))
    assert type(error) is kind
    assert says in error.message
    assert "\n" not in error.message


def test_a_missing_platform_is_told_from_a_missing_image() -> None:
    text = 'choosing image instance: no image found in manifest list for architecture riscv64, variant "", OS linux'
    assert is_about_platform(text)
    assert not is_about_platform("manifest unknown")


def test_an_image_that_is_here_for_another_platform_is_not_denied() -> None:
    text = "pinging container registry reg.example: connection refused"
    error = explain(text, parse("reg.example/x"), platform="linux/arm64")
    assert error.hint.endswith("reg.example/x:latest is not here for linux/arm64")


def test_what_another_engine_does_not_have_is_listed_by_it() -> None:
    assert "podman images" in explain("no such image", parse("containers-storage:x")).hint


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ('time="2026" level=fatal msg="Error parsing index: EOF"', RegistryError, "cannot be read"),
        ("EOF", RegistryError, "cannot be read"),
        ("invalid character 'x' looking for beginning of value", RegistryError, "cannot be read"),
        ("more than one image in oci, choose an image", NotFound, "has no image, or several"),
    ],
)
def test_a_layout_that_is_damaged_is_told_of_in_our_words(text: str, kind: type[TwinhullError], says: str) -> None:
    error = explain(text, parse("oci:/images/x"))
    assert type(error) is kind and error.message.startswith("oci:/images/x ") and says in error.message and error.hint
