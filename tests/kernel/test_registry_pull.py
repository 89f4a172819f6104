"""Pulls from a real registry: what is on the disk afterwards, and what is not."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.layers import OCI, Layout, digest, directory, entry, symlink, tar
from tests.support.registry import Registry
from tests.support.relay import relay
from tests.support.store import Recorder, Store, make_store
from twinhull.errors import NotFound, RegistryError, TwinhullError
from twinhull.store import content, images
from twinhull.store import registry as registries

PASSWD = b"root:x:0:0:root:/root:/bin/sh\n"
BASE = tar([directory("etc"), entry("etc/passwd", PASSWD), entry("etc/group", b"root:x:0:\n"), entry("old", b"1")])
TOP = tar([entry(".wh.old"), entry("new", b"2"), symlink("link", "new")])
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


@pytest.fixture
def place(request: pytest.FixtureRequest) -> str:
    """A repository of the test's own."""
    return f"test{abs(hash(request.node.name)) % 10**9}"


def put(registry: Registry, layout: Layout, place: str, tars: list[bytes]) -> str:
    layout.tag(layout.manifest(tars), "it")
    return registry.put(layout.path, "it", place)


def big(megabytes: int) -> bytes:
    return tar([entry("random", os.urandom(megabytes << 20))])


def test_a_pulled_image_is_unpacked_verified_and_found_by_every_name(
    store: Store, registry: Registry, layout: Layout, place: str
) -> None:
    name = put(registry, layout, place, [BASE, TOP])
    image = registries.pull(store.config, store.db, name)
    top, base = store.layers(image)
    assert (top / "new").read_bytes() == b"2"
    assert (base / "etc/passwd").read_bytes() == PASSWD
    assert (image.passwd, image.group) == (PASSWD.decode(), "root:x:0:\n")
    assert image.platform == "linux/amd64"
    for spelling in (name, f"{name}:latest", f"docker://{name}", image.config_digest, image.digest[7:19]):
        assert images.find(store.db, spelling) == image
    for layer in image.layers:
        assert digest(Path(content.blob_path(store.config, layer.digest)).read_bytes()) == layer.digest
    assert store.leftovers() == []


def test_what_is_here_is_not_fetched_again(store: Store, registry: Registry, layout: Layout, place: str) -> None:
    first = Recorder()
    registries.pull(store.config, store.db, put(registry, layout, place, [BASE]), progress=first)
    layout.tag(layout.manifest([BASE, TOP]), "more")
    second = Recorder()
    image = registries.pull(store.config, store.db, registry.put(layout.path, "more", place), progress=second)
    assert list(first.seen.values()) == ["finished"]
    assert [second.seen[layer.digest] for layer in image.layers] == ["present", "finished"]
    assert first.bytes == {image.layers[0].digest: image.layers[0].size_bytes}


def test_dockers_manifests_keep_their_digest(store: Store, registry: Registry, layout: Layout, place: str) -> None:
    layout.tag(layout.manifest([BASE, TOP]), "it")
    name = registry.put(layout.path, "it", place, "--format", "v2s2")
    image = registries.pull(store.config, store.db, name)
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"], capture_output=True, check=True
    ).stdout
    assert json.loads(raw)["mediaType"].startswith("application/vnd.docker")
    assert image.digest == digest(raw)
    assert content.read_blob(store.config, image.digest) == raw


@pytest.mark.parametrize("how", ["zstd", "plain", "gzip members"])
def test_layers_of_other_compressions_are_unpacked(
    store: Store, registry: Registry, layout: Layout, place: str, how: str
) -> None:
    if how == "zstd":
        packed = subprocess.run(["zstd", "-qc"], input=BASE, capture_output=True, check=True).stdout
        layer = layout.blob(packed, f"{OCI}layer.v1.tar+zstd")
    elif how == "plain":
        layer = layout.blob(BASE, f"{OCI}layer.v1.tar")
    else:
        layer = layout.blob(gzip.compress(BASE[:700]) + gzip.compress(BASE[700:]), f"{OCI}layer.v1.tar+gzip")
    layout.tag(layout.manifest_of([layer], [digest(BASE)]), "it")
    name = registry.put(layout.path, "it", place, "--preserve-digests")
    image = registries.pull(store.config, store.db, name)
    assert (store.layers(image)[0] / "etc/passwd").read_bytes() == PASSWD


def test_an_image_by_digest_and_by_directory(store: Store, registry: Registry, layout: Layout, place: str) -> None:
    name = put(registry, layout, place, [BASE])
    image = registries.pull(store.config, store.db, name)
    assert registries.pull(store.config, store.db, f"{name}@{image.digest}") == image
    assert registries.pull(store.config, store.db, f"oci:{layout.path}:it") == image
    assert images.find(store.db, f"oci:{layout.path}:it") == image


