"""A Kubernetes RuntimeClass without Kubernetes: what a node does for a pod that names it, on this machine, as root.

    python scripts/runtime_class.py [RUNTIME]

A containerd of its own gets the runtime (twinhull-oci of this tree) as the handler `twinhull`; then a pod of that class
is run, and one of the default handler beside it. docs/oci-runtime.md has the same as files for a cluster.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]  # the client of the interface is the tests'

from tests.support.cri import HANDLER, Kubelet, containerd  # noqa: E402


def step(text: str) -> None:
    """Say what is done next."""
    print(f"\n# {text}")


def main() -> None:
    """Take the steps of the RuntimeClass, and remove what they made."""
    runtime = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / ".venv/bin/twinhull-oci").absolute()
    with tempfile.TemporaryDirectory(prefix="twinhull-cri-") as folder:
        step("A containerd whose config.toml has the table of the handler")
        with containerd(Path(folder), runtime) as kubelet:
            text = (Path(folder) / "config.toml").read_text()
            print(text[text.index(f'  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{HANDLER}]') :].rstrip())
            run_pod(kubelet, HANDLER)
            run_pod(kubelet, "runc")


def run_pod(kubelet: Kubelet, handler: str) -> None:
    """The pod of docs/oci-runtime.md, as the kubelet asks for it."""
    step(f"A pod whose class has the handler {handler}")
    pod = kubelet.run_pod("hello", handler)
    status = kubelet.pod_status(pod)
    print(f"pod {pod[:12]}: handler {status.runtime_handler}, address {status.network.ip}")
    container = kubelet.run(pod, "hello", "sh", "-c", "echo hello from $(hostname); exec sleep 1000")
    print("exec:", kubelet.exec_sync(container, "ps").stdout.decode().rstrip().replace("\n", "\n      "))
    print("log: ", *(text for _stream, text in kubelet.log(pod, "hello")))
    kubelet.remove_pod(pod)
    print("removed")


if __name__ == "__main__":
    main()
