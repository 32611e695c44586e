// Texts to the vectors that steer the model: MiniLM, the class table, and the sounds that the model knows.

import { fetched, json, readSafetensors } from "./files.js";
import { WordPiece } from "./wordpiece.js";

const SOUND_PROMPT = "the sound of ";
const TEXT_TEMPERATURE = 0.1, TEXT_BLEND = 0.3;

const dot = (a, b, at = 0) => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[at + i];
  return sum;
};
const lengthOf = (a) => Math.sqrt(dot(a, a));
const unit = (a) => {
  const size = Math.max(lengthOf(a), 1e-12);
  return a.map((one) => one / size);
};
const softmax = (scores) => {
  const top = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = scores.map((one) => Math.exp(one - top)), sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((one) => one / sum);
};
// Weighted sum of the rows of a table [n, D].
function weighted(weights, table, size) {
  const sum = new Float64Array(size);
  weights.forEach((weight, row) => {
    for (let i = 0; i < size; i++) sum[i] += weight * table[row * size + i];
  });
  return sum;
}
// A table [n, D] with rows of length 1.
function unitRows(table, size) {
  const result = new Float64Array(table.length);
  for (let at = 0; at < table.length; at += size) result.set(unit(Float64Array.from(table.subarray(at, at + size))), at);
  return result;
}

export class TextEncoder384 {
  constructor(ort, session, tokenizer, classes) {
    Object.assign(this, { ort, session });
    this.tokenizer = new WordPiece(tokenizer);
    this.names = classes.names.values;
    this.unitNames = unitRows(this.names, 384);
    this.mean = classes.mean.values;
    this.soundMean = classes.sound_mean.values;
  }

  async #sentence(text) {
    const ids = this.tokenizer.encode(text), dims = [1, ids.length];
    const tokens = new this.ort.Tensor("int64", BigInt64Array.from(ids, BigInt), dims);
    const valid = new this.ort.Tensor("int64", new BigInt64Array(ids.length).fill(1n), dims);
    const { vectors } = await this.session.run({ tokens, valid });
    return Float64Array.from(vectors.data);
  }

  // Unit vector [384] of a text.
  async encode(text) {
    const bare = unit((await this.#sentence(text)).map((one, i) => one - this.mean[i]));
    const sounding = unit((await this.#sentence(SOUND_PROMPT + text)).map((one, i) => one - this.soundMean[i]));
    const own = unit(bare.map((one, i) => one + sounding[i]));
    const scores = Float64Array.from({ length: this.names.length / 384 }, (_, row) => dot(own, this.unitNames, row * 384) / TEXT_TEMPERATURE);
    const explained = unit(weighted(softmax(scores), this.names, 384));
    return unit(own.map((one, i) => (1 - TEXT_BLEND) * one + TEXT_BLEND * explained[i]));
  }
}

// Texts as one model reads them: clipsep/separation/query_reader.py.
export class QueryReader {
  // From the files of a checkpoint and of the embedded encoder, in folders beside the page.
  static async load(ort, folder, encoder, config, onProgress = () => {}) {
    const self = new QueryReader();
    const get = (address) => fetched(address, (done, all) => onProgress(address.split("/").pop(), done, all));
    const session = await ort.InferenceSession.create(await get(`${encoder}/text.onnx`), {
      executionProviders: ["wasm"], graphOptimizationLevel: "all", extra: { session: { disable_quant_qdq: "1" } },
    });
    const classes = readSafetensors(await get(`${encoder}/classes.safetensors`));
    self.encoder = new TextEncoder384(ort, session, json(await get(`${encoder}/tokenizer.json`)), classes);
    if (config.known) {
      const table = readSafetensors(await get(`${folder}/known_sounds.safetensors`));
      self.known = new KnownSounds(config.known_sounds, table, config.known);
    }
    return self;
  }

  // The embedding that the network gets, and how the text compares with what the model learnt.
  async read(text) {
    const embedding = await this.encoder.encode(text);
    const familiarity = this.known?.compare(embedding) ?? null;
    return { text, embedding: familiarity ? this.known.draw(embedding, familiarity.similarities) : embedding, familiarity };
  }
}

// What the model was trained with: draws a query towards it, and says how alike the two are.
export class KnownSounds {
  constructor(labels, tensors, settings) {
    const { vectors, owners, kinds } = tensors;
    Object.assign(this, { labels, settings, owners: owners.values });
    this.size = vectors.shape[1];
    this.vectors = unitRows(vectors.values, this.size);
    this.rows = [...owners.values.keys()].filter((row) => kinds.values[row] === 0); // those of texts
  }

  compare(query) {
    const direction = unit(query), similarities = new Float64Array(this.labels.length).fill(-Infinity);
    for (const row of this.rows) {
      const owner = this.owners[row];
      similarities[owner] = Math.max(similarities[owner], dot(direction, this.vectors, row * this.size));
    }
    const order = [...similarities.keys()].sort((a, b) => similarities[b] - similarities[a]);
    const best = similarities[order[0]], { known, near } = this.settings.thresholds.text;
    return {
      similarities,
      level: best >= known ? "known" : best >= near ? "near" : "unknown",
      nearest: order.slice(0, 3).map((row) => this.labels[row]),
      score: Math.min(2, Math.max(-1, (best - near) / Math.max(known - near, 1e-6))),
    };
  }

  draw(query, similarities) {
    const { share, temperature } = this.settings.drawing.text;
    if (!share) return query;
    const targets = this.vectors.subarray(0, this.labels.length * this.size);
    const mean = weighted(softmax(similarities.map((one) => one / temperature)), targets, this.size);
    const direction = unit(query), size = lengthOf(query);
    return unit(direction.map((one, i) => (1 - share) * one + share * mean[i])).map((one) => one * size);
  }
}
