// The journey of two people: from signing up to one organization, what happens there in both browsers, and
// everything one can do with one's account on the way.

import assert from "node:assert/strict";
import { URL_OF_NODE, inspect, launch, person, tabTo } from "./browser.mjs";

const ADA = { name: "Ada Lovelace", email: "ada@example.org", password: "correct horse battery" };
const PASSWORD = "seven unlikely giraffes";
const SECOND = "nine quiet rhinoceroses";
const THIRD = "eleven patient walruses";

/** How long a mail, and a page that looks again by itself, may take on a busy machine. */
const PATIENCE_MS = 30_000;

const heading = (page, name) => page.getByRole("heading", { name, exact: true });
const button = (page, name) => page.getByRole("button", { name });

async function setUp(browser) {
  const ada = await person(browser, { script: true });
  const { page } = ada;
  await page.goto(process.env.SETUP_LINK);
  for (const [field, value] of Object.entries(ADA)) await page.fill(`#${field}`, value);
  await button(page, "Make me admin").click();
  await page.getByRole("link", { name: "Sign in" }).click();
  await signIn(ada, ADA);
  await heading(page, "Your organizations").waitFor();
  await ada.done();
}

/** Fills in the form of signing in that is shown. */
async function signIn({ page }, { email, password }) {
  await heading(page, "Sign in").waitFor();
  await page.fill("#email", email);
  await page.fill("#password", password);
  await button(page, "Sign in").click();
}

async function signOut({ page }) {
  await page.goto(`${URL_OF_NODE}/account`);
  await button(page, "Sign out").click();
  await heading(page, "Sign in").waitFor();
}

/** Opens the newest mail to an address with this subject in the dev inbox; it is sent a moment after it is asked for. */
async function openMail({ page }, to, subject) {
  for (const until = Date.now() + PATIENCE_MS; Date.now() < until;) {
    await page.goto(`${URL_OF_NODE}/dev/inbox?to=${encodeURIComponent(to)}`);
    const mail = page.getByRole("main").getByRole("link").filter({ hasText: subject });
    if (await mail.count()) {
      await mail.first().click();
      await page.frameLocator("iframe").getByRole("heading", { name: subject }).waitFor();
      return;
    }
  }
  assert.fail(`no mail "${subject}" to ${to}`);
}

/** Opens the link of the mail that is shown. */
async function openLink({ page }) {
  await page.getByRole("region", { name: "Links in it" }).getByRole("link").first().click();
}

/** Signs up on the page that is shown, and opens the mailed link; ends where one is told that it is done. */
async function signUp(somebody, { name, email }, { isFirst }) {
  const { page } = somebody;
  await heading(page, "Sign up").waitFor();
  if (isFirst) await inspect(somebody, "signup");
  await page.fill("#name", name);
  await page.fill("#email", email);
  await page.fill("#password", PASSWORD);
  await button(page, "Sign up").click();
  await heading(page, "Look into your mail").waitFor();
  if (isFirst) await inspect(somebody, "mailed");
  await page.getByRole("link", { name: "See it in the dev inbox" }).click();
  await heading(page, "Dev inbox").waitFor();
  if (isFirst) await inspect(somebody, "inbox");
  await openMail(somebody, email, "Confirm your e-mail address");
  if (isFirst) await inspect(somebody, "mail");
  if (isFirst) {
    // The button in the mail itself, which opens in the whole window.
    await page.frameLocator("iframe").getByRole("link", { name: "Confirm address" }).click();
  } else {
    await openLink(somebody);
  }
  await heading(page, "Confirm your address").waitFor();
  if (isFirst) await inspect(somebody, "verify");
  if (isFirst) {
    await page.fill("#password", "somebody else's");
    await button(page, "Confirm").click();
    await page.getByRole("alert").waitFor();
    await inspect(somebody, "verify-wrong");
  }
  await page.fill("#password", PASSWORD);
  await button(page, "Confirm").click();
  await heading(page, "Your account is open").waitFor();
  if (isFirst) await inspect(somebody, "verified");
  await page.getByRole("link", { name: "Sign in" }).click();
}

