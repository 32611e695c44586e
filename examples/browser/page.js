// The page: a file and texts go to the worker, players of the parts come back.

import { decode, wav } from "./audio.js";
import { levelText, listKnown, note, showLevels } from "./known.js";

const $ = (id) => document.getElementById(id);
const worker = new Worker("worker.js", { type: "module" });
let file = null;
let recording = null;

function say(sentence, isError = false) {
  $("status").textContent = sentence;
  $("status").classList.toggle("error", isError);
}

$("file").addEventListener("change", () => (file = $("file").files[0]));
$("example").addEventListener("click", async () => {
  file = new File([await (await fetch("speech-and-violin.flac")).blob()], "speech-and-violin.flac");
  $("file").value = ""; // the field must not name another file
  say("The example: somebody speaks while a violin plays.");
});
$("sensitivity").addEventListener("input", () => {
  $("sensitivity").nextElementSibling.textContent = $("sensitivity").value;
});

const queries = () => [...new Set($("queries").value.split(",").map((one) => one.trim()).filter(Boolean))];

// Loads the text encoder when somebody changes the queries, not before.
$("queries").addEventListener("change", () => {
  note($("levels"), queries().length ? "Looking whether the model knows them" : "");
  if (queries().length) worker.postMessage({ kind: "compare", texts: queries() });
});
listKnown($("known"), (label) => {
  $("queries").value = [...new Set([...queries(), label])].join(", ");
  $("queries").dispatchEvent(new Event("change"));
});

$("request").addEventListener("submit", async (event) => {
  event.preventDefault();
  const texts = queries();
  if (!file) return say("Choose a recording first.", true);
  if (!texts.length) return say("Name at least one sound.", true);
  $("separate").disabled = true;
  $("progress").hidden = false;
  $("parts").replaceChildren();
  try {
    recording = await decode(file);
  } catch {
    return finish(`${file.name} cannot be decoded by this browser.`, true);
  }
  worker.postMessage({ kind: "separate", ...recording, texts, sensitivity: Number($("sensitivity").value) });
});

worker.onmessage = ({ data }) => {
  if (data.kind === "compared") return showLevels($("levels"), data.compared, queries());
  if (data.kind === "failed" && data.of === "compare") return note($("levels"), data.sentence);
  if (data.kind === "failed") return finish(data.sentence, true);
  if (data.kind !== "done") {
    if ($("progress").hidden) return note($("levels"), `Loading ${data.name}`);
    $("progress").value = data.share;
    return say(data.kind === "loading" ? `Loading ${data.name}` : "Separating");
  }
  const { rate, channels } = recording, length = channels[0].length / rate;
  for (const target of data.targets) show(target.text, target.channels, about(target));
  show("everything else", data.residual, "");
  window.separated = data; // for tests
  finish(`${length.toFixed(1)} s of sound in ${data.seconds.toFixed(1)} s: ${(length / data.seconds).toFixed(1)} times real time.`);
};
worker.onerror = () => finish("The model cannot run in this browser.", true);

function finish(sentence, isError = false) {
  $("separate").disabled = false;
  $("progress").hidden = true;
  say(sentence, isError);
}

function about({ level, nearest, confidence }) {
  const sure = confidence === null ? [] : [`confidence ${Math.round(100 * confidence)} %`];
  return [...(level ? [levelText({ level, nearest })] : []), ...sure].join("; ");
}

function show(name, channels, facts) {
  const item = document.createElement("li"), title = document.createElement("h2");
  const small = document.createElement("small"), audio = document.createElement("audio");
  const link = document.createElement("a");
  title.textContent = name;
  small.textContent = facts;
  audio.controls = true;
  audio.src = link.href = URL.createObjectURL(wav(channels, recording.rate));
  audio.setAttribute("aria-label", name);
  link.download = `${file.name.replace(/\.\w+$/, "")}.${name.replace(/[^\w]+/g, "-")}.wav`;
  link.textContent = "WAV";
  item.append(title, small, audio, link);
  $("parts").append(item);
}
