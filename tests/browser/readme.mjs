// The README's journey of two people, by the names the README gives: every button and link is in it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { URL_OF_NODE, launch, person } from "./browser.mjs";

const README = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
const STEPS = README.split("\n## Two people, in a browser\n")[1].split("\n## ")[0];

/** Presses what the README names. */
async function press({ page }, name) {
  assert.ok(STEPS.includes(`**${name}**`), `the README does not say ${name}`);
  const named = (role) => page.getByRole(role, { name, exact: true });
  await named("button").or(named("link")).first().click();
}

async function fill({ page }, fields) {
  for (const [label, value] of Object.entries(fields)) await page.getByLabel(label, { exact: true }).fill(value);
}

/** The newest mail in the dev inbox with this subject, and the link in it. */
async function openMail({ page }, subject) {
  const mail = page.getByRole("link").filter({ hasText: subject });
  while (!(await mail.count())) await page.getByRole("link", { name: "Look again" }).click();
  await mail.first().click();
  await page.getByRole("region", { name: "Links in it" }).getByRole("link").first().click();
}

const browser = await launch();
try {
  const [first, second] = [await person(browser, { script: true }), await person(browser, { script: true })];
  const password = "seven unlikely giraffes";
  await first.page.goto(process.env.SETUP_LINK);
  await fill(first, { "Your name": "Ada Lovelace", Email: "ada@example.org", Password: password });
  await press(first, "Make me admin");
  await press(first, "Sign in");
  await fill(first, { Email: "ada@example.org", Password: password });
  await press(first, "Sign in");
  await fill(first, { Name: "Acme", "Short name": "acme" });
  await press(first, "Found it");
  await first.page.locator("#live").waitFor();
  const organization = first.page.url();
  await press(first, "Invitations");
  await fill(first, { Email: "grace@example.org" });
  await press(first, "Send the invitation");
  await first.page.getByRole("status").waitFor();
  await first.page.goto(organization);

  assert.ok(STEPS.includes("http://127.0.0.1:8080/dev/inbox"));
  await second.page.goto(`${URL_OF_NODE}/dev/inbox`);
  await openMail(second, "invites you to Acme");
  await press(second, "Sign up");
  await fill(second, { "Your name": "Grace Hopper", Password: password });
  await press(second, "Sign up");
  await press(second, "See it in the dev inbox");
  await openMail(second, "Confirm your e-mail address");
  await fill(second, { Password: password });
  await press(second, "Confirm");
  await press(second, "Sign in");
  await fill(second, { Email: "grace@example.org", Password: password });
  await press(second, "Sign in");
  await press(second, "Accept");
  await second.page.waitForURL(organization);
  await second.page.locator("#live").waitFor();

  for (const { page } of [first, second]) await page.getByText("Membership admitted").nth(1).waitFor();
  const third = { page: await first.context.newPage() };
  await third.page.goto(organization);
  await press(third, "Members");
  const row = third.page.getByRole("listitem").filter({ hasText: "Grace Hopper" });
  await row.locator("summary").click();
  await row.getByLabel("Role").selectOption("admin");
  await row.getByRole("button", { name: "Change role" }).click();
  for (const { page } of [first, second]) await page.getByText("Membership role changed").waitFor();
  for (const somebody of [first, second]) await somebody.done();
} finally {
  await browser.close();
}
