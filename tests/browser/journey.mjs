// The journey of the first admin: from the setup link to what happens in an organization, and out again.

import assert from "node:assert/strict";
import { URL_OF_NODE, api, inspect, launch, person, tabTo } from "./browser.mjs";

const ADA = { name: "Ada Lovelace", email: "ada@example.org", password: "correct horse battery" };

async function setUp(ada) {
  const { page } = ada;
  await page.goto(process.env.SETUP_LINK);
  await inspect(ada, "setup");
  await page.fill("#name", ADA.name);
  await page.fill("#email", ADA.email);
  await page.fill("#password", ADA.password);
  await page.click("button");
  await page.getByRole("heading", { name: "The platform is yours" }).waitFor();
  await inspect(ada, "setup-done");
  await page.goto(process.env.SETUP_LINK);
  await page.getByRole("heading", { name: "This link is not good any more" }).waitFor();
  await inspect(ada, "setup-over");
}

async function signIn(somebody, path = "/account") {
  const { page } = somebody;
  await page.goto(URL_OF_NODE + path);
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await inspect(somebody, "signin");
  await page.fill("#email", ADA.email);
  await page.fill("#password", "not the password");
  await page.click("button");
  await page.getByRole("alert").waitFor();
  await inspect(somebody, "signin-wrong");
  assert.equal(await page.inputValue("#email"), ADA.email, "nobody types an address twice");
  await page.fill("#password", ADA.password);
  await page.click("button");
  await page.waitForURL(URL_OF_NODE + path);
}

async function account(somebody) {
  const { page } = somebody;
  await page.goto(`${URL_OF_NODE}/account`);
  await page.getByText(ADA.email).waitFor();
  await inspect(somebody, "account");
}

/** What happens in an organization is shown without anybody asking. */
async function organization(somebody, tenant, token) {
  const { page, script } = somebody;
  await page.goto(`${URL_OF_NODE}/organizations/${tenant}`);
  await page.getByText("Tenant created").waitFor();
  if (script) await page.locator("#live").waitFor();
  const name = `Acme ${script ? "at once" : "in a while"}`;
  await api(token, "PATCH", `/v1/tenants/${tenant}`, { name });
  await page.getByText(`Name: ${name}`).waitFor();
  await inspect(somebody, "organization");
}

async function signOut({ page }) {
  await page.goto(`${URL_OF_NODE}/account`);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(`${URL_OF_NODE}/signin`);
  await page.goto(`${URL_OF_NODE}/account`);
  await page.waitForURL(`${URL_OF_NODE}/signin?return_to=%2Faccount`);
}

async function keyboardOnly(somebody) {
  const { page } = somebody;
  await page.goto(`${URL_OF_NODE}/signin`);
  // The page has its focus with the first frame, which may come after it is loaded.
  await page.locator("#email:focus").waitFor();
  await page.keyboard.type(ADA.email);
  await tabTo(somebody, "#password");
  await page.keyboard.type(ADA.password);
  await tabTo(somebody, "button");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Sign out" }).waitFor();
  await tabTo(somebody, ".skip");
  await page.keyboard.press("Enter");
  await page.waitForURL(/#main$/);
}

async function problems(somebody) {
  const { page } = somebody;
  await page.goto(`${URL_OF_NODE}/problems/tenant/unknown`);
  await inspect(somebody, "problem");
  await page.goto(`${URL_OF_NODE}/organizations/ten_${"0".repeat(26)}`);
  await inspect(somebody, "failed");
}

const browser = await launch();
try {
  const ada = await person(browser, { script: true });
  await setUp(ada);
  const { access_token: token } = await api(undefined, "POST", "/v1/sessions", { email: ADA.email, password: ADA.password });
  const tenant = await api(token, "POST", "/v1/tenants", { name: "Acme", slug: "acme" });
  await ada.done();
  for (const script of [false, true]) {
    const somebody = await person(browser, { script });
    await signIn(somebody);
    await account(somebody);
    await organization(somebody, tenant.id, token);
    await problems(somebody);
    await signOut(somebody);
    if (script) await keyboardOnly(somebody);
    await somebody.done();
  }
} finally {
  await browser.close();
}
