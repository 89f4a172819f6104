"""What is done with images that are here: push, tag, save, load, remove, disks; and the embedded one."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from tests.support.command import Twinhull
from tests.support.layers import Layout, digest, directory, entry, hardlink, symlink, tar
from tests.support.registry import Registry
from tests.support.store import Recorder, Store, make_store
from twinhull.compare.image import image_facts
from twinhull.engine import Engine
from twinhull.errors import Conflict, InvalidRequest, NotFound, RegistryError
from twinhull.model import Image
from twinhull.store import archive, content, disk, embedded, engines, images, removal
from twinhull.store import registry as registries

BASE = tar([directory("etc"), entry("etc/passwd", b"root:x:0:0::/:/bin/sh\n"), entry("base", b"1")])
TOP = tar([entry("top", b"2")])


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def pulled(store: Store, layout: Layout, tars: list[bytes], tag: str = "it") -> Image:
    layout.tag(layout.manifest(tars), tag)
    return registries.pull(store.config, store.db, f"oci:{layout.path}:{tag}")


def test_a_pushed_image_keeps_its_digest(store: Store, registry: Registry, layout: Layout, tmp_path: Path) -> None:
    image = pulled(store, layout, [BASE, TOP])
    target = f"{registry.address}/pushed/it:1"
    assert registries.push(store.config, store.db, image.digest, target) == image.digest
    other = make_store(tmp_path / "other")
    assert registries.pull(other.config, other.db, target) == image
    other.db.close()


def test_an_image_in_dockers_form_is_pushed_as_it_came(
    store: Store, registry: Registry, layout: Layout, tmp_path: Path
) -> None:
    layout.tag(layout.manifest([BASE]), "it")
    image = registries.pull(store.config, store.db, registry.put(layout.path, "it", "docker1", "--format", "v2s2"))
    registries.push(store.config, store.db, f"{registry.address}/docker1", f"{registry.address}/docker2")
    words = ["skopeo", "inspect", "--tls-verify=false", f"docker://{registry.address}/docker2"]
    assert json.loads(subprocess.run(words, capture_output=True, check=True).stdout)["Digest"] == image.digest


def test_a_push_to_nobody_is_one_clear_line(store: Store, layout: Layout) -> None:
    image = pulled(store, layout, [BASE])
    with pytest.raises(RegistryError, match=r"cannot reach 127.0.0.1:1"):
        registries.push(store.config, store.db, image.digest, "127.0.0.1:1/x")
    with pytest.raises(NotFound, match="no such image here"):
        registries.push(store.config, store.db, "nothing")
    assert store.leftovers() == []


def test_the_embedded_image_is_valid_can_be_pushed_and_is_always_the_same(
    store: Store, registry: Registry, tmp_path: Path
) -> None:
    image = embedded.ensure(store.config, store.db)
    other = make_store(tmp_path / "other")
    assert embedded.ensure(other.config, other.db) == image
    assert image.passwd.startswith("root:x:0:0:root:/root:/bin/sh\n")
    (layer,) = store.layers(image)
    ran = subprocess.run(
        ["chroot", layer, "sh", "-c", "echo $((6*7)); ls /bin | wc -l"], capture_output=True, text=True
    )
    assert ran.stdout.split()[0] == "42"
    assert stat.S_IMODE((layer / "tmp").stat().st_mode) == 0o1777
    name = f"{registry.address}/embedded"
    registries.push(store.config, store.db, "twinhull/busybox", name)
    assert registries.pull(other.config, other.db, name).digest == image.digest
    other.db.close()


def test_the_embedded_image_is_made_once_and_quickly(store: Store) -> None:
    embedded.ensure(store.config, store.db)
    started = time.perf_counter()
    embedded.ensure(store.config, store.db)
    assert time.perf_counter() - started < 0.02


def test_busybox_means_the_embedded_image_until_another_is_pulled(store: Store, layout: Layout) -> None:
    recorder = Recorder()
    assert embedded.is_meant(store.db, "busybox")
    assert not embedded.is_meant(store.db, "busybox:1.36")
    image = embedded.obtain(store.config, store.db, "busybox", progress=recorder)
    assert recorder.notices == [embedded.NOTICE]
    assert images.find(store.db, "busybox") == image
    images.set_tag(store.db, "docker.io/library/busybox:1.36", pulled(store, layout, [BASE]).digest)
    embedded.give_way(store.db, ["docker.io/library/busybox:1.36"])
    assert images.find(store.db, "busybox") is None
    assert not embedded.is_meant(store.db, "busybox")
    assert images.find(store.db, "twinhull/busybox") == image


@pytest.mark.parametrize("format", archive.FORMATS)
def test_a_saved_image_is_loaded_with_name_layers_and_config(
    store: Store, layout: Layout, tmp_path: Path, format: str
) -> None:
    image = pulled(store, layout, [BASE, TOP])
    images.tag(store.db, image.digest, "some/name:1")
    archive.save(store.config, store.db, "some/name:1", str(tmp_path / "saved.tar"), format=format)
    other = make_store(tmp_path / "other")
    (loaded,) = archive.load(other.config, other.db, str(tmp_path / "saved.tar"))
    assert loaded.names == ("docker.io/some/name:1",)
    assert images.find(other.db, "some/name:1") == loaded.image
    assert [layer.diff_id for layer in loaded.image.layers] == [layer.diff_id for layer in image.layers]
    if format == "oci-archive":
        assert loaded.image == image
    assert [listed.name for listed in images.everything(other.db)] == ["docker.io/some/name:1"]
    assert other.leftovers() == []
    other.db.close()


def test_all_images_of_dockers_archive_are_loaded(store: Store, tmp_path: Path) -> None:
    made = tmp_path / "two.tar"
    config = {"os": "linux", "architecture": "amd64", "config": {}}
    with tarfile.open(made, "w") as target:
        listed = []
        for number, layer in enumerate((BASE, TOP)):
            diff_id = digest(layer)
            text = json.dumps({**config, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}).encode()
            for name, body in ((f"{number}.json", text), (f"{number}/layer.tar", layer)):
                info, file = entry(name, body)
                target.addfile(info, io.BytesIO(file))
            listed.append({"Config": f"{number}.json", "RepoTags": [f"t{number}:x"], "Layers": [f"{number}/layer.tar"]})
        info, body = entry("manifest.json", json.dumps(listed).encode())
        target.addfile(info, io.BytesIO(body))
    loaded = archive.load(store.config, store.db, str(made))
    assert [one.names for one in loaded] == [("docker.io/library/t0:x",), ("docker.io/library/t1:x",)]
    assert images.get(store.db, "t1:x") == loaded[1].image


def test_what_is_no_archive_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(tar([entry("x")]))
    with pytest.raises(InvalidRequest, match="no archive of images"):
        archive.load(store.config, store.db, str(tmp_path / "file"))
    with pytest.raises(NotFound):
        archive.load(store.config, store.db, str(tmp_path / "nothing"))
    (tmp_path / "noise").write_bytes(os.urandom(4096))
    with pytest.raises(RegistryError):
        archive.load(store.config, store.db, str(tmp_path / "noise"))


def test_an_image_of_podmans_storage_is_taken(store: Store, layout: Layout, tmp_path: Path) -> None:
    layout.tag(layout.manifest([BASE, TOP]), "it")
    place = f"containers-storage:[vfs@{tmp_path}/graph+{tmp_path}/runroot]localhost/it:1"
    subprocess.run(["skopeo", "copy", "-q", f"oci:{layout.path}:it", place], check=True)
    image = registries.pull(store.config, store.db, place)
    assert (store.layers(image)[0] / "top").read_bytes() == b"2"
    assert images.find(store.db, "localhost/it:1") == image
    assert store.leftovers() == []


def test_a_docker_that_does_not_answer_has_no_image(tmp_path: Path) -> None:
    assert not engines.docker_has("busybox", str(tmp_path / "no.sock"))


def add_workload(store: Store, image: Image, name: str) -> None:
    values = ("id", name, "it", image.digest, "container", 0.0, "[]", "{}", "boot")
    store.db.execute(
        "INSERT INTO instance (id,name,image,image_digest,isolation,created,command,request,boot_id) "
        f"VALUES ({','.join('?' * 9)})",
        values,
    )


def test_an_image_goes_with_its_last_name_and_shared_layers_stay(store: Store, layout: Layout) -> None:
    first, second = pulled(store, layout, [BASE], "a"), pulled(store, layout, [BASE, TOP], "b")
    images.tag(store.db, second.digest, "named")
    disk.ensure(store.config, store.db, second)
    assert removal.remove(store.config, store.db, f"oci:{layout.path}:b").deleted == ""
    assert removal.remove(store.config, store.db, "named") == (("named:latest",), second.digest)
    assert images.by_digest(store.db, second.digest) is None
    assert (store.layers(first)[0] / "base").exists()
    assert os.listdir(f"{store.config.state}/disks") == []
    assert len(os.listdir(f"{store.config.state}/layers")) == 1
    assert len(os.listdir(f"{store.config.state}/content/sha256")) == 3
    assert store.leftovers() == []


def test_an_image_in_use_is_kept_and_only_untagged_by_force(store: Store, layout: Layout) -> None:
    image = pulled(store, layout, [BASE])
    images.tag(store.db, image.digest, "named")
    removal.remove(store.config, store.db, f"oci:{layout.path}:it")
    add_workload(store, image, "worker")
    with pytest.raises(Conflict, match="in use by worker"):
        removal.remove(store.config, store.db, "named")
    assert removal.remove(store.config, store.db, "named", force=True).deleted == ""
    assert images.by_digest(store.db, image.digest) == image
    assert removal.collect(store.config, store.db) == []
    store.db.execute("DELETE FROM instance")
    assert removal.collect(store.config, store.db) == [image.digest]
    assert os.listdir(f"{store.config.state}/layers") == []


def test_an_id_with_several_names_needs_force(store: Store, layout: Layout) -> None:
    image = pulled(store, layout, [BASE])
    images.tag(store.db, image.digest, "named")
    with pytest.raises(Conflict, match="several names"):
        removal.remove(store.config, store.db, image.config_digest)
    assert removal.remove(store.config, store.db, image.config_digest, force=True).deleted == image.digest


def test_numbers_of_removed_layers_are_no_danger(store: Store, layout: Layout) -> None:
    pulled(store, layout, [BASE], "a")
    removal.remove(store.config, store.db, f"oci:{layout.path}:a")
    image = pulled(store, layout, [TOP], "b")
    assert (store.layers(image)[0] / "top").exists()


def test_a_tag_is_a_name_in_a_registry(store: Store, layout: Layout) -> None:
    image = pulled(store, layout, [BASE])
    for bad in ("oci:x", f"x@{image.digest}", "UPPER"):
        with pytest.raises(InvalidRequest):
            images.tag(store.db, image.digest, bad)


def test_a_disk_shows_what_a_container_sees_and_is_always_the_same(
    store: Store, layout: Layout, tmp_path: Path
) -> None:
    link, _ = symlink("link", "file")
    lower = tar([directory("gone"), entry("gone/x"), directory("opaque"), entry("opaque/old"), entry("file", b"old")])
    upper = tar(
        [
            *(entry(".wh.gone"), directory("opaque", mode=0o1777, mtime=99), entry("opaque/.wh..wh..opq")),
            *(entry("file", b"new", mode=0o4755, uid=1000, gid=7, mtime=1234567890), hardlink("hard", "file")),
            *((link, b""), entry("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)),
        ]
    )
    image = pulled(store, layout, [lower, upper])
    made = Path(disk.ensure(store.config, store.db, image))
    assert disk.ensure(store.config, store.db, image) == str(made)
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    target = tmp_path / "mounted"
    target.mkdir()
    look = f"""mount -t erofs -o loop,ro {made} {target} && cd {target} &&
        find . -mindepth 1 -printf '%p %y %m %U:%G %n %T@\n' | sort && getfattr -R -d -m - . ; umount {target}"""
    shown = subprocess.run(["unshare", "-m", "sh", "-c", look], capture_output=True, text=True, check=False)
    lines = shown.stdout.splitlines()
    assert "./file f 4755 1000:7 2 1234567890.0000000000" in lines, shown
    assert any(line.startswith("./opaque d 1777 0:0") and line.endswith(" 99.0000000000") for line in lines)
    assert [line.split()[0] for line in lines] == ["./file", "./hard", "./link", "./null", "./opaque"]
    again = make_store(tmp_path / "again")
    other = registries.pull(again.config, again.db, f"oci:{layout.path}:it")
    assert Path(disk.ensure(again.config, again.db, other)).read_bytes() == made.read_bytes()
    assert (store.leftovers(), again.leftovers()) == ([], [])
    again.db.close()


def test_blobs_are_readable_by_root_only(store: Store, layout: Layout) -> None:
    image = pulled(store, layout, [BASE])
    assert stat.S_IMODE(os.stat(content.blob_path(store.config, image.digest)).st_mode) == 0o600


def test_an_image_of_a_directory_is_named_like_any_other_and_run_from_what_lies_there(
    tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    command = Twinhull(home)
    name = f"oci:{layout.path}:it"
    layout.tag(layout.manifest([BASE]), "it")
    command("pull", name, check=True)
    first = command("inspect", name, check=True).stdout
    command("tag", name, "mine", check=True)
    monkeypatch.chdir(layout.path.parent)
    command("tag", f"oci:{layout.path.name}:it", "mine:relative", check=True)
    command("save", "-o", str(tmp_path / "saved"), name, check=True)
    layout.entries.clear()
    layout.tag(layout.manifest([TOP]), "it")
    command("create", "--entrypoint", "/x", name, check=True)
    assert command("inspect", name, check=True).stdout != first, "it may have changed: it is read again"
    assert command("inspect", "mine", check=True).stdout == first
    command.remove_all()


def test_the_platforms_are_those_of_the_reference_that_is_compared(
    store: Store, registry: Registry, tmp_path: Path
) -> None:
    """An image of three names: an index and a manifest in a registry, and one that was made here."""
    with Engine(store.config) as engine:
        embedded.obtain(store.config, store.db, embedded.NAME)
        target = f"{registry.address}/compared/one:1"
        registries.push(store.config, store.db, embedded.NAME, target)
        registries.pull(store.config, store.db, target)
        own = images.find(store.db, target)
        assert own is not None
        assert described(engine, embedded.NAME) == ((own.platform,), "the image here")
        assert described(engine, own.digest) == ((own.platform,), "the image here")
        assert described(engine, target) == ((own.platform,), f"one manifest at {registry.address}")
        layout = Layout(tmp_path / "index")
        layout.tag(
            layout.index(amd64=layout.manifest([BASE]), arm64=layout.manifest([TOP], architecture="arm64")), "it"
        )
        several = registry.put(layout.path, "it", "compared/several", "--all")
        assert described(engine, several) == (("linux/amd64", "linux/arm64"), f"an index at {registry.address}")


def described(engine: Engine, reference: str) -> tuple[tuple[str, ...], str]:
    """The platforms that a comparison names, and where it saw them."""
    facts = image_facts(engine, reference)
    return facts.platforms, facts.platforms_source
