// Sends the recording and the queries to the server, waits, and can be cancelled.

import { getJson, Problem, sleep, upload } from "../api.js";
import { showFound } from "../hearing/found.js";
import { addText, queries } from "./queries.js";
import { isVideo, playFrom, recording } from "./recording.js";
import { forgetResult, showResult } from "../hearing/result.js";
import { $, say, sayError } from "../messages.js";

let running = null; // an AbortController while a request runs
let job = null; // the id of the request that the server works on

$("sensitivity").addEventListener("input", () => {
  $("sensitivity").nextElementSibling.textContent = Number($("sensitivity").value);
});

$("request").addEventListener("submit", (event) => {
  event.preventDefault();
  ask(false);
});
$("find").addEventListener("click", () => ask(true));
$("cancel").addEventListener("click", () => running?.abort());
document.addEventListener("recordingchange", () => {
  running?.abort();
  $("found").hidden = true;
});
addEventListener("pagehide", () => forgetJob());

// `find`: only when the sounds are heard; without queries, which of the known sounds are.
async function ask(find) {
  if (running || !addText()) return;
  if (!recording) return say("Choose a recording first.", true);
  if (!find && !queries.length) return say("Name at least one sound, or add an image.", true);
  if (!find) {
    $("found").hidden = true;
    forgetResult();
  }
  running = new AbortController();
  working(true);
  try {
    const status = await answerTo(find, running.signal);
    if (find) show(status.found);
    else {
      job = null; // from now on the result's
      showResult(status, isVideo());
    }
  } catch (error) {
    sayError(error);
  } finally {
    forgetJob();
    working(false);
  }
}

async function answerTo(find, signal) {
  const form = formOf();
  form.append("find", find);
  const sent = await upload("v1/jobs", form, sending, signal);
  job = sent.id;
  return wait(sent, find ? "Searching" : "Separating", signal);
}

function show(found) {
  showFound($("found-sounds"), found, playFrom);
  $("found").hidden = false;
  say("Done.");
  $("found-title").focus({ preventScroll: true });
  $("found").scrollIntoView({ block: "nearest" });
}

// Also when the page goes: the request is kept alive.
function forgetJob() {
  if (job) fetch(`v1/jobs/${job}`, { method: "DELETE", keepalive: true }).catch(() => {});
  job = null;
}

function formOf() {
  const form = new FormData();
  form.append("file", recording);
  for (const query of queries) query.text ? form.append("query", query.text) : form.append("image", query.image);
  form.append("sensitivity", $("sensitivity").value);
  form.append("binary", $("binary").checked);
  return form;
}

function sending(share) {
  $("progress").value = share;
  say(`Sending: ${Math.round(100 * share)} %`);
}

function working(is) {
  $("separate").disabled = $("find").disabled = is;
  $("cancel").hidden = $("progress-area").hidden = !is;
  if (!is) running = null;
}

async function wait(status, doing, signal) {
  while (status.state === "waiting" || status.state === "running") {
    if (status.state === "waiting") {
      $("progress").removeAttribute("value");
      const others = status.ahead === 1 ? "one request comes" : `${status.ahead} requests come`;
      say(status.ahead ? `Waiting: ${others} before yours.` : "Waiting: yours is next.");
    } else {
      $("progress").value = status.progress;
      say(`${doing}: ${Math.round(100 * status.progress)} %`);
    }
    await sleep(400);
    signal.throwIfAborted();
    status = await getJson(`v1/jobs/${status.id}`);
    signal.throwIfAborted();
  }
  if (status.state !== "done") throw new Problem(0, status.error || "The request was cancelled.");
  return status;
}
