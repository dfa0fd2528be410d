// Keeps the list of events current: the stream says that something happened, the page itself says what.
const list = document.querySelector("[data-live]");
const badge = document.getElementById("live");
const PAUSE_MS = 500;

let from = list.dataset.live;
let stream;
let planned;

/** Takes the list from the page as it is now; whoever is signed out is shown what that page says instead. */
async function refresh() {
  planned = undefined;
  const answer = await fetch(location.href).catch(() => undefined);
  if (answer === undefined) return plan();
  if (!answer.ok || answer.redirected) return location.reload();
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  list.replaceChildren(...page.querySelector("[data-live]").children);
}

/** Many events at once are one look. */
function plan() {
  planned ??= setTimeout(refresh, PAUSE_MS);
}

function open() {
  stream = new EventSource(from);
  stream.onopen = () => { badge.hidden = false; };
  stream.onerror = () => {
    badge.hidden = true;
    // Refused for good, as after signing out elsewhere: the page says why.
    if (stream.readyState === EventSource.CLOSED) plan();
  };
  stream.addEventListener("change", (event) => {
    from = `${from.split("?")[0]}?after=${encodeURIComponent(event.lastEventId)}`;
    plan();
  });
}

// A browser opens six connections to a host: a tab nobody looks at holds none.
function follow() {
  if (document.visibilityState === "visible") {
    open();
  } else {
    stream?.close();
    badge.hidden = true;
  }
}

document.addEventListener("visibilitychange", () => { stream?.close(); follow(); });
addEventListener("pagehide", () => stream?.close());
follow();
