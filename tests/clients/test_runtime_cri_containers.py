"""twinhull-oci under containerd's CRI plugin: what a pod of several containers is, and what a kubelet asks of each."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.cri import CGROUPS, Kubelet, api, containerd, running, wait_for
from tests.support.oci import ROOT, TWINHULL_OCI

MIB = 1 << 20


@pytest.fixture(scope="module")
def runtime() -> Path:
    """The runtime of containers."""
    return TWINHULL_OCI


def test_a_pod_is_ready_with_an_address_and_runs_by_our_handler(kubelet: Kubelet, pod: str) -> None:
    status = kubelet.pod_status(pod)
    assert (status.state, status.runtime_handler) == (api.SANDBOX_READY, "twinhull")
    assert status.network.ip.startswith("10.213.77.")
    assert (Path("/run/containerd/runc/k8s.io") / pod).is_dir()  # where the shim has our state


def test_two_containers_share_network_and_ipc_but_not_processes(kubelet: Kubelet, pod: str) -> None:
    own = {"security_context": {"namespace_options": {"pid": api.CONTAINER}}}
    links = "for kind in net ipc uts pid mnt; do ls -l /proc/self/ns/$kind; done"
    both = [kubelet.exec_sync(kubelet.run(pod, name, "sleep", "1000", linux=own), "sh", "-c", links) for name in "ab"]
    first, second = ([line.split()[-1] for line in done.stdout.decode().splitlines()] for done in both)
    assert first[:3] == second[:3] and first[3] != second[3] and first[4] != second[4]


def test_a_pod_may_share_its_processes(kubelet: Kubelet, pod: str) -> None:
    shared = {"security_context": {"namespace_options": {"pid": api.POD}}}
    one = kubelet.run(pod, "one", "sleep", "1111", linux=shared)
    two = kubelet.run(pod, "two", "sleep", "2222", linux=shared)
    seen = kubelet.exec_sync(two, "ps").stdout.decode()
    assert "sleep infinity" in seen and "sleep 1111" in seen and "sleep 2222" in seen
    assert kubelet.exec_sync(one, "true").exit_code == 0
    target = {"security_context": {"namespace_options": {"pid": api.TARGET, "target_id": one}}}
    code, lines = kubelet.output(pod, "debugger", "ps", linux=target)
    assert code == 0 and any("sleep 1111" in text for _stream, text in lines)


def test_attach_to_a_terminal(kubelet: Kubelet, pod: str) -> None:
    script = "stty -echo; echo ready; read line; echo got $line; tty"
    container = kubelet.create(pod, "shell", "sh", "-c", script, stdin=True, tty=True)
    kubelet.start(container)
    wait_for(lambda: kubelet.log(pod, "shell"))
    with kubelet.attach(container, tty=True) as session:
        session.send(b"text\n")
        session.until(b"/dev/pts/0")
    assert kubelet.wait(container).exit_code == 0
    assert [text for _stream, text in kubelet.log(pod, "shell")] == ["ready", "got text", "/dev/pts/0"]


def test_a_port_of_a_pod_is_forwarded(kubelet: Kubelet, pod: str) -> None:
    server = kubelet.run(pod, "server", "sh", "-c", "nc -l -p 8080 -e sh -c 'read line; echo got $line'")
    listeners = ("sh", "-c", "cat /proc/net/tcp6 /proc/net/tcp")
    wait_for(lambda: b":1F90" in kubelet.exec_sync(server, *listeners).stdout)
    assert kubelet.forwarded(pod, 8080, b"text\n") == b"got text\n"
    assert kubelet.wait(server).exit_code == 0


def test_limits_are_set_counted_and_changed(kubelet: Kubelet, pod: str) -> None:
    resources = {"memory_limit_in_bytes": 64 * MIB, "cpu_quota": 50_000, "cpu_period": 100_000, "oom_score_adj": 300}
    container = kubelet.run(
        pod, "long", "sh", "-c", "cat /proc/self/oom_score_adj; sleep 1000", linux={"resources": resources}
    )
    group = CGROUPS / "memory/twinhull-test/pod-box" / container
    assert (group / "memory.limit_in_bytes").read_text() == f"{64 * MIB}\n"
    update = api.LinuxContainerResources(memory_limit_in_bytes=96 * MIB)
    kubelet.stub.UpdateContainerResources(api.UpdateContainerResourcesRequest(container_id=container, linux=update))
    assert (group / "memory.limit_in_bytes").read_text() == f"{96 * MIB}\n"
    stats = kubelet.stub.ContainerStats(api.ContainerRequest(container_id=container)).stats
    assert 0 < stats.memory.working_set_bytes.value < 64 * MIB and stats.cpu.usage_core_nano_seconds.value > 0
    wait_for(lambda: kubelet.log(pod, "long"))
    assert kubelet.log(pod, "long") == [("stdout", "300")]
    whole = kubelet.stub.PodSandboxStats(api.PodRequest(pod_sandbox_id=pod)).stats.linux
    assert whole.memory.usage_bytes.value > 0 and whole.process.process_count.value > 0
    assert whole.network.default_interface.name == "eth0" and len(whole.containers) == 1


def test_what_takes_more_memory_than_it_may_is_killed_and_the_reason_said(kubelet: Kubelet, pod: str) -> None:
    eats = "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done"
    limit = {"memory_limit_in_bytes": 16 * MIB}
    status = kubelet.wait(kubelet.run(pod, "eats", "sh", "-c", eats, linux={"resources": limit}))
    assert (status.exit_code, status.reason) == (137, "OOMKilled")


def test_the_security_context_holds(kubelet: Kubelet, pod: str) -> None:
    context = {
        "run_as_user": {"value": 1000},
        "run_as_group": {"value": 1000},
        "supplemental_groups": [2000],
        "no_new_privs": True,
        "readonly_rootfs": True,
        "capabilities": {"drop_capabilities": ["ALL"], "add_capabilities": ["NET_BIND_SERVICE"]},
        "seccomp": {"profile_type": api.SecurityProfile.RuntimeDefault},
        "masked_paths": ["/proc/kcore"],
        "readonly_paths": ["/proc/sys"],
    }
    script = "id; grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; echo > /new; umask"
    code, lines = kubelet.output(pod, "bound", "sh", "-c", script, linux={"security_context": context})
    texts = [text for _stream, text in lines]
    assert code == 0 and texts[0] == "uid=1000(user) gid=1000 groups=1000,2000", texts
    assert "CapBnd:\t0000000000000400" in texts and "NoNewPrivs:\t1" in texts and "Seccomp:\t2" in texts
    assert any("Read-only file system" in text for text in texts)


def test_a_privileged_container_has_all_capabilities_and_devices(kubelet: Kubelet) -> None:
    with running(kubelet, "privileged", security_context={"privileged": True}) as pod:
        context = {"privileged": True}
        script = "grep CapEff /proc/self/status; ls /dev/mem /dev/kmsg; ls -d /sys/fs/cgroup/memory/*"
        code, lines = kubelet.output(pod, "all", "sh", "-c", script, linux={"security_context": context})
        bounding = Path("/proc/self/status").read_text().partition("CapBnd:\t")[2].split()[0]
        assert ("stdout", f"CapEff:\t{bounding}") in lines, (code, lines)


def test_a_directory_of_the_nodes_devices_stays_as_it_is(kubelet: Kubelet, pod: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("text")
    (tmp_path / "shm").mkdir()  # the pod's own is mounted there
    here = {"host_path": str(tmp_path), "container_path": "/dev"}
    assert kubelet.output(pod, "show", "cat", "/dev/mine", mounts=[here]) == (0, [("stdout", "text")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "shm"]


def test_volumes_are_shared_by_the_containers_of_a_pod(kubelet: Kubelet, pod: str, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    here: dict[str, Any] = {"host_path": str(volume), "container_path": "/data"}
    assert kubelet.output(pod, "writer", "sh", "-c", "echo text > /data/file", mounts=[here])[0] == 0
    script = "cat /data/file; echo more > /data/file"
    code, lines = kubelet.output(pod, "reader", "sh", "-c", script, mounts=[here | {"readonly": True}])
    assert code == 1 and lines[0] == ("stdout", "text") and "Read-only file system" in lines[1][1]


def test_a_pod_in_the_nodes_network(kubelet: Kubelet) -> None:
    node = {"namespace_options": {"network": api.NODE}}
    with running(kubelet, "node", hostname="", security_context=node) as pod:
        code, lines = kubelet.output(pod, "show", "ls", "-l", "/proc/self/ns/net", linux={"security_context": node})
        assert code == 0 and lines[0][1].split()[-1] == str(Path("/proc/self/ns/net").readlink())


def test_a_container_is_asked_to_end_and_then_killed(kubelet: Kubelet, pod: str) -> None:
    polite = kubelet.run(pod, "polite", "sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done")
    deaf = kubelet.run(pod, "deaf", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
    wait_for(lambda: kubelet.log(pod, "polite") and kubelet.log(pod, "deaf"))
    for container, timeout in ((polite, 20), (deaf, 1)):
        kubelet.stub.StopContainer(api.StopContainerRequest(container_id=container, timeout=timeout))
    assert [kubelet.status(container).exit_code for container in (polite, deaf)] == [9, 137]
    kubelet.stub.RemoveContainer(api.ContainerRequest(container_id=polite))
    with pytest.raises(grpc.RpcError) as caught:
        kubelet.status(polite)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_log_goes_on_in_a_new_file_after_rotation(kubelet: Kubelet, pod: str) -> None:
    container = kubelet.run(pod, "talks", "sh", "-c", "while :; do echo line; sleep 0.05; done")
    wait_for(lambda: kubelet.log(pod, "talks"))
    path = kubelet.log_path(pod, "talks")
    path.rename(path.with_suffix(".1"))
    kubelet.stub.ReopenContainerLog(api.ContainerRequest(container_id=container))
    wait_for(lambda: kubelet.log(pod, "talks"))


def test_a_program_that_is_not_there_fails_the_start_and_leaves_the_pod(kubelet: Kubelet, pod: str) -> None:
    container = kubelet.create(pod, "none", "nonesuch")
    with pytest.raises(grpc.RpcError) as caught:
        kubelet.start(container)
    assert "executable file not found in $PATH" in caught.value.details()
    status = kubelet.status(container)
    assert (status.reason, status.exit_code) == ("StartError", 128)
    assert kubelet.output(pod, "next", "echo", "here") == (0, [("stdout", "here")])


def test_pods_outlive_containerd(installed: None, tmp_path: Path) -> None:
    with containerd(tmp_path, TWINHULL_OCI) as kubelet:
        pod = kubelet.run_pod("stays")
        long = kubelet.run(pod, "long", "sleep", "1000")
        short = kubelet.run(pod, "short", "sh", "-c", "sleep 0.5; exit 6")
        kubelet.stop_daemon()
        time.sleep(1)
        kubelet.start_daemon()
        assert kubelet.pod_status(pod).state == api.SANDBOX_READY
        assert kubelet.status(long).state == api.CONTAINER_RUNNING
        assert kubelet.exec_sync(long, "echo", "here").stdout == b"here\n"
        assert kubelet.wait(short).exit_code == 6
        kubelet.stub.StopContainer(api.StopContainerRequest(container_id=long, timeout=0))
        assert kubelet.wait(long).exit_code == 137


def test_pods_of_other_handlers_run_beside_ours(kubelet: Kubelet, pod: str) -> None:
    with running(kubelet, "other", handler="runc") as other:
        assert kubelet.output(other, "once", "echo", "here") == (0, [("stdout", "here")])
        with pytest.raises(grpc.RpcError) as caught:
            kubelet.run_pod("unknown", handler="nonesuch")
        assert "nonesuch" in caught.value.details()


def test_the_steps_of_a_runtime_class_are_a_script(installed: None) -> None:
    done = subprocess.run([sys.executable, "scripts/runtime_class.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for handler in ("twinhull", "runc"):
        assert f"handler {handler}, address 10.213.77." in done.stdout
    assert done.stdout.count("hello from hello") == 2
