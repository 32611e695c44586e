// Sends the recording and the queries to the server, waits, and can be cancelled.

import { getJson, Problem, sleep, upload } from "../api.js";
import { showFound } from "../hearing/found.js";
import { addText, queries } from "./queries.js";
import { isVideo, playFrom, recording } from "./recording.js";
import { forgetResult, showResult } from "../hearing/result.js";
import { $, say, sayError } from "../messages.js";

let running = null; // an AbortController while a request runs

$("sensitivity").addEventListener("input", () => {
  $("sensitivity").nextElementSibling.textContent = Number($("sensitivity").value);
});

$("request").addEventListener("submit", async (event) => {
  event.preventDefault();
  addText();
  if (!recording) return say("Choose a recording first.", true);
  if (!queries.length) return say("Name at least one sound, or add an image.", true);
  $("found").hidden = true;
  forgetResult();
  let id = null;
  await work(async (signal) => {
    const form = formOf();
    form.append("binary", $("binary").checked);
    const sent = await upload("v1/jobs", form, sending, signal);
    id = sent.id;
    showResult(await wait(sent, signal), isVideo());
  }, () => id && getJson(`v1/jobs/${id}`, { method: "DELETE" }).catch(() => {}));
});

// Without queries: which of the known sounds are heard.
$("find").addEventListener("click", async () => {
  addText();
  if (!recording) return say("Choose a recording first.", true);
  await work(async (signal) => {
    const found = await upload("v1/find", formOf(), (share) => (share < 1 ? sending(share) : searching()), signal);
    showFound($("found-sounds"), found, playFrom);
    $("found").hidden = false;
    say("Done.");
    $("found-title").focus({ preventScroll: true });
    $("found").scrollIntoView({ block: "nearest" });
  });
});

$("cancel").addEventListener("click", () => running?.abort());

function formOf() {
  const form = new FormData();
  form.append("file", recording);
  for (const query of queries) query.text ? form.append("query", query.text) : form.append("image", query.image);
  form.append("sensitivity", $("sensitivity").value);
  return form;
}

function sending(share) {
  $("progress").value = share;
  say(`Sending: ${Math.round(100 * share)} %`);
}

function searching() {
  $("progress").removeAttribute("value");
  say("Searching");
}

async function work(task, onCancel = () => {}) {
  running = new AbortController();
  working(true);
  try {
    await task(running.signal);
  } catch (error) {
    if (error.name === "AbortError") onCancel();
    sayError(error);
  } finally {
    working(false);
  }
}

function working(is) {
  $("separate").disabled = $("find").disabled = is;
  $("cancel").hidden = $("progress-area").hidden = !is;
  if (!is) running = null;
}

async function wait(status, signal) {
  while (status.state === "waiting" || status.state === "running") {
    if (signal.aborted) throw new DOMException("", "AbortError");
    if (status.state === "waiting") {
      $("progress").removeAttribute("value");
      say(status.ahead === 1 ? "Waiting: one request comes before yours." : `Waiting: ${status.ahead} requests come before yours.`);
    } else {
      $("progress").value = status.progress;
      say(`Separating: ${Math.round(100 * status.progress)} %`);
    }
    await sleep(400);
    status = await getJson(`v1/jobs/${status.id}`);
  }
  if (status.state !== "done") throw new Problem(0, status.error || "The request was cancelled.");
  return status;
}
