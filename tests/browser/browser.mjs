// A real browser, and what must hold for every page it shows.

import assert from "node:assert/strict";
import { readFileSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"];
const NARROW = { width: 320, height: 640 };
const WIDE = { width: 1100, height: 800 };
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
/** Where screenshots go, for whoever wants to look. */
const SHOTS = process.env.SHOTS;

export const URL_OF_NODE = process.env.NODE_URL;

export async function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM, headless: true, args: FLAGS });
}

/** A person's browser, with or without JavaScript; what its pages complain about ends the test. */
export async function person(browser, { script }) {
  const context = await browser.newContext({ javaScriptEnabled: script, reducedMotion: "reduce", viewport: WIDE });
  context.setDefaultTimeout(60_000);
  const complaints = [];
  // A page that says no is loaded with the status of that, which the console repeats.
  const isExpected = (text) => /status of (401|403|404|409|400|422|429)/.test(text);
  context.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !isExpected(message.text())) {
      complaints.push(`${message.page()?.url()}: ${message.text()}`);
    }
  });
  context.on("weberror", (error) => complaints.push(`${error.page()?.url()}: ${error.error()}`));
  context.on("request", (request) => {
    if (new URL(request.url()).origin !== URL_OF_NODE) complaints.push(`asked for ${request.url()}`);
  });
  const page = await context.newPage();
  return { page, context, script, done: async () => {
    await context.close();
    assert.deepEqual(complaints, []);
  } };
}

/** What holds for every page: readable by everyone, in light and dark, on a narrow screen too, but for some rules. */
export async function inspect({ page, script }, name, but = []) {
  const rules = Object.fromEntries(but.map((rule) => [rule, { enabled: false }]));
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const [size, viewport] of Object.entries({ narrow: NARROW, wide: WIDE })) {
      await page.setViewportSize(viewport);
      if (SHOTS) {
        mkdirSync(SHOTS, { recursive: true });
        const file = `${SHOTS}/${name}-${script ? "js" : "plain"}-${colorScheme}-${size}.png`;
        await page.screenshot({ path: file, fullPage: true });
      }
      if (!script) continue;
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, `${name} scrolls sideways by ${overflow} px at ${viewport.width} px, ${colorScheme}`);
      await page.evaluate(AXE);
      const found = await page.evaluate((options) => axe.run(options), { runOnly: { type: "tag", values: RULES }, rules });
      const violations = found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html)}`);
      assert.deepEqual(violations, [], `${name} (${colorScheme}, ${size}) is not accessible`);
    }
  }
  await page.emulateMedia({ colorScheme: null });
}

/** Goes on by Tab until an element has the focus, which must be seen. */
export async function tabTo({ page }, selector) {
  for (let steps = 0; steps < 40; steps += 1) {
    await page.keyboard.press("Tab");
    const focus = await page.evaluate((wanted) => {
      const element = document.activeElement;
      const { outlineStyle, outlineWidth } = getComputedStyle(element);
      return { isThere: element.matches(wanted), isSeen: outlineStyle !== "none" && outlineWidth !== "0px" };
    }, selector);
    assert.ok(focus.isSeen, `the focus is not seen on the way to ${selector}`);
    if (focus.isThere) return;
  }
  assert.fail(`Tab never gets to ${selector}`);
}

/** Calls the API as the program of a signed-in person would. */
export async function api(token, method, path, body) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(URL_OF_NODE + path, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
  return text && JSON.parse(text);
}
