"use strict";
// Rows of boxes in columns: forward on the left, backward on the right, a row for each op or closed module.
//
// `arrange(picture, closed, measure)` gives boxes with places, frames around open modules and edges as paths.
// A far edge runs in a lane beside its column, the shortest innermost, so that no edge crosses a box.

const GAP = { row: 30, lane: 9, column: 34, middle: 70, frame: 12, head: 22 };
const BACK = /^g-/;

function indexClusters(picture) {
  const parent = new Map(), label = new Map();
  for (const c of picture.clusters) { parent.set(c.id, c.parent); label.set(c.id, c.label); }
  const path = id => {
    const found = [];
    for (let at = id.replace(BACK, ""); at; at = (parent.get(at) ?? parent.get("g-" + at) ?? "").replace(BACK, "")) found.unshift(at);
    return found;
  };
  return { label, path };
}

/** The path of clusters of each row; what lies in none takes what its neighbours share. */
function rowPaths(picture, node, clusters) {
  const paths = picture.rows.map(row => {
    for (const id of row) if (node.get(id).cluster) return clusters.path(node.get(id).cluster);
    return null;
  });
  return paths.map((path, i) => {
    if (path) return path;
    let before = i, after = i;
    while (before >= 0 && !paths[before]) before--;
    while (after < paths.length && !paths[after]) after++;
    const a = paths[before] ?? [], b = paths[after] ?? [];
    let same = 0;
    while (same < a.length && a[same] === b[same]) same++;
    return a.slice(0, same);
  });
}

