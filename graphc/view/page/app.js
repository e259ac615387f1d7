"use strict";
// The page: one state, painted from scratch on every change, so that a step back gives the page that was there before.
//
// state.step   0 is the whole picture; step k is picture.steps[k - 1]
// state.open   clusters that begin closed and are open;  state.shut  the other way round
// state.at     the box that is chosen

const $ = id => document.getElementById(id);
const picture = JSON.parse($("picture").textContent);
const code = JSON.parse($("code").textContent);
const steps = picture.steps ?? [];
const nodes = new Map(picture.nodes.map(n => [n.id, n]));
const begin = new Set(picture.clusters.filter(c => c.closed && !c.backward).map(c => c.id));
const laidOut = document.querySelector("#graph svg");  // by Graphviz: nothing opens or closes
const modules = laidOut ? [] : picture.clusters.filter(c => !c.backward && c.group < 0).map(c => c.id);
const shownBy = new Map();  // node id -> { value, gradient }: the step that makes its numbers known
steps.forEach((step, i) => {
  for (const id of step.shows) {
    const known = shownBy.get(id) ?? {};
    known[step.backward ? "gradient" : "value"] ??= i + 1;
    shownBy.set(id, known);
  }
});
const state = { step: 0, open: new Set(), shut: new Set(), at: "", theme: "auto", zoom: 0, hits: [], wide: false };
let shown = null, player = 0, drawnFor = "";

const isClosed = id => begin.has(id) ? !state.open.has(id) : state.shut.has(id);
const closedNow = () => new Set(modules.filter(isClosed));
const clusters = indexClusters(picture);

// ---- painting

function redraw() {
  const key = [...closedNow()].join(" ");
  if (shown && key === drawnFor) return;
  drawnFor = key;
  const room = $("figure").clientWidth;  // asked before anything changes: asked later, the browser lays out twice
  if (laidOut) {
    shown ??= adopt(picture, $("graph"));
  } else {
    shown = arrange(picture, closedNow(), measure);
    shown.svg = drawPicture(shown, picture.title);
    shown.height = Math.ceil(shown.height); shown.width = Math.ceil(shown.width);
  }
  resize(room);
  if (!laidOut) $("graph").replaceChildren(shown.svg);
}

function resize(room = $("figure").clientWidth) {
  const most = (laidOut ? 1.3 : 1) * (state.wide ? 1.6 : 1);  // to be seen from the back of a lecture hall
  if (!state.zoom) state.fit = Math.min(most, Math.max((room - 36) / shown.width, { map: 0.5, flow: 0.6, circuit: 0.75 }[picture.layout] ?? 0.55));
  const scale = state.zoom || state.fit;
  shown.svg.setAttribute("width", Math.round(shown.width * scale));
  shown.svg.setAttribute("height", Math.round(shown.height * scale));
  shown.svg.classList.toggle("tall", shown.height > 2.2 * shown.width);
}

function paint() {
  redraw();
  const step = steps[state.step - 1], stands = id => shown.stands.get(id) ?? id;
  const uses = new Set((step?.uses ?? []).map(stands)), now = step ? stands(step.at) : "", hits = new Set(state.hits.map(stands));
  const made = new Set((step ? [step.at, ...step.shows] : []).map(stands));
  const chosen = shown.boxes.has(stands(state.at)) ? stands(state.at) : "";
  const tabbed = chosen || (shown.boxes.has(now) ? now : shown.boxes.keys().next().value);
  for (const [id, box] of shown.boxes) {
    const known = shownBy.get(id) ?? {};
    const flags = {
      now: id === now, used: uses.has(id) && id !== now, chosen: id === chosen, hit: hits.has(id),
      "hide-value": state.step > 0 && known.value > state.step, "hide-gradient": state.step > 0 && known.gradient > state.step,
    };
    box.look ??= box.element.getAttribute("class");
    set(box, "class", [box.look, ...Object.keys(flags).filter(flag => flags[flag])].join(" "));
    set(box, "tabindex", id === tabbed ? "0" : "-1");
    set(box, "aria-current", id === now ? "step" : null);
  }
  for (const edge of shown.edges) {
    const used = edge.source !== undefined && uses.has(stands(edge.source)) && made.has(stands(edge.target));
    if (used !== Boolean(edge.used)) edge.element.classList.toggle("used", edge.used = used);
  }
  paintStory(step);
  paintDetails();
  document.documentElement.dataset.theme = state.theme;
  document.documentElement.classList.toggle("wide", state.wide);
  $("theme").textContent = `Theme: ${state.theme}`;
  writeHash();
}

