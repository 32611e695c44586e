// What came out: the parts with their spectrograms and levels, the mix, and the video with a part as its audio.

import { getJson } from "../api.js";
import { feedbackLine } from "./found.js";
import { $, say, sayError } from "../messages.js";
import { Mix, MUTED_DB, Players } from "./players.js";

const players = new Players();
let job = null; // the finished job that is shown
let mix = null;

export function forgetResult() {
  $("result").hidden = true;
  players.clear();
  mix?.close();
  mix = null;
  if (job) getJson(`v1/jobs/${job.id}`, { method: "DELETE" }).catch(() => {});
  job = null;
}

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
    sayError(error);
  }
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
  $("video").muted = false;
}

$("watch-part").addEventListener("change", () => {
  const number = Number($("watch-part").value);
  const video = $("video");
  players.pauseAll();
  video.muted = number > 0;
  video.scrollIntoView({ block: "center" });
  video.play();
});

// The video is the clock; the chosen part follows it.
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
