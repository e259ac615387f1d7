"""Run as a script: DOT on standard input, one picture on standard output, laid out by pygraphviz.

A process of its own, because the layout is one C call that holds the interpreter lock and cannot be
interrupted; and not a module of graphc when it runs, so that it starts without importing graphc.
"""

import sys


def main(picture_format: str, dpi: str) -> None:
    import pygraphviz

    graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode("utf-8"))
    graph.graph_attr["dpi"] = dpi
    sys.stdout.buffer.write(graph.draw(format=picture_format, prog="dot"))


if __name__ == "__main__":
    main(*sys.argv[1:])
