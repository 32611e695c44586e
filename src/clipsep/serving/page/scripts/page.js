// Starts the page: what the server takes, and which sounds its model knows.

import { getJson, limits } from "./api.js";
import { setKnown } from "./asking/queries.js";
import "./asking/recording.js";
import "./asking/requests.js";
import { $, sayError } from "./messages.js";

try {
  Object.assign(limits, await getJson("v1/limits"));
  const [model] = await getJson("v1/models");
  const megabytes = Math.round(limits.upload_bytes / 2 ** 20);
  const minutes = Math.round(limits.seconds / 6) / 10;
  $("limits-hint").textContent = `or drop a file here: up to ${minutes} minutes and ${megabytes} MiB`;
  setKnown(model.known_sounds);
  $("about").textContent = `Model: ${model.name}`;
} catch (error) {
  sayError(error);
}
