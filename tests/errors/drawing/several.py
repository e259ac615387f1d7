# run
from graphc.errors import ShapeError, TraceError, raise_all
from graphc.source import user_span

errors = []
first = user_span()
other = {"größe": user_span()}  # columns count characters, not bytes
errors.append(ShapeError("sizes differ: 3 and 4", span=first, labels=[(other["größe"], "the 4")]))
errors.append(TraceError("no numbers yet", where="model.onnx, node 17 'conv1'", cause="nothing has run", fix="run it"))
raise_all(errors)
