"""The whole road: train LeNet on scanned digits, compile it, draw it, run it.  `make demo` calls this.

Everything that is printed was measured in this run.  Files go to build/demo.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import graphc
import graphc.nn.functional as F
from graphc import optim
from graphc.interpret import interpret
from graphc.weights import save_weights

HERE = Path(__file__).resolve().parent
BUILD = Path("build/demo")
SECONDS = 40  # at most, for training
GOAL = 0.97  # accuracy on the held-out quarter


def digits():
    """1797 scanned digits, 8x8 upsampled to 32x32 by repetition; a shuffled quarter is held out."""
    images, labels = load_digits(return_X_y=True)
    images = np.kron((images / 16).reshape(-1, 1, 8, 8), np.ones((4, 4))).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(images))
    held_out, train = order[: len(order) // 4], order[len(order) // 4 :]
    return (images[train], labels[train]), (images[held_out], labels[held_out])


def train(net, images, labels):
    """Train until the time is up or 12 epochs are over; returns seconds and steps."""
    optimizer = optim.Adam(net.parameters(), lr=2e-3)
    step = graphc.compile_step(
        net, F.cross_entropy, optimizer, {"x": "float32[N,1,32,32]"}, {"y": "int64[N]"}, threads=1
    )
    rng = np.random.default_rng(1)
    start = time.perf_counter()
    for epoch in range(1, 13):
        if epoch == 9:
            optimizer.lr = 5e-4
        losses = []
        order = rng.permutation(len(images))
        for first in range(0, len(order) - 31, 32):
            batch = order[first : first + 32]
            losses.append(step(images[batch], labels[batch]))
        print(f"  epoch {epoch:2}  loss {np.mean(losses):.4f}")
        if time.perf_counter() - start > SECONDS:
            break
    return time.perf_counter() - start, optimizer.steps


def command(*words):
    """Run the command line, showing what a user would type."""
    print("$ graphc", *words)
    sys.stdout.flush()
    return subprocess.run([sys.executable, "-m", "graphc", *map(str, words)]).returncode


def accuracy(logits, labels):
    return float(np.mean(np.argmax(logits, axis=1) == labels))


def numpy_module(path):
    """The generated NumPy source as a module."""
    sys.dont_write_bytecode = True  # the artefact stays as it was written
    spec = importlib.util.spec_from_file_location("lenet_numpy", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def best_time(function, repeats=200):
    """The least seconds of many calls."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


def get_graphviz():
    """Slim systems lack libraries pygraphviz needs; as root on Debian we can add the system's Graphviz."""
    from graphc.view.draw import engines

    if engines():
        return
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "graphviz"]
    if shutil.which("apt-get") and sys.platform == "linux" and os.geteuid() == 0:
        print("no Graphviz here: installing it with apt-get")
        subprocess.run(["apt-get", "update", "-qq"], stdout=subprocess.DEVNULL)
        subprocess.run(install, stdout=subprocess.DEVNULL)
    else:
        print("no Graphviz here, so no pictures; this line would add it:\n  sudo " + " ".join(install))


def main():
    BUILD.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(HERE))
    import lenet

    (images, labels), (test_images, test_labels) = digits()
    print(f"LeNet on {len(images)} digits, {len(test_images)} held out")
    graphc.manual_seed(0)
    net = lenet.Net()
    seconds, steps = train(net, images, labels)
    print(f"trained {steps} steps in {seconds:.1f} s, {seconds / steps * 1e3:.2f} ms a step of 32 images\n")
    weights = save_weights(BUILD / "lenet.safetensors", net.state_dict())

    model, artefact = Path(os.path.relpath(HERE / "lenet.py")), BUILD / "lenet.graphc"
    failed = command("compile", model, "--weights", weights, "-o", artefact)
    get_graphviz()
    for view in ("forward", "joint"):
        drawn = command(
            "render", model, "--weights", weights, "--view", view, "-o", BUILD / f"lenet-{view}.svg"
        )
        failed = failed or (drawn not in (0, 4))  # 4: no drawing tool, which is no failure of the demo

    native = graphc.load(artefact)
    logits = native(test_images)
    by_numpy = numpy_module(artefact / "lenet.py").forward(test_images)
    (by_interpreter,) = interpret(native.graph, [test_images])
    score = accuracy(logits, test_labels)
    one = test_images[:1]
    print(f"\nheld-out accuracy      {score:.2%} of {len(test_labels)}")
    print(f"time per image         {best_time(lambda: native(one)) * 1e6:.1f} µs one at a time,", end=" ")
    print(
        f"{best_time(lambda: native(test_images), 20) / len(test_images) * 1e6:.1f} µs in a batch of {len(test_images)}"
    )
    print(f"largest difference     {np.abs(logits - by_numpy).max():.2e} native to NumPy source,", end=" ")
    print(
        f"{np.abs(logits - by_interpreter).max():.2e} native to interpreter (logits up to {np.abs(logits).max():.1f})"
    )
    print("files in", artefact)
    for file in sorted(artefact.iterdir()):
        print(f"  {file.stat().st_size:>9,} {file.name}")
    if failed or score < GOAL:
        sys.exit(
            f"the demo failed: accuracy {score:.2%}, the goal is {GOAL:.0%}"
            if not failed
            else "a command failed"
        )


if __name__ == "__main__":
    main()