/** Founds an organization, at the second attempt; its address. */
async function found(grace, slug) {
  const { page } = grace;
  await heading(page, "Your organizations").waitFor();
  await inspect(grace, "organizations-none");
  await page.fill("#name", `Analytical Engines ${slug}`);
  await page.fill("#slug", "Not A Slug");
  await button(page, "Found it").click();
  await page.getByRole("alert").waitFor();
  assert.equal(await page.getAttribute("#slug", "aria-invalid"), "true");
  await inspect(grace, "organizations-wrong");
  await page.fill("#slug", slug);
  await button(page, "Found it").click();
  await page.getByText("Tenant created").waitFor();
  await inspect(grace, "organization");
  return page.url();
}

async function invite(grace, email) {
  const { page } = grace;
  await page.getByRole("link", { name: "Invitations" }).click();
  await inspect(grace, "invitations-none");
  await page.fill("#email", email);
  await page.selectOption("#role", "admin");
  await button(page, "Send the invitation").click();
  await page.getByRole("status").filter({ hasText: email }).waitFor();
  await inspect(grace, "invitations");
}

/** Somebody without an account follows an invitation into the organization. */
async function accept(alan, who, organization) {
  const { page } = alan;
  await openMail(alan, who.email, "Grace Hopper invites you to Analytical Engines");
  await inspect(alan, "mail-invitation");
  await openLink(alan);
  await heading(page, /^Join Analytical Engines/).waitFor();
  await inspect(alan, "invited-stranger");
  await page.getByRole("link", { name: "Sign up" }).click();
  assert.equal(await page.inputValue("#email"), who.email, "nobody types an address that was written to");
  await signUp(alan, who, { isFirst: false });
  await signIn(alan, who);
  await heading(page, /^Join Analytical Engines/).waitFor();
  await inspect(alan, "invited");
  await button(page, "Accept").click();
  await page.waitForURL(organization);
  await page.getByText("Membership admitted").first().waitFor();
}

/** Somebody with another account is told so. */
async function wrongAccount(browser, script, link) {
  const ada = await person(browser, { script });
  const { page } = ada;
  await page.goto(`${URL_OF_NODE}/signin`);
  await signIn(ada, ADA);
  await heading(page, "Your organizations").waitFor();
  await page.goto(link);
  await page.getByText("You are signed in as").waitFor();
  await inspect(ada, "invited-other");
  await button(page, "Sign out and go on").click();
  await page.getByRole("link", { name: "Sign in" }).waitFor();
  assert.equal(page.url(), link);
  await ada.done();
}

/** What one does, both see; without asking, if there is a script, and else in a while. */
async function bothSee(grace, alan, organization) {
  const { page } = grace;
  await page.goto(organization);
  await alan.page.goto(organization);
  if (grace.script) {
    for (const { page } of [grace, alan]) await page.locator("#live").waitFor();
  }
  const tab = await grace.context.newPage();
  await tab.goto(`${organization}/members`);
  const row = tab.getByRole("listitem").filter({ hasText: "Alan Turing" });
  await row.locator("summary").click();
  await inspect({ ...grace, page: tab }, "members");
  await row.getByLabel("Role").selectOption("member");
  await row.getByRole("button", { name: "Change role" }).click();
  await tab.getByRole("listitem").filter({ hasText: "Alan Turing" }).getByText("Member", { exact: true }).first().waitFor();
  for (const { page } of [grace, alan]) {
    await page.getByText("Membership admitted").nth(1).waitFor({ timeout: PATIENCE_MS });
    await page.getByText("Membership role changed").waitFor({ timeout: PATIENCE_MS });
  }
  await inspect(alan, "organization-member");
  await tab.close();
}