function arrange(picture, closed, measure) {
  const node = new Map(picture.nodes.map(n => [n.id, n]));
  const clusters = indexClusters(picture), paths = rowPaths(picture, node, clusters);
  const rows = [], stands = new Map(), folds = new Map();  // stands: node id -> id of the box that stands for it
  picture.rows.forEach((row, i) => {
    const at = paths[i].findIndex(id => closed.has(id));
    if (at < 0) {
      for (const id of row) stands.set(id, id);
      rows.push({ path: paths[i], members: row.map(id => node.get(id)) });
      return;
    }
    const fold = paths[i][at];
    if (!folds.has(fold)) {
      folds.set(fold, { inside: [], path: paths[i].slice(0, at) });
      rows.push({ path: paths[i].slice(0, at), fold });
    }
    for (const id of row) {
      const member = node.get(id);
      if (!member.cluster && member.role === "input") {  // it belongs to nobody and stays
        stands.set(id, id);
        rows.splice(rows.length - 1, 0, { path: paths[i].slice(0, at), members: [member] });
        continue;
      }
      stands.set(id, member.backward ? "g-" + fold : fold);
      folds.get(fold).inside.push(member);
    }
  });
  for (const row of rows) if (row.fold) row.members = folded(row.fold, folds.get(row.fold).inside, clusters);

  const boxes = new Map(), place = { side: 0, forward: 0, back: 0, stub: 0 };
  rows.forEach((row, r) => {
    const ahead = row.members.filter(m => !m.backward), behind = row.members.filter(m => m.backward);
    const main = ahead[ahead.length - 1], mirror = behind.find(m => m.role !== "accumulate") ?? behind[0];
    row.height = 0; row.sides = []; row.stubs = [];
    for (const member of row.members) {
      const column = member === main ? "forward" : member === mirror ? "back" : member.backward ? "stub" : "side";
      const box = { node: member, row: r, column, ...measure(member) };
      boxes.set(member.id, box);
      row.height = Math.max(row.height, box.h);
      if (column === "side") row.sides.push(box);
      else if (column === "stub") row.stubs.push(box);
      else place[column] = Math.max(place[column], box.w);
    }
    for (const [column, list] of [["side", row.sides], ["stub", row.stubs]])
      place[column] = Math.max(place[column], list.reduce((sum, b) => sum + b.w + 14, 0));
  });

  const edges = joined(picture.edges, stands, boxes);
  const lanes = { forward: assign(edges, boxes, rows, "forward"), back: assign(edges, boxes, rows, "back") };
  let deepest = 0;
  for (const row of rows) deepest = Math.max(deepest, row.path.length);
  const room = deepest * GAP.frame + 4;
  const x = {};
  x.side = room + place.side;                                       // right edge of what stands at the side
  x.forward = x.side + (place.side ? 16 : 0) + lanes.forward * GAP.lane + place.forward / 2 + 10;
  x.back = x.forward + place.forward / 2 + GAP.middle + 2 * room + place.back / 2;
  x.stub = x.back + place.back / 2 + 16 + lanes.back * GAP.lane + 10;
  const hasBack = [...boxes.values()].some(b => b.node.backward);
  const width = hasBack ? x.stub + place.stub + room : x.forward + place.forward / 2 + room;

  const frames = [];
  let y = 8, open = [];
  rows.forEach((row, r) => {
    let same = 0;
    while (same < open.length && open[same].id === row.path[same]) same++;
    for (let k = open.length - 1; k >= same; k--) { open[k].bottom = y - GAP.row + GAP.frame; y += GAP.frame; }
    open.length = same;
    for (const id of row.path.slice(same)) {
      const frame = { id, label: clusters.label.get(id), depth: open.length, top: y - 6, back: false };
      frames.push(frame); open.push(frame); y += GAP.head;
    }
    for (const member of row.members) {
      const box = boxes.get(member.id);
      box.y = y + row.height / 2;
      box.x = box.column === "forward" ? x.forward : x.back;
    }
    let left = x.side;
    for (const box of row.sides.slice().reverse()) { box.x = left - box.w / 2; left -= box.w + 14; }
    let right = x.stub;
    for (const box of row.stubs) { box.x = right + box.w / 2; right += box.w + 14; }
    y += row.height + GAP.row;
  });
  for (const frame of open.reverse()) { frame.bottom = y - GAP.row + GAP.frame; y += GAP.frame; }
  for (const frame of frames) {
    const inner = (deepest - frame.depth - 1) * GAP.frame + GAP.frame;
    frame.left = x.side - place.side - inner; frame.right = x.forward + place.forward / 2 + inner;
  }
  const mirrored = hasBack ? frames.filter(f => picture.clusters.some(c => c.id === "g-" + f.id)).map(f => {
    const inner = (deepest - f.depth - 1) * GAP.frame + GAP.frame;
    return { ...f, back: true, label: "∇ " + f.label, left: x.back - place.back / 2 - inner, right: x.stub + place.stub + inner };
  }) : [];
  for (const edge of edges) edge.d = route(edge, boxes, x, place);
  return { boxes, edges, frames: [...frames, ...mirrored], stands, rows, width: Math.max(width, 120) + 8, height: y };
}

/** A closed module: a box forward, and one backward when anything flows back through it. */
function folded(id, inside, clusters) {
  const forward = inside.filter(n => !n.backward && (n.role === "op" || n.role === "module"));
  const arrays = inside.filter(n => n.role === "parameter" || n.role === "constant")
    .reduce((sum, n) => sum + n.lines.filter(l => l.kind === "name" || l.kind === "constant").length, 0);
  const last = forward[forward.length - 1], type = last && last.lines.find(l => l.kind === "type");
  const count = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
  const [label, more] = clusters.label.get(id).split(": ");
  const lines = type ? [type] : [];
  if (more) lines.push({ kind: "note", text: more });
  lines.push({ kind: "note", text: count(forward.length, "op") + (arrays ? `, ${count(arrays, "array")}` : "") });
  const made = [{ id, role: "module", label, lines, cluster: "", backward: false, fold: id }];
  const back = inside.filter(n => n.backward);
  if (back.length) made.push({ id: "g-" + id, role: "gradient", label: "∇" + label, lines: [{ kind: "note", text: "gradients of " + count(forward.length, "op") }], cluster: "", backward: true, fold: id });
  return made;
}

