// Opens pages in Chromium and reports what happens, as JSON on standard output; `test_browser.py` judges it.
//
//     node browser.mjs NODE_MODULES CHROMIUM PAGE...
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , modules, executablePath, ...files] = process.argv;
const require = createRequire(pathToFileURL(modules + "/"));
const { chromium } = require("playwright-core");
const axe = require("axe-core").source;
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});

const snapshot = page => page.evaluate(() => {
  const copy = document.body.cloneNode(true);
  copy.querySelectorAll("script").forEach(script => script.remove());
  return copy.outerHTML + "\n" + document.getElementById("slider").value + document.documentElement.dataset.theme;
});
const state = page => page.evaluate(() => ({
  sentence: document.getElementById("sentence").textContent, frame: document.getElementById("frame").textContent,
  focus: document.activeElement?.closest?.(".box")?.dataset.id ?? document.activeElement?.id ?? "",
  boxes: document.querySelectorAll(".box").length, width: document.querySelector("#graph svg").getAttribute("width"),
  theme: document.documentElement.dataset.theme, playing: document.getElementById("play").getAttribute("aria-pressed"),
  dialog: document.getElementById("keys").open, panel: document.getElementById("details").checkVisibility(), details: document.getElementById("details").textContent, hash: location.hash,
}));

/** Where two texts part, with what stands there; nothing when they are equal. */
function difference(a, b) {
  if (a === b) return [];
  let at = 0;
  while (a[at] === b[at]) at++;
  return [a.slice(at - 60, at + 60), b.slice(at - 60, at + 60)];
}

async function violations(page, name) {
  await page.evaluate(axe);  // in the debugger's world: the page's own policy stays as it is
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.map(v => `${name}: ${v.id}: ${v.nodes.slice(0, 3).map(n => n.html.slice(0, 160)).join(" | ")}`);
}

async function opened(url, log, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, bypassCSP: true, ...options });
  const page = await context.newPage();
  page.on("request", request => { if (request.url().split("#")[0] !== url.split("#")[0] && !request.url().startsWith("data:")) log.push("request " + request.url()); });
  page.on("console", message => log.push("console " + message.text()));
  page.on("pageerror", error => log.push("error " + error.message));
  page.on("dialog", dialog => { log.push("dialog " + dialog.message()); dialog.dismiss(); });
  await page.goto(url);
  return page;
}

