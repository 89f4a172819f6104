"""A containerd of the tests' own, and what a kubelet asks its CRI plugin for: pods, containers, streams.

The client is gRPC's; the interface is in cri.proto. What has a stream (exec, attach, port-forward) is answered with an
address, where a websocket carries one channel for each stream. No image comes from outside, the pause image neither.
"""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.support.launch import BUSYBOX
from tests.support.layers import Layout, entry, symlink, tar

BOX, PAUSE = "docker.io/library/twinhull-box:1", "docker.io/library/twinhull-pause:1"
APPLETS = "cat echo env false grep hostname id ip ls nc ps sh sleep stty tty true umask wget".split()
HANDLER = "twinhull"
PATIENCE_S = 60.0
STDIN, STDOUT, STDERR, STATUS, RESIZE = range(5)  # the channels of a websocket
CGROUPS = Path("/sys/fs/cgroup")
CHANNELS = Subprotocol("v4.channel.k8s.io")
api, services = grpc.protos_and_services("tests/support/cri.proto")

CONFIG = """version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
  address = "{folder}/sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  netns_mounts_under_state_dir = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{handler}]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{handler}.options]
      BinaryName = "{runtime}"
"""


def write_images(path: Path) -> None:
    """An OCI archive of a busybox and of what a pod's sandbox runs: the same, asleep."""
    layout = Layout(path.parent / "layout")
    programs = [
        entry("bin/busybox", BUSYBOX.read_bytes(), mode=0o755),
        *(symlink(f"bin/{n}", "busybox") for n in APPLETS),
    ]
    layer = tar([*programs, entry("etc/passwd", b"root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")])
    for name, command in ((BOX, ["sh"]), (PAUSE, ["/bin/sleep", "infinity"])):
        layout.tag(layout.manifest([layer], config={"Env": ["PATH=/bin"], "Cmd": command}), name)
    with tarfile.open(path, "w") as archive:
        for part in layout.path.iterdir():
            archive.add(part, part.name)


def write_network(folder: Path) -> None:
    """The configuration of the pods' network: a pair of links for each pod, and addresses of a range of our own."""
    addresses = {"type": "host-local", "subnet": "10.213.77.0/24", "dataDir": f"{folder}/addresses"}
    pair = {"type": "ptp", "ipam": addresses}
    folder.mkdir()
    network = {"cniVersion": "0.4.0", "name": "twinhull-cri", "plugins": [pair]}
    (folder / "10-pods.conflist").write_text(json.dumps(network))


@contextlib.contextmanager
def containerd(folder: Path, runtime: Path) -> Iterator[Kubelet]:
    """A containerd below folder with both images, whose handler `twinhull` is the runtime."""
    write_images(folder / "images.tar")
    write_network(folder / "cni")
    text = CONFIG.format(folder=folder, pause=PAUSE, handler=HANDLER, runtime=runtime)
    (folder / "config.toml").write_text(text)
    with grpc.insecure_channel(f"unix://{folder}/sock") as channel:
        kubelet = Kubelet(channel, folder)
        try:
            kubelet.start_daemon()
            address = ["ctr", "--address", f"{folder}/sock", "--namespace", "k8s.io"]
            subprocess.run([*address, "images", "import", folder / "images.tar"], check=True, capture_output=True)
            yield kubelet
            kubelet.remove_all()
        finally:
            kubelet.stop_daemon()
            subprocess.run(["umount", "--recursive", folder], capture_output=True)


class Streams(NamedTuple):
    """What came over a websocket until it ended."""

    stdout: bytes
    stderr: bytes
    status: dict[str, Any]  # a Status of Kubernetes' API

    @property
    def exit_code(self) -> int:
        """The command's exit code."""
        if self.status["status"] == "Success":
            return 0
        return int(next(c["message"] for c in self.status["details"]["causes"] if c["reason"] == "ExitCode"))


