// Runs the model beside the page, so that the page stays alive meanwhile.

import { fetched, json } from "./files.js";
import * as ort from "./ort/ort.wasm.min.mjs";
import { QueryReader } from "./queries.js";
import { Separator } from "./separator.js";

ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
let config = null, reader = null, separator = null;
let last = Promise.resolve(); // a session runs one thing at a time

const answer = (kind, rest) => self.postMessage({ kind, ...rest });
const loading = (name, done, all) => answer("loading", { name, share: all ? done / all : 0 });

async function loadReader() {
  config ??= json(await fetched("model/config.json"));
  reader ??= await QueryReader.load(ort, "model", "encoder", config, loading);
}

const work = {
  // How each text compares with what the model learnt.
  async compare({ texts }) {
    await loadReader();
    const compared = [];
    for (const text of texts) compared.push({ text, ...(await reader.read(text)).familiarity });
    answer("compared", { compared });
  },

  async separate({ channels, rate, texts, sensitivity }) {
    await loadReader();
    separator ??= await Separator.load(ort, "model", config, reader, loading);
    const started = performance.now();
    const onProgress = (share) => answer("working", { share });
    const result = await separator.separate(channels, rate, texts, { sensitivity, onProgress });
    answer("done", { ...result, seconds: (performance.now() - started) / 1000 });
  },
};

self.onmessage = ({ data }) => {
  last = last.then(() => work[data.kind](data)).catch((error) => answer("failed", { of: data.kind, sentence: error.message }));
};