async function members(grace, alan, organization) {
  const { page } = grace;
  await page.goto(`${organization}/members`);
  const row = () => page.getByRole("listitem").filter({ hasText: "Alan Turing" });
  await row().locator("summary").click();
  await row().getByRole("button", { name: "Suspend" }).click();
  await row().getByText("Suspended").waitFor();
  await inspect(grace, "members-suspended");
  await alan.page.goto(organization);
  await heading(alan.page, "Your membership is suspended").waitFor();
  await inspect(alan, "suspended");
  await alan.page.goto(`${URL_OF_NODE}/organizations`);
  await alan.page.getByText("You are suspended").waitFor();
  await row().locator("summary").click();
  await row().getByRole("button", { name: "Let in again" }).click();
  await row().getByText("Suspended").waitFor({ state: "detached" });
  await alan.page.goto(`${organization}/members`);
  await inspect(alan, "members-as-member");
  await page.getByText("You are its only owner").waitFor();
}

/** Another organization, and the way from one to the other in the bar. */
async function switching(grace, slug) {
  const { page } = grace;
  await page.goto(`${URL_OF_NODE}/organizations`);
  await page.fill("#name", `Compilers ${slug}`);
  await page.fill("#slug", `${slug}-two`);
  await button(page, "Found it").click();
  await heading(page, `Compilers ${slug}`).waitFor();
  if (grace.script) {
    await tabTo(grace, ".switch summary");
    await page.keyboard.press("Enter");
  } else {
    await page.locator(".switch summary").click();
  }
  await inspect(grace, "switch");
  await page.locator(".switch").getByRole("link", { name: "Analytical Engines" }).click();
  await heading(page, `Analytical Engines ${slug}`).waitFor();
  await page.getByRole("link", { name: "Organizations", exact: true }).click();
  await heading(page, "Your organizations").waitFor();
  await inspect(grace, "organizations");
}

async function leave(alan, organization) {
  const { page } = alan;
  await page.goto(`${organization}/members`);
  await button(page, "Leave").click();
  await page.getByText("You belong to none yet").waitFor();
}

async function forgetPassword(grace, who) {
  const { page } = grace;
  await signOut(grace);
  await page.getByRole("link", { name: "Forgotten your password?" }).click();
  await inspect(grace, "forgot");
  await page.fill("#email", who.email);
  await button(page, "Send the link").click();
  await heading(page, "Look into your mail").waitFor();
  await openMail(grace, who.email, "Choose a new password");
  await openLink(grace);
  await heading(page, "Choose a new password").waitFor();
  await inspect(grace, "reset");
  await page.fill("#password", SECOND);
  await button(page, "Set password").click();
  await heading(page, "Your password is set").waitFor();
  await page.getByRole("link", { name: "Sign in" }).click();
  await signIn(grace, { email: who.email, password: SECOND });
  await heading(page, "Your organizations").waitFor();
}

/** Another name, another password, and a session elsewhere that ends. */
async function account(grace, who, browser) {
  const { page, script } = grace;
  const phone = await person(browser, { script });
  await phone.page.goto(`${URL_OF_NODE}/account`);
  await signIn(phone, { email: who.email, password: SECOND });
  await heading(phone.page, "Account").waitFor();
  await page.goto(`${URL_OF_NODE}/account`);
  await page.fill("#name", "Rear Admiral Hopper");
  await button(page, "Change name").click();
  await heading(page, "Rear Admiral Hopper").waitFor();
  await page.fill("#current", "not the password");
  await page.fill("#new", THIRD);
  await page.getByLabel("End my other sessions").uncheck();
  await button(page, "Change password").click();
  await page.getByRole("alert").waitFor();
  await inspect(grace, "account-wrong");
  await page.fill("#current", SECOND);
  await page.fill("#new", THIRD);
  await page.getByLabel("End my other sessions").uncheck();
  await button(page, "Change password").click();
  await page.getByText("Your password is changed").waitFor();
  await inspect(grace, "account-changed");
  await phone.page.reload();
  await heading(phone.page, "Account").waitFor();
  await button(page, /^End the session on/).click();
  await button(page, /^End the session on/).waitFor({ state: "detached" });
  await phone.page.reload();
  await heading(phone.page, "Sign in").waitFor();
  await phone.done();
}

