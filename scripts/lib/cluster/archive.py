"""`archive.py NAME:TAG PROGRAM FILE`: writes an image of one static program, as `docker save` would. It needs no engine."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path


def image(name: str, program: Path) -> bytes:
    """An image archive. The image has one file, `/PROGRAM`, and runs it. Raises OSError."""
    layer = _tar({program.name: program.read_bytes()})
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    return _tar(
        {"config.json": json.dumps(config).encode(), "layer.tar": layer, "manifest.json": json.dumps(manifest).encode()}
    )


def _tar(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def main() -> int:
    """Run the command. Returns 0, or 2 for wrong arguments."""
    if len(sys.argv) != 4:
        sys.stderr.write("use: archive.py NAME:TAG PROGRAM FILE\n")
        return 2
    name, program, file = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    aside = file.with_name(f".{file.name}.new")
    aside.write_bytes(image(name, program))
    aside.rename(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
