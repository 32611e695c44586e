// The page: collects a recording and queries, and waits for what the server makes of them.

import { getJson, Problem, sleep, upload } from "./api.js";
import { showFound } from "./found.js";
import { frameBox } from "./frame.js";
import { $, say, sayError } from "./messages.js";
import { forgetResult, showResult } from "./result.js";

let limits = { upload_bytes: Infinity, queries: 8, query_characters: 200 };
let recording = null; // a File
let queries = []; // {text} or {image: File, address}
let running = null; // an AbortController while a request runs
let recorder = null;
let known = []; // sounds that the model was trained with

// ---- the recording

function takeRecording(file) {
  if (file.size > limits.upload_bytes) {
    say(`${file.name} is larger than the ${Math.round(limits.upload_bytes / 2 ** 20)} MiB that this server takes.`, true);
    return;
  }
  clearRecording();
  recording = file;
  $("source").hidden = false;
  $("source-name").textContent = file.name;
  const address = URL.createObjectURL(file);
  if (file.type.startsWith("video/")) {
    $("video").src = address;
    $("stage").hidden = $("frame-tools").hidden = false;
  } else {
    $("source-audio").src = address;
    $("source-audio").hidden = false;
  }
  say("");
  $("query").focus();
}

function clearRecording() {
  recording = null;
  closeFrame();
  for (const player of [$("video"), $("source-audio")]) {
    player.pause();
    if (player.src) URL.revokeObjectURL(player.src);
    player.removeAttribute("src");
    player.load();
  }
  $("source").hidden = $("stage").hidden = $("source-audio").hidden = $("frame-tools").hidden = true;
  $("file").value = "";
}

$("file").addEventListener("change", () => $("file").files[0] && takeRecording($("file").files[0]));
$("clear-source").addEventListener("click", () => {
  clearRecording();
  $("file").focus();
});

$("example").addEventListener("click", async () => {
  try {
    const answer = await fetch("example");
    if (!answer.ok) throw new Problem(answer.status, "The example is not installed here.");
    takeRecording(new File([await answer.blob()], "speech-and-violin.flac", { type: "audio/flac" }));
    for (const text of ["person speaking", "violin"]) addQuery({ text });
  } catch (error) {
    sayError(error);
  }
});

for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  for (const file of event.dataTransfer.files) {
    if (file.type.startsWith("image/")) addImage(file);
    else takeRecording(file);
  }
});

$("record").addEventListener("click", async () => {
  if (recorder) {
    recorder.stop();
    return;
  }
  try {
    // Everything that "improves" speech would remove the very sounds that are looked for.
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    const pieces = [];
    recorder = new MediaRecorder(stream);
    recorder.ondataavailable = (event) => pieces.push(event.data);
    recorder.onstop = () => {
      for (const track of stream.getTracks()) track.stop();
      const type = recorder.mimeType.split(";")[0];
      recorder = null;
      $("record").textContent = "Record";
      takeRecording(new File(pieces, `recording.${type.split("/")[1]}`, { type: type.replace("video/", "audio/") }));
    };
    recorder.start();
    $("record").textContent = "Stop recording";
    say("Recording ...");
  } catch (error) {
    say(`The microphone cannot be used (${error.message}).`, true);
  }
});

// ---- queries

function addQuery(query) {
  if (queries.length >= limits.queries) {
    say(`This server takes ${limits.queries} queries at once.`, true);
    return;
  }
  if (query.text && queries.some((one) => one.text === query.text)) return;
  queries.push(query);
  showQueries();
}

function addText() {
  const text = $("query").value.trim();
  if (text) addQuery({ text: text.slice(0, limits.query_characters) });
  $("query").value = "";
}

function addImage(file) {
  addQuery({ image: file, address: URL.createObjectURL(file) });
}

function showQueries() {
  let images = 0;
  $("queries").replaceChildren(...queries.map((query) => {
    const item = document.createElement("li");
    if (query.image) {
      query.name = `image ${++images}`;
      const picture = document.createElement("img");
      picture.src = query.address;
      picture.alt = "";
      item.append(picture);
    }
    const remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = "✕";
    remove.setAttribute("aria-label", `Remove ${query.text || query.name}`);
    remove.addEventListener("click", () => {
      queries = queries.filter((one) => one !== query);
      showQueries();
      $("query").focus();
    });
    item.append(query.text || query.name, remove);
    return item;
  }));
  const strange = queries.filter((query) => query.text && known.length && !isKnown(query.text));
  $("known-hint").hidden = !strange.length;
  $("known-hint").textContent = `${strange.map((query) => `“${query.text}”`).join(", ")}: not among the ${known.length} ` +
    "sounds that the model was trained with. It will try; the field suggests those it knows.";
}

// By its words: "a dog barking" is known where "dog barking" is.
function isKnown(text) {
  const words = (one) => one.toLowerCase().match(/\p{L}+/gu) || [];
  const given = new Set(words(text));
  return known.some((one) => words(one).every((word) => given.has(word)));
}

$("add-query").addEventListener("click", () => {
  addText();
  $("query").focus();
});
$("query").addEventListener("keydown", (event) => {
  // Enter adds what is written; Enter in the empty field starts the work.
  if (event.key === "Enter" && $("query").value.trim()) {
    event.preventDefault();
    addText();
  }
});
$("image").addEventListener("change", () => {
  for (const file of $("image").files) addImage(file);
  $("image").value = "";
});

// ---- a part of a video's frame as a query

const picker = frameBox($("video"), $("frame-area"), $("box"), addFrame);

function openFrame() {
  $("video").pause();
  $("frame-area").hidden = $("add-frame").hidden = false;
  $("pick").textContent = "Back to the video";
  $("frame-hint").textContent = "Drag a box over what should be heard.";
  picker.draw();
  $("frame-area").focus();
}

function closeFrame() {
  $("frame-area").hidden = $("add-frame").hidden = true;
  $("pick").textContent = "Pick from this frame";
  $("frame-hint").textContent = "Pause the video at what should be heard.";
}

async function addFrame() {
  addImage(await picker.image());
  closeFrame();
  $("query").focus();
}

$("pick").addEventListener("click", () => ($("frame-area").hidden ? openFrame() : closeFrame()));
$("add-frame").addEventListener("click", addFrame);
$("watch-part").addEventListener("change", closeFrame);

// ---- the work

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
  const isVideo = recording.type.startsWith("video/");
  await work(async (signal) => {
    const form = formOf();
    form.append("binary", $("binary").checked);
    const sent = await upload("v1/jobs", form, sending, signal);
    id = sent.id;
    showResult(await wait(sent, signal), isVideo);
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

function playFrom(seconds) {
  const player = recording?.type.startsWith("video/") ? $("video") : $("source-audio");
  player.currentTime = seconds;
  player.play();
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

$("cancel").addEventListener("click", () => running?.abort());

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

// ---- start

try {
  limits = await getJson("v1/limits");
  const [model] = await getJson("v1/models");
  const megabytes = Math.round(limits.upload_bytes / 2 ** 20);
  const minutes = Math.round(limits.seconds / 6) / 10;
  $("limits-hint").textContent = `or drop a file here: up to ${minutes} minutes and ${megabytes} MiB`;
  known = model.known_sounds;
  $("known").replaceChildren(...known.map((one) => new Option(one)));
  $("about").textContent = `Model: ${model.name}`;
} catch (error) {
  sayError(error);
}
