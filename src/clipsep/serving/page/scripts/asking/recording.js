// The recording: a file that is chosen, dropped or recorded, and a box on a frame of it as a query.

import { limits, Problem } from "../api.js";
import { frameBox } from "./frame.js";
import { addImage, addQuery } from "./queries.js";
import { $, say, sayError } from "../messages.js";

export let recording = null; // a File
let player = null; // what shows it: the video, the audio, or nothing that this browser has
let recorder = null;

export function isVideo() {
  return player === $("video");
}

export function takeRecording(file) {
  if (file.size > limits.upload_bytes) {
    say(`${file.name} is larger than the ${Math.round(limits.upload_bytes / 2 ** 20)} MiB that this server takes.`, true);
    return;
  }
  clearRecording();
  recording = file;
  $("source").hidden = false;
  $("source-name").textContent = file.name;
  show(file.type.startsWith("video/") ? $("video") : $("source-audio"));
  say("");
  $("query").focus();
}

// Others hear of it by an event on the document, so that no module must know them all.
function clearRecording() {
  recording = null;
  show(null);
  $("source").hidden = true;
  $("file").value = "";
  document.dispatchEvent(new Event("recordingchange"));
}

// `hint`: in place of a player.
function show(next, hint = "") {
  closeFrame();
  for (const one of [$("video"), $("source-audio")]) {
    one.pause();
    if (one.src) URL.revokeObjectURL(one.src);
    one.removeAttribute("src");
    one.load();
  }
  player = next;
  if (player) player.src = URL.createObjectURL(recording);
  $("video").muted = false;
  $("stage").hidden = $("frame-tools").hidden = !isVideo();
  $("source-audio").hidden = player !== $("source-audio");
  $("source-hint").hidden = !hint;
  $("source-hint").textContent = hint;
}

// A file that is called a video may hold audio alone, or frames of a kind that the browser cannot show.
$("video").addEventListener("loadedmetadata", () => {
  if (isVideo() && !$("video").videoWidth) show($("source-audio"));
});
for (const one of [$("video"), $("source-audio")]) {
  one.addEventListener("error", () => {
    if (player !== one) return;
    show(null, `This browser cannot ${one === $("video") ? "show this video" : "play this file"}. You can separate it all the same.`);
  });
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

export function playFrom(seconds) {
  if (!player) return;
  player.currentTime = seconds;
  player.play().catch(() => {}); // paused again before it began
}

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
  // An image of a frame that is not there would be black.
  if (!isVideo() || $("video").readyState < HTMLMediaElement.HAVE_CURRENT_DATA) {
    return say("This frame is not loaded yet: try again in a moment.", true);
  }
  addImage(await picker.image());
  closeFrame();
  $("query").focus();
}

$("pick").addEventListener("click", () => ($("frame-area").hidden ? openFrame() : closeFrame()));
$("add-frame").addEventListener("click", addFrame);
$("watch-part").addEventListener("change", closeFrame);
