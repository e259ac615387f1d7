"""A policy network learns to walk: REINFORCE in a world of 4 x 4 squares with pits.

Each step costs a little, a pit ends the walk badly, the goal ends it well.  Solved means: from every square the most
likely actions lead to the goal on a shortest way.

python examples/training/grid_world.py
"""

import sys
from pathlib import Path

import numpy as np

import graphc
from graphc import optim

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "networks"))
from policy import Policy, reinforce

WORLD = "....", ".O.O", "...O", "O..G"  # O is a pit, G the goal
MOVES = (-1, 0), (1, 0), (0, -1), (0, 1)
TILES = "".join(WORLD)
FREE = [i for i, tile in enumerate(TILES) if tile == "."]
SEEN = np.eye(len(TILES), dtype=np.float32)


def go(square, action):
    """(next square, reward, whether the walk is over)"""
    row, column = (int(np.clip(a + b, 0, 3)) for a, b in zip(divmod(square, 4), MOVES[action]))
    there = 4 * row + column
    return there, {".": -0.05, "O": -1.0, "G": 1.0}[TILES[there]], TILES[there] != "."


def walk(policy, start, rng, limit=30):
    """Squares, actions and discounted returns of one walk."""
    squares, actions, rewards, over = [], [], [], False
    while not over and len(squares) < limit:
        squares.append(start)
        actions.append(int(np.searchsorted(np.cumsum(policy[start])[:-1], rng.random(), side="right")))
        start, reward, over = go(start, actions[-1])
        rewards.append(reward)
    returns, total = [], 0.0
    for reward in reversed(rewards):
        total = reward + 0.95 * total
        returns.append(total)
    return squares, actions, returns[::-1]


def distances():
    """Steps from each free square to the goal, by repeated relaxation."""
    steps = {TILES.index("G"): 0}
    for _ in TILES:
        for square in FREE:
            known = [steps[t] for a in range(4) if (t := go(square, a)[0]) in steps and TILES[t] != "O"]
            if known:
                steps[square] = min(known) + 1
    return steps


def solved(policy):
    """Share of the free squares from which the likeliest actions reach the goal on a shortest way."""
    steps = distances()
    right = [
        steps.get(go(square, int(policy[square].argmax()))[0], np.inf) < steps[square] for square in FREE
    ]
    return float(np.mean(right))


def main(small=False):
    graphc.manual_seed(0)
    rng = np.random.default_rng(0)
    net = Policy()
    optimizer = optim.Adam(net.parameters(), lr=2e-2)
    step = graphc.compile_step(
        net, reinforce, optimizer, {"x": "float32[N,16]"}, {"actions": "int64[N]", "advantages": "float32[N]"}
    )
    look = graphc.trace(net, x="float32[N,16]")
    expected = np.zeros(len(TILES))  # mean return of each square so far: the baseline
    rounds = 300
    for number in range(rounds):
        scores = graphc.interpret(look, [SEEN], net.state_dict())[0].astype(np.float64)
        policy = np.exp(scores - scores.max(axis=1, keepdims=True))
        policy /= policy.sum(axis=1, keepdims=True)
        walks = [walk(policy, square, rng) for square in FREE]
        squares, actions, returns = (np.concatenate([w[i] for w in walks]) for i in range(3))
        advantages = returns - expected[squares]
        step(SEEN[squares], actions.astype(np.int64), advantages.astype(np.float32))
        for square in np.unique(squares):
            expected[square] += 0.1 * (returns[squares == square].mean() - expected[square])
        if (number + 1) % 50 == 0:
            print(
                f"  round {number + 1:3} of {rounds}  mean return {returns.mean():.3f}  solved {solved(policy):.0%}"
            )
    return {"policy in a grid world": (solved(policy), ">=", 1.0)}


if __name__ == "__main__":
    main()