function joined(edges, stands, boxes) {
  const seen = new Set(), found = [];
  for (const edge of edges) {
    const source = stands.get(edge.source), target = stands.get(edge.target);
    const key = `${source} ${target} ${edge.kind}`;
    if (source === target || seen.has(key) || !boxes.has(source) || !boxes.has(target)) continue;
    seen.add(key);
    found.push({ source, target, kind: edge.kind, label: edge.label, lane: -1 });
  }
  return found;
}

/** Lanes for the far edges of one column; returns how many. */
function assign(edges, boxes, rows, column) {
  const filled = rows.map(row => row.members.some(m => boxes.get(m.id).column === column));
  const far = [];
  for (const edge of edges) {
    const a = boxes.get(edge.source), b = boxes.get(edge.target);
    if (edge.kind === "saved" || a.row === b.row) continue;
    const side = b.node.backward ? "back" : "forward";
    if (side !== column) continue;
    const top = Math.min(a.row, b.row), bottom = Math.max(a.row, b.row);
    let between = a.column !== column || b.column !== column;
    for (let r = top + 1; r < bottom && !between; r++) between = filled[r];
    if (between) far.push({ edge, top, bottom });
  }
  far.sort((p, q) => p.bottom - p.top - (q.bottom - q.top) || p.top - q.top);
  const taken = [];
  for (const item of far) {
    let lane = 0;
    while (taken[lane] && taken[lane].some(o => o.top < item.bottom && item.top < o.bottom)) lane++;
    (taken[lane] ??= []).push(item);
    item.edge.lane = lane;
  }
  return taken.length;
}

function route(edge, boxes, x, place) {
  const a = boxes.get(edge.source), b = boxes.get(edge.target);
  const down = b.y > a.y;
  if (edge.kind === "saved" && a.row !== b.row) {
    const from = a.x + a.w / 2, to = b.x - b.w / 2, bend = (to - from) / 2;
    return `M${from},${a.y}C${from + bend},${a.y} ${to - bend},${b.y} ${to},${b.y}`;
  }
  if (a.row === b.row) {
    const right = b.x > a.x;
    return `M${a.x + (right ? 1 : -1) * a.w / 2},${a.y}H${b.x - (right ? 1 : -1) * b.w / 2}`;
  }
  if (edge.lane < 0) {
    if (a.x === b.x) return `M${a.x},${a.y + (down ? 1 : -1) * a.h / 2}V${b.y - (down ? 1 : -1) * b.h / 2}`;
    const from = a.y + (down ? 1 : -1) * a.h / 2, to = b.y - (down ? 1 : -1) * b.h / 2;
    return `M${a.x},${from}C${a.x},${(from + to) / 2} ${b.x},${(from + to) / 2} ${b.x},${to}`;
  }
  const left = !b.node.backward, sign = left ? -1 : 1;
  const column = left ? "forward" : "back";
  const lane = x[column] + sign * (place[column] / 2 + 12 + edge.lane * GAP.lane);
  const leave = a.column === "side" ? a.x + a.w / 2 : a.column === "stub" ? a.x - a.w / 2 : a.x + sign * a.w / 2;
  const enter = b.column === "stub" ? b.x - b.w / 2 : b.column === "side" ? b.x + b.w / 2 : b.x + sign * b.w / 2;
  const ya = a.y + (down ? 1 : -1) * Math.min(8, a.h / 4), yb = b.y - (down ? 1 : -1) * Math.min(8, b.h / 4);
  const turn = Math.min(6, Math.abs(yb - ya) / 2), s = down ? 1 : -1;
  const near = Math.sign(lane - leave) * turn, back = Math.sign(enter - lane) * turn;
  return `M${leave},${ya}H${lane - near}Q${lane},${ya} ${lane},${ya + s * turn}V${yb - s * turn}Q${lane},${yb} ${lane + back},${yb}H${enter}`;
}