/** An attribute of a box, touched only when it changes: there may be a thousand boxes. */
function set(box, name, value) {
  const had = box.had ??= { tabindex: "-1", "aria-current": null };
  if (had[name] === value) return;
  had[name] = value;
  if (value === null) box.element.removeAttribute(name); else box.element.setAttribute(name, value);
}

function paintStory(step) {
  const closed = [...closedNow()].filter(id => shown.boxes.has(id)).length, within = picture.nodes.filter(n => !shown.boxes.has(n.id)).length;
  $("hidden").textContent = closed ? `${within} of ${picture.nodes.length} boxes are inside of ${closed} closed module${closed === 1 ? "" : "s"}; E opens all.` : "";
  const back = Boolean(step?.backward);
  $("sentence").textContent = step ? step.text : steps.length ? `${steps.length} steps: press n for the first.` : picture.notices.join(". ");
  $("sentence").classList.toggle("back", back);
  $("frame").textContent = step ? `Step ${state.step} of ${steps.length}, ${back ? "backward" : "forward"}` : "The whole picture";
  $("slider").max = steps.length;
  $("slider").value = state.step;
  $("slider").setAttribute("aria-valuetext", $("frame").textContent);
  document.querySelector("tr[aria-current]")?.removeAttribute("aria-current");
  const row = step && rowOf(step.at);
  if (row) row.setAttribute("aria-current", "step");
}

const rowOf = id => $("t-" + id) ?? $("t-" + id.replace(/^g-/, ""));

function paintDetails() {
  const panel = $("details"), key = state.at;
  if (panel.dataset.of === key) return;
  panel.dataset.of = key;
  const node = nodes.get(key) ?? shown.boxes.get(key)?.node;
  if (!node) {
    panel.replaceChildren(element("p", steps.length ? "Choose a box, or step with n." : "Choose a box."));
    return;
  }
  const list = document.createElement("dl");
  const title = [node.label, node.lines.find(l => l.kind === "name" && node.label)?.text].filter(Boolean).join(" ");
  panel.replaceChildren(element("h2", title || node.lines.map(l => l.text)[0] || WORD[node.role]), list);
  put(list, "is", WORD[node.role] ?? node.role);
  for (const line of node.lines) if (line.kind !== "name" && line.kind !== "constant") put(list, node.role === "buffer" && line.kind === "type" ? "place" : line.kind, line.text);
  let last = "";
  for (const [heading, text] of node.facts ?? []) { put(list, heading === last ? "" : heading, text, heading); last = heading; }
  if (node.fold) {
    const inside = picture.nodes.filter(n => clusters.path(n.cluster).includes(node.fold) && n.role === "op");
    put(list, "operations", inside.map(n => n.label).join(", "));
  }
  const other = mirrorOf(key);
  if (other) panel.append(button(node.backward ? "Its operation (m)" : "Its gradient (m)", () => choose(other)));
  if (node.fold || closable(key)) panel.append(button(node.fold ? "Open (e)" : "Close its module (e)", () => press("e")));
}

function put(list, heading, text, kind = heading) {
  if (heading) list.append(element("dt", heading));
  const entry = document.createElement("dd");
  if (kind === "LLVM IR") entry.append(button(`Show ${text}`, event => showCode(text, event.target)));
  else entry.append(["NumPy", "source", "computes", "chain rule"].includes(kind) ? element("pre", text) : text);
  list.append(entry);
}

