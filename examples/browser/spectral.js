// Log-frequency bands and the filtering by masks, as clipsep/spectral.py and clipsep/separation/ have them.

import { FFT, hann } from "./fft.js";

const BASE = 21, SCALE = 10, SHIFT = 11;
const HELD_FROM = 5500, HELD_ABOVE = 7300; // Hz, of a network of 16 kHz

// Linear interpolation at fixed positions: lower row and weight of the next one.
function interpolation(positions, size) {
  const lower = new Int32Array(positions.length), weight = new Float64Array(positions.length);
  positions.forEach((position, i) => {
    const inside = Math.min(Math.max(position, 0), size - 1);
    lower[i] = Math.min(Math.floor(inside), size - 2);
    weight[i] = inside - lower[i];
  });
  return { lower, weight };
}

function bandPositions(settings) {
  const bins = settings.n_fft / 2 + 1, last = settings.n_bands - 1;
  const positions = Array.from({ length: settings.n_bands }, (_, i) => {
    let relative = (BASE ** (i / last) - SHIFT) / SCALE;
    if (settings.warp === "float32") relative = Math.fround(relative);
    return ((relative + 1) / 2) * (bins - 1);
  });
  return interpolation(positions, bins);
}

function binPositions(nFft, rate, settings) {
  const positions = Array.from({ length: nFft / 2 + 1 }, (_, i) => {
    const relative = ((2 * i * rate) / nFft / (settings.sample_rate / 2)) - 1;
    const band = (2 * Math.log(SCALE * relative + SHIFT)) / Math.log(BASE) - 1;
    return ((band + 1) / 2) * (settings.n_bands - 1);
  });
  return interpolation(positions, settings.n_bands);
}

// One segment of samples (with its padding) to the network's input, [F, T] in a Float32Array.
export class LogMagnitude {
  constructor(settings) {
    this.settings = settings;
    this.fft = new FFT(settings.n_fft);
    this.window = hann(settings.n_fft);
    this.bands = bandPositions(settings);
    this.frame = new Float64Array(settings.n_fft);
  }

  of(samples) {
    const { n_fft, hop_length, n_bands, log_floor, level } = this.settings;
    const frames = Math.floor((samples.length - n_fft) / hop_length) + 1, bins = n_fft / 2 + 1;
    const magnitude = new Float64Array(frames * bins);
    let power = 0;
    for (let t = 0; t < frames; t++) {
      for (let i = 0; i < n_fft; i++) this.frame[i] = samples[t * hop_length + i] * this.window[i];
      this.fft.forward(this.frame);
      for (let k = 0; k < bins; k++) {
        const square = this.fft.re[k] ** 2 + this.fft.im[k] ** 2;
        power += square;
        magnitude[t * bins + k] = Math.sqrt(square);
      }
    }
    const relative = level === "relative";
    const divisor = relative ? Math.sqrt(power / (frames * bins)) + 1e-8 : 1;
    const result = new Float32Array(n_bands * frames);
    const { lower, weight } = this.bands;
    for (let t = 0; t < frames; t++) {
      for (let f = 0; f < n_bands; f++) {
        const at = t * bins + lower[f];
        const value = magnitude[at] * (1 - weight[f]) + magnitude[at + 1] * weight[f];
        result[f * frames + t] = Math.log(value / divisor + log_floor);
      }
    }
    return { values: result, frames };
  }
}

// Window and hop, in samples, for a recording's own rate.
function nativeStft(settings, rate) {
  if (rate === settings.sample_rate && settings.n_fft === 4 * settings.hop_length) {
    return [settings.n_fft, settings.hop_length];
  }
  const wished = (settings.n_fft * rate) / settings.sample_rate / 16;
  let best = 1;
  for (let a = 1; a < 4 * wished + 2; a *= 2) {
    for (let b = a; b < 4 * wished + 2; b *= 3) {
      for (let c = b; c < 4 * wished + 2; c *= 5) {
        const better = Math.abs(c - wished) - Math.abs(best - wished);
        if (better < 0 || (better === 0 && c < best)) best = c;
      }
    }
  }
  return [16 * best, 8 * best];
}

// One channel filtered by the masks of all queries; masks(n) are the frames of query n, each [F].
export class Filter {
  constructor(settings, rate) {
    this.settings = settings;
    this.rate = rate;
    [this.size, this.hop] = nativeStft(settings, rate);
    this.overlap = this.size / this.hop;
    const window = hann(this.size);
    this.window = this.overlap === 4 ? window : window.map(Math.sqrt);
    this.norm = this.overlap === 4 ? 1.5 : 1;
    this.fft = new FFT(this.size);
    this.bins = binPositions(this.size, rate, settings);
    const last = settings.n_bands - 1;
    this.held = [last, last + 1];
    this.between = this.bins.lower.findIndex((row, i) => row + this.bins.weight[i] >= last);
    if (this.between < 0) this.between = this.bins.lower.length;
    if (rate > settings.sample_rate) {
      const share = settings.sample_rate / 16000;
      const [low, high] = [HELD_FROM, HELD_ABOVE].map((hz) => Math.ceil((hz * share * this.size) / rate));
      this.held = [this.bins.lower[low], this.bins.lower[high] + 1];
      this.between = high;
    }
  }

  // samples [T] and masks {values [F, total], frames} of each query to as many outputs [T].
  apply(samples, masks, onProgress = () => {}) {
    const { size, hop, overlap, settings } = this, bands = settings.n_bands;
    const skip = (overlap - 1) * hop, bins = size / 2 + 1;
    const frames = overlap + Math.floor((samples.length - 1) / hop);
    const perHop = ((hop / this.rate) * settings.sample_rate) / settings.hop_length;
    const outputs = masks.map(() => new Float32Array(samples.length));
    const frame = new Float64Array(size), re = new Float64Array(bins), im = new Float64Array(bins);
    const specRe = new Float64Array(bins), specIm = new Float64Array(bins);
    const mask = new Float64Array(bands);
    for (let t = 0; t < frames; t++) {
      const start = t * hop - skip;
      for (let i = 0; i < size; i++) frame[i] = (samples[start + i] ?? 0) * this.window[i];
      this.fft.forward(frame);
      specRe.set(this.fft.re.subarray(0, bins));
      specIm.set(this.fft.im.subarray(0, bins));
      masks.forEach(({ values, frames: total }, query) => {
        const position = Math.min(Math.max((t + 1 - overlap / 2) * perHop, 0), total - 1);
        const lower = Math.floor(position), fraction = position - lower, upper = Math.min(lower + 1, total - 1);
        for (let f = 0; f < bands; f++) {
          const one = values[f * total + lower];
          mask[f] = one + fraction * (values[f * total + upper] - one);
        }
        let held = 0;
        for (let f = this.held[0]; f < this.held[1]; f++) held += mask[f] / (this.held[1] - this.held[0]);
        for (let k = 0; k < bins; k++) {
          const row = this.bins.lower[k];
          const share = k < this.between ? mask[row] + this.bins.weight[k] * (mask[row + 1] - mask[row]) : held;
          re[k] = specRe[k] * share;
          im[k] = specIm[k] * share;
        }
        this.fft.inverse(re, im, frame);
        const output = outputs[query];
        for (let i = Math.max(0, -start); i < size && start + i < output.length; i++) {
          output[start + i] += (frame[i] * this.window[i]) / this.norm;
        }
      });
      if (t % 200 === 0) onProgress(t / frames);
    }
    return outputs;
  }
}
