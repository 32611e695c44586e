// What the page says to its user, and the form that asks for the server's token.

import { getJson, Problem } from "./api.js";

export const $ = (id) => document.getElementById(id);

export function say(sentence, isError = false) {
  $("status").textContent = sentence;
  $("status").classList.toggle("error", isError);
}

export function sayError(error) {
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
    $("token-error").textContent = error.message;
    $("token").select();
  }
});