async function changeEmail(grace, who) {
  const { page } = grace;
  const other = who.email.replace("@", "-other@");
  await page.goto(`${URL_OF_NODE}/account`);
  await page.fill("#new_email", other);
  await page.fill("#email_password", THIRD);
  await button(page, "Change email").click();
  await page.getByText(`A mail is on its way to ${other}`).waitFor();
  await openMail(grace, other, "Confirm your new e-mail address");
  await openLink(grace);
  await inspect(grace, "change-email");
  await button(page, "Confirm").click();
  await heading(page, "Your address is changed").waitFor();
  await page.goto(`${URL_OF_NODE}/account`);
  await page.getByRole("main").getByText(other).first().waitFor();
  await openMail(grace, who.email, "Your e-mail address is being changed");
  await openLink(grace);
  await heading(page, "Take the change back").waitFor();
  await button(page, "Take it back").click();
  await heading(page, "The change is taken back").waitFor();
  await page.getByRole("link", { name: "Sign in" }).click();
  await signIn(grace, { email: who.email, password: THIRD });
  await heading(page, "Your organizations").waitFor();
}

/** Whom organizations need cannot go. */
async function neededStays({ page }) {
  await page.goto(`${URL_OF_NODE}/account`);
  await page.fill("#delete_password", THIRD);
  await button(page, "Delete my account").click();
  await page.getByRole("alert").filter({ hasText: "without an owner" }).waitFor();
}

async function deleteAndStay(alan, who) {
  const { page } = alan;
  await page.goto(`${URL_OF_NODE}/account`);
  await page.fill("#delete_password", who.password);
  await button(page, "Delete my account").click();
  await heading(page, "Your account is about to be deleted").waitFor();
  await inspect(alan, "deleted");
  await page.goto(`${URL_OF_NODE}/account`);
  await heading(page, "Sign in").waitFor();
  await page.goto(`${URL_OF_NODE}/stay`);
  await inspect(alan, "stay");
  await page.fill("#email", who.email);
  await page.fill("#password", who.password);
  await button(page, "Keep it").click();
  await heading(page, "You stay").waitFor();
  await page.getByRole("link", { name: "Sign in" }).click();
  await signIn(alan, who);
  await heading(page, "Your organizations").waitFor();
}

const browser = await launch();
try {
  await setUp(browser);
  for (const script of [false, true]) {
    const kind = script ? "script" : "plain";
    const hopper = { name: "Grace Hopper", email: `grace.${kind}@example.org`, password: PASSWORD };
    const turing = { name: "Alan Turing", email: `alan.${kind}@example.org`, password: PASSWORD };
    const [grace, alan] = [await person(browser, { script }), await person(browser, { script })];
    await grace.page.goto(URL_OF_NODE);
    await grace.page.getByRole("link", { name: "Sign up" }).click();
    await signUp(grace, hopper, { isFirst: true });
    await signIn(grace, hopper);
    const organization = await found(grace, kind);
    await invite(grace, turing.email);
    await openMail(alan, turing.email, "Grace Hopper invites you");
    const link = await alan.page.getByRole("region", { name: "Links in it" }).getByRole("link").first().getAttribute("href");
    await wrongAccount(browser, script, link);
    await accept(alan, turing, organization);
    await bothSee(grace, alan, organization);
    await members(grace, alan, organization);
    await switching(grace, kind);
    await leave(alan, organization);
    await forgetPassword(grace, hopper);
    await account(grace, hopper, browser);
    await changeEmail(grace, hopper);
    await neededStays(grace);
    await deleteAndStay(alan, turing);
    for (const somebody of [grace, alan]) await somebody.done();
  }
} finally {
  await browser.close();
}
