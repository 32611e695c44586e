// A recording and texts in, separated sounds out, all in this browser; knows nothing of the page.

import { presence, sigmoid } from "./confidence.js";
import { fetched, json } from "./files.js";
import { resample } from "./resample.js";
import { Filter, LogMagnitude } from "./spectral.js";

const OVERLAP = 0.125;

export class Separator {
  // From the files of a checkpoint, in a folder beside the page; `reader` reads its queries.
  static async load(ort, folder, config, reader, onProgress = () => {}) {
    const self = Object.assign(new Separator(), { ort, config, reader });
    const get = (name) => fetched(`${folder}/${name}`, (done, all) => onProgress(name, done, all));
    const weights = new Uint8Array(await get("model.safetensors"));
    self.model = await ort.InferenceSession.create(await get("model.onnx"), {
      executionProviders: ["wasm"], graphOptimizationLevel: "all", externalData: [{ path: "model.safetensors", data: weights }],
    });
    return self;
  }

  // channels: Float32Arrays [T] at a rate in Hz. Gives targets by text, each a list of channels.
  async separate(channels, rate, texts, { sensitivity = 0.5, onProgress = () => {} } = {}) {
    const queries = [];
    for (const text of texts) queries.push({ ...await this.reader.read(text), confidence: null });
    const mono = new Float32Array(channels[0].length);
    for (const channel of channels) for (let i = 0; i < mono.length; i++) mono[i] += channel[i] / channels.length;
    const limited = Math.min(0.99, Math.max(0.01, sensitivity));
    const bias = Math.log(limited / (1 - limited));
    const heard = resample(mono, rate, this.config.spectral.sample_rate);
    const masks = await this.#masks(heard, queries, bias, (share) => onProgress(0.8 * share));
    const filter = new Filter(this.config.spectral, rate);
    const parts = channels.map((channel, number) => filter.apply(channel, masks, (share) =>
      onProgress(0.8 + (0.2 * (number + share)) / channels.length)));
    const residual = channels.map((channel, number) => {
      const left = channel.slice();
      for (const target of parts[number]) for (let i = 0; i < left.length; i++) left[i] -= target[i];
      return left;
    });
    const targets = queries.map(({ text, familiarity, confidence }, number) => ({
      text, confidence, level: familiarity?.level ?? null, nearest: familiarity?.nearest ?? [],
      channels: parts.map((one) => one[number]),
    }));
    return { targets, residual };
  }

  // Masks of every query over the whole recording, from segments that are cross-faded.
  async #masks(samples, queries, bias, onProgress) {
    const { spectral } = this.config, { n_fft, hop_length, n_bands, segment_frames } = spectral;
    const total = 1 + Math.floor(samples.length / hop_length);
    const masks = queries.map(() => ({ values: new Float32Array(n_bands * total), frames: total }));
    const input = new LogMagnitude(spectral);
    const step = segment_frames - Math.round(segment_frames * OVERLAP);
    let written = 0, final = 0; // frames that have a mask, and those whose mask does not change any more
    for (let end = segment_frames; written < total; end += step) {
      const last = Math.min(end, Math.max(total, segment_frames)), start = last - segment_frames;
      const segment = this.#segment(samples, start * hop_length, total < segment_frames ? null : n_fft);
      const { values, frames } = input.of(segment);
      const logits = await this.#logits(values, frames, queries);
      queries.forEach((query, number) => {
        const own = logits.subarray(number * n_bands * frames, (number + 1) * n_bands * frames);
        if (this.config.confidence) {
          const sure = presence(values, own, query.familiarity?.score ?? 0, this.config.confidence);
          query.confidence = Math.max(query.confidence ?? 0, sure);
        }
        const target = masks[number].values;
        for (let t = Math.max(start, final); t < Math.min(last, total); t++) {
          // Where the segment before has masks already, this one fades in.
          const fading = t < written ? (t - final + 1) / (written - final + 1) : 1;
          for (let f = 0; f < n_bands; f++) {
            const at = f * total + t, mask = sigmoid(own[f * frames + t - start] + bias);
            target[at] += fading * (mask - target[at]);
          }
        }
      });
      written = Math.min(last, total);
      final = start + step;
      onProgress(written / total);
      if (last >= total) break;
    }
    return masks;
  }

  // Samples of one segment with half a window on both sides; a short recording is repeated.
  #segment(samples, start, nFft) {
    const { n_fft, hop_length, segment_frames } = this.config.spectral;
    const padding = n_fft / 2;
    if (nFft === null) {
      const length = segment_frames * hop_length - 1;
      const repeated = new Float32Array(length + 2 * padding);
      for (let i = 0; i < length; i++) repeated[padding + i] = samples[i % samples.length];
      return repeated;
    }
    const result = new Float32Array((segment_frames - 1) * hop_length + n_fft);
    for (let i = 0; i < result.length; i++) result[i] = samples[start + i - padding] ?? 0;
    return result;
  }

  async #logits(values, frames, queries) {
    const { Tensor } = this.ort, bands = this.config.spectral.n_bands, size = queries[0].embedding.length;
    const embeddings = new Float32Array(queries.length * size);
    queries.forEach((query, number) => embeddings.set(query.embedding, number * size));
    const answer = await this.model.run({
      log_magnitude: new Tensor("float32", values, [1, 1, bands, frames]),
      queries: new Tensor("float32", embeddings, [queries.length, size]),
    });
    return answer.mask_logits.data;
  }
}
