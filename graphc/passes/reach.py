"""Reachability between groups of nodes that merge, as bit masks.

Bit i is node i.  `above[g]` holds all nodes a group depends on, `below[g]` all that depend on it, both
closed over whole groups: when one node of a group is in a mask, all are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence


class Groups:
    """Disjoint groups of nodes; at first every node is its own."""

    def __init__(self, operands: Sequence[Sequence[int]]):
        """`operands[i]` are the nodes that node i reads, all smaller than i."""
        count = len(operands)
        self.home = list(range(count))
        self.members = [1 << i for i in range(count)]
        self.above = [0] * count
        self.below = [0] * count
        for i, reads in enumerate(operands):
            for j in reads:
                self.above[i] |= self.above[j] | 1 << j
        for i in range(count - 1, -1, -1):
            for j in operands[i]:
                self.below[j] |= self.below[i] | 1 << i

    def group(self, node: int) -> int:
        """The group a node belongs to; its number is that of one of its nodes."""
        root = node
        while self.home[root] != root:
            root = self.home[root]
        while self.home[node] != root:
            self.home[node], node = root, self.home[node]
        return root

    def between(self, a: int, b: int) -> int | None:
        """A node outside both groups on a path from one to the other, or None: then they may merge."""
        own = self.members[a] | self.members[b]
        blocked = (self.below[a] & self.above[b] | self.below[b] & self.above[a]) & ~own
        return (blocked & -blocked).bit_length() - 1 if blocked else None

    def related(self, a: int, b: int) -> bool:
        """Whether one group depends on the other."""
        return bool(self.above[a] & self.members[b] or self.above[b] & self.members[a])

    def merge(self, a: int, b: int) -> int:
        """One group of two; returns its number.  The caller has asked `between`."""
        own = self.members[a] | self.members[b]
        above = (self.above[a] | self.above[b]) & ~own
        below = (self.below[a] | self.below[b]) & ~own
        whole_above, whole_below = above | own, below | own
        # Only groups above (below) one of the two and not the other learn something new.
        for g in self._each((self.above[a] ^ self.above[b]) & above):
            self.below[g] |= whole_below
        for g in self._each((self.below[a] ^ self.below[b]) & below):
            self.above[g] |= whole_above
        keep, gone = (a, b) if a < b else (b, a)
        self.home[gone] = keep
        self.members[keep], self.above[keep], self.below[keep] = own, above, below
        return keep

    def _each(self, mask: int) -> Iterator[int]:
        while mask:
            g = self.group((mask & -mask).bit_length() - 1)
            mask &= ~self.members[g]
            yield g