def test_of_an_index_the_platform_is_taken(store: Store, registry: Registry, layout: Layout, place: str) -> None:
    other = layout.manifest([TOP], architecture="arm64")
    layout.tag(layout.index(amd64=layout.manifest([BASE]), arm64=other), "it")
    name = registry.put(layout.path, "it", place, "--all")
    assert registries.pull(store.config, store.db, name).layers[0].diff_id == digest(BASE)
    assert registries.pull(store.config, store.db, name, platform="linux/arm64").layers[0].diff_id == digest(TOP)
    assert registries.available(store.config, store.db, name) == (("linux/amd64", "linux/arm64"), True)
    with pytest.raises(NotFound, match="no image for linux/riscv64") as caught:
        registries.pull(store.config, store.db, name, platform="riscv64")
    assert caught.value.hint == "it exists for linux/amd64, linux/arm64"


def test_an_image_for_another_machine_is_refused(store: Store, registry: Registry, layout: Layout, place: str) -> None:
    layout.tag(layout.manifest([BASE], architecture="s390x"), "it")
    name = registry.put(layout.path, "it", place)
    with pytest.raises(NotFound, match=r"wrong architecture.* is for linux/s390x"):
        registries.pull(store.config, store.db, name)
    assert store.leftovers() == []
    assert registries.pull(store.config, store.db, name, platform="linux/s390x").platform == "linux/s390x"


@pytest.mark.parametrize("damage", ["flipped", "shorter", "longer", "another gzip"])
def test_a_corrupt_layer_is_refused_and_a_mended_one_pulled(
    store: Store, registry: Registry, layout: Layout, place: str, damage: str
) -> None:
    salt = entry(f"salt-{damage}", os.urandom(1000))
    name = put(registry, layout, place, [BASE, tar([salt])])
    layer = registry_manifest(name)["layers"][1]
    blob = registry.blob(layer["digest"])
    whole = blob.read_bytes()
    broken = {
        "flipped": whole[:500] + bytes([whole[500] ^ 1]) + whole[501:],
        "shorter": whole[:-10],
        "longer": whole + b"more",
        "another gzip": gzip.compress(tar([entry("evil")])).ljust(len(whole), b"\0"),
    }
    blob.write_bytes(broken[damage])
    with pytest.raises(RegistryError) as caught:
        registries.pull(store.config, store.db, name)
    assert caught.value.exit_code == 125
    assert "corrupt" in caught.value.message or "early" in caught.value.message, "its bytes are blamed, not its tar"
    assert caught.value.hint
    assert images.everything(store.db) == []
    assert store.leftovers() == []
    blob.write_bytes(whole)
    assert len(registries.pull(store.config, store.db, name).layers) == 2


def registry_manifest(name: str) -> dict[str, list[dict[str, str]]]:
    words = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"]
    found: dict[str, list[dict[str, str]]] = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    return found


def test_a_layer_that_is_not_what_the_config_says_is_refused(
    store: Store, registry: Registry, layout: Layout, place: str
) -> None:
    layer = layout.blob(gzip.compress(BASE), f"{OCI}layer.v1.tar+gzip")
    layout.tag(layout.manifest_of([layer], [digest(TOP)]), "it")
    with pytest.raises(RegistryError, match="corrupt layer"):
        registries.pull(store.config, store.db, f"oci:{layout.path}:it")
    assert store.leftovers() == []


def test_a_hostile_layer_is_refused_by_name(store: Store, registry: Registry, layout: Layout, place: str) -> None:
    name = put(registry, layout, place, [BASE, tar([entry("../evil")])])
    with pytest.raises(RegistryError, match=r"layer [0-9a-f]{12}: entry '../evil' leads out"):
        registries.pull(store.config, store.db, name)
    assert store.leftovers() == []


def test_what_does_not_exist_or_answer_is_one_clear_line(store: Store, registry: Registry, layout: Layout) -> None:
    name = put(registry, layout, "exists", [BASE])
    for missing in (f"{name}:other", f"{registry.address}/no/such", f"{name}@sha256:{'0' * 64}"):
        with pytest.raises(NotFound, match="no such image"):
            registries.pull(store.config, store.db, missing)
    for missing in (f"oci:{layout.path}:other", "oci:/no/such", "docker-archive:/no/such"):
        with pytest.raises((NotFound, RegistryError)):
            registries.pull(store.config, store.db, missing)
    for nobody in ("127.0.0.1:1/x", "localhost:1/x"):
        with pytest.raises(RegistryError, match="cannot reach"):
            registries.pull(store.config, store.db, nobody)
    assert store.leftovers() == []


