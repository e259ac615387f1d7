// Opens a page in Chromium and tells how long a reader waits, as JSON: what -> [median, worst], in seconds.
//
//     node drawing.mjs NODE_MODULES CHROMIUM PAGE
//
// A step is timed from the key to the finished layout of the page, after which only painting is left.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , modules, executablePath, file] = process.argv;
const { chromium } = createRequire(pathToFileURL(modules + "/"))("playwright-core");
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--no-first-run"] });
const told = {}, summary = times => { if (!times.length) return [0, 0]; times.sort((a, b) => a - b); return [times[times.length >> 1] / 1000, times.at(-1) / 1000]; };

const opening = [];
let page;
for (let i = 0; i < 3; i++) {
  await page?.close();
  page = await (await browser.newContext({ viewport: { width: 1280, height: 800 } })).newPage();
  await page.goto(pathToFileURL(file).href);
  opening.push(await page.evaluate(() => new Promise(done => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))));
}
told.opens = summary(opening);

const pressed = keys => page.evaluate(keys => {
  const found = [];
  for (const key of keys) {
    const start = performance.now();
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    document.getElementById("figure").getBoundingClientRect();
    document.querySelector("#graph svg").getBoundingClientRect();
    found.push(performance.now() - start);
  }
  return found;
}, keys);

// Nothing of a small model is folded; then there is nothing to open.
const folded = await page.evaluate(() => [...document.querySelectorAll(".box.module")].map(box => box.dataset.id));
told["open or close a module"] = summary(await page.evaluate(folded => {
  const found = [];
  for (const id of folded)
    for (const [place, event] of [[`.box[data-id="${id}"]`, "dblclick"], [`[data-frame="${id}"]`, "click"]]) {
      const start = performance.now();
      document.querySelector(place).dispatchEvent(new MouseEvent(event, { bubbles: true }));
      document.querySelector("#graph svg").getBoundingClientRect();
      found.push(performance.now() - start);
    }
  return found;
}, folded));
told["open or close all"] = summary(await pressed(["E", "C", "E", "C", "E"]));  // in the end open: the steps see it all
const steps = await pressed(Array(200).fill("n"));
told.step = summary([...steps, ...await pressed(["b", "n", "n", "p", "End", "p", "Home", "n"])]);
told.search = summary(await page.evaluate(() => {
  const query = document.getElementById("query"), found = [];
  for (const text of ["c", "co", "con", "conv", "relu", "weight", "∇", ""]) {
    const start = performance.now();
    query.value = text;
    query.dispatchEvent(new Event("input", { bubbles: true }));
    document.querySelector("#graph svg").getBoundingClientRect();
    found.push(performance.now() - start);
  }
  return found;
}));
process.stdout.write(JSON.stringify(told));
await browser.close();
