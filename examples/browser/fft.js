// Discrete Fourier transforms of sizes without prime factors beyond 5.

// Radix-2/3/4/5 decimation in time; the factors and twiddles of a size are found once.
export class FFT {
  constructor(size) {
    this.size = size;
    this.factors = [];
    let rest = size;
    for (const factor of [4, 2, 3, 5]) {
      while (rest % factor === 0) {
        this.factors.push(factor);
        rest /= factor;
      }
    }
    if (rest !== 1) throw new Error(`No transform of ${size} samples.`);
    this.cos = new Float64Array(size);
    this.sin = new Float64Array(size);
    for (let i = 0; i < size; i++) {
      this.cos[i] = Math.cos((2 * Math.PI * i) / size);
      this.sin[i] = -Math.sin((2 * Math.PI * i) / size);
    }
    this.re = new Float64Array(size);
    this.im = new Float64Array(size);
    this.partRe = new Float64Array(5);
    this.partIm = new Float64Array(5);
  }

  // Complex numbers (inRe, inIm) to this.re, this.im.
  transform(inRe, inIm) {
    this.#step(inRe, inIm, 0, 1, 0, this.size, 0);
  }

  #step(inRe, inIm, start, stride, out, n, level) {
    if (n === 1) {
      this.re[out] = inRe[start];
      this.im[out] = inIm ? inIm[start] : 0;
      return;
    }
    const radix = this.factors[level], m = n / radix;
    for (let r = 0; r < radix; r++) {
      this.#step(inRe, inIm, start + r * stride, stride * radix, out + r * m, m, level + 1);
    }
    const { re, im, cos, sin, size, partRe, partIm } = this;
    const turn = size / n;
    for (let k = 0; k < m; k++) {
      for (let r = 0; r < radix; r++) {
        const at = (r * k * turn) % size, place = out + r * m + k;
        partRe[r] = re[place] * cos[at] - im[place] * sin[at];
        partIm[r] = re[place] * sin[at] + im[place] * cos[at];
      }
      for (let q = 0; q < radix; q++) {
        let sumRe = partRe[0], sumIm = partIm[0];
        for (let r = 1; r < radix; r++) {
          const at = ((r * q) % radix) * (size / radix);
          sumRe += partRe[r] * cos[at] - partIm[r] * sin[at];
          sumIm += partRe[r] * sin[at] + partIm[r] * cos[at];
        }
        re[out + q * m + k] = sumRe;
        im[out + q * m + k] = sumIm;
      }
    }
  }

  // Of real samples; bins 0 to size / 2 are then in this.re and this.im.
  forward(samples) {
    this.transform(samples, null);
  }

  // From bins 0 to size / 2 to real samples.
  inverse(re, im, samples) {
    const { size } = this, half = size / 2;
    const fullRe = (this.fullRe ??= new Float64Array(size)), fullIm = (this.fullIm ??= new Float64Array(size));
    for (let k = 0; k <= half; k++) {
      fullRe[k] = re[k];
      fullIm[k] = k === 0 || k === half ? 0 : -im[k]; // the conjugate transform is the inverse
    }
    for (let k = 1; k < half; k++) {
      fullRe[size - k] = re[k];
      fullIm[size - k] = im[k];
    }
    this.transform(fullRe, fullIm);
    for (let i = 0; i < size; i++) samples[i] = this.re[i] / size;
  }
}

// Periodic Hann window.
export function hann(size) {
  return Float64Array.from({ length: size }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size));
}
