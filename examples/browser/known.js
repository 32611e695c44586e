// Shows which sounds the model knows, and whether it knows those that are asked for.

export const levelText = ({ level, nearest }) => (level === "known" ? level : `${level}, nearest known: ${nearest.join(", ")}`);

// A button for each known sound; `onPick` gets its label.
export async function listKnown(details, onPick) {
  const answer = await fetch("model/config.json");
  const labels = answer.ok ? (await answer.json()).known_sounds ?? [] : [];
  details.hidden = !labels.length;
  details.querySelector("summary").textContent = `The ${labels.length} kinds of sound that the model knows`;
  details.querySelector("ul").replaceChildren(...labels.map((label) => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.setAttribute("aria-label", `Add ${label}`);
    button.addEventListener("click", () => onPick(label));
    item.append(button);
    return item;
  }));
}

// A line for each query that is still asked for.
export function showLevels(list, compared, texts) {
  list.replaceChildren(...compared.filter(({ text, level }) => level && texts.includes(text)).map((one) => {
    const item = document.createElement("li"), name = document.createElement("strong");
    name.textContent = one.text;
    item.className = one.level;
    item.append(name, `: ${levelText(one)}`);
    return item;
  }));
}

// One sentence in place of the lines.
export function note(list, sentence) {
  const item = document.createElement("li");
  item.textContent = sentence;
  list.replaceChildren(...(sentence ? [item] : []));
}
