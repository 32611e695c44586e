// What came out: the parts with their spectrograms and levels, the mix, and the video with a part as its audio.

import { getJson } from "../api.js";
import { feedbackLine } from "./found.js";
import { $, say, sayError } from "../messages.js";
import { Mix, MUTED_DB, Players } from "./players.js";

const SILENT_DB = -120; // what is below is rounding
const players = new Players([$("video"), $("source-audio")], (audio) => audio === follower() && !$("video").paused);
let job = null; // the finished job that is shown
let mix = null;

export function forgetResult() {
  $("result").hidden = $("watch").hidden = true;
  $("video").muted = false;
  stopMix();
  players.clear();
  mix?.close();
  mix = null;
  if (job) getJson(`v1/jobs/${job.id}`, { method: "DELETE" }).catch(() => {});
  job = null;
}

document.addEventListener("recordingchange", forgetResult);

// `isVideo`: whether the parts can be watched with the recording's frames.
export function showResult(status, isVideo) {
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
  showWatch(isVideo);
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
  const level = part.level_dbfs === null || part.level_dbfs < SILENT_DB ? "silent" : `${part.level_dbfs.toFixed(1)} dBFS`;
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
  // Whoever pauses the part that a video plays with means the video.
  audio.addEventListener("pause", () => audio === follower() && !audio.ended && $("video").pause());
  audio.addEventListener("error", checkKept);
  find(".spectrogram").addEventListener("click", (event) => {
    const bounds = find(".spectrogram").getBoundingClientRect();
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
    if (error.status === 404) sayGone();
    else sayError(error);
  }
});

// ---- results that the server has removed meanwhile

function sayGone() {
  say("This result is not kept any more: separate again.", true);
  $("status").scrollIntoView({ block: "nearest" });
}

// Whether the result is still there; says it if not.
async function checkKept() {
  if (!job) return false;
  try {
    await getJson(`v1/jobs/${job.id}`);
    return true;
  } catch (error) {
    if (error.status === 404) sayGone();
    else sayError(error);
    return false;
  }
}

// The browser would save the error as the file.
$("result").addEventListener("click", async (event) => {
  const link = event.target.closest("a[download]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (link.dataset.checked) return void delete link.dataset.checked;
  event.preventDefault();
  if (!(await checkKept())) return;
  link.dataset.checked = "yes";
  link.click();
});

function stopMix() {
  mix?.stop();
  $("play-mix").setAttribute("aria-pressed", "false");
  $("play-mix").textContent = "Play the mix";
}

// ---- the video with a part as its audio

function showWatch(isVideo) {
  $("watch").hidden = !isVideo;
  if (!isVideo) return;
  const options = [...document.querySelectorAll("#parts .name")].map((name, number) => new Option(name.textContent, number));
  $("watch-part").replaceChildren(...options);
}

// The part that the video plays with; null for its own audio.
function follower() {
  const number = Number($("watch-part").value || 0);
  return job && number && !$("watch").hidden ? document.querySelectorAll("#parts audio")[number] : null;
}

$("watch-part").addEventListener("change", () => {
  const video = $("video");
  stopMix();
  players.pauseAll(video, follower());
  video.muted = Boolean(follower());
  video.scrollIntoView({ block: "center" });
  video.play().catch(() => {}); // paused again before it began
});

// The video is the clock; the chosen part follows it.
function followVideo() {
  const audio = follower();
  if (!audio) return;
  const video = $("video");
  if (Math.abs(audio.currentTime - video.currentTime) > 0.08) audio.currentTime = video.currentTime;
  if (video.paused !== audio.paused) video.paused ? audio.pause() : audio.play().catch(() => {});
}
for (const player of players.own) {
  player.addEventListener("play", () => {
    stopMix();
    players.pauseAll(player, player === $("video") ? follower() : null);
  });
}
for (const name of ["play", "pause", "seeked", "timeupdate"]) $("video").addEventListener(name, followVideo);

addEventListener("pagehide", () => job && fetch(`v1/jobs/${job.id}`, { method: "DELETE", keepalive: true }));