async function examine(file) {
  const url = pathToFileURL(file).href, log = [], report = { log, axe: [], keys: {} };
  const strict = await opened(url, log, { bypassCSP: false });
  await strict.keyboard.press("End");
  report.end = await state(strict);

  // Step to the end and back.
  await strict.keyboard.press("Home");
  const count = Number(await strict.getAttribute("#slider", "max")), seen = [await snapshot(strict)], sentences = [];
  const walked = Math.min(count, 60);
  for (let k = 0; k < walked; k++) {
    await strict.keyboard.press("n");
    sentences.push((await state(strict)).sentence);
    seen.push(await snapshot(strict));
  }
  report.steps = count;
  report.sentences = sentences;
  report.different = [];
  for (let k = walked - 1; k >= 0; k--) {
    await strict.keyboard.press("p");
    const back = await snapshot(strict);
    if (back !== seen[k]) report.different.push([k, ...difference(seen[k], back)]);
  }

  // Every key, each from the same place.
  const other = { Home: "n", p: "n", Escape: "n", "0": "+" };
  for (const key of ["n", "p", " ", "Home", "End", "f", "b", "/", "+", "-", "0", "t", "d", "?", "Escape"]) {
    await strict.keyboard.press("Home");
    if (other[key]) await strict.keyboard.press(other[key]);
    const before = await state(strict);
    await strict.keyboard.press(key === " " ? "Space" : key);
    report.keys[key] = [before, await state(strict)];
    if (key === " ") await strict.keyboard.press("Space");
    await strict.keyboard.press("Escape");
    if (key === "?") await strict.keyboard.press("Escape");
    if (key === "d") await strict.keyboard.press("d");
  }

  // The graph by keyboard: Tab reaches it, arrows reach every box.
  await strict.reload();
  await strict.focus("#figure");
  await strict.keyboard.press("Tab");
  report.tab = (await state(strict)).focus;
  report.unreached = await strict.evaluate(() => {
    const all = [...document.querySelectorAll(".box")].map(b => b.dataset.id), reached = new Set(), pending = [all[0]];
    const box = id => [...document.querySelectorAll(".box")].find(b => b.dataset.id === id);
    while (pending.length) {
      const id = pending.pop();
      if (reached.has(id)) continue;
      reached.add(id);
      for (const key of ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "m"]) {
        box(id).focus();
        box(id).dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
        const next = document.activeElement.dataset?.id;
        if (next && !reached.has(next)) pending.push(next);
      }
    }
    return all.filter(id => !reached.has(id));
  });
  await strict.keyboard.press("Enter");
  report.enter = await state(strict);

  // Open and close.
  await strict.keyboard.press("Escape");
  await strict.keyboard.press("C");
  const closed = await snapshot(strict), few = (await state(strict)).boxes;
  await strict.keyboard.press("E");
  const many = (await state(strict)).boxes;
  await strict.keyboard.press("C");
  report.modules = { few, many, same: (await snapshot(strict)) === closed };
  const folded = strict.locator(".box.module");  // one alone, and what of it is chosen closes it again
  report.modules.one = [];
  if (await folded.count()) {
    await folded.first().focus();
    const counts = async () => report.modules.one.push((await state(strict)).boxes);
    await counts();
    for (let k = 0; k < 2; k++) { await strict.keyboard.press("e"); await counts(); }
  }
  await strict.keyboard.press("E");
  report.shown = await strict.evaluate(() => [...document.querySelectorAll(".box")].map(b => b.dataset.id));

  // The search, then the address brings the same page back.
  await strict.reload();
  await strict.keyboard.press("/");
  await strict.keyboard.type("x");
  await strict.keyboard.press("Enter");
  report.found = await strict.textContent("#found");
  report.chosen = (await state(strict)).hash;
  await strict.keyboard.press("Escape");
  for (const key of ["f", "n", "t", "t"]) await strict.keyboard.press(key);
  const here = await snapshot(strict), there = await opened(strict.url(), log, { bypassCSP: false });
  report.restored = difference(here, await snapshot(there));
  await there.context().close();

  // Every number can be hidden: its text knows what kind it is of.
  report.unmarked = await strict.evaluate(() => JSON.parse(document.getElementById("picture").textContent).nodes.flatMap(node =>
    node.lines.filter(line => ["value", "gradient", "product"].includes(line.kind) && line.text.trim()
      && !document.querySelector(`.box[data-id="${node.id}"] .n-${line.kind}`)).map(line => `${node.id} ${line.kind} ${line.text}`)));

  // The box of the step stands out.
  await strict.keyboard.press("b");
  report.bold = await strict.evaluate(() => Math.max(...[...document.querySelectorAll(".now > :is(rect, ellipse, path, circle)")].map(shape => parseFloat(getComputedStyle(shape).strokeWidth))));

  // What is hidden before its step.
  await strict.keyboard.press("f");
  report.hidden = await strict.evaluate(() => document.querySelectorAll(".hide-value .n-value, .hide-gradient .n-gradient").length);
  await strict.keyboard.press("End");
  report.hiddenAtEnd = await strict.evaluate(() => document.querySelectorAll(".hide-value .n-value, .hide-gradient .n-gradient").length);

  // Print.
  report.pdf = (await strict.pdf({ format: "A4", landscape: true })).subarray(0, 4).toString("latin1");
  await strict.emulateMedia({ media: "print" });
  report.print = await strict.evaluate(() => ({
    tools: getComputedStyle(document.getElementById("tools")).display, figure: document.querySelector("#graph svg").getBoundingClientRect().height,
    background: getComputedStyle(document.body).backgroundColor, wide: document.querySelector("#graph svg").getBoundingClientRect().width <= innerWidth,
  }));
  await strict.context().close();

  // Accessibility in every state.
  for (const [name, options, keys] of [
    ["light", {}, []], ["forward", {}, ["f", "n"]], ["backward", {}, ["b", "n", "Enter"]], ["keys", {}, ["?"]],
    ["dark", { colorScheme: "dark" }, ["b"]], ["closed", {}, ["C", "b"]], ["narrow", { viewport: { width: 390, height: 844 } }, ["b"]],
    ["forced", { forcedColors: "active" }, ["f"]],
  ]) {
    const page = await opened(url, log, options);
    for (const key of keys) await page.keyboard.press(key);
    report.axe.push(...await violations(page, name));
    if (name === "narrow") report.overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    await page.context().close();
  }

  // Without JavaScript.
  const plain = await opened(url, log, { javaScriptEnabled: false });
  report.plain = { rows: await plain.locator("tbody tr").count(), tools: await plain.locator("#tools").isVisible(),
    picture: await plain.locator("#graph svg, noscript pre").first().isVisible() };
  await plain.context().close();
  return report;
}

const reports = {};
for (const file of files) reports[file] = await examine(file);
process.stdout.write(JSON.stringify(reports));
await browser.close();
