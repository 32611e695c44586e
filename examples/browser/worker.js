// Runs the separation beside the page, so that the page stays alive meanwhile.

import * as ort from "./ort/ort.wasm.min.mjs";
import { Separator } from "./separator.js";

ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
let separator = null;

self.onmessage = async ({ data: { channels, rate, texts, sensitivity } }) => {
  try {
    separator ??= await Separator.load(ort, "model", "encoder", (name, done, all) =>
      self.postMessage({ kind: "loading", name, share: all ? done / all : 0 }));
    const started = performance.now();
    const result = await separator.separate(channels, rate, texts, {
      sensitivity, onProgress: (share) => self.postMessage({ kind: "working", share }),
    });
    const seconds = (performance.now() - started) / 1000;
    self.postMessage({ kind: "done", ...result, seconds });
  } catch (error) {
    separator = null;
    self.postMessage({ kind: "failed", sentence: error.message });
  }
};
