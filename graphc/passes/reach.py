"""Reachability between groups of nodes that merge, as bit masks.

Bit i is node i.  `above[g]` tells the groups that group g depends on, `below[g]` those that depend on it.  A group is
in a mask when the bit of the node it is numbered after is; bits of its other nodes may be there or not.
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
        """One group of two, numbered a.  The caller has asked `between`."""
        own = self.members[a] | self.members[b]
        above, below = (self.above[a] | self.above[b]) & ~own, (self.below[a] | self.below[b]) & ~own
        # Most often all that is below b is below a already, and next to nothing is above b alone.
        new_above = [g for g in self._each(above & ~self.above[a]) if not self.above[a] >> g & 1]
        new_below = [g for g in self._each(below & ~self.below[a]) if not self.below[a] >> g & 1]
        known_above, known_below = self.above[a] & ~own, self.below[a] & ~own
        for g in new_above:
            self.below[g] |= below | 1 << a
        for g in new_below:
            self.above[g] |= above | 1 << a
        if new_below:
            for g in self._each(known_above):
                self.below[g] |= below
        if new_above:
            for g in self._each(known_below):
                self.above[g] |= above
        self.home[b] = a
        self.members[a], self.above[a], self.below[a] = own, above, below
        return a

    def _each(self, mask: int) -> Iterator[int]:
        while mask:
            g = self.group((mask & -mask).bit_length() - 1)
            mask &= ~self.members[g]
            yield g
