"""Draws every network of networks.md, forward and with its gradients, at the size of the tests, for `make pictures`.

python docs/network_pictures.py [FOLDER]      build/pictures by default
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import graphc  # noqa: E402
from graphc.view.draw import PictureTooLarge  # noqa: E402
from tests.lectures.networks import NETWORKS, build  # noqa: E402


def file_name(network: str) -> str:
    """What the pictures of a network are called: `LeNet-5` -> `lenet-5`."""
    return re.sub(r"[^a-z0-9]+", "-", network.lower()).strip("-")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, network in enumerate(NETWORKS, start=1):
        net, x = build(network)
        inputs = {"x": f"float64[N,{','.join(map(str, x.shape[1:]))}]"}
        for view in ("forward", "joint"):
            path = folder / f"{file_name(network)}-{view}.svg"
            try:
                graphc.render(net, path, inputs=inputs, view=view, name=network)
            except (
                PictureTooLarge
            ):  # a slow machine and many steps in a row: what the modules hold stays closed
                graphc.render(net, path, inputs=inputs, view=view, name=network, depth=1)
            print(f"[{number}/{len(NETWORKS)}] {path}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/pictures"))
