// The queries: texts and images, their list on the page, and a hint at those that the model does not know.

import { limits } from "../api.js";
import { $, say } from "../messages.js";

export let queries = []; // {text} or {image: File, address}
let known = []; // sounds that the model was trained with

export function setKnown(sounds) {
  known = sounds;
  $("known").replaceChildren(...known.map((one) => new Option(one)));
}

export function addQuery(query) {
  if (queries.length >= limits.queries) {
    say(`This server takes ${limits.queries} queries at once.`, true);
    return;
  }
  if (query.text && queries.some((one) => one.text === query.text)) return;
  queries.push(query);
  showQueries();
}

export function addText() {
  const text = $("query").value.trim();
  if (text) addQuery({ text: text.slice(0, limits.query_characters) });
  $("query").value = "";
}

export function addImage(file) {
  addQuery({ image: file, address: URL.createObjectURL(file) });
}

function showQueries() {
  let images = 0;
  $("queries").replaceChildren(...queries.map((query) => {
    const item = document.createElement("li");
    if (query.image) {
      query.name = `image ${++images}`;
      const thumbnail = document.createElement("img");
      thumbnail.src = query.address;
      thumbnail.alt = "";
      item.append(thumbnail);
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
