"""Build hook: generates the gRPC code from the service's .proto, so that no generated file is committed."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def generate(proto_root: pathlib.Path, destination: pathlib.Path) -> list[pathlib.Path]:
    """Writes the modules of every .proto below `proto_root` into `destination`, with type stubs; returns their paths."""
    import grpc_tools
    from grpc_tools import protoc

    sources = sorted(p.relative_to(proto_root) for p in proto_root.rglob("*.proto"))
    if not sources:
        raise RuntimeError(f"no .proto below {proto_root}")
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    options = [f"-I{proto_root}", f"-I{well_known}"] + [f"--{kind}_out={destination}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", *options, *map(str, sources)]) != 0:
        raise RuntimeError(f"protoc failed on {proto_root}")
    written: list[pathlib.Path] = []
    for source in sources:
        package = destination / source.parent
        (package / "__init__.py").touch()
        written += [package / "__init__.py"]
        written += [package / (source.stem + end) for end in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")]
    return sorted(set(written))


class GenerateProto(BuildHookInterface):  # type: ignore[type-arg]
    """Runs `generate` into src/ and puts the result into the wheel, although git ignores it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before a wheel is made."""
        here = pathlib.Path(self.root)
        # In a source distribution the .proto lies inside; in the repository, beside the clients.
        inside = here / "proto"
        proto_root = inside if inside.is_dir() else here.parent.parent / "proto"
        for path in generate(proto_root, here / "src"):
            build_data["force_include"][str(path)] = str(path.relative_to(here / "src"))


if __name__ == "__main__":
    generate(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
