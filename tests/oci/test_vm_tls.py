"""TLS between virtual machines of one template, and in what goes on from an earlier time: clocks, names and randomness.

A certificate that was made a moment ago is refused by whoever's clock is behind.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.command import Twinhull
from tests.support.vm import wait_until

pytestmark = pytest.mark.timeout(900)

SERVER = """
import socket, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tls/certificate", "/tls/key")
with socket.create_server(("", 8443)) as listener, context.wrap_socket(listener, server_side=True) as server:
    print("serves", flush=True)
    while True:
        try:
            connection, _ = server.accept()
            connection.sendall(b"hello")
            connection.close()
        except OSError:
            pass
"""
CLIENT = """
import socket, ssl, sys
context = ssl.create_default_context(cafile="/tls/certificate")
try:
    with socket.create_connection((sys.argv[1], 8443), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=sys.argv[2]) as secured:
            print(secured.version(), secured.recv(5).decode())
except OSError as error:
    sys.exit(str(error))
"""
SECRET = "import ssl; print(ssl.RAND_bytes(16).hex())"


def certificate(directory: Path, name: str) -> Path:
    """A key and a certificate for a name, valid from now on."""
    place = directory / "tls"
    place.mkdir(exist_ok=True)
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    words += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    files = ["-keyout", str(place / "key"), "-out", str(place / "certificate")]
    subprocess.run([*words, *files], check=True, capture_output=True)
    return place


def serve(vm: Twinhull, name: str, tls: Path) -> None:
    """Give a machine the certificate and let it serve."""
    vm("cp", str(tls), f"{name}:/", check=True)
    vm("exec", "-d", name, "sh", "-c", 'exec python3 -c "$0" > /said', SERVER, check=True)
    wait_until(lambda: "serves" in vm("exec", name, "cat", "/said").stdout, "the server")


def ask(vm: Twinhull, client: str, server: str, name: str) -> tuple[int, str, str]:
    """What a client gets that trusts the certificate."""
    return vm("exec", client, "python3", "-c", CLIENT, server, name)


def test_machines_speak_tls_with_each_other_and_after_a_fork_and_a_restore(
    vm: Twinhull, python_layout: Path, tmp_path: Path
) -> None:
    image = f"oci:{python_layout}:python"
    vm("network", "create", "tls", check=True)
    for name in ("server", "client"):
        words = ("run", "-d", "--vm", "--network", "tls", "--name", name, image, "sleep", "3600")
        vm(*words, timeout_s=180, check=True)
    vm("snapshot", "server", "before", check=True)
    serve(vm, "server", certificate(tmp_path, "server"))
    vm("cp", str(tmp_path / "tls"), "client:/", check=True)
    assert ask(vm, "client", "server", "server")[:2] == (0, "TLSv1.3 hello\n")
    refused = ask(vm, "client", "server", "another")
    assert refused[0] == 1 and "CERTIFICATE_VERIFY_FAILED" in refused[2], refused

    vm("fork", "-n", "2", "--name", "copy", "client", check=True, timeout_s=120)
    assert ask(vm, "copy-1", "server", "server")[:2] == (0, "TLSv1.3 hello\n")
    vm("restore", "--name", "restored", "server:before", check=True, timeout_s=120)
    serve(vm, "restored", certificate(tmp_path, "restored"))
    vm("cp", str(tmp_path / "tls"), "copy-2:/", check=True)
    assert ask(vm, "copy-2", "restored", "restored")[:2] == (0, "TLSv1.3 hello\n")

    machines = ("server", "client", "copy-1", "copy-2", "restored")
    assert len({vm("exec", name, "python3", "-c", SECRET, check=True).stdout for name in machines}) == len(machines)