async function showCode(name, asked) {
  const bytes = Uint8Array.from(atob(code[name]), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const shownCode = element("pre", await new Response(stream).text());
  shownCode.className = "code";
  shownCode.tabIndex = 0;
  asked.replaceWith(shownCode);
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

function button(text, act) {
  const made = element("button", text);
  made.addEventListener("click", act);
  return made;
}

// ---- what can be done

function choose(id, focus = true) {
  reveal(id);
  state.at = id;
  paint();
  const box = shown.boxes.get(shown.stands.get(id) ?? id);
  if (box) bring(box, focus);
}

/** Keep what is talked about in sight after the picture has changed its size. */
function stay() {
  const id = state.at || steps[state.step - 1]?.at, box = id && shown.boxes.get(shown.stands.get(id) ?? id);
  if (box) bring(box, false);
}

function bring(box, focus) {
  box.element.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (focus) box.element.focus({ preventScroll: true });
}

/** Open what hides a box. */
function reveal(id) {
  const node = nodes.get(id);
  for (const cluster of node ? clusters.path(node.cluster) : []) setClosed(cluster, false);
}

function setClosed(id, closed) {
  (begin.has(id) ? state.open : state.shut)[closed === begin.has(id) ? "delete" : "add"](id);
}

const closable = id => { const node = nodes.get(id); return modules.length && node?.cluster ? clusters.path(node.cluster).at(-1) : ""; };
function toggle(id) {
  const box = shown.boxes.get(id), fold = box?.node.fold, back = box?.node.backward;
  if (fold) {
    setClosed(fold, false);
    const first = picture.nodes.find(n => n.backward === back && (n.role === "op" || n.role === "gradient") && clusters.path(n.cluster).includes(fold));
    state.at = first ? first.id : "";
    redraw();
    state.at = shown.stands.get(state.at) ?? state.at;
  } else if (closable(id)) {
    const cluster = closable(id);
    setClosed(cluster, true);
    state.at = (nodes.get(id).backward ? "g-" : "") + cluster;
  }
  paint();
  if (shown.boxes.has(state.at)) bring(shown.boxes.get(state.at), true);
}

function setAll(closed) {
  for (const id of modules) setClosed(id, closed);
  paint();
}

function goTo(step) {
  state.step = Math.max(0, Math.min(steps.length, step));
  state.at = steps[state.step - 1]?.at ?? "";
  paint();
  const at = steps[state.step - 1]?.at, box = at && shown.boxes.get(shown.stands.get(at) ?? at);
  if (box) bring(box, focused() !== "");
  if (state.step === steps.length) stop();
}

function play() {
  if (player) return stop();
  if (state.step === steps.length) state.step = 0;
  player = setInterval(() => goTo(state.step + 1), 1000 * Number($("speed").value));
  $("play").textContent = "Pause";
  $("play").setAttribute("aria-pressed", "true");
  goTo(state.step + 1);
}

function stop() {
  clearInterval(player);
  player = 0;
  $("play").textContent = "Play";
  $("play").setAttribute("aria-pressed", "false");
}

function zoom(factor) {
  state.zoom = factor ? Math.max(0.1, Math.min(4, (state.zoom || state.fit) * factor)) : 0;
  resize();
  stay();
}

/** The box on the other side of the mirror. */
function mirrorOf(id) {
  const other = id.startsWith("g-") ? id.slice(2) : "g-" + id;
  return nodes.has(other) || shown.boxes.has(other) ? other : "";
}

/** Along the edges to what a box is made of and to who reads it; across them to the next box of the row or column. */
function neighbour(id, direction) {
  const box = shown.boxes.get(id), [x, y] = centre(box), others = [...shown.boxes].filter(([other]) => other !== id);
  const along = laidOut ? ["ArrowLeft", "ArrowRight"] : ["ArrowUp", "ArrowDown"], sign = /Left|Up/.test(direction) ? -1 : 1;
  if (picture.layout !== "map" && along.includes(direction)) {
    const [from, to] = sign < 0 ? ["target", "source"] : ["source", "target"];
    const ends = new Set(shown.edges.filter(e => e.kind !== "saved" && e[from] === id).map(e => e[to]));
    const near = others.filter(([other]) => ends.has(other));
    const data = near.filter(([, b]) => b.node.role !== "parameter" && b.node.role !== "constant");
    return nearest(data.length ? data : near, ([u, v]) => Math.hypot(u - x, v - y));
  }
  if (laidOut) {
    const order = along.includes(direction) ? picture.nodes.map(n => n.id).filter(other => shown.boxes.has(other)) : byColumns();
    return order[order.indexOf(id) + sign] ?? "";
  }
  return nearest(others.filter(([, b]) => b.row === box.row && sign * (b.x - x) > 1), ([u]) => Math.abs(u - x));
}

/** All boxes, column by column from the left, each column downwards: whoever goes on meets every one. */
function byColumns() {
  const columns = [];
  let right = -Infinity;
  for (const [id, box] of [...shown.boxes].sort(([, a], [, b]) => centre(a)[0] - centre(b)[0])) {
    if (box.at.x >= right) {
      columns.push([]);
      right = box.at.x + box.at.width;
    }
    columns.at(-1).push([centre(box)[1], id]);
  }
  return columns.flatMap(column => column.sort((a, b) => a[0] - b[0]).map(([, id]) => id));
}

const centre = box => box.at ? [box.at.x + box.at.width / 2, box.at.y + box.at.height / 2] : [box.x, box.y];
const nearest = (boxes, distance) => boxes.map(([id, box]) => [distance(centre(box)), id]).sort((a, b) => a[0] - b[0])[0]?.[1] ?? "";

function search(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  state.hits = words.length ? picture.nodes.filter(n => words.every(w => haystack(n).includes(w))).map(n => n.id) : [];
  $("found").textContent = words.length ? `${state.hits.length} found` : "";
  paint();
}

function haystack(node) {
  return node.text ??= [node.label, node.role, node.source, ...node.lines.map(l => l.text), ...(node.facts ?? []).map(f => f[1])].join(" ").toLowerCase();
}

function nextHit() {
  if (!state.hits.length) return;
  const at = state.hits.indexOf(state.at);
  choose(state.hits[(at + 1) % state.hits.length], false);
}

// ---- keys, clicks, the address

const SIDEWAYS = picture.layout === "map" ? ["To the buffer before", "To the next buffer"]
  : laidOut ? ["To what the box is made of", "To who reads it"] : ["Left in the row", "Right in the row"];
const KEYS = [
  ["n", "Step on", () => { stop(); goTo(state.step + 1); }],
  ["p", "Step back", () => { stop(); goTo(state.step - 1); }],
  [" ", "Play or pause", play],
  ["Home", "The whole picture", () => { stop(); goTo(0); }],
  ["End", "The last step", () => { stop(); goTo(steps.length); }],
  ["f", "Where forward begins", () => { stop(); goTo(steps.findIndex(s => !s.backward) + 1); }],
  ["b", "Where backward begins", () => { stop(); goTo(steps.findIndex(s => s.backward) + 1); }],
  ["ArrowUp", laidOut ? "To the box above" : "To what the box is made of", walk], ["ArrowDown", laidOut ? "To the box below" : "To who reads it", walk],
  ["ArrowLeft", SIDEWAYS[0], walk], ["ArrowRight", SIDEWAYS[1], walk],
  ["m", "From an operation to its gradient, and back", () => { const other = mirrorOf(state.at); if (other) choose(other); }],
  ["Enter", "Details of the box", () => { state.at = focused() || state.at; state.wide = false; paint(); resize(); $("details").focus(); }],
  ["e", "Open or close the module of the box", () => toggle(focused() || state.at)],
  ["E", "Open all modules", () => setAll(false)], ["C", "Close all modules", () => setAll(true)],
  ["/", "Search; Enter goes to the next", () => $("query").focus()],
  ["+", "Larger", () => zoom(1.25)], ["-", "Smaller", () => zoom(0.8)], ["0", "Fit", () => zoom(0)],
  ["d", "Hide or show the details", () => { state.wide = !state.wide; paint(); resize(); stay(); }],
  ["t", "Theme: auto, light, dark", () => { state.theme = { auto: "light", light: "dark", dark: "auto" }[state.theme]; paint(); }],
  ["?", "These keys", () => $("keys").showModal()],
  ["Escape", "Back to the picture", () => { state.at = ""; state.hits = []; $("query").value = ""; $("found").textContent = ""; stop(); paint(); document.querySelector(".box[tabindex='0']")?.focus(); }],
];
const acts = new Map(KEYS.map(([key, , act]) => [key, act]));
const focused = () => document.activeElement?.closest?.(".box")?.dataset.id ?? "";

function walk(key) {
  const from = focused() || (shown.stands.get(state.at) ?? state.at);
  const next = shown.boxes.has(from) ? neighbour(from, key) : shown.boxes.keys().next().value;
  if (next) choose(next);
}

function press(key) { acts.get(key)?.(key); }

document.addEventListener("keydown", event => {
  const target = event.target, typing = target.matches("input[type=search], select");
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  if (typing) {
    if (event.key === "Escape") { press("Escape"); event.preventDefault(); }
    return;
  }
  if (target.matches("button, [type=range]") && [" ", "Enter", "Home", "End", "ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"].includes(event.key)) return;
  if (event.key === "Enter" && !focused()) return;
  if (/^Arrow/.test(event.key) && !focused() && target !== document.body) return;  // scrolls
  const key = event.key === "=" ? "+" : event.key;
  if (!acts.has(key)) return;
  event.preventDefault();
  press(key);
});
document.addEventListener("click", event => {
  const key = event.target.closest("button[data-key]")?.dataset.key;
  if (key) return press(key);
  const frame = event.target.closest("[data-frame]")?.dataset.frame;
  if (frame) { setClosed(frame, true); state.at = frame; paint(); return; }
  const box = event.target.closest(".box");
  if (box) { state.at = box.dataset.id; paint(); box.focus({ preventScroll: true }); }
});
$("graph").addEventListener("dblclick", event => { const box = event.target.closest(".box"); if (box) toggle(box.dataset.id); });
$("graph").addEventListener("focusin", event => {
  const id = event.target.closest(".box")?.dataset.id;
  if (id && id !== (shown.stands.get(state.at) ?? state.at)) { state.at = id; paint(); }
});
$("slider").addEventListener("input", () => { stop(); goTo(Number($("slider").value)); });
$("query").addEventListener("input", () => search($("query").value));
$("search").addEventListener("submit", event => { event.preventDefault(); nextHit(); });
document.querySelectorAll("tbody tr").forEach(row => row.addEventListener("click", () => choose(row.id.slice(2), false)));
addEventListener("resize", () => resize());
addEventListener("hashchange", () => { if (location.hash.slice(1) !== hashNow()) { readHash(); paint(); } });

function hashNow() {
  const fields = { step: state.step || "", at: state.at, open: [...state.open].join(","), shut: [...state.shut].join(","), theme: state.theme === "auto" ? "" : state.theme, wide: state.wide ? 1 : "" };
  return Object.entries(fields).filter(([, value]) => value).map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join("&");
}

function writeHash() {
  if (location.protocol === "about:") return;  // in the frame of a notebook there is no address
  const hash = hashNow();
  if (location.hash.slice(1) !== hash) history.replaceState(null, "", hash ? "#" + hash : location.pathname + location.search);
}

function readHash() {
  const fields = new URLSearchParams(location.hash.slice(1)), list = key => new Set((fields.get(key) ?? "").split(",").filter(id => modules.includes(id)));
  state.step = Math.max(0, Math.min(steps.length, Number(fields.get("step")) || 0));
  state.at = nodes.has(fields.get("at")) || modules.includes((fields.get("at") ?? "").replace(BACK, "")) ? fields.get("at") : "";
  state.open = list("open");
  state.shut = list("shut");
  state.wide = fields.get("wide") === "1";
  state.theme = ["light", "dark"].includes(fields.get("theme")) ? fields.get("theme") : "auto";
}

document.documentElement.classList.add("js");
for (const [key, what] of KEYS) {
  const name = document.createElement("dt");
  name.append(element("kbd", { " ": "Space", ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc" }[key] ?? key));
  $("key-list").append(name, element("dd", what));
}
$("story").hidden = !steps.length;
for (const key of "EC") document.querySelector(`[data-key="${key}"]`).hidden = !modules.length;
readHash();
paint();
if (state.at) choose(state.at, false);
else if (laidOut) {  // a wide picture begins where it begins to be read
  const first = shown.boxes.values().next().value, figure = $("figure");
  if (first) figure.scrollLeft += first.element.getBoundingClientRect().x - figure.getBoundingClientRect().x - figure.clientWidth / 3;
}
