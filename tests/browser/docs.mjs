// The API's description in a browser: it is shown, and nothing of it comes from elsewhere.

import { URL_OF_NODE, inspect, launch, person } from "./browser.mjs";

const browser = await launch();
try {
  const reader = await person(browser, { script: true });
  const { page } = reader;
  await page.goto(`${URL_OF_NODE}/docs`);
  await page.getByText("/v1/sessions/refresh").first().waitFor();
  // How Swagger UI nests its headings and buttons is its own; that its texts are readable is ours (docs.css).
  await inspect(reader, "docs", ["heading-order", "nested-interactive", "region"]);
  await reader.done();
} finally {
  await browser.close();
}
