// The queries: texts and images, their list on the page, and a hint at those that the model does not know.

import { getJson, limits } from "../api.js";
import { $, say } from "../messages.js";

export let queries = []; // {text} or {image: File, address}
const compared = new Map(); // text: what the server says of it

export function setKnown(sounds) {
  $("known").replaceChildren(...sounds.map((one) => new Option(one)));
}

// False if there are too many.
export function addQuery(query) {
  if (query.text && queries.some((one) => one.text === query.text)) return true;
  if (queries.length >= limits.queries) {
    say(`This server takes ${limits.queries} queries at once.`, true);
    return false;
  }
  queries.push(query);
  showQueries();
  return true;
}

// False if what is written cannot be a query; it then stays in the field.
export function addText() {
  const text = $("query").value.trim(), length = [...text].length;
  if (length > limits.query_characters) {
    say(`A query can have ${limits.query_characters} characters; this one has ${length}.`, true);
    return false;
  }
  if (text && !addQuery({ text })) return false;
  $("query").value = "";
  return true;
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
  hint();
}

// What the model says of the texts that it does not know, as it will say it of the result.
async function hint() {
  const texts = queries.flatMap((query) => query.text ?? []);
  // One request each, so that a text that the server refuses spoils no other. Without an answer there is
  // no hint; whatever is wrong is said when the work starts.
  await Promise.all(texts.filter((text) => !compared.has(text)).map(async (text) => {
    const [told] = await getJson(`v1/familiarity?${new URLSearchParams({ query: text })}`).catch(() => []);
    if (told) compared.set(text, told);
  }));
  const strange = queries.filter(({ text }) => (compared.get(text)?.familiarity ?? "known") !== "known").map(({ text }) => {
    const { familiarity, nearest_known: nearest } = compared.get(text);
    return `“${text}”: ${familiarity}; nearest known: ${nearest.join(", ")}`;
  });
  $("known-hint").hidden = !strange.length;
  $("known-hint").textContent = strange.join("\n");
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