class Session:
    """The streams of one exec or attach."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.got = dict.fromkeys(range(5), b"")

    def send(self, data: bytes, channel: int = STDIN) -> None:
        """Write to a channel."""
        self.socket.send(bytes((channel,)) + data)

    def read(self) -> None:
        """Take one message."""
        message = self.socket.recv(timeout=PATIENCE_S, decode=False)
        self.got[message[0]] += message[1:]

    def until(self, text: bytes, channel: int = STDOUT) -> None:
        """Read until text has come."""
        while text not in self.got[channel]:
            self.read()

    def end(self) -> Streams:
        """Read until the command has ended."""
        while not self.got[STATUS]:
            self.read()
        return Streams(self.got[STDOUT], self.got[STDERR], json.loads(self.got[STATUS]))


class Kubelet:
    """The calls of a kubelet to its containerd; a pod is known by its id and a container by its own."""

    def __init__(self, channel: grpc.Channel, folder: Path) -> None:
        self.stub = services.RuntimeServiceStub(channel)
        self.folder = folder
        self.pods: dict[str, Any] = {}
        self.daemon: subprocess.Popen[bytes] | None = None

    def start_daemon(self) -> None:
        """Start containerd, which finds the pods that there are."""
        with (self.folder / "log").open("a") as log:
            words = ["containerd", "--config", str(self.folder / "config.toml")]
            self.daemon = subprocess.Popen(words, stdout=log, stderr=log)
        self.wait_ready()

    def stop_daemon(self) -> None:
        """End containerd; pods go on."""
        if self.daemon:
            self.daemon.terminate()
            self.daemon.wait()

    def wait_ready(self) -> None:
        """Wait until the runtime and the network say so; an error has containerd's log."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                conditions = self.stub.Status(api.StatusRequest()).status.conditions
                if all(condition.status for condition in conditions):
                    return
            except grpc.RpcError:
                pass
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.1)

    def run_pod(self, name: str, handler: str = HANDLER, *, hostname: str | None = None, **linux: Any) -> str:
        """Make a pod and return its id; `linux` are fields of LinuxPodSandboxConfig."""
        uid = f"{name}-{len(self.pods)}"
        logs = self.folder / "logs" / uid
        logs.mkdir(parents=True)
        config = api.PodSandboxConfig(
            metadata=api.PodSandboxMetadata(name=name, uid=uid, namespace="default"),
            hostname=name if hostname is None else hostname,
            log_directory=str(logs),
            dns_config=api.DNSConfig(servers=["192.0.2.53"], searches=["test.invalid"]),
            linux=api.LinuxPodSandboxConfig(cgroup_parent=f"/twinhull-test/pod-{name}", **linux),
        )
        request = api.RunPodSandboxRequest(config=config, runtime_handler=handler)
        pod = str(self.stub.RunPodSandbox(request, timeout=PATIENCE_S).pod_sandbox_id)
        self.pods[pod] = config
        return pod

    def pod_status(self, pod: str) -> Any:
        """The pod's PodSandboxStatus."""
        return self.stub.PodSandboxStatus(api.PodRequest(pod_sandbox_id=pod)).status

    def remove_pod(self, pod: str) -> None:
        """Stop a pod with its containers and remove it, and the groups that were its parent, in every hierarchy."""
        self.stub.StopPodSandbox(api.PodRequest(pod_sandbox_id=pod), timeout=PATIENCE_S)
        self.stub.RemovePodSandbox(api.PodRequest(pod_sandbox_id=pod), timeout=PATIENCE_S)
        for path in CGROUPS.glob(f"*{self.pods[pod].linux.cgroup_parent}"):
            path.rmdir()

    def remove_all(self) -> None:
        """Remove every pod."""
        for pod in self.stub.ListPodSandbox(api.Empty()).items:
            self.remove_pod(pod.id)

    def create(self, pod: str, name: str, *command: str, linux: dict[str, Any] | None = None, **config: Any) -> str:
        """Make a container in a pod; `config` are fields of ContainerConfig, `linux` of its LinuxContainerConfig."""
        made = api.ContainerConfig(
            metadata=api.ContainerMetadata(name=name),
            image=api.ImageSpec(image=BOX),
            command=command,
            log_path=f"{name}.log",
            linux=api.LinuxContainerConfig(**(linux or {})),
            **config,
        )
        request = api.CreateContainerRequest(pod_sandbox_id=pod, config=made, sandbox_config=self.pods[pod])
        return str(self.stub.CreateContainer(request, timeout=PATIENCE_S).container_id)

    def start(self, container: str) -> None:
        """Start what was made."""
        self.stub.StartContainer(api.ContainerRequest(container_id=container), timeout=PATIENCE_S)

    def run(self, pod: str, name: str, *command: str, **config: Any) -> str:
        """Make and start a container, as `create` has it."""
        container = self.create(pod, name, *command, **config)
        self.start(container)
        return container

    def status(self, container: str) -> Any:
        """The container's ContainerStatus."""
        return self.stub.ContainerStatus(api.ContainerRequest(container_id=container)).status

    def wait(self, container: str) -> Any:
        """The status, when the container has ended."""
        deadline = time.monotonic() + PATIENCE_S
        while (status := self.status(container)).state != api.CONTAINER_EXITED:
            assert time.monotonic() < deadline, status
            time.sleep(0.02)
        return status

    def log_path(self, pod: str, name: str) -> Path:
        """Where a container's log is."""
        return Path(self.pods[pod].log_directory) / f"{name}.log"

    def log(self, pod: str, name: str) -> list[tuple[str, str]]:
        """Stream and text of each line in a container's log; a line is "time stream tag text"."""
        lines = (line.split(" ", 3) for line in self.log_path(pod, name).read_text().splitlines())
        return [(stream, text) for _time, stream, _tag, text in lines]

    def output(self, pod: str, name: str, *command: str, **config: Any) -> tuple[int, list[tuple[str, str]]]:
        """The exit code of a container that is run to its end, and its log."""
        code = self.wait(self.run(pod, name, *command, **config)).exit_code
        return code, self.log(pod, name)

    def exec_sync(self, container: str, *command: str, timeout: int = 0) -> Any:
        """Execute and wait, as a probe does: stdout, stderr, exit_code."""
        request = api.ExecSyncRequest(container_id=container, cmd=command, timeout=timeout)
        return self.stub.ExecSync(request, timeout=PATIENCE_S)

    @contextlib.contextmanager
    def exec(self, container: str, *command: str, tty: bool = False, stdin: bool = False) -> Iterator[Session]:
        """Execute with streams."""
        streams = {"tty": tty, "stdin": stdin, "stdout": True, "stderr": not tty}
        url = self.stub.Exec(api.ExecRequest(container_id=container, cmd=command, **streams)).url
        with websocket(url) as socket:
            yield Session(socket)

    @contextlib.contextmanager
    def attach(self, container: str, *, tty: bool = False) -> Iterator[Session]:
        """The streams of the container itself."""
        request = api.AttachRequest(container_id=container, stdin=True, stdout=True, stderr=not tty, tty=tty)
        with websocket(self.stub.Attach(request).url) as socket:
            yield Session(socket)

    def forwarded(self, pod: str, port: int, request: bytes) -> bytes:
        """What a port of a pod answers to a request until it ends the connection."""
        url = self.stub.PortForward(api.PortForwardRequest(pod_sandbox_id=pod, port=[port])).url
        with websocket(f"{url}?port={port}") as socket:
            number = struct.pack("<H", port)
            heads = sorted(socket.recv(timeout=PATIENCE_S, decode=False) for _channel in range(2))
            assert heads == [b"\0" + number, b"\1" + number], heads
            socket.send(b"\0" + request)
            answer = b""
            while not answer.endswith(b"\n"):
                message = socket.recv(timeout=PATIENCE_S, decode=False)
                assert message[0] == 0, message
                answer += message[1:]
            return answer


def websocket(url: str) -> ClientConnection:
    """Connect to an address that a call of the interface gave."""
    address = url.replace("http://", "ws://", 1)
    return connect(address, subprotocols=[CHANNELS], open_timeout=PATIENCE_S, close_timeout=1)


@contextlib.contextmanager
def running(kubelet: Kubelet, name: str, **config: Any) -> Iterator[str]:
    """A pod while it is there."""
    made = kubelet.run_pod(name, **config)
    try:
        yield made
    finally:
        kubelet.remove_pod(made)


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until the condition holds; a log that is not there yet does not."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(FileNotFoundError):
            if condition():
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)
