"""Says what the images are: their sizes, secrets in them, and how soon the service is ready.

It ends with 1 if a budget is exceeded or something was found that should not be there. The service is started with the
model that `make run` has put in production on this machine.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import images
from images import Image

#: In bytes.
LARGEST = {"api": 400_000_000}
#: From start to ready, with the model in the cache.
LONGEST_SECONDS = 3.0
STARTS = 5
MOST_STARTS = 20
LINES_SHOWN = 20
_OF_A_REQUEST = '"event":"request"'
#: A private key with content, as no library's documentation has it.
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{60,}")
_NAMES = re.compile(r"(^|/)(\.git|\.env|\.keys|signing\.key)(/|$)")
_SECRET_NAME = re.compile(r"SECRET|PASSWORD|TOKEN|API_KEY$|SIGNING_KEY$")
_SHORTEST_SECRET = 8
#: How a container is run that may do as little as possible.
_HARDENED = (
    "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",  # noqa: S108 - its own
)  # fmt: skip


def known_secrets(env: Path) -> dict[bytes, str]:
    """The values in a .env that nobody may find in an image, with their names."""
    return {
        value.encode(): name
        for name, value in images.variables(env).items()
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET
    }


def _complaints(where: str, name: str, content: bytes, secrets: dict[bytes, str]) -> Iterator[str]:
    if _NAMES.search(name):
        yield f"{where}: {name}"
    if b"\0" not in content and _PRIVATE_KEY.search(content):  # libraries carry keys to test themselves with
        yield f"{where}: {name} holds a private key"
    yield from (f"{where}: {name} holds {known}" for secret, known in secrets.items() if secret in content)


def secrets_in(image: str, secrets: dict[bytes, str]) -> list[str]:
    """Name what should not be in an image: keys, known secrets, the repository; in its layers and in its history."""
    found: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "image.tar"
        subprocess.run(["docker", "image", "save", "--output", str(saved), image], check=True)
        with tarfile.open(saved) as archive:
            for part in archive:
                if not part.isfile():
                    continue
                if not part.name.endswith("layer.tar") and not part.name.startswith("blobs/"):
                    found += _complaints("history", part.name, _read(archive, part), secrets)
                    continue
                opened = archive.extractfile(part)
                try:
                    with tarfile.open(fileobj=opened) as layer:
                        for file in layer:
                            content = _read(layer, file) if file.isfile() else b""
                            found += _complaints(part.name[:20], file.name, content, secrets)
                except tarfile.ReadError:  # the configuration, which newer engines keep as a blob as well
                    found += _complaints("history", part.name, _read(archive, part), secrets)
    return found


def _read(archive: tarfile.TarFile, file: tarfile.TarInfo) -> bytes:
    opened = archive.extractfile(file)
    return opened.read() if opened else b""


@contextlib.contextmanager
def _registry() -> Iterator[str]:
    """Serve the registry that `make run` has filled, on loopback."""
    port = _free_port()
    store = f"sqlite:///{images.PROJECT / 'mlflow.db'}"
    command = ["mlflow", "server", "--backend-store-uri", store, "--port", str(port), "--workers", "1"]
    with (
        tempfile.NamedTemporaryFile() as told,
        subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT, start_new_session=True) as server,
    ):
        try:
            wait_for(f"http://127.0.0.1:{port}/health", 120, lambda: Path(told.name).read_text(errors="replace"))
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def wait_for(url: str, seconds: float, told: Callable[[], str]) -> None:
    """Ask until the answer is 200; without one, say what the server told."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1):  # noqa: S310 - an address of ours
            return
        time.sleep(0.02)
    lines = [line for line in told().splitlines() if _OF_A_REQUEST not in line][-LINES_SHOWN:]
    raise SystemExit("\n".join([f"Error: {url} does not answer with 200 within {seconds:g} s. It told:", *lines]))


def seconds_to_ready(image: str) -> list[float]:
    """The seconds from `docker run` to the first 200 of ``/ready``, with the model in the cache, of several starts."""
    public = images.PROJECT / ".keys/signing.pub"
    if not (images.PROJECT / "mlflow.db").exists() or not public.exists():
        raise SystemExit("Error: there is no model to start with. Train one: `make run`.")
    artifacts = images.PROJECT / "mlruns"
    volume, port = f"images-report-{os.getpid()}", _free_port()
    with _registry() as registry:
        command = [
            "docker", "run", "--detach", "--network", "host", *_HARDENED, "--volume", f"{volume}:/app/build",
            "--volume", f"{public}:/app/.keys/signing.pub:ro", "--volume", f"{artifacts}:{artifacts}:ro",
            *images.options("--env", {
                "API_HOST": "127.0.0.1", "API_PORT": str(port), "API_AUTHENTICATION": "off",
                "API_TRACKING_URI": registry, "API_PREDICTION_LOG": "/app/build/predictions",
            }),
            image,
        ]  # fmt: skip
        try:
            _started(command, port)  # fills the cache
            return enough(lambda: _started(command, port))
        finally:
            subprocess.run(["docker", "volume", "rm", "--force", volume], check=False, stdout=subprocess.DEVNULL)


def enough(start: Callable[[], float]) -> list[float]:
    """Start `STARTS` times, or up to `MOST_STARTS` while none takes at most `LONGEST_SECONDS`.

    Whatever else the machine does only adds to the seconds, so the fewest are those of the service.
    """
    found: list[float] = []
    while len(found) < STARTS or (len(found) < MOST_STARTS and min(found) > LONGEST_SECONDS):
        found.append(start())
    return found


def _started(command: list[str], port: int) -> float:
    began = time.monotonic()
    container = subprocess.check_output(command, text=True).strip()
    try:
        wait_for(f"http://127.0.0.1:{port}/ready", 60, lambda: _log(container))
        return time.monotonic() - began
    finally:
        for action in ("stop", "rm"):
            subprocess.run(["docker", action, container], check=True, stdout=subprocess.DEVNULL)


def _log(container: str) -> str:
    command = ["docker", "logs", container]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


def report() -> int:
    """Print what the images are, and what is wrong with them."""
    wrong: list[str] = []
    print(f"{'image':34}{'MB':>8}{'layers':>8}  {'user':14}id")
    built = {target: image for target in images.LOCKS if (image := Image.of(target))}
    for target, image in built.items():
        print(f"{image.name:34}{image.size / 1e6:>8.0f}{len(image.layers):>8}  {image.user:14}{image.id[:19]}")
        if image.size > LARGEST.get(target, sys.maxsize):
            wrong.append(f"{image.name} takes {image.size / 1e6:.0f} MB; allowed are {LARGEST[target] / 1e6:.0f}")
        if not re.match(r"[1-9]", image.user):
            wrong.append(f"{image.name} runs as '{image.user}', not as a number other than 0")
    secrets = known_secrets(images.PROJECT / ".env")
    for image in built.values():
        found = secrets_in(image.name, secrets)
        print(f"{image.name}: {len(found) or 'no'} secrets in layers and history")
        wrong += found
    if "api" in built:
        starts = seconds_to_ready(built["api"].name)
        seconds = min(starts)
        of_them = f"fastest of {len(starts)} starts"
        print(f"{built['api'].name}: ready after {seconds:.2f} s, the model in its cache ({of_them})")
        if seconds > LONGEST_SECONDS:
            wrong.append(f"ready after {seconds:.2f} s; allowed are {LONGEST_SECONDS:.0f}")
    for complaint in wrong:
        print(f"Error: {complaint}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(report())
