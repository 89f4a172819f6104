"""A headless Chromium, spoken to over two pipes in its DevTools protocol: no driver and no port."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TIMEOUT_S = 60.0
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio")
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars")


class Browser:
    """One page. `events` are all that the browser reported since it was opened."""

    def __init__(self, write: int, read: int) -> None:
        self.write, self.read = write, read
        self.buffer = b""
        self.count = 0
        self.session: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its result."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters, **self.session}
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while (answer := self.receive()).get("id") != self.count:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer}"
        result: dict[str, Any] = answer["result"]
        return result

    def receive(self) -> dict[str, Any]:
        """The next message."""
        deadline = time.monotonic() + TIMEOUT_S
        while b"\0" not in self.buffer:
            assert select.select([self.read], [], [], max(0.0, deadline - time.monotonic()))[0], "no answer"
            read = os.read(self.read, 1 << 20)
            assert read, "the browser ended"
            self.buffer += read
        message, _, self.buffer = self.buffer.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed

    def attach(self) -> None:
        """Open a page and listen to it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Network", "Runtime", "Log", "Audits"):
            self.call(f"{domain}.enable")

    def open(self, path: Path, *, width: int, dark: bool) -> None:
        """Load a file at a width and in a colour scheme."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.receive())

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; run by the protocol, which the page's policy does not bind."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def of(self, *methods: str) -> list[dict[str, Any]]:
        """The reported events of some kinds."""
        return [event["params"] for event in self.events if event.get("method") in methods]

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        image = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        path.write_bytes(base64.b64decode(image))


@contextmanager
def chromium(program: str, profile: Path) -> Iterator[Browser]:
    """A browser that ends with the block; its descriptors 3 and 4 are the pipes."""
    (child_read, write), (read, child_write) = os.pipe(), os.pipe()
    shell = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
    words = [program, *FLAGS, *QUIET, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", str(child_read), str(child_write), *words],
        pass_fds=(child_read, child_write),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(profile)},
    )
    os.close(child_read)
    os.close(child_write)
    try:
        browser = Browser(write, read)
        browser.attach()
        yield browser
        browser.session = {}
        browser.call("Browser.close")
        process.wait(20)
    finally:
        process.kill()
        process.wait()
        os.close(write)
        os.close(read)