def test_a_hundred_and_thirty_layers_fit_one_mount(
    store: Store, registry: Registry, layout: Layout, place: str, tmp_path: Path
) -> None:
    tars = [tar([entry(f"file{number % 128}", str(number).encode())]) for number in range(130)]
    image = registries.pull(store.config, store.db, put(registry, layout, place, [*tars, tars[0]]))
    base, lower = store.config.state + "/layers", ":".join(path.name for path in store.layers(image))
    assert len(lower.split(":")) == 130, "the same layer in two places is mounted once, where it lies highest"
    merged = tmp_path / "merged"
    merged.mkdir()
    script = f"cd {base} && mount -t overlay o -o ro,lowerdir={lower} {merged} && cat {merged}/file0 {merged}/file1"
    shown = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout == "0129"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "small", str(path)], check=True)
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_is_said_and_leaves_nothing(
    small_disk: Path, registry: Registry, layout: Layout, place: str
) -> None:
    store = make_store(small_disk)
    small = registries.pull(store.config, store.db, put(registry, layout, f"{place}s", [BASE]))
    layout.tag(layout.manifest([BASE, big(14)]), "large")
    name = registry.put(layout.path, "large", place)
    with pytest.raises(RegistryError, match="No space left") as caught:
        registries.pull(store.config, store.db, name)
    assert "make room" in caught.value.hint
    assert store.leftovers() == []
    assert [listed.image for listed in images.everything(store.db)] == [small]
    store.db.close()


def test_a_cut_connection_is_an_error_not_a_hang(store: Store, registry: Registry, layout: Layout, place: str) -> None:
    name = put(registry, layout, place, [big(12)])
    with relay(registry.port, 4 << 20, cut=True) as between:
        started = time.monotonic()
        with pytest.raises(RegistryError):
            registries.pull(store.config, store.db, name.replace(registry.address, between.address))
        assert time.monotonic() - started < 30
    assert store.leftovers() == []


def test_a_stall_that_ends_is_waited_for(store: Store, registry: Registry, layout: Layout, place: str) -> None:
    name = put(registry, layout, place, [big(12)])
    with relay(registry.port, 4 << 20) as between:
        timer = threading.Timer(7, between.released.set)
        timer.start()
        image = registries.pull(store.config, store.db, name.replace(registry.address, between.address))
        timer.join()
    assert (store.layers(image)[0] / "random").stat().st_size == 12 << 20


PULL = """
import sys
from twinhull.errors import TwinhullError
from twinhull.store import registry
from tests.support.store import make_store, Recorder
store = make_store(sys.argv[1])
recorder = Recorder()
try:
    registry.pull(store.config, store.db, sys.argv[2], progress=recorder)
except TwinhullError as error:
    sys.exit(str(error))
finally:
    print(sorted(recorder.seen.values()))
"""


def pulling(root: Path, name: str) -> subprocess.Popen[str]:
    """A pull in a process of its own."""
    variables = {**os.environ, "PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY}"}
    words = [sys.executable, "-c", PULL, str(root), name]
    return subprocess.Popen(
        words, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_pull_leaves_nothing_that_is_believed(
    store: Store, registry: Registry, layout: Layout, place: str, tmp_path: Path, number: int
) -> None:
    name = put(registry, layout, place, [BASE, big(12)])
    with relay(registry.port, 6 << 20) as between:
        process = pulling(tmp_path, name.replace(registry.address, between.address))
        assert between.stalled.wait(30)
        time.sleep(0.3)
        process.send_signal(number)
        process.communicate(timeout=30)
        assert process.returncode != 0
    assert images.everything(store.db) == []
    if number == signal.SIGINT:
        assert store.leftovers() == []
    else:
        assert store.leftovers() != []
    registries.pull(store.config, store.db, name)
    assert store.leftovers() == [], "the next pull sweeps"


def test_two_pulls_at_once_fetch_each_layer_once(
    store: Store, registry: Registry, layout: Layout, place: str, tmp_path: Path
) -> None:
    layout.tag(layout.manifest([BASE, big(6), big(5)]), "it")
    name = registry.put(layout.path, "it", place)
    processes = [pulling(tmp_path, name) for _ in range(3)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    fetched = sum(stdout.count("finished") for stdout, _ in outputs)
    assert fetched == 3
    assert store.leftovers() == []


def test_an_error_of_one_layer_is_the_errors_of_the_pull(
    store: Store, registry: Registry, layout: Layout, place: str
) -> None:
    tars = [tar([entry(f"f{number}", os.urandom(100_000))]) for number in range(8)]
    name = put(registry, layout, place, [*tars, tar([entry("../evil")])])
    with pytest.raises(TwinhullError, match="evil"):
        registries.pull(store.config, store.db, name)
    assert images.everything(store.db) == []
