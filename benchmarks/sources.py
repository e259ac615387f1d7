"""One source, two libraries: a model file read with graphc's imports, or with PyTorch's in their place.

The networks of examples/ are written so that only the import lines differ from PyTorch; that is used here, so that
both sides compute the same model by construction.
"""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import CodeType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
IMPORTS = {
    "import graphc as torch": "import torch",
    "import graphc.nn as nn": "import torch.nn as nn",
    "from graphc import nn": "from torch import nn",
    "import graphc.nn.functional as F": "import torch.nn.functional as F",
    "import graphc.optim as optim": "import torch.optim as optim",
}


def with_torch(text: str) -> str:
    """The source with PyTorch's imports.  Raises ValueError when another import of graphc is left.

    >>> with_torch("from graphc import nn")
    'from torch import nn'
    """
    lines = [IMPORTS.get(line, line) for line in text.split("\n")]
    left = [line for line in lines if line.startswith(("import graphc", "from graphc"))]
    if left:
        raise ValueError(f"no PyTorch name for {left[0]!r}")
    return "\n".join(lines)


class _WithTorch(SourceFileLoader):
    """Reads a source with PyTorch's imports; compiles it anew each time, for the bytecode on disk is graphc's."""

    def get_code(self, fullname: str) -> CodeType:
        text = with_torch(self.get_data(self.path).decode("utf-8"))
        code: CodeType = self.source_to_code(text.encode("utf-8"), self.path)
        return code


def read(path: str, library: str) -> dict[str, Any]:
    """The names of a source, a path from the root of the repository; library: "graphc" or "torch"."""
    file = ROOT / path
    name = f"{library}_{file.stem}"
    loader = (_WithTorch if library == "torch" else SourceFileLoader)(name, str(file))
    spec = spec_from_loader(name, loader)
    assert spec
    module = module_from_spec(spec)
    sys.modules[name] = module  # where inductor looks for the globals of what it compiles
    loader.exec_module(module)
    return vars(module)
