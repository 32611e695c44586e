// Shows when sounds are heard: a bar per sound with its spans; a click on one plays the recording from there.

const clock = (seconds) => {
  const minutes = Math.floor(seconds / 60), rest = (seconds % 60).toFixed(1);
  return minutes ? `${minutes}:${rest.padStart(4, "0")}` : `${rest} s`;
};

const element = (name, text = "", className = "") => Object.assign(document.createElement(name), { textContent: text, className });

export function showFound(list, { seconds, sounds }, onMoment) {
  list.replaceChildren(...sounds.map((sound) => {
    const item = element("li"), bar = element("div", "", "spans");
    const facts = sound.spans.length ? `${sound.seconds.toFixed(1)} s, ${Math.round(100 * sound.confidence)} %` : "not found";
    const head = element("div", "", "row spread");
    head.append(element("strong", sound.query), element("span", facts, "hint"));
    for (const span of sound.spans) {
      const button = element("button");
      button.type = "button";
      button.style.left = `${(100 * span.start) / seconds}%`;
      button.style.width = `${(100 * (span.end - span.start)) / seconds}%`;
      button.title = `${clock(span.start)} to ${clock(span.end)}`;
      button.setAttribute("aria-label", `${sound.query}, ${button.title}: play`);
      button.addEventListener("click", () => onMoment(span.start));
      bar.append(button);
    }
    item.append(head, bar);
    return item;
  }));
  if (!sounds.length) list.replaceChildren(element("li", "None of the sounds that the model knows."));
}

// A line on what the model says of a query: known, near or unknown, and how sure it is of the answer.
export function feedbackLine(line, { familiarity, nearest_known: nearest, confidence }) {
  line.hidden = !familiarity && confidence === null;
  line.replaceChildren();
  if (familiarity) line.append(element("span", familiarity, familiarity));
  const about = familiarity && familiarity !== "known" ? [`nearest known: ${nearest.join(", ")}`] : [];
  if (confidence !== null) about.push(`confidence ${Math.round(100 * confidence)} %${confidence < 0.5 ? ": hardly anything found" : ""}`);
  line.append(about.join("; "));
}
