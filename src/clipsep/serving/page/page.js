// The page: collects a recording and queries, waits for the server, and shows what came out.

import { getJson, Problem, sleep, upload } from "./api.js";
import { feedbackLine, showFound } from "./found.js";
import { frameBox } from "./frame.js";
import { Mix, MUTED_DB, Players } from "./players.js";

const $ = (id) => document.getElementById(id);
const players = new Players();
let limits = { upload_bytes: Infinity, queries: 8, query_characters: 200 };
let recording = null; // a File
let queries = []; // {text} or {image: File, address}
let job = null; // the finished job that is shown
let mix = null;
let running = null; // an AbortController while a request runs
let recorder = null;
let known = []; // sounds that the model was trained with

// ---- messages

function say(sentence, isError = false) {
  $("status").textContent = sentence;
  $("status").classList.toggle("error", isError);
}

function sayError(error) {
  if (error.name === "AbortError") say("Cancelled.");
  else if (error instanceof Problem && error.status === 401) askForToken();
  else say(error.message, true);
}

function askForToken() {
  $("token-form").hidden = false;
  $("request").hidden = true;
  $("token").focus();
}

$("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await getJson("login", { method: "POST", body: $("token").value });
    location.reload();
  } catch (error) {
    $("token").setCustomValidity(error.message);
    $("token").reportValidity();
    $("token").setCustomValidity("");
  }
});

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

// ---- the work

$("sensitivity").addEventListener("input", () => {
  $("sensitivity").nextElementSibling.textContent = Number($("sensitivity").value);
});

$("request").addEventListener("submit", async (event) => {
  event.preventDefault();
  addText();
  if (!recording) return say("Choose a recording first.", true);
  if (!queries.length) return say("Name at least one sound, or add an image.", true);
  forget();
  let id = null;
  await work(async (signal) => {
    const form = formOf();
    form.append("binary", $("binary").checked);
    const sent = await upload("v1/jobs", form, sending, signal);
    id = sent.id;
    show(await wait(sent, signal));
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

// ---- the result

function forget() {
  $("result").hidden = $("found").hidden = true;
  players.clear();
  mix?.close();
  mix = null;
  if (job) getJson(`v1/jobs/${job.id}`, { method: "DELETE" }).catch(() => {});
  job = null;
}

function show(status) {
  job = status;
  const at = `v1/jobs/${job.id}`;
  const addresses = job.parts.map((_, number) => `${at}/parts/${number}`);
  mix = new Mix(addresses.slice(1), job.seconds, job.channels);
  $("parts").replaceChildren(...job.parts.map((part, number) => partCard(part, number, addresses[number])));
  $("play-mix").disabled = mix.tooLong;
  $("mix-hint").textContent = mix.tooLong
    ? "The recording is too long to mix in the browser: download the mix to hear it."
    : "The parts above, each at the level that its slider says.";
  $("zip").href = `${at}/archive`;
  linkMix();
  showWatch();
  $("result").hidden = false;
  say("Done.");
  $("result-title").focus({ preventScroll: true });
  $("result").scrollIntoView({ block: "start" });
}

function partCard(part, number, address) {
  const card = $("part-template").content.firstElementChild.cloneNode(true);
  const find = (selector) => card.querySelector(selector);
  const names = { mixture: "The recording", residual: "Everything else" };
  const name = names[part.kind] || part.name;
  card.dataset.kind = part.kind;
  find(".name").textContent = name;
  const level = part.level_dbfs === null ? "silent" : `${part.level_dbfs.toFixed(1)} dBFS`;
  find(".facts").textContent = part.kind === "mixture" ? level : `${level}, ${(100 * part.energy_share).toFixed(1)} % of the energy`;
  if (part.kind === "target") feedbackLine(find(".feedback"), part);
  find("img").src = `${address}/spectrogram`;
  find("img").alt = `Spectrogram of ${name}`;
  const audio = find("audio");
  audio.src = address;
  audio.setAttribute("aria-label", name);
  players.add(audio, (share) => {
    find(".playhead").style.left = `${100 * share}%`;
  });
  audio.addEventListener("play", stopMix);
  find(".picture").addEventListener("click", (event) => {
    const bounds = find(".picture").getBoundingClientRect();
    if (audio.duration) audio.currentTime = ((event.clientX - bounds.left) / bounds.width) * audio.duration;
  });
  for (const format of ["wav", "flac"]) {
    find(`.${format}`).href = `${address}?format=${format}`;
    find(`.${format}`).setAttribute("aria-label", `Download ${name} as ${format.toUpperCase()}`);
  }
  const slider = find("input[type=range]");
  if (part.kind === "mixture") find(".level").remove();
  else {
    slider.setAttribute("aria-label", `Level of ${name} in the mix`);
    slider.addEventListener("input", () => {
      const db = Number(slider.value);
      const text = db <= MUTED_DB ? "off" : `${db > 0 ? "+" : ""}${db} dB`;
      find("output").textContent = text;
      slider.setAttribute("aria-valuetext", text);
      mix.setGain(number - 1, db);
      linkMix();
    });
  }
  return card;
}

function linkMix() {
  const gains = mix.gains.map((db) => `gain=${db}`).join("&");
  for (const format of ["wav", "flac"]) $(`mix-${format}`).href = `v1/jobs/${job.id}/mix?${gains}&format=${format}`;
}

$("play-mix").addEventListener("click", async () => {
  if ($("play-mix").getAttribute("aria-pressed") === "true") return stopMix();
  players.pauseAll();
  $("play-mix").setAttribute("aria-pressed", "true");
  $("play-mix").textContent = "Stop the mix";
  try {
    await mix.play(stopMix);
  } catch (error) {
    stopMix();
    sayError(error);
  }
});

function stopMix() {
  mix?.stop();
  $("play-mix").setAttribute("aria-pressed", "false");
  $("play-mix").textContent = "Play the mix";
}

// ---- the video with a part as its sound

function showWatch() {
  const isVideo = recording?.type.startsWith("video/");
  $("watch").hidden = !isVideo;
  if (!isVideo) return;
  const options = [...document.querySelectorAll("#parts .name")].map((name, number) => new Option(name.textContent, number));
  $("watch-part").replaceChildren(...options);
  $("video").muted = false;
}

$("watch-part").addEventListener("change", () => {
  const number = Number($("watch-part").value);
  const video = $("video");
  closeFrame();
  players.pauseAll();
  video.muted = number > 0;
  video.scrollIntoView({ block: "center" });
  video.play();
});

// The picture is the clock; the chosen part follows it.
function followVideo() {
  const number = Number($("watch-part").value || 0);
  const audio = document.querySelectorAll("#parts audio")[number];
  if (!job || !number || !audio || $("watch").hidden) return;
  const video = $("video");
  if (Math.abs(audio.currentTime - video.currentTime) > 0.08) audio.currentTime = video.currentTime;
  if (video.paused !== audio.paused) video.paused ? audio.pause() : audio.play();
}
for (const name of ["play", "pause", "seeked", "timeupdate"]) $("video").addEventListener(name, followVideo);

addEventListener("pagehide", () => job && fetch(`v1/jobs/${job.id}`, { method: "DELETE", keepalive: true }));

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
