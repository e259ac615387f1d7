"use strict";
// From an arrangement to SVG.  Everything a model's author named goes through `textContent` or an attribute value.

const SVG = "http://www.w3.org/2000/svg";
const GLYPH = { input: "▷", parameter: "◆", constant: "▫", output: "▣", loss: "▣", module: "▤" };
const WORD = { input: "input", parameter: "parameter", constant: "constant", output: "output", loss: "loss", module: "module, closed",
  op: "operation", gradient: "gradient", buffer: "buffer", accumulate: "sum of gradients", seed: "gradient where backward starts", chip: "local derivative", value: "value" };
const LINE = 14, HEAD = 18, PAD = 6;
const pen = document.createElement("canvas").getContext("2d");
const widths = new Map();

function make(tag, attributes, parent, text) {
  const element = document.createElementNS(SVG, tag);
  for (const name in attributes) element.setAttribute(name, attributes[name]);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

function textWidth(text, font) {
  const key = font + text;
  if (!widths.has(key)) { pen.font = `${font} "DejaVu Sans", Verdana, Geneva, sans-serif`; widths.set(key, pen.measureText(text).width); }
  return widths.get(key);
}

const short = (text, longest = 48) => text.length <= longest ? text : `${text.slice(0, longest - 16)}…${text.slice(-15)}`;

/** The rows of text in a box: the head, then the lines. */
function rowsOf(node) {
  const glyph = node.backward ? "" : GLYPH[node.role] ?? "";
  if (!node.label && node.lines.length && (node.lines[0].kind === "name" || node.lines[0].kind === "constant")) {
    const rows = [];
    for (const line of node.lines) {
      if (line.kind === "name" || line.kind === "constant")
        rows.push({ head: `${node.backward ? "" : GLYPH[line.kind === "constant" ? "constant" : node.role] + " "}${short(line.text)}`, name: "", kind: "title" });
      else if (line.kind === "type") rows[rows.length - 1].name = line.text;
      else rows.push({ text: line.text, kind: line.kind });
    }
    return rows;
  }
  const name = node.lines.find(line => line.kind === "name");
  const head = { head: (glyph ? glyph + " " : "") + short(node.label), name: name ? short(name.text) : "", kind: "title" };
  return [head, ...node.lines.filter(line => line.kind !== "name").map(line => ({ text: line.text, kind: line.kind }))];
}

function measure(node) {
  if (node.role === "accumulate") return { w: 22, h: 22, rows: [] };
  const rows = rowsOf(node);
  let w = 34, h = 2 * PAD;
  for (const row of rows) {
    const wide = row.kind === "title"
      ? textWidth(row.head, node.backward ? "italic 13px" : "bold 13px") + (row.name ? 8 + textWidth(row.name, "12px") : 0)
      : textWidth(row.text, row.kind === "gradient" ? "italic 11px" : "11px");
    w = Math.max(w, wide + 20);
    h += row.kind === "title" ? HEAD : LINE;
  }
  return { w: Math.ceil(w), h, rows };
}

function describe(node) {
  const lines = node.lines.map(line => line.text).filter(Boolean).join(", ");
  return [node.label, WORD[node.role] ?? node.role, lines].filter(Boolean).join(", ");
}

function drawBox(box, parent) {
  const { node } = box;
  const group = make("g", { id: "n-" + node.id, "data-id": node.id, class: `box ${node.role}${node.backward ? " back" : ""}`,
    role: "graphics-symbol", "aria-roledescription": WORD[node.role] ?? node.role, "aria-label": describe(node), tabindex: "-1" }, parent);
  if (node.role === "accumulate") {
    make("circle", { cx: box.x, cy: box.y, r: 10 }, group);
    make("text", { x: box.x, y: box.y + 5, "text-anchor": "middle", class: "title" }, group, "+");
    return group;
  }
  const square = node.role === "parameter" || node.role === "constant";
  const rect = { x: box.x - box.w / 2, y: box.y - box.h / 2, width: box.w, height: box.h, rx: square ? 0 : 9 };
  make("rect", rect, group);
  if (node.role === "module" || node.role === "loss" || node.role === "output")
    make("rect", { ...rect, x: rect.x - 3, y: rect.y - 3, width: rect.width + 6, height: rect.height + 6, rx: 12, class: "ring" }, group).style.fill = "none";
  let y = box.y - box.h / 2 + PAD;
  for (const row of box.rows) {
    y += row.kind === "title" ? HEAD : LINE;
    if (row.kind === "title") {
      const text = make("text", { x: box.x, y: y - 4, "text-anchor": "middle", class: "title" }, group, row.head);
      if (row.name) make("tspan", { class: "name", dx: 8 }, text, row.name);
    } else make("text", { x: box.x, y: y - 3, "text-anchor": "middle", class: `line n-${row.kind}` }, group, row.text);
  }
  return group;
}

function drawPicture(found, title) {
  const svg = make("svg", { viewBox: `0 0 ${Math.ceil(found.width)} ${Math.ceil(found.height)}`, role: "graphics-document", "aria-roledescription": "computation graph", "aria-label": title });
  const defs = make("defs", {}, svg);
  for (const kind of ["data", "gradient", "saved"]) {
    const marker = make("marker", { id: "m-" + kind, viewBox: "0 0 8 8", refX: 7.5, refY: 4, markerWidth: 8, markerHeight: 8, orient: "auto-start-reverse", markerUnits: "userSpaceOnUse" }, defs);
    make("path", { d: kind === "gradient" ? "M1,1L7.5,4L1,7" : "M0,1L8,4L0,7Z", class: "mark-" + kind }, marker);
  }
  const start = make("marker", { id: "m-kept", viewBox: "0 0 6 6", refX: 3, refY: 3, markerWidth: 6, markerHeight: 6, markerUnits: "userSpaceOnUse" }, defs);
  make("rect", { width: 6, height: 6, class: "mark-saved" }, start);
  for (const f of found.frames) {
    make("rect", { x: f.left, y: f.top, width: f.right - f.left, height: f.bottom - f.top, rx: 10, class: "frame" + (f.back ? " back" : "") }, svg);
  }
  const lines = make("g", { "aria-hidden": "true" }, svg);
  for (const edge of found.edges)
    edge.element = make("path", { d: edge.d, class: `edge ${edge.kind}`, "marker-end": `url(#m-${edge.kind})`,
      ...(edge.kind === "saved" ? { "marker-start": "url(#m-kept)" } : {}) }, lines);
  for (const f of found.frames)
    make("text", { x: f.left + 10, y: f.top + 16, class: "frame-label" + (f.back ? " back" : ""), "data-frame": f.id }, svg, "▾ " + short(f.label));
  const boxes = make("g", { role: "presentation" }, svg);
  for (const box of found.boxes.values()) box.element = drawBox(box, boxes);
  return svg;
}

/** A picture that Graphviz laid out: its groups get roles, names and classes, its text lines the kind they are of. */
function adopt(picture, parent) {
  const svg = parent.querySelector("svg"), byId = new Map(picture.nodes.map(n => [n.id, n]));
  svg.setAttribute("role", "graphics-document");
  svg.setAttribute("aria-roledescription", "computation graph");
  svg.setAttribute("aria-label", picture.title);
  const boxes = new Map(), edges = [];
  for (const group of svg.querySelectorAll("g.node")) {
    const node = byId.get(group.id);
    if (!node) continue;
    group.dataset.id = node.id;
    const shaped = group.querySelector(":scope > ellipse, :scope > path, :scope > a > ellipse, :scope > rect");
    const back = node.backward || node.role === "chip" || node.role === "accumulate";
    group.classList.add("box", ...(shaped ? [] : ["plain"]), ...(back ? ["back"] : []));
    for (const [key, value] of Object.entries({ role: "graphics-symbol", "aria-roledescription": WORD[node.role] ?? node.role, "aria-label": describe(node), tabindex: "-1" })) group.setAttribute(key, value);
    group.querySelector("title")?.remove();
    const spare = [...group.querySelectorAll("text")], plain = text => text.replace(/[\s\u00a0]+/g, "");
    for (const line of node.lines) {
      const wanted = plain(line.text);
      for (let first = 0, found = 0; first < spare.length && wanted && !found; first++) {
        for (let last = first, said = ""; last < spare.length && wanted.startsWith(said += plain(spare[last].textContent)); last++)
          if (said === wanted) { found = last + 1 - first; break; }  // a long formula stands in two rows
        if (found) spare.splice(first, found).forEach(text => text.classList.add("n-" + line.kind));
      }
    }
    if (!shaped) {
      const at = group.getBBox();
      make("rect", { x: at.x - 2, y: at.y - 2, width: at.width + 4, height: at.height + 4, rx: 5, class: "halo" }, group);
    }
    boxes.set(node.id, { node, element: group, at: group.getBBox() });
  }
  for (const group of svg.querySelectorAll("g.edge")) {
    const [source, target] = (group.querySelector("title")?.textContent ?? "").split("->").map(part => part.split(":")[0]);
    group.querySelector("title")?.remove();
    edges.push({ source, target, element: group, kind: "data" });
  }
  if (picture.layout === "map") for (const edge of picture.edges) edges.push({ ...edge, element: make("g", {}) });  // not drawn
  svg.querySelectorAll("title").forEach(title => title.remove());
  const size = svg.viewBox.baseVal;
  return { svg, boxes, edges, stands: new Map(picture.nodes.map(n => [n.id, n.id])), frames: [], width: size.width * 4 / 3, height: size.height * 4 / 3 };
}
